"""entropy, kl_divergence, perplexity."""

import re

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import truth
from crossent import cross_entropy, entropy, kl_divergence, perplexity
from laws import Call, assert_bitwise, assert_ulp, exact, silence
from strategies import LAYOUTS, calls, in_layout
from test_lse import NOT_NUMBERS

nan, inf = np.nan, np.inf
dtypes = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def _rows(function, *arrays):
    """Exact values and scales of every row."""
    pairs = [function(*rows) for rows in zip(*arrays, strict=True)]
    value, size = np.empty(len(pairs), object), np.empty(len(pairs), object)
    value[:] = [p[0] for p in pairs]
    size[:] = [p[1] for p in pairs]
    return value, size


def _distributions(n, K, dtype, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(K, 0.5), n)
    p[0] = np.eye(K)[0]
    p[-1] = 1 / K
    return p.astype(dtype)


# ---------------------------------------------------------------------------------------
# values


@dtypes
@pytest.mark.parametrize("K", [1, 2, 5, 1000])
def test_entropy__values_are_the_definition(dtype, K):
    """-sum p log p in nats, in ulps of the sum of the terms' magnitudes."""
    p = _distributions(6, K, dtype)
    value, size = _rows(truth.entropy, p)
    got = entropy(p)
    assert got.dtype == dtype
    assert_ulp("entropy", got, value, scale=size)


@dtypes
@pytest.mark.parametrize("K", [1, 2, 5, 1000])
def test_kl_divergence__values_are_the_definition(dtype, K):
    """sum p log(p / q) in nats, in ulps of the sum of the terms' magnitudes."""
    p, q = _distributions(6, K, dtype, 1), _distributions(6, K, dtype, 2)
    q[0] = 1 / K
    q = np.where(q == 0, np.finfo(dtype).tiny, q)
    value, size = _rows(truth.kl_divergence, p, q)
    got = kl_divergence(p, q)
    assert got.dtype == dtype
    assert_ulp("kl_divergence", got, value, scale=size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kl_divergence__of_neighbours_keeps_its_terms_digits(dtype):
    """log p - log q loses the digits of p / q near 1; its terms are small, and still exact."""
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], dtype)
    for steps in (1, 3, 1000):
        q = p.copy()
        q[:, 0] += steps * np.spacing(p[:, 0])
        q[:, 2] -= steps * np.spacing(p[:, 2])
        value, size = _rows(truth.kl_divergence, p, q)
        assert_ulp("kl_divergence", kl_divergence(p, q), value, scale=size)


def test_entropy__of_uniform_and_certain_distributions():
    """log K, and exactly 0."""
    assert entropy([1.0, 0.0, 0.0]) == 0
    assert not np.signbit(entropy([1.0, 0.0]))
    for K in (2, 3, 10):
        value, size = truth.entropy(np.full(K, 1 / K))
        got = entropy(np.full(K, 1 / K))
        assert_ulp("entropy", got, np.array(value, object), scale=np.array(size, object))


@given(data=st.data())
def test_perplexity__is_the_exponential_of_the_mean(data):
    """exp amplifies the mean's own error by the mean: that much, and 4 ulp."""
    call = data.draw(
        calls(
            "cross_entropy",
            kinds=("index",),
            without=("label_smoothing",),
            reductions=("mean",),
            regimes=["plain", "ties", "wide"],
        )
    )
    mean = exact(call).value[()]
    options = {k: v for k, v in call.options.items() if k != "reduction"}
    with silence():
        got = perplexity(call.x, call.target, **options)
    assert isinstance(got, np.generic)
    assert got.dtype == call.x.dtype
    with truth.localcontext(truth.CONTEXT):
        due = mean.exp() if not mean.is_nan() else mean
        scale = due * max(truth.ONE, mean) if not mean.is_nan() else mean
    assert_ulp("perplexity", got, np.array(due, object), scale=np.array(scale, object))


def test_perplexity__of_a_uniform_model_is_the_number_of_classes():
    """The number a reader of a language model's paper expects."""
    for K in (1, 2, 10, 1000):
        got = perplexity(np.zeros((4, K)), np.zeros(4, int))
        scale = np.array(truth.decimal(K * max(1.0, np.log(K))), object)
        assert_ulp("perplexity", got, np.array(truth.decimal(K), object), scale=scale)


def test_perplexity__takes_probability_targets_as_cross_entropy_does():
    """perplexity is exp of the mean cross-entropy, whatever the target's kind."""
    z = np.random.default_rng(0).normal(size=(4, 3))
    q = np.random.default_rng(1).dirichlet(np.ones(3), 4)
    due = np.exp(cross_entropy(z, q, weight=[1.0, 2, 3]))
    got = perplexity(z, q, weight=[1.0, 2, 3])
    assert_ulp("perplexity", got, truth.decimals(due), scale=truth.decimals(due * 4), times=2)


# ---------------------------------------------------------------------------------------
# special values


@pytest.mark.parametrize(
    ("p", "h"),
    [
        ([0.0, 1.0], 0.0),
        ([1.0], 0.0),
        ([0.0, 0.0], 0.0),
        ([0.0], 0.0),
        ([nan, 1.0], nan),
        ([nan, 0.0], nan),
    ],
)
def test_entropy__special_values(p, h):
    """0 log 0 is 0; NaN is NaN, alone."""
    with silence():
        np.testing.assert_array_equal(entropy(np.array(p, float)), h)
        both = entropy(np.array([p, [0.5] * len(p)]))
        assert np.isfinite(both[1])
        np.testing.assert_array_equal(both[0], h)


@pytest.mark.parametrize(
    ("p", "q", "d"),
    [
        ([0.0, 1.0], [0.0, 1.0], 0.0),
        ([0.0, 1.0], [0.5, 0.5], None),
        ([0.5, 0.5], [0.0, 1.0], inf),
        ([0.0, 1.0], [1.0, 0.0], inf),
        ([0.25, 0.75], [0.25, 0.75], 0.0),
        ([1.0], [1.0], 0.0),
        ([0.0], [0.0], 0.0),
        ([nan, 1.0], [0.5, 0.5], nan),
        ([0.5, 0.5], [nan, 0.5], nan),
    ],
)
def test_kl_divergence__special_values(p, q, d):
    """0 log(0 / q) is 0, even for q = 0; p > 0 where q = 0 is infinitely surprising."""
    with silence():
        got = kl_divergence(np.array(p), np.array(q))
        if d is not None:
            np.testing.assert_array_equal(got, d)
        pair = kl_divergence(np.array([p, p]), np.array([q, [1.0] * len(p)]))
        np.testing.assert_array_equal(pair[0], got)


def test_perplexity__special_values():
    """Impossible is inf, nothing is NaN, too large is inf: without a warning."""
    with silence():
        assert perplexity(np.array([[0.0, -inf]]), [1]) == inf
        assert np.isnan(perplexity(np.zeros((0, 3)), np.zeros(0, int)))
        assert np.isnan(perplexity(np.zeros((2, 3)), [-100, -100]))
        assert np.isnan(perplexity(np.array([[nan, 0.0]]), [1]))
        assert perplexity(np.array([[1e4, 0.0]]), [1]) == inf
        assert perplexity(np.float16([[20, 0.0]]), [1]) == inf
        assert perplexity(np.array([[0.0, 50.0]]), [1]) == 1
        assert perplexity(np.array([[nan, 0.0], [0.0, 0.0]]), [-100, 1]) == 2


@dtypes
def test_information__smallest_numbers_warn_of_nothing(dtype):
    """Subnormal probabilities are probabilities."""
    info = np.finfo(dtype)
    p = np.array([[info.smallest_subnormal, info.tiny, 0.5, 0.5 - info.eps]], dtype)
    q = np.array([[0.5, info.smallest_subnormal, 0.5, info.tiny]], dtype)
    with silence():
        for value in (entropy(p), kl_divergence(p, q), kl_divergence(q, p)):
            assert np.all(np.isfinite(value))
        assert np.all(kl_divergence(p, p) == 0)


# ---------------------------------------------------------------------------------------
# laws


@given(data=st.data())
def test_information__cross_entropy_is_entropy_plus_divergence(data):
    """H(q, p) = H(q) + D(q || p): the identity that ties the page to the losses."""
    n, K = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    z = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(n, K))
    q = _distributions(n, K, float, data.draw(st.integers(0, 99)))
    p = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
    left = cross_entropy(z, q, reduction="none")
    right = entropy(q) + kl_divergence(q, p)
    size = truth.decimals(np.maximum(left, 1) * K)
    assert_ulp("entropy", right, truth.decimals(left), scale=size, times=2)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_information__layouts_are_one_array(layout):
    """The same numbers in other memory give the same bits."""
    p, q = _distributions(200, 31, np.float32, 3), _distributions(200, 31, np.float32, 4)
    assert_bitwise(entropy(in_layout(p, layout)), entropy(p))
    got = kl_divergence(in_layout(p, layout), in_layout(q, layout))
    assert_bitwise(got, kl_divergence(p, q))
    assert_bitwise(entropy(in_layout(p.T.copy(), layout), axis=0), entropy(p))
    for i in (0, 7, 199):
        assert_bitwise(np.asarray(entropy(p[i])), np.asarray(entropy(p)[i]))
        got = kl_divergence(p[i : i + 1], q[i : i + 1])
        assert_bitwise(got, kl_divergence(p, q)[i : i + 1])


def test_kl_divergence__is_not_symmetric():
    """D(p || q), in this order."""
    p, q = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    for a, b in ((p, q), (q, p)):
        value, size = truth.kl_divergence(a, b)
        got = kl_divergence(a, b)
        assert_ulp("kl_divergence", got, np.array(value, object), scale=np.array(size, object))


# ---------------------------------------------------------------------------------------
# gradient: these have none


def test_information__has_no_gradients():
    """Reported, not trained on."""
    import crossent

    for name in ("entropy", "kl_divergence", "perplexity"):
        assert not hasattr(crossent, f"{name}_grad")


# ---------------------------------------------------------------------------------------
# dtype and shape


@dtypes
def test_information__returns_its_inputs_dtype(dtype):
    """float32 in, float32 out; lists and integers are float64."""
    p = np.array([[0.5, 0.5]], dtype)
    assert entropy(p).dtype == dtype
    assert kl_divergence(p, p).dtype == dtype
    assert perplexity(p, [0]).dtype == dtype
    assert np.asarray(entropy([0, 1])).dtype == np.float64
    assert np.asarray(kl_divergence([0, 1], [1, 1])).dtype == np.float64


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_information__axis_is_the_classes(axis):
    """Any axis; the result is without it."""
    p = np.random.default_rng(5).random((2, 3, 4))
    q = np.random.default_rng(6).random((2, 3, 4))
    shape = np.sum(p, axis=axis).shape
    assert entropy(p, axis=axis).shape == shape
    assert_bitwise(entropy(p, axis), entropy(np.moveaxis(p, axis, -1)))
    assert_bitwise(
        kl_divergence(p, q, axis), kl_divergence(np.moveaxis(p, axis, -1), np.moveaxis(q, axis, -1))
    )


def test_perplexity__knows_the_options_of_cross_entropy():
    """weight, ignore_index, axis, where."""
    z = np.random.default_rng(7).normal(size=(2, 3, 4))
    y = np.array([[0, 1, 3], [2, -1, 0]])
    options = {"weight": [1.0, 2, 3, 4], "ignore_index": -1, "axis": -1, "where": [True, True, False]}
    mean = exact(Call("cross_entropy", z, y, {**options, "where": np.array(options["where"])}))
    due = mean.value[()].exp(truth.CONTEXT)
    scale = np.array(due * max(truth.ONE, mean.value[()]), object)
    got = perplexity(z, y, **options)
    assert_ulp("perplexity", got, np.array(due, object), scale=scale)


# ---------------------------------------------------------------------------------------
# errors


@pytest.mark.parametrize(("x", "dtype"), NOT_NUMBERS)
def test_information__refuses_what_is_not_real(x, dtype):
    """Say which argument and what came."""
    with pytest.raises(TypeError, match=r"\bp\b"):
        entropy(x)
    with pytest.raises(TypeError, match=r"\bp\b"):
        kl_divergence(x, np.ones(x.shape))
    with pytest.raises(TypeError, match=r"\bq\b"):
        kl_divergence(np.ones(x.shape), x)
    with pytest.raises(TypeError, match=r"\blogits\b"):
        perplexity(x, np.zeros(len(x), int))


def test_information__refuses_masked_arrays_and_ragged_lists():
    """Named, not guessed."""
    for p in (np.ma.masked_array([0.5], [True]), [[0.5], [0.5, 0.5]], None, (i for i in range(2))):
        with pytest.raises((TypeError, ValueError), match=r"\bp\b"):
            entropy(p)
        with pytest.raises((TypeError, ValueError), match=r"\bq\b"):
            kl_divergence([0.5], p)


@pytest.mark.parametrize("axis", [2, -3])
def test_information__refuses_an_axis_out_of_range(axis):
    """NumPy's error for NumPy's mistake."""
    p = np.ones((2, 3))
    for call in (lambda: entropy(p, axis), lambda: kl_divergence(p, p, axis)):
        with pytest.raises(np.exceptions.AxisError):
            call()
    with pytest.raises(np.exceptions.AxisError):
        perplexity(p, [0, 0], axis=axis)


def test_kl_divergence__refuses_distributions_that_do_not_match():
    """Both shapes."""
    with pytest.raises(ValueError, match=re.escape("(2, 3)")) as caught:
        kl_divergence(np.ones((2, 3)), np.ones((2, 4)))
    assert "(2, 4)" in str(caught.value)


def test_perplexity__refuses_what_cross_entropy_refuses():
    """The same desk."""
    z = np.zeros((2, 3))
    with pytest.raises(IndexError, match="3"):
        perplexity(z, [0, 3])
    with pytest.raises(TypeError, match="class indices must be integers"):
        perplexity(z, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"\bweight\b"):
        perplexity(z, [0, 1], weight=[1.0])
    with pytest.raises(TypeError):
        perplexity(z, [0, 1], reduction="sum")


# ---------------------------------------------------------------------------------------
# what mutants of the page showed to be untested


def test_information__messages_name_the_argument():
    """What came first is `p`, and `q` is compared with it."""
    for call in (lambda: entropy(0.5), lambda: kl_divergence(0.5, 0.5)):
        with pytest.raises(ValueError, match=r"^p has no class axis"):
            call()
    with pytest.raises(ValueError, match=r"^q of shape \(3,\) must have the shape \(2,\) of p$"):
        kl_divergence([0.5, 0.5], [0.5, 0.25, 0.25])


@pytest.mark.parametrize("q", [-1.0, nan, -inf])
def test_kl_divergence__a_broken_q_is_seen_where_p_is_0(q):
    """``0 * log(0 / q)`` is 0 for what is a probability, and for nothing else."""
    with silence():
        np.testing.assert_array_equal(
            kl_divergence([[0.0, 1.0], [0.0, 1.0]], [[q, 1.0], [0.0, 1.0]]), [nan, 0]
        )
