"""Values and hand-derived gradients of every function, in decimals: what the laws compare with.

`crossent.exact` holds the textbook definitions and no gradients. Here both are written once more,
independently and in the forms that show where a problem cancels, so that every result comes with

* ``value`` / ``grad``: the exact number,
* ``scale``: what its ulps are counted in (the number itself, unless terms cancel),
* ``least``: the smallest factor it is a product of; digits are promised while that is normal.

Nothing here is fast. Everything works on rows `(N, K)`; `exact` puts the results where the call has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from crossent.testing._calls import BINARY, ELEMENTWISE, ROWS, Call

Known: TypeAlias = tuple[Decimal, Decimal, Decimal]  # number, scale, least
Objects: TypeAlias = npt.NDArray[np.object_]

DIGITS = 60
NAN, INF, ZERO, ONE = Decimal("NaN"), Decimal("Infinity"), Decimal(0), Decimal(1)
ZERO_OR_NAN = Decimal("NaN1")  # the contract leaves it open
CONTEXT = Context(prec=DIGITS, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


def decimal(x: Any) -> Decimal:
    """The exact value of one number of any real dtype, of a longdouble to 60 digits."""
    if isinstance(x, Decimal):
        return x
    if isinstance(x, (int, np.integer, np.bool_)):
        return Decimal(int(x))
    if isinstance(x, np.longdouble) and np.isfinite(x):
        n, d = x.as_integer_ratio()
        return CONTEXT.divide(Decimal(n), Decimal(d))
    return Decimal(float(x))


def decimals(x: Any) -> Objects:
    """The exact values of an array, as an object array of the same shape."""
    x = np.asarray(x)
    result: Objects = np.empty(x.shape, object)
    result.ravel()[:] = [decimal(v) for v in x.ravel()]
    return result


def log1p(r: Decimal) -> Decimal:
    """Return log(1 + r) for r >= 0 without losing the digits of a small r."""
    if r > Decimal("1e-9"):
        return (1 + r).ln()
    return sum(((-1) ** (n + 1) * r**n / n for n in range(1, 10)), ZERO)


@lru_cache(20_000)  # the laws come back to the same numbers
def softmax_row(
    z: tuple[Decimal, ...],
) -> tuple[list[Decimal], list[Decimal], list[Decimal]]:
    """Return -log p, p, and 1 - p as the sum of the others, of one row."""
    K = len(z)
    m = max((v for v in z if not v.is_nan()), default=NAN)
    if any(v.is_nan() for v in z) or m.is_infinite():
        return [NAN] * K, [NAN] * K, [NAN] * K
    k = z.index(m)
    exps = {v: (v - m).exp() if v.is_finite() else ZERO for v in set(z)}  # wide rows repeat numbers
    e = [exps[v] for v in z]
    L = log1p(sum((e[j] for j in range(K) if j != k), ZERO))
    total = sum(e, ZERO)
    cost = [(m - v) + L if v.is_finite() else INF for v in z]
    # the others' sum from both sides: no subtraction anywhere
    before, after = [ZERO] * K, [ZERO] * K
    for j in range(1, K):
        before[j] = before[j - 1] + e[j - 1]
        after[K - 1 - j] = after[K - j] + e[K - j]
    p = [v / total for v in e]
    rest = [(before[j] + after[j]) / total for j in range(K)]
    return cost, p, rest


@dataclass
class Exact:
    """One call's exact answer: object arrays of Decimal."""

    value: Any
    value_scale: Any
    value_least: Any
    grad: Any
    grad_scale: Any
    grad_least: Any

    def of(self, quantity: str) -> tuple[Any, Any, Any]:
        """Return the value, or the gradient, with its scale and its least factor."""
        if quantity == "value":
            return self.value, self.value_scale, self.value_least
        return self.grad, self.grad_scale, self.grad_least


def _least(*factors: Decimal) -> Decimal:
    """The smallest nonzero magnitude among the factors of a product."""
    nonzero = [abs(f) for f in factors if f.is_finite() and f != 0]
    return min(nonzero, default=INF)


# ---------------------------------------------------------------------------------------
# losses: each gives, for one position, (loss, sum of magnitudes, least factor) and the same
# for its gradient with respect to the position's inputs


def _position_cross_entropy(z: Sequence[Decimal], a: Sequence[Decimal]) -> tuple[Known, list[Known]]:
    """Loss = sum_k a_k * -lp_k, a_k >= 0 or not; a_k = 0 adds exactly 0."""
    K = len(z)
    cost, p, rest = softmax_row(tuple(z))
    if cost[0].is_nan():
        return (NAN, NAN, INF), [(NAN, NAN, INF)] * K
    terms = [a[k] * cost[k] for k in range(K) if a[k] != 0]
    loss = sum(terms, ZERO)
    magnitude = sum((abs(t) for t in terms), ZERO)
    least = _least(*(c for c, f in zip(cost, a, strict=True) if f != 0), *a)
    total, size = sum(a, ZERO), sum((abs(f) for f in a), ZERO)
    owners = sum(1 for f in a if f != 0)
    factors = _least(*a)
    grads = []
    for j in range(K):
        # p * total - a, without the cancellation of p = 1: exact when one class owns everything
        entry = p[j] * (total - a[j]) - a[j] * rest[j]
        if owners > 1:
            scale = max(size * p[j], abs(a[j]), abs(entry))
        else:
            scale = abs(entry)  # one class owns everything: nothing cancels
        factor = p[j] if a[j] != total or owners > 1 else rest[j]
        grads.append((entry, scale, min(factors, _least(factor))))
    return (loss, magnitude, least), grads


@lru_cache(20_000)
def _sigmoids(z: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Return softplus(z), sigmoid(z), sigmoid(-z)."""
    if z.is_nan():
        return NAN, NAN, NAN
    t = (-abs(z)).exp() if z.is_finite() else ZERO
    tail = log1p(t)
    big, small = 1 / (1 + t), t / (1 + t)
    if z > 0:
        return z + tail, big, small
    return tail, small, big


def _position_binary(z: Decimal, y: Decimal, w: Decimal, pw: Decimal) -> tuple[Known, list[Known]]:
    if z.is_nan() or y.is_nan() or w.is_nan() or pw.is_nan():
        return (NAN, NAN, INF), [(NAN, NAN, INF)]
    plus, p, _ = _sigmoids(z)
    minus, q, _ = _sigmoids(-z)
    pull, push = w * pw * y, w * (1 - y)
    terms = [f * t for f, t in ((pull, minus), (push, plus)) if f != 0]
    loss = sum(terms, ZERO)
    magnitude = sum((abs(t) for t in terms), ZERO)
    factors = [f for f in (w, pw if y != 0 else ZERO, y, 1 - y) if f != 0]
    least = _least(*factors, *(t for f, t in ((pull, minus), (push, plus)) if f != 0))
    up, down = push * p, pull * q
    scale = max(abs(up), abs(down), abs(up - down))
    used = [f for f, t in ((p, push), (q, pull)) if t != 0]
    return (loss, magnitude, least), [(up - down, scale, _least(*factors, *used))]


def _reduce(
    positions: Sequence[tuple[Known, Sequence[Known | None]] | None],
    live: Sequence[bool],
    denominators: Sequence[Decimal],
    reduction: str,
    g: Sequence[Decimal],
    width: int,
) -> tuple[list[Known], list[Known]]:
    """Losses and gradients of all positions under one reduction.

    `positions` holds ((loss, magnitude, least), gradients) or None where ignored.
    """
    n = len(positions)
    nothing = (ZERO, ZERO, INF)
    values = [p[0] if p is not None else nothing for p in positions]
    if reduction == "none":
        factor = [(gi, ONE) for gi in g]
    else:
        total = sum((v[0] for v in values), ZERO)
        size = sum((v[1] for v in values), ZERO)
        # digits of a sum are the digits of its large terms
        least = min((v[2] for v in values if v[1] * n >= size), default=INF)
        if reduction == "mean":
            d = sum((denominators[i] for i in range(n) if live[i]), ZERO)
            if all(denominators[i] == 0 for i in range(n) if live[i]):
                total, size, factor = NAN, NAN, [(NAN, ONE)] * n
            else:
                total, size = total / d, size / abs(d)
                factor = [(g[0], d)] * n
        else:
            factor = [(g[0], ONE)] * n
        values = [(total, size, least)]
    grads: list[Known] = []
    for i in range(n):
        position = positions[i]
        if position is None:
            grads += [nothing] * width
            continue
        gi, d = factor[i]
        for known in position[1]:
            if known is None:  # what is not picked has no gradient; the mean of nothing may show in it
                grads.append((ZERO_OR_NAN, ZERO_OR_NAN, INF) if gi.is_nan() else nothing)
                continue
            entry, scale, least = known
            if gi.is_nan() or entry.is_nan():
                grads.append((NAN, NAN, INF))
            else:
                grads.append((entry * gi / d, scale * abs(gi / d), min(least, _least(gi, gi / d))))
    return values, grads


def loss(call: Call) -> Exact:
    """The exact answer of a loss's call in rows form (x: (N, K), or (N,) for the binary loss)."""
    o = call.options
    reduction = o.get("reduction", "mean")
    binary = call.function == BINARY
    with localcontext(CONTEXT):
        x = decimals(call.x)
        n = len(x)
        where = o.get("where")
        live = [True] * n if where is None else [bool(v) for v in where]
        g = [ONE] * n if call.grad_output is None else [decimal(v) for v in call.grad_output.flat]
        g = g * max(n, 1) if len(g) == 1 else g or [ONE]
        positions: list[Any] = []
        denominators = [ONE] * n
        if binary:
            targets = decimals(call.target)
            w = [ONE] * n if o.get("weight") is None else list(decimals(o["weight"]))
            pw = [ONE] * n if o.get("pos_weight") is None else list(decimals(o["pos_weight"]))
            for i in range(n):
                positions.append(_position_binary(x[i], targets[i], w[i], pw[i]) if live[i] else None)
        else:
            K = x.shape[1]
            w = [ONE] * K if o.get("weight") is None else list(decimals(o["weight"]))
            s = decimal(float(o.get("label_smoothing", 0.0)))
            index = call.target.ndim == 1
            ignore = o.get("ignore_index", -100)
            for i in range(n):
                if index:
                    y = int(call.target[i])
                    live[i] = live[i] and y != ignore
                    if not live[i]:
                        positions.append(None)
                        continue
                    denominators[i] = w[y]
                    if call.function == "nll_loss":
                        positions.append(_position_nll(x[i], y, w[y]))
                        continue
                    q = [(1 - s) * (k == y) for k in range(K)]
                    a = [q[k] * w[y] + s * w[k] / K for k in range(K)]
                else:
                    if not live[i]:
                        positions.append(None)
                        continue
                    soft = decimals(call.target[i])
                    a = [w[k] * ((1 - s) * soft[k] + s / K) for k in range(K)]
                positions.append(_position_cross_entropy(list(x[i]), a))
        width = 1 if binary else x.shape[1]
        return _exact(*_reduce(positions, live, denominators, reduction, g, width))


def _position_nll(lp: Sequence[Decimal], y: int, w: Decimal) -> tuple[Known, list[Known | None]]:
    K = len(lp)
    nothing = (ZERO, ZERO, INF)
    if lp[y].is_nan():
        value = (NAN, NAN, INF)
    elif w == 0:
        value = nothing
    else:
        value = (-w * lp[y], abs(w * lp[y]), _least(w, lp[y]))
    return value, [(-w, abs(w), _least(w)) if k == y else None for k in range(K)]


def _exact(values: Sequence[Known], grads: Sequence[Known]) -> Exact:
    """Numbers, scales and least factors as flat arrays."""

    def array(items: list[Decimal]) -> Objects:
        result: Objects = np.empty(len(items), object)
        result[:] = items
        return result

    return Exact(*(array([known[i] for known in part]) for part in (values, grads) for i in range(3)))


# ---------------------------------------------------------------------------------------
# rows -> rows


def rows(call: Call) -> Exact:
    """The exact answer of logsumexp, softmax, log_softmax in rows form (x: (N, K))."""
    name = call.function
    with localcontext(CONTEXT):
        x = decimals(call.x)
        n, K = x.shape
        g = None if call.grad_output is None else decimals(call.grad_output)
        values: list[Known] = []
        grads: list[Known] = []
        for i in range(n):
            z = list(x[i])
            if name == "logsumexp":
                value, grad = _row_logsumexp(z, ONE if g is None else g[i])
            else:
                gi = [ONE] * K if g is None else list(g[i])
                value, grad = (_row_softmax if name == "softmax" else _row_log_softmax)(z, gi)
            values += value
            grads += grad
        return _exact(values, grads)


def _row_logsumexp(z: list[Decimal], g: Decimal) -> tuple[list[Known], list[Known]]:
    K = len(z)
    if any(v.is_nan() for v in z):
        return [(NAN, NAN, INF)], [(NAN, NAN, INF)] * K
    if any(v == INF for v in z):
        return [(INF, INF, INF)], [(NAN, NAN, INF)] * K
    if all(v == -INF for v in z):
        return [(-INF, INF, INF)], [(ZERO, ZERO, INF)] * K
    _, p, _ = softmax_row(tuple(z))
    m = max(z)
    k = z.index(m)
    L = log1p(sum(((z[j] - m).exp() for j in range(K) if j != k and z[j].is_finite()), ZERO))
    value = [(m + L, max(abs(m), L, abs(m + L)), _least(m, L))]
    return value, [(g * v, abs(g * v), _least(g, v)) for v in p]


def _row_log_softmax(z: list[Decimal], g: list[Decimal]) -> tuple[list[Known], list[Known]]:
    K = len(z)
    cost, p, _ = softmax_row(tuple(z))
    if cost[0].is_nan():
        return [(NAN, NAN, INF)] * K, [(NAN, NAN, INF)] * K
    total, size = sum(g, ZERO), sum((abs(v) for v in g), ZERO)
    least = _least(*g)
    grad = [(g[j] - p[j] * total, abs(g[j]) + p[j] * size, min(least, _least(p[j]))) for j in range(K)]
    return [(-c, c, _least(c)) for c in cost], grad


def _row_softmax(z: list[Decimal], g: list[Decimal]) -> tuple[list[Known], list[Known]]:
    K = len(z)
    _, p, _ = softmax_row(tuple(z))
    if p[0].is_nan():
        return [(NAN, NAN, INF)] * K, [(NAN, NAN, INF)] * K
    mean = sum((p[k] * g[k] for k in range(K)), ZERO)
    size = sum((p[k] * abs(g[k]) for k in range(K)), ZERO)
    least = _least(*g)
    grad = [(p[j] * (g[j] - mean), p[j] * (abs(g[j]) + size), min(least, _least(p[j]))) for j in range(K)]
    return [(v, v, _least(v)) for v in p], grad


# ---------------------------------------------------------------------------------------
# elementwise


def elementwise(call: Call) -> Exact:
    """The exact answer of softplus, log_sigmoid, sigmoid."""
    name = call.function
    with localcontext(CONTEXT):
        g = None if call.grad_output is None else decimals(call.grad_output).ravel()
        values, grads = [], []
        for i, z in enumerate(decimals(call.x).ravel()):
            plus, p, q = _sigmoids(z)
            minus = _sigmoids(-z)[0]
            value, slope = {
                "softplus": (plus, p),
                "log_sigmoid": (-minus, q),
                "sigmoid": (p, p * q),
            }[name]
            gi = ONE if g is None else g[i]
            values.append((value, abs(value), _least(value)))
            grads.append((gi * slope, abs(gi * slope), _least(gi, slope)))
        return _exact(values, grads)


# ---------------------------------------------------------------------------------------
# calls of any shape


def exact(call: Call) -> Exact:
    """The exact answer of a call of any shape, where the call has it."""
    if call.over_several:
        return _over_several(call)
    form = call.rows
    if call.function in ELEMENTWISE:
        e = elementwise(form)
    elif call.function in ROWS:
        e = rows(form)
    else:
        e = loss(form)
    positions, axis = call.positions, call.axis

    def full(a: Objects) -> Objects:
        if axis is None:
            return a.reshape(call.x.shape)
        return np.moveaxis(a.reshape(*positions, call.x.shape[axis]), -1, axis)

    def value(a: Objects) -> Objects:
        return full(a) if call.function in ("softmax", "log_softmax") else a.reshape(call.value_shape)

    return Exact(
        value(e.value), value(e.value_scale), value(e.value_least),
        full(e.grad), full(e.grad_scale), full(e.grad_least),
    )  # fmt: skip


def _over_several(call: Call) -> Exact:
    """Logsumexp over several axes: over the one that they make, as the last."""
    axes, shape = call.summed, call.value_shape
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(call.x, axes, last)
    kept = moved.shape[: moved.ndim - len(axes)]
    g = None if call.grad_output is None else np.reshape(call.grad_output, kept)
    e = exact(Call(call.function, moved.reshape(*kept, -1), grad_output=g))
    return Exact(
        *(a.reshape(shape) for a in e.of("value")),
        *(np.moveaxis(a.reshape(moved.shape), last, axes) for a in e.of("gradient")),
    )
