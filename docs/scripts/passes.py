"""How many passes over the logits a call makes, by NumPy function: counted while it runs.

    python docs/scripts/passes.py [--json FILE]

Prints Markdown. `--json FILE` puts the table into the raw results that docs/scripts/performance.py reads.
The engine's blocks are replaced by arrays of a class that counts how many elements each function is given.
One pass is one function that goes once over as many elements as there are logits.
"""

import argparse
import collections
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import crossent
from crossent import _blocks, _scratch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from benchmark import keep
from benchmark_calls import CALLS, CASES, make_data
from benchmark_tables import head, line

REDUCED = {"add": "sum", "maximum": "max", "minimum": "min"}
counts: collections.Counter[str] = collections.Counter()


def plain(a):
    return a.view(np.ndarray) if isinstance(a, Counted) else a


def counted(a):
    return a.view(Counted) if type(a) is np.ndarray else a


def count(name, *arrays):
    counts[name] += max((a.size for a in arrays if isinstance(a, np.ndarray)), default=0)


class Counted(np.ndarray):
    """An array that counts what is done with it."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if out is not None:
            options["out"] = tuple(plain(a) for a in out)
        result = getattr(ufunc, method)(*(plain(a) for a in inputs), **options)
        first = result[0] if isinstance(result, tuple) else result
        name = ufunc.__name__ if method == "__call__" else REDUCED.get(ufunc.__name__, ufunc.__name__)
        count(name + " float64" * (first.dtype == np.float64), *inputs, first)
        if out is not None:
            return out[0]
        return tuple(map(counted, result)) if isinstance(result, tuple) else counted(result)

    def __array_function__(self, function, types, arguments, options):
        arguments = [plain(a) for a in arguments]
        result = function(*arguments, **{k: plain(a) for k, a in options.items()})
        if function is np.copyto:
            count("copy", arguments[0])
        elif isinstance(result, np.ndarray) and result.base is None:  # no view
            count(function.__name__, *arguments, result)
        return counted(result)

    def __setitem__(self, index, value):
        self.view(np.ndarray)[index] = plain(value)
        count("copy", value)

    def astype(self, dtype, copy=True, **options):
        result = self.view(np.ndarray).astype(dtype, copy=copy, **options)
        if result.base is None:
            count("copy", result)
        return counted(result)

    def argmax(self, axis=None, **options):
        count("argmax", self)
        return self.view(np.ndarray).argmax(axis, **options)


def watch():
    """Have the engine hand out arrays that count."""
    load, room, room_like = _blocks._load, _scratch.room, _scratch.room_like
    _blocks._load = lambda *arguments: load(*arguments).view(Counted)
    for name, module in list(sys.modules.items()):
        if name.startswith("crossent."):
            if hasattr(module, "room"):
                module.room = lambda *arguments: room(*arguments).view(Counted)
            if hasattr(module, "room_like"):
                module.room_like = lambda *arguments: room_like(*arguments).view(Counted)


def measure():
    """Return a table of the passes of the benchmark's cases, and their sums by title."""
    watch()
    rows, sums = head("case", "passes", "of which"), {}
    rows[1] = "| --- | ---: | --- |"
    with crossent.set_num_threads(1):
        for case in CASES:
            few = replace(case, shape=(max(1, case.shape[0] // 8), *case.shape[1:]))
            call = CALLS["crossent"](few, make_data(few))
            counts.clear()
            call()
            found = {name: n / few.size for name, n in counts.most_common() if n / few.size > 0.05}
            each = ", ".join(
                f"{name} {n:.2f}".removesuffix("0").removesuffix(".0") for name, n in found.items()
            )
            sums[case.title] = sum(found.values())
            if not case.inplace and case.name not in ("tiny", "lm-llama", "lm-last-axis"):  # as others are
                rows.append(line(case.title, f"{sums[case.title]:.1f}", each))
    return rows, sums


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the table in this file, too")
    options = parser.parse_args()
    rows, sums = measure()
    print(*rows, sep="\n")
    keep(options.json, tried={"counted": rows}, passes=sums)


if __name__ == "__main__":
    main()
