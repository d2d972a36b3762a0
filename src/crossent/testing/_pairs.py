"""Fast arithmetic with about 100 bits: pairs of float64 with an exponent of their own.

A number is ``(hi + lo) * 2**exponent`` with ``0.5 <= abs(hi) < 1`` and ``abs(lo) <= 2**-54``. The digits
come from the pair, double-double arithmetic; the range from the integer, so that neither
``exp(-1e5)`` nor a product of small factors loses any. It needs nothing but IEEE float64, rounded to
nearest: no longdouble, no fused multiplication. The elementary functions are NumPy's nowhere, except
for a first guess in `log1p`, whose error is then computed and put right.

Infinities pass through; NaN is not kept apart from the digits it spoils.

Reference: M. Joldes, J.-M. Muller, V. Popescu, "Tight and rigorous error bounds for basic building
blocks of double-word arithmetic", ACM Transactions on Mathematical Software 44 (2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Word: TypeAlias = tuple[Any, Any]  # hi + lo, without an exponent: for numbers of the size of 1

_NOTHING = -(2**40)  # exponent of 0: less than that of any other number
_FAR = 2.0**20  # exp of more is inf, of less than minus that 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """An array of numbers ``(hi + lo) * 2**exponent``."""

    hi: Floats
    lo: Floats
    exponent: Ints

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.hi.shape

    @property
    def floor_log2(self) -> Ints:
        """Exponent of the power of two at or below the magnitude; very small for 0."""
        below = (np.abs(self.hi) == 0.5) & (self.lo * self.hi < 0)
        return np.asarray(self.exponent - 1 - below)

    def __getitem__(self, key: Any) -> Pairs:
        return _each(self, lambda a: np.asarray(a[key]))

    def __neg__(self) -> Pairs:
        return Pairs(-self.hi, -self.lo, self.exponent)

    def __abs__(self) -> Pairs:
        sign = np.copysign(1.0, self.hi)
        return Pairs(sign * self.hi, sign * self.lo, self.exponent)

    def __add__(self, other: Pairs) -> Pairs:
        top = np.maximum(self.exponent, other.exponent)
        a, b = _scaled(self, top), _scaled(other, top)
        return _normal(_add(a, b), top, a[0] + b[0])

    def __sub__(self, other: Pairs) -> Pairs:
        return self + -other

    def __mul__(self, other: Pairs) -> Pairs:
        product = _mul((self.hi, self.lo), (other.hi, other.lo))
        return _normal(product, self.exponent + other.exponent, self.hi * other.hi)

    def __truediv__(self, other: Pairs) -> Pairs:
        a, b = (self.hi, self.lo), (other.hi, other.lo)
        first = a[0] / b[0]
        rest, _ = _add(a, _negative(_mul((first, 0.0), b)))
        return _normal((first, rest / b[0]), self.exponent - other.exponent, first)

    def sum(self, axis: int = 0) -> Pairs:
        """Sum over an axis: halves are added up until one term is left."""
        terms = _each(self, lambda a: np.moveaxis(a, axis, 0))
        top = terms.exponent.max(axis=0)
        a = _scaled(terms, top)
        plain = a[0].sum(axis=0)
        while (n := len(a[0])) > 1:
            half = n // 2
            head = _add((a[0][:half], a[1][:half]), (a[0][half : 2 * half], a[1][half : 2 * half]))
            odd = slice(2 * half, n)
            a = np.concatenate([head[0], a[0][odd]]), np.concatenate([head[1], a[1][odd]])
        return _normal((a[0][0], a[1][0]), top, plain)

    def expand(self, *axes: int) -> Pairs:
        """The same numbers with axes of length 1 put in."""
        return _each(self, lambda a: np.expand_dims(a, axes))

    def to_float(self) -> Floats:
        """Float64 next to each number."""
        return _ldexp(self.hi, self.exponent)


def _each(x: Pairs, move: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Pairs:
    """Take the three parts to other places."""
    return Pairs(move(x.hi), move(x.lo), move(x.exponent))


def pairs(x: npt.ArrayLike) -> Pairs:
    """Exact pairs of the values of float16, float32, float64, or small integers."""
    x = np.asarray(x, np.float64)
    return _normal((x, np.zeros_like(x)), np.zeros(x.shape, np.int64), x)


def where(condition: npt.ArrayLike, a: Pairs, b: Pairs) -> Pairs:
    """Entries of `a` where the condition holds, else of `b`."""
    return Pairs(
        np.where(condition, a.hi, b.hi),
        np.where(condition, a.lo, b.lo),
        np.where(condition, a.exponent, b.exponent),
    )


def maximum(a: Pairs, b: Pairs) -> Pairs:
    """Larger of two numbers."""
    return where((a - b).hi < 0, b, a)


def exp(x: Pairs) -> Pairs:
    """``exp(x)``; 0 below ``x = -2**20``, infinite above ``2**20``."""
    power, fraction = _exp_parts(x)
    result = _normal(_add((1.0, 0.0), fraction), power)
    nothing, far = pairs(np.zeros(x.shape)), pairs(np.full(x.shape, np.inf))
    value = x.to_float()
    return where(value < -_FAR, nothing, where(value > _FAR, far, result))


def log1p(x: Pairs) -> Pairs:
    """``log(1 + x)`` for finite ``x > -1``, with all its digits also where `x` is small.

    With a guess ``g``, ``d = (1 + x) exp(-g) - 1`` is what it misses: ``log(1 + x) = g + log(1 + d)``, and
    ``d - d**2 / 2`` is that to 150 bits. ``(exp(-g) - 1) + x exp(-g)`` keeps the digits of `d`.
    """
    small = np.abs(x.to_float()) < 2.0**-200  # a guess of 0 is as good, and no factor underflows
    guess = pairs(np.where(small, 0, np.log1p(x.to_float())))
    power, fraction = _exp_parts(-guess)
    factor = _normal(_add((1.0, 0.0), fraction), power)
    less = where(power == 0, _normal(fraction, power), factor - pairs(1))
    d = less + x * factor
    return guess + (d - d * d * pairs(0.5))


def log(x: Pairs) -> Pairs:
    """Natural logarithm: that of a number near 1, and that of a power of two; -inf of 0."""
    power = x.exponent - (np.abs(x.hi) < math.sqrt(0.5))
    near = log1p(Pairs(x.hi, x.lo, x.exponent - power) - pairs(1))
    return near + pairs(power) * _LN2


def _exp_parts(x: Pairs) -> tuple[Ints, Word]:
    """``n`` and ``f`` with ``exp(x) = 2**n (1 + f)``, ``abs(f) < 0.42``, which keeps a small `x` whole.

    The reduced argument is divided by 2**8, so that ten terms of the series are enough, and
    ``exp(2 x) - 1 = 2 f + f**2`` undoes that.
    """
    value = np.clip(x.to_float(), -_FAR, _FAR)
    n = np.rint(value / math.log(2))
    r: Word = value, np.where(np.abs(value) < _FAR, _ldexp(x.lo, x.exponent), 0)
    for part in _LN2_PARTS:
        r = _add(r, (-n * part, 0.0))  # the product is exact
    r = r[0] / 2**8, r[1] / 2**8
    f = _SERIES[-1]
    for coefficient in _SERIES[-2::-1]:
        f = _add(_mul(f, r), coefficient)
    f = _mul(f, r)
    for _ in range(8):
        f = _add((2 * f[0], 2 * f[1]), _mul(f, f))
    return n.astype(np.int64), f


# -- words: hi + lo of the size of 1 ----------------------------------------------------------------


def _two_sum(a: Any, b: Any) -> Word:
    s = a + b
    of_b = s - a
    return s, (a - (s - of_b)) + (b - of_b)


def _fast_two_sum(a: Any, b: Any) -> Word:
    s = a + b
    return s, b - (s - a)


def _halves(a: Any) -> Word:
    c = (2.0**27 + 1) * a
    high = c - (c - a)
    return high, a - high


def _add(a: Word, b: Word) -> Word:
    """Sum with a relative error below 3 * 2**-106, whatever cancels."""
    s, of_s = _two_sum(a[0], b[0])
    t, of_t = _two_sum(a[1], b[1])
    s, of_s = _fast_two_sum(s, of_s + t)
    return _fast_two_sum(s, of_s + of_t)


def _mul(a: Word, b: Word) -> Word:
    """Product with a relative error below 8 * 2**-106."""
    p = a[0] * b[0]
    (a_high, a_low), (b_high, b_low) = _halves(a[0]), _halves(b[0])
    of_p = ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low
    return _fast_two_sum(p, of_p + (a[0] * b[1] + a[1] * b[0]))


def _negative(a: Word) -> Word:
    return -a[0], -a[1]


def _normal(word: Word, exponent: Ints, plain: Any = np.nan) -> Pairs:
    """Scale to ``0.5 <= abs(hi) < 1``; an infinity, which spoils its low part, is taken from `plain`."""
    hi, lo = _fast_two_sum(*word)
    spoilt = ~np.isfinite(hi)
    hi, shift = np.frexp(np.where(spoilt, plain, hi))
    lo = np.where(spoilt, 0, _ldexp(lo, -shift))
    return Pairs(hi, lo, np.where(hi == 0, _NOTHING, exponent + shift))


def _scaled(x: Pairs, top: Ints) -> Word:
    """Digits of `x` counted in units of ``2**top``, which no exponent exceeds."""
    return _ldexp(x.hi, x.exponent - top), _ldexp(x.lo, x.exponent - top)


def _ldexp(x: Floats, exponent: Ints) -> Floats:
    return np.ldexp(x, np.clip(exponent, -4000, 4000).astype(np.intc))


def _word(x: Fraction) -> tuple[float, float]:
    hi = float(x)
    return hi, float(x - Fraction(hi))


def _constants() -> tuple[Fraction, list[float]]:
    """log(2) to 50 digits, and cut into parts of 30 bits, whose products with 2**21 are exact."""
    with localcontext() as context:
        context.prec = 50
        ln2 = Fraction(Decimal(2).ln())
    cuts = [Fraction(math.floor(ln2 * 2**bits), 2**bits) for bits in (0, 30, 60, 90, 120, 150)]
    return ln2, [float(b - a) for a, b in pairwise(cuts)]


_ln2, _LN2_PARTS = _constants()
_LN2 = Pairs(*(np.asarray(v) for v in (*_word(_ln2), 0)))
_SERIES = [_word(Fraction(1, math.factorial(n))) for n in range(1, 11)]
