"""Laws about options: weights, ignored positions, smoothing, reductions, cotangents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from crossent.testing._calls import BINARY, CLASS_LOSSES, LOSSES, OPTIONS, SPECS, Call
from crossent.testing._compare import Broken, at_least, may_be_refused, show, total
from crossent.testing._laws import law
from crossent.testing._laws_digits import CALM, FINITE
from crossent.testing._laws_sizes import in_dtype
from crossent.testing._subject import Function, Subject
from crossent.testing._truth import ZERO, decimal, decimals, exact


@law(
    "f(z, one_hot(y)) = f(z, y)",
    ("cross_entropy",),
    needs=("probabilities",),
    kinds=("index",),
    regimes=FINITE,
)
def an_index_is_a_one_hot_target(s: Subject, call: Call) -> None:
    """Mixed labels become one-hot at the ends: two paths for one loss drift apart."""
    call = call.rows
    call = call.take(call.live).having(ignore_index=None, where=None)
    if call.reduction == "mean":  # the two divide by other things
        call = call.having(weight=None)
    hot = np.arange(call.x.shape[1]) == call.target[:, np.newaxis]
    s.check(call.changed(target=hot.astype(call.x.dtype)), exact(call))


@law(
    "cross_entropy([0, z], y) = binary_cross_entropy_with_logits(z, y)",
    ("cross_entropy", BINARY),
    kinds=("index",),
    regimes=FINITE,
    without=("weight", "pos_weight", "label_smoothing"),
)
def two_classes_are_a_binary_question(s: Subject, call: Call) -> None:
    """A softmax over two classes is the sigmoid of their difference: the two losses must agree."""
    call = call.rows
    o = {k: v for k, v in call.options.items() if k in ("reduction", "where", "dtype")}
    if call.function == BINARY:
        pair = np.stack([np.zeros_like(call.x), call.x], axis=1)
        y = call.target.astype(np.int64)
        e = exact(Call("cross_entropy", pair, y, o, call.grad_output))
        grad, scale, least = e.grad[:, 1], e.grad_scale[:, 1], e.grad_least[:, 1]
    else:
        z = call.x[:, 0]
        y = (np.arange(len(z)) % 2).astype(np.int64)
        e = exact(Call(BINARY, z, y.astype(np.float64), o, call.grad_output))
        call = call.changed(x=np.stack([np.zeros_like(z), z], axis=1), target=y, options=o)
        grad, scale, least = e.of("gradient")
    s.digits(call, "value", s.value(call), e.value, scale=e.value_scale, least=e.value_least)
    if s.gradient is not None:
        came = s.grad(call)
        one = came if call.function == BINARY else came[:, 1]
        s.digits(call, "gradient", one, grad, scale=scale, least=least, note=" with respect to z")


@law("f(weight=ones) = f()", LOSSES, needs=("weight|pos_weight",), regimes=FINITE)
def a_weight_of_one_is_none(s: Subject, call: Call) -> None:
    """A weighted loss is tried first with all weights 1, and must change nothing."""
    plain = call.having(weight=None, pos_weight=None)
    K = call.x.shape[-1:] if call.axis is None else (call.x.shape[call.axis],)
    ones = {n: np.ones(K, call.x.dtype) for n in ("weight", "pos_weight") if s.has(n)}
    s.check(plain.having(**ones), exact(plain))


@law(
    "f(weight=w + v) = f(weight=w) + f(weight=v) for sums; f(weight=c w) = c f(weight=w), "
    "or f(weight=w) for a weighted mean, for c = 2 and -1",
    LOSSES,
    needs=("weight",),
    regimes=("plain", "dense"),
)
def the_loss_is_linear_in_the_weights(s: Subject, call: Call) -> None:
    """A class that weighs twice counts as if it had come twice."""
    K = call.x.shape[-1] if call.axis is None else call.x.shape[call.axis]
    w = np.resize([1.0, 0.5, 2.0, 0.25], K).astype(call.x.dtype)
    base = call.having(weight=w)
    e = exact(base)
    same = call.reduction == "mean" and call.index and call.function in CLASS_LOSSES
    for c in (2, -1):
        k = decimal(1 if same else c)
        sizes = {"value_scale": e.value_scale * abs(k), "grad_scale": e.grad_scale * abs(k)}
        scaled = replace(e, value=e.value * k, grad=e.grad * k, **sizes)
        s.check(call.having(weight=w * w.dtype.type(c)), scaled)
    if call.reduction == "mean":
        return
    v = w[::-1] + call.x.dtype.type(0.5)
    due, size = total(call.result, s.value(base), s.value(call.having(weight=v)))
    both = call.having(weight=w + v)
    size = np.maximum(size, exact(both).value_scale)  # the losses may have both signs, and cancel
    s.digits(both, "value", s.value(both), due, scale=size, times=3.0)


@law(
    "f(s) = (1 - s) f(0) + s f(1), f(1) = mean_k w[k] (-log p[k])",
    ("cross_entropy",),
    needs=("label_smoothing",),
    regimes=CALM,
    reductions=("none", "sum"),
)
def the_loss_is_linear_in_the_smoothing(s: Subject, call: Call) -> None:
    """Smoothing mixes the loss with that of the uniform distribution: s / K each, the target's own
    included.
    """
    values = [s.value(call.having(label_smoothing=v)) for v in (0.0, 0.25, 0.5, 1.0)]
    zero, one = decimals(values[0]), decimals(values[-1])
    for part, came in zip((0.25, 0.5), values[1:-1], strict=True):
        due = np.asarray(zero * (1 - decimal(part)) + one * decimal(part), object)
        smoothed = call.having(label_smoothing=part)
        s.digits(smoothed, "value", came, due, scale=at_least(abs(due), call.result), times=3.0)
    plain = call.having(label_smoothing=None)
    s.check(call.having(label_smoothing=0.0), exact(plain))
    s.check(call.having(label_smoothing=1.0))


@law(
    "f(z, c q) = c f(z, q) for c = 1/2, 1/4, 2, 0 of each row; and the same for the gradient",
    ("cross_entropy",),
    needs=("probabilities",),
    kinds=("probability",),
    regimes=CALM,
)
def probabilities_are_taken_as_they_are(s: Subject, call: Call) -> None:
    """Masked or mixed labels need not sum to 1: to normalize them, to take p - q for the gradient, or not to
    count a row of zeros weighs them anew.
    """
    call = call.rows
    part = np.resize([0.5, 0.0, 2.0, 1.0, 0.25], len(call.x)).astype(call.target.dtype)
    call = call.changed(target=call.target * part[:, np.newaxis])
    s.check(call)
    s.check(call.having(weight=None, label_smoothing=None))


@law(
    "f(z, 1, pos_weight=w) = w f(z, 1); f(z, 0, pos_weight=w) = f(z, 0)",
    (BINARY,),
    needs=("pos_weight",),
    regimes=FINITE,
    always=("pos_weight",),
    without=("weight",),
)
def pos_weight_is_of_the_answer_yes(s: Subject, call: Call) -> None:
    """A rare answer is weighed up: on the other answer, or on both, the weight does the opposite, or
    nothing.
    """
    for answer in (1, 0):
        s.check(call.changed(target=np.full_like(call.target, answer)))


@law(
    "sum = sum of none; mean = sum / (sum of w[y] over what counts; probabilities and binary: the count)",
    LOSSES,
    needs=("reduction",),
    regimes=CALM,
    always=("where",),
    without=("dtype", "grad_output"),
)
def none_sum_and_mean_agree(s: Subject, call: Call) -> None:
    """Other denominators are the most common way for two losses to differ, by a learning rate."""
    rows = call.rows
    share = rows.live.astype(np.float64)
    w = rows.options.get("weight")
    if call.index and call.function in CLASS_LOSSES and w is not None:
        share = np.where(rows.live, w[np.where(rows.live, rows.target, 0)], 0)
    due, size = (sum(np.ravel(v), ZERO) for v in total(call.result, s.value(call.having(reduction="none"))))
    summed, mean = call.having(reduction="sum"), call.having(reduction="mean")
    s.digits(summed, "value", s.value(summed), due, scale=size, times=3.0,
             note=" from the sum of the losses")  # fmt: skip
    weight = sum(decimals(share), ZERO)
    came = s.value(mean)
    if weight:
        s.digits(mean, "value", came, due / weight, scale=size / weight, times=3.0,
                 note=" from the sum of the losses, divided by what counts")  # fmt: skip


@law(
    "f(option=a) = f(option=a broadcast to the positions' shape)",
    LOSSES,
    needs=("where|pos_weight",),
    regimes=("plain", "dense"),
    ndims=("2", "3"),
    square=True,
)
def smaller_options_are_broadcast(s: Subject, call: Call) -> None:
    """A mask of columns that is taken for one of rows fits, as long as there are as many of both."""
    call = call.having(where=None)
    names = [n for n in ("where", "weight", "pos_weight") if s.has(n)]
    shape = call.positions
    for name in names if call.function == BINARY else names[:1] if "where" in names else []:
        for smaller in dict.fromkeys([shape[1:], (*shape[:-1], 1), (1, *shape[1:])]):
            some = np.resize([1, 0, 2], smaller).astype(bool if name == "where" else call.x.dtype)
            s.check(call.having(**{name: some}))


@law(
    "f(z, y) over a batch = f over the positions that count; loss and gradient are 0 at the others",
    LOSSES,
    needs=("where|ignore_index",),
    regimes=FINITE,
    always=("where", "ignore_index"),
)
def ignored_is_dropped(s: Subject, call: Call) -> None:
    """Padding that still counts in the mean scales the loss of every short sequence."""
    call = call.rows
    live = call.live
    kept = call.take(live).having(where=None)
    e = exact(kept)
    value = s.value(call)
    if call.reduction == "none":
        _all_zero(call, "value", value, ~live)
        value = value[live]
    s.digits(call, "value", value, e.value, scale=e.value_scale, least=e.value_least, note=" of what counts")
    if s.gradient is not None:
        grad = s.grad(call)
        _all_zero(call, "gradient", grad, ~live)
        s.digits(call, "gradient", grad[live], e.grad, scale=e.grad_scale, least=e.grad_least,
                 note=" of what counts")  # fmt: skip


def _all_zero(call: Call, quantity: str, came: np.ndarray, ignored: np.ndarray) -> None:
    wrong = came[ignored] != 0
    if np.any(wrong):
        raise Broken(call, quantity, "not 0 where ignored", show(came[ignored][wrong].flat[0]), "0")


@law(
    "f(z, y) does not see z[i], y[i] of an ignored position i",
    LOSSES,
    needs=("where|ignore_index",),
    regimes=CALM,
    always=("where", "ignore_index"),
)
def ignored_positions_may_hold_anything(s: Subject, call: Call) -> None:
    """Padding is uninitialized memory: 0 * NaN is NaN, and one such row poisons a whole update."""
    call = call.rows
    e = exact(call)
    dead = ~call.live
    x, target = call.x.copy(), call.target.copy()
    x[dead] = np.resize([np.nan, np.inf, -np.inf], x[dead].shape)
    if call.options.get("where") is not None:
        off = ~call.options["where"]
        anything = [np.nan, np.inf, 7.0] if target.dtype.kind == "f" else [9999, -7]
        target[off] = np.resize(anything, target[off].shape)
    s.check(call.changed(x=x, target=target), e)


@law(
    "mean over nothing is NaN, sum over nothing is 0; gradient: 0 at ignored positions",
    LOSSES,
    regimes=FINITE,
    of_nothing=True,
)
def the_mean_of_nothing_is_nan(s: Subject, call: Call) -> None:
    """A batch of padding alone happens at the end of an epoch: a loss of 0 would look like success."""
    call = call.rows
    empty = [call.take(slice(0, 0))]
    if s.has("where"):
        empty.append(call.having(where=np.zeros(len(call.x), bool)))
    if call.function in CLASS_LOSSES:
        if s.has("ignore_index"):
            ignore = call.options.get("ignore_index", -100)
            empty.append(call.changed(target=np.full_like(call.target, ignore)))
        if s.has("weight"):
            empty.append(call.having(weight=np.zeros(call.x.shape[1], call.x.dtype)))
    for each in empty:
        s.check(each)


@law("f(option=its default) = f()", SPECS, regimes=CALM)
def defaults_are_the_contracts(s: Subject, call: Call) -> None:
    """A default that differs is the difference that nobody wrote down."""
    names = [n for n in OPTIONS[call.function] if s.has(n)]
    bare = call.having(**dict.fromkeys(n for n in names if n != "axis"))
    if bare.reduction == "mean" and call.function in LOSSES and bare.grad_output is not None:
        bare = bare.changed(grad_output=np.asarray(bare.grad_output).ravel()[:1].reshape(()))
    if call.function in CLASS_LOSSES and bare.index:
        # class 0 may have been the ignored one, and what is out of range was
        bare = bare.changed(target=np.where(call.target == -100, -100, np.clip(call.target, 0, 1)))
        if call.x.shape[call.axis or 0] < 2 or (not s.has("ignore_index") and np.any(bare.target < 0)):
            return
    if call.function == "logsumexp" and bare.grad_output is not None:
        bare = bare.changed(grad_output=None)
    s.check(bare)
    for name in names:
        if name != "axis":
            default = OPTIONS[call.function][name]
            s.check(bare.changed(options={**bare.options, name: default}), exact(bare))


@law(
    "grad f(z, grad_output=g) = derivative of sum(g f(z)); g = 1 is none, a smaller g is broadcast",
    SPECS,
    needs=("grad_output",),
    gradient=True,
    regimes=("plain", "dense", "confident"),
    always=("grad_output",),
)
def the_cotangent_is_multiplied_in(s: Subject, call: Call) -> None:
    """A loss is seldom the end of a program: what comes from above has a sign, a size and a position."""
    s.check_grad(call)
    e = exact(call.changed(grad_output=None))
    s.check_grad(call.changed(grad_output=np.ones_like(call.grad_output)), e)
    g = np.asarray(call.grad_output)
    for smaller in [g[:1], g[..., :1]][: g.ndim] if g.ndim else []:
        due = exact(call.changed(grad_output=np.broadcast_to(smaller, g.shape)))
        with may_be_refused():
            s.check_grad(call.changed(grad_output=smaller), due)


@law(
    "dtype=float64 of float32 logits: the float64 answer in float64, and the other way round; "
    "without: the logits' dtype, whatever that of the weights",
    ("softmax", "log_softmax", "cross_entropy", BINARY),
    needs=("dtype",),
    regimes=FINITE,
)
def the_dtype_is_the_one_asked_for(s: Subject, call: Call) -> None:
    """Half of a program in float64 by accident is twice the memory; a float64 that was a float32 has 7
    digits.
    """
    call = call.having(dtype=None)
    _check_dtype(s, call)
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    with may_be_refused():  # weights of another dtype
        _check_dtype(s, in_dtype(call, double if call.x.dtype == single else single).changed(x=call.x))
    if call.x.dtype == single:
        _check_dtype(s, call.having(dtype=np.float64))
    elif call.x.dtype == double:
        held = call.changed(x=np.clip(call.x, -1e30, 1e30))
        both = in_dtype(in_dtype(held, single), double)  # the same in both
        _check_dtype(s, both.having(dtype=np.float32))


def _check_dtype(s: Subject, call: Call) -> None:
    typed: list[bool] = []

    def noted(f: Function) -> Function:
        def called(*arguments: Any, **options: Any) -> Any:
            result = f(*arguments, **options)
            typed.append(hasattr(result, "dtype"))  # Python's numbers have none
            return result

        return called

    gradient = None if s.gradient is None else noted(s.gradient)
    seen = replace(s, implementation=noted(s.implementation), gradient=gradient)
    for (quantity, came), has_dtype in zip(seen.quantities(call), typed, strict=True):
        if has_dtype and came.dtype.newbyteorder("=") != call.result:
            raise Broken(call, quantity, "another dtype", str(came.dtype), str(call.result))
    s.check(call)
