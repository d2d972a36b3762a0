"""Sums whose bits depend on nothing but their terms.

``np.sum`` adds in an order that changes with memory layout and with the rows beside, and BLAS with
the batch as well. Two sums replace them here:

* `row_sum` adds the classes of each row. It folds the array, the upper half on the lower half: which
  terms meet depends on their number alone, and each step is an elementwise addition, the same in
  every layout. What is left after two steps is added exactly.
* `ExactSum` adds the losses of all positions, exactly, and rounds once, so that the order in which
  blocks arrive cannot matter.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_FEW_TERMS = 128  # so many a row are added with compensation from the start


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``s = fl(a + b)`` and its rounding error ``a + b - s``, exactly (Knuth's TwoSum)."""
    s = a + b
    of_b = s - a
    return s, (a - (s - of_b)) + (b - of_b)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return ``p = fl(a * b)`` and its rounding error ``a * b - p``, exactly but for underflow (Dekker).

    Factors near the largest numbers give an error of NaN.
    """
    p = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def corrected(a: Array, error: Array) -> Array:
    """Return ``a + error``, a rounding error put back; one that is no number (an overflow) is left out."""
    return a + np.where(np.isfinite(error), error, 0)


def product(a: Array, b: Fraction) -> Array:
    """Return ``a * b`` for an exact ``b``, rounded once: a rounded ``b`` would be a second rounding."""
    high = a.dtype.type(float(b))
    low = a.dtype.type(float(b - Fraction(float(b))))
    p, error = two_product(a, np.broadcast_to(high, a.shape))
    return corrected(p, error + a * low)


def _split(a: Array) -> tuple[Array, Array]:
    """Cut a float in two halves of its digits (Veltkamp)."""
    c = (2.0 ** ((np.finfo(a.dtype).nmant + 2) // 2) + 1) * a
    high = c - (c - a)
    return high, a - high


def row_sum(a: Array) -> Array:
    """Sum ``a`` of shape ``(K, n)`` over its first axis, in float64 or wider: shape ``(n,)``.

    Error bound for terms of one sign, in roundings of the terms' dtype: two for many terms, whose
    first two halvings are plain, and one for the result. `a` is left as it was.
    """
    if len(a) > _FEW_TERMS:
        a = _halve(_halve(a))
    if a.dtype != wide(a.dtype):  # float32 terms: float64 has digits to spare
        return _plain_sum(a.astype(wide(a.dtype)))
    return _exact_sum(a)


def _halve(a: Array) -> Array:
    """Add the last half of the rows of `a` to the first half; a middle row stays as it is."""
    half = len(a) // 2
    kept = len(a) - half
    result = np.empty_like(a[:kept])
    np.add(a[:half], a[kept:], out=result[:half])
    result[half:] = a[half:kept]
    return result


def _plain_sum(a: Array) -> Array:
    """Fold down to a few rows, then add these one by one."""
    while len(a) > _FEW_TERMS:
        a = _halve(a)
    # Two columns at least: of a single one NumPy would add neighbours first.
    rows = np.zeros((len(a), a.shape[1] + 1), a.dtype)
    rows[:, :-1] = a
    total: Array = rows.sum(axis=0)[:-1]
    return total


def _exact_sum(a: Array) -> Array:
    """Split all terms of a column at common bits; the pieces of one cut add without error.

    With ``sigma`` a power of two above ``2 K max|a|``, ``(a + sigma) - sigma`` rounds each term to a
    multiple of ``sigma * eps / 2``, of which any sum below ``sigma`` is a float. What remains is smaller
    by ``2 K eps`` and is cut again: twice up to 2**15 terms, until the rest cannot be seen.
    """
    digits = np.finfo(a.dtype).nmant + 1
    headroom = len(a).bit_length() + 1
    cuts = -(-(len(a).bit_length() + digits + 3) // (digits - headroom))
    largest = np.maximum(a.max(axis=0, initial=0), -a.min(axis=0, initial=0))  # (n,)
    exponent = np.frexp(largest)[1] + headroom
    total: Array = np.zeros_like(largest)
    left = upper = a
    for cut in range(cuts):
        if cut > 0:
            left = np.subtract(left, upper, out=upper)
        sigma = np.ldexp(a.dtype.type(1), exponent - cut * (digits - headroom))
        upper = np.add(left, sigma, out=left if 0 < cut == cuts - 1 else None)
        upper -= sigma
        total += upper.sum(axis=0)
    plain = ~np.isfinite(total)  # infinities, NaN, and terms so large that sigma is infinite
    if plain.any():
        total[plain] = _plain_sum(a[:, plain])
    return total


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of what there is one of per row: float64, or longdouble for longdouble."""
    return np.promote_types(dtype, np.float64)


class ExactSum:
    """A running sum that is exact until it is read, hence the same for any order of its terms."""

    _FEW = 512  # terms that are kept as they are: faster than taking them apart
    _MANY = 2048  # parts that are added up before there are more

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype  # of the total: float64 or longdouble
        self._parts: list[Any] = []  # finite floats
        self._carried = Fraction(0)
        self._special = 0.0  # the sum of all infinities and NaN

    def add(self, x: Array) -> None:
        """Add the terms of `x`, an array of shape ``(n,)`` of this sum's dtype."""
        finite = np.isfinite(x)
        if not finite.all():
            self._special += float(x[~finite].sum())
            x = x[finite]
        if x.size <= self._FEW:
            self._parts += x.tolist()
        else:
            self._extract(x)
        if len(self._parts) > self._MANY:
            self._carried += sum(map(_fraction, self._parts))
            self._parts = []

    def _extract(self, x: Array) -> None:
        """Split the terms at a common bit; the upper pieces add without error, in any order.

        With ``sigma`` a power of two above ``2 n max|x|``, ``(x + sigma) - sigma`` rounds each
        term to a multiple of ``sigma * eps / 2``. All sums of these stay below ``sigma``, so that
        each of them is a float. What is left of the terms is smaller by ``2 n eps``; repeat.
        """
        headroom = x.size.bit_length() + 1
        while largest := np.abs(x).max():
            exponent = int(np.frexp(largest)[1]) + headroom
            if exponent >= np.finfo(self.dtype).maxexp:  # sigma would overflow
                self._parts += x.tolist()
                return
            sigma = np.ldexp(self.dtype.type(1), exponent)
            upper = (x + sigma) - sigma
            self._parts.append(upper.sum())
            x = x - upper

    def total(self) -> Any:
        """Return the sum, rounded once."""
        if self._special != 0:
            return self.dtype.type(self._special)
        if self.dtype == np.float64 and not self._carried:
            try:
                return np.float64(math.fsum(self._parts))
            except OverflowError:  # perhaps only on the way
                pass
        return _rounded(self._exactly(), self.dtype)

    def over(self, divisor: Any) -> Any:
        """Return the sum divided by a number, finite also where the sum itself overflows."""
        total = self.total()
        if np.isinf(total) and self._special == 0 and np.isfinite(divisor) and divisor != 0:
            return _rounded(self._exactly() / _fraction(divisor), self.dtype)
        return total / divisor

    def _exactly(self) -> Fraction:
        return self._carried + sum(map(_fraction, self._parts))


def _fraction(number: Any) -> Fraction:
    return Fraction(*number.as_integer_ratio())


def _rounded(exact: Fraction, dtype: np.dtype[Any]) -> Any:
    """Round to nearest, ties to even; too large for the dtype is an infinity."""
    info = np.finfo(dtype)
    n, d = abs(exact.numerator), exact.denominator
    exponent = max(n.bit_length() - d.bit_length() - info.nmant - 1, info.minexp - info.nmant)
    digits = round(Fraction(n << max(0, -exponent), d << max(0, exponent)))
    return np.ldexp(dtype.type(digits), exponent) * (-1 if exact < 0 else 1)
