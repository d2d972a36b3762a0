"""Page 4: cross_entropy, log_softmax and negative log-likelihood in one pass over the logits.

A position with logits ``z``, target distribution ``q`` and class weights ``w`` costs::

    loss = sum_k t_k (-log p_k),    p = softmax(z),    t_k = w_k ((1 - s) q_k + s / K)

with label smoothing ``s``. A class index ``y`` is the distribution with all of its mass at ``y``; its
weight is ``w_y``, so that there ``t = (1 - s) w_y [k = y] + (s / K) w_k``.

The naive ``-log(softmax(z))`` is infinite for an unlikely class; the usual ``logsumexp(z) - z_y`` cancels
when ``y`` is nearly certain. With ``r`` the sum of the other classes' exponentials the plain case
is ``log1p(r / exp(z_y))``, and in general, with ``k`` the argmax out of the sum,
``sum(t) log1p(r / exp(z_k)) + sum_j t_j (z_k - z_j)``: sums of terms that are never negative.

Gradient: ``d(-log p_k) / d z_j = p_j - [j = k]``, hence ``sum(t) p_j - t_j``. For the label's entry
``p_y - 1`` would cancel; it is minus the sum of the other probabilities, ``-r / s``.

Reference: C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), section 4.3.4; label
smoothing: C. Szegedy et al., "Rethinking the Inception architecture" (2016).
"""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crossent import _arguments as desk
from crossent._blocks import Block, Cut, Operand, Target
from crossent._exponentials import exponentials
from crossent._reduction import Cotangent, Reduction, count_labels
from crossent._scratch import Array, room_like
from crossent._sums import double_sum, product, two_product, two_sum
from crossent.lse import (
    Distribution,
    coefficient,
    cost,
    log_softmax_pullback,
    scale,
    times,
)


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Compute the cross-entropy between logits and class indices or class probabilities.

    The loss of classification with one class an example.

    Parameters
    ----------
    logits : array_like, shape (K,), (N, K), (N, K, ...)
        Unnormalised log-probabilities; integers and lists count as float64.
    target : array_like
        Class indices: integers in ``[0, K)``, the shape of `logits` without the class axis. Or class
        probabilities: floats of the shape of `logits`. The dtype decides.
    weight : array_like, shape (K,), optional
        A weight for each class; None means ones.
    ignore_index : int, default -100
        Positions with this label cost nothing; it may lie inside or outside ``[0, K)``. With
        probabilities it must stay negative.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum of the losses by the sum of the labels' weights or, with
        probabilities, by the number of positions.
    label_smoothing : float in [0, 1], default 0.0
        The part ``s`` of the target that is spread evenly: ``(1 - s) q + s / K``.
    axis : int, optional
        The class axis; None is PyTorch's rule: 0 of a 1-d array, else 1. For ``(B, T, V)``: -1.
    where : array_like of bool, optional
        Broadcasts to the losses' shape; positions that are False cost nothing.
    dtype : dtype, optional
        The dtype to compute and return in; default that of `logits`.

    Returns
    -------
    scalar or ndarray
        The loss in nats; with ``reduction="none"`` the shape of `logits` without the class axis.

    Raises
    ------
    IndexError
        If a label lies outside ``[0, K)`` and is not `ignore_index`.
    TypeError
        If labels are not integers, probabilities are not floats, or an argument is not of real
        numbers.
    ValueError
        If shapes or options do not fit.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Special values: a target class whose logit is ``-inf`` costs ``inf``; a term with a factor of exactly 0
    costs 0; NaN stays in its position; the mean over nothing is NaN, the sum 0; ignored positions may
    hold anything. Accuracy: 4 ulp, also for a class that is nearly certain.
    Gradient: `cross_entropy_grad`.

    References
    ----------
    Bishop (2006), section 4.3.4.

    Examples
    --------
    >>> logits = [[2.0, 1.0, 0.0], [0.0, 50.0, 0.0]]
    >>> cross_entropy(logits, [0, 1]).round(10)
    np.float64(0.2038029822)
    >>> cross_entropy(logits, [0, 1], reduction="none")
    array([4.07605964e-01, 3.85749970e-22])
    >>> cross_entropy(logits, [0, 1], weight=[1.0, 2.0, 1.0]).round(10)
    np.float64(0.1358686548)
    >>> cross_entropy(logits, [0, -100]).round(10)
    np.float64(0.4076059644)
    >>> cross_entropy(logits, [0, 1], label_smoothing=0.1).round(10)
    np.float64(1.9204696489)
    >>> cross_entropy(logits, [[0.9, 0.1, 0.0], [0.0, 1.0, 0.0]]).round(10)
    np.float64(0.2538029822)
    """
    return _cross_entropy(
        logits, target, weight, ignore_index, reduction, label_smoothing, axis, where, dtype
    )[0]


def cross_entropy_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> Any:
    """Compute the gradient of ``sum(grad_output * cross_entropy(logits, ...))`` for `logits`.

    Parameters
    ----------
    logits, target, weight, ignore_index, reduction, label_smoothing, axis, where, dtype
        As for `cross_entropy`.
    grad_output : array_like, optional
        Broadcasts to the value's shape; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `logits` itself.

    Returns
    -------
    ndarray
        ``(sum(t) p - t) * grad_output / denominator``, shaped like `logits`.

    Raises
    ------
    IndexError, TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`; ValueError also if `grad_output` or `out` do not fit.

    Notes
    -----
    Special values: exactly 0 at ignored positions whatever they hold; NaN elsewhere for a mean over
    weights that are all 0. Accuracy: 6 ulp; of the larger of ``p`` and ``q`` where their difference
    cancels.

    Examples
    --------
    >>> cross_entropy_grad([[0.0, 50.0]], [1])
    array([[ 1.92874985e-22, -1.92874985e-22]])
    """
    return _cross_entropy(
        logits, target, weight, ignore_index, reduction, label_smoothing, axis, where, dtype,
        value=False, grad=True, grad_output=grad_output, out=out,
    )[1]  # fmt: skip


def cross_entropy_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
) -> tuple[Any, Any]:
    """Compute ``(cross_entropy(...), cross_entropy_grad(...))`` in one pass over the logits.

    Use it to train: it costs little more than the gradient alone.

    Parameters
    ----------
    logits, target, weight, ignore_index, reduction, label_smoothing, axis, where, dtype
        As for `cross_entropy`.
    grad_output, out
        As for `cross_entropy_grad`.

    Returns
    -------
    value, gradient
        The loss, not scaled by `grad_output`, and the gradient.

    Raises
    ------
    IndexError, TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy_grad`.

    Notes
    -----
    Special values and accuracy as for the two functions, bit for bit.

    Examples
    --------
    >>> cross_entropy_value_and_grad([0.0, 0.0], 1)
    (np.float64(0.6931471805599453), array([ 0.5, -0.5]))
    """
    return _cross_entropy(
        logits, target, weight, ignore_index, reduction, label_smoothing, axis, where, dtype,
        grad=True, grad_output=grad_output, out=out,
    )  # fmt: skip


def mean_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    ignore_index: int,
    axis: int | None,
    where: ArrayLike | None,
) -> tuple[Any, np.dtype[Any]]:
    """Return the mean before it is rounded to the dtype of the logits, and that dtype."""
    x = desk.real("logits", logits)
    mean = _cross_entropy(x, target, weight, ignore_index, "mean", 0.0, axis, where, None, unrounded=True)[0]
    return mean, desk.result_dtype("logits", x)


def _cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    axis: int | None,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    *,
    value: bool = True,
    grad: bool = False,
    grad_output: ArrayLike | None = None,
    out: Array | None = None,
    unrounded: bool = False,
) -> tuple[Any, Any]:
    """Canonical form, row maths through the engine, reduction."""
    x = desk.real("logits", logits)
    s = desk.smoothing("label_smoothing", label_smoothing)
    problem = desk.categories(
        "logits", x, target,
        weight=weight, ignore_index=ignore_index, axis=axis, where=where, dtype=dtype, blend=s > 0,
    )  # fmt: skip
    end = Reduction(
        desk.reduction_word(reduction), problem.positions,
        problem.wide if unrounded else problem.dtype, problem.wide,
        lambda: count_labels(problem), grad_output,
    )  # fmt: skip
    rows: Any
    bulk: float
    if problem.probability is None and s == 0:
        rows, bulk = partial(_index_rows, problem), 1
    elif problem.probability is None:
        rows, bulk = partial(_smoothed_rows, problem, _Blend(problem, s), value), 1.25
    elif s == 0 and problem.weight is None:
        rows, bulk = partial(_probability_rows, None, value), 1.25
    else:
        rows, bulk = partial(_probability_rows, _Blend(problem, s), value), 2
    if bulk > 1 and x.dtype != problem.work:  # copies
        bulk = 2
    t = desk.as_is(problem.index)
    if problem.probability is not None:
        t = Operand(problem.probability, problem.work, 1)
    operands = [Operand(problem.x, problem.work, 1), t, desk.as_is(problem.where)]
    return end.run(
        rows, operands, x, (problem.axis,), value=value, grad=grad, out=out, work=problem.work,
        bulk=bulk,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Row maths: z (K, n), classes first; y, where (n,); q, t (K, n). Each returns the losses (n,) and, where
# there is a target, writes the gradient (K, n) into it.


def _index_rows(
    problem: desk.Categories,
    z: Block, y: Array, where: Array | None, g: Cotangent | None, target: Target | None,
) -> Array:  # fmt: skip
    """One class index a column: ``w_y * -log p_y``."""
    y, dropped = desk.kept_labels(problem, y, where)
    e = exponentials(z, y)
    w = problem.weights(y)  # (n,)
    loss = cost(w, e)  # (n,)
    if dropped is not None:
        loss[dropped] = 0
    if g is not None and target is not None:
        c, power = coefficient(w, g, e)  # (n,) w_y g / s

        def fill(cut: Cut, grad: Array) -> None:
            scale(e[cut], c, power, grad)  # (K, n) p w_y g
            cut.put(grad, y, -e.rest * power * c)  # p_y - 1 without the cancellation
            if dropped is not None:
                grad[:, dropped] = 0

        target.write(fill)
    return loss


def _smoothed_rows(
    problem: desk.Categories, blend: "_Blend", value: bool,
    z: Block, y: Array, where: Array | None, g: Cotangent | None, target: Target | None,
) -> Array | None:  # fmt: skip
    """One class index a column, smoothed: ``t = (1 - s) w_y [k = y] + (s / K) w``."""
    y, dropped = desk.kept_labels(problem, y, where)
    return _soft_rows(z, _Smoothed(blend, y, z.cuts), dropped, value, g, target)


def _probability_rows(
    blend: "_Blend | None", value: bool,
    z: Block, q: Block, where: Array | None, g: Cotangent | None, target: Target | None,
) -> Array | None:  # fmt: skip
    """A distribution a column: ``t = w ((1 - s) q + s / K)``."""
    t = Distribution(q) if blend is None else _Blended(blend, q)
    return _soft_rows(z, t, desk.left_out(where), value, g, target)


def _soft_rows(
    z: Block, t: Distribution, dropped: Array | None, value: bool, g: Cotangent | None, target: Target | None
) -> Array | None:
    """``sum_j t_j (-log p_j)``, with the argmax ``k`` out of the sum: ``-log p_j = L + (z_k - z_j)``."""
    k, z_k = z.largest()  # (n,)
    e = exponentials(z, k)
    loss = None
    if value:
        others, t_k = t.sums(k)
        below = z.sum(
            lambda cut: t.weigh(cut, np.subtract(z_k, z[cut], out=room_like("below", z[cut])))
        )  # (n,)
        strange = np.flatnonzero(~np.isfinite(below))
        if strange.size:  # 0 * inf, or an overflow of z_k - z_j alone, not times t_j
            m = z_k[strange].astype(below.dtype) / 2
            below[strange] = z.sum(
                lambda cut: (
                    2 * times(t[cut][:, strange].astype(m.dtype), m - z[cut][:, strange].astype(m.dtype) / 2)
                )
            )
        loss = (others + t_k) * np.log1p(e.rest / e.own) + below
        if dropped is not None:
            loss[dropped] = 0
    if g is not None and target is not None:
        log_softmax_pullback(e, t, g, dropped, target)
    return loss


class _Blend:
    """What all positions share of ``w ((1 - s) q + s / K)``, each product rounded once.

    Weights are taken a cut at a time: not even an array of one number a class may grow with the input.
    """

    def __init__(self, problem: desk.Categories, s: float) -> None:
        self._problem = problem
        self._others = Fraction(s) / len(problem.x)
        self._label = 1 - Fraction(s)
        self._both = self._label + self._others
        self._kept: dict[str, Array] = {}  # what holds for all classes
        self._total: tuple[Array, Array] | None = None

    def of_q_in(self, cut: Cut) -> Array:
        """Return `of_q` for a cut of classes: ``(k, 1)``, or ``(1, 1)`` without weights."""
        return self._in("of_q", self.of_q, cut)

    def spread_in(self, cut: Cut) -> Array:
        """Return `spread` for a cut of classes, in the same way."""
        return self._in("spread", self.spread, cut)

    def _in(self, name: str, numbers: Callable[[slice], Array], cut: Cut) -> Array:
        if name in self._kept:
            return self._kept[name]
        column = numbers(slice(cut.start, cut.stop))[:, np.newaxis]
        if cut.whole or self._problem.weight is None:
            self._kept[name] = column
        return column

    def of_q(self, y: Array | slice) -> Array:
        """Return ``w (1 - s)`` of classes `y`: what a probability is multiplied by."""
        return self._product(y, self._label).astype(self._problem.work, copy=False)

    def spread(self, y: Array | slice) -> Array:
        """Return ``w s / K`` of classes `y`."""
        return self._product(y, self._others).astype(self._problem.work, copy=False)

    def label(self, y: Array) -> Array:
        """Return ``w (1 - s + s / K)`` of labels `y`."""
        return self._product(y, self._both)

    def total(self, cuts: list[Cut]) -> tuple[Array, Array]:
        """Return the sum of `spread` over all classes, to twice its digits."""
        if self._total is not None:
            return self._total
        high = low = np.zeros(1, self._problem.wide)
        for cut in cuts:
            part, rest = double_sum(self.spread_in(cut)[:, 0].astype(high.dtype))
            if self._problem.weight is None:
                part, rest = two_product(part, np.full(1, cut.stop - cut.start, high.dtype))
            high, error = two_sum(high, part)
            low = low + (error + rest)
        self._total = high, low
        return high, low

    def _product(self, y: Array | slice, factor: Fraction) -> Array:
        w = self._problem.weights(y)
        if w is None:
            w = np.ones(1, self._problem.wide)
        if self._problem.work != w.dtype:  # float32 does not notice float64's roundings
            w *= float(factor)
            return w
        return product(w, factor)


class _Blended(Distribution):
    """``t = w ((1 - s) q + s / K)`` for probabilities ``q``."""

    def __init__(self, blend: _Blend, q: Block) -> None:
        super().__init__(q)
        self._blend = blend

    def __getitem__(self, cut: Cut) -> Array:
        part: Array = self.t[cut] * self._blend.of_q_in(cut)
        part += self._blend.spread_in(cut)
        return part

    def at(self, k: Array) -> Array:
        t_k: Array = self.t.pick(k) * self._blend.of_q(k) + self._blend.spread(k)
        return t_k


class _Smoothed(Distribution):
    """``t = (1 - s) w_y [k = y] + (s / K) w`` for class indices ``y``: columns differ in one entry."""

    def __init__(self, blend: _Blend, y: Array, cuts: list[Cut]) -> None:
        self._blend = blend
        self._y = y
        self._cuts = cuts
        self._label = blend.label(y)  # (n,) or (1,)

    def __getitem__(self, cut: Cut) -> Array:
        spread = self._blend.spread_in(cut)
        part = np.empty((cut.stop - cut.start, len(self._y)), spread.dtype)
        part[...] = spread
        cut.put(part, self._y, self._label)
        return part

    def sums(self, k: Array) -> tuple[Array, Array]:
        high, low = self._blend.total(self._cuts)
        apart = self._y != k
        at_k, at_y = (self._blend.spread(classes).astype(high.dtype) for classes in (k, self._y))
        s, error = two_sum(high, -at_k)
        for term in (self._label * apart, -at_y * apart):
            s, rounding = two_sum(s, term)
            error = error + rounding
        return s + (error + low), np.where(apart, at_k, self._label)

    def weigh(self, cut: Cut, x: Array) -> Array:
        at_y = cut.take(x, self._y) * self._label
        x *= self._blend.spread_in(cut)
        cut.put(x, self._y, at_y)
        return x

    def scaled(self, cut: Cut, factor: Array) -> Array:
        product: Array = self._blend.spread_in(cut) * factor
        return product

    def subtract(self, cut: Cut, out: Array, factor: Array, product: Array) -> None:
        at_y = cut.take(out, self._y) - self._label * factor
        out -= product
        cut.put(out, self._y, at_y)
