"""Targets: class indices as rows of probabilities, sharp or smoothed.

Two formulas go by the name of label smoothing. With smoothing ``s`` and ``K`` classes::

    spread="all"      (1 - s) [k = y] + s / K             on every class: PyTorch, Szegedy et al. (2016)
    spread="others"   1 - s on y, s / (K - 1) elsewhere   the label keeps exactly 1 - s

They are one family: ``s`` over all classes is ``s (K - 1) / K`` over the others.
"""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crossent import _arguments as desk
from crossent._scratch import Array


def one_hot(target: ArrayLike, num_classes: int, *, axis: int = -1, dtype: DTypeLike = float) -> Array:
    """Turn class indices into rows that are 1 at the class and 0 elsewhere.

    Parameters
    ----------
    target : array_like of int, any shape
        Class indices in ``[0, num_classes)``.
    num_classes : int
        The number of classes ``K``.
    axis : int, default -1
        Where the class axis goes in the result.
    dtype : dtype, default float
        The result's dtype.

    Returns
    -------
    ndarray
        The shape of `target` with an axis of length ``K`` put in at `axis`.

    Raises
    ------
    IndexError
        If an index lies outside ``[0, num_classes)``.
    TypeError
        If `target` is not of integers.
    ValueError
        If `num_classes` is less than 1.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Examples
    --------
    >>> one_hot([0, 2], 3)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    >>> one_hot([0, 2], 3, axis=0, dtype=int)
    array([[1, 0],
           [0, 0],
           [0, 1]])
    """
    return _spread(target, num_classes, axis, dtype, 1, 0)


def smooth_labels(
    target: ArrayLike,
    num_classes: int,
    smoothing: float,
    *,
    spread: str = "all",
    axis: int = -1,
    dtype: DTypeLike = float,
) -> Array:
    """Turn class indices into smoothed rows of probabilities.

    Use it where the smoothing must be seen or mixed further; `cross_entropy` smooths by itself.

    Parameters
    ----------
    target : array_like of int, any shape
        Class indices in ``[0, num_classes)``.
    num_classes : int
        The number of classes ``K``.
    smoothing : float in [0, 1]
        The part ``s`` that is spread.
    spread : {"all", "others"}, default "all"
        "all": ``(1 - s) * one_hot + s / K``, as ``label_smoothing`` does; "others": ``1 - s`` on the
        class, ``s / (K - 1)`` on each other class.
    axis : int, default -1
        Where the class axis goes in the result.
    dtype : dtype, default float
        The result's dtype.

    Returns
    -------
    ndarray
        Rows that sum to 1: the shape of `target` with an axis of length ``K`` put in at `axis`.

    Raises
    ------
    IndexError
        If an index lies outside ``[0, num_classes)``.
    TypeError
        If `target` is not of integers, or `smoothing` not a number.
    ValueError
        If `smoothing` lies outside [0, 1], `spread` is unknown, or one class has no others.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Examples
    --------
    >>> smooth_labels([0], 4, 0.2)
    array([[0.85, 0.05, 0.05, 0.05]])
    >>> smooth_labels([0], 5, 0.2, spread="others")
    array([[0.8 , 0.05, 0.05, 0.05, 0.05]])
    """
    s = desk.smoothing("smoothing", smoothing)
    k = desk.number_of_classes(num_classes)
    if desk.spread_word(spread, k) == "all":
        on, off = (1 - s) + s / k, s / k
    else:
        on, off = 1 - s, s / (k - 1)
    return _spread(target, num_classes, axis, dtype, on, off)


def _spread(target: ArrayLike, num_classes: int, axis: int, dtype: DTypeLike, on: float, off: float) -> Array:
    """Return `on` at the class and `off` elsewhere."""
    k = desk.number_of_classes(num_classes)
    y = desk.labels("target", target, k)
    axis = desk.new_axis(axis, y.ndim)
    result: Array = np.full((*y.shape[:axis], k, *y.shape[axis:]), off, np.dtype(dtype))
    np.put_along_axis(result, np.expand_dims(y, axis), on, axis)
    return result
