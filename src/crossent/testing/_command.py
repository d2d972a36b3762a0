"""``python -m crossent.testing``: hold a function against the laws, or this package on this machine."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossent.testing import measure
from crossent.testing._calls import SPECS
from crossent.testing._report import ConformanceReport, Verdict, explained
from crossent.testing.adapters import adapt
from crossent.testing.conformance import LAWS, conformance_report

_SELF_EXAMPLES = 15
_SELF_SIZE = 100
_SELF_REGIMES = (
    "scale 1", "scale 10", "confident right", "confident wrong", "ties", "offset 1e4", "offset 1e30",
    "masked", "near subnormal", "thresholds of exp", "mixed rows",
)  # fmt: skip
_DTYPES = ("float16", "float32", "float64")


def check(argv: Sequence[str]) -> int:
    """Run ``python -m crossent.testing module:function --spec ...``: 1 if a law is broken, 2 if it
    cannot run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m crossent.testing",
        description="Hold a function against the laws of cross-entropy; without arguments, crossent itself.",
    )
    parser.add_argument("function", help="module:function, or path/to/file.py:function")
    parser.add_argument("--spec", required=True, choices=SPECS, help="which function it is")
    parser.add_argument("--grad", help="module:function of its gradient")
    parser.add_argument("--supports", help="options that it has, with commas; by default its parameters'")
    parser.add_argument("--dtypes", default="float32,float64", help="dtypes of the logits (float32,float64)")
    parser.add_argument("--tolerance", help="ulps of values and gradients: 100, or 100,1000")
    parser.add_argument("--laws", help="names of laws, with commas; by default all")
    parser.add_argument("--max-examples", type=int, default=100, help="calls for each law (100)")
    parser.add_argument("--seed", type=int, help="the same seed draws the same calls")
    parser.add_argument("--report", type=Path, help="file for the report: .md, .json, or text")
    options = parser.parse_args(argv)
    try:
        report = conformance_report(
            _loaded(options.function),
            options.spec,
            grad=None if options.grad is None else _loaded(options.grad),
            supports=None if options.supports is None else _words(options.supports),
            dtypes=_words(options.dtypes),
            tolerance=_tolerance(options.tolerance),
            laws=None if options.laws is None else _words(options.laws),
            max_examples=options.max_examples,
            seed=options.seed,
            progress=_progress(_count(options)),
        )
    except (ImportError, AttributeError, ValueError, TypeError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print()
    print(report.text())
    if options.report is not None:
        form = {".md": report.markdown, ".json": report.json}.get(options.report.suffix, report.text)
        options.report.write_text(form().rstrip() + "\n", encoding="utf-8")
        print(f"\nwritten to {options.report}")
    return 0 if report.ok else 1


def _count(options: argparse.Namespace) -> int:
    """How many laws will be told of."""
    wanted = {law.name for law in LAWS if options.spec in law.specs}
    return len(wanted if options.laws is None else wanted & set(_words(options.laws)))


def _words(text: str) -> list[str]:
    return [word for word in text.replace(" ", "").split(",") if word]


def _tolerance(text: str | None) -> float | tuple[float, float] | None:
    if text is None:
        return None
    numbers = [float(word) for word in _words(text)]
    if len(numbers) not in (1, 2):
        raise ValueError(f"tolerance must be ulps, one number or two, got {text!r}")
    return (numbers[0], numbers[-1])


def _loaded(text: str) -> Callable[..., Any]:
    """The function that ``module:function`` names."""
    place, colon, name = text.rpartition(":")
    if not colon:
        raise ValueError(f"expected module:function, got {text!r}")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    function: Callable[..., Any] = found
    return function


def _progress(count: int) -> Callable[[Verdict], None]:
    """Print a line a law, when it is known."""
    done = 0

    def progress(verdict: Verdict) -> None:
        nonlocal done
        done += 1
        examples = f"{verdict.examples:4} examples" if verdict.examples else ""
        print(f"[{done:2}/{count}] {verdict.law.name:42} {verdict.word:11} {examples}".rstrip(), flush=True)

    return progress


# -- this package on this machine ------------------------------------------------------------------------


def check_crossent() -> int:
    """Hold crossent itself against every law, and measure its digits: 1 if a law is broken or a limit
    passed.
    """
    began = time.perf_counter()
    print(f"crossent on NumPy {np.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print(f"laws: {_SELF_EXAMPLES} calls each, {', '.join(_DTYPES)}, every option", flush=True)
    reports = []
    for spec in SPECS:
        reports.append(adapt("crossent", spec).conforms(max_examples=_SELF_EXAMPLES, seed=len(spec)))
        print(f"  {reports[-1].summary}", flush=True)
    cells = measure.measure(dtypes=_DTYPES, size=_SELF_SIZE, regimes=_SELF_REGIMES)
    print(f"\n{_table(reports, cells)}")
    broken = [verdict for report in reports for verdict in report.broken]
    for verdict in broken:
        print(f"\n{explained(verdict)}")
    over = [cell for cell in cells if not cell.ok]
    for cell in over:
        print(
            f"\nover the limit: {cell.function} {cell.dtype} {cell.variant}, {cell.regime}: "
            f"{cell.ulp:.3g} ulp"
        )
    seconds = time.perf_counter() - began
    print(f"\n{len(broken)} laws broken, {len(over)} limits passed, {seconds:.0f} seconds")
    return 1 if broken or over else 0


def _table(reports: Sequence[ConformanceReport], cells: Sequence[measure.Cell]) -> str:
    """Laws kept, and the worst distance in ulp of values and gradients in each dtype."""
    laws = {r.spec: f"{sum(v.word == 'holds' for v in r.verdicts)} of {len(r.verdicts)}" for r in reports}
    worst: dict[tuple[str, str], float] = {}
    for cell in cells:
        worst[cell.function, cell.dtype] = max(worst.get((cell.function, cell.dtype), 0.0), cell.ulp)
    names = list(dict.fromkeys(c.function for c in cells if not c.function.endswith("_grad")))
    columns = [(suffix, dtype) for suffix in ("", "_grad") for dtype in _DTYPES]
    short = {"": "value", "_grad": "grad"}
    head = "".join(f"{short[s] + ' f' + d.removeprefix('float'):>11}" for s, d in columns)
    lines = [f"{'worst error in ulp':34}{'laws kept':>10}{head}"]
    for name in names:
        numbers = [worst.get((name + suffix, dtype)) for suffix, dtype in columns]
        row = "".join(f"{'' if v is None else format(v, '.2f'):>11}" for v in numbers)
        lines.append(f"{name:34}{laws.get(name, ''):>10}{row}".rstrip())
    return "\n".join(lines)
