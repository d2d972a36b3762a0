"""What was tried for speed and did not pay, measured again: each table is one idea beside what is done.

    python docs/scripts/tried.py [--json FILE] [--quick]

Prints Markdown. `--json FILE` puts the tables into the raw results that docs/scripts/performance.py reads.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np

import crossent
from crossent import _blocks, _half, _scratch, _sums

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from benchmark import interleave, keep
from benchmark_tables import head, line

seconds = 3.0  # a table


def fastest(runs):
    return interleave(runs, seconds)[0]


def each(calls, size):
    """Nanoseconds an element of calls by name."""
    return {name: f"{time / size * 1e9:.2f}" for name, time in fastest(calls).items()}


# -- sums ------------------------------------------------------------------------------------------


def lanes(a, width=1024):
    """Sum rows of float32 as dot products with ones, in pieces; the pieces' sums in float64."""
    rows, classes = a.shape
    ones = np.ones(width, a.dtype)
    whole = classes // width * width
    parts = np.vecdot(a[:, :whole].reshape(rows, -1, width), ones).astype(np.float64)
    return parts.sum(axis=1) + a[:, whole:].sum(axis=1, dtype=np.float64)


def blas(a):
    return a @ np.ones(a.shape[1], a.dtype)


WAYS = {
    "`a @ ones`": blas,
    "`vecdot` with ones, pieces of 1,024": lanes,
    "`a.sum(axis=1)`": lambda a: a.sum(axis=1),
    "`a.sum(axis=1, dtype=float64)`": lambda a: a.sum(axis=1, dtype=np.float64),
    "two halvings, the rest in float64: done": lambda a: _sums.row_sum(a.T),
}


def roundings_off(found, a):
    """Worst distance from the exact sums, in roundings of float32 of the sum: 2**-24."""
    worst = 0.0
    for value, row in zip(found, a, strict=True):
        exact = sum(map(Fraction, row.tolist()))
        worst = max(worst, abs(float((Fraction(float(value)) - exact) / exact)) * 2**24)
    return worst


def sums():
    """Row sums: time, and the worst error in roundings, 2**-24 of the sum: terms alike, one dominating."""
    rng = np.random.default_rng(0)
    timed = np.exp(3 * rng.standard_normal((64, 16_384), np.float32))
    calls = {name: lambda way=way: way(timed) for name, way in WAYS.items()}
    times = each(calls, timed.size)
    alike = np.exp(rng.standard_normal((20, 16_384), np.float32))
    one = np.full((1, 16_384), 2.0**-25, np.float32) * rng.uniform(0.5, 1, 16_384).astype(np.float32)
    one[0, ::1024] = 1  # in each piece of 1,024 one term, beside which the others are less than half an ulp
    rows = head("64 rows of 16,384, float32", "ns an element", "terms alike", "one term dominates")
    for name, way in WAYS.items():
        off = [f"{roundings_off(way(a), a):.1f}" for a in (alike, one)]
        rows.append(line(name, times[name], *off))
    return rows


# -- blocks and threads -----------------------------------------------------------------------------


def blocks():
    """Value and gradient in blocks of other sizes."""
    rng = np.random.default_rng(0)
    z = 3 * rng.standard_normal((1024, 16_000), np.float32)
    y = rng.integers(0, z.shape[1], len(z))
    out = np.empty_like(z)
    sizes = [1 << k for k in range(16, 24)]
    counts = sorted({1, crossent.get_num_threads()})

    def call(size, threads):
        def run():
            with crossent.set_num_threads(threads):
                _blocks.BLOCK_BYTES = size
                crossent.cross_entropy_value_and_grad(z, y, out=out)

        return run

    usual = _blocks.BLOCK_BYTES
    found = fastest({(size, n): call(size, n) for size in sizes for n in counts})
    _blocks.BLOCK_BYTES = usual
    rows = head("bytes a block", *(f"ms, {n} thread{'s' * (n > 1)}" for n in counts), "speed-up")
    for size in sizes:
        times = [found[size, n] for n in counts]
        name = f"{size // 1024:,} KiB" + ": done" * (size == usual)
        rows.append(line(name, *(f"{t * 1e3:.1f}" for t in times), f"{times[0] / times[-1]:.2f}"))
    return rows


def waking():
    """What it costs to ask another thread to do nothing."""
    pool = ThreadPoolExecutor(1)
    one = np.ones(1, np.float32)
    out = np.empty_like(one)
    two = np.float32([1, 2])
    runs = {
        "hand nothing to a thread that waits, and wait for it": lambda: pool.submit(int).result(),
        "`np.exp` of one number": lambda: np.exp(one, out=out),
        "enter and leave `np.errstate`": errstate,
        "`cross_entropy` of one position of two classes": lambda: crossent.cross_entropy(two, 0),
    }
    return [*head("", "µs"), *(line(name, f"{t * 1e6:.2f}") for name, t in fastest(runs).items())]


def errstate():
    with np.errstate(all="ignore"):
        pass


# -- passes ----------------------------------------------------------------------------------------


def passes():
    """What one pass over a block costs, by the function that makes it."""
    rng = np.random.default_rng(0)
    z = 3 * rng.standard_normal(1 << 18, np.float32)
    e, wide = np.empty_like(z), np.empty(z.shape)
    positive, strange = z > 0, np.empty(z.shape, bool)
    d = z.astype(np.float64)
    calls = {
        "`exp`, float32": lambda: np.exp(z, out=e),
        "`exp`, float64": lambda: np.exp(d, out=wide),
        "`exp` of float32 in float64": lambda: np.exp(z, out=wide, dtype=np.float64),
        "`log1p`, float32": lambda: np.log1p(e, out=e),
        "`multiply`": lambda: np.multiply(z, z, out=e),
        "`add`": lambda: np.add(z, z, out=e),
        "`sum`": z.sum,
        "`max`": z.max,
        "`argmax`": z.argmax,
        "`maximum(z, 0)`": lambda: np.maximum(z, np.float32(0), out=e),
        "`where(z > 0, z, 0)`": lambda: np.where(positive, z, np.float32(0)),
        "`copyto(where=)`": lambda: np.copyto(e, z, where=positive),
        "`copysign`": lambda: np.copysign(z, e, out=e),
        "`isnan`": lambda: np.isnan(z, out=strange),
    }
    np.abs(z, out=e)
    return [*head("2**18 numbers", "ns each"), *(line(*cells) for cells in each(calls, z.size).items())]


def fresh_memory():
    """Temporaries of value and gradient: memory that is kept, and that is handed back and asked for again."""
    rng = np.random.default_rng(0)
    z = 3 * rng.standard_normal((256, 50_257), np.float32)
    y = rng.integers(0, z.shape[1], len(z))
    out = np.empty_like(z)
    usual = _scratch._SMALL

    def call(small, into):
        def run():
            _scratch._SMALL = small  # up to here an array is not kept
            crossent.cross_entropy_value_and_grad(z, y, out=into)

        return run

    runs = {
        "temporaries kept, gradient into `out=`: done": call(usual, out),
        "temporaries fresh, gradient into `out=`": call(1 << 62, out),
        "temporaries kept, a fresh gradient": call(usual, None),
    }
    rows = head("256×50257, float32", "ms", "page faults")
    for (name, time), run in zip(fastest(runs).items(), runs.values(), strict=True):
        run()
        before = faults()
        run()
        rows.append(line(name, f"{time * 1e3:.1f}", f"{faults() - before:,}"))
    _scratch._SMALL = usual
    return rows


def faults():
    """Return how many pages the system has found and cleared for this process."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def half():
    """float16: conversions, and exponentials from a table of all 65,536."""
    rng = np.random.default_rng(0)
    h = (3 * rng.standard_normal(1 << 18, np.float32)).astype(np.float16)
    e, z = np.empty(h.shape, np.float32), h.astype(np.float32)
    small = np.float32(1e-6) * z  # below float16's normal numbers, as most entries of a gradient are
    with np.errstate(all="ignore"):
        table = np.exp(np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32))
    index, back = h.view(np.uint16), np.empty_like(h)

    def converted():
        _half.convert(h, e)
        np.exp(e, out=e)

    calls = {
        "`exp` from a table, `np.take`": lambda: np.take(table, index, out=e, mode="clip"),
        "`exp` of float16 in float32 by NumPy": lambda: np.exp(h, out=e, dtype=np.float32),
        "bits to float32, then `exp`: done": converted,
        "float32 to float16 by NumPy": lambda: np.copyto(back, z, casting="unsafe"),
        "the same, subnormal": lambda: np.copyto(back, small, casting="unsafe"),
        "float32 to float16 by the bits: done": lambda: _half.convert(z, back),
        "the same, subnormal: done": lambda: _half.convert(small, back),
    }
    with np.errstate(all="ignore"):
        return [*head("2**18 numbers", "ns each"), *(line(*cells) for cells in each(calls, h.size).items())]


TABLES = {
    "fresh": fresh_memory,  # first: the allocator learns to keep what comes and goes, and hides the cost
    "sums": sums,
    "blocks": blocks,
    "waking": waking,
    "passes": passes,
    "half": half,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the tables in this file, too")
    parser.add_argument("--table", choices=list(TABLES), action="append", help="only this one; repeatable")
    parser.add_argument("--quick", action="store_true", help="badly, to try the script")
    options = parser.parse_args()
    if options.quick:
        global seconds
        seconds = 0.1
    for name in options.table or TABLES:
        table = TABLES[name]()
        print(f"\n{TABLES[name].__doc__}\n", *table, sep="\n", flush=True)
        keep(options.json, tried={name: table})


if __name__ == "__main__":
    main()
