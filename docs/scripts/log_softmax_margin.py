"""Draw docs/pictures/log_softmax_margin.svg: python docs/scripts/log_softmax_margin.py

Minus the log-probability of the likelier of two classes, in float32, by two formulas.
"""

from pathlib import Path

import numpy as np
from page_parts import plotting, save

from crossent import log_softmax

PICTURE = Path(__file__).resolve().parents[1] / "pictures" / "log_softmax_margin.svg"
GREY, BLUE, RED = "#7d8590", "#2f86eb", "#e5484d"  # seen on white and on black


def naive_shifted_log_softmax(z: np.ndarray) -> np.ndarray:
    """Subtract the maximum, and the logarithm of a sum that has a 1 in it."""
    d = z - z.max(axis=1, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=1, keepdims=True))


def main() -> None:
    margin = np.linspace(8, 24, 1601, dtype=np.float32)
    z = np.stack([np.zeros_like(margin), margin], axis=1)
    naive = -naive_shifted_log_softmax(z)[:, 1]
    figure, ax = plotting(GREY).subplots(figsize=(7.2, 3.9), facecolor="none")
    ax.set_facecolor("none")
    ax.set_yscale("log")
    ax.set_xlim(8, 24)
    ax.set_ylim(1e-11, 1e-3)
    ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.plot(margin, -log_softmax(z)[:, 1], color=BLUE, linewidth=2, label="log1p(r / o)")
    ax.plot(margin[naive > 0], naive[naive > 0], color=RED, linewidth=1.8, label="log(1 + r)")
    last = margin[naive > 0][-1]
    ax.annotate(
        "from here on exactly 0", (last, naive[naive > 0][-1]), (last + 0.4, 3e-7), color=RED, fontsize=9.5
    )
    ax.set_xlabel("margin of the class (nats)")
    ax.set_ylabel("minus log-probability (nats)")
    ax.legend(frameon=False)
    figure.tight_layout()
    save(figure, PICTURE)


if __name__ == "__main__":
    main()
