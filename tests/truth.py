"""Exact values for the tests: those of the conformance kit, and of what has no gradient."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

from crossent.testing._truth import (
    CONTEXT,
    DIGITS,
    INF,
    NAN,
    ONE,
    ZERO,
    ZERO_OR_NAN,
    Exact,
    decimal,
    decimals,
    elementwise,
    exact,
    log1p,
    loss,
    rows,
    softmax_row,
)

__all__ = [
    "CONTEXT", "DIGITS", "INF", "NAN", "ONE", "ZERO", "ZERO_OR_NAN", "Exact", "decimal",
    "decimals", "elementwise", "entropy", "exact", "kl_divergence", "localcontext", "log1p",
    "loss", "rows", "softmax_row",
]  # fmt: skip


def entropy(p: Any) -> tuple[Decimal, Decimal]:
    """H(p) of one distribution and the sum of its terms' magnitudes."""
    with localcontext(CONTEXT):
        terms = [-v * v.ln() for v in map(decimal, p) if v != 0]
        return sum(terms, ZERO), sum(map(abs, terms), ZERO)


def kl_divergence(p: Any, q: Any) -> tuple[Decimal, Decimal]:
    """D(p || q) of one pair and the sum of its terms' magnitudes."""
    with localcontext(CONTEXT):
        pairs = [(decimal(a), decimal(b)) for a, b in zip(p, q, strict=True)]
        terms = [a * (a / b).ln() if b != 0 else INF for a, b in pairs if a != 0]
        return sum(terms, ZERO), sum(map(abs, terms), ZERO)
