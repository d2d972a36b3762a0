"""Draws the pictures of four pages: numerics, gradients, probability and smoothing.

    python -m pip install ".[docs]"
    python docs/scripts/concepts.py           # some seconds

The functions that are drawn are those of the pages: the script runs a page's blocks first, and measures with
what they have defined. So a picture shows what the text beside it does.
"""

import contextlib
import doctest
import io
import re
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
from page_parts import BLUE, GREEN, GREY, OPEN, ORANGE, plotting, save

import crossent
from crossent import exact

DOCS = Path(__file__).resolve().parents[1]
EPS32 = float(np.finfo(np.float32).eps)
LIMIT = 4  # ulp of a value
PER_UNIT = 16  # margins in each unit of the axis, of which the worst is drawn


def run_blocks(page):
    """What the blocks of a page define."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    namespace = {"__name__": "__main__"}
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        examples = doctest.DocTestParser().get_examples(code)
        for source in [one.source for one in examples] or [code]:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, page, "single" if examples else "exec"), namespace)
    return namespace


def two_panels(height=4.3):
    figure, axes = plotting(**OPEN).subplots(1, 2, figsize=(9.6, height), facecolor="none")
    for ax in axes:
        ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
    return figure, axes


def finish(figure, axes, page, below=0.16):
    for ax in axes:
        ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -below), ncols=2)
    figure.tight_layout(w_pad=2)
    save(figure, DOCS / "pictures" / f"{page}.svg")


def numerics():
    """Left, right predictions: relative error. Right, wrong ones: the loss itself."""
    of = run_blocks("numerics")
    figure, (left, right) = two_panels(4.6)
    margins = np.arange(1, 86 * PER_UNIT + 1, dtype=np.float32) / PER_UNIT
    true = np.log1p(np.exp(-margins.astype(float)))
    steps = [
        ("naive", of["naive_loss"], ORANGE),
        ("shifted by the maximum", of["naive_shifted_loss"], GREEN),
        ("crossent", crossent.cross_entropy, BLUE),
    ]
    for name, loss, colour in steps:
        computed = np.array([loss(np.float32([0, m]), 1) for m in margins], float)
        error = np.abs(computed - true) / true
        worst = np.maximum(error.reshape(-1, PER_UNIT).max(axis=1), 1e-10)
        left.plot(np.arange(len(worst)) + 0.5, worst, color=colour, linewidth=2, label=name)
    left.axhspan(LIMIT * EPS32 / 2, LIMIT * EPS32, color=GREY, alpha=0.35, linewidth=0)
    left.text(85, LIMIT * EPS32 * 1.6, f"limit: {LIMIT} ulp", ha="right", va="bottom", fontsize=9.5)
    left.set_yscale("log")
    left.set_ylim(1e-9, 8)
    left.set_title("right prediction, float32", color=GREY)
    left.set_xlabel("margin of the right class (nats)")
    left.set_ylabel("relative error (1: every digit lost)")

    margins = np.arange(0, 121, 0.25, dtype=np.float32)
    wrong = [
        ("naive", of["naive_loss"], ORANGE, "-"),
        ("-log(softmax)", of["naive_log_of_softmax"], GREEN, "-"),
        ("-log(softmax + 1e-7)", of["naive_epsilon_loss"], GREY, "--"),
        ("crossent", crossent.cross_entropy, BLUE, "-"),
    ]
    for k, (name, loss, colour, dashes) in enumerate(wrong):
        with np.errstate(all="ignore"):
            computed = np.array([loss(np.float32([0, m]), 0) for m in margins], float)
        finite = np.isfinite(computed)
        # Curves that agree lie on each other: each is a little narrower than the one before.
        right.plot(margins[finite], computed[finite], dashes, color=colour, linewidth=6 - 1.5 * k, label=name)
        if not finite.all():
            at = margins[finite][-1], computed[finite][-1]
            right.annotate(
                f"infinite from\n{margins[~finite][0]:.1f} on", at, (at[0] - 8, at[1] + 9), ha="right",
                color=colour, fontsize=9, arrowprops={"arrowstyle": "-", "color": colour},
            )  # fmt: skip
    right.set_ylim(0, 128)
    right.set_title("wrong prediction, float32", color=GREY)
    right.set_xlabel("margin of the wrong class (nats)")
    right.set_ylabel("computed loss (nats)")
    finish(figure, (left, right), "numerics")


def gradients():
    """Error of a difference over its step."""
    of = run_blocks("gradients")
    points, truth = of["points"], of["truth"]
    figure, ax = plotting(**OPEN).subplots(figsize=(9.6, 5.6), facecolor="none")
    steps = 10.0 ** -np.linspace(0, 12, 97)
    for name, rule, colour in (
        ("one-sided, float64", of["naive_one_sided"], ORANGE),
        ("central, float64", of["naive_central"], GREEN),
    ):
        errors = [np.abs(rule(crossent.softplus, points, h) - truth).max() for h in steps]
        ax.plot(steps, errors, color=colour, linewidth=2, label=name)
    # float32: the same rule, and points that it holds exactly
    points32 = points.astype(np.float32)
    truth32 = exact.sigmoid(points32).astype(float)
    coarse = steps[steps > 1e-7].astype(np.float32)
    errors = [np.abs(of["naive_central"](crossent.softplus, points32, h) - truth32).max() for h in coarse]
    ax.plot(coarse, errors, color=GREY, linewidth=2, label="central, float32")
    with localcontext(prec=80):
        decimal_steps = [Decimal(10) ** -k for k in range(13)]
        x = Decimal(1)
        true = exact.sigmoid(x, digits=70)
        f = lambda z: exact.softplus(z, digits=60)  # noqa: E731
        errors = [abs(of["naive_central"](f, x, h) - true) for h in decimal_steps]
    ax.plot(
        [float(h) for h in decimal_steps], [float(e) for e in errors], "o-", color=BLUE, linewidth=2,
        markersize=4, label="central, 60 decimals",
    )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(1e-26, 1e1)
    ax.set_xlim(1.5, 7e-13)
    ax.set_xlabel("step h (further right is smaller)")
    ax.set_ylabel("error of the derivative of softplus")
    ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
    ax.legend(frameon=False, fontsize=9.5, loc="lower left")
    figure.tight_layout()
    save(figure, DOCS / "pictures" / "gradients.svg")


def probability():
    """Left, expected scores. Right, a reliability diagram."""
    of = run_blocks("probability")
    figure, (left, right) = two_panels(4.6)
    said = of["said"]
    for (name, score), colour in zip(of["scores"].items(), (BLUE, GREEN, ORANGE), strict=True):
        expected = 0.7 * score(said) + 0.3 * score(1 - said)
        best = np.argmin(expected)
        left.plot(said, expected, color=colour, linewidth=2, label=name)
        left.plot(said[best], expected[best], "o", color=colour, markersize=7)
    left.axvline(0.7, color=GREY, linewidth=1, linestyle="--")
    left.set_ylim(0, 2)
    left.set_xlabel("probability that is said (0.7 is true)")
    left.set_ylabel("expected score (less is better)")
    left.set_title("proper scores find the truth", color=GREY)

    y, model = of["y"], of["model"]
    for name, z, colour in (
        ("overconfident model", model, ORANGE),
        ("after temperature scaling", of["beta"] * model, BLUE),
    ):
        confidence, accuracy, _ = of["reliability"](z, y)
        right.plot(confidence, accuracy, "o-", color=colour, linewidth=2, markersize=5, label=name)
    right.plot([0.2, 1], [0.2, 1], "--", color=GREY, linewidth=1)
    right.set_xlabel("mean confidence of a bin")
    right.set_ylabel("share of right answers")
    right.set_title("calibration", color=GREY)
    finish(figure, (left, right), "probability")


def smoothing():
    """Left, the gap at the optimum. Right, the loss over the gap."""
    of = run_blocks("smoothing")
    figure, (left, right) = two_panels(4.6)
    s = np.linspace(0.002, 0.5, 400)
    colours = (GREY, BLUE, GREEN, ORANGE)
    for K, colour in zip((2, 10, 1000, 50_257), colours, strict=True):
        left.plot(s, np.log1p((1 - s) * K / s), color=colour, linewidth=2, label=f"K = {K:,}")
        for some in (0.05, 0.1, 0.2):
            z = of["descend"](K, some)
            left.plot(some, z[0] - z[1], "o", color=colour, markersize=6)
    left.set_ylim(0, 18)
    left.set_xlabel("smoothing s")
    left.set_ylabel("gap of the logits at the optimum")
    left.set_title("formula, and dots: gradient descent", color=GREY)

    gaps = np.linspace(0, 12, 241)
    rows = np.zeros((len(gaps), 10))
    rows[:, 0] = gaps
    for some, colour in zip((0, 0.05, 0.1, 0.2), colours, strict=True):
        losses = crossent.cross_entropy(
            rows, np.zeros(len(gaps), int), label_smoothing=some, reduction="none"
        )
        right.plot(gaps, losses, color=colour, linewidth=2, label=f"s = {some:g}")
        if some:
            best = np.argmin(losses)
            right.plot(gaps[best], losses[best], "o", color=colour, markersize=6)
    right.set_ylim(0, 2.5)
    right.set_xlabel("gap of the logits")
    right.set_ylabel("loss (nats)")
    right.set_title("10 classes", color=GREY)
    finish(figure, (left, right), "smoothing")


if __name__ == "__main__":
    for draw in (numerics, gradients, probability, smoothing):
        draw()
