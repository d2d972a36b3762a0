"""Draws the pictures of the pages on softplus, sigmoid, the binary loss and the divergence.

    python docs/scripts/elementwise.py

Needs matplotlib. Everything drawn is computed here, errors against 50 digits of `crossent.exact`.
"""

from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
from page_parts import BLUE, GREEN, GREY, ORANGE, plotting, save

import crossent
from crossent import exact

PICTURES = Path(__file__).resolve().parents[1] / "pictures"
FLOOR = 2e-17


def relative_error(computed, true):
    """Relative errors, drawn at `FLOOR` where they are smaller and at 1 where all digits are lost."""
    with localcontext() as context:
        context.prec = 60
        off = [
            float(abs(Decimal(float(c)) - t) / abs(t)) if np.isfinite(c) else 1.0
            for c, t in zip(computed, true, strict=True)
        ]
    return np.clip(off, FLOOR, 1)


def two_panels(plt, titles, labels):
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.9), facecolor="none")
    for ax, title, (x, y) in zip(axes, titles, labels, strict=True):
        ax.set_facecolor("none")
        ax.set_title(title, fontsize=11, color=GREY)
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def in_logs(ax):
    ax.set_yscale("log")
    ax.set_ylim(FLOOR, 3)
    ax.set_yticks([10.0**k for k in range(-16, 1, 4)])
    ax.minorticks_off()


def legend(ax, where):
    ax.legend(loc=where, frameon=False, fontsize=9.5)


def draw_softplus(plt):
    figure, (left, right) = two_panels(
        plt,
        ("softplus and its two terms", "relative error, float64"),
        (("x", "nats"), ("x", "relative error (1: every digit lost)")),
    )
    x = np.linspace(-5, 5, 201)
    left.plot(x, np.maximum(x, 0), color=GREY, linestyle="--", label="max(x, 0)")
    left.plot(x, np.log1p(np.exp(-np.abs(x))), color=ORANGE, label="log1p(exp(-|x|))")
    left.plot(x, crossent.softplus(x), color=BLUE, linewidth=2.2, label="softplus(x), the sum")
    legend(left, "upper left")
    x = np.linspace(-45, 45, 361) + 0.0123
    true = exact.softplus(x)
    right.plot(x, relative_error(np.log(1 + np.exp(x)), true), color=ORANGE, label="log(1 + exp(x))")
    cut = np.where(x > 20, x, np.log1p(np.exp(x)))
    right.plot(x, relative_error(cut, true), color=GREEN, linestyle="--", label="x beyond a threshold of 20")
    right.plot(x, relative_error(crossent.softplus(x), true), color=BLUE, label="softplus")
    in_logs(right)
    legend(right, "upper right")
    return figure


def draw_sigmoid(plt):
    figure, (left, right) = two_panels(
        plt,
        ("sigmoid and its derivative", "relative error, float64"),
        (("x", ""), ("x", "relative error (1: every digit lost)")),
    )
    x = np.linspace(-8, 8, 321)
    left.plot(x, crossent.sigmoid(x), color=BLUE, linewidth=2.2, label="sigmoid(x)")
    left.plot(x, crossent.sigmoid_grad(x), color=ORANGE, label="its derivative")
    left.axhline(0.25, color=GREY, linestyle=":", linewidth=1)
    left.text(8, 0.27, "1/4", ha="right")
    legend(left, "upper left")
    x = np.linspace(-45, 45, 361) + 0.0123
    p = crossent.sigmoid(x)
    slope = [a * b for a, b in zip(exact.sigmoid(x), exact.sigmoid(-x), strict=True)]
    right.plot(x, relative_error(p * (1 - p), slope), color=ORANGE, label="derivative as p (1 - p)")
    tanh = (1 + np.tanh(x / 2)) / 2
    right.plot(
        x, relative_error(tanh, exact.sigmoid(x)), color=GREEN, linestyle="--",
        label="value as (1 + tanh(x / 2)) / 2",
    )  # fmt: skip
    right.plot(x, relative_error(crossent.sigmoid_grad(x), slope), color=BLUE, label="sigmoid_grad")
    in_logs(right)
    legend(right, "upper center")
    return figure


def draw_binary_loss(plt):
    figure, (left, right) = two_panels(
        plt,
        ("loss of the target 1", "its slope"),
        (("logit z", "nats"), ("logit z", "d loss / d z")),
    )
    z = np.linspace(-140, 20, 1601)
    y = np.ones_like(z)
    p = crossent.sigmoid(z)
    inside = (p > 1e-7) & (p < 1 - 1e-7)
    loss, slope = crossent.binary_cross_entropy_with_logits_value_and_grad(z, y, reduction="none")
    # In float32 sigmoid(z) is 0 below -104; its logarithm is replaced by -100.
    with np.errstate(divide="ignore"):
        at_100 = -np.maximum(np.log(crossent.sigmoid(z.astype(np.float32))), -100)
    for ax, curves in (
        (left, (loss, at_100, -np.log(np.clip(p, 1e-7, 1 - 1e-7)))),
        (right, (slope, np.where(at_100 < 100, slope, 0), np.where(inside, slope, 0))),
    ):
        looks = ((BLUE, "-", 4.5, 0.45), (GREEN, "--", 1.6, 1), (ORANGE, "-", 1.6, 1))
        names = ("exact", "logarithm clamped at -100", "probability clipped to 1e-7")
        for curve, (colour, dashes, width, alpha), name in zip(curves, looks, names, strict=True):
            ax.plot(z, curve, color=colour, linestyle=dashes, linewidth=width, alpha=alpha, label=name)
    legend(left, "upper right")
    return figure


def draw_divergence(plt):
    figure, (left, right) = two_panels(
        plt,
        ("two outcomes, q = (0.3, 0.7)", "relative error of D(p || q), float64"),
        (("first probability of p", "nats"), ("moved mass", "relative error (1: every digit lost)")),
    )
    a = np.linspace(0, 1, 401)
    p, q = np.stack([a, 1 - a], axis=1), np.tile([0.3, 0.7], (401, 1))
    inner = slice(1, -1)  # D(q || p) is infinite at both ends
    left.plot(a, crossent.entropy(p), color=GREY, linestyle="--", label="H(p)")
    left.plot(a, crossent.kl_divergence(p, q), color=BLUE, linewidth=2.2, label="D(p || q)")
    left.plot(a[inner], crossent.kl_divergence(q, p)[inner], color=ORANGE, label="D(q || p)")
    left.set_ylim(0, 1.6)
    legend(left, "upper center")
    moved = 2.0 ** -np.arange(4, 50)  # exact in both entries
    q = np.tile([0.25, 0.75], (len(moved), 1))
    p = q + np.stack([moved, -moved], axis=1)
    with localcontext() as context:
        context.prec = 60
        rows = [[Decimal(float(v)) for v in row] for row in np.hstack([p, q])]
        true = [a * (a / c).ln() + b * (b / d).ln() for a, b, c, d in rows]
    naive = (p * np.log(p / q)).sum(axis=1)
    right.plot(moved, relative_error(naive, true), color=ORANGE, label="sum(p log(p / q))")
    right.plot(moved, relative_error(crossent.kl_divergence(p, q), true), color=BLUE, label="kl_divergence")
    in_logs(right)
    right.set_xscale("log")
    legend(right, "upper right")
    return figure


def main():
    """Write every picture."""
    plt = plotting()
    drawn = {
        "softplus": draw_softplus, "sigmoid": draw_sigmoid,
        "binary_loss": draw_binary_loss, "divergence": draw_divergence,
    }  # fmt: skip
    for name, draw in drawn.items():
        figure = draw(plt)
        figure.tight_layout(w_pad=2)
        save(figure, PICTURES / f"{name}.svg")


if __name__ == "__main__":
    main()
