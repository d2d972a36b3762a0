"""nll_loss and its gradient: page 3. Picking, weights, ignoring."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from crossent import _reduction, log_softmax, nll_loss, nll_loss_grad, nll_loss_value_and_grad
from laws import (
    Call,
    assert_bitwise,
    assert_gradient_is_the_slope,
    assert_refused,
    assert_ulp,
    assert_value_is_the_definition,
    exact,
    laws_of,
    package,
    silence,
)
from strategies import LAYOUTS, calls, in_layout
from test_lse import NOT_NUMBERS, bad_outs

nan, inf = np.nan, np.inf
NAME = "nll_loss"


def naive_nll_loss(lp, y):
    """The formula without options."""
    return -lp[np.arange(len(y)), y]


LP = np.log(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]))

# ---------------------------------------------------------------------------------------
# values


@given(data=st.data())
def test_nll_loss__values_are_the_definition(data):
    """`crossent.exact` is the definition; the package may not be another one."""
    call = data.draw(calls(NAME, regimes=["plain", "wide", "ties"]))
    assert_value_is_the_definition(package(NAME), call)


def test_nll_loss__picks():
    """Without options a loss is minus the log-probability of the class, and nothing is computed."""
    y = np.array([0, 1, 2, 0])
    assert_bitwise(nll_loss(LP, y, reduction="none"), naive_nll_loss(LP, y))


def test_nll_loss__mean_divides_by_the_counted_weights():
    """The weighted mean's denominator is the weight of the targets, not the batch."""
    w = np.array([1.0, 2.0, 4.0])
    lp = -np.array([[1.0, 9, 9], [9, 2.0, 9], [9, 9, 3.0]])
    assert nll_loss(lp, [0, 1, 2], weight=w) == (1 + 4 + 12) / 7
    assert nll_loss(lp, [0, 1, 2], weight=w, reduction="sum") == 17
    assert nll_loss(lp, [0, 1, 2]) == 2


def test_nll_loss__ignored_rows_do_not_move_the_mean():
    """A padded batch has the same loss as the batch without padding."""
    lp = -np.array([[1.0, 9, 9], [9, 2.0, 9], [9, 9, 3.0]])
    assert nll_loss(lp, [0, -100, 2]) == 2
    assert nll_loss(lp, [0, 1, 2], ignore_index=1) == 2
    assert nll_loss(lp, [0, 1, 2], where=[True, False, True]) == 2
    assert nll_loss(lp, [0, 1, 2], where=[True, True, False], ignore_index=1) == 1


def test_nll_loss__of_log_softmax_is_cross_entropy():
    """The two-step way, for those who need the log-probabilities anyway."""
    z = np.random.default_rng(0).normal(size=(5, 4))
    y = np.array([0, 3, 1, 1, 2])
    e = exact(Call("cross_entropy", z, y, {}))
    assert_ulp("nll_loss", nll_loss(log_softmax(z), y), e.value, times=2)


# ---------------------------------------------------------------------------------------
# special values


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("row", "y", "options", "loss"),
    [
        ([-inf, 0.0], 0, {}, inf),
        ([-inf, 0.0], 1, {}, 0.0),
        ([nan, -1.0], 0, {}, nan),
        ([nan, -1.0], 1, {}, 1.0),
        ([-1.0, -2.0], -100, {}, 0.0),
        ([nan, nan], -100, {}, 0.0),
        ([nan, inf], 1, {"ignore_index": 1}, 0.0),
        ([nan, inf], 7, {"where": False}, 0.0),
        ([-inf, -1.0], 0, {"weight": [0.0, 1.0]}, 0.0),
        ([nan, -1.0], 0, {"weight": [0.0, 1.0]}, nan),
        ([-inf, -1.0], 0, {"weight": [2.0, 1.0]}, inf),
        ([3.0, -1.0], 0, {}, -3.0),
        ([inf, -1.0], 0, {}, -inf),
    ],
)
def test_nll_loss__special_values(row, y, options, loss, dtype):
    """What a single position costs, where arithmetic has opinions of its own."""
    lp = np.array([[-1, -1], row, [-1, -1]], dtype)
    if "where" in options:
        options = {"where": [True, False, True]}
    fill = 1 if options.get("ignore_index") != 1 else 0
    with silence():
        losses = nll_loss(lp, [fill, y, fill], reduction="none", **options)
    np.testing.assert_array_equal(losses[1], np.array(loss, dtype))
    assert np.all(np.isfinite(losses[[0, 2]]))


@pytest.mark.parametrize(
    ("lp", "target", "options"),
    [
        (LP, np.full(4, -100), {}),
        (LP, np.zeros(4, int), {"ignore_index": 0}),
        (LP, np.zeros(4, int), {"where": False}),
        (LP, np.zeros(4, int), {"where": np.zeros(4, bool)}),
        (LP, np.zeros(4, int), {"weight": [0.0, 1.0, 1.0]}),
        (np.zeros((0, 3)), np.zeros(0, int), {}),
        (np.zeros((0, 3, 2)), np.zeros((0, 2), int), {}),
        (np.zeros((2, 3, 0)), np.zeros((2, 0), int), {}),
    ],
)
def test_nll_loss__of_nothing(lp, target, options):
    """The mean of nothing is NaN, its sum is 0, and neither is worth a warning."""
    with silence():
        assert np.isnan(nll_loss(lp, target, **options))
        assert nll_loss(lp, target, reduction="sum", **options) == 0
        assert np.all(nll_loss(lp, target, reduction="none", **options) == 0)
        grad = nll_loss_grad(lp, target, **options)
        assert grad.shape == lp.shape
        if "weight" in options:
            assert np.all(np.isnan(grad[:, 0]))
        else:
            assert np.all(grad == 0)
        assert np.all(nll_loss_grad(lp, target, reduction="sum", **options) == 0)


def test_nll_loss__gradient_of_a_mean_of_nothing_is_nan_where_it_counts():
    """Weights of 0 count nothing: NaN at the picked entries, exactly 0 in ignored rows."""
    with silence():
        grad = nll_loss_grad(LP, [0, -100, 0, 0], weight=[0.0, 1, 1])
    assert np.all(np.isnan(grad[[0, 2, 3], 0]))
    assert np.all(grad[1] == 0)


# ---------------------------------------------------------------------------------------
# laws


@pytest.mark.parametrize("law", laws_of(NAME), ids=lambda law: law.name)
@given(data=st.data())
def test_nll_loss__obeys_the_laws(law, data):
    """Each law's own docstring says why it matters."""
    law.check(package(NAME), data.draw(calls(NAME, **law.draws)))


# ---------------------------------------------------------------------------------------
# gradient


@given(data=st.data())
def test_nll_loss__gradient_is_the_slope_of_the_definition(data):
    """Differences of the 50-digit definition prove the formula and the digits at once."""
    call = data.draw(calls(NAME, ndims=("2",), regimes=["plain"], min_rows=1, without=("where",))).rows
    if call.live.any() and not np.isnan(call.value(package(NAME))).any():
        assert_gradient_is_the_slope(package(NAME), call)


def test_nll_loss_grad__is_minus_the_weights_share():
    """-w[y] / sum of w at the class, exactly 0 beside it."""
    grad = nll_loss_grad(LP, [0, 1, 1, 2], weight=[1.0, 2.0, 3.0])
    due = np.zeros((4, 3))
    due[[0, 1, 2, 3], [0, 1, 1, 2]] = [-1 / 8, -2 / 8, -2 / 8, -3 / 8]
    assert_bitwise(grad + 0.0, due)


def test_nll_loss_value_and_grad__value_is_not_scaled_by_the_cotangent():
    """The cotangent belongs to the gradient alone."""
    value, grad = nll_loss_value_and_grad(LP, [0, 1, 2, 0], grad_output=4.0)
    assert_bitwise(value, nll_loss(LP, [0, 1, 2, 0]))
    assert_bitwise(grad, 4 * nll_loss_grad(LP, [0, 1, 2, 0]))


# ---------------------------------------------------------------------------------------
# dtype and shape


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nll_loss__returns_its_inputs_dtype(dtype, reduction):
    """A float64 weight or an int64 target does not widen a float32 loss."""
    lp = LP.astype(dtype)
    value, grad = nll_loss_value_and_grad(
        lp, [0, 1, 2, 0], weight=np.ones(3), reduction=reduction, grad_output=np.float64(2)
    )
    assert value.dtype == dtype
    assert grad.dtype == dtype
    assert np.shape(value) == ((4,) if reduction == "none" else ())
    if reduction != "none":
        assert isinstance(value, np.generic)


def test_nll_loss__integer_log_probabilities_are_float64():
    """Integers and lists are float64."""
    lp = [[-1, -2], [-3, -4]]
    assert nll_loss(lp, [0, 1]) == 2.5
    assert nll_loss(lp, [0, 1]).dtype == np.float64
    assert nll_loss_grad(np.array(lp, np.int8), [0, 1]).dtype == np.float64


@pytest.mark.parametrize(
    ("shape", "axis", "target"),
    [
        ((3,), None, ()),
        ((4, 3), None, (4,)),
        ((4, 3, 2), None, (4, 2)),
        ((2, 3, 4, 5), None, (2, 4, 5)),
        ((2, 4, 3), -1, (2, 4)),
        ((3, 4), 0, (4,)),
        ((3, 4), -2, (4,)),
        ((3,), 0, ()),
        ((3,), -1, ()),
        ((2, 2, 2, 3, 2), 3, (2, 2, 2, 2)),
    ],
)
def test_nll_loss__shapes(shape, axis, target):
    """[K], [B, K], [B, K, H, W], or any place that is named."""
    lp = log_softmax(np.random.default_rng(1).normal(size=shape), axis=-1)
    y = np.random.default_rng(2).integers(0, 3, target)
    losses = nll_loss(lp, y, axis=axis, reduction="none")
    assert np.shape(losses) == target
    place = axis if axis is not None else (0 if len(shape) == 1 else 1)
    due = -np.take_along_axis(lp, np.expand_dims(y, place), place).squeeze(place)
    assert_bitwise(losses, due)
    assert nll_loss_grad(lp, y, axis=axis).shape == shape
    assert isinstance(nll_loss(lp, y, axis=axis), np.float64)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_nll_loss__large_arrays_in_any_layout(layout):
    """Arrays of many blocks: the same bits from any memory."""
    rng = np.random.default_rng(3)
    lp = rng.normal(size=(300, 1031)).astype(np.float32)
    y = rng.integers(0, 1031, 300)
    other = in_layout(lp, layout)
    assert_bitwise(nll_loss(other, y), nll_loss(lp, y))
    assert_bitwise(nll_loss_grad(other, y), nll_loss_grad(lp, y))


# ---------------------------------------------------------------------------------------
# errors (those of class targets in general are in test_categorical.py, for both losses)


@pytest.mark.parametrize(("x", "dtype"), NOT_NUMBERS)
def test_nll_loss__refuses_log_probs_that_are_not_real(x, dtype):
    """Say which argument and what came."""
    y = np.zeros(len(x), int)
    for f in (nll_loss, nll_loss_grad, nll_loss_value_and_grad):
        with pytest.raises(TypeError, match=r"\blog_probs\b"):
            f(x, y)


def test_nll_loss__refuses_probability_targets():
    """Only cross_entropy takes probabilities: a floating target here is a mistake."""
    assert_refused(NAME, TypeError, [r"\btarget\b", "float64"], np.ones((2, 3)), np.ones((2, 3)))
    assert_refused(NAME, TypeError, [r"\btarget\b", "integer"], np.ones((2, 3)), np.ones(2))


def test_nll_loss__refuses_one_hot_integers():
    """Class indices lack the class axis."""
    assert_refused(NAME, (TypeError, ValueError), [r"\btarget\b"], np.ones((2, 3)), np.ones((2, 3), int))


@pytest.mark.parametrize("kind", ["shape", "broadcast shape", "dtype", "integer", "read-only"])
def test_nll_loss__refuses_a_wrong_out_untouched(kind):
    """out= is the caller's memory: refused whole or written whole."""
    lp = np.arange(6.0).reshape(2, 3)
    for f in (nll_loss_grad, nll_loss_value_and_grad):
        out = bad_outs(lp)[kind]
        with pytest.raises(ValueError, match=r"\bout\b"):
            f(lp, [0, 1], out=out)
        assert np.all(out == 7)


# ---------------------------------------------------------------------------------------
# what mutants of the page showed to be untested


def test_nll_loss__does_no_more_than_asked(monkeypatch):
    """A value makes no gradient, and a gradient adds no losses up: half the time, and all the memory."""
    with monkeypatch.context() as patch:
        patch.setattr(_reduction, "gradient_array", None)
        assert nll_loss(LP, [0, 1, 2, 0]) > 0
    with monkeypatch.context() as patch:
        patch.setattr(_reduction.Reduction, "_value", None)
        assert np.all(nll_loss_grad(LP, [0, 1, 2, 0], reduction="sum")[0] == [-1, 0, 0])


def test_nll_loss__longdouble_stays_longdouble():
    """Not by way of float64."""
    lp = -np.array([[1, 3], [3, 1]], np.longdouble) / 3
    value, grad = nll_loss_value_and_grad(lp, [0, 1], weight=[1, 2], reduction="none", grad_output=lp[:, 0])
    assert_bitwise(value, np.array([1, 2], np.longdouble) / 3)
    assert_bitwise(grad, np.diag(np.array([1, 6], np.longdouble) / 3))
    third = np.array([1, 1], np.longdouble) / 3
    assert_bitwise(nll_loss(-np.eye(2, dtype=np.longdouble), [0, 1], weight=third, reduction="none"), third)


def test_nll_loss__messages_name_log_probs():
    """Not logits, as those of `cross_entropy` do."""
    with pytest.raises(ValueError, match=r"^log_probs has no class axis"):
        nll_loss(1.0, 0)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_nll_loss__a_refused_cotangent_names_whose_shape_was_due(reduction):
    """The value's, which the reduction decides."""
    with pytest.raises(ValueError, match=r"^grad_output of shape \(3,\) does not .* the shape of the value$"):
        nll_loss_grad(LP, [0, 1, 2, 0], reduction=reduction, grad_output=np.ones(3))
