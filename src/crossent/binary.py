"""Page 5: binary_cross_entropy_with_logits, one yes-or-no question an element.

An element with logit ``z``, target ``y`` in [0, 1], weight ``w`` and positive weight ``c`` costs::

    loss = w (c y softplus(-z) + (1 - y) softplus(z))

since ``-log sigmoid(z) = softplus(-z)`` and ``-log(1 - sigmoid(z)) = softplus(z)``. The naive
``-log(sigmoid(z))`` is infinite from z = -104 on in float32 and 0 from z = 17 on; the usual
``(1 - y) z + softplus(-z)`` cancels for ``y = 0`` and a very negative ``z``. Above, both terms are
never negative and keep their digits.

Gradient: ``w ((1 - y) sigmoid(z) - c y sigmoid(-z))``, each term again with all its digits, where
``sigmoid(z) - y`` would cancel.

Reference: PyTorch's ``binary_cross_entropy_with_logits``, whose meaning and names these are.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crossent import _arguments as desk
from crossent._blocks import Cut, Operand, Target
from crossent._reduction import Cotangent, Reduction, count_positions
from crossent._scratch import Array, room_like
from crossent._sums import corrected, two_product, two_sum, wide
from crossent.lse import times
from crossent.sigmoids import exp_minus_size, softplus_rows, zeros_like


def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Compute the cross-entropy of independent yes-or-no questions, one logit each.

    The loss of binary and of multi-label classification.

    Parameters
    ----------
    logits : array_like, any shape
        Logits of "yes"; integers and lists count as float64.
    target : array_like, the shape of `logits`
        The probability of "yes", 0 or 1 as a rule; floats, integers or booleans.
    weight : array_like, optional
        Broadcasts to the shape of `logits`; multiplies the losses.
    pos_weight : array_like, optional
        Broadcasts to the shape of `logits`; multiplies the "yes" terms.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum of the losses by the number of elements.
    where : array_like of bool, optional
        Broadcasts to the shape of `logits`; elements that are False cost nothing.
    dtype : dtype, optional
        The dtype to compute and return in; default that of `logits`.

    Returns
    -------
    scalar or ndarray
        The loss in nats; with ``reduction="none"`` shaped like `logits`.

    Raises
    ------
    TypeError
        If an argument is not an array of real numbers, or `where` is not boolean.
    ValueError
        If shapes or options do not fit.

    Notes
    -----
    Special values: an infinite logit on the right side costs 0, on the wrong side ``inf``; a term with a
    factor of exactly 0 costs 0; NaN stays in its element; the mean over nothing is NaN, the sum 0.
    Accuracy: 4 ulp, also for an answer that is nearly certain.
    Gradient: `binary_cross_entropy_with_logits_grad`.

    Examples
    --------
    >>> binary_cross_entropy_with_logits([0.0, -50.0], [1.0, 0.0])
    np.float64(0.34657359027997264)
    >>> binary_cross_entropy_with_logits([0.0, -50.0], [1.0, 0.0], reduction="none")
    array([6.93147181e-01, 1.92874985e-22])
    >>> binary_cross_entropy_with_logits([0.0, -50.0], [1.0, 0.0], pos_weight=3.0).round(10)
    np.float64(1.0397207708)
    """
    return _binary(logits, target, weight, pos_weight, reduction, where, dtype)[0]


def binary_cross_entropy_with_logits_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> Any:
    """Compute the gradient of ``sum(grad_output * binary_cross_entropy_with_logits(logits, ...))``.

    Parameters
    ----------
    logits, target, weight, pos_weight, reduction, where, dtype
        As for `binary_cross_entropy_with_logits`.
    grad_output : array_like, optional
        Broadcasts to the value's shape; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `logits` itself.

    Returns
    -------
    scalar or ndarray
        The gradient for `logits`, shaped like it.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits`; ValueError also if `grad_output` or `out` do not fit.

    Notes
    -----
    Special values: exactly 0 at elements that `where` leaves out, whatever they hold. Accuracy: 6 ulp;
    of the larger of its two terms where ``0 < target < 1`` makes them cancel.

    Examples
    --------
    >>> binary_cross_entropy_with_logits_grad([0.0, -50.0], [1.0, 0.0], reduction="sum")
    array([-5.00000000e-01,  1.92874985e-22])
    """
    return _binary(
        logits, target, weight, pos_weight, reduction, where, dtype,
        value=False, grad=True, grad_output=grad_output, out=out,
    )[1]  # fmt: skip


def binary_cross_entropy_with_logits_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Any, Any]:
    """Compute the loss and its gradient in one pass over the logits.

    Parameters
    ----------
    logits, target, weight, pos_weight, reduction, where, dtype
        As for `binary_cross_entropy_with_logits`.
    grad_output, out
        As for `binary_cross_entropy_with_logits_grad`.

    Returns
    -------
    value, gradient
        The loss, not scaled by `grad_output`, and the gradient.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits_grad`.

    Notes
    -----
    Special values and accuracy as for the two functions, bit for bit.

    Examples
    --------
    >>> binary_cross_entropy_with_logits_value_and_grad([0.0], [1.0])
    (np.float64(0.6931471805599453), array([-0.5]))
    """
    return _binary(
        logits, target, weight, pos_weight, reduction, where, dtype,
        grad=True, grad_output=grad_output, out=out,
    )  # fmt: skip


def _binary(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    pos_weight: ArrayLike | None,
    reduction: str,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    *,
    value: bool = True,
    grad: bool = False,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Any, Any]:
    """Canonical form, row maths through the engine, reduction."""
    x = desk.real("logits", logits)
    result = desk.result_dtype("logits", x, dtype)
    y = desk.same_shape("target", target, x.shape, "logits")
    w = None if weight is None else desk.broadcast("weight", weight, x.shape, "logits")
    c = None if pos_weight is None else desk.broadcast("pos_weight", pos_weight, x.shape, "logits")
    kept = desk.mask(where, x.shape)
    work = desk.work_dtype(result, y, w, c)
    if w is not None or c is not None:  # the roundings of up to four factors would be too many: a step wider
        work = wide(work)
    end = Reduction(
        desk.reduction_word(reduction), x.shape, result, wide(work),
        lambda: count_positions(x.shape, kept), grad_output,
    )  # fmt: skip
    operands = [*(a if a is None else Operand(a, work) for a in (x, y, w, c)), desk.as_is(kept)]
    rows = partial(_binary_rows, value, work == result)
    return end.run(rows, operands, x, (), value=value, grad=grad, out=out, work=work)


# --------------------------------------------------------------------------------------------------
# Row maths: all arrays (n,); the gradient is written where there is a target.


def _binary_rows(
    value: bool,
    tight: bool,
    z: Array, y: Array, w: Array | None, c: Array | None, where: Array | None,
    g: Cotangent | None, target: Target | None,
) -> Array | None:  # fmt: skip
    """``no * softplus(z) + yes * softplus(-z)`` with ``yes = c y`` and ``no = 1 - y``.

    In terms of ``t = exp(-|z|)`` it is ``(no + yes) log(1 + t) + near |z|`` and its slope, for positive z,
    ``(near - far t) / (1 + t)``, where of `yes` and `no` `near` is the one of the less likely label,
    and `far` the other. `d` and `e` are these with their signs, ``d + e = no - yes``.
    """
    dropped = desk.left_out(where)
    h = room_like("h", y)
    h[...] = np.greater_equal(z, zeros_like(z), out=room_like("positive", z, np.dtype(bool)))
    t = exp_minus_size(z, "t")
    both = low = None
    if c is None:
        d = np.subtract(h, y, out=room_like("d", y))
    else:
        yes, no = c * y, 1 - y
        both = no + yes
        d = no * h
        d -= yes * (1 - h)
        if tight:  # no digits to spare: put the roundings of no + yes back
            low = two_product(c, y)[1] + two_sum(1 - y, yes)[1] + two_sum(np.ones_like(y), -y)[1]
    loss = None
    if value:
        log = np.log1p(t, out=room_like("log", t))
        loss = np.multiply(d, z, out=room_like("loss", d))
        loss += log if both is None else log * both
        if low is not None:
            loss = corrected(loss, low * log)
        if np.isnan(loss.min(initial=0)):  # 0 * inf is 0 here
            strange = np.flatnonzero(np.isnan(loss))
            loss[strange] = _separately(z[strange], y[strange], 1 if c is None else c[strange])
        if w is not None:
            loss = times(w, loss)
        if dropped is not None:
            loss[dropped] = 0
    if g is not None and target is not None:
        e = np.subtract(1, h, out=h) if c is None else np.subtract(no, yes, out=no)
        e -= y if c is None else d
        slope = np.multiply(e, t, out=e)
        slope += d
        t += 1
        slope /= t
        factor = (g.value / g.divisor).astype(slope.dtype)
        if w is not None:
            factor = w * factor

        def fill(_: Cut, grad: Array) -> None:
            np.multiply(slope, factor, out=grad, casting="same_kind")
            if dropped is not None:
                grad[dropped] = 0

        target.write(fill)
    return loss


def _separately(z: Array, y: Array, c: Array | int) -> Array:
    return times(1 - y, softplus_rows(z)) + times(c * y, softplus_rows(-z))
