"""Information: entropy, Kullback-Leibler divergence and perplexity, in nats.

::

    H(p)      = -sum_k p_k log p_k                what a perfect code for p costs
    D(p || q) = sum_k p_k log(p_k / q_k)          what a code for q costs more
    H(p) + D(p || q) = -sum_k p_k log q_k         the cross-entropy

``0 log 0`` is 0, its limit. ``log(p / q)`` for ``p`` near ``q`` keeps its digits as
``log1p((p - q) / q)``: the difference of neighbours is exact, the rounding of the quotient would
be all that is left of it.

Reference: T. M. Cover, J. A. Thomas, "Elements of Information Theory" (2006), chapter 2.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossent import _arguments as desk
from crossent._blocks import Block, Cut, Operand, sweep
from crossent._scratch import Array
from crossent._sums import wide
from crossent.categorical import mean_cross_entropy


def entropy(p: ArrayLike, axis: int = -1) -> Any:
    """Compute the entropy ``-sum(p * log(p))`` of distributions.

    Parameters
    ----------
    p : array_like, at least 1-d
        Probabilities; rows are not normalised.
    axis : int, default -1
        The class axis.

    Returns
    -------
    scalar or ndarray
        The entropy in nats: the shape of `p` without `axis`, in its dtype.

    Raises
    ------
    TypeError
        If `p` is not an array of real numbers.
    ValueError
        If `p` is 0-d or has no classes.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Special values: ``0 * log(0)`` is 0; a negative entry or NaN gives NaN in its row. Accuracy: 4 ulp of
    the sum of the terms' magnitudes.

    Examples
    --------
    >>> entropy([0.5, 0.5])
    np.float64(0.6931471805599453)
    >>> entropy([[1.0, 0.0], [0.25, 0.75]])
    array([0.        , 0.56233514])
    """
    x = desk.real("p", p)
    return _over_classes(_entropy_rows, "p", x, axis, x)


def kl_divergence(p: ArrayLike, q: ArrayLike, axis: int = -1) -> Any:
    """Compute the Kullback-Leibler divergence ``D(p || q) = sum(p * log(p / q))``.

    Parameters
    ----------
    p, q : array_like, at least 1-d, of one shape
        Probabilities; rows are not normalised.
    axis : int, default -1
        The class axis.

    Returns
    -------
    scalar or ndarray
        The divergence in nats: the shape of `p` without `axis`, in the wider of the two dtypes.

    Raises
    ------
    TypeError
        If `p` or `q` is not an array of real numbers.
    ValueError
        If they are 0-d, have no classes or differ in shape.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Special values: ``0 * log(0 / q)`` is 0, also for ``q = 0``; ``p > 0`` where ``q = 0`` gives ``inf``; a
    negative entry or NaN gives NaN in its row. Accuracy: 4 ulp of the sum of the terms' magnitudes.

    Examples
    --------
    >>> kl_divergence([0.5, 0.5], [0.25, 0.75]).round(10)
    np.float64(0.1438410362)
    >>> kl_divergence([0.5, 0.5], [1.0, 0.0])
    np.float64(inf)
    """
    x = desk.real("p", p)
    y = desk.same_shape("q", q, x.shape, "p")
    return _over_classes(_kl_rows, "p", x, axis, x, y)


def perplexity(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    axis: int | None = None,
    where: ArrayLike | None = None,
) -> Any:
    """Compute the perplexity, the exponential of the mean cross-entropy.

    The number of equally likely classes that would be as hard to predict.

    Parameters
    ----------
    logits, target, weight, ignore_index, axis, where
        As for `crossent.cross_entropy`.

    Returns
    -------
    scalar
        At least 1, in the dtype of `logits`.

    Raises
    ------
    IndexError, TypeError, ValueError, numpy.exceptions.AxisError
        As `crossent.cross_entropy`.

    Notes
    -----
    Special values: ``inf`` where the mean is, NaN over nothing. Accuracy: the exponential of a mean
    within 4 ulp.

    Examples
    --------
    >>> perplexity([[0.0, 0.0, 0.0, 0.0]], [2])
    np.float64(4.0)
    """
    mean, dtype = mean_cross_entropy(logits, target, weight, ignore_index, axis, where)
    with np.errstate(all="ignore"):
        return np.exp(mean).astype(dtype)


def _over_classes(rows: Any, name: str, x: Array, axis: int, *arrays: Array) -> Any:
    """Run a row function that sums over classes, one step wider than the result."""
    axis = desk.class_axis(name, x, axis)
    dtype = np.result_type(*(desk.result_dtype(name, array) for array in arrays))
    work = wide(desk.work_dtype(dtype))
    operands = [Operand(desk.first(array, (axis,)), work, 1) for array in arrays]
    positions = operands[0].array.shape[1:]
    value = Operand(np.empty(positions, dtype), dtype)
    sweep(rows, operands, positions, sink=value, bulk=2)
    return value.array[()]


# --------------------------------------------------------------------------------------------------
# Row maths: p, q (K, n), classes first.


def _entropy_rows(p: Block) -> Array:
    def terms(cut: Cut) -> Array:
        part = p[cut]
        terms: Array = part * np.log(part)  # (k, n)
        terms[part == 0] = 0
        return terms

    return 0 - p.sum(terms)  # 0 - 0 is 0, where -0 would show as -0.0


def _kl_rows(p: Block, q: Block) -> Array:
    return p.sum(lambda cut: _kl_terms(p[cut], q[cut]))


def _kl_terms(p: Array, q: Array) -> Array:
    ratio = p / q  # (k, n)
    near = np.log1p((p - q) / q)  # p - q is exact for q / 2 <= p <= 2 q
    log = np.where((ratio >= 0.5) & (ratio <= 2), near, np.log(ratio))
    far = (ratio < np.finfo(ratio.dtype).tiny) | (ratio == np.inf)
    if far.any():
        log = np.where(far, np.log(p) - np.log(q), log)
    terms: Array = p * log
    terms[p == 0] = 0
    terms[(p < 0) | (q < 0) | np.isnan(q)] = np.nan
    return terms
