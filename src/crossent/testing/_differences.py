"""Finite differences, and the check of a gradient against them.

Differences of a function of floats lose half of the digits or more, and all of them where a
gradient is small: they prove a formula, not its digits. Differences of the definition in
`crossent.exact` do both. With a step of 1e-20 in 60 digits some 40 digits of the gradient are
right, and where it is smaller than that, the function is asked for more digits.
"""

import inspect
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from crossent.exact import NAN, ONE, ZERO, Objects, _numbers, _precision, _rounded
from crossent.testing._ulp import _value, ulp_error, ulp_size

Function: TypeAlias = Callable[..., Any]
Floats: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = tuple[int, ...]

_DIGITS = 60
_ENOUGH = 1000  # digits of a Fraction
_MANY = 50_000  # digits that hold x + h exactly for any float
_TRIES = 20  # refinements of step and precision, in decimals
_LEVELS = 10  # halvings of the step, in floats
_SIGHT = Fraction(1, 10**10)  # the relative error that a check must be able to see


class NumericalGrad(NamedTuple):
    """A gradient by finite differences, and a bound of its error, entry by entry."""

    value: Any
    error: Any


def numerical_grad(
    f: Function, x: Any, *, grad_output: Any = None, digits: int | None = None
) -> NumericalGrad:
    """Gradient of ``sum(grad_output * f(x))`` by finite differences.

    Pass a function of `crossent.exact` wherever there is one: of Decimals the result has 30 digits
    or more in *every* entry, however small. A function of floats is differenced in float64.

    Parameters
    ----------
    f : callable
        ``f(x)`` returns an array of any shape or one number. If it returns Decimals it is
        differenced in decimal arithmetic. There, if it has a parameter `digits`, it is called with
        the number of digits that it must return: ``partial(exact.cross_entropy, target=y)`` or
        ``lambda z, digits: exact.cross_entropy(z, y, digits=digits)``. Without one it runs in a
        context of that precision, and is trusted to as many digits as its longest result has.
    x : array_like
        Where to differentiate. Decimal functions get its exact values.
    grad_output : array_like, optional
        Broadcasts to the shape of ``f(x)``; by default ones. Where it is 0, ``f(x)`` may be
        anything.
    digits : int, optional
        Differences in decimal arithmetic, begun with this many digits (60 if ``f`` turns out to
        return Decimals): the step is ``10**-(digits / 3)``, the goal ``digits / 2`` digits.

    Returns
    -------
    NumericalGrad
        `value` and `error`, shaped like `x`: Decimals, or float64. In decimals `error` bounds
        rounding and, for a function with three derivatives, truncation (a third of the difference
        between two step sizes); in floats it is an estimate of both, for results rounded to the ulps
        of 1, of themselves or of `x`, whichever are widest. An infinite or NaN entry of `x` stays
        what it is under any step: its derivative is 0 where ``f(x)`` is finite, as for a logit of
        ``-inf``. Where ``f`` is not finite next to `x`, `value` and `error` are NaN: differences say
        nothing.

    Examples
    --------
    >>> from crossent import exact
    >>> from crossent.testing import numerical_grad
    >>> value, error = numerical_grad(exact.softplus, 0.0)
    >>> print(f"{value:.30f} +- {error:.0e}")
    0.500000000000000000000000000000 +- 1e-39
    """
    array = np.asarray(x)
    if digits is None and _Outputs(f)(array, _DIGITS).dtype != object:
        return _difference_floats(f, array.astype(np.float64), grad_output)
    return _difference_decimals(f, array, grad_output, _DIGITS if digits is None else digits)


def check_grad(
    f: Function,
    f_grad: Function,
    x: Any,
    *,
    grad_output: Any = None,
    ulp: float = 6.0,
    rtol: float | None = None,
    scale: Any = None,
    where: Any = True,
    digits: int | None = None,
) -> None:
    """Raise AssertionError unless ``f_grad`` is the gradient of ``f`` at `x`, entry by entry.

    An entry passes if it is within `ulp` units in the last place of its dtype. There is no
    absolute tolerance for small entries to hide in: one that is wrong by 1e-9 of itself is found
    at 1e-300 as at 1e300. If the differences are too coarse for that, which they are for most
    functions of floats, ``check_grad`` says so rather than pass: give it the function of
    `crossent.exact`, or an `rtol`.

    Parameters
    ----------
    f : callable
        ``f(x)``; it is differenced, see `numerical_grad`.
    f_grad : callable
        ``f_grad(x)``, or ``f_grad(x, grad_output=grad_output)`` if that is given, returns the
        gradient of ``sum(grad_output * f(x))``, shaped like `x`.
    x : array_like
        Where to check; both functions get the same values.
    grad_output : array_like, optional
        Broadcasts to the shape of ``f(x)``.
    ulp : float, optional
        Limit in units in the last place of the true entry, in the dtype of the gradient.
    rtol : float, optional
        Limit relative to the true entry, if that is wider; for functions of floats.
    scale : array_like, optional
        Magnitude that both limits refer to where it is larger than the true entry: the largest
        term, or the sum of the terms' magnitudes, of an entry that cancels. With ``scale=1``,
        `rtol` is an absolute tolerance. Broadcasts to the shape of `x`.
    where : array_like of bool, optional
        The entries to check. Broadcasts to the shape of `x`.
    digits : int, optional
        As for `numerical_grad`.

    Raises
    ------
    AssertionError
        If an entry is off by more than its limit and the error of the differences together (or
        the gradient has another shape than `x`). The message holds the worst entry's index, both
        values, and the error in ulp.
    ValueError
        If no entry is known to be wrong, but the differences cannot tell: their error is beyond
        the limit and more than 1e-10 (or `rtol`) of the entry, or ``f`` is not finite next to `x`
        where the gradient is not NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from crossent import exact
    >>> from crossent.testing import check_grad
    >>> check_grad(exact.softplus, lambda x: 1 / (1 + np.exp(-x)), np.array([-700.0, 0.5]))
    >>> check_grad(exact.softplus, lambda x: 1 - 1 / (1 + np.exp(x)), np.array([-40.0, 0.5]))
    Traceback (most recent call last):
        ...
    AssertionError: 1 of 2 entries of the gradient are wrong, worst [0]:
      got      0.0
      expected 4.2483542552915890e-18 (+- 7e-57)
      apart    5.51e+15 ulp of float64
    """
    array = np.asarray(x)
    value, error = numerical_grad(f, array, grad_output=grad_output, digits=digits)
    upstream = {} if grad_output is None else {"grad_output": grad_output}
    got = np.asarray(f_grad(array.copy(), **upstream))
    if got.shape != array.shape:
        raise AssertionError(f"the gradient has shape {got.shape}, x has {array.shape}")
    off = np.asarray(ulp_error(got, value, scale=scale))
    scales = np.broadcast_to(np.asarray(0 if scale is None else scale, dtype=object), array.shape)
    checked = np.broadcast_to(where, array.shape)

    wrong: list[Index] = []
    coarse: list[Index] = []
    unknown: list[Index] = []
    for i in filter(checked.__getitem__, np.ndindex(array.shape)):
        true, bound = _value(value[i]), _value(error[i])
        if not isinstance(true, Fraction):
            unknown += [i] * bool(off[i])  # a NaN gradient agrees
            continue
        magnitude = max(abs(true), _value(scales[i]))
        unit = ulp_size(got.dtype, magnitude)
        sight = max(Fraction(ulp) * unit, Fraction(_SIGHT if rtol is None else rtol) * magnitude)
        limit = Fraction(ulp) * unit if rtol is None else sight
        if off[i] > (limit + bound) / unit:
            wrong.append(i)
        elif bound > sight:
            coarse.append(i)

    if wrong:
        i = max(wrong, key=off.__getitem__)
        raise AssertionError(
            f"{len(wrong)} of {array.size} entries of the gradient are wrong, worst {_name(i)}:\n"
            f"  got      {got[i]}\n"
            f"  expected {value[i]:.17g} (+- {error[i]:.1g})\n"
            f"  apart    {off[i]:.3g} ulp of {got.dtype}"
        )
    if coarse:
        i = coarse[0]
        raise ValueError(
            f"finite differences of f see {len(coarse)} of {array.size} entries of the gradient "
            f"too coarsely to check them, first {_name(i)}: {value[i]:.3g} to within "
            f"{error[i]:.1g}. Pass as f the function of crossent.exact, or say what is near enough "
            "with rtol (and scale)"
        )
    if unknown:
        i = unknown[0]
        raise ValueError(
            f"finite differences of f say nothing of {len(unknown)} of {array.size} entries of the "
            f"gradient, first {_name(i)}: f is not finite next to x = {array[i]}, the gradient is "
            f"{got[i]}. Compare such entries with literals, and leave them out here with where="
        )


def _name(i: Index) -> str:
    """Subscript of an entry, as it is written after the array."""
    return f"[{', '.join(map(str, i))}]"


# -- in decimals -----------------------------------------------------------------------------------


def _difference_decimals(f: Function, x: npt.NDArray[Any], grad_output: Any, digits: int) -> NumericalGrad:
    """Central differences of a function of Decimals."""
    z: Objects = _decimals(x, "x")
    outputs = _Outputs(f)
    base = outputs(z, digits)
    if base.dtype != object:
        raise TypeError(f"f must return Decimals for digits=, got dtype {base.dtype}")
    g = np.broadcast_to(_decimals(1 if grad_output is None else grad_output, "grad_output"), base.shape)
    # What is smaller rounds to 0 in the dtype of x, and is seen well enough.
    tiny = _decimals(ulp_size(x.dtype if x.dtype.kind in "fV" else np.float64, ZERO) * _SIGHT, "x")[()]

    # An output that does not turn NaN with z[i] does not depend on it: neither its rounding nor,
    # if it is one, its own NaN matters. This is tried with finite numbers in all other places.
    finite = np.asarray(np.frompyfunc(Decimal.is_finite, 1, 1)(z), dtype=bool)
    clean = z.copy()
    clean[~finite] = ZERO
    clean_base = outputs(clean, digits)

    value, error = np.empty_like(z), np.empty_like(z)
    for i in np.ndindex(z.shape):
        probe = clean.copy()
        probe[i] = NAN
        depends = (g != 0) & (_differ(outputs(probe, digits), clean_base) | (clean_base != clean_base))
        if finite[i]:
            value[i], error[i] = _refine(outputs, z, i, g, depends, tiny, digits)
        else:
            value[i] = error[i] = ZERO if all(v.is_finite() for v in base[depends]) else NAN
    return NumericalGrad(value, error)


def _differ(a: Objects, b: Objects) -> npt.NDArray[np.bool_]:
    """Where two arrays hold different numbers; two NaN are the same."""
    return np.asarray((a != b) & ((a == a) | (b == b)), dtype=bool)


def _decimals(x: Any, name: str) -> Any:
    """Object array of Decimals: exact, but for Fractions."""
    numbers = _numbers(x, name)
    with _precision(_ENOUGH):
        values = _rounded(numbers.ravel().tolist())
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(numbers.shape)


class _Outputs:
    """The outputs of a function, with as many digits as wanted where it can be told."""

    def __init__(self, f: Function) -> None:
        self.f = f
        try:
            self.has_digits = "digits" in inspect.signature(f).parameters
        except (TypeError, ValueError):  # a callable without a signature
            self.has_digits = False
        self.longest = 0

    def __call__(self, z: Any, digits: int) -> Objects:
        with _precision(digits + 10):
            y = np.asarray(self.f(z.copy(), **({"digits": digits} if self.has_digits else {})))
        if y.dtype == object and not self.has_digits:
            self.longest = max([self.longest, *(len(v.as_tuple().digits) for v in y.flat)])
        return y

    def right(self, digits: int) -> int:
        """How many digits of the outputs are right, where so many were wanted."""
        return digits if self.has_digits else min(digits, self.longest)


def _refine(
    outputs: _Outputs,
    z: Objects,
    i: Index,
    g: Objects,
    depends: npt.NDArray[np.bool_],
    tiny: Decimal,
    digits: int,
) -> tuple[Decimal, Decimal]:
    """Derivative by ``z[i]`` and its error, with a step and a precision that see it well enough."""

    def moved(by: Decimal, precision: int) -> Objects:
        other: Any = z.copy()
        with _precision(_MANY):
            other[i] += by
        return outputs(other, precision)

    best = NAN, NAN
    precision, exponent = digits, digits // 3
    for _ in range(_TRIES):
        with _precision(precision + 20):
            h = ONE.scaleb(-exponent) / 3  # full of digits: so is every result that is not exact
            steps = h, -h, 2 * h, -2 * h
        up, down, far_up, far_down = (moved(step, precision) for step in steps)
        used = depends | ((g != 0) & (_differ(up, down) | _differ(far_up, far_down)))
        if not used.any():
            return ZERO, ZERO
        y = np.stack([v[used] for v in (up, down, far_up, far_down)])
        if not all(v.is_finite() for v in (*y.flat, *g[used])):
            return NAN, NAN
        right = outputs.right(precision)
        with _precision(precision + 20):
            value = (g[used] * (y[0] - y[1])).sum() / (2 * h)
            wider = (g[used] * (y[2] - y[3])).sum() / (4 * h)
            size = (abs(g[used]) * (abs(y[0]) + abs(y[1]))).sum()
            rounding = size.scaleb(1 - right) / (4 * h)  # half a unit of the last digit, each
            truncation = abs(value - wider)
            error = rounding + truncation
            goal = max(abs(value).scaleb(-(digits // 2)), tiny)
            if best[1].is_nan() or error < best[1]:
                best = value, error
            if error <= goal or (rounding > goal and right < precision):
                break
            if 2 * rounding > goal:
                missing = (rounding / goal).adjusted() + 2
                # A value that is all rounding says little of how many digits it needs.
                precision += missing if abs(value) > rounding else min(missing, precision)
            else:
                missing = (truncation / goal).adjusted() // 2 + 2
                exponent += missing
                precision += missing
    with _precision(digits):
        value, error = best
        return +value or ZERO, error + abs(value).scaleb(-digits) or ZERO


# -- in floats -------------------------------------------------------------------------------------


def _difference_floats(f: Function, x: Floats, grad_output: Any) -> NumericalGrad:
    """Central differences of a function of floats, extrapolated to a step of 0."""
    y = np.asarray(f(x.copy()))
    g = np.broadcast_to(1.0 if grad_output is None else grad_output, y.shape).astype(np.float64)
    eps = float(np.finfo(y.dtype if y.dtype.kind == "f" else np.float64).eps)
    value, error = np.empty_like(x), np.empty_like(x)
    for i in np.ndindex(x.shape):
        if np.isfinite(x[i]):
            value[i], error[i] = _extrapolate(f, g, eps, x, i)
        else:
            value[i] = error[i] = 0.0 if np.isfinite(y[g != 0]).all() else np.nan
    return NumericalGrad(value, error)


def _extrapolate(f: Function, g: Floats, eps: float, x: Floats, i: Index) -> tuple[float, float]:
    """Richardson's table for one entry: the value whose neighbours in the table are nearest."""

    def moved(to: float) -> Floats:
        other = x.copy()
        other[i] = to
        return np.where(g == 0, 0.0, np.asarray(f(other), dtype=np.float64))

    # log(sum(exp(z))) - z[y] is rounded as z is, not as the difference.
    unit = max(1.0, float(np.abs(x[np.isfinite(x)]).max()))
    best = np.nan, np.nan
    above: list[float] = []
    for level in range(_LEVELS):
        h = max(0.25, abs(x[i]) / 2**10) / 2**level
        high, low = x[i] + h, x[i] - h
        up, down = moved(high), moved(low)
        with np.errstate(all="ignore"):
            row = [float((g * (up - down)).sum() / (high - low))]
            size = np.maximum(np.maximum(abs(up), abs(down)), unit)
            rounding = float(2 * eps * (abs(g) * size).sum() / (high - low))
        if not np.isfinite(row[0]):
            above = []  # a step out of the domain of f
            continue
        for k, coarser in enumerate(above, start=1):
            finer = row[-1]
            row.append(finer + (finer - coarser) / (4**k - 1))
            error = max(abs(row[-1] - finer), abs(row[-1] - coarser)) + 2 * rounding
            if not error >= best[1]:
                best = row[-1], error
        above = row
    return best
