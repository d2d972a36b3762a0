"""Page 3: the negative log-likelihood of class labels: picking, weighting, ignoring, reducing.

With log-probabilities ``lp``, labels ``y`` and class weights ``w``, position ``i`` costs::

    loss_i = -w[y_i] * lp_i[y_i]

and the mean divides the sum by the sum of ``w[y_i]``, not by their number: a class of weight 2 counts
as if each of its examples stood there twice. Labels equal to `ignore_index` and positions where
`where` is False take part in neither sum.

The gradient touches the picked entries only: ``-w[y_i]`` times the loss's cotangent, which is
``1 / sum(w[y])`` for the mean.

Reference: PyTorch's ``nll_loss``, whose meaning and names these are.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossent import _arguments as desk
from crossent._blocks import Block, Cut, Target
from crossent._reduction import Cotangent, Reduction, count_labels
from crossent._scratch import Array
from crossent.lse import times


def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int | None = None,
    where: ArrayLike | None = None,
) -> Any:
    """Compute the negative log-likelihood of class labels under log-probabilities.

    Use it when log-probabilities are what you have; from logits, `cross_entropy` is one pass and
    more exact.

    Parameters
    ----------
    log_probs : array_like, shape (K,), (N, K), (N, K, ...)
        Log-probabilities, as from `log_softmax`.
    target : array_like of int, the shape of `log_probs` without the class axis
        Class indices in ``[0, K)``.
    weight : array_like, shape (K,), optional
        A weight for each class; None means ones.
    ignore_index : int, default -100
        Positions with this label cost nothing; it may lie inside or outside ``[0, K)``.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum of the losses by the sum of the labels' weights.
    axis : int, optional
        The class axis; None is PyTorch's rule: 0 of a 1-d array, else 1.
    where : array_like of bool, optional
        Broadcasts to the losses' shape; positions that are False cost nothing.

    Returns
    -------
    scalar or ndarray
        The loss in nats, in the dtype of `log_probs`; with ``reduction="none"`` shaped like `target`.

    Raises
    ------
    IndexError
        If a label lies outside ``[0, K)`` and is not `ignore_index`.
    TypeError
        If a target is not of integers, or an argument is not of real numbers.
    ValueError
        If shapes or options do not fit.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Special values: ``-inf`` at the label costs ``inf``, times a weight of 0 it costs 0. The mean over
    nothing is NaN, the sum 0. Ignored positions may hold anything. Accuracy: 4 ulp.
    Gradient: `nll_loss_grad`.

    Examples
    --------
    >>> lp = np.log([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    >>> nll_loss(lp, [0, 2]).round(10)
    np.float64(1.3862943611)
    >>> nll_loss(lp, [0, 2], reduction="none")
    array([0.69314718, 2.07944154])
    >>> nll_loss(lp, [0, 2], weight=[1, 1, 3]).round(10)
    np.float64(1.7328679514)
    >>> nll_loss(lp, [0, -100]).round(10)
    np.float64(0.6931471806)
    """
    return _nll(log_probs, target, weight, ignore_index, reduction, axis, where)[0]


def nll_loss_grad(
    log_probs: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int | None = None,
    where: ArrayLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> Any:
    """Compute the gradient of ``sum(grad_output * nll_loss(log_probs, ...))`` for `log_probs`.

    Parameters
    ----------
    log_probs, target, weight, ignore_index, reduction, axis, where
        As for `nll_loss`.
    grad_output : array_like, optional
        Broadcasts to the value's shape; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `log_probs` itself.

    Returns
    -------
    ndarray
        ``-w[y] * grad_output / denominator`` at the labels, 0 elsewhere; shaped like `log_probs`.

    Raises
    ------
    IndexError, TypeError, ValueError, numpy.exceptions.AxisError
        As `nll_loss`; ValueError also if `grad_output` or `out` do not fit.

    Notes
    -----
    Special values: exactly 0 at ignored positions; NaN at the labels for a mean over weights that are
    all 0. Accuracy: 6 ulp.

    Examples
    --------
    >>> nll_loss_grad(np.log([[0.5, 0.5], [0.25, 0.75]]), [0, 1])
    array([[-0.5,  0. ],
           [ 0. , -0.5]])
    """
    return _nll(
        log_probs, target, weight, ignore_index, reduction, axis, where,
        value=False, grad=True, grad_output=grad_output, out=out,
    )[1]  # fmt: skip


def nll_loss_value_and_grad(
    log_probs: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int | None = None,
    where: ArrayLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Any, Any]:
    """Compute ``(nll_loss(...), nll_loss_grad(...))`` in one pass.

    Parameters
    ----------
    log_probs, target, weight, ignore_index, reduction, axis, where, grad_output, out
        As for `nll_loss_grad`.

    Returns
    -------
    value, gradient
        The loss, not scaled by `grad_output`, and the gradient.

    Raises
    ------
    IndexError, TypeError, ValueError, numpy.exceptions.AxisError
        As `nll_loss_grad`.

    Notes
    -----
    Special values and accuracy as for the two functions, bit for bit.

    Examples
    --------
    >>> nll_loss_value_and_grad(np.log([0.5, 0.5]), 0)
    (np.float64(0.6931471805599453), array([-1.,  0.]))
    """
    return _nll(
        log_probs, target, weight, ignore_index, reduction, axis, where,
        grad=True, grad_output=grad_output, out=out,
    )  # fmt: skip


def _nll(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    ignore_index: int,
    reduction: str,
    axis: int | None,
    where: ArrayLike | None,
    *,
    value: bool = True,
    grad: bool = False,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Any, Any]:
    """Canonical form, row maths through the engine, reduction."""
    x = desk.real("log_probs", log_probs)
    desk.reduction_word(reduction)
    problem = desk.categories(
        "log_probs", x, target,
        weight=weight, ignore_index=ignore_index, axis=axis, where=where, soft=False,
    )  # fmt: skip
    end = Reduction(
        reduction, problem.positions, problem.dtype, problem.wide,
        lambda: count_labels(problem), grad_output,
    )  # fmt: skip
    operands = [desk.as_is(problem.x, 1), desk.as_is(problem.index), desk.as_is(problem.where)]
    rows = partial(_nll_rows, problem)
    return end.run(
        rows, operands, x, (problem.axis,), value=value, grad=grad, out=out, work=problem.dtype
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Row maths: z (K, n), of which only the labels' entries are read; y and where (n,).


def _nll_rows(
    problem: desk.Categories,
    z: Block, y: Array, where: Array | None, g: Cotangent | None, target: Target | None,
) -> Array:  # fmt: skip
    y, dropped = desk.kept_labels(problem, y, where)  # (n,)
    loss = -z.pick(y).astype(problem.wide)  # (n,)
    w = problem.weights(y)
    if w is not None:
        loss = times(w, loss)
    if dropped is not None:
        loss[dropped] = 0
    if g is not None and target is not None:
        each = -g.value / g.divisor if w is None else -w * g.value / g.divisor
        at_y = np.broadcast_to(each, y.shape).astype(problem.dtype)
        if dropped is not None:
            at_y[dropped] = 0

        def fill(cut: Cut, grad: Array) -> None:
            grad[...] = 0
            cut.put(grad, y, at_y)

        target.write(fill)
    return loss
