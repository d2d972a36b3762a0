"""Distances in units in the last place, themselves measured in exact arithmetic.

A unit in the last place (ulp) of a number is the distance between the two floats around it. "At
most 4 ulp" says the same thing of a loss of 1e-300 and of one of 1e300, where an absolute tolerance
hides the first and a relative one has to be known for every dtype.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from crossent.exact import _number

Value: TypeAlias = Fraction | float


class Format(NamedTuple):
    """A binary floating-point format: bits of the significand, exponents of the normal numbers."""

    p: int
    emin: int
    emax: int


# Formats that np.finfo does not know: those of ml_dtypes, which need not be installed.
_FOREIGN = {"bfloat16": Format(p=8, emin=-126, emax=127)}

# Powers of ten beyond every format's range: what is smaller measures as 0, what is larger as inf.
_OUT_OF_RANGE = 6000


def ulp_error(actual: npt.ArrayLike, exact: Any, *, scale: Any = None) -> Any:
    """Distance between computed and exact values, in ulps of the computed values' dtype.

    Parameters
    ----------
    actual : array_like of float
        float16, float32, float64, longdouble or the bfloat16 of ``ml_dtypes``: its dtype decides
        what an ulp is.
    exact : array_like of Decimal, Fraction, float or int
        What `actual` should be; broadcasts against it.
    scale : array_like, optional
        Magnitude in whose ulps to measure, where it is larger than that of `exact`: the largest
        term, or the sum of the terms' magnitudes, of a sum that cancels.

    Returns
    -------
    float or ndarray of float64
        ``abs(actual - exact) / ulp`` with ``ulp = 2**(floor(log2(abs(exact))) - p + 1)``, ``p`` the
        bits of the significand, and not less than the smallest subnormal number. 0 for equal
        infinities, for two NaN, and for an infinity where `exact` is finite but rounds to it;
        ``inf`` for any other infinity or NaN on one side.

    Examples
    --------
    >>> import numpy as np
    >>> from decimal import Decimal
    >>> from crossent.testing import ulp_error
    >>> ulp_error(1.0 + 2.0**-52, 1)
    1.0
    >>> ulp_error(np.float32(0.1), Decimal("0.1"))
    0.2
    >>> ulp_error(3e-17, 0, scale=1)
    0.135107988821114...
    """
    a = np.asarray(actual)
    form = _format(a.dtype)
    error = np.frompyfunc(lambda *values: _error(form, *map(_value, values)), 3, 1)
    with np.errstate(all="ignore"):  # Python's own floats set the flags that NumPy looks at
        errors = error(a, exact, 0 if scale is None else scale)
    return np.asarray(errors, dtype=np.float64) if np.ndim(errors) else float(errors)


def ulp_size(dtype: npt.DTypeLike, magnitude: Decimal | Value) -> Fraction:
    """Distance between the numbers of `dtype` around a finite magnitude."""
    value = _value(magnitude)
    if not isinstance(value, Fraction):
        raise ValueError(f"an ulp needs a finite magnitude, got {magnitude}")
    return _ulp(_format(np.dtype(dtype)), value)


def _format(dtype: np.dtype[Any]) -> Format:
    foreign = _FOREIGN.get(dtype.name)
    if foreign is None and dtype.kind != "f":
        raise TypeError(f"only the results of floating-point dtypes have ulps, got dtype {dtype}")
    return foreign or _native(np.finfo(dtype))


def _native(info: Any) -> Format:
    return Format(p=info.nmant + 1, emin=int(info.minexp), emax=int(info.maxexp) - 1)


def _value(v: Any) -> Value:
    """Exact value; infinities and NaN, which are none, as floats."""
    number = _number(v)
    if isinstance(number, Fraction):
        return number
    if not number.is_finite():
        return float(number)
    if abs(number.adjusted()) > _OUT_OF_RANGE:
        return math.copysign(math.inf, number) if number.adjusted() > 0 else Fraction(0)
    return Fraction(number)


def _error(form: Format, actual: Value, exact: Value, scale: Value) -> float:
    overflow = (2 - Fraction(1, 2**form.p)) * 2**form.emax  # half an ulp past the largest number
    if isinstance(actual, float) and abs(exact) >= overflow:
        exact = math.inf if exact > 0 else -math.inf
    if isinstance(actual, float) or isinstance(exact, float):
        return 0.0 if actual == exact or (actual != actual and exact != exact) else math.inf
    if isinstance(scale, float):
        raise ValueError(f"scale must be finite, got {scale}")
    try:
        return float(abs(actual - exact) / _ulp(form, max(abs(exact), scale)))
    except OverflowError:  # more ulps than there are floats
        return math.inf


def _ulp(form: Format, magnitude: Fraction) -> Fraction:
    n, d = abs(magnitude).as_integer_ratio()
    exponent = n.bit_length() - d.bit_length()  # of n / d: this, or one less
    exponent -= n < d << exponent if exponent >= 0 else n << -exponent < d
    normal = n > 0 and exponent > form.emin
    return Fraction(2) ** ((exponent if normal else form.emin) - form.p + 1)
