"""Implementations that are right, and written differently from the package: the kit must accept them.

`cross_entropy` and `nll_loss` are loops over longdouble; the others are loops over `decimal` or `math`.
No formula, no array operation and no helper of the package is used.
"""

import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

import numpy as np

L = np.longdouble
CONTEXT = Context(prec=80, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


def _rows(x, axis):
    """Indices of the positions, and the class axis."""
    x = np.asarray(x)
    axis = (min(x.ndim - 1, 1) if axis is None else axis) % x.ndim
    return x, axis, list(np.ndindex(*(n for i, n in enumerate(x.shape) if i != axis)))


def _at(position, k, axis):
    return (*position[:axis], k, *position[axis:])


def _row(z):
    """-log p, p and 1 - p of one row of longdoubles; None where softmax is NaN."""
    top = L(-np.inf)
    for v in z:
        if np.isnan(v):
            return None
        top = max(top, v)
    if np.isinf(top):
        return None
    e = [np.exp(v - top) for v in z]
    first = z.index(top)
    r = L(0)
    for k, v in enumerate(e):
        if k != first:
            r += v
    s = 1 + r
    cost = [(top - v) + np.log1p(r) for v in z]
    return cost, [v / s for v in e], [v / s for v in _others(e)]


def _others(values):
    """The sum of all the others, for each: from both sides, so that nothing is subtracted."""
    before, after = [L(0)], [L(0)]
    for v in values[:-1]:
        before.append(before[-1] + v)
    for v in values[:0:-1]:
        after.append(after[-1] + v)
    return [b + a for b, a in zip(before, after[::-1], strict=True)]


def _cross_entropy(logits, target, weight, ignore_index, reduction, smoothing, axis, where, grad_output):
    """Value and gradient; everything in longdouble until the end."""
    if not 0 <= smoothing <= 1:
        raise ValueError("label_smoothing must be between 0 and 1")
    x, axis, positions = _rows(logits, axis)
    target = np.asarray(target)
    K = x.shape[axis]
    shape = tuple(n for i, n in enumerate(x.shape) if i != axis)
    soft = target.dtype.kind == "f"
    if target.shape != (x.shape if soft else shape):
        raise ValueError("target does not fit")
    mask = np.broadcast_to(np.True_ if where is None else where, shape)
    w = [L(1)] * K if weight is None else [L(v) for v in weight]
    losses = np.zeros(shape, L)
    grad = np.zeros(x.shape, L)
    total = L(0)
    s = L(smoothing)
    seen = {}
    for p in positions:
        y = None if soft else int(target[p])
        if not mask[p] or y == ignore_index:
            continue
        if not soft and not 0 <= y < K:
            raise IndexError(f"class {y} of {K}")
        q = [L(target[_at(p, k, axis)]) if soft else L(k == y) for k in range(K)]
        if soft:
            a = [w[k] * ((1 - s) * q[k] + s / K) for k in range(K)]
            total += 1
        else:
            a = [(1 - s) * q[k] * w[y] + s * w[k] / K for k in range(K)]
            total += w[y]
        z = [L(x[_at(p, k, axis)]) for k in range(K)]
        key = tuple(map(float, z))
        if key not in seen:
            seen[key] = _row(z)
        if seen[key] is None:
            losses[p] = np.nan
            for k in range(K):
                grad[_at(p, k, axis)] = np.nan
            continue
        cost, prob, rest = seen[key]
        for k in range(K):
            if a[k] != 0:
                losses[p] += a[k] * cost[k]
        for k, others in enumerate(_others(a)):
            grad[_at(p, k, axis)] = prob[k] * others - a[k] * rest[k]
    return _reduced(losses, grad, total, reduction, positions, axis, mask, grad_output, x.dtype)


def _reduced(losses, grad, total, reduction, positions, axis, mask, g, dtype):
    g = np.broadcast_to(L(1) if g is None else np.asarray(g).astype(L), losses.shape)
    counts = grad.copy()
    with np.errstate(all="ignore"):
        for p in positions:
            row = (*p[:axis], slice(None), *p[axis:]) if axis is not None else p
            factor = g[p] / total if reduction == "mean" else g[p]
            # 0 at ignored positions, also where the mean is of nothing
            grad[row] = counts[row] * factor if mask[p] else 0
        if reduction == "none":
            value = losses
        else:
            value = L(0)
            for p in positions:
                value += losses[p]
            value = value / total if reduction == "mean" else value
        dtype = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(float)
        return np.asarray(value).astype(dtype), grad.astype(dtype)


def cross_entropy(
    logits,
    target,
    *,
    weight=None,
    ignore_index=-100,
    reduction="mean",
    label_smoothing=0.0,
    axis=None,
    where=None,
):
    return _cross_entropy(
        logits, target, weight, ignore_index, reduction, label_smoothing, axis, where, None
    )[0]


def cross_entropy_grad(
    logits, target, *, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0, axis=None,
    where=None, grad_output=None,
):  # fmt: skip
    live = _live(target, ignore_index, where)
    return _cross_entropy(
        logits, target, weight, ignore_index, reduction, label_smoothing, axis, live, grad_output
    )[1]


def _live(target, ignore_index, where):
    """A mask that holds both ways of ignoring."""
    target = np.asarray(target)
    if target.dtype.kind == "f":
        return where
    counts = np.asarray(target.astype(object) != ignore_index, bool)
    return counts & (True if where is None else where)


# -- the binary loss, softmax and its relatives, in decimals -----------------------------------------------


def _d(v):
    return Decimal(float(v))


def _softplus(x):
    if x.is_nan() or x.is_infinite():
        return x if x != Decimal("-inf") else Decimal(0)
    t = (-abs(x)).exp()
    with localcontext() as c:
        c.prec += 2 * max(0, -t.adjusted()) if t.adjusted() > -400 else 0
        tail = (1 + t).ln() if t.adjusted() > -400 else t
    return max(x, Decimal(0)) + tail


def _sigmoid(x):
    return 1 / (1 + (-x).exp())


def _rounded(values, shape, dtype):
    dtype = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(float)
    with np.errstate(all="ignore"):
        return np.array([float(v) for v in values]).reshape(shape).astype(dtype)


def binary_cross_entropy_with_logits(
    logits, target, *, weight=None, pos_weight=None, reduction="mean", where=None
):
    return _binary(logits, target, weight, pos_weight, reduction, where, None)[0]


def binary_cross_entropy_with_logits_grad(
    logits, target, *, weight=None, pos_weight=None, reduction="mean", where=None, grad_output=None
):
    return _binary(logits, target, weight, pos_weight, reduction, where, grad_output)[1]


def _binary(logits, target, weight, pos_weight, reduction, where, g):
    x, target = np.asarray(logits), np.asarray(target)
    if target.shape != x.shape:
        raise ValueError("target does not fit")
    w, pw, live, g = (
        np.broadcast_to(default if v is None else v, x.shape)
        for v, default in ((weight, 1.0), (pos_weight, 1.0), (where, True), (g, 1.0))
    )
    losses, grads, seen = [], [], {}
    with localcontext(CONTEXT):
        for p in np.ndindex(x.shape):
            if not live[p]:
                losses.append(Decimal(0))
                grads.append(Decimal(0))
                continue
            key = tuple(float(v[p]) for v in (x, target, w, pw))
            if key not in seen:
                z, y, a, b = map(Decimal, key)
                if z.is_nan():
                    seen[key] = z, z
                else:
                    up, down = a * (1 - y), a * b * y
                    cost = (up * _softplus(z) if up else 0) + (down * _softplus(-z) if down else 0)
                    seen[key] = cost, (up * _sigmoid(z) if up else 0) - (down * _sigmoid(-z) if down else 0)
            losses.append(seen[key][0])
            grads.append(seen[key][1] * _d(g[p]))
        if reduction == "none":
            return _rounded(losses, x.shape, x.dtype), _rounded(grads, x.shape, x.dtype)
        value = sum(losses, Decimal(0))
        if reduction == "mean":
            n = Decimal(int(np.sum(live)))
            value = value / n
            grads = [v / n if keep else v for v, keep in zip(grads, live.flat, strict=True)]
        return _rounded([value], (), x.dtype), _rounded(grads, x.shape, x.dtype)


def log_softmax(x, axis=-1):
    x = np.asarray(x)
    moved = np.moveaxis(x, axis, -1)
    values, seen = [], {}
    with localcontext(CONTEXT):
        for p in np.ndindex(moved.shape[:-1]):
            key = tuple(moved[p].tolist())
            if key not in seen:
                seen[key] = _log_softmax([Decimal(v) for v in key])
            values += seen[key]
    return np.moveaxis(_rounded(values, moved.shape, x.dtype), -1, axis)


def _log_softmax(z):
    top = max((v for v in z if not v.is_nan()), default=Decimal("nan"))
    if any(v.is_nan() for v in z) or top.is_infinite():
        return [Decimal("nan")] * len(z)
    k = z.index(top)
    e = {v: (v - top).exp() for v in set(z)}
    r = sum((e[v] for j, v in enumerate(z) if j != k), Decimal(0))
    tail = _softplus(r.ln()) if r else Decimal(0)  # log(1 + r)
    return [(v - top) - tail for v in z]


def softplus(x):
    """Python floats: C's log1p and exp."""

    def one(v):
        if math.isnan(v) or math.isinf(v):
            return v if v != -math.inf else 0.0
        return max(v, 0.0) + math.log1p(math.exp(-abs(v)))

    x = np.asarray(x)
    return _rounded([one(float(v)) for v in x.flat], x.shape, x.dtype)


def softplus_grad(x, grad_output=None):
    def one(v):
        if math.isnan(v):
            return v
        return 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))

    x = np.asarray(x)
    g = np.ones(x.shape) if grad_output is None else np.asarray(grad_output)
    values = [one(float(v)) * float(u) for v, u in zip(x.flat, g.flat, strict=True)]
    return _rounded(values, x.shape, x.dtype)
