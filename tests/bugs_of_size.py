"""Planted bugs that only size shows: blocks, tails, grids, images. For `test_conformance_bugs.py`.

Their functions are crossent's own with one thing changed: the exact answers of 70,000 rows take too long.
"""

import numpy as np

import crossent
from crossent.testing import Call
from crossent.testing._calls import BINARY, LOSSES, OPTIONS

CE, NLL = "cross_entropy", "nll_loss"


def fast(name, *, change=None, value=None, grad=None):
    """`change` edits the call, `value` and `grad` the results."""

    def prepare(arguments, options):
        x, *target = (np.asarray(a) for a in arguments)
        g = options.pop("grad_output", None)
        options = {k: v for k, v in options.items() if v is not None or k == "axis"}
        call = Call(name, x, target[0] if target else None, options, g)
        return (change(call) if change else call), call

    def to_value(*arguments, **options):
        used, call = prepare(arguments, options)
        result = getattr(crossent, name)(*used.arguments, **used.options)
        return value(call, np.array(result)) if value else result

    def to_grad(*arguments, **options):
        used, call = prepare(arguments, options)
        result = getattr(crossent, f"{name}_grad")(
            *used.arguments, **used.options, grad_output=used.grad_output
        )
        return grad(call, np.array(result)) if grad else result

    supports = [*OPTIONS[name], "grad_output"]
    return to_value, to_grad, supports


def _losses(call):
    """Whether the result has one entry a position."""
    return call.function in LOSSES and call.reduction == "none"


def _place(call):
    """The number of each position, in their shape."""
    return np.arange(int(np.prod(call.positions))).reshape(call.positions)


def _expanded(call, of_positions):
    """What holds of positions, for the logits."""
    return of_positions if call.axis is None else np.expand_dims(of_positions, call.axis)


def _lost(where):
    """Results of 0 at positions."""

    def value(call, v):
        return np.where(where(call), 0, v).astype(v.dtype) if _losses(call) else v

    def grad(call, g):
        return np.where(_expanded(call, where(call)), 0, g).astype(g.dtype)

    return {"value": value, "grad": grad}


def _behind_1024(call):
    """In an image, what is left over after whole blocks of 1,024 positions."""
    n = int(np.prod(call.positions[1:]))
    many = len(call.positions) > 2 and n > 1024
    return _place(call) % n >= n // 1024 * 1024 if many else _place(call) < 0


def _tail_of_16(call):
    """In a sequence, what is left over after whole vectors of 16."""
    n = call.positions[-1] if len(call.positions) > 1 else 1
    return _place(call) % n >= n // 16 * 16 if n >= 16 else _place(call) < 0


def _columns_of_32(call, v):
    """Along the first axis, columns are taken 32 at a time."""
    if v.ndim == 2 and call.axis == 0 and v.shape[1] >= 32:
        v[:, v.shape[1] // 32 * 32 :] = 0
    return v


def _grid_of_3d(call):
    """A grid has 65,535 rows."""
    return (_place(call) >= 65_535) & (len(call.positions) > 1)


def _tile(call, near):
    """Labels of later tiles of 128 classes, where `near` says so, are not found."""
    if not call.index or call.x.shape[call.axis] <= 128:
        return np.zeros(call.positions, bool)
    return near(call.target)


def _starts_tile(call):
    return _tile(call, lambda y: (y >= 128) & (y % 128 == 0))


def _ends_tile(call):
    return _tile(call, lambda y: y % 128 == 127)


def _masked_tile(call, v):
    """Online: exp(-inf - -inf) is NaN where the first tile of 128 is masked."""
    x = np.moveaxis(call.x, call.axis, 0) if call.axis is not None else call.x
    if len(x) <= 128:
        return v
    nothing = np.isneginf(x[:128]).all(axis=0)
    if v.shape == call.x.shape:
        nothing = np.expand_dims(nothing, call.axis)
    return np.where(nothing, np.nan, v).astype(v.dtype)


def _last_tile_of_one(call):
    """A last tile of one class is forgotten."""
    K = call.x.shape[call.axis]
    if K < 64 or K % 64 != 1:
        return call
    x = np.moveaxis(call.x.copy(), call.axis, -1)
    x[..., -1] = -np.inf
    return call.changed(x=np.moveaxis(x, -1, call.axis))


def _next_row(call):
    """The tail of a row reads one number of the next."""
    if call.x.ndim != 2 or call.axis != 1 or call.x.shape[1] <= 128:
        return call
    x = call.x.copy()
    x[:-1, -1] = np.maximum(x[:-1, -1], x[1:, 0])
    return call.changed(x=x)


def _weights_of_256(call):
    """The weight of class k is that of k % 256."""
    w = call.options.get("weight")
    return call if w is None else call.having(weight=w[np.arange(len(w)) % 256])


def _unweighted_rows(call, v):
    """From row 1,024 on nobody looks at the weights."""
    if not _losses(call) or call.options.get("weight") is None or not v.ndim:
        return v
    plain = call.having(weight=None)
    other = getattr(crossent, call.function)(*plain.arguments, **plain.options)
    return np.where(np.arange(len(v)).reshape(-1, *(1,) * (v.ndim - 1)) < 1024, v, other).astype(v.dtype)


def _cotangent_of_1024(call):
    """The cotangent of row i is that of i % 1024."""
    g = call.grad_output
    return call.changed(grad_output=g[np.arange(len(g)) % 1024]) if np.ndim(g) else call


def _ignored_later(call, g):
    """Ignored rows get a gradient from row 1,024 on."""
    dead = (
        ~call.rows.live.reshape(call.positions) if call.axis is not None else np.zeros(call.positions, bool)
    )
    return np.where(_expanded(call, dead & (_place(call) >= 1024)), 0.25, g).astype(g.dtype)


def _counted_by_1024(call, v):
    """A mean counts what is ignored among the first 1,024 rows alone."""
    if call.reduction != "mean" or call.options.get("weight") is not None or not call.index:
        return v
    live = call.rows.live
    counted = live.sum() + (~live[1024:]).sum()
    return (v * live.sum() / max(counted, 1)).astype(v.dtype)


POSITIONS, ROWS, CLASSES = "many_positions_are_rows", "many_rows_are_rows", "many_classes_are_classes"
LABELS = "labels_may_stand_anywhere"
BUGS = [
    (CE, "positions of an image behind 1,024", POSITIONS, _lost(_behind_1024)),
    (BINARY, "positions of an image behind 1,024", POSITIONS, _lost(_behind_1024)),
    (NLL, "the tail of a sequence", POSITIONS, _lost(_tail_of_16)),
    ("sigmoid", "the tail of a sequence", POSITIONS, {"grad": _lost(_tail_of_16)["grad"]}),
    ("softmax", "32 columns at a time", POSITIONS, {"value": _columns_of_32}),
    (CE, "a grid of 65,535 batches", POSITIONS, _lost(_grid_of_3d)),
    (CE, "a label that starts a tile", LABELS, _lost(_starts_tile)),
    (CE, "a label that ends a tile: gradient", LABELS, {"grad": _lost(_ends_tile)["grad"]}),
    (NLL, "a label that ends a tile", LABELS, _lost(_ends_tile)),
    ("logsumexp", "a masked tile", CLASSES, {"value": _masked_tile}),
    ("softmax", "a masked tile", CLASSES, {"grad": _masked_tile}),
    (CE, "a last tile of one class", CLASSES, {"change": _last_tile_of_one}),
    ("log_softmax", "the tail reads the next row", CLASSES, {"change": _next_row}),
    (CE, "weights of 256 classes", CLASSES, {"change": _weights_of_256}),
    (CE, "weights of 1,024 rows", ROWS, {"value": _unweighted_rows}),
    (CE, "cotangents of 1,024 rows", ROWS, {"change": _cotangent_of_1024}),
    ("softplus", "cotangents of 1,024 rows", ROWS, {"change": _cotangent_of_1024}),
    (CE, "gradients of ignored rows from 1,024 on", ROWS, {"grad": _ignored_later}),
    (CE, "ignored rows of the first 1,024 are counted", "long_sums_survive", {"value": _counted_by_1024}),
]
