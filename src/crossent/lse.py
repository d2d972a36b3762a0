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

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crossent import _arguments as desk
from crossent._blocks import Block, Cut, Operand, Target, sweep
from crossent._exponentials import SMALLEST_OWN, Exponentials, exponentials
from crossent._reduction import Cotangent
from crossent._scratch import Array, room_like
from crossent._sums import corrected, two_product, two_sum, wide


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
    sweep(_logsumexp_rows, [Operand(z, work, max(1, len(axes)))], positions, sink=value)
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
    result, target = desk.gradient_array(out, array, dtype, axes, operands)
    memory = target.array if axes else target.array[np.newaxis]
    sweep(_logsumexp_grad_rows, operands, positions, target=Operand(memory, work, max(1, len(axes))))
    return result if out is not None else result[()]


def _summed(x: ArrayLike, axis: int | tuple[int, ...] | None) -> tuple[Any, ...]:
    """Canonical form of `logsumexp`: the summed axes first."""
    array = desk.real("x", x)
    axes = desk.class_axes(array, axis)
    dtype = desk.result_dtype("x", array)
    z = desk.first(array, axes) if axes else array[np.newaxis]
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
    return _map_rows(_softmax_grad_rows, x, axis, dtype, g, out, bulk=3)


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
    return _map_rows(_log_softmax_grad_rows, x, axis, dtype, g, out, bulk=1.25)


def _map_rows(
    rows: Any,
    x: ArrayLike,
    axis: int,
    dtype: DTypeLike | None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
    bulk: float = 1,
) -> Any:
    """Run a row function whose result has the shape of its input."""
    x = desk.real("x", x)
    result_dtype = desk.result_dtype("x", x, dtype)
    axis = desk.class_axis("x", x, axis)
    arrays = [x]
    if grad_output is not None:
        arrays.append(desk.broadcast("grad_output", grad_output, x.shape, "x"))
    work = desk.work_dtype(result_dtype, *arrays[1:])
    operands = [Operand(desk.first(array, (axis,)), work, 1) for array in arrays]
    result, target = desk.gradient_array(out, x, result_dtype, (axis,), operands)
    into = target._replace(dtype=work)
    sweep(rows, operands, target.array.shape[1:], target=into, bulk=bulk)
    return result


# --------------------------------------------------------------------------------------------------
# Row maths: z (K, n), classes first; one position a column. `wide` is float64, or longdouble.


def cost(w: Array | None, e: Exponentials) -> Array:
    """Return ``w * -log p`` of the class kept apart, `w` ``(n,)`` or None for ones.

    ``log1p(r / own)``, no digit of which is lost however confident the prediction; where the
    class's own term has all but vanished, ``(c - z_k) + log(s)``, a sum of two positive terms, of
    which the first may overflow where ``w`` times it does not.
    """
    x = e.rest / e.own
    loss = np.log1p(x)
    if e.z.dtype != loss.dtype:  # float32 losses do not notice float64's roundings
        if w is not None:
            loss *= w
    else:  # put back the roundings of quotient and product, as in `coefficient`
        back, back_low = two_product(x, e.own)
        low = ((e.rest - back) - back_low) / e.own / (1 + x)
        if w is not None:
            loss, product_low = two_product(loss, w)
            low = low * w + product_low
        loss = corrected(loss, low)
    if not e.own.min() >= SMALLEST_OWN:
        far = np.flatnonzero(e.own < SMALLEST_OWN)
        one = np.ones(far.size, loss.dtype) if w is None else w[far]
        z_k = e.z.pick(e.k)[far].astype(loss.dtype)
        c = np.zeros_like(z_k) if e.shift is None else e.shift[far]
        loss[far] = 2 * times(one, c / 2 - z_k / 2) + one * np.log(e.total[far])
    return loss


def coefficient(a: Array | None, g: Cotangent, e: Exponentials) -> tuple[Array, Array]:
    """Return ``a * g / s``, what the entries of a column share, as ``c (n,)`` and a power of two.

    In double-double: product and sums with their rounding errors, and the quotient with the
    remainder of the division, rounded once. Rounding each step would cost an entry up to 2 ulp.
    The power of two is the size of ``1 / s``: with it in one number, a small cotangent divided by a
    large ``s`` might not be a normal number though every entry is. `a` None stands for ones.
    """
    power = np.ldexp(e.total.dtype.type(1), -np.frexp(e.total)[1])
    if e.z.dtype != e.total.dtype:  # float32 entries do not notice float64's roundings
        return (g.value if a is None else a * g.value) / (e.total * power * g.divisor), power
    one = np.ones_like(e.total)
    top, top_low = two_product(one if a is None else a, one * g.value)
    s, s_low = two_sum(e.own * power, e.rest * power)
    bottom, bottom_low = two_product(s, one * g.divisor)
    quotient = top / bottom
    back, back_low = two_product(quotient, bottom)
    remainder = ((top - back) - back_low) + (top_low - quotient * (bottom_low + g.divisor * s_low))
    return corrected(quotient, remainder / bottom), power


def scale(e: Array, c: Array, power: Array, out: Array) -> None:
    """Write ``e * c * power`` for ``e (K, n)``: in one step where no digit is lost by it."""
    both = c * power
    size = np.abs(both)
    info = np.finfo(out.dtype)
    if size.min(initial=info.tiny) >= info.tiny and size.max(initial=0) <= info.max:
        np.multiply(e, both.astype(out.dtype), out=out, casting="same_kind")
        return
    small = (size < info.tiny) & (c != 0)
    large = np.flatnonzero(size > info.max)  # by a sum of less than 1
    grown = e[:, large] * (2 * power[large]).astype(out.dtype)  # `e` may be the memory of `out`
    np.multiply(e, np.where(small, c, both).astype(out.dtype), out=out, casting="same_kind")
    out[:, small] *= power[small].astype(out.dtype)
    out[:, large] = grown * (c[large] / 2).astype(out.dtype)


def _logsumexp_rows(z: Block) -> Array:
    if len(z) == 0:
        return np.full(z.shape[1], -np.inf)
    k, m = z.largest()
    e = exponentials(z, k)
    value = m + np.log1p(e.rest / e.own)
    infinite = np.flatnonzero(np.isinf(m))  # nothing to add: all are -inf, or one is inf
    value[infinite] = m[infinite]
    return value


def _logsumexp_grad_rows(z: Block, g: Array | None, target: Target) -> None:
    if len(z) == 0:
        return
    k, m = z.largest()
    nothing = np.flatnonzero(m == -np.inf)
    e = exponentials(z, k)
    one = e.own.dtype.type(1)
    c, power = coefficient(g, Cotangent(one, one), e)

    def fill(cut: Cut, p: Array) -> None:
        scale(e[cut], c, power, p)
        cut.put(p, k, e.own * power * c)
        p[:, nothing] = 0

    target.write(fill)


def _softmax_rows(z: Block, target: Target) -> None:
    k, _ = z.largest()
    e = exponentials(z, k)

    def fill(cut: Cut, p: Array) -> None:
        if p.dtype == e.total.dtype:
            np.divide(e[cut], e.total, out=p)
        else:  # in float64: float32 would round the factor, too
            np.multiply(e[cut], 1 / e.total, out=p, dtype=e.total.dtype, casting="same_kind")
        cut.put(p, k, e.own / e.total)

    target.write(fill)


def _softmax_grad_rows(z: Block, g: Block, target: Target) -> None:
    """``p * (g - sum(p * g))``; at the argmax ``k``, ``p_k * sum(p * (g_k - g))`` over the others.

    The two are equal since the probabilities sum to 1, but ``1 - p_k`` would cancel. In terms of
    ``e = p s`` it is ``e * (g s - sum(e * g)) / s**2``, with fewer roundings than with each ``p``.
    """
    k, _ = z.largest()
    e = exponentials(z, k)
    one = e.own.dtype.type(1)
    c, power = coefficient(None, Cotangent(one, one), e)
    c, power = c / 2, power * 2  # s within [1, 2): no e is smaller than its p
    own, s = e.own * power, e.total * power
    g_k = g.pick(k)

    def all_terms(cut: Cut) -> Array:
        terms: Array = e[cut] * power  # float64 or wider, as is what follows
        cut.put(terms, k, own)
        return terms

    at_k = z.sum(lambda cut: times(all_terms(cut), g_k - g[cut]))  # (n,)
    mean = z.sum(lambda cut: times(all_terms(cut), g[cut]))

    def fill(cut: Cut, out: Array) -> None:
        result = times(all_terms(cut), g[cut] * s - mean)
        cut.put(result, k, own * at_k)
        np.multiply(result, c / s, out=out, casting="same_kind")

    target.write(fill)


def _log_softmax_rows(z: Block, target: Target) -> None:
    k, m = z.largest()
    e = exponentials(z, k)
    log = np.log1p(e.rest / e.own).astype(z.dtype)

    def fill(cut: Cut, out: Array) -> None:
        np.subtract(z[cut], m, out=out)
        out -= log

    target.write(fill)


def _log_softmax_grad_rows(z: Block, g: Block, target: Target) -> None:
    k, _ = z.largest()
    e = exponentials(z, k)
    minus = -e.own.dtype.type(1)
    log_softmax_pullback(e, Distribution(g), Cotangent(minus, -minus), None, target)


class Distribution:
    """Numbers ``t (K, n)`` that multiply the log-probabilities of a block, as they were given."""

    def __init__(self, t: Block) -> None:
        self.t = t

    def __getitem__(self, cut: Cut) -> Array:
        """Return those of a cut of classes."""
        return self.t[cut]

    def sums(self, k: Array) -> tuple[Array, Array]:
        """Return the sum over all classes but ``k``, and the number of ``k``: wide, ``(n,)`` each."""

        def others(cut: Cut) -> Array:
            part = room_like("part", self.t[cut])
            np.copyto(part, self[cut])
            cut.put(part, k, 0)
            return part

        sum_others = self.t.sum(others)
        return sum_others, self.at(k).astype(sum_others.dtype)

    def at(self, k: Array) -> Array:
        """Return the numbers of classes ``k (n,)``, one a position."""
        return self.t.pick(k)

    def weigh(self, cut: Cut, x: Array) -> Array:
        """Return ``t x`` for ``x (k, n)``, of which nothing is left."""
        x *= self[cut]
        return x

    def subtract(self, cut: Cut, out: Array, factor: Array, product: Array) -> None:
        """Subtract ``t factor`` from `out`; `product` is what `scaled` returned."""
        out -= product

    def scaled(self, cut: Cut, factor: Array) -> Array:
        """Return ``t factor``."""
        part = self[cut]
        return np.multiply(part, factor, out=room_like("part", part))


def log_softmax_pullback(
    e: Exponentials, t: Distribution, g: Cotangent, dropped: Array | None, target: Target
) -> None:
    """Write ``(p * sum(t) - t) * g`` for ``t (K, n)``; ``e`` with the argmax ``k`` apart.

    At the argmax, ``p_k (t_k + T) - t_k`` with ``T`` the sum of the others' ``t`` is
    ``(T own - t_k r) / s``: nothing cancels when all of ``t`` is on a class that is nearly certain.
    """
    others, t_k = t.sums(e.k)
    c, power = coefficient(None, g, e)
    at_k = (others * (e.own * power) - t_k * (e.rest * power)) * c
    c, power = coefficient(others + t_k, g, e)
    factor = (g.value / g.divisor).astype(e.z.dtype)

    def fill(cut: Cut, out: Array) -> None:
        second = t.scaled(cut, factor)  # before `out`, which may be the memory of t, is written
        scale(e[cut], c, power, out)
        t.subtract(cut, out, factor, second)
        cut.put(out, e.k, at_k)
        if dropped is not None:
            out[:, dropped] = 0

    target.write(fill)


def times(factor: Array, x: Array) -> Array:
    """Return ``factor * x``, where a factor of exactly 0 gives 0 also for an infinite ``x``."""
    product = factor * x
    nothing = np.isnan(product)
    if nothing.any():
        product[nothing & (factor == 0) & np.isinf(x)] = 0
    return product
