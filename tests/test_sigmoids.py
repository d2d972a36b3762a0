"""softplus, log_sigmoid, sigmoid and their gradients: page 2."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import truth
from crossent import (
    log_sigmoid,
    log_sigmoid_grad,
    sigmoid,
    sigmoid_grad,
    softplus,
    softplus_grad,
)
from laws import (
    ELEMENTWISE,
    Call,
    assert_bitwise,
    assert_gradient_is_the_slope,
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
functions = pytest.mark.parametrize("name", ELEMENTWISE)
dtypes = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def naive_softplus(x):
    """The formula as it is taught: inf at 710, 0 at -37."""
    return np.log(1 + np.exp(x))


# ---------------------------------------------------------------------------------------
# values


@functions
@given(data=st.data())
def test_sigmoids__values_are_the_definition(name, data):
    """`crossent.exact` is the definition; the package may not be another one."""
    call = data.draw(calls(name, regimes=["plain", "wide"]))
    assert_value_is_the_definition(package(name), call)


@dtypes
@functions
def test_sigmoids__keep_their_digits_over_the_whole_range(name, dtype):
    """From where exp is subnormal to where it overflows, and densely around 0."""
    info = np.finfo(dtype)
    top = -float(np.log(np.float64(info.tiny if dtype != "float16" else 6e-8)))
    x = np.concatenate(
        [
            np.linspace(-1.1 * top, 1.1 * top, 401),
            np.linspace(-2, 2, 201),
            np.array([1e-3, 1e-5, 1e-7, 1e-8, 1e-16, 0.0, -1e-4, -1e-16]),
            np.geomspace(1, float(info.max) / 2, 30),
            -np.geomspace(1, float(info.max) / 2, 30),
        ]
    ).astype(dtype)
    call = Call(name, x)
    e = exact(call)
    assert_ulp(name, call.value(package(name)), e.value, least=e.value_least)
    assert_ulp(f"{name}_grad", call.grad(package(name)), e.grad, least=e.grad_least)


def test_softplus__of_a_very_negative_number_is_its_exponential():
    """log(1 + t) loses t below 1e-16; log1p does not."""
    assert softplus(-50.0) == 1.9287498479639178e-22
    assert log_sigmoid(50.0) == -1.9287498479639178e-22


def test_sigmoids__mirror_each_other():
    """log_sigmoid(x) is -softplus(-x), bit for bit: one logarithm serves both."""
    x = np.linspace(-800, 800, 1001)
    assert_bitwise(log_sigmoid(x), -softplus(-x))


# ---------------------------------------------------------------------------------------
# special values


@dtypes
@pytest.mark.parametrize(
    ("x", "plus", "log", "sig", "plus_grad", "log_grad", "sig_grad"),
    [
        (inf, inf, 0.0, 1.0, 1.0, 0.0, 0.0),
        (-inf, 0.0, -inf, 0.0, 0.0, 1.0, 0.0),
        (nan, nan, nan, nan, nan, nan, nan),
        (3e4, 3e4, 0.0, 1.0, 1.0, 0.0, 0.0),
        (-3e4, 0.0, -3e4, 0.0, 0.0, 1.0, 0.0),
        (0.0, None, None, 0.5, 0.5, 0.5, 0.25),
        (-0.0, None, None, 0.5, 0.5, 0.5, 0.25),
    ],
)
def test_sigmoids__special_values(x, plus, log, sig, plus_grad, log_grad, sig_grad, dtype):
    """Limits are values, not NaN; NaN stays NaN, and alone."""
    table = [
        (softplus, plus), (log_sigmoid, log), (sigmoid, sig), (softplus_grad, plus_grad),
        (log_sigmoid_grad, log_grad), (sigmoid_grad, sig_grad),
    ]  # fmt: skip
    for f, due in table:
        with silence():
            got = f(np.array([1, x, 1], dtype))
        assert np.all(np.isfinite(got[[0, 2]]))
        if due is not None:
            np.testing.assert_array_equal(got[1], np.array(due, dtype))


@dtypes
@functions
def test_sigmoids__nasty_numbers_warn_of_nothing(name, dtype):
    """Underflow inside is not the caller's business, also under errstate(all="raise")."""
    info = np.finfo(dtype)
    x = np.array(
        [info.max, -info.max, info.tiny, -info.tiny, info.smallest_subnormal, 88.7, -88.7]
        + [103.9, -103.9, 709.7, -709.8, 745.1, -745.2, 17.3, -17.3, 11.0, -11.1],
        dtype,
    )
    call = Call(name, x)
    e = exact(call)
    assert_ulp(name, call.value(package(name)), e.value, least=e.value_least)
    assert_ulp(f"{name}_grad", call.grad(package(name)), e.grad, least=e.grad_least)


# ---------------------------------------------------------------------------------------
# laws


@pytest.mark.parametrize(
    ("name", "law"),
    [pytest.param(n, each, id=f"{n}-{each.name}") for n in ELEMENTWISE for each in laws_of(n)],
)
@given(data=st.data())
def test_sigmoids__obey_the_laws(name, law, data):
    """Each law's own docstring says why it matters."""
    law.check(package(name), data.draw(calls(name, **law.draws)))


@dtypes
def test_sigmoid__of_x_and_minus_x_add_up_to_one(dtype):
    """The two classes' probabilities."""
    x = np.linspace(-5, 5, 101).astype(dtype)
    total = (sigmoid(x).astype(np.float64) + sigmoid(-x)).astype(dtype)
    assert_ulp("sigmoid", total, truth.decimals(np.ones(101)), times=2)


@dtypes
@functions
def test_sigmoids__grow_with_their_argument(name, dtype):
    """Monotone up to their own roundings: no seam between the branches."""
    x = np.unique(np.linspace(-30, 30, 2001).astype(dtype))
    value = package(name).value(x).astype(np.float64)
    rise = np.diff(value)
    assert np.all(rise >= -2 * np.spacing(np.abs(value[1:]).astype(dtype)).astype(np.float64))


# ---------------------------------------------------------------------------------------
# gradient


@functions
@given(data=st.data())
def test_sigmoids__gradients_are_slopes_of_the_definition(name, data):
    """Differences of the 50-digit definition prove the formula and the digits at once."""
    call = data.draw(calls(name, regimes=["plain"], dtypes=("float32", "float64")))
    assert_gradient_is_the_slope(package(name), call)


def test_sigmoids__gradients_are_sigmoids():
    """softplus' = sigmoid; log_sigmoid'(x) = sigmoid(-x)."""
    x = np.linspace(-40, 40, 201)
    e = exact(Call("sigmoid", x))
    assert_ulp("softplus_grad", softplus_grad(x), e.value)
    e = exact(Call("sigmoid", -x))
    assert_ulp("log_sigmoid_grad", log_sigmoid_grad(x), e.value)


@functions
def test_sigmoids__grad_output_broadcasts(name):
    """A scalar or a row of cotangents stands for all; None means ones."""
    grad = package(name).grad
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert_bitwise(grad(x), grad(x, grad_output=np.ones((3, 4))))
    assert_bitwise(grad(x, grad_output=-2.5), grad(x, grad_output=np.full((3, 4), -2.5)))
    row = np.array([1.0, -2.0, 0.5, 0.0])
    assert_bitwise(grad(x, grad_output=row), grad(x, grad_output=np.tile(row, (3, 1))))


# ---------------------------------------------------------------------------------------
# dtype and shape


@functions
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (2, 0, 3), (2, 1, 3, 1)])
def test_sigmoids__accept_any_shape(name, shape):
    """Elementwise: a scalar, nothing, or any number of axes."""
    f = package(name)
    x = np.ones(shape, np.float32)
    assert np.shape(f.value(x)) == shape
    assert np.shape(f.grad(x)) == shape
    assert np.asarray(f.value(x)).dtype == np.float32
    assert np.asarray(f.grad(x)).dtype == np.float32


@functions
@pytest.mark.parametrize("x", [1, True, 0.5, [1, 2], [True, False], [[0.5]], np.int8(3)])
def test_sigmoids__integers_and_lists_are_float64(name, x):
    """Integers, booleans and lists are float64."""
    f = package(name)
    due = np.asarray(x, np.float64)
    assert_bitwise(f.value(x), f.value(due))
    assert_bitwise(f.grad(x), f.grad(due))


@functions
@dtypes
def test_sigmoids__return_their_inputs_dtype(name, dtype):
    """float32 in, float32 out; NumPy scalars too."""
    f = package(name)
    assert f.value(np.ones(3, dtype)).dtype == dtype
    assert f.grad(np.ones(3, dtype)).dtype == dtype
    assert np.asarray(f.value(np.dtype(dtype).type(1))).dtype == dtype
    assert f.grad(np.ones(3, dtype), grad_output=np.ones(3)).dtype == dtype


@functions
def test_sigmoids__longdouble_is_computed_in_longdouble(name):
    """A wider dtype that only has float64's digits is a lie."""
    if np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps:
        pytest.skip("longdouble is float64 here")
    x = np.linspace(-20, 20, 31).astype(np.longdouble) + np.longdouble(1) / 3
    f = package(name)
    e = exact(Call(name, x))
    for got, due in [(f.value(x), e.value), (f.grad(x), e.grad)]:
        assert got.dtype == np.longdouble
        for a, b in zip(got, due, strict=True):
            assert abs(truth.decimal(a) - b) < abs(b) * truth.decimal(np.finfo(float).eps) / 64


@functions
def test_sigmoids__bfloat16(name):
    """bfloat16 is computed in float32 and rounded once, where a caller passes it."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 comes from ml_dtypes")
    x = np.linspace(-20, 20, 101).astype(ml_dtypes.bfloat16)
    f = package(name)
    for low, high in [
        (f.value(x), f.value(x.astype(np.float32))),
        (f.grad(x), f.grad(x.astype(np.float32))),
    ]:
        assert low.dtype == ml_dtypes.bfloat16
        assert_bitwise(low.astype(np.float32), high.astype(ml_dtypes.bfloat16).astype(np.float32))


@functions
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_sigmoids__large_arrays_in_any_layout(name, layout):
    """Arrays of many blocks: the same bits from any memory."""
    x = (9 * np.random.default_rng(1).normal(size=(301, 1031))).astype(np.float32)
    f = package(name)
    assert_bitwise(f.value(in_layout(x, layout)), f.value(x))
    assert_bitwise(f.grad(in_layout(x, layout)), f.grad(x))
    assert_bitwise(f.value(x)[100:103, 7:9], f.value(x[100:103, 7:9].copy()))


# ---------------------------------------------------------------------------------------
# errors


@functions
@pytest.mark.parametrize(("x", "dtype"), NOT_NUMBERS)
def test_sigmoids__refuse_what_is_not_real(name, x, dtype):
    """Say which argument and what came."""
    f = package(name)
    for each in (f.value, f.grad):
        with pytest.raises(TypeError, match=r"\bx\b") as caught:
            each(x)
        assert dtype in str(caught.value) or str(x.dtype) in str(caught.value)


@functions
@pytest.mark.parametrize(
    "x",
    [None, [[1.0, 2.0], [3.0]], (i for i in range(3)), "abc", np.ma.masked_array([1.0], [True])],
    ids=["None", "ragged", "generator", "string", "masked"],
)
def test_sigmoids__refuse_what_is_not_an_array(name, x):
    """NumPy turns anything into an object array; nothing good comes of it."""
    f = package(name)
    for each in (f.value, f.grad):
        with pytest.raises((TypeError, ValueError), match=r"\bx\b"):
            each(x)


@functions
@pytest.mark.parametrize("kind", ["shape", "broadcast shape", "dtype", "integer", "read-only"])
def test_sigmoids__refuse_a_wrong_out_untouched(name, kind):
    """out= is the caller's memory: refused whole or written whole."""
    x = np.arange(6.0).reshape(2, 3)
    out = bad_outs(x)[kind]
    with pytest.raises(ValueError, match=r"\bout\b"):
        package(name).grad(x, out=out)
    assert np.all(out == 7)


@functions
def test_sigmoids__refuse_an_out_that_overlaps_in_part(name):
    """An input overwritten while it is read is a wrong answer without an error."""
    buffer = np.arange(9.0)
    kept = buffer.copy()
    with pytest.raises(ValueError, match=r"\bout\b"):
        package(name).grad(buffer[:6], out=buffer[3:])
    assert_bitwise(buffer, kept)


@functions
@pytest.mark.parametrize("g", [np.ones(5), np.ones((2, 2, 3)), np.ones((3, 2))])
def test_sigmoids__refuse_a_cotangent_that_does_not_broadcast(name, g):
    """Both shapes, so that the mistake is visible."""
    out = np.full((2, 3), 7.0)
    with pytest.raises(ValueError, match=r"\bgrad_output\b") as caught:
        package(name).grad(np.ones((2, 3)), grad_output=g, out=out)
    assert str(g.shape) in str(caught.value)
    assert "(2, 3)" in str(caught.value)
    assert np.all(out == 7)


def test_naive_softplus__fails_where_the_package_does_not():
    """What the page is for."""
    with np.errstate(all="ignore"):
        assert naive_softplus(np.float64(1000)) == inf
        assert naive_softplus(np.float64(-50)) == 0
    assert softplus(1000.0) == 1000
    assert softplus(-50.0) > 0


# ---------------------------------------------------------------------------------------
# what mutants of the page showed to be untested


def test_sigmoid_grad__a_cotangent_beyond_the_dtype_is_not_rounded_first():
    """A small slope times a cotangent that float32 does not have can be a float32."""
    grad = sigmoid_grad(np.float32(-80), grad_output=1e45)
    assert_bitwise(grad, np.float32(sigmoid_grad(-80.0, grad_output=1e45)))
    assert 1e10 < grad < 1e11


@functions
def test_sigmoids__a_number_has_a_number_as_gradient(name):
    """Not an array of no dimensions."""
    assert type(package(name).grad(0.0)) is np.float64


@functions
def test_sigmoids__a_refused_cotangent_names_whose_shape_was_due(name):
    """A message names the argument."""
    with pytest.raises(ValueError, match=r"the shape of x$"):
        package(name).grad(np.ones((2, 3)), grad_output=np.ones(5))
