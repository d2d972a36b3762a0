"""one_hot and smooth_labels: class indices as probabilities."""

import re

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import truth
from crossent import cross_entropy, one_hot, smooth_labels
from laws import Call, assert_bitwise, assert_ulp, exact, silence
from strategies import INDEX_DTYPES

nan, inf = np.nan, np.inf
both = pytest.mark.parametrize(
    "make",
    [one_hot, lambda y, K, **o: smooth_labels(y, K, 0.1, **o)],
    ids=["one_hot", "smooth_labels"],
)

# ---------------------------------------------------------------------------------------
# values


def test_one_hot__is_a_row_of_the_identity():
    """1 at the class, 0 beside it."""
    y = np.array([2, 0, 1, 1])
    assert_bitwise(one_hot(y, 3), np.eye(3)[y])
    assert_bitwise(one_hot(y, 5), np.eye(5)[y])


def _due(y, K, s, spread):
    with truth.localcontext(truth.CONTEXT):
        s = truth.decimal(float(s))
        rows = []
        for c in np.ravel(y):
            if spread == "all":
                rows += [(1 - s) * (k == c) + s / K for k in range(K)]
            else:
                rows += [1 - s if k == c else s / (K - 1) for k in range(K)]
        result = np.empty(len(rows), object)
        result[:] = rows
        return result.reshape(*np.shape(y), K)


@pytest.mark.parametrize("spread", ["all", "others"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(data=st.data())
def test_smooth_labels__values_are_the_definition(spread, dtype, data):
    """PyTorch's smoothing gives the class itself a share, the paper's variant does not."""
    K = data.draw(st.integers(2, 6))
    y = np.array(data.draw(st.lists(st.integers(0, K - 1), max_size=4)), int)
    s = data.draw(st.sampled_from([0.0, 0.1, 1.0, 0.5, 1e-3, 0.9]))
    q = smooth_labels(y, K, s, spread=spread, dtype=dtype)
    assert q.dtype == dtype
    assert_ulp("smooth_labels", q, _due(y, K, s, spread))


def test_smooth_labels__at_both_ends():
    """No smoothing is one-hot; all of it is uniform, over all classes or over the others."""
    y = np.array([0, 2])
    assert_bitwise(smooth_labels(y, 3, 0), one_hot(y, 3))
    assert_bitwise(smooth_labels(y, 3, 0.0, spread="others"), one_hot(y, 3))
    assert_bitwise(smooth_labels(y, 3, 1.0), np.full((2, 3), 1 / 3))
    assert_bitwise(smooth_labels(y, 3, 1, spread="others"), np.array([[0, 0.5, 0.5], [0.5, 0.5, 0]]))


def test_smooth_labels__spread_defaults_to_all():
    """PyTorch's label_smoothing."""
    assert_bitwise(smooth_labels([0], 4, 0.4), smooth_labels([0], 4, 0.4, spread="all"))


# ---------------------------------------------------------------------------------------
# special values


def test_targets__nothing_and_one_class():
    """No positions give no rows; one class is certain."""
    assert one_hot(np.zeros(0, int), 3).shape == (0, 3)
    assert one_hot(np.zeros((2, 0), int), 3, axis=1).shape == (2, 3, 0)
    assert smooth_labels(np.zeros(0, int), 3, 0.1).shape == (0, 3)
    assert_bitwise(one_hot([0, 0], 1), np.ones((2, 1)))
    assert_bitwise(smooth_labels([0], 1, 0.25), np.ones((1, 1)))
    assert_bitwise(one_hot(1, 3), np.array([0.0, 1.0, 0.0]))


# ---------------------------------------------------------------------------------------
# laws


@given(data=st.data())
def test_smooth_labels__as_targets_are_label_smoothing(data):
    """The option and the function are one definition."""
    K = data.draw(st.integers(1, 5))
    y = np.array(data.draw(st.lists(st.integers(0, K - 1), min_size=1, max_size=4)))
    s = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    z = np.random.default_rng(0).normal(size=(len(y), K))
    e = exact(Call("cross_entropy", z, y, {"label_smoothing": s}))
    assert_ulp("cross_entropy", cross_entropy(z, smooth_labels(y, K, s)), e.value, times=2)
    assert_ulp("cross_entropy", cross_entropy(z, one_hot(y, K), label_smoothing=s), e.value)


@pytest.mark.parametrize("spread", ["all", "others"])
def test_smooth_labels__rows_are_distributions(spread):
    """Probabilities that do not add up are not probabilities."""
    for K in (2, 3, 7, 1000):
        q = smooth_labels(np.arange(K), K, 0.1, spread=spread)
        total = np.array([float(np.sum(row.astype(np.longdouble))) for row in q])
        assert_ulp("smooth_labels", total, truth.decimals(np.ones(K)), times=2)


# ---------------------------------------------------------------------------------------
# gradient: these have none


def test_targets__have_no_gradient():
    """Indices are not differentiable."""
    import crossent

    for name in ("one_hot", "smooth_labels"):
        assert not hasattr(crossent, f"{name}_grad")


# ---------------------------------------------------------------------------------------
# dtype and shape


@both
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_targets__put_the_classes_on_the_named_axis(make, axis):
    """The class axis is one of the result's: [B, K, T] for axis=1."""
    y = np.random.default_rng(1).integers(0, 4, (2, 3))
    q = make(y, 4, axis=axis)
    assert q.shape == np.insert((2, 3), axis % 3, 4).tolist() or q.shape == tuple(
        np.insert((2, 3), axis % 3, 4)
    )
    assert_bitwise(np.moveaxis(q, axis, -1), make(y, 4))


@both
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_targets__dtype_names_the_result(make, dtype):
    """float64 unless named."""
    assert make([0, 1], 3).dtype == np.float64
    assert make([0, 1], 3, dtype=dtype).dtype == np.dtype(dtype)


@both
@pytest.mark.parametrize("dtype", INDEX_DTYPES)
def test_targets__indices_of_any_integer_dtype(make, dtype):
    """Labels from anywhere."""
    y = np.array([[0, 2], [1, 1]])
    assert_bitwise(make(y.astype(dtype), 3), make(y, 3))
    assert_bitwise(make(y.astype(dtype)[::-1].T, 3), make(y[::-1].T, 3))


def test_smooth_labels__arguments_by_position():
    """(target, num_classes, smoothing)."""
    assert_bitwise(smooth_labels([1], 2, 0.5), smooth_labels([1], num_classes=2, smoothing=0.5))
    with pytest.raises(TypeError):
        smooth_labels([1], 2, 0.5, "others")
    with pytest.raises(TypeError):
        one_hot([1], 2, 0)


# ---------------------------------------------------------------------------------------
# errors


@both
@pytest.mark.parametrize("bad", [3, -1, -100, 2**40])
def test_targets__refuse_an_index_out_of_range(make, bad):
    """Nothing is ignored here and nothing wraps."""
    with pytest.raises(IndexError) as caught:
        make(np.array([[0, 1], [bad, 9]]), 3)
    message = str(caught.value)
    for fragment in (rf"(?<![\d.]){re.escape(str(bad))}\b", "1, 0", r"\b3\b", r"\btarget\b"):
        assert re.search(fragment, message), message


@both
@pytest.mark.parametrize(
    "y",
    [[0.0, 1.0], np.ones(2, bool), np.ones(2, complex), np.array(["a"]), np.ones(2, object), None],
)
def test_targets__refuse_what_is_not_an_index(make, y):
    """Class indices are integers."""
    with pytest.raises(TypeError, match=r"\btarget\b"):
        make(y, 3)


@both
def test_targets__refuse_masked_arrays_and_ragged_lists(make):
    """Named, not guessed."""
    for y in (np.ma.masked_array([0, 1], [True, False]), [[0, 1], [2]], (i for i in range(2))):
        with pytest.raises((TypeError, ValueError), match=r"\btarget\b"):
            make(y, 3)


@both
@pytest.mark.parametrize("axis", [2, -3, 5])
def test_targets__refuse_an_axis_out_of_range(make, axis):
    """Counted in the result, which has one axis more than the target."""
    with pytest.raises(np.exceptions.AxisError):
        make(np.array([0, 1]), 3, axis=axis)


@both
@pytest.mark.parametrize("K", [0, -1, 2.5, "3", None])
def test_targets__refuse_a_number_of_classes_that_is_none(make, K):
    """At least one, and whole."""
    with pytest.raises((TypeError, ValueError), match="num_classes"):
        make(np.zeros(0, int), K)


@pytest.mark.parametrize("s", [-0.1, 1.1, nan, inf, -1e-9])
@pytest.mark.parametrize("spread", ["all", "others"])
def test_smooth_labels__refuses_smoothing_outside_the_unit_interval(s, spread):
    """The value is in the message."""
    with pytest.raises(ValueError, match=r"\bsmoothing\b") as caught:
        smooth_labels([0], 3, s, spread=spread)
    assert str(s) in str(caught.value)


@pytest.mark.parametrize("spread", ["other", "ALL", "", None, 1])
def test_smooth_labels__refuses_an_unknown_spread(spread):
    """Both words are in the message."""
    with pytest.raises(ValueError, match="spread") as caught:
        smooth_labels([0], 3, 0.1, spread=spread)
    assert "all" in str(caught.value)
    assert "others" in str(caught.value)


def test_smooth_labels__refuses_to_spread_over_no_other_class():
    """One class has no others."""
    with silence(), pytest.raises(ValueError, match="others"):
        smooth_labels([0], 1, 0.1, spread="others")
