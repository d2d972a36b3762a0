"""Distances in units in the last place, themselves measured in exact arithmetic.

A unit in the last place (ulp) of a number is the distance between the two floats around it. "At
most 4 ulp" says the same thing of a loss of 1e-300 and of one of 1e300, where an absolute tolerance
hides the first and a relative one has to be known for every dtype.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from crossent.exact import _number


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
    measure = np.frompyfunc(lambda a, x, s: _distance(form, _number(a), _number(x), _number(s)), 3, 1)
    errors = measure(a, _objects(exact), _objects(0 if scale is None else scale))
    return np.asarray(errors, dtype=np.float64) if np.ndim(errors) else float(errors)


def ulp_size(dtype: npt.DTypeLike, magnitude: Decimal | Fraction) -> Fraction:
    """Distance between the floats of `dtype` around a finite magnitude."""
    return _unit(_format(np.dtype(dtype)), _fraction(magnitude))


def _objects(x: Any) -> npt.NDArray[np.object_]:
    return np.asarray(np.asarray(x), dtype=object)


def _format(dtype: np.dtype[Any]) -> Format:
    if dtype.name in _FOREIGN:
        return _FOREIGN[dtype.name]
    if dtype.kind != "f":
        raise TypeError(f"actual must be floating, got dtype {dtype}")
    info = np.finfo(dtype)
    return Format(p=info.nmant + 1, emin=int(info.minexp), emax=int(info.maxexp) - 1)


def _distance(
    form: Format, actual: Decimal | Fraction, exact: Decimal | Fraction, scale: Decimal | Fraction
) -> float:
    """Error of one number; the values themselves may be special."""
    if _is_nan(actual) or _is_nan(exact):
        return 0.0 if _is_nan(actual) and _is_nan(exact) else math.inf
    if _is_inf(actual) or _is_inf(exact):
        return 0.0 if actual == exact or _overflows
    ...
