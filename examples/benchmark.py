"""crossent beside PyTorch, JAX and SciPy: the same calls in one process, in rounds that take turns.

    python examples/benchmark.py                                    every case, every installed peer
    python examples/benchmark.py --quick --case lm --peers torch,jax
    python examples/benchmark.py --peers ""                         crossent alone, beside its floors
    python examples/benchmark.py --scaling                          growth with rows, classes and threads

Prints Markdown. `--json FILE` keeps the raw results as well, and adds to what the file has. Any of the peers
may be missing; this installs all of them: python -m pip install torch jax optax scipy

A result is a ratio, peer / crossent, of one run: machines differ, and other work on the same cores only ever
slows a call down. So each time is the fastest of many calls in rounds that take turns. A row in which another
library's answer disagrees is marked, and the run fails. The cases,
the calls and the floors are in benchmark_calls.py.
"""

import argparse
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_calls import CALLS, CASES, NEEDS, Call, Case, case_of, floor_calls, make_data, missing
from benchmark_tables import (
    Result,
    comparison_head,
    comparison_row,
    growth_table,
    memory_table,
    threads_table,
)

import crossent

TOLERANCE = {"float16": 5e-3, "float32": 1e-4, "float64": 1e-10}  # for agreement, not for accuracy
IN_NUMPY = ("crossent", "scipy")  # what NumPy allocates, tracemalloc sees


# -- time ------------------------------------------------------------------------------------------


def others_busy() -> float:
    """Return the part of all cores that other work keeps busy while this process sleeps. 0 off Linux."""

    def ticks() -> np.ndarray:
        with open("/proc/stat") as file:
            return np.array(file.readline().split()[1:], np.int64)

    if not os.path.exists("/proc/stat"):
        return 0.0
    before = ticks()
    time.sleep(0.1)
    spent = ticks() - before
    return float(1 - (spent[3] + spent[4]) / max(1, spent.sum()))  # idle and waiting for a disk


def timed(run: Call, prepare: Call) -> float:
    prepare()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleave(
    runs: dict[Any, Call], seconds: float, prepare: Call = lambda: None
) -> tuple[dict[Any, float], int]:
    """Return the seconds of one call of each run, the fastest of all, and how many rounds were quiet.

    The runs take turns in an order that rotates. Each turn starts after a pause in which the threads of the
    others go to sleep and, for short calls, with one call that does not count. A round waits for a quiet
    machine, all rounds together for at most twice `seconds`.
    """
    taken: dict[Any, list[float]] = {name: [] for name in runs}
    names = list(runs)
    quiet, rounds, working, waiting = 0, 0, 0.0, 2 * seconds
    gc.collect()
    gc.disable()
    while working < seconds or rounds < 5:
        while (busy := others_busy() > 0.2) and waiting > 0:
            waiting -= 0.1
        quiet += not busy
        rounds += 1
        start = time.perf_counter()
        for name in names:
            time.sleep(0.003)
            first = timed(runs[name], prepare)
            calls = 0 if first > 0.02 else int(np.clip(0.01 / first, 1, 50))
            taken[name] += [timed(runs[name], prepare) for _ in range(calls)] or [first]
        names.append(names.pop(0))
        working += time.perf_counter() - start
    gc.enable()
    return {name: min(times) for name, times in taken.items()}, quiet


# -- comparison ------------------------------------------------------------------------------------


def disagreement(case: Case, ours: Any, theirs: Any) -> float:
    """Return the largest difference, relative to the largest entry, as a part of the tolerance."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True) if case.grad else [(ours, theirs)]:
        a = np.asarray(a, np.float64)
        b = np.asarray(b, np.float64).reshape(a.shape)
        worst = max(worst, np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))
    return worst / TOLERANCE[case.dtype]


def measure(case: Case, peers: list[str], seconds: float) -> Result:
    data = make_data(case)
    calls = {"crossent": CALLS["crossent"](case, data)}
    for peer in peers:
        call = CALLS[peer](case, make_data(case) if case.inplace else data)
        if call is not None:
            calls[peer] = call
    prepare: Call = lambda: None  # noqa: E731
    if case.inplace:
        original = data.logits.copy()
        prepare = lambda: np.copyto(data.logits, original)  # noqa: E731
    ours = calls["crossent"]()
    parts = {
        peer: disagreement(case, ours, calls[peer]()) for peer in calls if peer != "crossent"
    }  # compiles, too
    del ours
    prepare()
    floors = {("floor", name): call for name, call in floor_calls(case, data).items()}
    taken, quiet = interleave({**calls, **floors}, seconds, prepare)
    return Result(
        case,
        {name: taken[name] for name in calls},
        {name: taken["floor", name] for _, name in floors},
        quiet,
        {peer: part for peer, part in parts.items() if not part <= 1},
    )


# -- memory: bytes that one call needs beside its arguments, its result included ------------------------


def peak_numpy(run: Call) -> int:
    """Return the peak of a process's first large call, what the library keeps for later ones included."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def peak_resident(run: Call) -> int:
    """Return how far a second call raises the resident memory of the process. Linux only."""
    import ctypes

    def status(key: str) -> int:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(key))

    run()  # compiles, and fills what a library keeps
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = status("VmRSS")
    result = run()
    peak = max(0, status("VmHWM") - before)
    del result
    return peak


def measure_memory(library: str, cases: list[Case]) -> dict[str, int]:
    """Return peaks by title, from processes of their own: one for a peer, one a case for NumPy's memory."""
    jobs = [[case] for case in cases] if library in IN_NUMPY else [cases]
    peaks: dict[str, int] = {}
    for job in jobs:
        command = [sys.executable, __file__, "--memory-of", library]
        text = json.dumps([asdict(case) for case in job])
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        peaks |= json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    return peaks


def print_peaks_of(library: str) -> None:
    peaks = {}
    for settings in json.load(sys.stdin):
        case = case_of(settings)
        call = CALLS[library](case, make_data(case))
        small = CALLS[library](case.smallest, make_data(case.smallest))
        if call is None or small is None:
            continue
        if library in IN_NUMPY:
            small()  # modules that are imported late
            peaks[case.title] = peak_numpy(call)
        else:
            peaks[case.title] = peak_resident(call)
    print(json.dumps(peaks))


# -- scaling ---------------------------------------------------------------------------------------


def limited(call: Call, threads: int) -> Call:
    def run() -> None:
        with crossent.set_num_threads(threads):
            call()

    return run


def measure_growth(shapes: list[tuple[int, int]], seconds: float) -> list[dict[str, Any]]:
    """Time value, and value+grad into `out=`, over shapes; with one thread and with all."""
    counts = sorted({1, crossent.get_num_threads()})
    out = np.empty(max(rows * classes for rows, classes in shapes), np.float32)
    runs: dict[Any, Call] = {}
    for rows, classes in shapes:
        data = make_data(Case("scaling", (rows, classes)))
        arguments = data.logits, data.target
        into = out[: rows * classes].reshape(rows, classes)
        for n in counts:
            value = lambda a=arguments: crossent.cross_entropy(*a)  # noqa: E731
            grad = lambda a=arguments, out=into: crossent.cross_entropy_value_and_grad(*a, out=out)  # noqa: E731
            runs[rows, classes, "value", n] = limited(value, n)
            runs[rows, classes, "value+grad", n] = limited(grad, n)
    taken, _ = interleave(runs, seconds)
    keys = ("rows", "classes", "kind", "threads")
    return [dict(zip(keys, key, strict=True), seconds=time) for key, time in taken.items()]


def measure_threads(cases: list[Case], seconds: float) -> list[dict[str, Any]]:
    """Time cases, and exp alone over their logits, with one thread and with all."""
    found = []
    for case in cases:
        data = make_data(case)
        call = CALLS["crossent"](case, data)
        floors = floor_calls(case, data)
        counts = sorted({1, 2, crossent.get_num_threads()})
        runs: dict[Any, Call] = {n: limited(call, n) for n in counts}
        runs |= {"exp, one": floors["exp, one thread"], "exp, all": floors["exp"]}
        taken, _ = interleave(runs, seconds)
        exp = taken.pop("exp, one") / taken.pop("exp, all")
        found.append({"title": case.title, "seconds": {str(n): taken[n] for n in counts}, "exp": exp})
    return found


# -- keeping, and the command line ------------------------------------------------------------------


def machine() -> dict[str, Any]:
    packages = [
        name for name in ("numpy", "torch", "jax", "optax", "scipy") if importlib.util.find_spec(name)
    ]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "processor": processor,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": crossent.get_num_threads(),
    }


def keep(path: Path | None, **parts: Any) -> None:
    """Put parts into a JSON file, beside those it has; a part that is a dict is merged."""
    if path is None:
        return
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, part in parts.items():
        whole[name] = {**whole.get(name, {}), **part} if isinstance(part, dict) else part
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def compare(
    cases: list[Case], peers: list[str], seconds: float, memory: bool, path: Path | None
) -> list[str]:
    """Print the tables as they grow; return what disagreed."""
    print(
        "\nMilliseconds of one call; compiling is not timed. In brackets peer / crossent: above 1 crossent is"
        "\nahead. Floors: memory (read the logits, write the result), exp (of the logits alone), bare (exp, a"
        "\nsum, a product), call (the same on one position of two classes)."
        "\nRows marked \\* hardly found a quiet moment: repeat them.\n"
    )
    print(*comparison_head(peers), sep="\n", flush=True)
    results = []
    for case in cases:
        results.append(measure(case, peers, seconds))
        print(comparison_row(results[-1], peers), flush=True)
        keep(path, results={case.title: asdict(results[-1])})
    if memory:
        for library in ("crossent", *peers):
            peaks = measure_memory(library, cases)
            for result in results:
                if result.case.title in peaks:
                    result.peak[library] = peaks[result.case.title]
        keep(path, results={result.case.title: asdict(result) for result in results})
        print("\nPeak memory of one call beside its arguments, result included:\n")
        print(*memory_table(results, peers), sep="\n")
    return [
        f"{r.case.title}: {peer}, {part:.1f} × tolerance" for r in results for peer, part in r.wrong.items()
    ]


def scale(quick: bool, seconds: float, path: Path | None) -> None:
    powers = np.arange(5, 7.1 if quick else 8.1, 0.5)
    shapes = {
        "rows": [(round(10**power / 1000), 1000) for power in powers],
        "classes": [(64, round(10**power / 64)) for power in powers],
    }
    for name, grown in shapes.items():
        points = measure_growth(grown, 3 * seconds)
        keep(path, growth={name: points})
        print(f"\nGrowth with {name}:\n", *growth_table(points), sep="\n", flush=True)
    few = ("imagenet", "segmentation", "double") if quick else {case.name for case in CASES} - {"tiny"}
    found = measure_threads([case for case in CASES if case.name in few and not case.inplace], seconds / 2)
    keep(path, threads=found)
    print("\nThreads:\n", *threads_table(found), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no memory, smaller sizes")
    parser.add_argument("--peers", default=",".join(NEEDS), help="comma-separated (default: %(default)s)")
    parser.add_argument(
        "--case", action="append", default=[], help="cases whose name contains this; repeatable"
    )
    parser.add_argument(
        "--scaling", action="store_true", help="growth with rows, classes and threads instead"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the raw results in this file, too")
    parser.add_argument("--memory-of", choices=list(CALLS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        return print_peaks_of(options.memory_of)
    seconds = 0.5 if options.quick else 6.0
    wanted = [peer for peer in options.peers.split(",") if peer]
    if unknown := set(wanted) - set(NEEDS):
        parser.error(f"--peers: no {', '.join(sorted(unknown))}; there are {', '.join(NEEDS)}")
    cases = [case for case in CASES if not options.case or any(part in case.name for part in options.case)]
    if not cases:
        parser.error(f"--case: the names are {', '.join(dict.fromkeys(case.name for case in CASES))}")
    facts = machine()
    keep(options.json, machine=facts)
    used = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"Python {facts['python']}, {used}; {facts['processor']}, {facts['threads']} threads")
    if options.scaling:
        return scale(options.quick, seconds, options.json)
    for peer in wanted:
        if missing(peer):
            print(f"not installed: {peer} (python -m pip install {' '.join(missing(peer))})")
    peers = [peer for peer in wanted if not missing(peer)]
    if disagreeing := compare(cases, peers, seconds, not options.quick, options.json):
        sys.exit("\nanswers disagree: " + "; ".join(disagreeing))


if __name__ == "__main__":
    main()
