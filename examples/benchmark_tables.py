"""The tables that `benchmark.py` prints, as lines of Markdown."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from benchmark_calls import CASES, Case


@dataclass
class Result:
    case: Case
    seconds: dict[str, float]  # of one call, by library
    floors: dict[str, float]
    quiet: int  # rounds that began on a quiet machine
    wrong: dict[str, float] = field(default_factory=dict)  # by peer: disagreement, in tolerances
    peak: dict[str, int] = field(default_factory=dict)  # bytes, by library

    @property
    def best(self) -> str | None:
        """The fastest peer."""
        peers = [name for name in self.seconds if name != "crossent"]
        return min(peers, key=self.seconds.__getitem__, default=None)

    @property
    def ratio(self) -> float:
        return self.seconds[self.best] / self.seconds["crossent"] if self.best else float("nan")


def kept_results(whole: dict[str, Any]) -> list[Result]:
    """Return the results of a JSON file, in the order of the cases."""
    found = whole.get("results", {})
    return [Result(**{**found[case.title], "case": case}) for case in CASES if case.title in found]


def ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:#.3g}".rstrip(".")


def mib(count: int | None) -> str:
    if count is None:
        return "–"
    return f"{count / 2**20:#.3g}".rstrip(".") if count >= 2**20 else f"{count / 2**20:.2f}"


def line(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*cells: Any) -> list[str]:
    return [line(*cells), line("---", *["---:"] * (len(cells) - 1))]


def comparison_head(peers: list[str]) -> list[str]:
    return head("ms", "crossent", *peers, "best peer / crossent", "memory", "exp", "bare", "call")


def comparison_row(result: Result, peers: list[str]) -> str:
    ours = result.seconds["crossent"]
    cells = ["–"] * len(peers)
    for i, peer in enumerate(peers):
        if peer in result.seconds:
            theirs = result.seconds[peer]
            cells[i] = f"{ms(theirs)} ({theirs / ours:.2f})" + " DISAGREES" * (peer in result.wrong)
    floors = [ms(result.floors[name]) for name in ("memory", "exp", "bare", "call")]
    ratio = f"**{result.ratio:.2f}**" if result.best else "–"
    return line(result.case.title + " \\*" * (result.quiet < 3), ms(ours), *cells, ratio, *floors)


def memory_table(results: list[Result], peers: list[str]) -> list[str]:
    rows = head("MiB", "logits", "result", "crossent", *peers)
    for result in results:
        logits = result.case.size * np.dtype(result.case.dtype).itemsize
        peaks = [mib(result.peak.get(library)) for library in ("crossent", *peers)]
        rows.append(line(result.case.title, mib(logits), mib(result.case.result_bytes), *peaks))
    return rows


def growth_table(points: list[dict[str, Any]]) -> list[str]:
    """Nanoseconds an element, and below them the slopes."""
    columns: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for point in points:
        columns.setdefault((point["kind"], point["threads"]), []).append(point)
    names = [f"{kind}, {n} thread{'s' * (n > 1)}" for kind, n in columns]
    rows = head("ns an element", "elements", *names)
    for row in zip(*columns.values(), strict=True):
        size = row[0]["rows"] * row[0]["classes"]
        cells = [f"{point['seconds'] / size * 1e9:.3f}" for point in row]
        rows.append(line(f"{row[0]['rows']:,}×{row[0]['classes']:,}", f"{size:.1e}", *cells))
    return [*rows, line("log-log slope", "", *(f"**{slope(column):.2f}**" for column in columns.values()))]


def threads_table(found: list[dict[str, Any]]) -> list[str]:
    counts = list(found[0]["seconds"])
    rows = head("ms", *(f"{n} thread{'s' * (n != '1')}" for n in counts), "speed-up", "of exp alone")
    for case in found:
        times = list(case["seconds"].values())
        rows.append(
            line(case["title"], *map(ms, times), f"**{times[0] / times[-1]:.2f}**", f"{case['exp']:.2f}")
        )
    return rows


def slope(points: list[dict[str, Any]]) -> float:
    """Return the slope of log seconds over log elements."""
    sizes = np.log([point["rows"] * point["classes"] for point in points])
    return float(np.polyfit(sizes, np.log([point["seconds"] for point in points]), 1)[0])
