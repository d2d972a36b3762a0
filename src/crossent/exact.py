"""The definition itself, in decimal arithmetic: the ground truth for everything else.

The functions of this module have the names, the options and the meaning of those of the package,
and are written the way a textbook writes them, one number at a time::

    logsumexp(z)      = log(sum_k exp(z[k])) = m + log(1 + r)
    log_softmax(z)[k] = log(exp(z[k]) / sum_j exp(z[j])) = z[k] - m - log(1 + r)
    cross_entropy     = sum_k q[k] * -log_softmax(z)[k]

with ``m`` the largest logit and ``r = sum(exp(z[j] - m))`` over the others. The maximum is taken
out because exp(1e30) has more digits than there is memory, and its own 1 is kept apart from ``r``
because the loss of a sure, right prediction is all in ``r``: for the logits [0, 1e5] it is
3.6e-43430, and 1 + r would need 43430 digits to show it.

Every input is taken at its exact value: a float of any width at the binary fraction that it is, an
``int``, a ``Decimal`` or a ``Fraction`` as it stands (a ``Fraction`` is divided out at the working
precision). `digits` significant digits of every *result* are right: `_GUARD` more are carried, and
where the terms of a sum cancel, the sum is taken again with as many more as they lost. A sum whose
terms cancel in more than `_DEEPEST` digits is taken to be 0. Exponents reach to 10**18 on 64-bit
machines; what is smaller is 0.

The caller's decimal context is neither used nor changed. Arithmetic on the results does use it: 28
digits are Python's default, to which already ``-result`` is rounded.

It is slow on purpose: some ten thousand logits a second.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from functools import partial
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "sigmoid",
    "softmax",
    "softplus",
]

Numbers: TypeAlias = Any  # array_like of float, int, Decimal or Fraction
Number: TypeAlias = Decimal | Fraction
Objects: TypeAlias = npt.NDArray[np.object_]
Terms: TypeAlias = Callable[[], list[Decimal]]

ZERO, ONE, INF, NAN = Decimal(0), Decimal(1), Decimal("inf"), Decimal("nan")

# Digits carried beside those asked for: exp(d) is as inexact, relatively, as d is absolutely, and
# loses the digits before d's point, at most 19 as it underflows beyond; 10 are for the rounding of
# up to 10**10 operations, and 11 are what a sum may lose before it is taken again.
_GUARD = 19 + 10 + 11
_SPARE = 11
_DEEPEST = 1000


def logsumexp(
    x: Numbers,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    digits: int = 50,
) -> Any:
    """Logarithm of the sum of exponentials: ``log(sum_k exp(x[k]))``.

    Parameters
    ----------
    x : array_like of float, int, Decimal or Fraction
        Any shape; no numbers at all are allowed.
    axis : int, tuple of int or None, optional
        The axes that are summed over; ``None`` for all.
    keepdims : bool, optional
        Keep the summed axes, with length 1.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    Decimal or ndarray of Decimal
        One number for each place along the other axes, in nats: ``-inf`` for nothing or only
        ``-inf``, ``inf`` with a ``+inf`` and no NaN, NaN with a NaN.

    Examples
    --------
    >>> from crossent import exact
    >>> exact.logsumexp([0, 0], digits=20)
    Decimal('0.69314718055994530942')
    """
    numbers = _numbers(x, "x")
    axes = tuple(range(numbers.ndim)) if axis is None else axis
    rows, shape, _ = _rows(numbers, axes)
    values = [_total(partial(_logsumexp_terms, z), digits) for z in rows]
    out = _finish(values, shape, digits)
    return np.expand_dims(out, axes) if keepdims else out


def log_softmax(x: Numbers, axis: int = -1, *, digits: int = 50) -> Any:
    """Logarithm of the softmax: ``log(exp(x[k]) / sum_j exp(x[j]))``.

    Parameters
    ----------
    x : array_like of float, int, Decimal or Fraction
        Logits, at least one along `axis`.
    axis : int, optional
        The class axis.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    ndarray of Decimal
        Shaped like `x`, in nats. A row with NaN, with ``+inf`` or of only ``-inf`` is NaN.

    Examples
    --------
    >>> from crossent import exact
    >>> print(*exact.log_softmax([0, 50], digits=10))
    -50.00000000 -1.928749848E-22
    """
    return _along(axis, lambda z: [-loss for loss in _neg_log_softmax(z)], x, digits)


def softmax(x: Numbers, axis: int = -1, *, digits: int = 50) -> Any:
    """Probabilities of the classes: ``exp(x[k]) / sum_j exp(x[j])``.

    Parameters
    ----------
    x : array_like of float, int, Decimal or Fraction
        Logits, at least one along `axis`.
    axis : int, optional
        The class axis.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    ndarray of Decimal
        Shaped like `x`. A row with NaN, with ``+inf`` or of only ``-inf`` is NaN.

    Examples
    --------
    >>> from crossent import exact
    >>> print(*exact.softmax([0, 50], digits=10))
    1.928749848E-22 1.000000000
    """
    return _along(axis, _softmax, x, digits)


def softplus(x: Numbers, *, digits: int = 50) -> Any:
    """``log(1 + exp(x))``, number by number.

    Parameters
    ----------
    x : array_like of float, int, Decimal or Fraction
        Any shape.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    Decimal or ndarray of Decimal
        Shaped like `x`.

    Examples
    --------
    >>> from crossent import exact
    >>> exact.softplus(-50, digits=17)
    Decimal('1.9287498479639178E-22')
    """
    return _each(_softplus, x, digits)


def log_sigmoid(x: Numbers, *, digits: int = 50) -> Any:
    """``log(1 / (1 + exp(-x)))``, number by number.

    Parameters
    ----------
    x : array_like of float, int, Decimal or Fraction
        Any shape.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    Decimal or ndarray of Decimal
        Shaped like `x`.

    Examples
    --------
    >>> from crossent import exact
    >>> exact.log_sigmoid(50, digits=17)
    Decimal('-1.9287498479639178E-22')
    """
    return _each(lambda v: -_softplus(-v), x, digits)


def sigmoid(x: Numbers, *, digits: int = 50) -> Any:
    """``1 / (1 + exp(-x))``, number by number.

    Parameters
    ----------
    x : array_like of float, int, Decimal or Fraction
        Any shape.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    Decimal or ndarray of Decimal
        Shaped like `x`.

    Examples
    --------
    >>> from crossent import exact
    >>> exact.sigmoid(-50, digits=17)
    Decimal('1.9287498479639178E-22')
    """
    return _each(lambda v: ONE / (1 + (-v).exp()), x, digits)


def nll_loss(
    log_probs: Numbers,
    target: Numbers,
    *,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int | None = None,
    where: Numbers | None = None,
    digits: int = 50,
) -> Any:
    """Negative log-likelihood of the target classes: ``w[y] * -log_probs[y]``.

    Parameters
    ----------
    log_probs : array_like of float, int, Decimal or Fraction
        At least one along the class axis.
    target : array_like of int
        Class indices, shaped like `log_probs` without the class axis.
    weight, ignore_index, reduction, axis, where
        As in `cross_entropy`.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    Decimal or ndarray of Decimal
        Shaped like `target` for ``reduction="none"``, else one number.

    Examples
    --------
    >>> from crossent import exact
    >>> exact.nll_loss([[-0.5, -1.0], [-3.0, -0.25]], [0, 1], weight=[1, 3])
    Decimal('0.3125')
    """
    z, shape, w = _classified(log_probs, "log_probs", weight, axis)
    y = _classes(target, shape, len(w), ignore_index, _counted(where, shape))

    def terms(lp: Sequence[Number], k: int) -> list[Decimal]:
        return [_times(*_rounded([w[k], -lp[k]]))]

    losses = [None if k is None else partial(terms, lp, k) for lp, k in zip(z, y, strict=True)]
    return _reduce(losses, [w[k] for k in y if k is not None], shape, reduction, digits)


def cross_entropy(
    logits: Numbers,
    target: Numbers,
    *,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float | Number = 0.0,
    axis: int | None = None,
    where: Numbers | None = None,
    digits: int = 50,
) -> Any:
    """Cross-entropy between the targets and the softmax of the logits.

    With ``lp = log_softmax(logits)`` over ``K`` classes, weights ``w``, smoothing ``s``, one
    position costs ``(1 - s) * w[y] * -lp[y] + s / K * sum_k w[k] * -lp[k]`` for a class index
    ``y``, and ``sum_k ((1 - s) * q[k] + s / K) * w[k] * -lp[k]`` for probabilities ``q``.

    Parameters
    ----------
    logits : array_like of float, int, Decimal or Fraction
        At least one along the class axis.
    target : array_like
        Integers are class indices, shaped like `logits` without the class axis; floats, Decimals
        and Fractions are probabilities, shaped like `logits`.
    weight : array_like, optional
        One weight for each class.
    ignore_index : int, optional
        Positions with this class index cost nothing and count for nothing.
    reduction : {"mean", "sum", "none"}, optional
        ``"mean"`` divides the sum by that of the weights ``w[y]`` (probabilities: by the number)
        of the positions that count; over none it is NaN.
    label_smoothing : float, Decimal or Fraction, optional
        ``s``, in [0, 1].
    axis : int, optional
        The class axis; by default 0 for one row of logits, else 1.
    where : array_like of bool, optional
        Positions where it is False cost nothing and count for nothing; broadcasts to the
        positions' shape.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    Decimal or ndarray of Decimal
        Shaped like the positions for ``reduction="none"``, else one number; in nats.

    Examples
    --------
    >>> from crossent import exact
    >>> exact.cross_entropy([0, 50], 1, digits=17)
    Decimal('1.9287498479639178E-22')
    >>> exact.cross_entropy([0, 1e5], 1, digits=5)
    Decimal('3.5629E-43430')
    >>> exact.cross_entropy([0, 50], [0.25, 0.75], digits=17)
    Decimal('12.500000000000000')
    """
    z, shape, w = _classified(logits, "logits", weight, axis)
    s = _numbers(label_smoothing, "label_smoothing")[()]
    if s != s or not 0 <= s <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    counted = _counted(where, shape)
    q: list[dict[int, Number] | None]
    if _are_indices(target):
        y = _classes(target, shape, len(w), ignore_index, counted)
        q = [None if k is None else {k: ONE} for k in y]
        counts = [w[k] for k in y if k is not None]
    else:
        p = _probabilities(target, axis, shape, len(w), ignore_index)
        q = [dict(enumerate(row)) if c else None for row, c in zip(p, counted, strict=True)]
        counts = [ONE for c in counted if c]

    def terms(z: Sequence[Number], q: dict[int, Number]) -> list[Decimal]:
        nlp = _neg_log_softmax(_rounded(z))
        values = [_times(*_rounded([1 - s, q[k], w[k]]), nlp[k]) for k in q]
        if s:
            values += [_times(*_rounded([s / len(w), w[k]]), nlp[k]) for k in range(len(w))]
        return values

    losses = [None if t is None else partial(terms, row, t) for row, t in zip(z, q, strict=True)]
    return _reduce(losses, counts, shape, reduction, digits)


def binary_cross_entropy_with_logits(
    logits: Numbers,
    target: Numbers,
    *,
    weight: Numbers | None = None,
    pos_weight: Numbers | None = None,
    reduction: str = "mean",
    where: Numbers | None = None,
    digits: int = 50,
) -> Any:
    """Cross-entropy between the targets and the sigmoid of the logits, number by number.

    ``weight * (pos_weight * y * softplus(-z) + (1 - y) * softplus(z))``

    Parameters
    ----------
    logits : array_like of float, int, Decimal or Fraction
        Any shape.
    target : array_like of float, int, bool, Decimal or Fraction
        ``y``, shaped like `logits`.
    weight, pos_weight : array_like, optional
        Factors of the whole loss and of its positive part; broadcast to the logits' shape.
    reduction : {"mean", "sum", "none"}, optional
        ``"mean"`` divides by the number of elements that count; over none it is NaN.
    where : array_like of bool, optional
        Elements where it is False cost nothing and count for nothing; broadcasts to the logits'
        shape.
    digits : int, optional
        Significant digits that are right.

    Returns
    -------
    Decimal or ndarray of Decimal
        Shaped like `logits` for ``reduction="none"``, else one number; in nats.

    Examples
    --------
    >>> from crossent import exact
    >>> print(*exact.binary_cross_entropy_with_logits([50, 0], [1, 0], reduction="none", digits=10))
    1.928749848E-22 0.6931471806
    """
    z, y = _numbers(logits, "logits"), _numbers(target, "target")
    if y.shape != z.shape:
        raise ValueError(f"target must be shaped like logits, {z.shape}, got {y.shape}")
    w, pw = (
        np.broadcast_to(_numbers(1 if factor is None else factor, name), z.shape)
        for factor, name in ((weight, "weight"), (pos_weight, "pos_weight"))
    )

    def terms(z: Number, y: Number, w: Number, pw: Number) -> list[Decimal]:
        (z,) = _rounded([z])
        return [
            _times(*_rounded([w, pw, y]), _softplus(-z)),
            _times(*_rounded([w, 1 - y]), _softplus(z)),
        ]

    counted = _counted(where, z.shape)
    each = zip(*(a.ravel().tolist() for a in (z, y, w, pw)), strict=True)
    losses = [partial(terms, *e) if c else None for e, c in zip(each, counted, strict=True)]
    return _reduce(losses, [ONE for c in counted if c], z.shape, reduction, digits)


# -- the maths, in the precision of the current context ----------------------------------------


def _peak(z: Sequence[Decimal]) -> tuple[Decimal, Decimal]:
    """``(m, r)`` with ``sum(exp(z)) = exp(m) * (1 + r)``; ``r`` is NaN where softmax is."""
    if any(v.is_nan() for v in z):
        return NAN, NAN
    m = max(z, default=-INF)
    if m.is_infinite():
        return m, NAN
    top = z.index(m)
    return m, sum(((v - m).exp() for k, v in enumerate(z) if k != top), ZERO)


def _logsumexp_terms(z: Sequence[Number]) -> list[Decimal]:
    """Two terms whose sum is ``log(sum(exp(z)))``: they cancel where that is near 0."""
    m, r = _peak(_rounded(z))
    return [m] if m.is_infinite() else [m, _log1p(r)]


def _neg_log_softmax(z: Sequence[Decimal]) -> list[Decimal]:
    """Loss of each class, ``(m - z[k]) + log(1 + r)``: two terms >= 0, nothing cancels."""
    m, r = _peak(z)
    log = _log1p(r)
    return [m - v + log for v in z]


def _softmax(z: Sequence[Decimal]) -> list[Decimal]:
    """``exp(z[k] - m) / (1 + r)``."""
    m, r = _peak(z)
    return [(v - m).exp() / (1 + r) for v in z]


def _softplus(x: Decimal) -> Decimal:
    """``log(1 + exp(x))``, as ``x + log(exp(-x) + 1)`` for ``x > 0``: exp(1e30) overflows."""
    return x + _log1p((-x).exp()) if x > 0 else _log1p(x.exp())


def _log1p(r: Decimal) -> Decimal:
    """``log(1 + r)`` for ``r >= 0``, with all its digits however small ``r`` is."""
    with localcontext() as context:
        zeros = max(-r.adjusted(), 0)
        if zeros > context.prec:
            return r  # r**2 / 2 is beyond the last digit
        context.prec += zeros  # the digits that 1 + r spends on the zeros in front of r
        return (1 + r).ln()


def _times(*factors: Decimal) -> Decimal:
    """Product in which 0 * inf is 0 (and NaN stays NaN)."""
    if all(factors) or any(f.is_nan() for f in factors):
        return math.prod(factors, start=ONE)
    return ZERO


# -- precision -----------------------------------------------------------------------------------


def _precision(prec: int) -> AbstractContextManager[Context]:
    """Arithmetic with `prec` digits and all the exponents there are, where nothing raises."""
    return localcontext(Context(prec=prec, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[]))


def _total(terms: Terms, digits: int) -> Decimal:
    """Sum of ``terms()``, evaluated anew with more digits for as long as too many cancel."""
    prec = digits + _GUARD
    while True:
        with _precision(prec):
            values = terms()
            total = sum(values, ZERO)
            size = sum(map(abs, values), ZERO)
        if not size or not size.is_finite():
            return total
        lost = size.adjusted() - total.adjusted() if total else prec
        if lost <= prec - digits - _GUARD + _SPARE:
            return total
        if lost > _DEEPEST:
            return ZERO
        prec += lost


def _reduce(
    losses: Sequence[Terms | None],
    counts: Sequence[Number],
    shape: tuple[int, ...],
    reduction: str,
    digits: int,
) -> Any:
    """Losses of the positions (None: ignored) as they are, their sum, or that over the counts'."""
    if reduction == "none":
        each = [ZERO if terms is None else _total(terms, digits) for terms in losses]
        return _finish(each, shape, digits)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    total = _total(lambda: [t for terms in losses if terms for t in terms()], digits)
    if reduction == "mean":
        count = _total(lambda: _rounded(counts), digits)
        with _precision(digits + _GUARD):
            total /= count  # 0 / 0 is NaN: the mean over nothing
    return _finish([total], (), digits)


def _finish(values: Sequence[Decimal], shape: tuple[int, ...], digits: int) -> Any:
    """Values rounded to `digits` digits, as an array of `shape` or, for (), the one Decimal."""
    out = np.empty(len(values), dtype=object)
    with _precision(digits):
        out[:] = [+v if v else ZERO for v in values]
    return out.reshape(shape)[()]


# -- what the caller brought ---------------------------------------------------------------------


def _numbers(x: Numbers, name: str) -> Objects:
    """Array of the exact values of `x`."""
    a = np.asarray(x)
    if a.dtype.kind in "cSUMm":
        raise TypeError(f"{name} must hold real numbers, got dtype {a.dtype}")
    with np.errstate(all="ignore"):  # a signalling NaN is a NaN
        return np.asarray(np.frompyfunc(_number, 1, 1)(a), dtype=object)


def _number(v: Any) -> Number:
    """Exact value of one number."""
    if isinstance(v, Decimal | Fraction):
        return v
    if isinstance(v, Integral | np.bool_):
        return Decimal(int(v))
    if isinstance(v, np.longdouble) and np.isfinite(v):
        numerator, denominator = v.as_integer_ratio()
        # A fraction over 2**k ends k digits after the point.
        with _precision(numerator.bit_length() + denominator.bit_length()):
            return Decimal(numerator) / denominator
    return Decimal(float(v))


def _rounded(numbers: Iterable[Number]) -> list[Decimal]:
    """Decimals as they are, Fractions divided out in the precision of the current context."""
    return [Decimal(v.numerator) / v.denominator if isinstance(v, Fraction) else v for v in numbers]


def _each(function: Callable[[Decimal], Decimal], x: Numbers, digits: int) -> Any:
    """Value of `function` at each number of `x`."""
    numbers = _numbers(x, "x")
    with _precision(digits + _GUARD):
        values = [function(v) for v in _rounded(numbers.ravel().tolist())]
    return _finish(values, numbers.shape, digits)


def _along(axis: int, function: Callable[[Sequence[Decimal]], list[Decimal]], x: Numbers, digits: int) -> Any:
    """Values of `function` at each row of `x` along the class axis."""
    rows, shape, K = _class_rows(x, "x", axis)
    with _precision(digits + _GUARD):
        values = [v for z in rows for v in function(_rounded(z))]
    return np.moveaxis(_finish(values, (*shape, K), digits), -1, axis)


def _rows(x: Objects, axes: int | tuple[int, ...]) -> tuple[list[list[Number]], tuple[int, ...], int]:
    """Rows of `x` along the axes, the shape of the places that they stand in, their length."""
    count = 1 if isinstance(axes, int) else len(axes)
    last = np.moveaxis(x, axes, tuple(range(-count, 0)))
    shape, length = last.shape[: x.ndim - count], math.prod(last.shape[x.ndim - count :])
    return last.reshape(math.prod(shape), length).tolist(), shape, length


def _class_rows(x: Numbers, name: str, axis: int | None) -> tuple[list[list[Number]], tuple[int, ...], int]:
    """Rows of `x` along its class axis, by default 0 of one row, else 1."""
    numbers = _numbers(x, name)
    if numbers.ndim == 0:
        raise ValueError(f"{name} must have a class axis, got a single number")
    rows, shape, K = _rows(numbers, min(numbers.ndim - 1, 1) if axis is None else axis)
    if K == 0:
        raise ValueError(f"{name} must have at least one class, got shape {numbers.shape}")
    return rows, shape, K


def _classified(
    x: Numbers, name: str, weight: Numbers | None, axis: int | None
) -> tuple[list[list[Number]], tuple[int, ...], list[Number]]:
    """Rows of classes, the shape of their positions, and a weight for each class."""
    rows, shape, K = _class_rows(x, name, axis)
    w = _numbers([1] * K if weight is None else weight, "weight")
    if w.shape != (K,):
        raise ValueError(f"weight must have shape {(K,)}, got {w.shape}")
    return rows, shape, w.tolist()


def _counted(where: Numbers | None, shape: tuple[int, ...]) -> list[bool]:
    """Whether each position counts, as `where` says."""
    mask = np.asarray(True if where is None else where)
    if mask.dtype != bool:
        raise TypeError(f"where must be boolean, got dtype {mask.dtype}")
    return [bool(c) for c in np.broadcast_to(mask, shape).flat]


def _are_indices(target: Numbers) -> bool:
    """Whether the target holds integers: class indices rather than probabilities."""
    t = np.asarray(target)
    if t.dtype == bool:
        raise TypeError("target must hold class indices or probabilities, got booleans")
    return t.dtype.kind in "iu" or (t.dtype == object and all(isinstance(k, Integral) for k in t.ravel()))


def _classes(
    target: Numbers,
    shape: tuple[int, ...],
    K: int,
    ignore_index: int,
    counted: Sequence[bool],
) -> list[int | None]:
    """Class of each position, None where it is ignored."""
    t = np.asarray(target)
    if not _are_indices(t):
        raise TypeError(f"target must hold class indices, got dtype {t.dtype}")
    if t.shape != shape:
        raise ValueError(f"target must have shape {shape}, got {t.shape}")
    y = [int(k) if c and k != ignore_index else None for k, c in zip(t.flat, counted, strict=True)]
    for k in y:
        if k is not None and not 0 <= k < K:
            raise IndexError(f"target must be in [0, {K}) or ignore_index, got {k}")
    return y


def _probabilities(
    target: Numbers, axis: int | None, shape: tuple[int, ...], K: int, ignore_index: int
) -> list[list[Number]]:
    """Probabilities of the classes, a row for each position."""
    if ignore_index >= 0:
        raise ValueError(f"ignore_index needs class indices, got {ignore_index}")
    q, *fit = _class_rows(target, "target", axis)
    if fit != [shape, K]:
        raise ValueError(
            f"target must hold class indices of shape {shape} or probabilities shaped like logits, "
            f"got shape {np.shape(target)}"
        )
    return q
