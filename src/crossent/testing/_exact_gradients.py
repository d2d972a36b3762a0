"""Values, gradients, and what their ulps are counted in: the definition with everything a checker needs.

Values come from `crossent.exact`. Gradients are the textbook's, each written as a sum of products in
which only a problem that really cancels does::

    cross_entropy   sum_k (a[k] p[j] - a[j] p[k])      a: what class k weighs in the loss
    log_softmax     sum_k (g[j] p[k] - g[k] p[j])
    softmax         p[j] sum_k p[k] (g[j] - g[k])
    binary          w (1 - y) sigmoid(z) - w pos_weight y sigmoid(-z)

so the entry of a sure, right prediction is minus the sum of the others' probabilities, with all of
its digits. Sums that do cancel are taken again with more digits, as in `crossent.exact`.

Each number comes with the `scale` in whose ulps its distance is counted where that is larger than
itself, and with `least`, the smallest factor it is a product of: digits are promised while that is a
normal number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from crossent import exact
from crossent.exact import (
    _GUARD,
    INF,
    NAN,
    ONE,
    ZERO,
    Number,
    Objects,
    _are_indices,
    _classes,
    _classified,
    _counted,
    _log1p,
    _neg_log_softmax,
    _numbers,
    _peak,
    _precision,
    _probabilities,
    _rounded,
    _rows,
    _softmax,
    _softplus,
    _times,
    _total,
)

__all__ = ["DIGITS", "Answer", "Numbers", "answer"]

DIGITS = 40

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]


class Entry(NamedTuple):
    """One number; its scale is 0 where its own magnitude counts."""

    value: Decimal
    scale: Decimal = ZERO
    least: Decimal = INF


class Numbers(NamedTuple):
    """The same three for an array of numbers."""

    value: Objects
    scale: Objects
    least: Objects


class Answer(NamedTuple):
    """What a call should return; measures have no gradient."""

    value: Numbers
    gradient: Numbers | None


class Position(NamedTuple):
    """One position: the sum of its loss's terms' magnitudes, its gradient, its share in a mean's count."""

    size: Decimal
    least: Decimal
    gradient: list[Entry]
    share: Number


_UNDEFINED = Entry(NAN)


def answer(
    function: str,
    arguments: Arrays,
    options: Mapping[str, Any],
    grad_output: npt.NDArray[Any] | None = None,
) -> Answer:
    """Exact value and gradient of a call of one of the package's functions, to 40 digits."""
    options = {name: value for name, value in options.items() if name != "dtype"}
    with _precision(DIGITS + _GUARD):
        if function in _MEASURES:
            return Answer(_MEASURES[function](arguments, options), None)
        value = getattr(exact, function)(*arguments.values(), **options, digits=DIGITS)
        if function in _SLOPES:
            return _elementwise(_SLOPES[function], value, arguments["x"], grad_output)
        if function in _ROWS:
            return _along(function, value, arguments["x"], options, grad_output)
        return _loss(function, value, arguments, options, grad_output)


# -- losses ----------------------------------------------------------------------------------------


def _loss(function: str, value: Any, arguments: Arrays, options: Mapping[str, Any], g: Any) -> Answer:
    """Scale of a loss, and its gradient, under its reduction."""
    kind = {"nll_loss": _nll_positions, "cross_entropy": _class_positions}
    positions, shape, axis = kind.get(function, _binary_positions)(arguments, options)
    reduction = options.get("reduction", "mean")
    counted = [p for p in positions if p is not None]
    divisor = sum(_rounded(p.share for p in counted), ZERO) if reduction == "mean" else ONE
    if reduction == "none":
        scale = [ZERO if p is None else p.size for p in positions]
        least = [INF if p is None else p.least for p in positions]
        upstream = _numbers(np.broadcast_to(1 if g is None else g, shape), "g").ravel().tolist()
    else:
        scale = [sum((p.size for p in counted), ZERO) / abs(divisor)]
        least = [min((p.least for p in counted), default=INF)]
        upstream = [_numbers(1 if g is None else g, "g")[()]] * len(positions)
    x = next(iter(arguments.values()))
    width = 1 if axis is None else x.shape[axis]
    entries: list[Entry] = []
    for p, up in zip(positions, upstream, strict=True):
        entries += [Entry(ZERO)] * width if p is None else [_scaled(e, up, divisor) for e in p.gradient]
    due = Numbers(_objects(value), _array(scale, np.shape(value)), _array(least, np.shape(value)))
    return Answer(due, _laid(entries, shape if axis is None else (*shape, width), axis))


def _scaled(entry: Entry, g: Decimal, divisor: Decimal) -> Entry:
    """Entry of a position's gradient, times the cotangent, over the count of a mean."""
    factor = g / divisor if divisor else NAN
    if entry == (ZERO, ZERO, ZERO):  # no term at all: not even the mean over nothing is felt
        return Entry(ZERO)
    return Entry(entry.value * factor, entry.scale * abs(factor), min(entry.least, _least(g, factor)))


def _class_positions(
    arguments: Arrays, options: Mapping[str, Any]
) -> tuple[list[Position | None], tuple[int, ...], int]:
    """Positions of `cross_entropy`, for either kind of target."""
    x, target = arguments["logits"], arguments["target"]
    axis = options.get("axis")
    rows, shape, w = _classified(x, "logits", options.get("weight"), axis)
    counted = _counted(options.get("where"), shape)
    s = _numbers(options.get("label_smoothing", 0.0), "label_smoothing")[()]
    K, ignore = len(w), options.get("ignore_index", -100)
    if _are_indices(target):
        labels = _classes(target, shape, K, ignore, counted)
        q: list[list[Number] | None] = [
            None if y is None else [Decimal(k == y) for k in range(K)] for y in labels
        ]
        counts = [ZERO if y is None else w[y] for y in labels]
    else:
        given = _probabilities(target, axis, shape, K, ignore)
        q = [row if c else None for row, c in zip(given, counted, strict=True)]
        counts = [ONE] * len(q)

    def position(z: Sequence[Number], q: Sequence[Number], count: Number) -> Position:
        def owned() -> list[Decimal]:
            return [_times(*_rounded([w[k]])) * ((1 - s) * q[k] + s / K) for k in range(K)]

        return _softmax_position(z, owned, count)

    positions = [
        None if t is None else position(z, t, count) for z, t, count in zip(rows, q, counts, strict=True)
    ]
    return positions, shape, _axis(x, axis)


def _softmax_position(z: Sequence[Number], owned: Callable[[], list[Decimal]], count: Number) -> Position:
    """Loss ``sum_k a[k] * -lp[k]`` and its gradient, of the weights a = owned()."""
    K = len(z)
    a, losses, p = owned(), _neg_log_softmax(_rounded(z)), _softmax(_rounded(z))
    if losses[0].is_nan():
        return Position(NAN, INF, [_UNDEFINED] * K, count)
    owners = [k for k in range(K) if a[k]]

    def terms(j: int) -> list[Decimal]:
        a, p = owned(), _softmax(_rounded(z))
        others = [k for k in range(K) if k != j]
        return [a[k] * p[j] for k in others] + [-a[j] * p[k] for k in others]

    def entry(j: int) -> Entry:
        alone = owners == [j]
        value = _total(lambda: terms(j), DIGITS)
        # Of one class that owns everything nothing cancels: its entry is -a (1 - p).
        scale = ZERO if len(owners) < 2 else max(sum(map(abs, a), ZERO) * p[j], abs(a[j]))
        rest = sum((p[k] for k in range(K) if k != j), ZERO)
        return Entry(value, scale, _least(*a, rest if alone else p[j]))

    size = sum((abs(a[k]) * losses[k] for k in owners), ZERO)
    return Position(size, _least(*a, *(losses[k] for k in owners)), [entry(j) for j in range(K)], count)


def _nll_positions(
    arguments: Arrays, options: Mapping[str, Any]
) -> tuple[list[Position | None], tuple[int, ...], int]:
    """Positions of `nll_loss`."""
    x, axis = arguments["log_probs"], options.get("axis")
    rows, shape, w = _classified(x, "log_probs", options.get("weight"), axis)
    counted = _counted(options.get("where"), shape)
    labels = _classes(arguments["target"], shape, len(w), options.get("ignore_index", -100), counted)

    def position(lp: Sequence[Number], y: int) -> Position:
        cost, factor = _rounded([lp[y], w[y]])
        entry = Entry(-factor, ZERO, _least(factor))
        # What is not picked has gradient 0 whatever the denominator is: no term holds it.
        gradient = [entry if k == y else Entry(ZERO, ZERO, ZERO) for k in range(len(lp))]
        return Position(abs(_times(factor, cost)), _least(factor, cost), gradient, w[y])

    positions = [None if y is None else position(lp, y) for lp, y in zip(rows, labels, strict=True)]
    return positions, shape, _axis(x, axis)


def _binary_positions(
    arguments: Arrays, options: Mapping[str, Any]
) -> tuple[list[Position | None], tuple[int, ...], None]:
    """Elements of `binary_cross_entropy_with_logits`."""
    x = arguments["logits"]
    numbers = [_numbers(a, "argument") for a in arguments.values()]
    for name in ("weight", "pos_weight"):
        numbers.append(_numbers(np.broadcast_to(options.get(name, 1), x.shape), name))

    def position(z: Number, y: Number, w: Number, pw: Number) -> Position:
        z, y, w, pw = _rounded([z, y, w, pw])
        pull, push = _times(w, pw, y), _times(w, 1 - y)
        costs = [(pull, _softplus(-z)), (push, _softplus(z))]
        size = sum((abs(_times(*cost)) for cost in costs), ZERO)
        down, up = _times(pull, _logistic(-z)), _times(push, _logistic(z))
        scale = max(abs(up), abs(down)) if up and down else ZERO
        factors = [w, y, 1 - y, *(pw for _ in range(bool(y)))]
        seen = _least(*factors, *(cost for factor, cost in costs if factor))
        slopes = [slope for factor, slope in ((pull, _logistic(-z)), (push, _logistic(z))) if factor]
        value = _total(lambda: [_times(w, 1 - y, _logistic(z)), -_times(w, pw, y, _logistic(-z))], DIGITS)
        return Position(size, seen, [Entry(value, scale, _least(*factors, *slopes))], ONE)

    counted = _counted(options.get("where"), x.shape)
    each = list(zip(*(a.ravel().tolist() for a in numbers), strict=True))
    positions = [position(*e) if c else None for e, c in zip(each, counted, strict=True)]
    return positions, x.shape, None


def _axis(x: npt.NDArray[Any], axis: int | None) -> int:
    """The class axis: 0 of one row, else 1, unless it is named."""
    return min(x.ndim - 1, 1) if axis is None else axis % x.ndim


# -- functions of rows, and of single numbers ------------------------------------------------------


def _along(function: str, value: Any, x: npt.NDArray[Any], options: Mapping[str, Any], g: Any) -> Answer:
    """`logsumexp`, `softmax` and `log_softmax`, along one axis or several."""
    axis = options.get("axis", -1)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    rows, shape, K = _rows(_numbers(x, "x"), axes)
    widths = tuple(x.shape[a] for a in axes)
    if function == "logsumexp":
        g = np.broadcast_to(1 if g is None else g, np.shape(value)).reshape(len(rows), 1)
        upstream = [row * K for row in _numbers(g, "g").tolist()]
    else:
        upstream, *_ = _rows(_numbers(np.broadcast_to(1 if g is None else g, x.shape), "g"), axes)
    values, gradient = [], []
    for z, up in zip(rows, upstream, strict=True):
        values += _VALUES[function](_rounded(z))
        gradient += [_ROWS[function](_rounded(z), up, j) for j in range(K)]
    if function == "logsumexp":
        due = Numbers(_objects(value), *(_array(part, np.shape(value)) for part in _parts(values)[1:]))
    else:
        due = _laid(values, (*shape, *widths), axes)._replace(value=_objects(value))
    return Answer(due, _laid(gradient, (*shape, *widths), axes))


def _logsumexp_value(z: list[Decimal]) -> list[Entry]:
    m, r = _peak(z)
    if not m.is_finite():
        return [_UNDEFINED]  # its value has no digits to count
    log = _log1p(r)
    return [Entry(ZERO, max(abs(m), log), _least(m, log))]


def _softmax_values(z: list[Decimal]) -> list[Entry]:
    return [Entry(p, ZERO, _least(p)) for p in _softmax(z)]


def _log_softmax_values(z: list[Decimal]) -> list[Entry]:
    return [Entry(loss, ZERO, _least(loss)) for loss in _neg_log_softmax(z)]


def _logsumexp_entry(z: list[Decimal], g: Sequence[Decimal], j: int) -> Entry:
    if all(v == -INF for v in z):
        return Entry(ZERO)
    p = _softmax(z)[j]
    return Entry(g[j] * p, ZERO, _least(g[j], p))


def _softmax_entry(z: list[Decimal], g: Sequence[Decimal], j: int) -> Entry:
    def terms() -> list[Decimal]:
        p = _softmax(z)
        return [p[j] * p[k] * (g[j] - g[k]) for k in range(len(z))]

    p = _softmax(z)
    sizes = [p[j] * abs(g[j]), *(p[j] * p[k] * abs(g[k]) for k in range(len(z)))]
    return Entry(_total(terms, DIGITS), sum(sizes, ZERO), _least(p[j], *g))


def _log_softmax_entry(z: list[Decimal], g: Sequence[Decimal], j: int) -> Entry:
    def terms() -> list[Decimal]:
        p = _softmax(z)
        others = [k for k in range(len(z)) if k != j]
        return [g[j] * p[k] for k in others] + [-g[k] * p[j] for k in others]

    p = _softmax(z)[j]
    return Entry(_total(terms, DIGITS), abs(g[j]) + p * sum(map(abs, g), ZERO), _least(p, *g))


_VALUES: dict[str, Callable[[list[Decimal]], list[Entry]]] = {
    "logsumexp": _logsumexp_value,
    "softmax": _softmax_values,
    "log_softmax": _log_softmax_values,
}
_ROWS: dict[str, Callable[[list[Decimal], Sequence[Decimal], int], Entry]] = {
    "logsumexp": _logsumexp_entry,
    "softmax": _softmax_entry,
    "log_softmax": _log_softmax_entry,
}


def _logistic(x: Decimal) -> Decimal:
    return ONE / (1 + (-x).exp())


_SLOPES: dict[str, Callable[[Decimal], Decimal]] = {
    "softplus": _logistic,
    "log_sigmoid": lambda x: _logistic(-x),
    "sigmoid": lambda x: _logistic(x) * _logistic(-x),
}


def _elementwise(slope: Callable[[Decimal], Decimal], value: Any, x: npt.NDArray[Any], g: Any) -> Answer:
    """`softplus`, `log_sigmoid`, `sigmoid`: nothing cancels in them."""
    numbers = _objects(value)
    entries = []
    upstream = _numbers(np.broadcast_to(1 if g is None else g, x.shape), "g").ravel()
    for z, up in zip(_numbers(x, "x").ravel().tolist(), upstream.tolist(), strict=True):
        s = slope(z)
        entries.append(Entry(up * s, ZERO, _least(up, s)))
    least = _array([_least(v) for v in numbers.ravel().tolist()], x.shape)
    return Answer(Numbers(numbers, _array([ZERO] * x.size, x.shape), least), _laid(entries, x.shape, None))


# -- measures --------------------------------------------------------------------------------------


def _perplexity(arguments: Arrays, options: Mapping[str, Any]) -> Numbers:
    """The exponential of a mean within 4 ulp: its error is that of the mean, times the mean."""
    mean = exact.cross_entropy(*arguments.values(), **options, digits=DIGITS + _GUARD)
    with _precision(DIGITS):
        value = mean.exp()
    return Numbers(*(_objects(v) for v in (value, value * max(ONE, mean), _least(mean))))


def _entropy(arguments: Arrays, options: Mapping[str, Any]) -> Numbers:
    """``-sum(p log p)``."""
    return _measured(lambda p: -p * p.ln() if p else ZERO, arguments, options)


def _kl_divergence(arguments: Arrays, options: Mapping[str, Any]) -> Numbers:
    """``sum(p log(p / q))``."""

    def term(p: Decimal, q: Decimal) -> Decimal:
        return p * (p / q).ln() if p else ZERO  # p / 0 is inf, and so is its logarithm

    return _measured(term, arguments, options)


def _measured(term: Callable[..., Decimal], arguments: Arrays, options: Mapping[str, Any]) -> Numbers:
    """Sums of terms along the class axis, in ulps of the sum of their magnitudes."""
    rows = []
    for a in arguments.values():
        each, shape, _ = _rows(_numbers(a, "p"), options.get("axis", -1))
        rows.append(each)
    entries = []
    for row in zip(*rows, strict=True):

        def terms(row: tuple[list[Number], ...] = row) -> list[Decimal]:
            return [term(*_rounded(v)) for v in zip(*row, strict=True)]

        size = sum(map(abs, terms()), ZERO)
        entries.append(Entry(_total(terms, DIGITS), size, _least(*(v for p in row for v in _rounded(p)))))
    return _laid(entries, shape, None)


_MEASURES: dict[str, Callable[[Arrays, Mapping[str, Any]], Numbers]] = {
    "perplexity": _perplexity,
    "entropy": _entropy,
    "kl_divergence": _kl_divergence,
}


# -- arrays ----------------------------------------------------------------------------------------


def _least(*factors: Decimal) -> Decimal:
    """The smallest magnitude among the factors of a product; 0 loses nothing."""
    return min((abs(f) for f in factors if f and f.is_finite()), default=INF)


def _objects(value: Any) -> Objects:
    return np.asarray(value, dtype=object)


def _array(values: Iterable[Decimal], shape: tuple[int, ...]) -> Objects:
    numbers = list(values)
    out = np.empty(len(numbers), dtype=object)
    out[:] = numbers
    return out.reshape(shape)


def _parts(entries: Sequence[Entry]) -> list[list[Decimal]]:
    """Values, scales and leasts, rounded to the digits asked for."""
    with _precision(DIGITS):
        return [[+e[i] for e in entries] for i in range(3)]


def _laid(entries: Sequence[Entry], shape: tuple[int, ...], axes: int | tuple[int, ...] | None) -> Numbers:
    """Entries in rows, with the classes moved from the end to their axes."""
    axes = () if axes is None else (axes,) if isinstance(axes, int) else axes
    last = tuple(range(-len(axes), 0))
    return Numbers(*(np.moveaxis(_array(part, shape), last, axes) for part in _parts(entries)))
