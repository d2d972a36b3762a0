"""What the examples share to draw a picture, where matplotlib is installed."""

import argparse
import importlib.util
from pathlib import Path


def path_of_picture(doc, script):
    """Read the command line, whose only option says where to draw. `doc` is the script's docstring."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument(
        "--picture",
        type=Path,
        default=Path(script).with_suffix(".png"),
        help="where to draw (default: beside this script)",
    )
    return parser.parse_args().picture


def save(path, draw, *data):
    """Save the figure that `draw(plt, *data)` returns, or say why there is none."""
    if not importlib.util.find_spec("matplotlib"):
        print("\nno picture: matplotlib is not installed (python -m pip install matplotlib)")
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    figure = draw(plt, *data)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(f"\npicture: {path}")


def show_digit(axes, pixels, title=None, **options):
    """Draw 64 numbers as the 8 x 8 pixels that they belong to, without ticks."""
    axes.imshow(pixels.reshape(8, 8), **{"cmap": "Greys", **options})
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.8")
    if title is not None:
        axes.set_title(title, fontsize=10, pad=3)
