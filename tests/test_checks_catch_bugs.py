"""Every check is tried on implementations that are wrong on purpose, and must reject them.

A law that passes everything proves nothing. `honest` is the exact answer, rounded: all laws accept
it. Each planted bug changes one thing in it (or is one of the naive formulas), and is rejected by
the law named beside it.
"""

from dataclasses import replace
from decimal import localcontext
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import laws
import truth
from laws import (
    BINARY,
    LAWS,
    Call,
    Implementation,
    assert_bitwise,
    assert_refused,
    assert_same,
    assert_ulp,
    exact,
    laws_of,
)
from strategies import calls
from truth import decimals

# ---------------------------------------------------------------------------------------
# an honest implementation: the exact answer, rounded


def _rounded(numbers, dtype):
    with np.errstate(all="ignore"):
        return np.array([float(v) for v in np.ravel(numbers)]).reshape(np.shape(numbers)).astype(dtype)


def honest(name, *, change=None, value=None, grad=None):
    """The exact answer, rounded. `change` edits the call first, `value` and `grad` the results."""

    def prepare(x, target=None, *, grad_output=None, dtype=None, **options):
        x = np.asarray(x)
        result = np.dtype(dtype or x.dtype).newbyteorder("=")
        options = {k: v for k, v in options.items() if v is not None}
        target = None if target is None else np.asarray(target)
        call = Call(name, x, target, options, grad_output)
        return call, result

    def to_value(*args, **options):
        call, dtype = prepare(*args, **options)
        used = change(call) if change else call
        result = _rounded(exact(used).value, dtype)
        result = value(call, result) if value else result
        return result if np.ndim(result) else dtype.type(result)

    def to_grad(*args, out=None, **options):
        call, dtype = prepare(*args, **options)
        used = change(call) if change else call
        result = _rounded(exact(used).grad, dtype)
        result = grad(call, result) if grad else result
        if out is None:
            return result
        out[...] = result
        return out

    def to_both(*args, out=None, **options):
        result = to_value(*args, **options)
        return result, to_grad(*args, out=out, **options)

    return Implementation(name, to_value, to_grad, to_both)


def rejected(law, implementation, **narrow):
    """Whether `law` finds a call that `implementation` breaks."""
    found = []

    @settings(
        max_examples=300, derandomize=True, deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(data=st.data())
    def search(data):
        call = data.draw(calls(implementation.name, **{**narrow, **law.draws}))
        try:
            with np.errstate(all="ignore"):
                law.check(implementation, call)
        except (AssertionError, FloatingPointError, RuntimeWarning) as error:
            found.append(error)
            raise AssertionError("found") from error

    try:
        search()
    except AssertionError:
        assert found
    return bool(found)


ALL = [pytest.param(n, each, id=f"{n}-{each.name}") for n in laws.EVERYTHING for each in laws_of(n)]


@pytest.mark.parametrize(("name", "law"), ALL)
@settings(max_examples=4)
@given(data=st.data())
def test_laws__accept_an_honest_implementation(name, law, data):
    """A law that rejects the exact answer is no law."""
    law.check(honest(name), data.draw(calls(name, **law.draws)))


# ---------------------------------------------------------------------------------------
# planted bugs


def _live(call):
    rows = call.rows
    return rows.live


def _sign(call, grad):
    return -grad


def _missing_mean(call, grad):
    if call.reduction != "mean":
        return grad
    return grad * max(int(np.prod(call.positions)), 1)


def _weight_twice(call):
    w = call.options.get("weight")
    return call if w is None else call.having(weight=np.asarray(w) * w)


def _weight_missing(call):
    return call.having(weight=None)


def _leak(call, grad):
    """Ignored rows get their neighbours' gradient."""
    rows = call.rows
    if call.axis is None:
        dead = ~rows.live.reshape(call.positions)
        grad[dead] = 0.125
        return grad
    moved = np.moveaxis(grad, call.axis, -1)
    moved[~rows.live.reshape(call.positions)] = 0.125
    return grad


def _zero_where(call, grad):
    """0 * NaN: the mask multiplies instead of selecting."""
    rows = call.rows
    broken = ~np.isfinite(rows.x)
    dead = ~rows.live
    if call.axis is None:
        grad.reshape(-1)[broken & dead] = np.nan
    else:
        moved = np.moveaxis(grad, call.axis, -1)
        moved[(broken.any(axis=1) & dead).reshape(call.positions)] = np.nan
    return grad


def _p_minus_one(call, grad):
    """p - 1 at the target: every digit of a confident prediction is lost."""
    rows = call.rows
    if not rows.index or call.options.get("label_smoothing"):
        return grad
    flat = np.ascontiguousarray(np.moveaxis(grad, call.axis, -1)).reshape(rows.x.shape)
    with localcontext(truth.CONTEXT):
        for i in np.flatnonzero(rows.live):
            y = int(rows.target[i])
            rest = float(truth.softmax_row(tuple(decimals(rows.x[i])))[2][y])
            p = grad.dtype.type(1 - rest)
            flat[i, y] *= (1 - p) / grad.dtype.type(rest) if rest > 1e-300 else 0
    flat = flat.reshape(*call.positions, call.x.shape[call.axis])
    return np.moveaxis(flat, -1, call.axis)


def _sigmoid_minus_y(call, grad):
    """sigmoid(z) - y where y is 1: the same loss of digits."""
    with np.errstate(all="ignore"):
        rest = 1 / (1 + np.exp(call.x.astype(float)))
        factor = (1 - (1 - rest).astype(grad.dtype)) / rest
        keep = (np.asarray(call.target) != 1) | (rest < 1e-300)
        return np.where(keep, grad, grad * factor).astype(grad.dtype)


def _plus_eps(call, value):
    """log(p + eps) saturates where a loss is large."""
    with np.errstate(all="ignore"):
        cap = -np.log(np.finfo(np.float32).eps)
        return np.where(np.isnan(value), value, np.minimum(value, cap)).astype(value.dtype)


def _underflow(call, value):
    """log(sum(exp)) without log1p: tiny losses are 0."""
    eps = np.finfo(value.dtype).eps
    return np.where(np.abs(value) < eps / 4, 0, value).astype(value.dtype)


def _batch_denominator(call, value):
    """mean over all positions, not over those that count."""
    if call.reduction != "mean":
        return value
    live = _live(call)
    return (value * (live.sum() / max(live.size, 1))).astype(value.dtype)


def _mean_of_means(call, value):
    """The mean over rows of the mean over columns: wrong as soon as some are ignored."""
    if call.reduction != "mean" or len(call.positions) != 2:
        return value
    losses = exact(call.having(reduction="none")).value
    losses = np.array([[float(v) for v in row] for row in losses]).reshape(call.positions)
    live = call.rows.live.reshape(call.positions)
    rows = [row[keep].mean() for row, keep in zip(losses, live, strict=True) if keep.any()]
    return value.dtype.type(np.mean(rows)) if rows else value


def _s_over_k_minus_one(call):
    """The other convention of smoothing: s / (K - 1) on the other classes."""
    s, K = call.options.get("label_smoothing"), call.rows.x.shape[1]
    if not s or K == 1:
        return call
    return call.having(label_smoothing=min(s * K / (K - 1), 1.0))


def _smoothing_ignores_weight(call):
    if not call.options.get("label_smoothing"):
        return call
    return call.having(weight=None)


def _ignore_inside_only(call):
    """ignore_index outside [0, K) is taken modulo K."""
    ignore = call.options.get("ignore_index", -100)
    if not call.index or 0 <= ignore < call.rows.x.shape[1]:
        return call
    K = call.rows.x.shape[1]
    target = np.where(call.target.astype(object) == ignore, ignore % K, call.target)
    return replace(call, target=target.astype(int))


def _where_forgotten(call):
    return call.having(where=None)


def _where_inverted(call):
    where = call.options.get("where")
    return call if where is None else call.having(where=~np.asarray(where))


def _cotangent_forgotten(call):
    return replace(call, grad_output=None)


def _cotangent_absolute(call):
    g = call.grad_output
    return call if g is None else replace(call, grad_output=np.abs(g))


def _cotangent_in_value(call, value):
    g = call.grad_output
    return value if g is None or np.ndim(g) else (value * g).astype(value.dtype)


def _value_grad_scaled(name):
    """value_and_grad returns a value scaled by grad_output."""
    f = honest(name)

    def both(*args, grad_output=None, out=None, **options):
        value, grad = f.value_and_grad(*args, grad_output=grad_output, out=out, **options)
        return (value if grad_output is None else value * np.asarray(grad_output)), grad

    return replace(f, value_and_grad=both)


def _last_axis_only(name):
    """The class axis is always the last."""
    f = honest(name)

    def last(g):
        def inner(x, target=None, **options):
            axis = options.pop("axis", None)
            x = np.asarray(x)
            axis = (0 if x.ndim == 1 else 1) if axis is None else axis
            if x.shape[axis] == x.shape[-1]:
                axis = -1
            return g(x, target, axis=axis, **options)

        return inner

    return replace(f, value=last(f.value), grad=last(f.grad))


def _softmax_of_batch(call, grad):
    """A row's bits depend on the size of the batch."""
    return grad * grad.dtype.type(1 + np.finfo(grad.dtype).eps * (len(call.rows.x) % 3))


def _wrong_layout(name):
    """Strides are not looked at: the memory is read in order."""
    f = honest(name)

    def read(x):
        x = np.asarray(x)
        return np.ravel(x, order="K").reshape(x.shape)

    return replace(
        f,
        value=lambda x, *a, **o: f.value(read(x), *a, **o),
        grad=lambda x, *a, **o: f.grad(read(x), *a, **o),
    )


def _writes_to_logits(name):
    """The maximum is subtracted in place."""
    f = honest(name)

    def spoil(g):
        def inner(x, *args, **options):
            result = g(x, *args, **options)
            if isinstance(x, np.ndarray) and x.flags.writeable and x.size and "out" not in options:
                x -= x.max()
            return result

        return inner

    return replace(f, value=spoil(f.value), grad=spoil(f.grad))


def _out_late(name):
    """out=logits: the logits are overwritten before they are read a second time."""
    f = honest(name)

    def grad(x, *args, out=None, **options):
        if out is None:
            return f.grad(x, *args, **options)
        out[...] = 0
        return f.grad(x, *args, out=out, **options)

    return replace(f, grad=grad)


def _out_ignored(name):
    f = honest(name)
    return replace(f, grad=lambda *a, out=None, **o: f.grad(*a, **o))


def _nan_spreads(call, grad):
    return np.full_like(grad, np.nan) if np.isnan(grad).any() else grad


def _nan_hidden(call, grad):
    return np.nan_to_num(grad, nan=0.0)


def _impossible_is_large(call, value):
    """-log(p + tiny): an impossible class costs 700, not inf."""
    return np.where(np.isposinf(value), 100, value).astype(value.dtype)


def _masked_nan(call, value):
    """-inf - -inf: a masked class makes NaN."""
    bad = np.isneginf(call.x).any()
    return np.where(bad, np.nan, value).astype(value.dtype) if bad else value


def _offset(call):
    """exp(z) without a shift, clipped: large logits are cut off."""
    return replace(call, x=np.clip(call.x, -500, 500).astype(call.x.dtype))


def _single_precision(call):
    """Everything through float32."""
    with np.errstate(all="ignore"):
        return replace(call, x=call.x.astype(np.float32).astype(call.x.dtype))


def _last_class_halved(call):
    """The last class is special."""
    x = np.moveaxis(call.x.copy(), call.axis, -1)
    x[..., -1] = x[..., -1] * x.dtype.type(0.5)
    return replace(call, x=np.moveaxis(x, -1, call.axis))


def _position_bias(call, value):
    """The first row counts half."""
    if np.ndim(value) and len(value):
        value = value.copy()
        value[0] = value[0] / 2
    return value


def _five_ulp(call, value):
    return value * value.dtype.type(1 + 6 * np.finfo(value.dtype).eps)


def _seven_ulp(call, grad):
    return grad * grad.dtype.type(1 + 16 * np.finfo(grad.dtype).eps)


def _one_entry(call, grad):
    """One entry in a hundred is wrong in its ninth digit, and it is the smallest."""
    if grad.size < 2 or grad.dtype != np.float64:
        return grad
    flat = grad.copy().reshape(-1)
    size = np.abs(flat)
    size[size == 0] = np.inf
    flat[np.argmin(size)] *= 1 + 1e-9
    return flat.reshape(grad.shape)


def _pos_weight_on_both(call):
    """pos_weight multiplies the whole loss."""
    pw = call.options.get("pos_weight")
    if pw is None:
        return call
    w = call.options.get("weight", 1.0)
    return call.having(pos_weight=None, weight=np.broadcast_to(np.multiply(w, pw), call.x.shape))


def _weighted_denominator(call, value):
    """BCE's mean divides by the sum of the weights."""
    w = call.options.get("weight")
    if call.reduction != "mean" or w is None:
        return value
    total = np.broadcast_to(w, call.x.shape)[call.rows.live.reshape(call.x.shape)].sum()
    return value * value.dtype.type(call.rows.live.sum() / total) if total else value


def _plain_denominator(call, value):
    """The weighted mean divides by the number of rows."""
    w = call.options.get("weight")
    if call.reduction != "mean" or w is None or not call.index:
        return value
    rows = call.rows
    if not rows.live.any():
        return value
    total = w[rows.target[rows.live].astype(int)].sum()
    return (value * (total / rows.live.sum())).astype(value.dtype)


def _empty_mean_is_zero(call, value):
    return np.where(np.isnan(value), 0, value).astype(value.dtype)


def _missing_last(call, grad):
    """The last block is not written."""
    flat = grad.copy().reshape(-1)
    if flat.size:
        flat[-1] = 0
    return flat.reshape(grad.shape)


def _transposed_probability(call):
    """Weights are taken in reverse order."""
    w = call.options.get("weight")
    return call if w is None else call.having(weight=np.asarray(w)[::-1])


BUGS = [
    # function, bug, law that finds it, how
    ("cross_entropy", "sign", "gradient_is_exact", {"grad": _sign}),
    ("nll_loss", "sign", "gradient_is_exact", {"grad": _sign}),
    (BINARY, "sign", "gradient_is_exact", {"grad": _sign}),
    ("softmax", "sign", "gradient_is_exact", {"grad": _sign}),
    ("logsumexp", "sign", "gradient_is_exact", {"grad": _sign}),
    ("sigmoid", "sign", "gradient_is_exact", {"grad": _sign}),
    ("cross_entropy", "missing 1/N", "gradient_is_exact", {"grad": _missing_mean}),
    ("nll_loss", "missing 1/N", "gradient_is_exact", {"grad": _missing_mean}),
    (BINARY, "missing 1/N", "gradient_is_exact", {"grad": _missing_mean}),
    ("cross_entropy", "weight twice", "value_is_exact", {"change": _weight_twice}),
    ("cross_entropy", "weight twice", "linear_in_the_weights", {"change": _weight_twice}),
    (BINARY, "weight twice", "linear_in_the_weights", {"change": _weight_twice}),
    ("nll_loss", "weight twice", "linear_in_the_weights", {"change": _weight_twice}),
    ("cross_entropy", "weight missing", "value_is_exact", {"change": _weight_missing}),
    ("cross_entropy", "weights reversed", "permuted_classes", {"change": _transposed_probability}),
    ("cross_entropy", "ignored row leaks", "ignoring_is_dropping", {"grad": _leak}),
    ("nll_loss", "ignored row leaks", "ignoring_is_dropping", {"grad": _leak}),
    (BINARY, "ignored element leaks", "ignoring_is_dropping", {"grad": _leak}),
    ("cross_entropy", "0 * NaN", "ignored_rows_may_hold_anything", {"grad": _zero_where}),
    (BINARY, "0 * NaN", "ignored_rows_may_hold_anything", {"grad": _zero_where}),
    ("cross_entropy", "p - 1", "gradient_is_exact", {"grad": _p_minus_one}),
    (BINARY, "sigmoid - y", "gradient_is_exact", {"grad": _sigmoid_minus_y}),
    ("cross_entropy", "log(p + eps)", "value_is_exact", {"value": _plus_eps}),
    ("cross_entropy", "log(p + eps)", "an_impossible_target_costs_inf", {"value": _plus_eps}),
    ("cross_entropy", "underflow then log", "value_is_exact", {"value": _underflow}),
    ("log_softmax", "underflow then log", "value_is_exact", {"value": _underflow}),
    ("softplus", "underflow then log", "value_is_exact", {"value": _underflow}),
    (BINARY, "underflow then log", "value_is_exact", {"value": _underflow}),
    ("cross_entropy", "mean of means", "value_is_exact", {"value": _mean_of_means}),
    ("nll_loss", "mean of means", "value_is_exact", {"value": _mean_of_means}),
    ("cross_entropy", "ignored in the mean", "ignoring_is_dropping", {"value": _batch_denominator}),
    ("nll_loss", "ignored in the mean", "none_sum_and_mean_agree", {"value": _batch_denominator}),
    (BINARY, "ignored in the mean", "ignoring_is_dropping", {"value": _batch_denominator}),
    ("cross_entropy", "weight not in the mean", "none_sum_and_mean_agree",
     {"value": _plain_denominator}),
    ("nll_loss", "weight not in the mean", "none_sum_and_mean_agree",
     {"value": _plain_denominator}),
    (BINARY, "weight in the mean", "none_sum_and_mean_agree", {"value": _weighted_denominator}),
    (BINARY, "pos_weight on both", "value_is_exact", {"change": _pos_weight_on_both}),
    ("cross_entropy", "s / (K - 1)", "value_is_exact", {"change": _s_over_k_minus_one}),
    ("cross_entropy", "s / (K - 1)", "linear_in_the_smoothing", {"change": _s_over_k_minus_one}),
    ("cross_entropy", "smoothing without weight", "gradient_is_exact",
     {"change": _smoothing_ignores_weight}),
    ("cross_entropy", "ignore_index modulo K", "where_is_ignore_index",
     {"change": _ignore_inside_only}),
    ("cross_entropy", "where forgotten", "ignoring_is_dropping", {"change": _where_forgotten}),
    (BINARY, "where forgotten", "ignoring_is_dropping", {"change": _where_forgotten}),
    (BINARY, "where inverted", "value_is_exact", {"change": _where_inverted}),
    ("nll_loss", "where inverted", "ignoring_is_dropping", {"change": _where_inverted}),
    ("cross_entropy", "cotangent forgotten", "gradient_is_exact",
     {"change": _cotangent_forgotten}),
    ("softmax", "cotangent forgotten", "gradient_is_exact", {"change": _cotangent_forgotten}),
    (BINARY, "cotangent's sign lost", "gradient_is_exact", {"change": _cotangent_absolute}),
    ("log_softmax", "NaN spreads", "nan_stays_in_its_row", {"grad": _nan_spreads}),
    ("cross_entropy", "NaN spreads", "nan_stays_in_its_row", {"grad": _nan_spreads}),
    ("cross_entropy", "NaN hidden", "nan_stays_in_its_row", {"grad": _nan_hidden}),
    ("sigmoid", "NaN hidden", "nan_stays_in_its_row", {"grad": _nan_hidden}),
    ("nll_loss", "impossible is 100", "an_impossible_target_costs_inf",
     {"value": _impossible_is_large}),
    ("logsumexp", "masked class is NaN", "a_masked_class_is_removed", {"value": _masked_nan}),
    ("cross_entropy", "masked class is NaN", "a_masked_class_is_removed", {"value": _masked_nan}),
    ("cross_entropy", "large logits cut off", "shift_invariance", {"change": _offset}),
    ("softmax", "large logits cut off", "shift_invariance", {"change": _offset}),
    ("logsumexp", "large logits cut off", "value_is_exact", {"change": _offset}),
    ("cross_entropy", "float32 inside", "value_is_exact", {"change": _single_precision}),
    ("softmax", "float32 inside", "gradient_is_exact", {"change": _single_precision}),
    ("softmax", "last class halved", "shift_invariance", {"change": _last_class_halved}),
    ("cross_entropy", "last class halved", "permuted_classes", {"change": _last_class_halved}),
    ("cross_entropy", "last class halved", "two_classes_are_binary",
     {"change": _last_class_halved}),
    ("cross_entropy", "first row halved", "permuted_rows", {"value": _position_bias}),
    ("cross_entropy", "first row halved", "a_row_stands_alone", {"value": _position_bias}),
    ("cross_entropy", "bits of the batch", "a_row_stands_alone", {"grad": _softmax_of_batch}),
    (BINARY, "bits of the batch", "split_batches_add_up", {"grad": _softmax_of_batch}),
    ("cross_entropy", "six ulp", "value_is_exact", {"value": _five_ulp}),
    ("softmax", "six ulp", "value_is_exact", {"value": _five_ulp}),
    (BINARY, "sixteen ulp", "gradient_is_exact", {"grad": _seven_ulp}),
    ("cross_entropy", "one small entry off by 1e-9", "gradient_is_exact", {"grad": _one_entry}),
    ("cross_entropy", "one small entry off by 1e-9", "index_is_one_hot", {"grad": _one_entry}),
    ("softplus", "last block not written", "gradient_is_exact", {"grad": _missing_last}),
    ("cross_entropy", "last block not written", "gradient_rows_sum_to_zero",
     {"grad": _missing_last}),
    ("cross_entropy", "empty mean is 0", "value_is_exact", {"value": _empty_mean_is_zero}),
    ("cross_entropy", "value scaled by the cotangent", "value_and_grad_are_value_and_grad",
     _value_grad_scaled),
    (BINARY, "value scaled by the cotangent", "value_and_grad_are_value_and_grad",
     _value_grad_scaled),
    ("cross_entropy", "axis guessed from the shape", "class_axis_anywhere", _last_axis_only),
    ("nll_loss", "axis guessed from the shape", "class_axis_anywhere", _last_axis_only),
    ("cross_entropy", "strides not looked at", "layouts_are_one_array", _wrong_layout),
    ("softmax", "strides not looked at", "layouts_are_one_array", _wrong_layout),
    ("sigmoid", "strides not looked at", "layouts_are_one_array", _wrong_layout),
    ("cross_entropy", "logits written to", "layouts_are_one_array", _writes_to_logits),
    ("log_softmax", "logits written to", "layouts_are_one_array", _writes_to_logits),
    ("cross_entropy", "out= before reading", "out_holds_the_gradient", _out_late),
    ("softmax", "out= before reading", "out_holds_the_gradient", _out_late),
    ("sigmoid", "out= not written", "out_holds_the_gradient", _out_ignored),
]  # fmt: skip


# Rare among all calls, so that finding them there takes long: where to look for these.
NARROW = {
    "mean of means": {"reductions": ("mean",), "ndims": ("3", "last"), "regimes": ["dense"]},
    "underflow then log": {"regimes": ["confident"], "reductions": ("none",)},
    "ignored in the mean": {"reductions": ("mean",), "regimes": ["dense"]},
    "axis guessed from the shape": {"ndims": ("3",), "regimes": ["dense"]},
}


@pytest.mark.parametrize(
    ("name", "bug", "law", "make"),
    [pytest.param(*each, id="-".join(each[:3])) for each in BUGS],
)
def test_laws__reject_the_planted_bug(name, bug, law, make):
    """The bug is found by the law whose sentence describes it."""
    wrong = make(name) if callable(make) else honest(name, **make)
    (found,) = [each for each in laws_of(name) if each.name == law]
    assert rejected(found, wrong, **NARROW.get(bug, {})), f"{law} does not see it"


def test_laws__every_law_has_a_bug_that_it_finds():
    """A law without a bug is not known to work: list the bug, or the reason."""
    known = {law for _, _, law, _ in BUGS}
    others = {
        "certainty_is_free": "test_laws__certainty",
        "ones_as_weight_weigh_nothing": "test_laws__ones",
        "smoothing_zero_is_none": "test_laws__smoothing_zero",
        "twice_the_dtype_is_exact": "test_laws__twice_the_dtype",
    }
    assert {law.name for law in LAWS} == known | set(others)
    for test in others.values():
        assert test in globals()


def _law(name, law):
    return next(each for each in laws_of(name) if each.name == law)


def test_laws__certainty():
    """A loss of one class that is not exactly 0 is seen."""
    wrong = honest("cross_entropy", value=lambda call, value: value + value.dtype.type(1e-7))
    assert rejected(_law("cross_entropy", "certainty_is_free"), wrong)


def test_laws__ones():
    """A weight that is normalized by K is seen."""

    def change(call):
        w = call.options.get("weight")
        return call if w is None else call.having(weight=np.asarray(w) / 2)

    for name in ("cross_entropy", BINARY, "nll_loss"):
        wrong = honest(name, change=change)
        assert rejected(_law(name, "ones_as_weight_weigh_nothing"), wrong)


def test_laws__smoothing_zero():
    """A default that smooths is seen."""

    def change(call):
        return call if "label_smoothing" in call.options else call.having(label_smoothing=0.1)

    wrong = honest("cross_entropy", change=change)
    assert rejected(_law("cross_entropy", "smoothing_zero_is_none"), wrong)


def test_laws__twice_the_dtype():
    """A float64 answer that was computed in float32 is seen."""

    def through_float32(call, result):
        return result.astype(np.float32).astype(result.dtype)

    wrong = honest("softmax", value=through_float32, grad=through_float32)
    assert rejected(_law("softmax", "twice_the_dtype_is_exact"), wrong)


# ---------------------------------------------------------------------------------------
# the checkers themselves


def test_assert_ulp__sees_what_it_should():
    """One test a branch of the comparison that all others stand on."""
    one = decimals(1.0)
    eps = np.finfo(float).eps
    assert_ulp("softmax", np.float64(1 + 4 * eps), one)
    for wrong in (1 + 5 * eps, 1 - 5 * eps, 0.0, -1.0, np.nan, np.inf):
        with pytest.raises(AssertionError):
            assert_ulp("softmax", np.float64(wrong), one)
    for value in (np.nan, np.inf, -np.inf, 0.0):
        assert_ulp("softmax", np.float64(value), decimals(value))
        with pytest.raises(AssertionError):
            assert_ulp("softmax", np.float64(1), decimals(value))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(-np.inf), decimals(np.inf))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(1e-300), decimals(0.0))
    assert_ulp("softmax", np.float64(1e-17), decimals(0.0), scale=one)
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(1e-15), decimals(0.0), scale=one)
    with pytest.raises(AssertionError, match="shape"):
        assert_ulp("softmax", np.ones(2), decimals(np.ones(3)))
    with pytest.raises(KeyError):
        assert_ulp("a_function_without_a_limit", np.float64(1), one)
    # half precision rounds once
    assert_ulp("softmax", np.float16(1), decimals(1 + 2.0**-11))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float16(1), decimals(1 + 2.0**-10))
    # beyond the largest number
    assert_ulp("softmax", np.float32(np.inf), decimals(1e39))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float32(1), decimals(1e39))
    # below the normal numbers only smallness is promised, and it is
    assert_ulp("softmax", np.float64(0), decimals(1e-310))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(1e-300), decimals(1e-310))


def test_assert_bitwise__sees_what_it_should():
    """NaN is NaN, 0 is not -0, float32 is not float64."""
    assert_bitwise(np.array([np.nan, 0.0]), np.array([np.nan, 0.0]))
    for other in (np.array([0.0]), np.array([-0.0, 1]), np.float32([0, 1]), np.array([0, np.nan])):
        with pytest.raises(AssertionError):
            assert_bitwise(np.array([0.0, 1.0]), other)


def test_assert_same__allows_two_roundings_and_no_third():
    """Two results of one number are each within the limit."""
    eps = np.finfo(float).eps
    assert_same("softmax", np.float64(1 + 8 * eps), np.float64(1))
    with pytest.raises(AssertionError):
        assert_same("softmax", np.float64(1 + 9 * eps), np.float64(1))


def test_assert_refused__sees_a_written_out_and_a_missing_word():
    """The error tests would pass on anything that raises otherwise."""
    z = np.zeros((2, 3))

    def grad(x, *args, out=None, **options):
        out[...] = 0
        raise ValueError("reduction must be none, mean or sum")

    def refuse(*args, **options):
        raise ValueError("reduction must be none, mean or sum")

    late = Implementation("cross_entropy", refuse, grad, refuse)
    with (
        mock.patch.object(laws, "package", return_value=late),
        pytest.raises(AssertionError, match="written"),
    ):
        assert_refused("cross_entropy", ValueError, ["reduction"], z, [0, 1])
    plain = Implementation("cross_entropy", refuse, refuse, refuse)
    with mock.patch.object(laws, "package", return_value=plain):
        assert_refused("cross_entropy", ValueError, ["reduction"], z, [0, 1])
        with pytest.raises(AssertionError, match="weight"):
            assert_refused("cross_entropy", ValueError, ["weight"], z, [0, 1])
    silent = Implementation("cross_entropy", *[lambda *a, **o: None] * 3)
    with (
        mock.patch.object(laws, "package", return_value=silent),
        pytest.raises(pytest.fail.Exception),
    ):
        assert_refused("cross_entropy", ValueError, [], z, [0, 1])
