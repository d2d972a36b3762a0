"""Draw the reliability of the three models of docs/imbalance.md: docs/pictures/reliability.svg.

    python docs/scripts/imbalance.py

The numbers are those of the page: its Python blocks are run, and the picture shows what they leave.
Needs matplotlib.
"""

import doctest
import os
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
GREY, BLUE, ORANGE, GREEN = "#808080", "#3b82f6", "#e8590c", "#2f9e44"  # on white and on black


def run_page(path):
    """Return what the page's blocks define; those that need other libraries are left out."""
    os.chdir(DOCS.parent)  # the page reads a file of the repository
    names = {}
    runner = doctest.DocTestRunner(verbose=False)
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.S | re.M)
    for number, code in enumerate(blocks):
        test = doctest.DocTestParser().get_doctest(code, {}, f"block {number}", str(path), 0)
        test.globs = names
        runner.run(test, clear_globs=False)
    assert not runner.failures, "the page does not print what it shows"
    return names


def draw(page, path):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "path", "svg.hashsalt": "crossent", "font.size": 10.5,
            "font.family": "DejaVu Sans", "text.color": GREY, "axes.labelcolor": GREY,
            "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY, "axes.facecolor": "none",
            "axes.spines.top": False, "axes.spines.right": False,
        }
    )  # fmt: skip
    figure, ax = plt.subplots(figsize=(6.4, 4.8), facecolor="none")
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="calibrated")
    lines = (("plain", BLUE, "o-"), ("weighted", ORANGE, "s-"), ("corrected", GREEN, "^--"))
    titles = {"plain": "no weights", "weighted": f"pos_weight = {page['c']:.2f}"}
    for name, colour, style in lines:
        _, said, were = zip(*page["reliability"](page[name]), strict=True)
        title = titles.get(name, "weighted, log(pos_weight) subtracted")
        ax.plot(said, were, style, color=colour, linewidth=1.8, markersize=6, label=title)
    ax.set_xlabel("predicted probability of malignant, mean of the bin")
    ax.set_ylabel("share that is malignant")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
    ax.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    # Lines end in a space, which is nothing but noise in a diff.
    text = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    draw(run_page(DOCS / "imbalance.md"), DOCS / "pictures" / "reliability.svg")
