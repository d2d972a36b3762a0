"""Sums whose bits depend on nothing but their terms.

``np.sum`` adds in an order that changes with memory layout and with the rows beside, and BLAS with
the batch as well. Two sums replace them here:

* `row_sum` adds the classes of each row. It folds the array twice, the upper half on the lower half,
  and adds what is left so that no error shows: which terms meet depends on their number alone.
* `ExactSum` adds the losses of all positions, exactly, and rounds once, so that the order in which
  blocks arrive cannot matter.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np

from crossent._scratch import Array, room, room_like

_EPS = 2.0**-52  # of float64
_HALVED = 16  # more terms are folded twice
_FEW_TERMS = 32  # up to so many are added as they are, one row after the other


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


def row_sum(a: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """Sum ``a`` of shape ``(K, n)`` over its first axis, in float64 or wider: shape ``(n,)``.

    Error bound for terms of one sign, in roundings of `dtype`, that of the terms if there is none: two
    where there are many terms, whose first two halvings are plain, and one for the result. `a` is left
    as it was.
    """
    if len(a) > _HALVED:
        a = _halve(_halve(a, "half"), "quarter")
    dtype = dtype or a.dtype
    if dtype != wide(dtype):  # float32: float64 has digits to spare
        return _plain_sum(a)
    return _exact_sum(a)


def _halve(a: Array, name: str) -> Array:
    """Add the last half of the rows of `a` to the first half; a middle row stays as it is."""
    half = len(a) // 2
    kept = len(a) - half
    result = room_like(name, a[:kept])
    np.add(a[:half], a[kept:], out=result[:half])
    if kept > half:
        result[half] = a[half]
    return result


def _plain_sum(a: Array) -> Array:
    """Sum in an order that the number of terms alone decides, in `wide`.

    NumPy adds rows that follow each other in memory one by one, and the numbers of one row in pairs:
    each is the same in every batch as long as memory looks the same, so it is made to.
    """
    if len(a) <= _FEW_TERMS:  # two columns at least: a single one would be a row of numbers
        n = a.shape[1]
        rows = room("rows", (len(a), max(2, n)), wide(a.dtype))
        rows[:, :n] = a
        if n < 2:
            rows[:, n:] = 0
        total: Array = np.add.reduce(rows, axis=0)
        return total if n > 1 else total[:n]
    columns = a.T
    if a.dtype != wide(a.dtype) or not columns.flags.c_contiguous:
        columns = room("columns", columns.shape, wide(a.dtype))
        columns[...] = a.T
    sums: Array = np.add.reduce(columns, axis=1)
    return sums


def _exact_sum(a: Array) -> Array:
    """Add the terms so that only the result is rounded."""
    upper, lower = _split_sum(a)
    total = upper + lower
    plain = ~np.isfinite(total)  # infinities, NaN, and terms so large that sigma is infinite
    if plain.any():
        total[plain] = _plain_sum(a[:, plain])
    return total


def _split_sum(a: Array) -> tuple[Array, Array]:
    """Split all terms of a column at a common bit; the upper pieces add without error.

    With ``sigma`` a power of two above ``2 K max|a|``, ``(a + sigma) - sigma`` rounds each term to a
    multiple of ``sigma * eps / 2``, of which any sum below ``sigma`` is a float. What remains of all terms is
    less than ``K sigma * eps``, and its own rounding errors cannot be seen.
    """
    largest = np.maximum(a.max(axis=0, initial=0), -a.min(axis=0, initial=0))  # (n,)
    sigma = np.ldexp(a.dtype.type(1), np.frexp(largest)[1] + len(a).bit_length() + 1)
    upper = np.add(a, sigma, out=room_like("upper", a))
    upper -= sigma
    total = _plain_sum(upper)
    np.subtract(a, upper, out=upper)
    return total, _plain_sum(upper)


def double_sum(a: Array) -> tuple[Array, Array]:
    """Sum ``a (K,)`` of a wide dtype to twice its digits: the sum and what it lacks."""
    upper, lower = _split_sum(a[:, np.newaxis])
    return two_sum(upper, lower)


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of what there is one of per row: float64, or longdouble for longdouble."""
    return np.promote_types(dtype, np.float64)


class ExactSum:
    """A running sum that is exact until it is read, hence the same for any order of its terms.

    A float64 sum that will be rounded to a narrower dtype may be `rough`: blocks of
    many terms are then added with rounding errors, whose bound tells in the end whether they could
    change the result. They hardly ever can; then the sum must be taken again.
    """

    _FEW = 512  # terms that are kept as they are: faster than taking them apart
    _MANY = 2048  # parts that are added up before there are more

    def __init__(self, dtype: np.dtype[Any], *, rough: bool = False) -> None:
        self.dtype = dtype  # of the total: float64 or longdouble
        self._rough = rough
        self._error = 0.0  # bound for the distance to the exact sum
        self._parts: list[Any] = []
        self._carried = Fraction(0)
        self._special = 0.0  # the sum of all infinities and NaN

    def empty(self) -> "ExactSum":
        """Return a sum of the same kind, of nothing."""
        return ExactSum(self.dtype, rough=self._rough)

    def merge(self, other: "ExactSum") -> None:
        """Add all terms of another sum."""
        self._parts += other._parts
        self._carried += other._carried
        self._special += other._special
        self._error += other._error

    def add(self, x: Array) -> None:
        """Add the terms of `x`, an array of shape ``(n,)``."""
        if self._rough and x.size > _FEW_TERMS and self._roughly(x):
            pass
        elif x.size <= self._FEW:
            self._parts += x.astype(self.dtype, copy=False).tolist()
        else:
            self._extract(x.astype(self.dtype, copy=False))
        if len(self._parts) > self._MANY:
            self._carry()

    def _roughly(self, x: Array) -> bool:
        """Add the terms as NumPy does: in pairs, or in the pieces of its buffer, which follow each other."""
        if x.dtype != self.dtype:  # `sum` would convert it, too, in small pieces
            narrow, x = x, room("columns", x.shape, self.dtype)
            np.copyto(x, narrow)
        total = float(x.sum())
        if not math.isfinite(total):
            return False
        size = total if x.min() >= 0 else float(np.abs(x).sum())
        self._parts.append(total)
        self._error += size * _EPS * (64 + x.size / 512)
        return True

    def _extract(self, x: Array) -> None:
        """Split the terms at a common bit; the upper pieces add without error, in any order.

        With ``sigma`` a power of two above ``2 n max|x|``, ``(x + sigma) - sigma`` rounds each
        term to a multiple of ``sigma * eps / 2``. All sums of these stay below ``sigma``, so that
        each of them is a float. What is left of the terms is smaller by ``2 n eps``; repeat.
        """
        finite = np.isfinite(x)
        if not finite.all():
            self._parts += x[~finite].tolist()
            x = x[finite]
        headroom = x.size.bit_length() + 1
        while largest := np.abs(x).max(initial=0):
            exponent = int(np.frexp(largest)[1]) + headroom
            if exponent >= np.finfo(self.dtype).maxexp:  # sigma would overflow
                self._parts += x.tolist()
                return
            sigma = np.ldexp(self.dtype.type(1), exponent)
            upper = x + sigma
            upper -= sigma
            self._parts.append(upper.sum())
            x = x - upper

    def _carry(self) -> None:
        """Add up the parts, the finite ones as fractions."""
        for part in self._parts:
            if abs(part) < math.inf:
                self._carried += _fraction(part)
            else:
                self._special += float(part)
        self._parts = []

    def total(self) -> Any:
        """Return the sum, rounded once."""
        if self.dtype == np.float64 and not self._carried and not self._special:
            try:
                return np.float64(math.fsum(self._parts))
            except (OverflowError, ValueError):  # perhaps only on the way; infinities of both signs
                pass
        self._carry()
        if self._special != 0:
            return self.dtype.type(self._special)
        return _rounded(self._carried, self.dtype)

    def over(self, divisor: Any) -> Any:
        """Return the sum divided by a number, finite also where the sum itself overflows."""
        total = self.total()
        if abs(total) == math.inf and self._special == 0 and abs(divisor) < math.inf and divisor != 0:
            self._carry()
            if self._special == 0:
                return _rounded(self._carried / _fraction(divisor), self.dtype)
        return total / divisor

    def decides(self, divisor: Any, dtype: np.dtype[Any]) -> bool:
        """Tell whether the sum over a number, rounded to `dtype`, is that of the exact sum."""
        if not self._error:
            return True
        total, divisor = float(self.total()), float(divisor)
        if divisor == 0:
            return False
        low = math.nextafter(total - self._error, -math.inf) / divisor
        high = math.nextafter(total + self._error, math.inf) / divisor
        return bool(dtype.type(low) == dtype.type(high))


def _fraction(number: Any) -> Fraction:
    return Fraction(*number.as_integer_ratio())


def _rounded(exact: Fraction, dtype: np.dtype[Any]) -> Any:
    """Round to nearest, ties to even; too large for the dtype is an infinity."""
    info = np.finfo(dtype)
    n, d = abs(exact.numerator), exact.denominator
    size = n.bit_length() - d.bit_length()  # of log2(n / d), rounded down, or one more
    size -= n << max(0, -size) < d << max(0, size)
    exponent = max(size - info.nmant, info.minexp - info.nmant)  # a digit more would round twice
    digits = round(Fraction(n << max(0, -exponent), d << max(0, exponent)))
    return np.ldexp(dtype.type(digits), exponent) * (-1 if exact < 0 else 1)
