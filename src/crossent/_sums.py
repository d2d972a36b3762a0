"""Sums whose bits depend on nothing but their terms.

``np.sum`` adds in an order that changes with memory layout and with the rows beside, and BLAS with
the batch as well. Two sums replace them here:

* `row_sum` adds the classes of each row. It folds the array: the upper half is added to the lower
  half, and again, until one term is left. Which terms meet depends on their number alone, and
  each step is an elementwise addition, the same in every layout. A term passes through
  ``log2(K)`` additions instead of ``K``; all but the first two are compensated.
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


def _split(a: Array) -> tuple[Array, Array]:
    """Cut a float in two halves of its digits (Veltkamp)."""
    c = (2.0 ** ((np.finfo(a.dtype).nmant + 2) // 2) + 1) * a
    high = c - (c - a)
    return high, a - high


def row_sum(a: Array) -> Array:
    """Sum ``a`` of shape ``(K, n)`` over its first axis, in float64 or wider: shape ``(n,)``.

    Error bound for terms of one sign: one rounding of float64, and two more with many classes, whose
    first two halvings are plain; float32 terms do not notice. `a` is left as it was.
    """
    if len(a) == 0:
        return np.zeros(a.shape[1], wide(a.dtype))
    narrow = a.dtype != wide(a.dtype)
    if narrow:
        a = a.astype(wide(a.dtype), order="K")
    if len(a) > _FEW_TERMS:
        a = _halve(_halve(a))
    if narrow:
        while len(a) > 1:
            a = _halve(a)
        return a[0]
    low = np.zeros_like(a)
    while len(a) > 1:
        half = len(a) // 2
        kept = len(a) - half  # with an odd number of terms the middle one waits
        head, error = two_sum(a[:half], a[kept:])
        low[:half] += low[kept:] + error
        a, low = np.concatenate([head, a[half:kept]]), low[:kept]
    return np.where(np.isfinite(a[0]), a[0] + low[0], a[0])  # inf - inf would turn low into NaN


def _halve(a: Array) -> Array:
    """Add the last half of the rows of `a` to the first half; a middle row stays as it is."""
    half = len(a) // 2
    kept = len(a) - half
    result = np.empty_like(a[:kept])
    np.add(a[:half], a[kept:], out=result[:half])
    result[half:] = a[half:kept]
    return result


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of what there is one of per row: float64, or longdouble for longdouble."""
    return np.promote_types(dtype, np.float64)


class ExactSum:
    """A running sum that is exact until it is read, hence the same for any order of its terms."""

    _FEW = 64  # terms that are kept as they are
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
