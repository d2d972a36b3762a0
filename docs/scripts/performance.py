"""Writes the tables and the pictures of docs/performance.md from the raw results of a run.

    python -m pip install ".[peers,docs]"
    python docs/scripts/performance.py --run   # half an hour on a quiet machine: measures everything anew
    python docs/scripts/performance.py         # a second: writes again from the results that are kept

The raw results are docs/performance.json. No figure of the page comes from anywhere else. Rows that the
benchmark marks with an asterisk can be measured again by themselves, before the page is written:

    python examples/benchmark.py --case NAME --json docs/performance.json
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from benchmark_calls import NEEDS
from benchmark_tables import (
    comparison_head,
    comparison_row,
    growth_table,
    head,
    kept_results,
    line,
    memory_table,
    mib,
    ms,
    slope,
    threads_table,
)
from page_parts import BLUE, GREY, OPEN, ORANGE, between_marks, plotting, save

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RAW = DOCS / "performance.json"
LANGUAGE_MODELS = ("lm-small", "lm-llama", "lm-last-axis")


def run(path, quick):
    """Measure everything into a new file, one program after the other."""
    fresh = path.with_suffix(".new.json")
    fresh.unlink(missing_ok=True)
    few = ["--quick"] if quick else []
    for command in (
        ["examples/benchmark.py", *few],
        ["examples/benchmark.py", "--scaling", *few],
        ["docs/scripts/tried.py", *few],
        ["docs/scripts/passes.py"],
    ):
        subprocess.run([sys.executable, *command, "--json", str(fresh)], cwd=ROOT, check=True)
    fresh.replace(path)


# -- tables ----------------------------------------------------------------------------------------


def peers_of(results):
    return [peer for peer in NEEDS if any(peer in result.seconds for result in results)]


def machine(raw):
    facts = raw["machine"]
    used = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [
        f"- {facts['processor']}, {facts['cores']} cores, {facts['system']}; {facts['threads']} threads",
        f"- Python {facts['python']}, {used}",
    ]


def summary(raw):
    """What the table says, in two sentences."""
    results = [result for result in kept_results(raw) if result.best]
    ahead = [result for result in results if result.ratio >= 1]
    sentences = [f"crossent is ahead of the fastest peer in {len(ahead)} of {len(results)} rows"]
    for kind, grad in (("value", False), ("value and gradient", True)):
        ratios = [r.ratio for r in results if r.case.name in LANGUAGE_MODELS and r.case.grad == grad]
        if ratios:
            span = f"{min(ratios):.2f} to {max(ratios):.2f}"
            sentences.append(f"for the {kind} of the language models it is {span} times as fast")
    return ["; ".join(sentences) + "."]


def times(raw):
    results = kept_results(raw)
    peers = peers_of(results)
    return [*comparison_head(peers), *(comparison_row(result, peers) for result in results)]


def reason(result, passes):
    """The first floor that the fastest peer is below; the floors are parts of the work."""
    best, floors = result.seconds[result.best], result.floors
    if floors["exp"] >= best:
        return "`exp` alone takes longer"
    if floors["bare"] >= best:
        return "`exp`, a sum and a product take longer"
    if floors["call"] >= best:
        return "the fixed cost of a call takes longer"
    if floors["bare"] + floors["call"] >= best:
        return "the bare passes and the fixed cost of a call take longer"
    return f"no floor: {passes:.1f} passes, for digits and special values"


def below(raw):
    rows = head("row", "best peer", "best / crossent", "exp / best", "bare / best", "call / best", "why")
    for result in kept_results(raw):
        if result.best and result.ratio < 1:
            best = result.seconds[result.best]
            parts = [f"{result.floors[name] / best:.2f}" for name in ("exp", "bare", "call")]
            rows.append(
                line(
                    result.case.title,
                    result.best,
                    f"{result.ratio:.2f}",
                    *parts,
                    reason(result, raw["passes"][result.case.title]),
                )
            )
    return rows if len(rows) > 2 else ["None."]


def shares(raw):
    """Time of a call in floors: what is left is what the passes beyond them cost."""
    rows = head("row", "crossent ms", "ns a logit", "memory", "exp", "bare", "call")
    for result in kept_results(raw):
        ours = result.seconds["crossent"]
        parts = [f"{result.floors[name] / ours:.0%}" for name in ("memory", "exp", "bare", "call")]
        rows.append(line(result.case.title, ms(ours), f"{ours / result.case.size * 1e9:.2f}", *parts))
    return rows


def memory(raw):
    results = kept_results(raw)
    return memory_table(results, peers_of(results))


def most(raw):
    """The largest peak beside the result."""
    found = [(r.peak["crossent"] - r.case.result_bytes, r) for r in kept_results(raw) if "crossent" in r.peak]
    peak, result = max(found, key=lambda one: one[0])
    return [f"Beside the result crossent needs {mib(peak)} MiB at most: {result.case.title}."]


def tried(name):
    return lambda raw: raw["tried"][name]


PARTS = {
    "machine": machine,
    "summary": summary,
    "times": times,
    "below": below,
    "shares": shares,
    "memory": memory,
    "most": most,
    "rows": lambda raw: growth_table(raw["growth"]["rows"]),
    "classes": lambda raw: growth_table(raw["growth"]["classes"]),
    "threads": lambda raw: threads_table(raw["threads"]),
    **{name: tried(name) for name in ("counted", "sums", "blocks", "waking", "passes", "fresh", "half")},
}


def write(raw, text):
    """Put each part between its two marks."""
    parts = {name: "\n".join(part(raw)) for name, part in PARTS.items()}
    return between_marks(text, parts, "performance.md", "performance.py")


# -- pictures --------------------------------------------------------------------------------------


def draw_scaling(raw, path):
    """Time an element over the number of elements: a flat line grows as the input does."""
    figure, axes = plotting(**OPEN).subplots(1, 2, figsize=(9.6, 5.6), sharey=True, facecolor="none")
    fixed = {"rows": "N×1,000", "classes": "64×K"}
    for ax, (name, points) in zip(axes, raw["growth"].items(), strict=True):
        counts = sorted({point["threads"] for point in points})
        for kind, colour in (("value", BLUE), ("value+grad", ORANGE)):
            for threads in counts:
                line = [p for p in points if p["kind"] == kind and p["threads"] == threads]
                sizes = [p["rows"] * p["classes"] for p in line]
                each = [p["seconds"] / size * 1e9 for p, size in zip(line, sizes, strict=True)]
                label = f"{kind}, {threads} thread{'s' * (threads > 1)}: slope {slope(line):.2f}"
                alone = threads == 1
                ax.plot(sizes, each, "o--" if alone else "o-", color=colour, label=label, linewidth=1.8,
                        markersize=5, markerfacecolor="none" if alone else colour)  # fmt: skip
        ax.set_xscale("log")
        ax.set_xlabel("elements")
        ax.set_title(f"growth with {name}, {fixed[name]} float32", color=GREY)
        ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
        ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("nanoseconds an element")
    figure.tight_layout(w_pad=2)
    save(figure, path)


def draw_roofline(raw, path):
    """Each row of the table: its floors, crossent and the fastest peer, in nanoseconds a logit."""
    results = kept_results(raw)
    figure, ax = plotting(**OPEN).subplots(figsize=(9.6, 0.31 * len(results) + 1.5), facecolor="none")
    y = np.arange(len(results))[::-1]
    each = [1e9 / result.case.size for result in results]

    def floor(name):
        return [result.floors[name] * scale for result, scale in zip(results, each, strict=True)]

    ours = [result.seconds["crossent"] * scale for result, scale in zip(results, each, strict=True)]
    ax.hlines(y, floor("memory"), ours, color=GREY, alpha=0.35, linewidth=1.2)
    for name, marker in (("memory", "|"), ("exp", "x"), ("bare", "+")):
        label = {"memory": "memory", "exp": "exp alone", "bare": "exp, sum, product"}[name]
        ax.plot(
            floor(name), y, marker, color=GREY, markersize=8, markeredgewidth=1.6, label=f"floor: {label}"
        )
    peers = [(r.seconds[r.best] * scale, at) for r, scale, at in zip(results, each, y, strict=True) if r.best]
    if peers:
        ax.plot(*zip(*peers, strict=True), "D", color=ORANGE, markersize=5.5, label="fastest peer")
    ax.plot(ours, y, "o", color=BLUE, markersize=6.5, label="crossent")
    ax.set_xscale("log")
    ax.set_yticks(y, [result.case.title for result in results], fontsize=9)
    ax.set_ylim(-0.7, len(results) - 0.3)
    ax.set_xlabel("nanoseconds a logit (further left is faster)")
    ax.grid(color=GREY, alpha=0.2, linewidth=0.7, axis="x")
    figure.legend(*ax.get_legend_handles_labels(), frameon=False, fontsize=9.5, loc="upper center", ncols=5)
    figure.tight_layout(rect=(0, 0, 1, 0.965))
    save(figure, path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="measure everything first")
    parser.add_argument("--quick", action="store_true", help="with --run: badly, to try the script")
    parser.add_argument(
        "--json", type=Path, default=RAW, metavar="FILE", help="default: docs/performance.json"
    )
    options = parser.parse_args()
    if options.run:
        run(options.json.resolve(), options.quick)
    raw = json.loads(options.json.read_text(encoding="utf-8"))
    page = DOCS / "performance.md"
    page.write_text(write(raw, page.read_text(encoding="utf-8")), encoding="utf-8")
    draw_scaling(raw, DOCS / "pictures" / "scaling.svg")
    draw_roofline(raw, DOCS / "pictures" / "roofline.svg")


if __name__ == "__main__":
    main()
