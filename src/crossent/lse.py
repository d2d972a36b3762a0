"""Page 1: logsumexp, softmax and log_softmax, on which everything else builds.

::

    logsumexp(z)   = log(sum_j exp(z_j))
    softmax(z)_k   = exp(z_k) / sum_j exp(z_j)              p
    log_softmax(z)_k = z_k - logsumexp(z)

Written like that, ``exp`` overflows from z = 89 on in float32, and ``log`` of a sum that one term
dominates loses all others: for z = [0, 20] the float32 sum *is* exp(20), so that
``log_softmax`` gives 0 for the second class where ``-2.06e-09`` is due. Take the largest term out
of the sum instead. With ``m = z_k`` the maximum and ``r = sum_{j != k} exp(z_j - m)``::

    logsumexp(z) = m + log1p(r),        log_softmax(z)_j = (z_j - m) - log1p(r)

Gradients (cotangent ``g``): ``p * g`` for logsumexp; ``p * (g - sum(p * g))`` for softmax;
``g - p * sum(g)`` for log_softmax.

Reference: P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
softmax functions", IMA Journal of Numerical Analysis 41 (2021).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crossent import _arguments as desk
from crossent._blocks import Operand, sweep
from crossent._reduction import Cotangent
from crossent._sums import Array, corrected, row_sum, two_product, two_sum, wide


def logsumexp(x: ArrayLike, axis: int | tuple[int, ...] | None = -1, *, keepdims: bool = False) -> Any:
    """Compute the logarithm of a sum of exponentials, ``log(sum(exp(x)))``.

    Use it to add probabilities that are kept as logarithms, or as a smooth maximum.

    Parameters
    ----------
    x : array_like, any shape
        Real numbers; integers and lists count as float64.
    axis : int, tuple of ints or None, default -1
        The axis or axes to sum over; None sums over all.
    keepdims : bool, default False
        Keep the summed axes with length 1.

    Returns
    -------
    scalar or ndarray
        The shape of `x` without `axis`, in its dtype, in nats.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Special values: the sum over nothing, or over ``-inf`` alone, is ``-inf``; with a ``+inf`` and
    no NaN it is ``inf``; NaN gives NaN. Accuracy: 4 ulp, of the largest ``x`` where the result is
    smaller than that. Gradient: `logsumexp_grad`, the softmax.

    References
    ----------
    Blanchard, Higham and Higham (2021), doi:10.1093/imanum/draa038.

    Examples
    --------
    >>> logsumexp([1000.0, 1000.0]).round(10)
    np.float64(1000.6931471806)
    >>> logsumexp([[0.0, 1.0], [2.0, 3.0]], axis=0)
    array([2.12692801, 3.12692801])
    >>> logsumexp([[0.0, 1.0], [2.0, 3.0]], axis=None, keepdims=True)
    array([[3.4401897]])
    """
    z, positions, dtype, work, axes, _ = _summed(x, axis)
    value = Operand(np.empty(positions, dtype), dtype)
    sweep(_logsumexp_rows, [Operand(z, work, max(1, len(axes)))], [value], positions)
    result = np.expand_dims(value.array, axes) if keepdims else value.array
    return result[()]


def logsumexp_grad(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> Any:
    """Compute the gradient of ``sum(grad_output * logsumexp(x, axis))``: ``grad_output * softmax(x)``.

    Parameters
    ----------
    x, axis, keepdims
        As for `logsumexp`.
    grad_output : array_like, optional
        Broadcasts to the shape of the value; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `x` itself.

    Returns
    -------
    ndarray
        The gradient, shaped like `x`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`; ValueError also if `grad_output` or `out` do not fit.

    Notes
    -----
    ``d logsumexp / d x_k = exp(x_k) / sum_j exp(x_j)``. Special values: 0 where all are ``-inf``,
    NaN in rows with ``+inf`` or NaN. Accuracy: 6 ulp.

    Examples
    --------
    >>> logsumexp_grad([0.0, 0.0, -np.inf])
    array([0.5, 0.5, 0. ])
    """
    z, positions, dtype, work, axes, array = _summed(x, axis)
    shape = tuple(1 if i in axes else n for i, n in enumerate(array.shape)) if keepdims else positions
    g = None
    if grad_output is not None:
        g = desk.broadcast("grad_output", grad_output, shape, "the value").reshape(positions)
    operands = [Operand(z, work, max(1, len(axes))), g if g is None else Operand(g, wide(work))]
    result, gradient = desk.gradient_array(out, array, dtype, axes, operands)
    sweep(_logsumexp_grad_rows, operands, [gradient], positions)
    return result if out is not None else result[()]


def _summed(x: ArrayLike, axis: int | tuple[int, ...] | None) -> tuple[Any, ...]:
    """Canonical form of `logsumexp`: the summed axes first."""
    array = desk.real("x", x)
    axes = desk.class_axes(array, axis)
    dtype = desk.result_dtype("x", array)
    z = np.moveaxis(array, axes, range(len(axes))) if axes else array[np.newaxis]
    return z, z.shape[max(1, len(axes)) :], dtype, desk.work_dtype(dtype), axes, array


def softmax(x: ArrayLike, axis: int = -1, *, dtype: DTypeLike | None = None) -> Any:
    """Compute the softmax, ``exp(x) / sum(exp(x))``: logits to probabilities.

    Use it to report probabilities. Never take its logarithm: `log_softmax` and `cross_entropy`
    keep the digits that this loses.

    Parameters
    ----------
    x : array_like, at least 1-d
        Logits; integers and lists count as float64.
    axis : int, default -1
        The class axis.
    dtype : dtype, optional
        The dtype to compute and return in; default that of `x`.

    Returns
    -------
    ndarray
        Probabilities, shaped like `x`.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.
    ValueError
        If `x` is 0-d or has no classes.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Special values: a ``-inf`` logit has probability 0; a row with NaN, with ``+inf`` or with only
    ``-inf`` is NaN. Accuracy: 4 ulp. Gradient: `softmax_grad`.

    Examples
    --------
    >>> softmax([1000.0, 1000.0])
    array([0.5, 0.5])
    >>> softmax(np.float32([[0, 20]]))
    array([[2.0611537e-09, 1.0000000e+00]], dtype=float32)
    """
    return _map_rows(_softmax_rows, x, axis, dtype)


def softmax_grad(
    x: ArrayLike,
    axis: int = -1,
    *,
    dtype: DTypeLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> Any:
    """Compute the gradient of ``sum(grad_output * softmax(x))``.

    Parameters
    ----------
    x, axis, dtype
        As for `softmax`.
    grad_output : array_like, optional
        Broadcasts to the shape of `x`; None means ones, for which the gradient is 0.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `x` itself.

    Returns
    -------
    ndarray
        ``p * (g - sum(p * g))``, shaped like `x`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; ValueError also if `grad_output` or `out` do not fit.

    Notes
    -----
    From ``d p_k / d x_j = p_k ((k == j) - p_j)``. Special values as for `softmax`. Accuracy: 6 ulp of
    the sum of the terms' magnitudes.

    Examples
    --------
    >>> softmax_grad([0.0, 0.0], grad_output=[1.0, 0.0])
    array([ 0.25, -0.25])
    """
    # The probabilities sum to 1: adding a constant to g changes nothing, and ones are as good as 0.
    g = 0 if grad_output is None else grad_output
    return _map_rows(_softmax_grad_rows, x, axis, dtype, g, out)


def log_softmax(x: ArrayLike, axis: int = -1, *, dtype: DTypeLike | None = None) -> Any:
    """Compute the logarithm of the softmax, ``x - logsumexp(x)``.

    Use it for log-probabilities; `cross_entropy` does not need it.

    Parameters
    ----------
    x : array_like, at least 1-d
        Logits; integers and lists count as float64.
    axis : int, default -1
        The class axis.
    dtype : dtype, optional
        The dtype to compute and return in; default that of `x`.

    Returns
    -------
    ndarray
        Log-probabilities in nats, never positive, shaped like `x`.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.
    ValueError
        If `x` is 0-d or has no classes.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Special values: ``-inf`` stays ``-inf``; a row with NaN, with ``+inf`` or with only ``-inf`` is
    NaN. Accuracy: 4 ulp, also for a class that is nearly certain. Gradient: `log_softmax_grad`.

    Examples
    --------
    >>> log_softmax(np.float32([[0, 20]]))
    array([[-2.0000000e+01, -2.0611537e-09]], dtype=float32)
    """
    return _map_rows(_log_softmax_rows, x, axis, dtype)


def log_softmax_grad(
    x: ArrayLike,
    axis: int = -1,
    *,
    dtype: DTypeLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> Any:
    """Compute the gradient of ``sum(grad_output * log_softmax(x))``.

    Parameters
    ----------
    x, axis, dtype
        As for `log_softmax`.
    grad_output : array_like, optional
        Broadcasts to the shape of `x`; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `x` itself.

    Returns
    -------
    ndarray
        ``g - p * sum(g)``, shaped like `x`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `log_softmax`; ValueError also if `grad_output` or `out` do not fit.

    Notes
    -----
    From ``d log p_k / d x_j = (k == j) - p_j``. Special values as for `softmax`. Accuracy: 6 ulp of the
    sum of the terms' magnitudes; an entry ``1 - p`` keeps all its digits.

    Examples
    --------
    >>> log_softmax_grad([0.0, 50.0], grad_output=[0.0, 1.0])
    array([-1.92874985e-22,  1.92874985e-22])
    """
    g = 1 if grad_output is None else grad_output
    return _map_rows(_log_softmax_grad_rows, x, axis, dtype, g, out)


def _map_rows(
    rows: Any,
    x: ArrayLike,
    axis: int,
    dtype: DTypeLike | None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> Any:
    """Run a row function whose result has the shape of its input."""
    x = desk.real("x", x)
    result_dtype = desk.result_dtype("x", x, dtype)
    axis = desk.class_axis("x", x, axis)
    arrays = [x]
    if grad_output is not None:
        arrays.append(desk.broadcast("grad_output", grad_output, x.shape, "x"))
    work = desk.work_dtype(result_dtype, *arrays[1:])
    operands = [Operand(np.moveaxis(array, axis, 0), work, 1) for array in arrays]
    result, target = desk.gradient_array(out, x, result_dtype, (axis,), operands)
    sweep(rows, operands, [target], target.array.shape[1:])
    return result


# --------------------------------------------------------------------------------------------------
# Row maths: z (K, n), classes first; one position a column. `wide` is float64, or longdouble.


@dataclass
class Exponentials:
    """``exp(z - c)`` of a block, with the term of one class a column kept apart.

    Every result is made of ratios of these numbers, so that the shift ``c`` cancels.
    """

    others: Array  # (K, n) exp(z - c), 0 at the class that is kept apart
    own: Array  # (n,) wide: the term of that class
    rest: Array  # (n,) wide: r, the sum of the others
    total: Array  # (n,) wide: s = own + rest, at least 1
    shift: Array  # (n,) c


# The sums for which no shift is needed, by dtype: s >= 1 and s <= the second number, r >= the first.
# * s >= 1: a term is no smaller than its probability, so that every probability that is a normal number
#   comes from a normal term.
# * r >= 2**30 times the smallest normal number, at least: the absolute errors of fewer than 2**30
#   subnormal terms do not reach its digits.
# * The upper limits keep r / own finite for own >= _SMALLEST_OWN, and cotangents divided by s normal.
_NO_SHIFT = {np.dtype(np.float32): (2.0**-90, 2.0**60)}
_NO_SHIFT_WIDE = (2.0**-900, 2.0**64)
_SMALLEST_OWN = 2.0**-500
_HEADROOM = 64.0


def exponentials(z: Array, k: Array) -> Exponentials:
    """Exponentiate a block ``z (K, n)`` and keep apart the term of class ``k (n,)`` of each column.

    The rounding of ``z - m`` is what costs softmax its digits: an error of half an ulp of ``z - m``
    becomes a relative error of the exponential, 30 ulp and more. Hence no shift where none is
    needed, and elsewhere one whose rounding error is put back, ``exp(d + low) = exp(d) (1 + low)``.
    The choice is a column's own: its bits do not depend on the columns beside it.
    """
    columns = np.arange(z.shape[1])
    low, high = _NO_SHIFT.get(z.dtype, _NO_SHIFT_WIDE)
    own = np.exp(z[k, columns].astype(wide(z.dtype)))  # (n,)
    e = np.exp(z)  # (K, n)
    e[k, columns] = 0
    rest = row_sum(e)  # (n,)
    total = own + rest
    shift = np.zeros_like(own)
    unsafe = np.flatnonzero(~((total >= 1) & (total <= high) & (rest >= low)))
    if unsafe.size:
        part = _shifted(z[:, unsafe], k[unsafe])
        e[:, unsafe], shift[unsafe] = part.others, part.shift
        own[unsafe], rest[unsafe], total[unsafe] = part.own, part.rest, part.total
    return Exponentials(e, own, rest, total, shift)


def _shifted(z: Array, k: Array, headroom: float = 0.0) -> Exponentials:
    """`exponentials` with ``c`` the maximum, whose own term is then exactly 1.

    Where all of ``r`` is close to the subnormal numbers, ``c`` lies a little below the maximum.
    """
    columns = np.arange(z.shape[1])
    z = z.astype(wide(z.dtype))
    c = z.max(axis=0) - headroom  # (n,)
    d, low = two_sum(z, -c)  # (K, n)
    e = np.exp(d)
    e += e * np.where(np.isfinite(d), low, 0)
    own = e[k, columns]  # (n,)
    e[k, columns] = 0
    rest = row_sum(e)
    result = Exponentials(e, own, rest, own + rest, c)
    deep = np.flatnonzero((rest > 0) & (rest < _NO_SHIFT_WIDE[0]))
    if deep.size and headroom == 0:
        part = _shifted(z[:, deep], k[deep], _HEADROOM)
        e[:, deep], c[deep] = part.others, part.shift
        own[deep], rest[deep], result.total[deep] = part.own, part.rest, part.total
    return result


def cost(w: Array, z_k: Array, e: Exponentials) -> Array:
    """Return ``w * -log p`` of the class kept apart: weights and logits ``(n,)``, the block's terms.

    ``log1p(r / own)``, no digit of which is lost however confident the prediction; where the
    class's own term has all but vanished, ``(c - z_k) + log(s)``, a sum of two positive terms, of
    which the first may overflow where ``w`` times it does not.
    """
    x = e.rest / e.own
    loss = np.log1p(x)
    if e.others.dtype != loss.dtype:  # float32 losses do not notice float64's roundings
        loss *= w
    else:  # put back the roundings of quotient and product, as in `coefficient`
        back, back_low = two_product(x, e.own)
        loss, low = two_product(loss, w)
        low += w * (((e.rest - back) - back_low) / e.own / (1 + x))
        loss = corrected(loss, low)
    far = np.flatnonzero(e.own < _SMALLEST_OWN)
    if far.size:
        w, half = w[far], e.shift[far] / 2 - z_k[far] / 2
        loss[far] = 2 * times(w, half) + w * np.log(e.total[far])
    return loss


def coefficient(a: Array, g: Cotangent, e: Exponentials) -> tuple[Array, Array]:
    """Return ``a * g / s``, what the entries of a column share, as ``c (n,)`` and a power of two.

    In double-double: product and sums with their rounding errors, and the quotient with the
    remainder of the division, rounded once. Rounding each step would cost an entry up to 2 ulp.
    The power of two is the size of ``1 / s``: with it in one number, a small cotangent divided by a
    large ``s`` might not be a normal number though every entry is.
    """
    power = np.ldexp(np.ones_like(e.total), -np.frexp(e.total)[1])
    if e.others.dtype != e.total.dtype:  # float32 entries do not notice float64's roundings
        return a * g.value / (e.total * power * g.divisor), power
    top, top_low = two_product(a, np.broadcast_to(g.value, a.shape))
    s, s_low = two_sum(e.own * power, e.rest * power)
    bottom, bottom_low = two_product(s, np.broadcast_to(g.divisor, s.shape))
    quotient = top / bottom
    back, back_low = two_product(quotient, bottom)
    remainder = ((top - back) - back_low) + (top_low - quotient * (bottom_low + g.divisor * s_low))
    return corrected(quotient, remainder / bottom), power


def scaled(e: Array, c: Array, power: Array) -> Array:
    """Return ``e * c * power`` in the place of ``e (K, n)``: in one step where no digit is lost by it."""
    both = c * power
    small = (np.abs(both) < np.finfo(e.dtype).tiny) & (c != 0)
    if small.any():
        e[:, small] *= power[small].astype(e.dtype)
        both = np.where(small, c, both)
    e *= both.astype(e.dtype)
    return e


def _logsumexp_rows(z: Array) -> tuple[Array]:
    if len(z) == 0:
        return (np.full(z.shape[1], -np.inf),)
    k = z.argmax(axis=0)
    m = z[k, np.arange(z.shape[1])].astype(wide(z.dtype))
    e = exponentials(z, k)
    # With m infinite there is nothing to add: all are -inf, or one is inf.
    return (np.where(np.isinf(m), m, m + np.log1p(e.rest / e.own)),)


def _logsumexp_grad_rows(z: Array, g: Array | None) -> tuple[Array]:
    if len(z) == 0:
        return (z,)
    k = z.argmax(axis=0)
    columns = np.arange(z.shape[1])
    nothing = z[k, columns] == -np.inf
    e = exponentials(z, k)
    one = np.ones_like(e.own)
    c, power = coefficient(one, Cotangent(one if g is None else g, one), e)
    p = scaled(e.others, c, power)
    p[k, columns] = e.own * power * c
    p[:, nothing] = 0
    return (p,)


def _softmax_rows(z: Array) -> tuple[Array]:
    k = z.argmax(axis=0)
    e = exponentials(z, k)
    p = np.divide(e.others, e.total, dtype=e.total.dtype)  # in float64: one rounding less for float32
    p[k, np.arange(z.shape[1])] = e.own / e.total
    return (p,)


def _softmax_grad_rows(z: Array, g: Array) -> tuple[Array]:
    """``p * (g - sum(p * g))``; at the argmax ``k``, ``p_k * sum(p * (g_k - g))`` over the others.

    The two are equal since the probabilities sum to 1, but ``1 - p_k`` would cancel. In terms of
    ``e = p s`` it is ``e * (g s - sum(e * g)) / s**2``, with fewer roundings than with each ``p``.
    """
    k = z.argmax(axis=0)
    columns = np.arange(z.shape[1])
    terms = exponentials(z, k)
    one = np.ones_like(terms.own)
    c, power = coefficient(one, Cotangent(one, one), terms)
    c, power = c / 2, power * 2  # s within [1, 2): no e is smaller than its p
    e = terms.others * power  # (K, n) float64 or wider, as is what follows
    e[k, columns] = terms.own * power
    s = terms.total * power
    at_k = row_sum(times(e, g[k, columns] - g))  # (n,)
    result = times(e, g * s - row_sum(times(e, g)))
    result[k, columns] = e[k, columns] * at_k
    result *= c / s
    return (result,)


def _log_softmax_rows(z: Array) -> tuple[Array]:
    k = z.argmax(axis=0)
    m = z[k, np.arange(z.shape[1])]
    e = exponentials(z, k)
    return ((z - m) - np.log1p(e.rest / e.own).astype(z.dtype),)


def _log_softmax_grad_rows(z: Array, g: Array) -> tuple[Array]:
    k = z.argmax(axis=0)
    e = exponentials(z, k)
    one = np.ones_like(e.own)
    return (-log_softmax_pullback(e, k, g, Cotangent(one, one)),)


def log_softmax_pullback(e: Exponentials, k: Array, t: Array, g: Cotangent) -> Array:
    """Return ``(p * sum(t) - t) * g``, in the place of ``e.others``; ``e`` with the argmax ``k`` apart.

    At the argmax, ``p_k (t_k + T) - t_k`` with ``T`` the sum of the others' ``t`` is
    ``(T own - t_k r) / s``: nothing cancels when all of ``t`` is on a class that is nearly certain.
    """
    columns = np.arange(t.shape[1])
    t_k = t[k, columns].astype(e.own.dtype)
    others = t.copy("K")
    others[k, columns] = 0
    sum_others = row_sum(others)
    c, power = coefficient(np.ones_like(t_k), g, e)
    at_k = (sum_others * (e.own * power) - t_k * (e.rest * power)) * c
    result = scaled(e.others, *coefficient(sum_others + t_k, g, e))
    result -= t * (g.value / g.divisor).astype(t.dtype)
    result[k, columns] = at_k
    return result


def times(factor: Array, x: Array) -> Array:
    """Return ``factor * x``, where a factor of exactly 0 gives 0 also for an infinite ``x``."""
    product = factor * x
    nothing = np.isnan(product)
    if nothing.any():
        product[nothing & (factor == 0) & np.isinf(x)] = 0
    return product
