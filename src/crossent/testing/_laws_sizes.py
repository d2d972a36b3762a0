"""Laws about sizes: many rows, positions and classes, with every option that a function has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from crossent.testing._calls import CLASS_LOSSES, LOSSES, ROWS, SPECS, Array, Call
from crossent.testing._compare import may_be_refused, repeated
from crossent.testing._laws import law
from crossent.testing._subject import Subject, Unfit
from crossent.testing._truth import Exact, exact

FEW = 5  # rows again and again: no divisor of a block
MANY_ROWS = 70_005  # more than 16 bits count
MANY_CLASSES = (100, 1025, 1061, 4096)  # one more than a block, of no vector, and a multiple of every block
FAR_CLASSES = 70_000
ENDS = (0, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, 1060)  # of blocks, and of 1,061 classes
LARGE: dict[str, Any] = {
    "regimes": ("plain", "dense"), "min_rows": 3, "small": True, "without": ("dtype",), "most": 2,
}  # fmt: skip
POSITIONS = ((FEW, 1061), (1, 35, 67), (1065,), (MANY_ROWS, 1))  # none is whole blocks


def variants(s: Subject, call: Call, n: int) -> Iterator[Call]:
    """A call of `n` different rows with no option, with every one that the function has, and with those that
    leave rows out: a few examples do not meet them by chance.
    """
    few, drawn = call.take(np.arange(n) % len(call.x)), len(call.x)
    x = few.x
    if few.axis is None:
        x = (x + np.arange(n) // drawn * 0.25).astype(x.dtype)
    else:
        x = np.stack([np.roll(row, i // drawn) for i, row in enumerate(x)])
    target = np.arange(n) % x.shape[1] if few.index else few.target
    kept = {"reduction": call.reduction} if "reduction" in call.options else {}
    bare = few.changed(x=x, target=target, options=kept, grad_output=None)
    yield bare
    every = _with_every_option(s, bare)
    yield every
    if every.options.keys() & {"where", "ignore_index"}:
        yield every.having(weight=None, pos_weight=None, label_smoothing=None)


def _with_every_option(s: Subject, call: Call) -> Call:
    """Options and cotangents whose numbers all differ; the second row is ignored, and the fourth."""
    n, dtype = len(call.x), call.x.dtype
    classes = n if call.axis is None else call.x.shape[1]
    weight = np.resize(np.array([1.0, 0.5, 2.0, 0.25, 3.0, 0.125]), classes).astype(dtype)
    every: dict[str, Any] = {
        "weight": weight, "pos_weight": weight[::-1].copy(), "label_smoothing": 0.1,
        "where": np.arange(n) != 3,
    }  # fmt: skip
    options = {**call.options, **{name: v for name, v in every.items() if s.has(name)}}
    target, g = call.target, None
    if call.index and s.has("ignore_index"):
        options["ignore_index"] = -100
        target = np.where(np.arange(n) == 1, -100, target)
    if s.has("grad_output"):
        size = int(np.prod(call.value_shape))
        factors = np.resize(np.array([1.0, -0.5, 2.0, 0.25, 3.0, -1.5, 0.5]), size)
        g = factors.reshape(call.value_shape).astype(dtype)
    return call.changed(target=target, options=options, grad_output=g)


@law(
    "sum and mean over 70,005 rows = 70,005 times the rows' own",
    LOSSES,
    **LARGE,
    reductions=("mean", "sum"),
)
def long_sums_survive(s: Subject, call: Call) -> None:
    """A sum in the logits' own dtype drifts with every row, and in float16 ends at 65,504."""
    for base in variants(s, call.rows, FEW):
        for dtype in s.dtypes:
            one = in_dtype(base, np.dtype(dtype))
            long = _again(one, MANY_ROWS)
            due = repeated(exact(one), len(long.x) // len(one.x), mean=long.reduction == "mean")
            s.check_value(long, due, note=f" of {len(long.x):,} rows")
            if s.gradient is not None:
                _check_blocks(s, long, "gradient", s.grad(long), due)


def in_dtype(call: Call, dtype: np.dtype[Any]) -> Call:
    """A call with all its floating arrays in another dtype."""
    with np.errstate(all="ignore"):
        return call.mapped(lambda v: v.astype(dtype) if v.dtype.kind == "f" else v)


def _again(call: Call, rows: int) -> Call:
    """The same rows again and again: at least so many, and all of them as often."""
    n = len(call.x)
    return call.take(np.arange(-(-rows // n) * n) % n)


def _check_blocks(s: Subject, long: Call, quantity: str, came: Array, e: Exact) -> None:
    """Results of the same rows again and again: the first ones, and those that are farthest from them."""
    due, scale, least = e.of(quantity)
    n = len(due)
    blocks = came.reshape(-1, *due.shape)
    with np.errstate(all="ignore"):
        away = np.abs(blocks - blocks[0]).reshape(len(blocks), -1).max(axis=1)
    worst = int(np.argmax(np.where(np.isnan(away), np.inf, away)))
    for at in sorted({0, worst}):
        note = f" from row {at * n:,} of {len(came):,} on"
        s.digits(long, quantity, blocks[at], due, scale=scale, least=least, note=note)


@law(
    "f over 70,005 rows = f over five of them, again and again",
    SPECS,
    **LARGE,
    reductions=("none",),
)
def many_rows_are_rows(s: Subject, call: Call) -> None:
    """What is left over after the last whole block, or lies beyond a grid, keeps what was in its memory."""
    for few in variants(s, call.rows, FEW):
        long, e = _again(few, MANY_ROWS), exact(few)
        for quantity, came in s.quantities(long):
            _check_blocks(s, long, quantity, came, e)


@law(
    "f(z[5, K, 1061]), f(z[1, K, 35, 67]), f(z[70005, K, 1]), f(z[K, 1065], axis=0) = f over five rows, "
    "again and again",
    SPECS,
    **LARGE,
    reductions=("none",),
)
def many_positions_are_rows(s: Subject, call: Call) -> None:
    """An image has its positions behind the classes: what is left over there is left over in every row."""
    tried = 0
    for few in variants(s, call.rows, FEW):
        e = exact(few)
        for shape in POSITIONS:
            long = _again(few, int(np.prod(shape)))
            for axis in _axes(s, few, len(shape)):
                tried += 1
                placed = _placed(long, shape, axis)
                for quantity, came in s.quantities(placed):
                    if axis is not None and came.ndim > len(shape):
                        came = np.moveaxis(came, axis, -1)
                    _check_blocks(
                        s, placed, quantity, came.reshape(len(long.x), *came.shape[len(shape) :]), e
                    )
    if not tried:
        raise Unfit


def _axes(s: Subject, call: Call, positions: int) -> Sequence[int | None]:
    """Where the classes may stand among so many axes of positions."""
    ndim = positions + (call.axis is not None)
    if str(ndim) not in s.ndims or (ndim == call.x.ndim and not s.has("axis")):
        return []
    if call.axis is None:
        return [None]
    usual = 1 if call.function in LOSSES else positions
    return sorted({usual, 0, 1}) if s.has("axis") else [usual]


def _placed(long: Call, shape: tuple[int, ...], axis: int | None) -> Call:
    """Rows as positions of this shape, with the classes on an axis of their own."""
    of_class = long.class_weight

    def place(v: Array) -> Array:
        if v is of_class or not v.ndim:
            return v
        v = v.reshape(*shape, *v.shape[1:])
        return v if axis is None or v.ndim == len(shape) else np.ascontiguousarray(np.moveaxis(v, -1, axis))

    placed = long.mapped(place)
    return placed if axis is None or placed.axis == axis else placed.having(axis=axis)


@law(
    "f over 100, 1,025, 1,061 and 4,096 classes, and over the last of 70,000 = definition",
    (*ROWS, *CLASS_LOSSES),
    regimes=("plain", "dense", "confident"),
    min_classes=2,
    min_rows=2,
    small=True,
    without=("dtype",),
    most=2,
)
def many_classes_are_classes(s: Subject, call: Call) -> None:
    """A vocabulary has more classes than a vector, a block or a small integer holds."""
    for few in islice(variants(s, call.rows.take(slice(2)), 3), 2):
        if few.index:
            few = few.changed(target=np.where(few.live, few.target % few.x.shape[1], few.target))
        n, K = few.x.shape
        for many in MANY_CLASSES:
            run = np.arange(many) * (8 * K) // many
            wide = _columns(few, run % K)
            # the largest are the last of the first row, and the first of the second
            lift = np.outer(np.resize([1, -1], n), run // K / 2)
            target = wide.target
            if target is not None and not few.index:
                target = target / target.dtype.type(4096)
            x = (wide.x + lift).astype(few.x.dtype)
            s.check(wide.changed(x=x, target=target), note=f" of {n} rows")
        few = few.having(label_smoothing=None)
        for before, logit in ((FAR_CLASSES - K, -1e4), (1061 - K, -np.inf)):
            with may_be_refused(MemoryError):  # whoever needs room for the classes squared
                _check_last_of_many(s, few, before, logit)


def _check_last_of_many(s: Subject, call: Call, before: int, logit: float) -> None:
    """The same classes after so many that do not matter."""
    K = call.x.shape[1]
    call = with_class(call, logit)
    column = np.maximum(np.arange(before + K) - before, -1) % (K + 1)
    far, e = _columns(call, column), exact(call)
    some = np.array([0, before // 2, before - 1, *range(before, before + K)])
    results = [("value", s.value(far))]
    # a cotangent of ones sees all classes
    if s.gradient is not None and not (call.function == "log_softmax" and call.grad_output is None):
        results.append(("gradient", s.grad(far)))
    for quantity, came in results:
        due, scale, least = e.of(quantity)
        note = f" of {before + K:,} classes"
        if came.ndim == 2:
            came = came[:, some]
            due, scale, least = (a[:, column[some]] for a in (due, scale, least))
            note = f" in columns {some.tolist()}"
        s.digits(far, quantity, came, due, scale=scale, least=least, note=note)


def _columns(call: Call, column: Array) -> Call:
    """A call in rows form over these columns of classes; a label is the last column of its class."""
    o, target, g = dict(call.options), call.target, call.grad_output
    if o.get("weight") is not None:
        o["weight"] = o["weight"][column]
    if call.index:
        last = np.array([np.flatnonzero(column == k)[-1] for k in range(call.x.shape[1])])
        target = np.where(call.live, last[np.where(call.live, target, 0)], target)
    elif target is not None:
        target = target[:, column]
    if g is not None and call.function in ("softmax", "log_softmax"):
        g = g[:, column]
    return call.changed(x=call.x[:, column], target=target, options=o, grad_output=g)


def with_class(call: Call, logit: float) -> Call:
    """A call in rows form with one more class, the last, which is not owed anything."""
    n = len(call.x)
    o, target, g = dict(call.options), call.target, call.grad_output
    if o.get("weight") is not None:
        o["weight"] = np.append(o["weight"], o["weight"].dtype.type(1))
    if target is not None and not call.index:
        target = np.concatenate([target, np.zeros((n, 1), target.dtype)], axis=1)
    if g is not None and call.function in ("softmax", "log_softmax"):
        g = np.concatenate([g, np.zeros((n, 1), g.dtype)], axis=1)
    x = np.concatenate([call.x, np.full((n, 1), logit, call.x.dtype)], axis=1)
    return call.changed(x=x, target=target, options=o, grad_output=g)


@law(
    "f(z, y) over 1,061 classes = definition, for y = 0, 31, 32, 63, 64, ..., 1023, 1024, 1060",
    CLASS_LOSSES,
    kinds=("index",),
    regimes=("plain", "dense"),
    min_classes=2,
    small=True,
    without=("dtype",),
    most=2,
)
def labels_may_stand_anywhere(s: Subject, call: Call) -> None:
    """A label that begins or ends a block of classes is found twice, or not at all."""
    for few in islice(variants(s, call.rows, len(ENDS)), 2):
        K = ENDS[-1] + 1
        o = dict(few.options)
        if o.get("weight") is not None:
            o["weight"] = np.resize(o["weight"][:5], K)
        rows = few.take(np.arange(len(ENDS)) % len(few.x))
        live = rows.live
        target = np.where(live, ENDS, rows.target)
        x = np.take(rows.x, np.arange(K) * 7 % rows.x.shape[1], axis=1)
        s.check(rows.changed(x=x, target=target, options=o))
