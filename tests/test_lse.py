"""logsumexp, log_softmax, softmax and their gradients: page 1."""

from dataclasses import replace
from decimal import Decimal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import crossent
import truth
from crossent import (
    log_softmax,
    log_softmax_grad,
    logsumexp,
    logsumexp_grad,
    softmax,
    softmax_grad,
)
from laws import (
    ROWS,
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

nan, inf = np.nan, np.inf
functions = pytest.mark.parametrize("name", ROWS)
dtypes = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def naive_logsumexp(x):
    """The formula as it is taught: overflows at 710, loses all digits of differences."""
    return np.log(np.sum(np.exp(x), axis=-1))


# ---------------------------------------------------------------------------------------
# values


@functions
@given(data=st.data())
def test_rows__values_are_the_definition(name, data):
    """`crossent.exact` is the definition; the package may not be another one."""
    call = data.draw(calls(name, ndims=("2", "last", "first"), regimes=["plain", "wide", "ties"]))
    assert_value_is_the_definition(package(name), call.rows)


@dtypes
@functions
def test_rows__long_rows_keep_their_digits(name, dtype):
    """Sums of thousands of terms are where plain summation loses its digits."""
    rng = np.random.default_rng(7)
    x = (3 * rng.standard_normal((1, 2000))).astype(dtype)
    call = Call(name, x, None, {"axis": -1})
    e = exact(call)
    assert_ulp(name, call.value(package(name)), e.value, scale=e.value_scale, least=e.value_least)


@dtypes
def test_log_softmax__a_confident_class_keeps_all_its_digits(dtype):
    """x - logsumexp(x) is 0 for a confident class: the digits that training still needs."""
    for margin in (5.0, 9.0, 20.0, 50.0, 80.0):
        x = np.array([0, margin], dtype)
        call = Call("log_softmax", x, None, {})
        e = exact(call)
        assert_ulp("log_softmax", log_softmax(x), e.value, least=e.value_least)
        if dtype != "float16" or margin < 10:
            assert log_softmax(x)[1] < 0


def test_log_softmax__matches_the_number_in_the_contract():
    """One confident number that everybody can check by hand: exp(-50) to the last digit."""
    value = log_softmax(np.array([0.0, 50.0]))[1]
    assert_ulp("log_softmax", value, np.array(Decimal("-1.92874984796391776e-22"), object))


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e3, 1e8, -1e8, 1e30, -1e30])
def test_logsumexp__of_two_equal_numbers(offset):
    """log(exp(a) + exp(a)) is a + log(2) at any offset, where exp overflows and where it is 0."""
    assert_ulp(
        "logsumexp",
        logsumexp(np.array([offset, offset])),
        np.array(Decimal(offset) + Decimal(2).ln(truth.CONTEXT), object),
        scale=np.array(max(abs(Decimal(offset)), Decimal(1)), object),
    )


def test_logsumexp__near_zero_counts_in_the_largest_term():
    """log(sum) = 0 is a cancellation of the problem itself: absolute accuracy is what there is."""
    for x in ([-0.6931471805599453] * 2, [-1.0986122886681098] * 3, [-50.0, -1e-20], [-1.0, -0.5]):
        call = Call("logsumexp", np.array([x]), None, {"axis": -1})
        e = exact(call)
        value = logsumexp(np.array([x]))
        assert_ulp("logsumexp", value, e.value, scale=e.value_scale, least=e.value_least)


def test_logsumexp__several_axes_are_one():
    """A tuple of axes sums over all of them; None sums over everything."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    flat = logsumexp(np.moveaxis(x, 1, 0).reshape(3, 8), axis=-1)
    assert logsumexp(x, axis=(0, 2)).shape == (3,)
    assert_ulp("logsumexp", logsumexp(x, axis=(0, 2)), truth.decimals(flat), times=2)
    assert_ulp("logsumexp", logsumexp(x, axis=(-1, 0)), truth.decimals(flat), times=2)
    everything = logsumexp(x.reshape(-1))
    assert np.ndim(logsumexp(x, axis=None)) == 0
    assert_ulp("logsumexp", logsumexp(x, axis=None), truth.decimals(everything), times=2)
    assert logsumexp(x, axis=(0, 1, 2), keepdims=True).shape == (1, 1, 1)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 2), (1,), (-1, 1), (2, 0), None])
def test_logsumexp__keepdims_leaves_ones(axis):
    """keepdims makes x - logsumexp(x, keepdims=True) broadcast."""
    x = np.random.default_rng(1).normal(size=(2, 3, 4))
    kept, gone = logsumexp(x, axis=axis, keepdims=True), logsumexp(x, axis=axis)
    assert kept.shape == np.max(x, axis=axis, keepdims=True).shape
    assert_bitwise(np.asarray(kept).reshape(np.shape(gone)), gone)
    g = np.arange(kept.size).reshape(kept.shape) + 1.0
    assert_bitwise(
        logsumexp_grad(x, axis=axis, keepdims=True, grad_output=g),
        logsumexp_grad(x, axis=axis, grad_output=g.reshape(np.shape(gone))),
    )


def test_softmax__default_axis_is_the_last():
    """Without a word the classes are last, as in scipy."""
    x = np.random.default_rng(2).normal(size=(2, 3, 4))
    for f in (softmax, log_softmax, logsumexp):
        assert_bitwise(f(x), f(x, axis=-1))
        assert_bitwise(f(x, 1), f(x, axis=1))


# ---------------------------------------------------------------------------------------
# special values

SPECIAL_ROWS = [
    # row                      logsumexp  softmax            log_softmax
    ([0.0], 0.0, [1.0], [0.0]),
    ([-inf, 0.0], 0.0, [0.0, 1.0], [-inf, 0.0]),
    ([-inf, -inf], -inf, [nan, nan], [nan, nan]),
    ([-inf], -inf, [nan], [nan]),
    ([inf, 0.0], inf, [nan, nan], [nan, nan]),
    ([inf, inf], inf, [nan, nan], [nan, nan]),
    ([inf, -inf], inf, [nan, nan], [nan, nan]),
    ([inf], inf, [nan], [nan]),
    ([nan, 0.0], nan, [nan, nan], [nan, nan]),
    ([nan, inf], nan, [nan, nan], [nan, nan]),
    ([inf, nan], nan, [nan, nan], [nan, nan]),
    ([-inf, nan], nan, [nan, nan], [nan, nan]),
    ([nan, -inf, -inf], nan, [nan] * 3, [nan] * 3),
    ([1e4, -1e4], 1e4, [1.0, 0.0], [0.0, -2e4]),
    ([-1e4, 1e4], 1e4, [0.0, 1.0], [-2e4, 0.0]),
    ([-3e4, -3e4], None, [0.5, 0.5], None),
    ([3e4, -3e4, -inf], 3e4, [1.0, 0.0, 0.0], [0.0, -6e4, -inf]),
]


@dtypes
@pytest.mark.parametrize(("row", "lse", "p", "lp"), SPECIAL_ROWS)
def test_rows__special_values(row, lse, p, lp, dtype):
    """Infinite, missing and huge logits have one meaning each, in any row of any batch."""
    for before in ([], [[1.0] * len(row)] * 3):
        x = np.array([*before, row, *before], dtype)
        i = len(before)
        with silence():
            if lse is not None:
                np.testing.assert_array_equal(logsumexp(x)[i], np.array(lse, dtype))
            np.testing.assert_array_equal(softmax(x)[i], np.array(p, dtype))
            if lp is not None:
                np.testing.assert_array_equal(log_softmax(x)[i], np.array(lp, dtype))
            if before:
                assert np.all(np.isfinite(np.delete(softmax(x), i, 0)))
                assert np.all(np.isfinite(np.delete(log_softmax(x), i, 0)))
                assert np.all(np.isfinite(np.delete(logsumexp(x), i, 0)))


@dtypes
def test_rows__special_values_of_gradients(dtype):
    """-inf alone has gradient 0 under logsumexp; NaN and +inf are NaN in their own rows."""
    x = np.array([[-inf, -inf], [inf, 0], [nan, 0], [0, 0], [-inf, 0]], dtype)
    with silence():
        g = logsumexp_grad(x)
        assert np.all(g[0] == 0)
        assert np.isnan(g[1, 0])
        assert np.all(np.isnan(g[2]))
        np.testing.assert_array_equal(g[3:], [[0.5, 0.5], [0, 1]])
        for f in (softmax_grad, log_softmax_grad):
            g = f(x, grad_output=np.array([[1, 0]] * 5, dtype))
            assert np.all(np.isnan(g[:3]))
            assert np.all(np.isfinite(g[3:]))


def test_log_softmax_grad__masked_classes_have_finite_gradients():
    """A mask of -inf has probability 0 and passes its own cotangent on, not NaN."""
    x = np.array([[-inf, 0.0, 0.0]])
    g = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(log_softmax_grad(x, grad_output=g), [[1.0, -1.0, 0.0]])
    np.testing.assert_array_equal(softmax_grad(x, grad_output=g), [[0.0, -0.25, 0.25]])


@dtypes
def test_softmax_grad__nothing_of_an_infinite_cotangent_is_nothing(dtype):
    """0 times inf is 0 where the probability is 0, and only there: NaN and infinities stay visible."""
    x = np.array([[-inf, 0, 0], [0, -1, 0], [-inf, 0, nan]], dtype)
    g = np.array([[inf, 1, 2], [0, inf, 2], [inf, 1, 2]], dtype)
    got = softmax_grad(x, grad_output=g)
    np.testing.assert_array_equal(got[0], [0, -0.25, 0.25])
    np.testing.assert_array_equal(got[1], [-inf, nan, -inf])
    assert np.isnan(got[2]).all()


@dtypes
def test_softmax_grad__of_ones_is_exactly_nothing(dtype):
    """The probabilities always sum to 1: no rounding may make a step of it."""
    x = (3 * np.random.default_rng(16).standard_normal((40, 50))).astype(dtype)
    assert (softmax_grad(x) == 0).all()


def test_logsumexp__of_nothing_is_minus_inf():
    """The empty sum is 0 and its logarithm -inf, along any axis of length 0."""
    with silence():
        assert logsumexp(np.zeros(0)) == -inf
        assert logsumexp([]) == -inf
        np.testing.assert_array_equal(logsumexp(np.zeros((3, 0))), [-inf] * 3)
        np.testing.assert_array_equal(logsumexp(np.zeros((0, 2)), axis=0), [-inf] * 2)
        assert logsumexp(np.zeros((0, 3)), axis=None) == -inf
        assert logsumexp(np.zeros((0, 3))).shape == (0,)
        assert logsumexp(np.zeros((3, 0)), keepdims=True).shape == (3, 1)
        assert logsumexp_grad(np.zeros((3, 0))).shape == (3, 0)
        assert logsumexp_grad(np.zeros((0, 3))).shape == (0, 3)


def test_logsumexp__of_a_single_number_is_that_number():
    """One term: the logarithm undoes the exponential exactly."""
    x = np.array([0.0, 1e-300, -745.0, 1e308, -1e308, 0.1, 5e-324])
    assert_bitwise(logsumexp(x[:, None]), x + 0.0)
    assert logsumexp(3.5, axis=None) == 3.5


@dtypes
@functions
def test_rows__largest_numbers(name, dtype):
    """Logits at both ends of the range: the difference overflows, the answer does not."""
    top = np.finfo(dtype).max
    x = np.array([[top, -top], [top, top], [-top, -top], [top, 0], [-top, 0]], dtype)
    call = Call(name, x, None, {"axis": -1})
    e = exact(call)
    assert_ulp(name, call.value(package(name)), e.value, scale=e.value_scale)
    assert_ulp(f"{name}_grad", call.grad(package(name)), e.grad, scale=e.grad_scale)


# ---------------------------------------------------------------------------------------
# laws


@pytest.mark.parametrize(
    ("name", "law"),
    [pytest.param(n, each, id=f"{n}-{each.name}") for n in ROWS for each in laws_of(n)],
)
@given(data=st.data())
def test_rows__obey_the_laws(name, law, data):
    """Each law's own docstring says why it matters."""
    law.check(package(name), data.draw(calls(name, **law.draws)))


@given(data=st.data())
def test_softmax__rows_are_distributions(data):
    """Probabilities that do not add up are not probabilities."""
    call = data.draw(calls("softmax", min_rows=1, dtypes=("float32", "float64"))).rows
    p = softmax(call.x)
    assert np.all((p >= 0) & (p <= 1))
    size = np.array([truth.ONE] * len(p), object)
    total = np.array([float(np.sum(row.astype(np.longdouble))) for row in p]).astype(p.dtype)
    assert_ulp("softmax", total, size, times=2)


@given(data=st.data())
def test_softmax__is_exp_of_log_softmax(data):
    """The two are one function: where one is certain, the other is not far."""
    call = data.draw(calls("log_softmax", regimes=["plain"], dtypes=("float64",))).rows
    p, lp = softmax(call.x), log_softmax(call.x)
    assert np.all((lp <= 0) == (p <= 1))
    assert_bitwise(np.argsort(p, axis=-1, kind="stable"), np.argsort(lp, axis=-1, kind="stable"))


# ---------------------------------------------------------------------------------------
# gradient


@functions
@given(data=st.data())
def test_rows__gradients_are_slopes_of_the_definition(name, data):
    """Differences of the 50-digit definition prove the formula and the digits at once."""
    call = data.draw(calls(name, ndims=("2",), regimes=["plain", "ties", "confident"], min_rows=1)).rows.take(
        slice(0, 2)
    )
    if name != "logsumexp" and call.grad_output is None:
        # of ones the gradient is 0, which differences can only approach
        call = replace(call, grad_output=np.resize([1.0, -2.0, 0.5], call.x.shape))
    assert_gradient_is_the_slope(package(name), call)


def test_logsumexp_grad__is_softmax():
    """The first gradient of the page, and the reason for all others."""
    x = np.random.default_rng(3).normal(size=(4, 7)) * 10
    call = Call("softmax", x, None, {"axis": -1})
    e = exact(call)
    assert_ulp("logsumexp_grad", logsumexp_grad(x), e.value)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (1, 2), None])
def test_logsumexp_grad__over_several_axes(axis):
    """The gradient over several axes is a softmax over all of them together."""
    x = np.random.default_rng(4).normal(size=(2, 3, 4))
    g = logsumexp_grad(x, axis=axis)
    assert g.shape == x.shape
    sums = np.sum(g, axis=axis)
    assert_ulp("logsumexp_grad", sums, truth.decimals(np.ones(np.shape(sums))), times=2)
    order = {None: (0, 1, 2), (0, 2): (1, 0, 2), (1, 2): (0, 1, 2)}.get(axis)
    if order is not None:
        n = 1 if axis is None else x.shape[order[0]]
        flat = logsumexp_grad(x.transpose(order).reshape(n, -1))
        back = flat.reshape([x.shape[i] for i in order]).transpose(np.argsort(order))
        assert_ulp("logsumexp_grad", g, truth.decimals(back), times=2)


def test_log_softmax_grad__of_a_one_hot_cotangent():
    """Picking one log-probability: minus the probabilities, and one minus its own."""
    x = np.random.default_rng(5).normal(size=(3, 4))
    g = np.eye(4)[[0, 2, 3]]
    call = Call("log_softmax", x, None, {"axis": -1}, g)
    e = exact(call)
    assert_ulp("log_softmax_grad", call.grad(package("log_softmax")), e.grad, scale=e.grad_scale)


def test_rows__grad_output_broadcasts():
    """A scalar or a row of cotangents stands for all."""
    x = np.random.default_rng(6).normal(size=(3, 4))
    for f in (softmax_grad, log_softmax_grad):
        assert_bitwise(f(x, grad_output=2.0), f(x, grad_output=np.full((3, 4), 2.0)))
        row = np.array([1.0, -2.0, 0.5, 0.0])
        assert_bitwise(f(x, grad_output=row), f(x, grad_output=np.tile(row, (3, 1))))
        assert_bitwise(f(x), f(x, grad_output=np.ones((3, 4))))
    assert_bitwise(logsumexp_grad(x, grad_output=3), logsumexp_grad(x, grad_output=[3.0] * 3))
    assert_bitwise(logsumexp_grad(x), logsumexp_grad(x, grad_output=np.ones(3)))


def test_rows__gradients_with_out_equal_to_the_cotangent():
    """out= in the cotangent's memory gives the right answer or is refused: never a wrong one."""
    x = np.random.default_rng(8).normal(size=(3, 4))
    for f in (softmax_grad, log_softmax_grad):
        g = np.random.default_rng(9).normal(size=(3, 4))
        due = f(x, grad_output=g.copy())
        kept = g.copy()
        try:
            f(x, grad_output=g, out=g)
        except ValueError:
            assert_bitwise(g, kept)
        else:
            assert_bitwise(g, due)


def test_logsumexp__over_no_axis_is_the_number_itself():
    """As NumPy sums over `axis=()`."""
    x = np.array([[1.5, -2.0, 1000.0], [0.1, -3.0, 0.0]])
    g = np.array([[1.0, 2.0, -3.0], [0.5, 0.0, 4.0]])
    assert_bitwise(logsumexp(x, axis=()), x)
    assert_bitwise(logsumexp(x, axis=(), keepdims=True), x)
    assert_bitwise(logsumexp_grad(x, axis=(), grad_output=g), g)


def test_logsumexp_grad__of_a_number_is_a_number_and_out_is_out():
    """What was handed in comes back, and a scalar is one."""
    assert type(logsumexp_grad(3.0)) is np.float64
    for x in (np.array(3.0), np.array([1.0, 2.0]), np.zeros((2, 3))):
        out = np.empty_like(x)
        assert logsumexp_grad(x, out=out) is out
        assert_bitwise(out, logsumexp_grad(x))


@pytest.mark.parametrize("layout", ["contiguous", "fortran", "reversed"])
@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (2, 1)])
def test_logsumexp_grad__keepdims_in_any_memory_and_blocks(monkeypatch, axis, layout):
    """The cotangent has axes of length 1 more than the positions."""
    x = np.random.default_rng(17).normal(size=(3, 4, 5))
    g = np.random.default_rng(18).normal(size=np.sum(x, axis=axis, keepdims=True).shape)
    due = logsumexp_grad(x, axis=axis, grad_output=np.squeeze(g, axis))
    monkeypatch.setattr("crossent._blocks.BLOCK_BYTES", 200)
    got = logsumexp_grad(in_layout(x, layout), axis=axis, keepdims=True, grad_output=in_layout(g, layout))
    assert_bitwise(got, due)


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])
@pytest.mark.parametrize("cut", [2, 4, 5])
def test_rows__exponentials_that_are_not_kept_are_the_same(monkeypatch, dtype, cut):
    """Too many classes for their exponentials to be kept: computed again, with the shift of the row."""
    x = np.array([[0, 1, 3, -2, 3, 1, 2.5], [-400, -402, -403, -401, -400, -500, -450]], dtype)
    x = np.concatenate([x, 3 * x + 777])
    g = np.cos(np.arange(x.size)).reshape(x.shape).astype(dtype)
    monkeypatch.setattr("crossent._blocks.CUT_BYTES", cut * x.itemsize)

    def results():
        return [
            *(f(x) for f in (logsumexp, logsumexp_grad, softmax, log_softmax)),
            *(f(x, grad_output=g) for f in (softmax_grad, log_softmax_grad)),
            *crossent.cross_entropy_value_and_grad(x, [6, 0, 3, 2], weight=np.arange(7), reduction="none"),
        ]

    kept = results()
    monkeypatch.setattr("crossent._exponentials._KEPT_BYTES", 0)
    for a, b in zip(results(), kept, strict=True):
        assert_bitwise(a, b)


@pytest.mark.parametrize("shift", [0, -400])
def test_rows__exponentials_of_many_classes_are_kept_side_by_side(monkeypatch, shift):
    """A long row's pieces share memory that outlives the call; each has a place of its own there."""
    x = np.random.default_rng(19).standard_normal((2, 50_000)) + shift
    monkeypatch.setattr("crossent._blocks.CUT_BYTES", 1 << 17)
    kept = softmax(x), logsumexp_grad(x)
    monkeypatch.setattr("crossent._exponentials._KEPT_BYTES", 0)
    for a, b in zip((softmax(x), logsumexp_grad(x)), kept, strict=True):
        assert_bitwise(a, b)


# ---------------------------------------------------------------------------------------
# dtype and shape


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows__a_cotangent_of_more_digits_keeps_them(dtype):
    """What float32 cannot tell from 1 is the whole gradient here."""
    g = np.array([1 + 2.0**-40, 1])
    np.testing.assert_array_equal(
        softmax_grad(np.zeros(2, dtype), grad_output=2.0**30 * g), [2.0**-12, -(2.0**-12)]
    )
    g = np.array([1 + 2.0**-40, -1])
    np.testing.assert_array_equal(
        log_softmax_grad(np.zeros(2, dtype), grad_output=g), np.array([1, -1], dtype)
    )


@functions
@dtypes
def test_rows__return_their_inputs_dtype(name, dtype):
    """float32 in, float32 out: nobody asked for twice the memory."""
    f = package(name)
    x = np.ones((2, 3), dtype)
    assert f.value(x).dtype == dtype
    assert f.grad(x).dtype == dtype
    assert f.grad(x).shape == x.shape


@functions
@pytest.mark.parametrize(
    "x",
    [
        [[0, 1, 2], [3, 4, 5]],
        [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        np.arange(6, dtype=np.int8).reshape(2, 3),
        np.arange(6, dtype=np.uint64).reshape(2, 3),
        np.arange(6, dtype=">i2").reshape(2, 3),
    ],
)
def test_rows__integers_and_lists_are_float64(name, x):
    """Integers are counted, not computed with."""
    f = package(name)
    due = np.arange(6.0).reshape(2, 3)
    assert_bitwise(f.value(x), f.value(due))
    assert_bitwise(f.grad(x), f.grad(due))
    assert f.value(x).dtype == np.float64


@functions
def test_rows__booleans_are_float64(name):
    """True is 1.0."""
    f = package(name)
    assert_bitwise(f.value(np.array([True, False])), f.value(np.array([1.0, 0.0])))


@functions
def test_rows__longdouble_is_computed_in_longdouble(name):
    """A wider dtype that only has float64's digits is a lie."""
    info = np.finfo(np.longdouble)
    if info.eps >= np.finfo(np.float64).eps:
        pytest.skip("longdouble is float64 here")
    x = np.random.default_rng(10).normal(size=(3, 4)).astype(np.longdouble)
    x += np.longdouble(1) / 3
    x[1:] += [[5000], [-600]]  # rows that take a shift
    f = package(name)
    g = np.cos(x[:, 0] if name == "logsumexp" else x)
    plain, e = exact(Call(name, x, None, {"axis": -1})), exact(Call(name, x, None, {"axis": -1}, g))
    for got, due, scale in [
        (f.value(x), e.value, e.value_scale),
        (f.grad(x), plain.grad, plain.grad_scale),
        (f.grad(x, grad_output=g), e.grad, e.grad_scale),
    ]:
        assert got.dtype == np.longdouble
        for a, b, s in zip(got.ravel(), due.ravel(), scale.ravel(), strict=True):
            assert abs(truth.decimal(a) - b) < abs(s) * truth.decimal(np.finfo(float).eps) / 64


@pytest.mark.parametrize("f", [softmax, log_softmax, softmax_grad, log_softmax_grad])
@pytest.mark.parametrize("given_dtype", ["float16", "float32", "float64", "int32"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_rows__dtype_names_the_result(f, given_dtype, dtype):
    """dtype= is the dtype to compute and return in."""
    x = np.arange(6).reshape(2, 3).astype(given_dtype)
    result = f(x, dtype=dtype)
    assert result.dtype == np.dtype(dtype)
    if dtype not in ("float16",):
        assert_bitwise(result, f(x.astype(dtype)))


@functions
def test_rows__bfloat16(name):
    """bfloat16 is computed in float32 and rounded once, where a caller passes it."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 comes from ml_dtypes")
    x = np.random.default_rng(11).normal(size=(3, 4)).astype(ml_dtypes.bfloat16)
    f = package(name)
    for low, high in [
        (f.value(x), f.value(x.astype(np.float32))),
        (f.grad(x), f.grad(x.astype(np.float32))),
    ]:
        assert low.dtype == ml_dtypes.bfloat16
        assert_bitwise(low.astype(np.float32), high.astype(ml_dtypes.bfloat16).astype(np.float32))


@functions
def test_rows__memory_mapped_arrays_are_arrays(name, tmp_path):
    """Logits on disk: read, not copied first, and never written to."""
    x = np.random.default_rng(12).normal(size=(5, 6)).astype(np.float32)
    disk = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    disk[:] = x
    disk.flush()
    disk = np.memmap(tmp_path / "x", np.float32, "r", shape=x.shape)
    f = package(name)
    assert_bitwise(f.value(disk), f.value(x))
    out = np.memmap(tmp_path / "g", np.float32, "w+", shape=x.shape)
    f.grad(disk, out=out)
    assert_bitwise(np.array(out), f.grad(x))


@functions
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (0, 0, 1)])
def test_rows__empty_batches(name, shape):
    """A batch of nothing is not an error."""
    f = package(name)
    with silence():
        value = f.value(np.zeros(shape, np.float32))
        assert value.shape == (shape[:-1] if name == "logsumexp" else shape)
        assert value.dtype == np.float32
        assert f.grad(np.zeros(shape, np.float32)).shape == shape


@functions
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_rows__large_arrays_in_any_layout(name, layout):
    """Arrays of many blocks: the same bits from any memory."""
    x = np.random.default_rng(13).normal(size=(300, 1031)).astype(np.float32)
    f = package(name)
    other = in_layout(x, layout)
    assert_bitwise(f.value(other), f.value(x))
    assert_bitwise(f.grad(other), f.grad(x))
    assert_bitwise(f.value(other, axis=0), f.value(np.ascontiguousarray(x.T), axis=1).T)
    assert_bitwise(f.grad(other, axis=0), f.grad(np.ascontiguousarray(x.T), axis=1).T)


@functions
def test_rows__a_broadcast_row_is_a_batch(name):
    """A view with stride 0 is an array like any other."""
    row = np.random.default_rng(14).normal(size=7)
    f = package(name)
    view = np.broadcast_to(row, (5, 7))
    assert_bitwise(f.value(view), f.value(view.copy()))
    assert_bitwise(f.grad(view), f.grad(view.copy()))


# ---------------------------------------------------------------------------------------
# errors

NOT_NUMBERS = [
    (np.ones((2, 3), complex), "complex128"),
    (np.ones((2, 3), np.complex64), "complex64"),
    (np.ones((2, 3), object), "object"),
    (np.array([["a", "b"]]), "U1"),
    (np.array([[b"a", b"b"]]), "S1"),
    (np.array([["2020-01-01"]], "datetime64[D]"), "datetime64"),
    (np.array([[1]], "timedelta64[s]"), "timedelta64"),
]


@functions
@pytest.mark.parametrize(("x", "dtype"), NOT_NUMBERS)
def test_rows__refuse_what_is_not_real(name, x, dtype):
    """A complex or text array is a mistake upstream: say which argument and what came."""
    f = package(name)
    for each in (f.value, f.grad):
        with pytest.raises(TypeError, match=r"\bx\b") as caught:
            each(x)
        assert dtype in str(caught.value) or str(x.dtype) in str(caught.value)


@functions
@pytest.mark.parametrize(
    "x",
    [None, [[1.0, 2.0], [3.0]], (i for i in range(3)), "abc", {"a": 1}, [None, 1.0], object()],
    ids=["None", "ragged", "generator", "string", "dict", "list with None", "object"],
)
def test_rows__refuse_what_is_not_an_array(name, x):
    """NumPy turns anything into an object array; nothing good comes of it."""
    f = package(name)
    for each in (f.value, f.grad):
        with pytest.raises((TypeError, ValueError), match=r"\bx\b"):
            each(x)


@functions
def test_rows__refuse_masked_arrays(name):
    """A mask that is silently dropped is a wrong answer."""
    f = package(name)
    for each in (f.value, f.grad):
        with pytest.raises((TypeError, ValueError), match=r"\bx\b"):
            each(np.ma.masked_array([[1.0, 2.0]], [[True, False]]))


@pytest.mark.parametrize("f", [softmax, log_softmax, softmax_grad, log_softmax_grad])
@pytest.mark.parametrize("x", [1.0, np.float32(2), np.zeros(()), np.zeros(0), np.zeros((3, 0))])
def test_softmax__needs_a_class_axis_with_a_class(f, x):
    """A distribution over nothing is not one."""
    with pytest.raises(ValueError, match=r"\bx\b"):
        f(x)


@functions
@pytest.mark.parametrize("axis", [2, -3, 10])
def test_rows__refuse_an_axis_out_of_range(name, axis):
    """The error of NumPy for NumPy's mistake."""
    f = package(name)
    for each in (f.value, f.grad):
        with pytest.raises(np.exceptions.AxisError):
            each(np.ones((2, 3)), axis=axis)


def test_logsumexp__refuses_axes_that_are_wrong():
    """Out of range or twice the same."""
    with pytest.raises(np.exceptions.AxisError):
        logsumexp(np.ones((2, 3)), axis=(0, 2))
    with pytest.raises(ValueError, match="axis"):
        logsumexp(np.ones((2, 3)), axis=(1, -1))


@functions
@pytest.mark.parametrize("axis", [0.0, "0", 1.5])
def test_rows__refuse_an_axis_that_is_no_integer(name, axis):
    """An axis is counted."""
    with pytest.raises((TypeError, ValueError), match=r"axis|integer"):
        package(name).value(np.ones((2, 3)), axis=axis)


def bad_outs(x):
    read_only = np.full(x.shape, 7.0, x.dtype)
    read_only.flags.writeable = False
    return {
        "shape": np.full((3, 2), 7.0, x.dtype),
        "broadcast shape": np.full((1, *x.shape), 7.0, x.dtype),
        "dtype": np.full(x.shape, 7.0, np.float32),
        "integer": np.full(x.shape, 7, np.int64),
        "read-only": read_only,
    }


@functions
@pytest.mark.parametrize("kind", ["shape", "broadcast shape", "dtype", "integer", "read-only"])
def test_rows__refuse_a_wrong_out_untouched(name, kind):
    """out= is the caller's memory: refused whole or written whole."""
    x = np.arange(6.0).reshape(2, 3)
    out = bad_outs(x)[kind]
    with pytest.raises(ValueError, match=r"\bout\b") as caught:
        package(name).grad(x, out=out)
    assert np.all(out == 7)
    if "shape" in kind:
        assert str(out.shape) in str(caught.value)
        assert str(x.shape) in str(caught.value)


@functions
def test_rows__refuse_an_out_that_overlaps_in_part(name):
    """Half the logits overwritten while they are read is a wrong answer without an error."""
    buffer = np.arange(9.0)
    kept = buffer.copy()
    with pytest.raises(ValueError, match=r"\bout\b"):
        package(name).grad(buffer[:6].reshape(2, 3), out=buffer[3:].reshape(2, 3))
    assert_bitwise(buffer, kept)


@functions
@pytest.mark.parametrize("view", ["transposed", "reversed"])
def test_rows__an_out_of_shuffled_logits_is_right_or_refused(name, view):
    """The same memory in another order is an overlap too."""
    x = np.random.default_rng(15).normal(size=(4, 4))
    f = package(name)
    due, kept = f.grad(x), x.copy()
    out = x.T if view == "transposed" else x[::-1]
    try:
        f.grad(x, out=out)
    except ValueError:
        assert_bitwise(x, kept)
    else:
        assert_bitwise(out, due)


@functions
@pytest.mark.parametrize("out", [[[0.0] * 3] * 2, 1.0, "x"])
def test_rows__refuse_an_out_that_is_no_array(name, out):
    """A list cannot be written into."""
    with pytest.raises((TypeError, ValueError), match=r"\bout\b"):
        package(name).grad(np.ones((2, 3)), out=out)


@functions
def test_rows__refuse_a_cotangent_that_does_not_broadcast(name):
    """Both shapes, so that the mistake is visible; out= stays as it was."""
    x = np.ones((2, 3))
    out = np.full((2, 3), 7.0)
    with pytest.raises(ValueError, match=r"\bgrad_output\b") as caught:
        package(name).grad(x, grad_output=np.ones((5,)), out=out)
    assert "(5,)" in str(caught.value)
    due = "(2,), the shape of the value" if name == "logsumexp" else "(2, 3), the shape of x"
    assert str(caught.value).endswith(due)
    assert np.all(out == 7)


@functions
@pytest.mark.parametrize("g", [np.ones((2, 2, 3)), np.ones((2, 1, 1))])
def test_rows__a_cotangent_never_enlarges_the_result(name, g):
    """The gradient is shaped like x, whatever the cotangent's shape."""
    with pytest.raises(ValueError, match=r"\bgrad_output\b"):
        package(name).grad(np.ones((2, 3)), grad_output=g)


@functions
def test_rows__refuse_a_complex_cotangent(name):
    """Every array argument is checked, not only the first."""
    with pytest.raises(TypeError, match=r"\bgrad_output\b.*complex128"):
        package(name).grad(np.ones((2, 3)), grad_output=1j)


@pytest.mark.parametrize("dtype", [int, complex, object, "U3", bool])
def test_softmax__refuses_a_dtype_that_is_not_floating(dtype):
    """Probabilities in integers are zeros."""
    for f in (softmax, log_softmax):
        with pytest.raises(TypeError, match=r"^dtype .* not .*; x are real numbers$"):
            f(np.ones((2, 3)), dtype=dtype)


def test_naive_logsumexp__fails_where_the_package_does_not():
    """What the page is for."""
    x = np.array([[1000.0, 1000.0], [-1000.0, -1000.0]])
    with np.errstate(all="ignore"):
        assert not np.any(np.isfinite(naive_logsumexp(x)))
    assert np.all(np.isfinite(crossent.logsumexp(x)))
