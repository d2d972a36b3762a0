"""Every function and gradient once more, in fast arithmetic of 100 bits: what the meter measures against.

The formulas are those of a textbook, with the maximum taken out of the sum, and rearranged nowhere
else: with 47 bits to spare over float64 a few lost ones do not matter. The one exception is ``1 - p`` of
the most likely class, ``r / s``, which may be smaller than any spare digit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crossent.testing._pairs import Ints, Pairs, exp, log, log1p, maximum, pairs, where

_UNSEEN = 80  # a term that is smaller than 2**-80 of a sum does not show in it
_LARGE = np.iinfo(np.int64).max


class Truth(NamedTuple):
    """What a result should be, and how near it can be asked to come.

    `scale` is the magnitude whose ulps count: the value's own, unless terms cancel. `least` is the
    exponent of the smallest of the factors that the value is a product of: with a subnormal one, digits
    are not promised.
    """

    value: Pairs
    scale: Pairs
    least: Ints

    def times(self, *factors: Pairs) -> Truth:
        """Return this, times more factors."""
        value, scale, least = self
        for factor in factors:
            value, scale = product(factor, value), product(abs(factor), scale)
            least = np.minimum(least, smallness(factor))
        return Truth(value, scale, least)

    def over(self, divisor: Pairs) -> Truth:
        """Return this, divided by a number that is no factor: the count of a mean."""
        return Truth(self.value / divisor, self.scale / abs(divisor), self.least)

    def plus(self, other: Truth) -> Truth:
        """A sum of terms of one sign."""
        value = self.value + other.value
        least = np.minimum(self._seen_in(value), other._seen_in(value))
        return Truth(value, self.scale + other.scale, least)

    def minus(self, other: Truth, *, all_terms: bool = False) -> Truth:
        """A difference, in ulps of the larger term, or of all terms' magnitudes."""
        larger = maximum(self.scale, other.scale)
        least = np.minimum(self._seen_in(larger), other._seen_in(larger))
        scale = self.scale + other.scale if all_terms else larger
        return Truth(self.value - other.value, scale, least)

    def sum(self, axis: int = 0) -> Truth:
        """The sum of these terms."""
        scale = self.scale.sum(axis)
        least = self._seen_in(scale.expand(axis)).min(axis=axis)
        return Truth(self.value.sum(axis), scale, least)

    def column(self) -> Truth:
        """These numbers, one a row."""
        return Truth(self.value.expand(1), self.scale.expand(1), np.expand_dims(self.least, 1))

    def _seen_in(self, scale: Pairs) -> Ints:
        """Least factors of the terms that show in a sum; what does not may have any factors."""
        return np.where(self.scale.exponent >= scale.exponent - _UNSEEN, self.least, _LARGE)


def smallness(x: Pairs) -> Ints:
    """Exponent of a factor; 0 loses nothing and counts as large."""
    return np.where(x.hi == 0, _LARGE, x.floor_log2)


def product(a: Pairs, b: Pairs) -> Pairs:
    """``a * b``, where a factor of 0 gives 0 also for an infinity."""
    return where((a.hi == 0) | (b.hi == 0), pairs(0), a * b)


def plain(value: Pairs) -> Truth:
    """A value in which nothing cancels, and no factor of which is smaller than itself."""
    return Truth(value, abs(value), smallness(value))


class Rows:
    """Softmax of rows ``z (N, K)`` of floats, ``-inf`` included, and what is made of it."""

    def __init__(self, z: npt.ArrayLike) -> None:
        x = pairs(z)
        i, k = np.arange(x.shape[0]), x.to_float().argmax(axis=1)
        d = x - x[i, k].expand(1)  # (N, K) z - m
        e = exp(d)
        at_k = np.arange(x.shape[1]) == k[:, np.newaxis]
        r = where(at_k, pairs(0), e).sum(1).expand(1)  # (N, 1)
        s = r + pairs(1)
        self.m = x[i, k]  # (N,)
        self.log = log1p(r)  # (N, 1) log(s)
        self.p = e / s  # (N, K)
        self.rest = where(at_k, r / s, pairs(1) - self.p)  # (N, K) 1 - p
        self.loss = self.log - d  # (N, K) -log(p)

    def logsumexp(self) -> Truth:
        """``m + log(s)``, in ulps of the larger where they cancel."""
        log = self.log[:, 0]
        value, scale = self.m + log, maximum(abs(self.m), log)
        return Truth(value, maximum(abs(value), scale), smallness(scale))

    def softmax_grad(self, g: Pairs) -> Truth:
        """``p (g - sum(p g))``."""
        mean = plain(self.p).times(g).sum(1).column()
        return plain(g).minus(mean, all_terms=True).times(self.p)

    def log_softmax_grad(self, g: Pairs) -> Truth:
        """``g - p sum(g)``."""
        total = plain(g).sum(1).column()
        return plain(g).minus(total.times(self.p), all_terms=True)

    def label_loss(self, y: Ints) -> Truth:
        """``-log(p[y])`` of one class a row."""
        return plain(self.loss[np.arange(len(y)), y])

    def label_grad(self, y: Ints) -> Truth:
        """``p - [k = y]`` of one class a row: nothing cancels in it."""
        at_y = np.arange(self.p.shape[1]) == y[:, np.newaxis]
        return plain(where(at_y, -self.rest, self.p))

    def soft_loss(self, t: Truth) -> Truth:
        """``sum(t * -log(p))``."""
        return t.times(self.loss).sum(1)

    def soft_grad(self, t: Truth) -> Truth:
        """``p sum(t) - t``, in ulps of the larger; all on one class, it is a label, where nothing cancels."""
        grad = t.sum(1).column().times(self.p).minus(t)
        one = (np.count_nonzero(t.value.hi, axis=1) == 1)[:, np.newaxis]
        label = self.label_grad(np.abs(t.value.hi).argmax(axis=1)).times(t.value.sum(1).expand(1))
        return Truth(
            where(one, label.value, grad.value),
            where(one, label.scale, grad.scale),
            np.where(one, label.least, grad.least),
        )


def reduced(each: Truth, reduction: str, count: Pairs) -> Truth:
    """Value of a loss from the losses of its positions."""
    if reduction == "none":
        return each
    return each.sum() if reduction == "sum" else each.sum().over(count)


def pulled(each: Truth, reduction: str, count: Pairs, g: Pairs | None) -> Truth:
    """Gradient of a loss from the gradients of its positions and the cotangent of its value."""
    if g is not None:
        each = each.times(g.expand(*range(1, len(each.value.shape))) if g.shape else g)
    return each.over(count) if reduction == "mean" else each


def entropy(p: Pairs) -> Truth:
    """``-sum(p log(p))``."""
    return plain(-log(p)).times(p).sum(1)


def kl_divergence(p: Pairs, q: Pairs) -> Truth:
    """``sum(p log(p / q))``; of neighbours ``log1p((p - q) / q)``, whose difference is exact."""
    ratio = p / q
    near = (ratio.to_float() > 0.5) & (ratio.to_float() < 2)
    one = pairs(1)
    logs = where(near, log1p(where(near, p - q, one) / where(near, q, one)), log(p) - log(q))
    return plain(logs).times(p).sum(1)


def perplexity(mean: Truth) -> Truth:
    """``exp(mean)``: the error of the mean in ulps, times the mean, is that of its exponential."""
    value = exp(mean.value)
    return Truth(value, value * maximum(pairs(1), mean.value), mean.least)
