"""Laws about what may be moved: shifts, permutations, batches, memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crossent.testing._calls import BINARY, CLASS_LOSSES, ELEMENTWISE, LOSSES, ROWS, SPECS, Call
from crossent.testing._compare import Broken, check_bits, may_be_refused, total
from crossent.testing._laws import law
from crossent.testing._laws_digits import CALM, FINITE
from crossent.testing._subject import LAYOUTS, Function, Subject
from crossent.testing._truth import Exact, exact


@law(
    "f(z + c) = f(z) in every digit, for z and c whose sum is exact (logsumexp: c + f(z))",
    (*ROWS, "cross_entropy"),
    regimes=("plain", "ties", "confident"),
)
def a_shift_is_not_seen(s: Subject, call: Call) -> None:
    """Only differences of logits mean something: a loss that sees more depends on how they were made."""
    shift = 256 if call.x.dtype == np.float16 else 2**15
    whole = np.clip(np.rint(call.x), -16, 16).astype(call.x.dtype)
    moved = call.changed(x=(whole + call.x.dtype.type(shift)).astype(call.x.dtype))
    s.check(moved, exact(moved if call.function == "logsumexp" else call.changed(x=whole)))


@law("f(z[order], y) = f(z, order[y])", (*ROWS, *CLASS_LOSSES), regimes=FINITE, min_classes=2)
def names_of_classes_mean_nothing(s: Subject, call: Call) -> None:
    """The numbers of the classes are arbitrary: the last, the first and class 0 are classes like all."""
    call = call.rows
    K = call.x.shape[1]
    order = np.roll(np.arange(K), 1)
    rank = np.argsort(order)
    o = dict(call.options)
    if o.get("weight") is not None:
        o["weight"] = o["weight"][order]
    target, g = call.target, call.grad_output
    if call.index:
        inside = (target >= 0) & (target < K)
        target = np.where(inside, rank[np.where(inside, target, 0)], target)
        if 0 <= o.get("ignore_index", -100) < K:
            o["ignore_index"] = int(rank[o["ignore_index"]])
    elif target is not None:
        target = target[:, order]
    if g is not None and call.function in ("softmax", "log_softmax"):
        g = g[:, order]
    other = call.changed(x=call.x[:, order], target=target, options=o, grad_output=g)
    e = exact(call)
    wide = call.function in ("softmax", "log_softmax")
    due = Exact(
        *(a[:, order] if wide else a for a in e.of("value")),
        *(a[:, order] for a in e.of("gradient")),
    )
    s.check(other, due)


@law(
    "f(z[order], y[order]) = f(z, y)[order]; its sum and its mean do not change",
    SPECS,
    regimes=FINITE,
    min_rows=2,
)
def order_of_the_batch_means_nothing(s: Subject, call: Call) -> None:
    """Batches are shuffled: the loss of a set must not depend on how it was read."""
    call = call.rows
    order = np.roll(np.arange(len(call.x)), 1)
    other = call.take(order)
    e = exact(call)
    each = call.function not in LOSSES or call.reduction == "none"
    due = Exact(
        *(a[order] if each else a for a in e.of("value")),
        *(a[order] for a in e.of("gradient")),
    )
    s.check(other, due)


@law(
    "f(z)[i] = f(z[i:i+1])[0] = f(z, z, ..., z)[i], in every bit",
    SPECS,
    regimes=FINITE,
    reductions=("none", "sum"),
)
def a_row_stands_alone(s: Subject, call: Call) -> None:
    """An example's loss that depends on its neighbours makes runs differ that should be the same."""
    call = call.rows
    n = len(call.x)
    pieces = [(f"row {i} alone", np.array([i]), np.array([i])) for i in range(min(n, 4))]
    pieces.append(("the last rows of a long batch", np.arange(37 * n) % n, np.arange(n)))
    for quantity, whole in s.quantities(call):
        if quantity == "value" and call.function in LOSSES and call.reduction != "none":
            continue
        for what, rows, kept in pieces:
            part = call.take(rows)
            came = s.value(part) if quantity == "value" else s.grad(part)
            s.bits(part, quantity, came[len(rows) - len(kept) :], whole[kept], f"not the bits of {what}")


@law("sum f(a and b) = sum f(a) + sum f(b)", LOSSES, regimes=CALM, reductions=("sum",), min_rows=2)
def split_batches_add_up(s: Subject, call: Call) -> None:
    """Accumulating over micro-batches must train like the whole batch."""
    call = call.rows
    at = (len(call.x) + 1) // 2
    parts = [call.take(slice(None, at)), call.take(slice(at, None))]
    due, size = total(call.result, *(s.value(p) for p in parts))
    whole = s.value(call)
    s.digits(call, "value", whole, np.asarray(due, object), scale=np.asarray(size, object), times=3.0,
             note=" from the sum of two halves")  # fmt: skip
    if s.gradient is not None:
        joined = np.concatenate([s.grad(p) for p in parts])
        s.bits(call, "gradient", s.grad(call), joined, "not the gradients of two halves")


@law(
    "f(z[B, K, H, W]) = f(z[B H W, K]); f(z[K]) = f(z[1, K]); f(a number) = f([a number])[0]",
    SPECS,
    regimes=("plain", "dense"),
    ndims=("1", "3", "4"),
)
def the_class_axis_may_be_anywhere(s: Subject, call: Call) -> None:
    """One example, a batch, an image of labels: the same rows in other places."""
    s.check(call)
    if call.axis is None:
        with may_be_refused():
            # the first number, without an axis
            s.check(call.rows.take(slice(1)).mapped(lambda v: v.reshape(())))
    elif call.options.get("axis") is not None:
        s.check(_by_default(call))


def _by_default(call: Call) -> Call:
    """The same rows, with the classes on the axis that is taken where none is named."""
    bare = call.having(axis=None)
    here, there = call.axis or 0, bare.axis or 0

    def moved(v: Any) -> Any:
        return np.moveaxis(v, here, there) if isinstance(v, np.ndarray) and v.ndim == call.x.ndim else v

    return bare.changed(x=moved(call.x), target=moved(call.target), grad_output=moved(call.grad_output))


@law(
    "logsumexp over several axes = logsumexp over the one axis that they make",
    ("logsumexp",),
    needs=("axis",),
    regimes=("plain", "dense", "masked"),
    without=("grad_output", "keepdims"),
    ndims=("3",),
)
def several_axes_are_one(s: Subject, call: Call) -> None:
    """A partition function sums over more than one index."""
    for axis in (None, (0, 2), (2, -3)):
        for keepdims in (False, True)[: 1 + s.has("keepdims")]:
            s.check(call.changed(options={"axis": axis, **({"keepdims": True} if keepdims else {})}))


@law("f(a view of z) = f(a copy of z)", SPECS, regimes=("plain", "dense"), most=40)
def memory_does_not_matter(s: Subject, call: Call) -> None:
    """A slice, a transpose or a file's byte order is the same array: who reads memory in order reads
    others.
    """
    e = exact(call)
    for name in s.layouts:
        try:
            _check_views(s, call, e, LAYOUTS[name].view, f" of {name} arrays")
        except Broken as broken:
            broken.view = LAYOUTS[name].source
            raise


def _check_views(s: Subject, call: Call, e: Exact, view: Callable[[Any], Any], note: str) -> None:
    arguments = tuple(view(a) for a in call.arguments)
    options = {k: view(v) for k, v in s.options(call).items()}
    came = s.run(call, "value", s.implementation, arguments, options)
    s.digits(call, "value", came, e.value, scale=e.value_scale, least=e.value_least, note=note)
    if s.gradient is not None:
        if call.grad_output is not None:
            options["grad_output"] = view(np.asarray(call.grad_output))
        came = s.run(call, "gradient", s.gradient, arguments, options)
        s.digits(call, "gradient", came, e.grad, scale=e.grad_scale, least=e.grad_least, note=note)


@law(
    "z, y, weight, ... are the same after the call as before",
    SPECS,
    regimes=(*FINITE, "masked"),
    always=("where", "ignore_index"),
)
def inputs_are_not_written_to(s: Subject, call: Call) -> None:
    """A loss that subtracts the maximum in place changes what the next layer, or the next epoch, reads."""
    for each in (call, call.having(where=None)):
        for quantity, f in (("value", s.implementation), ("gradient", s.gradient)):
            if f is not None:
                _check_unchanged(s, each, quantity, f)


def _check_unchanged(s: Subject, call: Call, quantity: str, f: Function) -> None:
    arguments, options = s.arguments(call), s.options(call)
    if quantity == "gradient" and call.grad_output is not None:
        options["grad_output"] = np.array(call.grad_output, order="C")
    s.run(call, quantity, f, arguments, options)
    before = {"x": call.x, "target": call.target, **call.options, "grad_output": call.grad_output}
    after = {**dict(zip(("x", "target"), arguments, strict=False)), **options}
    for name, value in after.items():
        if isinstance(value, np.ndarray):
            check_bits(call, quantity, value, before[name], f"wrote to {name}")


@law("f(z) = f(z), whatever was called in between", SPECS, regimes=FINITE)
def the_same_call_gives_the_same_bits(s: Subject, call: Call) -> None:
    """A result that depends on what ran before cannot be reproduced."""
    came = s.quantities(call)
    first = [(quantity, result.copy()) for quantity, result in came]
    rows = call.rows
    s.quantities(rows.take(np.arange(len(rows.x))[::-1]))
    s.quantities(call.changed(x=np.flip(call.x)))
    for (quantity, before), (_, after) in zip(first, came, strict=True):
        check_bits(call, quantity, after, before, "changed by a later call")
    for _ in range(2):  # what alternates is back after two
        for (quantity, before), (_, after) in zip(first, s.quantities(call), strict=True):
            check_bits(call, quantity, after, before, "not the bits of the first time")


@law(
    "f(z, int8 y) = f(z, int64 y), for every integer dtype (binary: also bool)",
    LOSSES,
    kinds=("index",),
    regimes=CALM,
    small=True,
    without=("dtype",),
    most=12,
)
def labels_may_have_any_integer_dtype(s: Subject, call: Call) -> None:
    """Labels come as uint8 from images, as bool from comparisons, and small integers wrap around."""
    call = call.rows
    n = len(call.x)
    long = call.take(np.arange(129 // n * n + n) % n)  # more than 127 of them
    _in_every_dtype(s, long)
    if call.function != BINARY:  # more than 127 classes, and labels among the last
        K = 256
        o = dict(call.options)
        if o.get("weight") is not None:
            o["weight"] = np.resize(o["weight"], K)
        target = np.where(call.live, K - 1 - call.target, call.target)
        target[-1] = 256 - 100 if call.live[-1] else target[-1]  # -100, where 8 bits hold it
        _in_every_dtype(s, call.changed(x=np.resize(call.x, (n, K)), target=target, options=o))


def _in_every_dtype(s: Subject, call: Call) -> None:
    e = exact(call)
    for name in s.labels:
        target = call.target.astype(name)
        if np.array_equal(target, call.target):
            s.check(call.changed(target=target), e)


@law("f(z of no rows) has no rows", (*ROWS, *ELEMENTWISE), regimes=CALM, ndims=("1", "2"), most=10)
def no_rows_are_no_error(s: Subject, call: Call) -> None:
    """The last shard of a data set, or a mask that lets nothing through, leaves an empty batch."""
    s.check(call.rows.take(slice(0, 0)))


@law(
    "f(integers) = f(the same as float64)",
    SPECS,
    needs=("float64",),
    regimes=("ties",),
    kinds=("index",),
    without=("dtype",),
)
def whole_numbers_are_numbers(s: Subject, call: Call) -> None:
    """People try [0, 50] first, and a buffer that is made like the input cuts its results off."""
    floats = {k: v for k, v in call.options.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"}
    o = {**call.options, **{k: v.astype(np.float64) for k, v in floats.items()}}
    g = None if call.grad_output is None else call.grad_output.astype(np.float64)
    target = call.target.astype(np.float64) if call.function == BINARY else call.target
    whole = (3 * call.x).astype(np.int64) - np.arange(call.x.size).reshape(call.x.shape) % 3
    other = call.changed(x=whole, target=target, options=o, grad_output=g)
    with may_be_refused():
        s.check(other)
