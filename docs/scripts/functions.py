"""How far NumPy's exp, log and log1p are from the exact ones: writes two parts of docs/numerics.md.

    python docs/scripts/functions.py          # some minutes on an x86 processor with AVX-512
    python docs/scripts/functions.py --quick  # prints, with few arguments, and writes nothing

float32 functions are compared with the float64 ones, for all arguments of a range where that is done in
minutes and every ninth float elsewhere; float64 functions with 100-bit arithmetic, for random arguments,
every other hundred thousand of them around the worst so far. Each setting of the processor's instructions
needs a process of its own: NumPy chooses when it is loaded.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from page_parts import between_marks

from crossent.testing import _pairs
from crossent.testing.measure import dispatched_features

PAGE = Path(__file__).resolve().parents[1] / "numerics.md"
SETTINGS = {"AVX-512": None, "AVX2": "avx512", "neither": "avx2"}
FUNCTIONS = ("exp", "log1p", "log")
CHUNK = 1 << 21
EVERY = 9  # stride over the floats outside the ranges that are searched without a gap
# Ranges of the arguments' bits: all floats from the first to the second. Results are normal numbers.
WHOLE = {
    "exp": [(2.0**-26, 88.72), (-(2.0**-26), -87.33)],
    "log1p": [(2.0**-26, 4.0)],
    "log": [(2.0**-3, 8.0)],
}
REST = {"exp": [], "log1p": [(2.0**-126, 2.0**-26), (4.0, 3e38)], "log": [(2.0**-126, 2.0**-3), (8.0, 3e38)]}
FLOAT64 = {"exp": 708.0, "log1p": 53.0, "log": 1000.0}  # largest argument, of the last two its log2


def bits(x):
    return int(np.float32(x).view(np.uint32))


def floats(name, quick):
    """Chunks of float32 arguments, in the order of their bits."""
    for ranges, stride in ((WHOLE[name], 1), (REST[name], EVERY)):
        stride *= 997 if quick else 1
        for first, last in ranges:
            for start in range(bits(first), bits(last), stride * CHUNK):
                stop = min(start + stride * CHUNK, bits(last))
                yield np.arange(start, stop, stride, dtype=np.uint32).view(np.float32)


def errors32(name, x):
    """Errors in ulp of float32; float64's own are 2**-29 of one."""
    function = getattr(np, name)
    truth = function(x.astype(np.float64))
    unit = np.ldexp(1.0, np.frexp(truth)[1] - 24)
    return np.abs(function(x) - truth) / unit


def errors64(name, x):
    with np.errstate(invalid="ignore"):  # on the way to a power of two far from 1
        truth = getattr(_pairs, name)(_pairs.pairs(x))
        off = _pairs.pairs(getattr(np, name)(x)) - truth
    return np.abs(np.ldexp(off.hi, np.maximum(off.exponent - truth.floor_log2 + 52, -1000).astype(np.int32)))


def measure(quick):
    """Largest errors by dtype and function, and how often those of float32 exp are large."""
    found = {}
    rng = np.random.default_rng(0)
    for name in FUNCTIONS:
        found[f"float32 {name}"] = max(float(np.max(errors32(name, x))) for x in floats(name, quick))
        worst, where = 0.0, 1.0
        for turn in range(2 if quick else 80):
            x = FLOAT64[name] * rng.uniform(-1, 1, 100_000) * 10 ** rng.uniform(-4, 0, 100_000)
            if name != "exp":
                x = 2.0**x
            if turn % 2:  # around the worst so far
                x = where * rng.uniform(0.99, 1.01, 100_000)
            e = errors64(name, x)
            if e.max() > worst:
                worst, where = float(e.max()), float(x[e.argmax()])
        found[f"float64 {name}"] = worst
    x = rng.uniform(-87.33, 88.72, 100_000 if quick else 4_000_000).astype(np.float32)
    e = errors32("exp", x)
    found["rare"] = [float((e > 1.5).mean()), float((e > 2).mean())]
    return found


def tables(by_setting, version):
    head = [f"| NumPy {version} | " + " | ".join(SETTINGS) + " |", "|---|" + "---:|" * len(SETTINGS)]
    rows = [
        f"| {dtype} `{name}` | "
        + " | ".join(f"{np.ceil(100 * by_setting[s][f'{dtype} {name}']) / 100:.2f}" for s in SETTINGS)
        + " |"
        for dtype in ("float32", "float64")
        for name in FUNCTIONS
    ]
    often, very = by_setting["AVX-512"]["rare"]
    rare = (
        f"Of four million random float32 arguments of `exp`, with AVX-512, {often:.1%} were off by more\n"
        f"than 1.5 ulp and {very:.2%} by more than 2."
    )
    return {"functions": "\n".join(head + rows), "rare": rare}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    options.add_argument("--child", action="store_true", help="print the figures of this process as JSON")
    chosen = options.parse_args()
    if chosen.child:
        print(json.dumps(measure(chosen.quick)))
        return
    by_setting = {}
    for setting, without in SETTINGS.items():
        names = dispatched_features(without) if without else []
        command = [sys.executable, __file__, "--child", *(["--quick"] if chosen.quick else [])]
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(names)}
        run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        by_setting[setting] = json.loads(run.stdout)
        print(setting, by_setting[setting], flush=True)
    parts = tables(by_setting, np.__version__)
    if chosen.quick:
        print(*parts.values(), sep="\n\n")
    else:
        text = between_marks(PAGE.read_text(encoding="utf-8"), parts, PAGE.name, Path(__file__).name)
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
