"""What the scripts of this folder share: the look of a picture, and parts of a page between two marks."""

GREY, BLUE, ORANGE, GREEN = "#808080", "#3b82f6", "#e8590c", "#2f9e44"  # on white and on black
TRANSPARENT = {"axes.facecolor": "none", "axes.titlesize": 11}
OPEN = {**TRANSPARENT, "axes.spines.top": False, "axes.spines.right": False}


def plotting(grey=GREY, **settings):
    """Matplotlib's pyplot, for pictures that are the same bytes each time and can be seen on any ground."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "path", "svg.hashsalt": "crossent", "font.size": 10.5,
            "font.family": "DejaVu Sans", "text.color": grey, "axes.labelcolor": grey,
            "axes.edgecolor": grey, "xtick.color": grey, "ytick.color": grey, **settings,
        }
    )  # fmt: skip
    return plt


def save(figure, path):
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    # Lines end in a space, which is nothing but noise in a diff.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def between_marks(text, parts, page, script):
    """Put each of `parts`, by name, between its two marks in the text of a page."""
    for name, part in parts.items():
        before, start, rest = text.partition(f"<!-- {name}: written by docs/scripts/{script} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->\n")
        assert start, f"docs/{page} has lost the mark before {name}"
        assert end, f"docs/{page} has lost the mark behind {name}"
        text = f"{before}{start}\n{part}\n\n{end}{after}"
    return text
