"""Draws docs/pictures/functions.svg: how the functions build on each other.

    python docs/scripts/picture_of_functions.py

Each box says what its function is made of. Each of these sentences is checked on numbers before it is
drawn. Needs NumPy and crossent alone. The boxes have their own background, so that the picture can be
read on a light page and on a dark one, and it is narrow enough for a phone.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

import crossent as ce

PICTURE = Path(__file__).resolve().parents[1] / "pictures" / "functions.svg"
WIDTH, COLUMN, GAP, ROW, BOX = 440, 101, 8, 74, 48
INPUT, CLASSES, TWO, TARGET, MEASURE, LINE = "#5a5f66", "#1d5fa8", "#a1470b", "#2a7439", "#6d479f", "#808080"


class Box(NamedTuple):
    """A function: its place in columns and rows, its name in lines, and what it is made of."""

    column: int
    row: int
    columns: int
    colour: str
    names: tuple[str, ...]
    made_of: str


BOXES = [
    Box(0, 0, 4, INPUT, ("logits z",), "any real numbers; for two classes they are z and 0"),
    Box(0, 1, 2, CLASSES, ("logsumexp",), "log of the sum of exp(z)"),
    Box(2, 1, 2, TWO, ("softplus",), "logsumexp of 0 and z"),
    Box(0, 2, 2, CLASSES, ("log_softmax",), "z − logsumexp(z)"),
    Box(2, 2, 1, TWO, ("log_sigmoid",), "−softplus(−z)"),
    Box(0, 3, 1, CLASSES, ("softmax",), "exp(log_softmax)"),
    Box(1, 3, 1, CLASSES, ("nll_loss",), "−log_softmax[y]"),
    Box(2, 3, 1, TWO, ("sigmoid",), "exp(log_sigmoid)"),
    Box(0, 4, 1, TARGET, ("one_hot", "smooth_labels"), "targets q of y"),
    Box(0, 5, 2, CLASSES, ("cross_entropy",), "nll_loss(log_softmax(z), y)"),
    Box(2, 5, 2, TWO, ("binary_cross_entropy", "_with_logits"), "y softplus(−z) + (1 − y) softplus(z)"),
    Box(0, 6, 1, MEASURE, ("perplexity",), "exp(its mean)"),
    Box(1, 6, 1, MEASURE, ("entropy",), "of q with itself"),
    Box(2, 6, 2, MEASURE, ("kl_divergence",), "cross_entropy − entropy"),
]
# From one box to another, each by its column and row, in columns that may be halves.
ARROWS = [
    ((0.5, 0), (0.5, 1)),
    ((2.5, 0), (2.5, 1)),
    ((0.5, 1), (0.5, 2)),
    ((2, 1), (2, 2)),
    ((0, 2), (0, 3)),
    ((1, 2), (1, 3)),
    ((2, 2), (2, 3)),
    ((3, 1), (3, 5)),
    ((1, 3), (1, 5)),
    ((0, 4), (0, 5)),
    ((0, 5), (0, 6)),
    ((1, 5), (1, 6)),
]


def check():
    """Hold every sentence of the boxes against the functions."""
    z = np.random.default_rng(0).normal(0, 3, (5, 4))
    y, q = np.array([3, 0, 1, 1, 2]), ce.softmax(z[::-1])
    two, answer = z[:, 0], np.array([0.0, 1.0, 0.25, 0.5, 1.0])
    log_p = ce.log_softmax(z)
    cross = ce.cross_entropy(z, q, reduction="none")
    pairs = [
        (ce.logsumexp(z), np.log(np.exp(z).sum(axis=1))),
        (ce.softplus(two), ce.logsumexp(np.stack([0 * two, two], axis=1))),
        (log_p, z - ce.logsumexp(z, keepdims=True)),
        (ce.log_sigmoid(two), -ce.softplus(-two)),
        (ce.softmax(z), np.exp(log_p)),
        (ce.nll_loss(log_p, y, reduction="none"), -log_p[np.arange(5), y]),
        (ce.sigmoid(two), np.exp(ce.log_sigmoid(two))),
        (ce.cross_entropy(z, ce.one_hot(y, 4)), ce.cross_entropy(z, y)),
        (ce.cross_entropy(z, ce.smooth_labels(y, 4, 0.1)), ce.cross_entropy(z, y, label_smoothing=0.1)),
        (ce.cross_entropy(z, y), ce.nll_loss(log_p, y)),
        (
            ce.binary_cross_entropy_with_logits(two, answer, reduction="none"),
            answer * ce.softplus(-two) + (1 - answer) * ce.softplus(two),
        ),
        (ce.perplexity(z, y), np.exp(ce.cross_entropy(z, y))),
        (ce.entropy(q), ce.cross_entropy(np.log(q), q, reduction="none")),
        (ce.kl_divergence(q, ce.softmax(z)), cross - ce.entropy(q)),
    ]
    for left, right in pairs:
        np.testing.assert_allclose(left, right, rtol=1e-12)


def across(column):
    """Return the middle of a column."""
    return 6 + COLUMN / 2 + column * (COLUMN + GAP)


def box(part):
    left, right = across(part.column) - COLUMN / 2, across(part.column + part.columns - 1) + COLUMN / 2
    middle, top = (left + right) / 2, 4 + part.row * ROW
    size = 13 if len(part.names) == 1 else 11.5
    lines = [
        f'<rect x="{left:g}" y="{top}" width="{right - left:g}" height="{BOX}" rx="6" fill="{part.colour}"/>'
    ]
    for number, name in enumerate(part.names):
        y = top + (20 if len(part.names) == 1 else 14) + 13 * number
        lines.append(f'<text x="{middle:g}" y="{y}" class="name" font-size="{size}">{name}</text>')
    y = top + (37 if len(part.names) == 1 else 42)
    lines.append(f'<text x="{middle:g}" y="{y}" font-size="11">{part.made_of}</text>')
    return lines


def arrow(start, end):
    x, y, to = across(start[0]), 4 + start[1] * ROW + BOX, 4 + end[1] * ROW
    return [
        f'<path d="M{x:g} {y}V{to - 6}" class="line"/>',
        f'<path d="M{x:g} {to}l-5 -8h10z" fill="{LINE}"/>',
    ]


def drawing():
    """Return the picture as text."""
    height = 8 + 6 * ROW + BOX
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="Arial, Helvetica, sans-serif" '
        'text-anchor="middle" fill="#fff">',
        f"<style>.name {{ font-family: Menlo, Consolas, monospace; font-weight: bold }} "
        f".line {{ fill: none; stroke: {LINE}; stroke-width: 2 }}</style>",
    ]
    for start, end in ARROWS:
        lines += arrow(start, end)
    for part in BOXES:
        lines += box(part)
    y = 4 + 6 * ROW + BOX / 2
    x = across(1) + COLUMN / 2
    lines.append(f'<path d="M{x:g} {y:g}h{GAP}" class="line"/>')  # entropy to kl_divergence
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    check()
    PICTURE.write_text(drawing(), encoding="utf-8")
