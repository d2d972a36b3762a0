"""binary_cross_entropy_with_logits and its gradient: page 5."""

import itertools
import re
from dataclasses import replace
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import truth
from crossent import (
    _reduction,
    binary,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_grad,
    binary_cross_entropy_with_logits_value_and_grad,
)
from laws import (
    BINARY,
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
from test_categorical import NOT_ARRAYS
from test_lse import NOT_NUMBERS, bad_outs

nan, inf = np.nan, np.inf
NAME = BINARY
dtypes = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
bce = binary_cross_entropy_with_logits
bce_grad = binary_cross_entropy_with_logits_grad
bce_both = binary_cross_entropy_with_logits_value_and_grad


def naive_binary_cross_entropy(z, y):
    """The formula as it is taught."""
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


# ---------------------------------------------------------------------------------------
# values


@given(data=st.data())
def test_bce__values_are_the_definition(data):
    """`crossent.exact` is the definition; the package may not be another one."""
    call = data.draw(calls(NAME, regimes=["plain", "wide", "ties"]))
    assert_value_is_the_definition(package(NAME), call)


def test_bce__confident_predictions_keep_all_their_digits():
    """The contract's own number, from both sides."""
    assert bce(np.float64([-50.0]), [0.0]) == 1.9287498479639178e-22
    assert bce(np.float64([50.0]), [1.0]) == 1.9287498479639178e-22
    assert bce_grad(np.float64([-50.0]), [0.0])[0] == 1.9287498479639178e-22
    assert bce_grad(np.float64([50.0]), [1.0])[0] == -1.9287498479639178e-22


@dtypes
@pytest.mark.parametrize("y", [0.0, 1.0, 0.5, 0.25, 1e-3])
@pytest.mark.parametrize("pos_weight", [None, 3.0, 0.1])
def test_bce__digits_over_the_whole_range(dtype, y, pos_weight):
    """Right and wrong, from a coin's toss to the underflow of the other side."""
    top = {"float16": 11.0, "float32": 86.0, "float64": 706.0}[dtype]
    z = np.concatenate([np.linspace(-top, top, 121), np.linspace(-1, 1, 41)]).astype(dtype)
    options = {"reduction": "none"}
    if pos_weight is not None:
        options["pos_weight"] = np.array(pos_weight)
    call = Call(NAME, z, np.full(z.shape, y, dtype), options)
    e, f = exact(call), package(NAME)
    assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale, least=e.grad_least)


def test_bce__targets_are_exact_whatever_the_logits_dtype():
    """A float64 target of 1 - 1e-12 is not 1 because the logits are float32."""
    z = np.linspace(-60, 60, 25).astype(np.float32)
    for y in (1 - 1e-12, 1e-12, 1 / 3, 1 - 1e-6):
        call = Call(NAME, z, np.full(25, y), {"reduction": "none"})
        e, f = exact(call), package(NAME)
        assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale, least=e.value_least)
        assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale, least=e.grad_least)


def test_bce__weights_are_exact_whatever_the_logits_dtype():
    """Half-precision logits do not round the caller's float64 weights to half precision."""
    z = np.linspace(-5, 5, 21).astype(np.float16)
    for options in ({"weight": np.array(1 / 3)}, {"pos_weight": np.full(21, 0.7)}):
        for y in (0.0, 1.0, 0.1):
            call = Call(NAME, z, np.full(21, y), {"reduction": "none", **options})
            e, f = exact(call), package(NAME)
            assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale)
            assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale)


def test_bce__mean_divides_by_the_number_of_elements():
    """Weights do not enter the denominator, unlike those of classes."""
    z = np.zeros(4)
    log2 = truth.decimals(np.log(2.0))
    assert_ulp(NAME, bce(z, np.ones(4), weight=[1.0, 3.0, 0.0, 0.0]), log2)
    assert_ulp(NAME, bce(z, np.ones(4), pos_weight=2.0, weight=0.5), log2)
    assert_ulp(NAME, bce(z, np.ones(4), where=[True, False, True, False]), log2)
    assert bce(z, np.ones(4), weight=0.0) == 0
    assert np.all(bce_grad(z, np.ones(4), weight=0.0) == 0)


@dtypes
def test_bce__means_and_sums_of_many_elements(dtype):
    """40,000 losses: plain summation in the dtype loses what each element was careful to keep."""
    z = np.array([0.7], dtype)
    one = exact(Call(NAME, z, np.array([0.0]), {"reduction": "none"}))
    n = 40_000
    many, y = np.broadcast_to(z, (n,)), np.zeros(n)
    assert_ulp(NAME, bce(many, y), np.array(one.value[0], object))
    assert_ulp(NAME, bce(many, y, reduction="sum"), np.array(one.value[0] * n, object))


def test_bce__half_precision_means_of_70000_elements_survive():
    """float16 ends at 65504: the sum of a large batch does not fit, its mean does."""
    z, y = np.full(70_000, 4, np.float16), np.zeros(70_000)
    with silence():
        assert_ulp(NAME, bce(z, y), exact(Call(NAME, z[:1], y[:1], {})).value)
        assert bce(z, y, reduction="sum") == inf


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bce__means_near_the_largest_number(dtype):
    """The mean of huge losses is a number of their size even where their sum is not."""
    top = float(np.finfo(dtype).max)
    z = np.array([top * 0.75, top * 0.5, top * 0.9], dtype)
    call = Call(NAME, z, np.zeros(3), {})
    with silence():
        assert_ulp(NAME, bce(z, np.zeros(3)), exact(call).value)


def test_bce__targets_outside_the_unit_interval_follow_the_formula():
    """The formula is linear in y; PyTorch takes any y too."""
    z = np.linspace(-3, 3, 7)
    for y in (-0.5, 1.5, 2.0):
        call = Call(NAME, z, np.full(7, y), {"reduction": "none"})
        e, f = exact(call), package(NAME)
        assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale)
        assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale)


# ---------------------------------------------------------------------------------------
# special values


@dtypes
@pytest.mark.parametrize(
    ("z", "y", "options", "loss", "grad"),
    [
        (inf, 1.0, {}, 0.0, 0.0),
        (inf, 0.0, {}, inf, 1.0),
        (-inf, 0.0, {}, 0.0, 0.0),
        (-inf, 1.0, {}, inf, -1.0),
        (inf, 0.5, {}, inf, 0.5),
        (-inf, 0.5, {}, inf, -0.5),
        (nan, 0.0, {}, nan, nan),
        (nan, 1.0, {}, nan, nan),
        (nan, 0.0, {"weight": 0.0}, nan, nan),
        (nan, 1.0, {"pos_weight": 0.0}, nan, nan),
        (0.0, nan, {}, nan, nan),
        (nan, nan, {"where": False}, 0.0, 0.0),
        (inf, inf, {"where": False}, 0.0, 0.0),
        (-inf, 1.0, {"pos_weight": 0.0}, 0.0, 0.0),
        (-inf, 1.0, {"pos_weight": 2.0}, inf, -2.0),
        (inf, 0.0, {"weight": 0.0}, 0.0, 0.0),
        (-inf, 1.0, {"weight": 0.0}, 0.0, 0.0),
        (-inf, 0.5, {"pos_weight": 0.0}, 0.0, 0.0),
        (inf, 0.5, {"weight": 2.0}, inf, 1.0),
        (3e4, 0.0, {}, 3e4, 1.0),
        (3e4, 1.0, {}, 0.0, 0.0),
        (-3e4, 1.0, {}, 3e4, -1.0),
        (-3e4, 0.0, {}, 0.0, 0.0),
        (0.0, 0.5, {}, None, 0.0),
        (0.0, 1.0, {}, None, -0.5),
    ],
)
def test_bce__special_values(z, y, options, loss, grad, dtype):
    """Infinite logits are certain, not undefined; 0 * inf is 0; NaN stays alone."""
    x = np.array([1, z, 1], dtype)
    options = {k: np.array([True, v, True]) if k == "where" else v for k, v in options.items()}
    with silence():
        value, slope = bce_both(x, np.array([1, y, 0]), reduction="none", **options)
    if loss is not None:
        np.testing.assert_array_equal(value[1], np.array(loss, dtype))
    np.testing.assert_array_equal(slope[1], np.array(grad, dtype))
    assert np.all(np.isfinite(value[[0, 2]]))
    assert np.all(np.isfinite(slope[[0, 2]]))


@pytest.mark.parametrize(
    ("shape", "options"),
    [((0,), {}), ((0, 3), {}), ((3,), {"where": False}), ((2, 2), {"where": np.zeros(2, bool)})],
)
def test_bce__of_nothing(shape, options):
    """The mean of nothing is NaN, its sum is 0, its gradient 0, and nothing is worth a warning."""
    z, y = np.ones(shape, np.float32), np.ones(shape)
    with silence():
        value, grad = bce_both(z, y, **options)
        assert np.isnan(value)
        assert value.dtype == np.float32
        assert grad.shape == shape
        assert np.all(grad == 0)
        assert bce(z, y, reduction="sum", **options) == 0


@dtypes
def test_bce__smallest_and_largest_numbers_warn_of_nothing(dtype):
    """Underflow and overflow inside are not the caller's business."""
    info = np.finfo(dtype)
    zs = [info.max, -info.max, info.tiny, -info.smallest_subnormal, 0.0, -0.0, 89.0, -104.0]
    zs += [inf, -inf, nan, 746.0, -746.0, float(info.eps), 17.0, -37.0]
    grid = np.array(list(itertools.product(zs, [0.0, 1.0, 0.5, 0.125])), dtype)
    call = Call(NAME, grid[:, 0], grid[:, 1], {"reduction": "none"})
    e, f = exact(call), package(NAME)
    assert_ulp(NAME, call.value(f), e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{NAME}_grad", call.grad(f), e.grad, scale=e.grad_scale, least=e.grad_least)
    assert np.isnan(call.having(reduction="mean").value(f))


# ---------------------------------------------------------------------------------------
# laws


@pytest.mark.parametrize("law", laws_of(NAME), ids=lambda law: law.name)
@given(data=st.data())
def test_bce__obeys_the_laws(law, data):
    """Each law's own docstring says why it matters."""
    law.check(package(NAME), data.draw(calls(NAME, **law.draws)))


@given(data=st.data())
def test_bce__mirrors(data):
    """The other class is the other sign: l(z, y) = l(-z, 1 - y) for hard targets."""
    call = data.draw(calls(NAME, without=("pos_weight",)))
    y = np.round(np.asarray(call.target, float))
    call = replace(call, target=y)
    mirror = replace(call, x=-call.x, target=1 - y)
    e, f = exact(call), package(NAME)
    assert_ulp(NAME, mirror.value(f), e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{NAME}_grad", -mirror.grad(f), e.grad, scale=e.grad_scale, least=e.grad_least)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_bce__every_option_with_every_other(dtype, reduction):
    """Options meet in users' code, not in ours: all combinations, value and gradient."""
    rng = np.random.default_rng(3)
    shape = (2, 3)
    z = (3 * rng.normal(size=shape)).astype(dtype)
    targets = [rng.random(shape), rng.integers(0, 2, shape), rng.random(shape) < 0.5]
    weights = [None, 0.5, rng.random(3), rng.random((2, 1)), rng.random(shape)]
    masks = [None, np.array([True, False, True]), rng.random(shape) < 0.7]
    f = package(NAME)
    for y, w, pw, where, cotangent, out in itertools.product(
        targets, weights, weights[:4], masks, [False, True], [None, "fresh", "logits"]
    ):
        options = {"reduction": reduction, "weight": w, "pos_weight": pw, "where": where}
        options = {k: v for k, v in options.items() if v is not None}
        g = None
        if cotangent:
            g = np.asarray(rng.normal(size=shape if reduction == "none" else ()))
        call = Call(NAME, z, y, options, g)
        if out is None:
            e = exact(call)
            value, grad = call.value(f), call.grad(f)
            assert_ulp(NAME, value, e.value, scale=e.value_scale, least=e.value_least)
            assert_ulp(f"{NAME}_grad", grad, e.grad, scale=e.grad_scale, least=e.grad_least)
        else:
            x = z.copy()
            memory = x if out == "logits" else np.full(z.shape, 7, dtype)
            value, grad = replace(call, x=x).both(f, out=memory)
            assert_bitwise(value, call.value(f))
            assert_bitwise(memory, call.grad(f))
            assert_bitwise(grad, memory)
        assert np.asarray(value).dtype == grad.dtype == dtype


# ---------------------------------------------------------------------------------------
# gradient


@given(data=st.data())
def test_bce__gradient_is_the_slope_of_the_definition(data):
    """Differences of the 50-digit definition prove the formula and the digits at once."""
    call = data.draw(calls(NAME, ndims=("1", "2"), regimes=["plain", "ties", "confident"], min_rows=1)).rows
    call = call.take(slice(0, 4))
    if call.live.any():
        assert_gradient_is_the_slope(package(NAME), call)


@settings(max_examples=75)
@given(data=st.data())
def test_bce__random_calls_are_exact(data):
    """All regimes and options: value and gradient in ulp of the exact ones."""
    call = data.draw(calls(NAME))
    e, f = exact(call), package(NAME)
    value, grad = call.both(f)
    assert_ulp(NAME, value, e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{NAME}_grad", grad, e.grad, scale=e.grad_scale, least=e.grad_least)


def test_bce_grad__vanishes_at_the_optimum_of_a_soft_target():
    """sigmoid(z) = y is a cancellation of the problem itself: small in ulps of its terms."""
    z = np.linspace(-4, 4, 33)
    y = 1 / (1 + np.exp(-z))
    call = Call(NAME, z, y, {"reduction": "sum"})
    e = exact(call)
    assert_ulp(f"{NAME}_grad", call.grad(package(NAME)), e.grad, scale=e.grad_scale)


def test_bce__grad_output_broadcasts():
    """A scalar or a row of cotangents stands for all; None means ones."""
    rng = np.random.default_rng(4)
    z, y = rng.normal(size=(3, 4)), rng.random((3, 4))
    none = {"reduction": "none"}
    assert_bitwise(bce_grad(z, y, **none), bce_grad(z, y, **none, grad_output=np.ones((3, 4))))
    row = np.array([1.0, -2.0, 0.5, 0.0])
    assert_bitwise(
        bce_grad(z, y, **none, grad_output=row),
        bce_grad(z, y, **none, grad_output=np.tile(row, (3, 1))),
    )
    assert_bitwise(bce_grad(z, y, **none), bce_grad(z, y, reduction="sum"))
    value, grad = bce_both(z, y, grad_output=4.0)
    assert_bitwise(value, bce(z, y))
    assert_bitwise(grad, 4 * bce_grad(z, y))


# ---------------------------------------------------------------------------------------
# dtype and shape


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 1, 3), (1, 2, 3, 4)])
def test_bce__accepts_any_shape(shape):
    """Elementwise: a scalar or any number of axes."""
    rng = np.random.default_rng(5)
    z, y = rng.normal(size=shape), rng.random(shape)
    assert np.shape(bce(z, y, reduction="none")) == shape
    assert np.shape(bce_grad(z, y)) == shape
    for reduction in ("mean", "sum"):
        assert isinstance(bce(z, y, reduction=reduction), np.float64)
    assert bce(0.5, 1.0) == bce(np.array([0.5]), np.array([1.0]))


@pytest.mark.parametrize("dtype", ["int64", "uint8", ">i2", "bool", "float16", "float32", "float64"])
def test_bce__targets_of_any_real_dtype(dtype):
    """Labels as integers, booleans or floats are the same labels."""
    z = np.array([[0.5, -1.0], [2.0, 0.0]])
    y = np.array([[1, 0], [0, 1]])
    due = bce_both(z, y.astype(float), pos_weight=[2.0, 3.0])
    got = bce_both(z, y.astype(dtype), pos_weight=[2.0, 3.0])
    assert_bitwise(got[0], due[0])
    assert_bitwise(got[1], due[1])


@dtypes
def test_bce__returns_its_inputs_dtype(dtype):
    """float64 targets, weights or cotangents do not widen float32 losses."""
    z = np.ones((2, 3), dtype)
    for reduction in ("none", "mean", "sum"):
        value, grad = bce_both(
            z, np.ones((2, 3)), weight=np.ones(3), pos_weight=np.ones(3), reduction=reduction,
            grad_output=np.float64(3),
        )  # fmt: skip
        assert value.dtype == grad.dtype == dtype
    for wide in ("float32", "float64", "longdouble"):
        value, grad = bce_both(z, np.ones((2, 3)), dtype=wide)
        assert value.dtype == grad.dtype == np.dtype(wide)


def test_bce__integers_booleans_and_lists_are_float64():
    """Integers are counted, not computed with."""
    due = bce_both(np.array([0.0, 1.0]), [1.0, 0.0])
    for z in ([0, 1], np.array([0, 1], np.uint8), np.array([False, True])):
        got = bce_both(z, [1, 0])
        assert got[0].dtype == got[1].dtype == np.float64
        assert_bitwise(got[0], due[0])
        assert_bitwise(got[1], due[1])


def test_bce__longdouble_is_computed_in_longdouble():
    """A wider dtype that only has float64's digits is a lie."""
    if np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps:
        pytest.skip("longdouble is float64 here")
    z = np.linspace(-9, 9, 21).astype(np.longdouble) + np.longdouble(1) / 3
    for y in (0.0, 1.0, 0.25):
        for reduction in ("none", "mean"):
            call = Call(NAME, z, np.full(21, y), {"reduction": reduction})
            e, f = exact(call), package(NAME)
            for got, due, scale in [
                (call.value(f), e.value, e.value_scale),
                (call.grad(f), e.grad, e.grad_scale),
            ]:
                assert got.dtype == np.longdouble
                bound = truth.decimal(np.finfo(float).eps) / 64
                for a, b, s in zip(np.ravel(got), due.ravel(), scale.ravel(), strict=True):
                    assert abs(truth.decimal(a) - b) < abs(s) * bound


def test_bce__bfloat16():
    """bfloat16 is computed in float32 and rounded once, where a caller passes it."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 comes from ml_dtypes")
    z = np.linspace(-9, 9, 40).astype(ml_dtypes.bfloat16)
    y = np.arange(40) % 2
    for reduction in ("none", "mean"):
        low = bce_both(z, y, reduction=reduction)
        high = bce_both(z.astype(np.float32), y, reduction=reduction)
        for a, b in zip(low, high, strict=True):
            assert a.dtype == ml_dtypes.bfloat16
            assert_bitwise(
                np.asarray(a, np.float32),
                np.asarray(b).astype(ml_dtypes.bfloat16).astype(np.float32),
            )


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_bce__large_arrays_in_any_layout(layout):
    """Arrays of many blocks: the same bits from any memory, options and all."""
    rng = np.random.default_rng(6)
    z = (4 * rng.normal(size=(301, 1031))).astype(np.float32)
    y = rng.random((301, 1031), np.float32)
    options = {"weight": rng.random(1031), "pos_weight": rng.random((301, 1)), "where": z < 5}
    for reduction in ("mean", "none"):
        due = bce_both(z, y, reduction=reduction, **options)
        got = bce_both(in_layout(z, layout), in_layout(y, layout), reduction=reduction, **options)
        assert_bitwise(got[0], due[0])
        assert_bitwise(got[1], due[1])


def test_bce__weights_broadcast():
    """One weight a class, a row, or for all."""
    rng = np.random.default_rng(7)
    z, y = rng.normal(size=(3, 4)), rng.random((3, 4))
    for name in ("weight", "pos_weight"):
        for w in (2.0, np.arange(4.0), np.arange(3.0)[:, None], np.ones((1, 1)), [1, 2, 3, 4]):
            full = np.broadcast_to(np.asarray(w, float), (3, 4)).copy()
            assert_bitwise(bce(z, y, **{name: w}), bce(z, y, **{name: full}))
            assert_bitwise(bce_grad(z, y, **{name: w}), bce_grad(z, y, **{name: full}))


# ---------------------------------------------------------------------------------------
# errors

Z = np.random.default_rng(8).normal(size=(2, 3))
Y = np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 0.0]])


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 3), (3, 2), (2, 3, 1), (1, 2, 3), ()])
def test_bce__refuses_a_target_of_another_shape(shape):
    """Broadcasting a target hides a missing axis: both shapes."""
    fragments = [r"\btarget\b", re.escape(str(shape)), r"\(2, 3\)"]
    assert_refused(NAME, ValueError, fragments, Z, np.ones(shape))


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
@pytest.mark.parametrize("shape", [(2,), (4,), (3, 3), (2, 2, 3), (1, 2, 3), (2, 3, 1)])
def test_bce__refuses_weights_that_do_not_broadcast(name, shape):
    """A weight never enlarges the loss: both shapes."""
    fragments = [rf"\b{name}\b", re.escape(str(shape)), r"\(2, 3\)"]
    assert_refused(NAME, ValueError, fragments, Z, Y, **{name: np.ones(shape)})


@pytest.mark.parametrize("argument", ["target", "weight", "pos_weight", "grad_output"])
@pytest.mark.parametrize(
    ("bad", "dtype"),
    [
        (np.ones((2, 3), complex), "complex128"),
        (np.ones((2, 3), object), "object"),
        (np.full((2, 3), "a"), "U1"),
        (np.full((2, 3), np.datetime64("2020")), "datetime64"),
    ],
)
def test_bce__refuses_arguments_that_are_not_real(argument, bad, dtype):
    """Every array argument is checked and named."""
    y = bad if argument == "target" else Y
    options = {} if argument == "target" else {argument: bad, "reduction": "none"}
    assert_refused(NAME, TypeError, [rf"\b{argument}\b", dtype], Z, y, **options)


@pytest.mark.parametrize(("x", "dtype"), NOT_NUMBERS)
def test_bce__refuses_logits_that_are_not_real(x, dtype):
    """Say which argument and what came."""
    for f in (bce, bce_grad, bce_both):
        with pytest.raises(TypeError, match=r"\blogits\b"):
            f(x, np.ones(x.shape))


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        *itertools.product(["logits", "target", "weight", "pos_weight", "where", "grad_output"], NOT_ARRAYS),
        ("logits", "None"),
        ("target", "None"),
    ],
)
def test_bce__refuses_what_is_not_an_array(argument, kind):
    """Whatever NumPy would make of it, an error that names the argument is better."""
    bad = NOT_ARRAYS.get(kind)
    z, y, options = Z, Y, {}
    if argument == "logits":
        z = bad
    elif argument == "target":
        y = bad
    else:
        options[argument] = bad
    fragments = [rf"\b{argument}\b"] + ["where="] * (kind == "masked")
    assert_refused(NAME, (TypeError, ValueError), fragments, z, y, **options)


@pytest.mark.parametrize("reduction", ["average", "Mean", "", None, 1, "batchmean"])
def test_bce__refuses_an_unknown_reduction(reduction):
    """The three words, in the message."""
    assert_refused(NAME, ValueError, ["reduction", "none", "mean", "sum"], Z, Y, reduction=reduction)


@pytest.mark.parametrize("kind", ["shape", "broadcast shape", "dtype", "integer", "read-only"])
def test_bce__refuses_a_wrong_out_untouched(kind):
    """out= is the caller's memory: refused whole or written whole."""
    for f in (bce_grad, bce_both):
        out = bad_outs(Z)[kind]
        with pytest.raises(ValueError, match=r"\bout\b"):
            f(Z, Y, out=out)
        assert np.all(out == 7)


def test_bce__refuses_an_out_that_overlaps_in_part():
    """Half the logits overwritten while they are read is a wrong answer without an error."""
    buffer = np.arange(9.0)
    kept = buffer.copy()
    for f in (bce_grad, bce_both):
        with pytest.raises(ValueError, match=r"\bout\b"):
            f(buffer[:6], np.ones(6), out=buffer[3:])
        assert_bitwise(buffer, kept)


@pytest.mark.parametrize("which", ["target", "weight", "pos_weight", "grad_output"])
def test_bce__an_out_that_shares_other_memory_is_right_or_refused(which):
    """Overwriting another argument while it is read is a wrong answer without an error."""
    rng = np.random.default_rng(9)
    z = rng.normal(size=(600, 700))
    arrays = {k: rng.random((600, 700)) for k in ("target", "weight", "pos_weight", "grad_output")}
    y = arrays.pop("target")
    due = bce_grad(z, y, reduction="none", **arrays)
    out = y if which == "target" else arrays[which]
    kept = out.copy()
    try:
        bce_grad(z, y, reduction="none", out=out, **arrays)
    except ValueError:
        assert_bitwise(out, kept)
    else:
        assert_bitwise(out, due)


@pytest.mark.parametrize(
    ("reduction", "g"),
    [("none", np.ones(2)), ("none", np.ones((1, 2, 3))), ("mean", np.ones(3)), ("sum", np.ones((2, 3)))],
)
def test_bce__refuses_a_cotangent_that_does_not_broadcast(reduction, g):
    """Both shapes, so that the mistake is visible."""
    due = r"\(2, 3\)" if reduction == "none" else r"\(\)"
    fragments = [r"\bgrad_output\b", re.escape(str(g.shape)), due]
    assert_refused(NAME, ValueError, fragments, Z, Y, reduction=reduction, grad_output=g)


@pytest.mark.parametrize("mask", [np.ones(2, bool), np.ones((3, 2), bool), np.ones((1, 2, 3), bool)])
def test_bce__refuses_a_mask_that_does_not_broadcast(mask):
    """Both shapes."""
    fragments = [r"\bwhere\b", re.escape(str(mask.shape)), r"\(2, 3\)"]
    assert_refused(NAME, ValueError, fragments, Z, Y, where=mask)


@pytest.mark.parametrize("mask", [np.ones((2, 3), int), np.ones((2, 3)), [1, 0, 1], 1])
def test_bce__refuses_a_mask_that_is_not_boolean(mask):
    """An integer array as where= is usually an index, not a mask."""
    assert_refused(NAME, TypeError, [r"\bwhere\b", "bool"], Z, Y, where=mask)


@pytest.mark.parametrize("dtype", [int, complex, object, bool])
def test_bce__refuses_a_dtype_that_is_not_floating(dtype):
    """A loss in integers is 0."""
    for f in (bce, bce_grad, bce_both):
        with pytest.raises((TypeError, ValueError), match=r"\bdtype\b"):
            f(Z, Y, dtype=dtype)


def test_naive_binary_cross_entropy__fails_where_the_package_does_not():
    """What the page is for."""
    with np.errstate(all="ignore"):
        assert naive_binary_cross_entropy(np.float64(-50), 0.0) == 0
        assert not np.isfinite(naive_binary_cross_entropy(np.float64(800), 0.0))
    assert bce(-50.0, 0.0) > 0
    assert bce(800.0, 0.0) == 800


# ---------------------------------------------------------------------------------------
# what mutants of the page showed to be untested


def test_bce__does_no_more_than_asked(monkeypatch):
    """A value makes no gradient, and a gradient adds no losses up: half the time, and all the memory."""
    with monkeypatch.context() as patch:
        patch.setattr(_reduction, "gradient_array", None)
        assert bce([0.0], [1.0]) > 0.69
    with monkeypatch.context() as patch:
        patch.setattr(_reduction.Reduction, "_value", None)
        assert bce_grad([0.0], [1.0]) == [-0.5]


def test_bce__the_roundings_of_both_factors_are_put_back(monkeypatch):
    """``(1 - y) + c y`` is rounded four times: for logits of 0, log 2 times the errors is put back."""
    rng = np.random.default_rng(0)
    y, c = rng.random((2, 200)) ** 4  # 1 - y is exact for multiples of eps
    errors = []
    monkeypatch.setattr(binary, "corrected", lambda a, error: errors.append(error) or a)
    bce(np.zeros(200), y, pos_weight=c, reduction="none")
    for a, b, error in zip(y.tolist(), c.tolist(), errors[0] / np.log1p(1.0), strict=True):
        due = 1 - Fraction(a) + Fraction(b) * Fraction(a) - Fraction((1 - a) + b * a)
        assert abs(Fraction(error.item()) - due) <= Fraction(2) ** -104  # eps**2: of errors of errors


def test_bce__an_infinite_weight_makes_an_infinite_loss():
    """Both terms count: 0 * inf on the way is not seen."""
    assert bce([0.0], [0.5], pos_weight=inf) == inf


def test_bce__an_element_of_0_times_infinity_leaves_the_others_their_bits():
    """It is computed once more in another way, which must not be seen beside it."""
    rng = np.random.default_rng(0)
    z, y, c = rng.normal(size=100), rng.random(100), rng.random(100)
    z[7], y[7] = inf, 1.0
    rest = np.delete(np.arange(100), 7)
    for options in ({}, {"pos_weight": c}):
        losses = bce(z, y, reduction="none", **options)
        some = {name: value[rest] for name, value in options.items()}
        assert losses[7] == 0
        assert_bitwise(losses[rest], bce(z[rest], y[rest], reduction="none", **some))


@pytest.mark.parametrize("names", [["weight"], ["pos_weight"], ["weight", "pos_weight"]])
def test_bce__weighted_float32_is_computed_a_step_wider(names):
    """The float64 answer, rounded once: factors cost no digits."""
    rng = np.random.default_rng(0)
    z, y, *factors = rng.random((4, 200)).astype(np.float32)
    options = dict(zip(names, factors, strict=False))
    wide = {name: factor.astype(np.float64) for name, factor in options.items()}
    for f in (bce, bce_grad):
        due = f(z.astype(np.float64), y.astype(np.float64), reduction="none", **wide)
        assert_bitwise(f(z, y, reduction="none", **options), due.astype(np.float32))


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_bce__messages_name_the_logits(name):
    """What a shape is compared with."""
    with pytest.raises(
        ValueError, match=rf"^{name} of shape \(3,\) does not broadcast to .* the shape of logits$"
    ):
        bce(np.ones(2), np.ones(2), **{name: np.ones(3)})
    with pytest.raises(ValueError, match=r"^target of shape \(3,\) must have the shape \(2,\) of logits$"):
        bce(np.ones(2), np.ones(3))
    with pytest.raises(TypeError, match=r"not int64; logits are real numbers$"):
        bce(np.ones(2), np.ones(2), dtype=np.int64)
