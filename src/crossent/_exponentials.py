"""The exponentials of a row of logits, of which every result over classes is made, and their shift.

``exp(z)`` overflows for large logits, and its terms are subnormal numbers for very small ones. A shift
``exp(z - c)`` cancels in every result, but the rounding of ``z - c`` does not: an error of half an ulp of
``z - c`` becomes a relative error of the exponential, 30 ulp and more for the usual shift by the maximum. A
column takes the first of three ways that is safe for it:

1. no shift;
2. a whole number for which ``z - c`` has no rounding error;
3. the maximum, with the rounding error put back, ``exp(d + low) = exp(d) (1 + low)``.

Reference: P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
softmax functions", IMA Journal of Numerical Analysis 41 (2021).
"""

import math
from dataclasses import dataclass

import numpy as np

from crossent._blocks import Block, Cut
from crossent._scratch import Array, room, room_like
from crossent._sums import two_sum, wide


@dataclass
class Exponentials:
    """``exp(z - c)`` of a block, with the term of one class a column kept apart.

    Every result is made of ratios of these numbers, so that the shift ``c`` cancels.
    """

    z: Block  # (K, n)
    k: Array  # (n,) the class that is kept apart
    own: Array  # (n,) wide: its term
    rest: Array  # (n,) wide: r, the sum of the others
    total: Array  # (n,) wide: s = own + rest
    shift: Array | None = None  # (n,) wide: c, None for 0
    exact: bool = False  # whether z - c has no rounding error
    others: Array | None = None  # (K, n) exp(z - c), 0 at k; None for too many classes to keep

    def __getitem__(self, cut: Cut) -> Array:
        """Return the terms of a cut of classes, 0 at the class that is kept apart."""
        if self.others is None:
            e = _terms(self.z[cut], cut, self.k, self.shift, self.exact)
            return e.astype(self.z.dtype, copy=False)
        return self.others[cut.start : cut.stop]


# The sums for which no shift is needed, by dtype: s <= the second number, r >= the first, and s >= 1 or
# no logit less than _LOW.
# * s >= 1: a term is no smaller than its probability, so that every probability that is a normal number
#   comes from a normal term. No logit less than _LOW: all terms are normal numbers.
# * r >= 2**30 times the smallest normal number, at least: the absolute errors of fewer than 2**30
#   subnormal terms do not reach its digits.
# * The upper limits keep sums of terms finite, and r / own for own >= SMALLEST_OWN.
_NO_SHIFT = {np.dtype(np.float32): (2.0**-90, 2.0**110)}
_NO_SHIFT_WIDE = (2.0**-900, 2.0**64)
_LOW = -60.0
_FORESEE = 1 << 15  # logits of a block: to look at fewer costs more than it saves
SMALLEST_OWN = 2.0**-500
_KEPT_BYTES = 1 << 22  # exponentials of one row that are kept; those of longer ones are computed again
_HEADROOM = 64.0


def exponentials(z: Block, k: Array) -> Exponentials:
    """Exponentiate a block ``z (K, n)`` and keep apart the term of class ``k (n,)`` of each column.

    The way is a column's own choice: its bits do not depend on the columns beside it.
    """
    e, safe = _unrounded(z, k)
    if safe is None or safe.all():
        return e
    if len(z.cuts) > 1:  # hence one column
        return _shifted(z, k)
    if e.shift is None:
        e.shift = np.zeros_like(e.own)
    for some in _parts(safe):
        _replace(e, some, _shifted(z.columns(some), k[some]))
    return e


def _unrounded(z: Block, k: Array) -> tuple[Exponentials, Array | None]:
    """Exponentiate without a shift or with an exact one, and tell for which columns that is enough.

    None stands for all of them.
    """
    low, high = _NO_SHIFT.get(z.dtype, _NO_SHIFT_WIDE)
    c = _foreseen_shift(z, high)
    e = _exponentials(z, k, c, exact=c is not None)
    inside = e.total.max() <= high and e.rest.min() >= low  # False with a NaN
    if inside and (e.total.min() >= 1 or z.extreme(np.minimum) >= _LOW):
        return e, None
    safe = (e.total >= 1) & (e.total <= high)  # (n,)
    if not safe.all():
        top, bottom = z.extreme(np.maximum, axis=0), z.extreme(np.minimum, axis=0)
        safe |= (e.total < 1) & (bottom >= _LOW)
        c = np.where(safe, 0, _exact_shift(top, bottom))
        if c.any():
            e = _exponentials(z, k, c, exact=True)
            safe |= c != 0
    return e, safe & (e.rest >= low)


def _foreseen_shift(z: Block, high: float) -> Array | None:
    """Return `_exact_shift` where every column will turn out to need it and to have one, else None.

    It saves exponentials that are of no use. A look at the first class tells whether to look further.
    """
    if z.shape[0] * z.shape[1] < _FORESEE:
        return None
    one = z[z.cuts[0]][0]
    if not (one.max() < _LOW / 2 or one.min() > -_LOW / 2):
        return None
    top, bottom = z.extreme(np.maximum, axis=0), z.extreme(np.minimum, axis=0)
    less = (top < -math.log(2 * len(z))) & (bottom < _LOW)
    c = np.where(less | (top > math.log(high) + 1), _exact_shift(top, bottom), 0)
    return c if c.all() else None


def _exact_shift(top: Array, bottom: Array) -> Array:
    """Return whole numbers ``c (n,)`` for which ``z - c`` has no rounding error, 0 where there is none.

    `top` and `bottom` are the largest and the smallest logits of the columns.

    It has none if it is no larger than ``z``: as a multiple of the last digit of ``z``, which ``c`` is,
    too, it is then a number of that dtype. That goes for a ``c`` below the maximum where all logits are
    at most -1/2, and for one that leaves the maximum at 60 where all are at least ``c / 2``.
    """
    c: Array = np.floor(np.where(top < 0, top, top + _LOW)).astype(wide(top.dtype))
    exact = ((top > -np.inf) & (top <= -0.5)) | ((c > 0) & (bottom >= c / 2))
    return np.where(exact, c, 0)


def _parts(safe: Array) -> list[Array] | list[slice]:
    """Cut the columns that are not safe into parts: shifted, they need several arrays of twice the size."""
    size = -(-len(safe) // 8)
    if not safe.any():
        return [slice(start, start + size) for start in range(0, len(safe), size)]
    unsafe = np.flatnonzero(~safe)
    return [unsafe[start : start + size] for start in range(0, len(unsafe), size)]


def _shifted(z: Block, k: Array) -> Exponentials:
    """`exponentials` with ``c`` the maximum, whose own term is then exactly 1.

    Where all of ``r`` is close to the subnormal numbers, ``c`` lies a little below the maximum.
    """
    c = z.extreme(np.maximum, axis=0).astype(wide(z.dtype))  # (n,)
    e = _exponentials(z, k, c)
    deep = np.flatnonzero((e.rest > 0) & (e.rest < _NO_SHIFT_WIDE[0]))
    if deep.size == len(k):
        return _exponentials(z, k, c - _HEADROOM)
    if deep.size:
        _replace(e, deep, _exponentials(z.columns(deep), k[deep], c[deep] - _HEADROOM))
    return e


def _exponentials(z: Block, k: Array, shift: Array | None, *, exact: bool = False) -> Exponentials:
    others = None
    if len(z.cuts) == 1:  # an inexact shift is for some columns: those of the others must not be lost
        whole = z[z.cuts[0]]
        others = room_like("exp", whole) if exact or shift is None else np.empty_like(whole)
    elif len(z) * z.dtype.itemsize <= _KEPT_BYTES:
        others = room("exp", z.shape, z.dtype)

    def terms(cut: Cut) -> Array:
        out = None if others is None else others[cut.start : cut.stop]
        return _terms(z[cut], cut, k, shift, exact, out)

    rest = z.sum(terms)  # (n,)
    own = _powers(z.pick(k).astype(wide(z.dtype)), shift)  # (n,)
    return Exponentials(z, k, own, rest, own + rest, shift, exact, others)


def _terms(z: Array, cut: Cut, k: Array, shift: Array | None, exact: bool, out: Array | None = None) -> Array:
    """Return the terms of a cut as they add up, and leave them in `out` as they multiply."""
    e = _powers(z, shift, exact, room_like("exp", z) if out is None else out)
    cut.put(e, k, 0)
    if out is not None and out is not e:
        out[...] = e
    return e


def _powers(z: Array, shift: Array | None, exact: bool = False, room: Array | None = None) -> Array:
    """Return ``exp(z - shift)``, in `room` if there is no shift or an exact one."""
    if shift is None:
        return np.exp(z, out=room)
    if exact:
        d: Array = np.subtract(z, shift.astype(z.dtype), out=room)
        return np.exp(d, out=d)
    if z.dtype != shift.dtype:  # float64 has room for all digits of the difference that count
        d = np.subtract(z, shift, out=room_like("shifted", z, shift.dtype))
        return np.exp(d, out=d)
    d, low = two_sum(z, -shift)
    low[~np.isfinite(d)] = 0
    e: Array = np.exp(d, out=d)
    low *= e
    e += low
    return e


def _replace(e: Exponentials, columns: Array | slice, part: Exponentials) -> None:
    """Put some columns in the place of others."""
    assert e.others is not None
    assert e.shift is not None
    assert part.others is not None
    e.others.T[columns], e.shift[columns] = part.others.T, part.shift
    e.own[columns], e.rest[columns], e.total[columns] = part.own, part.rest, part.total
