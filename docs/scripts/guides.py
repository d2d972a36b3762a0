"""Draw the pictures of docs/imbalance.md and docs/segmentation.md: docs/pictures/reliability.svg, border.svg.

    python docs/scripts/guides.py

The numbers are those of the pages: their Python blocks are run, and the pictures show what they leave.
Needs matplotlib.
"""

import doctest
import os
import re
from pathlib import Path

from page_parts import BLUE, GREEN, GREY, ORANGE, TRANSPARENT, plotting, save

DOCS = Path(__file__).resolve().parents[1]


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


def draw_reliability(page, path):
    """Share of malignant tumours over the predicted probability, a line for each model."""
    figure, ax = plotting(**TRANSPARENT).subplots(figsize=(6.4, 4.8), facecolor="none")
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
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
    ax.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    save(figure, path)


def draw_border(page, path):
    """The labels of the first image, and what each of its pixels costs."""
    plt = plotting(**TRANSPARENT)
    from matplotlib.colors import ListedColormap

    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.2), facecolor="none")
    labels, losses = page["labelled"][0], page["losses"][0]
    void = labels == page["VOID"]
    names = ["road", "car", "line", "ignored"]
    shown = axes[0].pcolormesh(
        page["np"].where(void, 3, labels), vmin=-0.5, vmax=3.5, edgecolors="face",
        cmap=ListedColormap(["#74a9f7", ORANGE, GREEN, "#00000000"]),
    )  # fmt: skip
    figure.colorbar(shown, ax=axes[0], ticks=range(4), shrink=0.8).set_ticklabels(names)
    axes[0].set_title("labels", color=GREY)
    shown = axes[1].pcolormesh(
        page["np"].ma.masked_array(losses, void), cmap=plt.get_cmap("viridis", 16), vmin=0, edgecolors="face"
    )
    figure.colorbar(shown, ax=axes[1], label="nats", shrink=0.8)
    axes[1].set_title("loss of each pixel", color=GREY)
    for ax in axes:
        ax.invert_yaxis()
        ax.set_yticks([0, 4, 8, 12])
        ax.set_xticks([0, 8, 16, 24])
        ax.set_aspect("equal")
        ax.set_xlabel("column")
        ax.set_ylabel("row")
    figure.tight_layout(w_pad=2)
    save(figure, path)


if __name__ == "__main__":
    draw_reliability(run_page(DOCS / "imbalance.md"), DOCS / "pictures" / "reliability.svg")
    draw_border(run_page(DOCS / "segmentation.md"), DOCS / "pictures" / "border.svg")
