"""Laws about digits: against the definition, where they are easily lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossent import exact as definitions
from crossent.testing._calls import BINARY, ELEMENTWISE, ROWS, Call
from crossent.testing._differences import numerical_grad
from crossent.testing._laws import law
from crossent.testing._subject import Subject
from crossent.testing._truth import ZERO, decimal, decimals, exact

FINITE = ("plain", "dense", "ties", "confident", "wide", "offset", "tiny", "edges")
CALM = ("plain", "dense", "ties")
NORMALIZED = ("cross_entropy", "softmax", "log_softmax")


@law("f(z) = definition(z), within 4 ulp", mode="digits", regimes=FINITE)
def value_is_the_definition(s: Subject, call: Call) -> None:
    """A reference, or a loss that is logged and compared, is as good as its last right digit."""
    s.check_value(call)


@law(
    "grad f(z) = derivative of the definition at z, within 6 ulp",
    mode="digits",
    gradient=True,
    regimes=FINITE,
)
def gradient_is_the_definition(s: Subject, call: Call) -> None:
    """Training follows every entry of the gradient, and near convergence the smallest ones."""
    s.check_grad(call)


@law(
    "grad f(z)[k] = (definition(z + h e[k]) - definition(z - h e[k])) / 2h, h = 1e-13",
    gradient=True,
    regimes=CALM,
    small=True,
    ndims=("1", "2"),
    without=("dtype", "keepdims"),
)
def gradient_is_the_slope(s: Subject, call: Call) -> None:
    """A gradient that is not the slope of its loss trains something else: differences of the
    definition tell.
    """
    definition = getattr(definitions, call.function)

    def f(x: Any, digits: int) -> Any:
        return definition(x, *call.arguments[1:], **call.options, digits=digits)

    slope = numerical_grad(f, call.x, grad_output=call.grad_output, digits=45).value
    e = exact(call)
    unknown = np.frompyfunc(lambda *values: any(v.is_nan() for v in values), 2, 1)(slope, e.grad)
    due = np.where(unknown.astype(bool), e.grad, slope)
    came = s.grad(call)
    s.digits(call, "gradient", came, due, scale=e.grad_scale, least=e.grad_least, note=" from the slope")


@law(
    "f(z, argmax z) = log1p(sum of exp(z[k] - max z)) > 0, also where 1 - p rounds to 0",
    (*ROWS, *ELEMENTWISE, "cross_entropy", BINARY),
    regimes=("confident",),
    without=("label_smoothing",),
    mode="half",
)
def confident_predictions_keep_their_digits(s: Subject, call: Call) -> None:
    """Late in training most predictions are right and sure, and log(1 - tiny) and p - 1 round to 0."""
    x = call.x
    if call.function in ELEMENTWISE:
        s.check(call.changed(x=np.abs(x)))
        call = call.changed(x=-np.abs(x))
    elif call.function == BINARY:
        call = call.changed(target=(x > 0).astype(call.target.dtype))
    else:
        call = call.rows
        top = call.x.argmax(axis=1)
        if call.function == "logsumexp":
            call = call.changed(x=call.x - call.x.max(axis=1, keepdims=True))
        elif call.function == "cross_entropy" and call.index:
            call = call.changed(target=np.where(call.live, top, call.target))
        elif call.function == "cross_entropy":
            hot = np.arange(call.x.shape[1]) == top[:, np.newaxis]
            call = call.changed(target=hot.astype(call.target.dtype))
    s.check(call)


@law(
    "f(z, argmin z) = max z - min z + ..., also where p rounds to 0",
    ("log_softmax", "softplus", "log_sigmoid", "cross_entropy", BINARY),
    regimes=("confident", "edges"),
    without=("label_smoothing",),
)
def wrong_predictions_cost_their_margin(s: Subject, call: Call) -> None:
    """Early in training predictions are wrong and sure: p underflows to 0, and its logarithm is inf."""
    if call.function in ELEMENTWISE:
        sign = 1 if call.function == "softplus" else -1
        call = call.changed(x=sign * np.abs(call.x))
    elif call.function == BINARY:
        call = call.changed(target=(call.x <= 0).astype(call.target.dtype))
    elif call.function == "cross_entropy":
        call = call.rows
        bottom = call.x.argmin(axis=1)
        hot = np.arange(call.x.shape[1]) == bottom[:, np.newaxis]
        target = np.where(call.live, bottom, call.target) if call.index else hot.astype(call.target.dtype)
        call = call.changed(target=target)
    s.check(call)


@law(
    "f(z + c) = f(z) (logsumexp: c + f(z)), c from 1e0 to 1e36",
    (*ROWS, "cross_entropy"),
    regimes=("offset",),
)
def a_common_offset_changes_nothing(s: Subject, call: Call) -> None:
    """Logits drift together in training; exp of them overflows, and z - logsumexp(z) cancels."""
    s.check(call)


@law("sum_k grad f(z)[k] = 0", NORMALIZED, gradient=True, regimes=FINITE)
def gradient_rows_sum_to_zero(s: Subject, call: Call) -> None:
    """Softmax does not see a shift of all logits: a gradient along it moves the logits for nothing."""
    call = call.rows
    e = exact(call)
    grad = s.grad(call)
    # each entry may be off by its limit, in ulps that are at most eps of its size
    for i, (row, scale) in enumerate(zip(grad, e.grad_scale, strict=True)):
        size = sum(scale, ZERO) + decimal(np.finfo(call.result).tiny) * len(row)
        if size.is_finite() and abs(size) < decimal(np.finfo(call.result).max) / 4:
            rest = np.asarray(sum(decimals(row), ZERO), object)
            zero = np.asarray(ZERO, object)
            s.digits(call, "gradient", rest, zero, scale=2 * size, note=f" in the sum of row {i}")


@law("sum_k softmax(z)[k] = 1", ("softmax",), regimes=FINITE)
def probabilities_sum_to_one(s: Subject, call: Call) -> None:
    """What is no distribution cannot be sampled from, nor be compared with one."""
    call = call.rows
    for i, row in enumerate(s.value(call)):
        total = np.asarray(sum(decimals(np.ravel(row)), ZERO), object)
        one = np.asarray(decimal(1), object)
        s.digits(call, "value", total, one, scale=one, times=2.0, note=f" in the sum of row {i}")


@law("log_sigmoid(x) = -softplus(-x), sigmoid(x) = 1 - sigmoid(-x)", ELEMENTWISE, regimes=FINITE)
def a_sign_is_a_reflection(s: Subject, call: Call) -> None:
    """Yes and no are names: a loss of one that is better than that of the other is biased."""
    mirrored = call.changed(x=-call.x)
    s.check_value(mirrored)
    if call.function == "sigmoid":
        came = s.value(call).astype(np.float64) + s.value(mirrored)
        one = np.full(call.x.shape, decimal(1), object)
        s.digits(call, "value", came, one, scale=one, times=3.0, note=" plus that of -x")
        return
    partner = "softplus" if call.function == "log_sigmoid" else "log_sigmoid"
    e = exact(Call(partner, -call.x))
    s.digits(call, "value", s.value(call), -e.value, scale=e.value_scale, least=e.value_least)


@law("f([z]) = 0 and its gradient is 0 (softmax: 1)", NORMALIZED, regimes=FINITE)
def one_class_is_certain(s: Subject, call: Call) -> None:
    """With one class there is nothing to predict, and nothing to learn."""
    call = call.rows
    o = dict(call.options)
    o.pop("ignore_index", None)
    if o.get("weight") is not None:
        o["weight"] = o["weight"][:1]
    target, g = call.target, call.grad_output
    if call.function == "cross_entropy":
        target = np.zeros(len(call.x), np.int64) if call.index else np.ones((len(call.x), 1), target.dtype)
    elif g is not None:
        g = g[:, :1]
    s.check(call.changed(x=call.x[:, :1], target=target, options=o, grad_output=g))
