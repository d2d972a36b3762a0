"""cross_entropy and its gradient: page 4. Fused, smoothing, probabilities."""

import itertools
import re
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import truth
from crossent import (
    _reduction,
    categorical,
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_value_and_grad,
)
from crossent.categorical import mean_cross_entropy
from laws import (
    CLASS_LOSSES,
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
from strategies import INDEX_DTYPES, LAYOUTS, calls, in_layout
from test_lse import NOT_NUMBERS, bad_outs

nan, inf = np.nan, np.inf
NAME = "cross_entropy"
losses = pytest.mark.parametrize("name", CLASS_LOSSES)
dtypes = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def naive_cross_entropy(z, y):
    """The formula as it is taught."""
    p = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
    return np.mean(-np.log(p[np.arange(len(y)), y]))


# ---------------------------------------------------------------------------------------
# values


@given(data=st.data())
def test_cross_entropy__values_are_the_definition(data):
    """`crossent.exact` is the definition; the package may not be another one."""
    call = data.draw(calls(NAME, regimes=["plain", "wide", "ties"]))
    assert_value_is_the_definition(package(NAME), call)


def test_cross_entropy__confident_predictions_keep_all_their_digits():
    """The contract's own number: not 0, and neither is its gradient."""
    z = np.array([[0.0, 50.0]])
    assert cross_entropy(z, [1]) == 1.9287498479639178e-22
    np.testing.assert_array_equal(
        cross_entropy_grad(z, [1]), [[1.9287498479639178e-22, -1.9287498479639178e-22]]
    )
    z = np.float32([[0, 20]])
    assert cross_entropy(z, [1]) == np.float32(2.0611537e-09)
    np.testing.assert_array_equal(cross_entropy_grad(z, [1]), np.float32([[2.0611537e-09, -2.0611537e-09]]))
    np.testing.assert_array_equal(cross_entropy(np.array([0.0, 50.0]), 1), 1.9287498479639178e-22)


@dtypes
@pytest.mark.parametrize("K", [2, 3, 10, 1000])
@pytest.mark.parametrize("kind", ["index", "one-hot"])
def test_cross_entropy__digits_over_the_margin_of_a_prediction(dtype, K, kind):
    """From a coin's toss to the underflow of the other classes, right and wrong."""
    low = {"float16": 10.0, "float32": 85.0, "float64": 700.0}[dtype]
    rng = np.random.default_rng(K)
    n = 40 if K < 1000 else 4
    margins = np.linspace(0, low, n)
    z = rng.normal(size=(2 * n, K))
    z[:, 1] += np.tile(margins, 2)
    z = z.astype(dtype)
    y = np.repeat([1, 0], n)
    target = y if kind == "index" else np.eye(K, dtype=dtype)[y]
    call = Call(NAME, z, target, {"reduction": "none"})
    e = exact(call)
    f = package(NAME)
    assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale, least=e.grad_least)


@pytest.mark.parametrize("offset", [1e0, 1e3, -1e3, 1e8, -1e8, 1e15, 1e30, -1e30, 1e300])
def test_cross_entropy__a_common_offset_changes_nothing(offset):
    """Logits drift; probabilities do not see it."""
    z = np.array([[0.0, 0.0, 0.0]]) + offset
    e = exact(Call(NAME, z, np.array([0]), {}))
    assert_ulp(NAME, cross_entropy(z, [0]), e.value)
    assert_ulp(f"{NAME}_grad", cross_entropy_grad(z, [0]), e.grad)


@dtypes
def test_cross_entropy__means_and_sums_of_many_rows(dtype):
    """40,000 losses: plain summation in the dtype loses what each row was careful to keep."""
    z = np.array([[0.1, 0.7, -0.3]]).astype(dtype)
    one = exact(Call(NAME, z, np.array([2]), {"reduction": "none"}))
    n = 40_000
    many = np.broadcast_to(z, (n, 3))
    y = np.full(n, 2)
    assert_ulp(NAME, cross_entropy(many, y), np.array(one.value[0], object))
    assert_ulp(NAME, cross_entropy(many, y, reduction="sum"), np.array(one.value[0] * n, object))


def test_cross_entropy__half_precision_means_of_70000_rows_survive():
    """float16 ends at 65504: the sum of a large batch does not fit, its mean does."""
    z = np.zeros((70_000, 2), np.float16)
    y = np.zeros(70_000, np.int64)
    with silence():
        value, grad = cross_entropy_value_and_grad(z, y)
        assert value == np.float16(np.log(2))
        assert cross_entropy(np.float16([[0, 4]] * 70_000), y, reduction="sum") == inf
    due = exact(Call(NAME, z[:1], y[:1], {"reduction": "none"})).grad[0] / 70_000
    assert_ulp(f"{NAME}_grad", grad[-1], due)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy__means_near_the_largest_number(dtype):
    """The mean of huge losses is a number of their size even where their sum is not."""
    top = float(np.finfo(dtype).max)
    z = np.array([[0, top * 0.75], [0, top * 0.5], [0, top * 0.9]], dtype)
    for target in (np.zeros(3, int), np.array([[1.0, 0.0]] * 3)):
        call = Call(NAME, z, target, {})
        with silence():
            assert_ulp(NAME, cross_entropy(z, target), exact(call).value)


@pytest.mark.parametrize(
    ("dtype", "power"),
    [("float32", 100), ("float32", -100), ("float64", 1000), ("float64", -1000)],
)
def test_cross_entropy__scaled_weights_leave_the_weighted_mean(dtype, power):
    """A weighted mean only sees ratios of weights."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(6, 3)).astype(dtype), np.array([0, 1, 2, 2, 1, 0])
    w = np.array([0.5, 1.25, 3], dtype)
    scaled = np.ldexp(w, power)
    call = Call(NAME, z, y, {"weight": w})
    e, f = exact(call), package(NAME)
    other = call.having(weight=scaled)
    assert_ulp(NAME, other.value(f), e.value)
    assert_ulp(f"{NAME}_grad", other.grad(f), e.grad, scale=e.grad_scale)


def test_cross_entropy__negative_weights_count_in_the_terms_magnitudes():
    """Weights of mixed sign add and subtract: the digits are those of the terms."""
    z = np.random.default_rng(1).normal(size=(6, 3))
    y = np.array([0, 1, 2, 2, 1, 0])
    for target in (y, np.eye(3)[y] * 0.5 + 1 / 6):
        for reduction in ("none", "sum"):
            for s in (0.0, 0.25):
                options = {"weight": np.array([1.0, -2.0, 0.5]), "reduction": reduction}
                call = Call(NAME, z, target, {**options, "label_smoothing": s})
                e, f = exact(call), package(NAME)
                assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale)
                assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale)


def test_cross_entropy__weights_are_exact_whatever_the_logits_dtype():
    """Half-precision logits do not round the caller's float64 weights to half precision."""
    z = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float16)
    w = np.array([0.1, 1 / 3, 0.7])
    for target in (np.array([0, 1, 2, 0, 1]), np.eye(3)[[0, 1, 2, 0, 1]] * 0.9 + 0.1 / 3):
        for options in ({}, {"label_smoothing": 0.1}, {"reduction": "sum"}):
            call = Call(NAME, z, target, {"weight": w, **options})
            e, f = exact(call), package(NAME)
            assert_ulp(NAME, call.value(f), e.value)
            assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale)


def test_cross_entropy__index_weights_enter_the_denominator_probabilities_do_not():
    """PyTorch's two denominators: the sum of w[y], or the number of positions."""
    z = np.zeros((2, 2))
    w = np.array([1.0, 3.0])
    log2 = np.log(2.0)
    assert_ulp(NAME, cross_entropy(z, [0, 1], weight=w), truth.decimals(log2))
    assert_ulp(NAME, cross_entropy(z, np.eye(2), weight=w), truth.decimals(2 * log2))  # (1 + 3) log2 / 2


def test_cross_entropy__smoothing_spreads_weights_too():
    """s / K * sum_k w[k] * -lp[k], over the denominator sum of w[y] alone."""
    z, w, s = np.array([[0.0, 1.0, 3.0]]), np.array([1.0, 2.0, 4.0]), 0.3
    cost = -np.array([[0.0, 1.0, 3.0]]) + np.log(np.sum(np.exp(z)))
    due = ((1 - s) * w[1] * cost[0, 1] + s / 3 * np.sum(w * cost)) / w[1]
    got = cross_entropy(z, [1], weight=w, label_smoothing=s)
    e = exact(Call(NAME, z, np.array([1]), {"weight": w, "label_smoothing": s}))
    assert_ulp(NAME, got, e.value)
    assert_ulp(NAME, due, e.value, times=2)


# ---------------------------------------------------------------------------------------
# special values

UNIFORM = [0.5, 0.5]
SPECIAL = [
    # logits, target, options, loss, gradient
    ([-inf, 0.0], 0, {}, inf, [-1.0, 1.0]),
    ([-inf, 0.0], 1, {}, 0.0, [0.0, 0.0]),
    ([0.0, -inf, 0.0], 1, {}, inf, [0.5, -1.0, 0.5]),
    ([-inf, -inf], 0, {}, nan, [nan, nan]),
    ([inf, 0.0], 0, {}, nan, [nan, nan]),
    ([inf, 0.0], 1, {}, nan, [nan, nan]),
    ([nan, 0.0], 1, {}, nan, [nan, nan]),
    ([nan, 0.0], 1, {"weight": [1.0, 0.0], "reduction": "sum"}, nan, [nan, nan]),
    ([inf, 0.0], 1, {"weight": [1.0, 0.0], "reduction": "sum"}, nan, [nan, nan]),
    ([nan, 0.0], -100, {"reduction": "sum"}, 0.0, [0.0, 0.0]),
    ([nan, inf], 1, {"ignore_index": 1, "reduction": "sum"}, 0.0, [0.0, 0.0]),
    ([nan, -inf], 99, {"where": False, "reduction": "sum"}, 0.0, [0.0, 0.0]),
    ([-inf, 0.0], 0, {"weight": [0.0, 1.0], "reduction": "sum"}, 0.0, [0.0, 0.0]),
    ([-inf, 0.0], 0, {"weight": [2.0, 1.0], "reduction": "sum"}, inf, [-2.0, 2.0]),
    # smoothing puts probability on the masked class: inf; with weight 0 there: finite
    ([-inf, 0.0], 1, {"label_smoothing": 0.5}, inf, [-0.25, 0.25]),
    ([-inf, 0.0], 1, {"label_smoothing": 0.5, "weight": [0.0, 1.0]}, 0.0, [0.0, 0.0]),
    ([-inf, 0.0], 0, {"label_smoothing": 1.0}, inf, [-0.5, 0.5]),
    # probabilities: a factor of exactly 0 costs exactly 0
    ([-inf, 0.0], [0.0, 1.0], {}, 0.0, [0.0, 0.0]),
    ([-inf, 0.0], [1.0, 0.0], {}, inf, [-1.0, 1.0]),
    ([-inf, 0.0], UNIFORM, {}, inf, [-0.5, 0.5]),
    ([-inf, 0.0], UNIFORM, {"weight": [0.0, 2.0]}, 0.0, [0.0, 0.0]),
    ([-inf, 0.0, 0.0], [0.0, 1.0, 0.0], {}, None, [0.0, -0.5, 0.5]),
    ([nan, 0.0], [0.0, 1.0], {}, nan, [nan, nan]),
    ([nan, 0.0], [0.0, 0.0], {}, nan, [nan, nan]),
    ([0.0, 0.0], [0.0, 0.0], {}, 0.0, [0.0, 0.0]),
    ([-inf, -inf], UNIFORM, {}, nan, [nan, nan]),
    ([0.0, 0.0], [nan, 1.0], {}, nan, [nan, nan]),
    ([nan, inf], [nan, inf], {"where": False, "reduction": "sum"}, 0.0, [0.0, 0.0]),
    ([-inf, 0.0], [0.0, 0.0], {"weight": [0.0, 0.0]}, 0.0, [0.0, 0.0]),
    # one class
    ([3.0], 0, {}, 0.0, [0.0]),
    ([3e4], [1.0], {}, 0.0, [0.0]),
    ([-inf], 0, {}, nan, [nan]),
    # far away
    ([0.0, 3e4], 0, {}, 3e4, [-1.0, 1.0]),
    ([0.0, 3e4], 1, {}, 0.0, [0.0, 0.0]),
]


@dtypes
@pytest.mark.parametrize(("z", "target", "options", "loss", "grad"), SPECIAL)
def test_cross_entropy__special_values(z, target, options, loss, grad, dtype):
    """Infinite, missing and certain: one meaning each, alone or in the middle of a batch."""
    soft = isinstance(target, list)
    z = np.array(z, dtype)
    for batch in (False, True):
        o = dict(options)
        if batch:
            K = len(z)
            logits = np.stack([np.zeros(K, dtype), z, np.ones(K, dtype)])
            fine = 0 if o.get("ignore_index") != 0 else 1
            y = np.array([np.eye(K)[0], target, np.eye(K)[0]]) if soft else [fine, target, fine]
            if "where" in o:
                o["where"] = np.array([True, False, True])
            o["reduction"] = "none"
        else:
            logits, y = z, np.array(target)
        with silence():
            value, slope = cross_entropy_value_and_grad(logits, y, **o)
            assert_bitwise(value, cross_entropy(logits, y, **o))
            assert_bitwise(slope, cross_entropy_grad(logits, y, **o))
        if batch:
            assert np.all(np.isfinite(value[[0, 2]]))
            assert np.all(np.isfinite(slope[[0, 2]]))
            value, slope = value[1], slope[1]
            if o.get("weight") is not None and "reduction" not in options and not soft:
                slope = slope / o["weight"][target]
        if loss is not None:
            np.testing.assert_array_equal(value, np.array(loss, dtype))
        np.testing.assert_array_equal(slope, np.array(grad, dtype))


@pytest.mark.parametrize("kind", ["index", "probability"])
@pytest.mark.parametrize("case", ["empty", "empty inner", "where", "ignored", "no weight"])
@dtypes
def test_cross_entropy__of_nothing(kind, case, dtype):
    """The mean of nothing is NaN, its sum is 0, and neither is worth a warning."""
    shape = {"empty": (0, 3), "empty inner": (2, 3, 0)}.get(case, (4, 3))
    z = np.ones(shape, dtype)
    positions = shape[:1] + shape[2:]
    options = {}
    if kind == "index":
        y = np.full(positions, -100 if case == "ignored" else 0)
    else:
        y = np.full(shape, 1 / 3)
    if case == "where" or (case == "ignored" and kind == "probability"):
        options["where"] = np.zeros(positions, bool)
    if case == "no weight":
        options["weight"] = np.array([0.0, 1.0, 1.0]) if kind == "index" else np.zeros(3)
    with silence():
        mean, grad = cross_entropy_value_and_grad(z, y, **options)
        total = cross_entropy(z, y, reduction="sum", **options)
        flat = cross_entropy_grad(z, y, reduction="sum", **options)
    assert mean.dtype == dtype
    assert grad.shape == shape
    assert total == 0
    assert np.all(flat == 0)
    if case == "no weight" and kind == "probability":
        # the denominator is the number of positions: weights of 0 make a mean of 0
        assert mean == 0
        assert np.all(grad == 0)
        return
    assert np.isnan(mean)
    assert np.all(np.isnan(grad)) if case == "no weight" else np.all(grad == 0)


def test_cross_entropy__gradient_of_a_mean_of_nothing_is_nan_where_it_counts():
    """Counted weights of 0: NaN at those positions, exactly 0 at ignored ones."""
    z = np.zeros((3, 2))
    with silence():
        for options in ({}, {"label_smoothing": 0.5}):
            grad = cross_entropy_grad(z, [0, -100, 0], weight=[0.0, 1.0], **options)
            assert np.all(np.isnan(grad[[0, 2]]))
            assert np.all(grad[1] == 0)


def test_cross_entropy__a_mean_with_a_broken_row_keeps_the_other_gradients():
    """The loss is NaN; the gradients of the other examples are what they were."""
    z = np.array([[0.0, 1.0], [nan, 0.0], [2.0, 1.0], [0.0, 1.0]])
    with silence():
        value, grad = cross_entropy_value_and_grad(z, [0, 1, 1, 0])
        z[1] = 0
        clean = cross_entropy_grad(z, [0, 1, 1, 0])
    assert np.isnan(value)
    assert np.all(np.isnan(grad[1]))
    assert_bitwise(grad[[0, 2, 3]], clean[[0, 2, 3]])


@dtypes
def test_cross_entropy__smallest_and_largest_numbers_warn_of_nothing(dtype):
    """Underflow and overflow inside are not the caller's business."""
    info = np.finfo(dtype)
    nasty = [info.max / 2, -info.max / 4, info.tiny, info.smallest_subnormal, 0.0, -0.0, 89.0, -104.0]
    nasty += [inf, -inf, nan, 746.0, -746.0, info.eps, 17.0]
    z = np.array(list(itertools.product(nasty, repeat=2)), dtype)
    f = package(NAME)
    for target in (np.arange(len(z)) % 2, np.tile([0.25, 0.75], (len(z), 1))):
        for s in (0.0, 0.25):
            call = Call(NAME, z, target, {"reduction": "none", "label_smoothing": s})
            e = exact(call)
            assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale, least=e.value_least)
            assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale,
                       least=e.grad_least)  # fmt: skip
            mean = call.having(reduction="mean")
            assert np.isnan(mean.value(f))
            mean.grad(f)


@dtypes
def test_cross_entropy__factors_beyond_the_dtype_warn_of_nothing(dtype):
    """float64 weights, cotangents and targets may over- and underflow a narrower result."""
    z, y = np.array([[0.0, 1.0], [1.0, 0.0]], dtype), np.array([0, 1])
    q = np.array([[1e300, 1e-300], [0.0, 1.0]])
    f = package(NAME)
    for target, options, g in [
        (y, {"weight": np.array([1e300, 1e-300]), "reduction": "none"}, None),
        (y, {"weight": np.array([1e300, 1e300])}, None),
        (y, {"weight": np.array([1e-300, 1e-300])}, None),
        (y, {}, np.array(1e300)),
        (y, {}, np.array(-1e-300)),
        (q, {"reduction": "none"}, np.array([1e-300, 1e300])),
    ]:
        call = Call(NAME, z, target, options, g)
        e = exact(call)
        value, grad = call.both(f)
        assert_ulp(NAME, value, e.value)
        assert_ulp(f"{NAME}_grad", grad, e.grad, scale=e.grad_scale)
    with silence():
        for narrow in ("float16", "float32"):
            for target in (y, np.eye(2)):
                value, grad = cross_entropy_value_and_grad(
                    np.array([[1e300, 0.0], [0.0, 1e-300]]), target, dtype=narrow, reduction="none"
                )
                assert np.isfinite(value[1])
                assert np.all(np.isfinite(grad[1]))


@pytest.mark.parametrize("g", [nan, inf])
def test_class_losses__ignored_positions_do_not_see_their_cotangent(g):
    """The gradient of an ignored position is exactly 0, not 0 times what came from above."""
    z, none = np.zeros((2, 2)), {"reduction": "none", "grad_output": [1.0, g]}
    with silence():
        for name in CLASS_LOSSES:
            for ignored in (([0, -100], {}), ([0, 1], {"where": np.array([True, False])})):
                grad = package(name).grad(z, ignored[0], **none, **ignored[1])
                assert np.all(np.isfinite(grad[0]))
                assert np.all(grad[1] == 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy__a_difference_beyond_the_largest_number(dtype):
    """z[k] - m overflows, a fraction of it does not: the loss is a normal number."""
    top = np.finfo(dtype).max
    z = np.array([[-top, top], [top, -top]], dtype)
    for options in ({"label_smoothing": 0.25}, {"weight": [0.25, 0.25], "reduction": "none"}):
        for target in (np.array([1, 1]), np.array([[0.125, 0.875]] * 2)):
            call = Call(NAME, z, target, options)
            e, f = exact(call), package(NAME)
            assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale)


# ---------------------------------------------------------------------------------------
# laws


@pytest.mark.parametrize("law", laws_of(NAME), ids=lambda law: law.name)
@given(data=st.data())
def test_cross_entropy__obeys_the_laws(law, data):
    """Each law's own docstring says why it matters."""
    law.check(package(NAME), data.draw(calls(NAME, **law.draws)))


GRID = list(
    itertools.product(
        ["index", "probability"],                       # target
        [False, True],                                  # weight
        ["never", "inside", "outside"],                 # ignore_index
        [None, "full", "broadcast"],                    # where
        [0.0, 0.3, 1.0],                                # label_smoothing
        ["none", "mean", "sum"],                        # reduction
        [None, -1, 0],                                  # axis
        [False, True],                                  # grad_output
        [None, "fresh", "logits"],                      # out
    )
)  # fmt: skip


def grid_call(kind, weight, ignore, where, smoothing, reduction, axis, cotangent, dtype):
    """One cell of the options grid, always the same numbers."""
    rng = np.random.default_rng(17)
    B, K, H = 2, 3, 2
    shape, positions = {
        None: ((B, K, H), (B, H)),
        -1: ((B, H, K), (B, H)),
        0: ((K, 3), (3,)),
    }[axis]
    place = 1 if axis is None else axis
    z = rng.normal(size=shape).astype(dtype)
    options = {"reduction": reduction, "label_smoothing": smoothing, "axis": axis}
    if kind == "index":
        y = rng.integers(0, K, positions)
        y.flat[0], y.flat[1] = 1, 2
        if ignore == "inside":
            options["ignore_index"] = 1
        elif ignore == "outside":
            options["ignore_index"] = -7
            y.flat[2] = -7
    else:
        q = rng.dirichlet(np.ones(K), positions)
        q.reshape(-1, K)[0] = np.eye(K)[2]
        y = np.moveaxis(q, -1, place).astype(dtype)
    if weight:
        options["weight"] = np.array([0.5, 2.0, 0.0], dtype)
    if where:
        mask = np.ones(positions, bool)
        if where == "full":
            mask.flat[-1] = False
        else:
            mask = np.array([True, False]) if len(positions) == 2 else np.array([True])
        options["where"] = mask
    g = None
    if cotangent:
        g = np.asarray(rng.normal(size=positions if reduction == "none" else ()), dtype)
    return Call(NAME, z, y, options, g)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("kind", ["index", "probability"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy__every_option_with_every_other(dtype, kind, reduction):
    """Options meet in users' code, not in ours: all combinations, value and gradient."""
    f = package(NAME)
    known = {}
    for cell in GRID:
        if cell[0] != kind or cell[5] != reduction:
            continue
        if kind == "probability" and cell[2] != "never":
            continue
        call, out = grid_call(*cell[:8], dtype), cell[8]
        if out is None:
            e = exact(call)
            value, grad = call.value(f), call.grad(f)
            assert_ulp(NAME, value, e.value, scale=e.value_scale, least=e.value_least)
            assert_ulp(f"{NAME}_grad", grad, e.grad, scale=e.grad_scale, least=e.grad_least)
            assert np.asarray(value).dtype == grad.dtype == dtype
            known[cell[:8]] = value, grad
            continue
        x = call.x.copy()
        memory = x if out == "logits" else np.full(x.shape, 7, dtype)
        value, grad = replace(call, x=x).both(f, out=memory)
        assert_bitwise(value, known[cell[:8]][0])
        assert_bitwise(grad, known[cell[:8]][1])
        assert_bitwise(memory, grad)


# ---------------------------------------------------------------------------------------
# gradient


@given(data=st.data())
def test_cross_entropy__gradient_is_the_slope_of_the_definition(data):
    """Differences of the 50-digit definition prove the formula and the digits at once."""
    call = data.draw(calls(NAME, ndims=("2",), regimes=["plain", "ties", "confident"], min_rows=1)).rows
    call = call.take(slice(0, 2))
    if not np.isnan(call.value(package(NAME))).any():
        assert_gradient_is_the_slope(package(NAME), call)


@settings(max_examples=100)
@given(data=st.data())
def test_cross_entropy__random_calls_are_exact(data):
    """All regimes, layouts of classes, options: value and gradient in ulp of the exact ones."""
    call = data.draw(calls(NAME))
    e, f = exact(call), package(NAME)
    value, grad = call.both(f)
    assert_ulp(NAME, value, e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{NAME}_grad", grad, e.grad, scale=e.grad_scale, least=e.grad_least)


def test_cross_entropy_grad__vanishes_at_the_optimum_of_a_soft_target():
    """p - q is a cancellation of the problem itself: small in ulps of its terms."""
    rng = np.random.default_rng(4)
    z = rng.normal(size=(5, 4))
    q = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
    call = Call(NAME, z, q, {"reduction": "sum"})
    e = exact(call)
    assert_ulp(f"{NAME}_grad", call.grad(package(NAME)), e.grad, scale=e.grad_scale)


def test_cross_entropy__unnormalized_targets_follow_the_formula():
    """Probabilities are factors: rows that do not add up to 1 are weighted by their sum."""
    z = np.random.default_rng(5).normal(size=(4, 3))
    q = np.array([[2.0, 0, 0], [0.1, 0.1, 0.1], [0, 0, 0], [3, 2, 1]])
    for s in (0.0, 0.2):
        call = Call(NAME, z, q, {"reduction": "none", "label_smoothing": s})
        e, f = exact(call), package(NAME)
        assert_ulp(NAME, call.value(f), e.value)
        assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale)


@losses
def test_class_losses__grad_output_broadcasts(name):
    """A scalar cotangent stands for all losses of reduction="none"."""
    z = np.random.default_rng(6).normal(size=(3, 4, 2))
    y = np.random.default_rng(7).integers(0, 4, (3, 2))
    f = package(name)
    none = {"reduction": "none"}
    assert_bitwise(f.grad(z, y, **none), f.grad(z, y, **none, grad_output=np.ones((3, 2))))
    assert_bitwise(
        f.grad(z, y, **none, grad_output=2.5), f.grad(z, y, **none, grad_output=np.full((3, 2), 2.5))
    )
    row = np.array([2.0, -1.0])
    assert_bitwise(
        f.grad(z, y, **none, grad_output=row),
        f.grad(z, y, **none, grad_output=np.tile(row, (3, 1))),
    )
    assert_bitwise(f.grad(z, y), f.grad(z, y, grad_output=np.float64(1)))
    assert_bitwise(f.grad(z, y, **none), f.grad(z, y, reduction="sum"))


def test_cross_entropy_value_and_grad__value_is_not_scaled_by_the_cotangent():
    """The cotangent belongs to the gradient alone."""
    z, y = np.random.default_rng(8).normal(size=(3, 4)), np.array([0, 1, 2])
    value, grad = cross_entropy_value_and_grad(z, y, grad_output=8.0)
    assert_bitwise(value, cross_entropy(z, y))
    assert_bitwise(grad, 8 * cross_entropy_grad(z, y))


# ---------------------------------------------------------------------------------------
# dtype and shape


@losses
@pytest.mark.parametrize("dtype", INDEX_DTYPES)
def test_class_losses__indices_of_any_integer_dtype(name, dtype):
    """uint8 labels come from images, int32 from disks, big-endian from networks."""
    z = np.random.default_rng(9).normal(size=(4, 3))
    f = package(name)
    y = np.array([0, 2, 1, 2])
    extra = {"label_smoothing": 0.1} if name == NAME else {}
    due = f.value_and_grad(z, y, weight=[1.0, 2.0, 3.0], **extra)
    got = f.value_and_grad(z, y.astype(dtype), weight=[1.0, 2.0, 3.0], **extra)
    assert_bitwise(got[0], due[0])
    assert_bitwise(got[1], due[1])


@losses
def test_class_losses__unsigned_indices_never_wrap_into_ignore_index(name):
    """156 is -100 modulo 256, and 2**64 - 100 modulo 2**64: out of range, not ignored."""
    z = np.zeros((2, 3))
    for dtype, bad in (("uint8", 156), ("uint16", 2**16 - 100), ("uint64", 2**64 - 100)):
        assert_refused(name, IndexError, [str(bad)], z, np.array([0, bad], dtype))
    f = package(name)
    assert f.value(z, np.array([0, 1], np.uint8)) is not None
    assert f.value(z[:, :], np.array([2, 1], np.uint8), ignore_index=-254) is not None
    # 300 cannot be an int8, so nothing is ignored
    assert_bitwise(f.value(z, np.array([2, 1], np.int8), ignore_index=300), f.value(z, np.array([2, 1])))
    assert_bitwise(f.value(z, np.array([2, 255], np.uint8), ignore_index=255), f.value(z[:1], np.array([2])))


@losses
def test_class_losses__many_classes_and_small_indices(name):
    """An int8 index over 1,000 classes does not make the count of classes an int8."""
    z = np.random.default_rng(10).normal(size=(2, 1000))
    f = package(name)
    assert_bitwise(f.value(z, np.array([3, 127], np.int8)), f.value(z, np.array([3, 127])))
    assert_bitwise(f.grad(z, np.array([3, 255], np.uint8)), f.grad(z, np.array([3, 255])))


@losses
@pytest.mark.parametrize(
    ("shape", "axis", "target"),
    [
        ((3,), None, ()),
        ((4, 3), None, (4,)),
        ((1, 3), None, (1,)),
        ((4, 3, 2), None, (4, 2)),
        ((2, 3, 4, 5), None, (2, 4, 5)),
        ((2, 4, 3), -1, (2, 4)),
        ((2, 4, 3), 2, (2, 4)),
        ((3, 4), 0, (4,)),
        ((3, 4), -2, (4,)),
        ((3,), -1, ()),
        ((2, 2, 2, 3, 2), 3, (2, 2, 2, 2)),
    ],
)
def test_class_losses__shapes(name, shape, axis, target):
    """[K], [B, K], [B, K, H, W], or any place that is named; NumPy scalars when reduced."""
    rng = np.random.default_rng(11)
    z, y = rng.normal(size=shape), rng.integers(0, 3, target)
    f = package(name)
    assert np.shape(f.value(z, y, axis=axis, reduction="none")) == target
    for reduction in ("mean", "sum"):
        value = f.value(z, y, axis=axis, reduction=reduction)
        assert isinstance(value, np.float64)
        assert f.grad(z, y, axis=axis, reduction=reduction).shape == shape
    place = axis if axis is not None else (0 if len(shape) == 1 else 1)
    rows = np.moveaxis(z, place, -1).reshape(-1, 3)
    assert_bitwise(
        np.asarray(f.value(z, y, axis=axis, reduction="none")).ravel(),
        f.value(rows, y.ravel(), reduction="none"),
    )
    call = Call(name, z, y, {"axis": axis})
    assert_ulp(name, f.value(z, y, axis=axis), exact(call).value)
    if name == NAME:
        q = np.moveaxis(rng.dirichlet(np.ones(3), target), -1, place)
        assert np.shape(f.value(z, q, axis=axis, reduction="none")) == target
        assert_ulp(name, f.value(z, q, axis=axis), exact(Call(name, z, q, {"axis": axis})).value)


@losses
def test_class_losses__a_python_integer_is_a_target_of_one_row(name):
    """[K] logits and an int."""
    z = np.array([0.5, 1.0, -1.0])
    f = package(name)
    due = f.value(z[None], np.array([2]))
    for y in (2, np.int64(2), np.uint8(2), np.array(2)):
        assert_bitwise(f.value(z, y), due)
        assert_bitwise(np.asarray(f.value(z, y, reduction="none")), np.asarray(due))
        assert f.grad(z, y).shape == (3,)


@losses
@dtypes
def test_class_losses__return_their_inputs_dtype(name, dtype):
    """float64 weights, cotangents or targets do not widen float32 losses."""
    z = np.ones((2, 3), dtype)
    f = package(name)
    for reduction in ("none", "mean", "sum"):
        value, grad = f.value_and_grad(
            z, [0, 1], weight=np.ones(3), reduction=reduction, grad_output=np.float64(3)
        )
        assert value.dtype == grad.dtype == dtype
    if name == NAME:
        value, grad = f.value_and_grad(z, np.full((2, 3), 1 / 3))
        assert value.dtype == grad.dtype == dtype


@pytest.mark.parametrize("kind", ["index", "probability"])
def test_cross_entropy__longdouble_is_computed_in_longdouble(kind):
    """A wider dtype that only has float64's digits is a lie."""
    if np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps:
        pytest.skip("longdouble is float64 here")
    rng = np.random.default_rng(12)
    z = rng.normal(size=(3, 4)).astype(np.longdouble) + np.longdouble(1) / 3
    y = np.array([0, 1, 2]) if kind == "index" else rng.dirichlet(np.ones(4), 3)
    for options in ({}, {"reduction": "none"}, {"weight": [0.1, 0.2, 0.3, 0.7]}):
        call = Call(NAME, z, y, options)
        e, f = exact(call), package(NAME)
        for got, due, scale in [
            (call.value(f), e.value, e.value_scale),
            (call.grad(f), e.grad, e.grad_scale),
        ]:
            assert got.dtype == np.longdouble
            bound = truth.decimal(np.finfo(float).eps) / 64
            for a, b, s in zip(np.ravel(got), due.ravel(), scale.ravel(), strict=True):
                assert abs(truth.decimal(a) - b) < abs(s) * bound


def test_cross_entropy__integers_booleans_and_lists_are_float64():
    """Integers are counted, not computed with."""
    due = cross_entropy_value_and_grad(np.array([[0.0, 1.0], [1.0, 0.0]]), [0, 1])
    for z in ([[0, 1], [1, 0]], np.eye(2, dtype=np.uint8)[::-1], np.eye(2, dtype=bool)[::-1]):
        got = cross_entropy_value_and_grad(z, [0, 1])
        assert got[0].dtype == got[1].dtype == np.float64
        assert_bitwise(got[0], due[0])
        assert_bitwise(got[1], due[1])


@pytest.mark.parametrize("given_dtype", ["float16", "float32", "float64", "int32"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_cross_entropy__dtype_names_the_result(given_dtype, dtype):
    """dtype= is the dtype to compute and return in; out= must have it too."""
    z = np.arange(6).reshape(2, 3).astype(given_dtype)
    for target in (np.array([0, 2]), np.full((2, 3), 0.25)):
        value, grad = cross_entropy_value_and_grad(z, target, dtype=dtype)
        assert value.dtype == grad.dtype == np.dtype(dtype)
        out = np.empty((2, 3), dtype)
        cross_entropy_grad(z, target, dtype=dtype, out=out)
        assert_bitwise(out, grad)


def test_cross_entropy__float64_of_float32_rounds_to_the_exact_float32():
    """dtype=float64 buys correctly rounded float32 results without a copy of the logits."""
    z = (5 * np.random.default_rng(13).normal(size=(50, 7))).astype(np.float32)
    call = Call(NAME, z, np.arange(50) % 7, {"reduction": "none"})
    e = exact(call)
    value, grad = cross_entropy_value_and_grad(z, call.target, reduction="none", dtype=np.float64)
    from crossent.testing import ulp_error
    from crossent.testing._limits import limit

    half = limit(NAME, "float16")  # correct rounding: the same half ulp
    assert np.max(ulp_error(value.astype(np.float32), e.value)) <= half
    assert np.max(ulp_error(grad.astype(np.float32), e.grad)) <= half


@pytest.mark.parametrize("kind", ["index", "probability"])
def test_cross_entropy__bfloat16(kind):
    """bfloat16 is computed in float32 and rounded once, where a caller passes it."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 comes from ml_dtypes")
    rng = np.random.default_rng(14)
    z = rng.normal(size=(6, 4)).astype(ml_dtypes.bfloat16)
    y = rng.integers(0, 4, 6) if kind == "index" else rng.dirichlet(np.ones(4), 6)
    if kind == "probability":
        y = y.astype(ml_dtypes.bfloat16)
    for reduction in ("none", "mean", "sum"):
        value, grad = cross_entropy_value_and_grad(z, y, reduction=reduction)
        wide = cross_entropy_value_and_grad(
            z.astype(np.float32), np.asarray(y, np.float32 if kind != "index" else None),
            reduction=reduction,
        )  # fmt: skip
        assert value.dtype == grad.dtype == ml_dtypes.bfloat16
        for low, high in ((value, wide[0]), (grad, wide[1])):
            assert_bitwise(
                np.asarray(low, np.float32),
                np.asarray(high).astype(ml_dtypes.bfloat16).astype(np.float32),
            )


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("kind", ["index", "probability"])
def test_cross_entropy__large_arrays_in_any_layout(layout, kind):
    """Arrays of many blocks: the same bits from any memory, options and all."""
    rng = np.random.default_rng(15)
    z = (4 * rng.normal(size=(300, 1031))).astype(np.float32)
    y = rng.integers(-1, 1031, 300) if kind == "index" else rng.random((300, 1031), np.float32)
    options = {"weight": rng.random(1031), "label_smoothing": 0.1}
    if kind == "index":
        options["ignore_index"] = -1
    due = cross_entropy_value_and_grad(z, y, **options)
    got = cross_entropy_value_and_grad(
        in_layout(z, layout), in_layout(y, layout) if y.ndim > 1 else y, **options
    )
    assert_bitwise(got[0], due[0])
    assert_bitwise(got[1], due[1])
    first = cross_entropy_value_and_grad(
        in_layout(np.ascontiguousarray(z.T), layout), y if y.ndim == 1 else y.T, axis=0, **options
    )
    assert_bitwise(first[1].T, due[1])


def test_cross_entropy__large_batches_are_rows():
    """A row in a batch of many blocks has the bits it has alone, for few and for many classes."""
    rng = np.random.default_rng(16)
    for n, K in ((40_000, 3), (3000, 100), (40, 9000)):
        z = (3 * rng.normal(size=(n, K))).astype(np.float32)
        y = rng.integers(0, K, n)
        value, grad = cross_entropy_value_and_grad(z, y, reduction="none")
        for i in (0, 1, n // 3, n - 1):
            alone = cross_entropy_value_and_grad(z[i], y[i], reduction="none")
            assert_bitwise(np.asarray(value[i]), np.asarray(alone[0]))
            assert_bitwise(grad[i], alone[1])


def test_cross_entropy__memory_mapped_logits(tmp_path):
    """Logits on disk: in, and the gradient out, without a warning or a write to the logits."""
    z = np.random.default_rng(17).normal(size=(5, 6)).astype(np.float32)
    disk = np.memmap(tmp_path / "z", np.float32, "w+", shape=z.shape)
    disk[:] = z
    disk.flush()
    disk = np.memmap(tmp_path / "z", np.float32, "r", shape=z.shape)
    out = np.memmap(tmp_path / "g", np.float32, "w+", shape=z.shape)
    y = np.array([0, 1, 2, 3, 4])
    value, _ = cross_entropy_value_and_grad(disk, y, out=out)
    assert_bitwise(value, cross_entropy(z, y))
    assert_bitwise(np.array(out), cross_entropy_grad(z, y))


@losses
def test_class_losses__where_broadcasts_to_the_losses(name):
    """A mask over sequences serves the whole batch; a bare True or False too."""
    rng = np.random.default_rng(18)
    z, y = rng.normal(size=(3, 4, 2)), rng.integers(0, 4, (3, 2))
    f = package(name)
    column = np.array([True, False])
    for mask in (column, np.array([[True], [False], [True]]), True, np.True_, [True, False]):
        full = np.broadcast_to(mask, (3, 2))
        assert_bitwise(f.value(z, y, where=mask), f.value(z, y, where=full))
        assert_bitwise(f.grad(z, y, where=mask), f.grad(z, y, where=full))
    if name == NAME:
        q = np.moveaxis(rng.dirichlet(np.ones(4), (3, 2)), -1, 1)
        got = f.value(z, q, where=column, reduction="none")
        assert got.shape == (3, 2)
        assert np.all(got[:, 1] == 0)
        assert_bitwise(f.value(z, q, where=column), f.value(z[:, :, :1], q[:, :, :1]))


# ---------------------------------------------------------------------------------------
# errors

Z = np.random.default_rng(19).normal(size=(4, 3))
Y = np.array([0, 1, 2, 0])


@losses
@pytest.mark.parametrize(
    ("bad", "at"),
    [(3, 2), (-1, 2), (7, 0), (-101, 3), (2**40, 1), (-(2**63), 1), (2**63 - 1, 1)],
)
def test_class_losses__refuse_an_index_out_of_range(name, bad, at):
    """A wrapped or clipped label trains on noise: the first one is named, with its place."""
    y = Y.copy()
    y[at] = bad
    y[3] = bad
    fragments = [rf"(?<![\d.]){re.escape(str(bad))}\b", rf"\b{at}\b", r"\b3\b", r"\btarget\b", "axis"]
    assert_refused(name, IndexError, fragments, Z, y)


@losses
def test_class_losses__name_the_place_of_a_bad_index_in_many_dimensions(name):
    """A position, not a flat offset."""
    z, y = np.zeros((2, 5, 3, 4)), np.zeros((2, 3, 4), int)
    y[1, 2, 3] = 5
    y[1, 1, 0] = -2
    assert_refused(name, IndexError, [r"1, 1, 0", r"-2\b", r"\b5\b", r"axis.*\b1\b"], z, y)
    z = np.zeros((2, 3, 5))
    y = np.zeros((2, 3), np.uint8)
    y[1, 2] = 200
    assert_refused(name, IndexError, [r"1, 2", r"\b200\b", r"\b5\b"], z, y, axis=-1)


@losses
def test_class_losses__an_index_out_of_range_of_one_row(name):
    """[K] logits and an integer."""
    assert_refused(name, IndexError, [r"\b3\b", r"\btarget\b"], np.zeros(3), 3)


@losses
def test_class_losses__look_at_labels_only_where_they_count(name):
    """Out of range is an error at counted positions, and only there."""
    f = package(name)
    mask = np.array([True, True, False, True])
    y = np.array([0, 1, 99, 0])
    assert np.isfinite(f.value(Z, y, where=mask))
    assert_refused(name, IndexError, [r"\b99\b"], Z, y, where=~mask)
    assert_refused(name, IndexError, [r"-100"], Z, np.array([0, -100, 1, 1]), ignore_index=-1)


@losses
@pytest.mark.parametrize(
    ("shape", "target"),
    [((4, 3), (3,)), ((4, 3), (5,)), ((4, 3), (4, 1)), ((4, 3), ()), ((3,), (3,)), ((3,), (1,)),
     ((2, 3, 4), (2, 3, 4, 1)), ((2, 3, 4), (4, 2)), ((2, 3, 4), (2,)), ((4, 3), (0,))],
)  # fmt: skip
def test_class_losses__refuse_a_target_of_another_shape(name, shape, target):
    """Both shapes; never a broadcast."""
    if name == "cross_entropy" and target == shape:
        error = (ValueError, TypeError)  # one-hot integers have an error of their own
    else:
        error = (ValueError, TypeError) if target == shape else ValueError
    fragments = [r"\btarget\b", re.escape(str(target)), re.escape(str(shape))]
    if target == shape:
        fragments = [r"\btarget\b"]
    assert_refused(name, error, fragments, np.zeros(shape), np.zeros(target, int))


@losses
@pytest.mark.parametrize(
    ("shape", "target", "axis", "hint"),
    [
        ((2, 5, 3), (2, 5), None, "axis=-1"),
        ((8, 16, 50), (8, 16), None, "axis=-1"),
        ((3, 4), (4,), None, r"axis=(0|-2)"),
        ((2, 3, 5), (2, 5), -1, r"axis=(1|None|-2)"),
        ((2, 3, 4, 7), (2, 3, 4), None, "axis=-1"),
    ],
)
def test_class_losses__name_the_axis_that_a_target_would_fit(name, shape, target, axis, hint):
    """[B, T, V] logits are the commonest mistake: say what to write."""
    assert_refused(
        name,
        ValueError,
        [re.escape(str(shape)), re.escape(str(target)), hint],
        np.zeros(shape),
        np.zeros(target, int),
        axis=axis,
    )


def test_cross_entropy__names_the_axis_for_probabilities_never_wrongly():
    """A floating target of another shape: both shapes."""
    assert_refused(NAME, ValueError, [r"\(4, 3\)", r"\(4, 2\)", r"\btarget\b"], Z, np.zeros((4, 2)))
    assert_refused(NAME, ValueError, [r"\(4, 3\)", r"\(5,\)"], Z, np.zeros(5))


def test_cross_entropy__refuses_floating_indices():
    """Labels read from a CSV are floats: say that indices must be integers."""
    for y in (np.array([0.0, 1.0, 2.0, 0.0]), np.float32([0, 1, 2, 0]), [0.0, 1.0, 2.0, 0.0]):
        assert_refused(NAME, TypeError, ["class indices must be integers", r"\btarget\b", "astype|int"], Z, y)
    assert_refused(NAME, TypeError, ["class indices must be integers"], Z[0], 1.0)


def test_cross_entropy__refuses_one_hot_integers():
    """np.eye(K, dtype=int)[y] is meant as probabilities: say so."""
    for dtype in (int, np.uint8):
        assert_refused(
            NAME,
            TypeError,
            ["class probabilities must be floating", r"\btarget\b", "astype|float"],
            Z,
            np.eye(3, dtype=dtype)[Y],
        )


@losses
def test_class_losses__refuse_boolean_targets(name):
    """A mask is not a label."""
    for y in (np.ones(4, bool), np.ones((4, 3), bool)):
        assert_refused(name, TypeError, [r"\btarget\b", r"\bbool"], Z, y)


@losses
@pytest.mark.parametrize(
    ("argument", "bad", "dtype"),
    [
        ("target", np.ones(4, complex), "complex128"),
        ("target", np.array([0, 1, 2, 0], object), "object"),
        ("target", np.array(["a"] * 4), "U1"),
        ("target", np.array(["2020"] * 4, "datetime64[Y]"), "datetime64"),
        ("weight", np.ones(3, complex), "complex128"),
        ("weight", np.ones(3, object), "object"),
        ("weight", np.array(["a"] * 3), "U1"),
        ("grad_output", np.ones((), complex), "complex128"),
        ("grad_output", np.array(1.0, object), "object"),
        ("grad_output", "1", "U1"),
    ],
)
def test_class_losses__refuse_arguments_that_are_not_real(name, argument, bad, dtype):
    """Every array argument is checked and named."""
    y = bad if argument == "target" else Y
    options = {} if argument == "target" else {argument: bad}
    assert_refused(name, TypeError, [rf"\b{argument}\b", dtype], Z, y, **options)


@pytest.mark.parametrize(("x", "dtype"), NOT_NUMBERS)
def test_cross_entropy__refuses_logits_that_are_not_real(x, dtype):
    """Say which argument and what came."""
    for f in (cross_entropy, cross_entropy_grad, cross_entropy_value_and_grad):
        with pytest.raises(TypeError, match=r"\blogits\b") as caught:
            f(x, np.zeros(len(x), int))
        assert dtype in str(caught.value) or str(x.dtype) in str(caught.value)


NOT_ARRAYS = {
    "ragged": [[1.0, 2.0], [3.0]],
    "generator": (i for i in range(3)),
    "string": "abc",
    "masked": np.ma.masked_array([0, 1, 2, 0], [True, False, False, False]),
    "object": object(),
    "dict": {0: 1},
}


@losses
@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        *itertools.product(["first", "target", "weight", "where", "grad_output"], NOT_ARRAYS),
        ("first", "None"),
        ("target", "None"),
    ],
)
def test_class_losses__refuse_what_is_not_an_array(name, argument, kind):
    """Whatever NumPy would make of it, an error that names the argument is better."""
    bad = NOT_ARRAYS.get(kind)
    first = {"nll_loss": "log_probs", "cross_entropy": "logits"}[name]
    z, y, options = Z, Y, {}
    if argument == "first":
        z, argument = bad, first
    elif argument == "target":
        y = bad
    else:
        options[argument] = bad
    fragments = [rf"\b{argument}\b"]
    if kind == "masked":
        fragments.append("where=")
    assert_refused(name, (TypeError, ValueError), fragments, z, y, **options)


@losses
@pytest.mark.parametrize("x", [1.0, np.zeros(()), np.zeros(0), np.zeros((4, 0)), np.zeros((2, 0, 3))])
def test_class_losses__need_a_class(name, x):
    """A loss over no classes is a mistake, not NaN."""
    y = np.zeros(np.shape(x)[:1] + np.shape(x)[2:] if np.ndim(x) > 1 else (), int)
    assert_refused(name, ValueError, ["log_probs|logits"], np.asarray(x), y)


@losses
@pytest.mark.parametrize("w", [np.ones(2), np.ones(4), np.ones((1, 3)), np.ones((4, 3)), 1.0, []])
def test_class_losses__refuse_weights_that_are_not_one_a_class(name, w):
    """Both shapes; no broadcasting, which would hide a swapped axis."""
    fragments = [r"\bweight\b", re.escape(str(np.shape(w))), r"\(3,\)"]
    assert_refused(name, ValueError, fragments, Z, Y, weight=w)


@losses
@pytest.mark.parametrize("reduction", ["average", "Mean", "", None, 1, "batchmean", ["mean"]])
def test_class_losses__refuse_an_unknown_reduction(name, reduction):
    """The three words, in the message."""
    assert_refused(name, ValueError, ["reduction", "none", "mean", "sum"], Z, Y, reduction=reduction)


@pytest.mark.parametrize("s", [-0.1, 1.1, nan, inf, -inf, -1e-9, 1 + 1e-9, 2])
@pytest.mark.parametrize("target", [Y, np.full((4, 3), 1 / 3)], ids=["index", "probability"])
def test_cross_entropy__refuses_smoothing_outside_the_unit_interval(s, target):
    """PyTorch takes -0.1 and trains on negative probabilities."""
    assert_refused(NAME, ValueError, ["label_smoothing", re.escape(str(s))], Z, target, label_smoothing=s)


@pytest.mark.parametrize("s", ["x", "0.1", b"0.1", None, [0.1, 0.2], 0.1j])
def test_cross_entropy__refuses_smoothing_that_is_no_number(s):
    """One real number."""
    assert_refused(NAME, TypeError, ["label_smoothing"], Z, Y, label_smoothing=s)


@pytest.mark.parametrize("ignore", [0, 2, 5])
def test_cross_entropy__refuses_ignore_index_with_probabilities(ignore):
    """A row of probabilities has no index to ignore; where= is meant."""
    q = np.full((4, 3), 1 / 3)
    assert_refused(NAME, ValueError, ["ignore_index", str(ignore)], Z, q, ignore_index=ignore)
    assert_bitwise(cross_entropy(Z, q, ignore_index=-5), cross_entropy(Z, q))


@losses
@pytest.mark.parametrize("ignore", [1.5, "1", [1], None, nan])
def test_class_losses__refuse_an_ignore_index_that_is_no_integer(name, ignore):
    """Compared with integers, a float or a string ignores nothing, silently."""
    assert_refused(name, (TypeError, ValueError), ["ignore_index"], Z, Y, ignore_index=ignore)


@losses
@pytest.mark.parametrize("axis", [2, -3, 10])
def test_class_losses__refuse_an_axis_out_of_range(name, axis):
    """NumPy's error for NumPy's mistake."""
    assert_refused(name, np.exceptions.AxisError, [str(axis)], Z, Y, axis=axis)


@losses
@pytest.mark.parametrize("kind", ["shape", "broadcast shape", "dtype", "integer", "read-only"])
def test_class_losses__refuse_a_wrong_out_untouched(name, kind):
    """out= is the caller's memory: refused whole or written whole."""
    z = np.arange(6.0).reshape(2, 3)
    f = package(name)
    for each in (f.grad, f.value_and_grad):
        out = bad_outs(z)[kind]
        with pytest.raises(ValueError, match=r"\bout\b") as caught:
            each(z, [0, 1], out=out)
        assert np.all(out == 7)
        if "shape" in kind:
            assert str(out.shape) in str(caught.value)
            assert "(2, 3)" in str(caught.value)


def test_cross_entropy__out_has_the_dtype_of_the_result():
    """With dtype= the gradient no longer fits into the logits' own memory."""
    z = np.ones((2, 3), np.float32)
    kept = z.copy()
    with pytest.raises(ValueError, match=r"\bout\b"):
        cross_entropy_grad(z, [0, 1], dtype=np.float64, out=z)
    assert_bitwise(z, kept)


@losses
def test_class_losses__refuse_an_out_that_overlaps_in_part(name):
    """Half the logits overwritten while they are read is a wrong answer without an error."""
    buffer = np.arange(12.0)
    kept = buffer.copy()
    f = package(name)
    for each in (f.grad, f.value_and_grad):
        with pytest.raises(ValueError, match=r"\bout\b"):
            each(buffer[:9].reshape(3, 3), [0, 1, 2], out=buffer[3:].reshape(3, 3))
        assert_bitwise(buffer, kept)


@pytest.mark.parametrize("which", ["target", "weight", "cotangent", "shuffled", "interleaved"])
def test_cross_entropy__an_out_that_shares_other_memory_is_right_or_refused(which):
    """Overwriting probabilities, weights or cotangents while they are read is a wrong answer."""
    rng = np.random.default_rng(20)
    z = rng.normal(size=(4, 4))
    q = rng.dirichlet(np.ones(4), 4)
    w, g = rng.random(4) + 0.5, rng.random(4)
    options = {"weight": w, "reduction": "none", "grad_output": g}
    if which == "target":
        out = q
    elif which == "shuffled":
        out = z[::-1]
    elif which == "interleaved":
        buffer = np.zeros((4, 8))
        buffer[:, :4] = z
        z, out = buffer[:, :4], buffer[:, 4:]  # one buffer, no element in common
    else:
        buffer = rng.random((5, 4)) + 0.5
        if which == "weight":
            options["weight"] = buffer[2]
        else:
            options["grad_output"] = buffer[2]
        out = buffer[:4]
    due = cross_entropy_grad(z.copy(), q.copy(), **{
        k: v.copy() if isinstance(v, np.ndarray) else v for k, v in options.items()
    })  # fmt: skip
    kept = out.copy()
    try:
        cross_entropy_grad(z, q, out=out, **options)
    except ValueError:
        assert which != "interleaved", "no element is shared"
        assert_bitwise(out, kept)
    else:
        assert_bitwise(out, due)


@losses
@pytest.mark.parametrize(
    ("reduction", "g", "due"),
    [
        ("none", np.ones(3), "(4,)"),
        ("none", np.ones((4, 1)), "(4,)"),
        ("none", np.ones((4, 3)), "(4,)"),
        ("mean", np.ones(4), "()"),
        ("sum", np.ones(2), "()"),
    ],
)
def test_class_losses__refuse_a_cotangent_that_does_not_broadcast(name, reduction, g, due):
    """Both shapes, so that the mistake is visible."""
    fragments = [r"\bgrad_output\b", re.escape(str(g.shape)), re.escape(due)]
    assert_refused(name, ValueError, fragments, Z, Y, reduction=reduction, grad_output=g)


@losses
@pytest.mark.parametrize("mask", [np.ones(3, bool), np.ones((4, 3), bool), np.ones((4, 1), bool)])
def test_class_losses__refuse_a_mask_that_does_not_broadcast(name, mask):
    """A mask has the shape of the losses, without classes; both shapes in the message."""
    fragments = [r"\bwhere\b", re.escape(str(mask.shape)), r"\(4,\)"]
    assert_refused(name, ValueError, fragments, Z, Y, where=mask)


@losses
@pytest.mark.parametrize("mask", [np.ones(4, int), np.ones(4), [1, 0, 1, 0], 1])
def test_class_losses__refuse_a_mask_that_is_not_boolean(name, mask):
    """An integer array as where= is usually an index, not a mask."""
    assert_refused(name, TypeError, [r"\bwhere\b", "bool"], Z, Y, where=mask)


@pytest.mark.parametrize("dtype", [int, complex, object, "U3", bool])
def test_cross_entropy__refuses_a_dtype_that_is_not_floating(dtype):
    """A loss in integers is 0."""
    for f in (cross_entropy, cross_entropy_grad, cross_entropy_value_and_grad):
        with pytest.raises((TypeError, ValueError), match=r"\bdtype\b"):
            f(Z, Y, dtype=dtype)


def test_naive_cross_entropy__fails_where_the_package_does_not():
    """What the page is for."""
    z = np.array([[0.0, 50.0], [0.0, 50.0]])
    assert naive_cross_entropy(z, np.array([1, 1])) == 0
    with np.errstate(all="ignore"):
        assert not np.isfinite(naive_cross_entropy(z * 20, np.array([0, 1])))
    assert cross_entropy(z, [1, 1]) > 0
    assert cross_entropy(z * 20, [0, 1]) == 500


# ---------------------------------------------------------------------------------------
# what mutants of the page showed to be untested


@pytest.mark.parametrize(
    ("target", "options"), [([0, 1], {}), ([0, 1], {"label_smoothing": 0.5}), (np.eye(2), {})]
)
def test_cross_entropy__does_no_more_than_asked(monkeypatch, target, options):
    """A value makes no gradient, and a gradient adds no losses up: half the time, and all the memory."""
    z = np.zeros((2, 2))
    with monkeypatch.context() as patch:
        patch.setattr(_reduction, "gradient_array", None)
        assert cross_entropy(z, target, **options) > 0.69
    with monkeypatch.context() as patch:
        patch.setattr(_reduction.Reduction, "_value", None)
        assert np.all(cross_entropy_grad(z, target, **options) < 0.5)


def test_mean_cross_entropy__is_the_mean_before_it_is_rounded():
    """`perplexity` takes its exponential: with the digits that a float32 mean has lost."""
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(2, 5, 3)).astype(np.float32), np.array([1.0, 2, 3, 4, 5])
    y, where = np.array([[0, 1, 4], [3, 2, 1]]), np.array([True, True, False])
    mean, dtype = mean_cross_entropy(z, y, w, 4, 1, where)
    assert (mean.dtype, dtype) == (np.float64, np.float32)
    assert mean != mean.astype(dtype)
    assert_bitwise(mean.astype(dtype), cross_entropy(z, y, weight=w, ignore_index=4, where=where))
    turned = mean_cross_entropy(np.moveaxis(z, 1, -1), y, w, 4, -1, where)[0]
    assert_bitwise(turned, mean)
    with pytest.raises(ValueError, match=r"^logits has no class axis"):
        mean_cross_entropy(1.0, 0, None, -100, None, None)
    with pytest.raises(TypeError, match=r"^logits must be an array of real numbers"):
        mean_cross_entropy("x", 0, None, -100, None, None)


@pytest.mark.parametrize("target", [[0, 1], np.array([[0.25, 0.5, 0.25], [0.0, 1.0, 0.0]])])
def test_cross_entropy__only_what_is_not_finite_is_computed_again(monkeypatch, target):
    """The way that 0 * inf takes would give nearly the same: a mistake in the other could hide behind it."""
    monkeypatch.setattr(categorical, "times", None)
    z = np.array([[1.0, -2.0, 3.0], [0.5, 700.0, -900.0]])
    for options in ({"label_smoothing": 0.25}, {"label_smoothing": 0.25, "weight": [1.0, 2.0, 3.0]}):
        assert np.all(cross_entropy(z, target, reduction="none", **options) > 1)


@pytest.mark.parametrize("weight", [None, np.ones(3, np.longdouble) / 3])
def test_cross_entropy__smoothing_in_longdouble_has_its_digits(weight):
    """A sixth and a third of longdouble: those of float64 are others."""
    z = np.zeros((1, 3), np.longdouble)
    loss = cross_entropy(z, [1], label_smoothing=0.5, weight=weight, reduction="sum")
    due = np.log1p(np.longdouble(2)) * (1 if weight is None else weight[0])
    assert abs(loss - due) <= 4 * np.spacing(due)


@pytest.mark.parametrize(("y", "due"), [(0, 0.25), (1, 0.75)])
def test_cross_entropy_grad__a_small_weight_beside_a_large_one_keeps_its_digits(y, due):
    """What the other classes weigh is the sum of all without the likeliest: 2**58 + 1/4 - 2**58."""
    w = [2.0**60, 1.0]
    grad = cross_entropy_grad([0.0, -100.0], y, weight=w, label_smoothing=0.5, reduction="sum")
    assert grad.tolist() == [due, -due]
