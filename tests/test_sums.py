"""Sums: exact where they say so, and the same bits for every layout, block and order."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossent._sums import ExactSum, row_sum, two_sum

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
F64, LONG = np.dtype(np.float64), np.dtype(np.longdouble)


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_two_sum__sum_and_error_are_the_exact_sum(a, b):
    """The compensated shift stands on this identity."""
    s, error = two_sum(np.array([a]), np.array([b]))
    assert Fraction(s[0]) + Fraction(error[0]) == Fraction(a) + Fraction(b)


@pytest.mark.parametrize("classes", [0, 1, 2, 3, 4, 5, 7, 8, 33, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_row_sum__same_bits_in_every_layout_and_batch(classes, dtype):
    """A row's loss must not change with the rows beside it or the order of memory."""
    a = np.exp(np.random.default_rng(classes).standard_normal((classes, 9))).astype(dtype)
    whole = row_sum(a)
    assert (whole == row_sum(np.asfortranarray(a))).all()
    for i in range(9):
        assert row_sum(a[:, i : i + 1])[0] == whole[i]


@pytest.mark.parametrize("classes", [1, 2, 3, 5, 17, 1000, 4096])
def test_row_sum__positive_terms_within_three_roundings(classes):
    """The bound that the docstring gives, on terms of which one dominates."""
    rng = np.random.default_rng(classes)
    a = np.exp(rng.standard_normal((classes, 50)))
    a[0] *= np.exp(np.linspace(0, 36, 50))
    for column, total in zip(a.T, row_sum(a), strict=True):
        exact = math.fsum(column)
        assert abs(total - exact) <= 3 * 2.0**-53 * exact


def test_row_sum__infinite_terms_give_an_infinite_sum():
    """Compensation computes inf - inf on the way; it must not show."""
    a = np.array([[1.0, np.inf, np.inf], [2.0, 1.0, -np.inf], [4.0, 1.0, 1.0], [8.0, 1.0, 1.0]] * 4)
    with np.errstate(invalid="ignore"):
        assert row_sum(a).tolist()[:2] == [60.0, np.inf]
        assert np.isnan(row_sum(a)[2])


def total_of(x, *, pieces=1):
    total = ExactSum(x.dtype)
    for piece in np.array_split(x, pieces):
        total.add(piece)
    return total.total()


@given(st.lists(FLOATS, max_size=200), st.integers(1, 5))
def test_exact_sum__is_correctly_rounded_in_any_order(terms, pieces):
    """Blocks arrive in any order and size: only a sum without error is the same for all."""
    try:
        due = math.fsum(terms)
    except OverflowError:
        due = float(fraction_sum(terms))
    x = np.array(terms, np.float64)
    assert total_of(x, pieces=pieces) == due
    assert total_of(x[::-1].copy(), pieces=pieces) == due


def fraction_sum(terms):
    exact = sum(map(Fraction, terms))
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1.0, 1e290])
def test_exact_sum__many_terms_of_all_sizes(scale):
    """More terms than are kept one by one, over 80 powers of ten."""
    rng = np.random.default_rng(0)
    with np.errstate(under="ignore"):
        x = rng.standard_normal(5000) * 10.0 ** rng.uniform(-80, 0, 5000) * scale
    assert total_of(x, pieces=3) == math.fsum(x)


def test_exact_sum__thousands_of_parts_are_added_up_on_the_way():
    """Memory stays fixed however many blocks there are, and no bit is lost for it."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal(40_000) * 10.0 ** rng.uniform(-9, 9, 40_000)
    total = ExactSum(F64)
    for piece in np.array_split(x, 1000):
        total.add(piece)
        assert len(total._parts) <= ExactSum._MANY
    assert total.total() == math.fsum(x)


@pytest.mark.parametrize(
    ("terms", "due"),
    [
        ([np.inf, 1.0], np.inf),
        ([-np.inf, 1e308, 1e308], -np.inf),
        ([np.inf, -np.inf], np.nan),
        ([np.nan, np.inf], np.nan),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308, 1e308], np.inf),
        ([-1e308, -1e308], -np.inf),
        ([], 0.0),
    ],
)
def test_exact_sum__special_values(terms, due):
    """Infinities and NaN decide; an overflow on the way does not."""
    for repeat in (1, 50):
        if repeat == 50 and np.isfinite(due):
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            np.testing.assert_equal(total_of(np.array(terms * repeat, np.float64)), due)


def test_exact_sum__a_mean_may_be_finite_though_the_sum_overflows():
    """The mean of losses of 1e308 is 1e308."""
    total = ExactSum(F64)
    total.add(np.full(1000, 1e308))
    with np.errstate(over="ignore"):
        assert total.over(np.float64(1000)) == 1e308
        assert np.isinf(total.over(np.float64(0.25)))


def test_exact_sum__longdouble_keeps_its_own_digits():
    """Where long double is wider than double, sums are as wide."""
    tiny = np.finfo(np.longdouble).eps
    x = np.array([1, tiny, tiny / 2, tiny / 2, -1] * 500, LONG)
    assert total_of(x) == total_of(x, pieces=20) == 1000 * tiny
    one = np.array([np.longdouble(1) / 3], LONG)
    assert total_of(one) == one[0]


@pytest.mark.parametrize("classes", [2**15, 2**17, 2**20, 2**22])
@pytest.mark.parametrize("exponent", [-80, -69, -60, -50])
def test_row_sum__a_million_small_terms_beside_a_large_one(classes, exponent):
    """The more terms, the fewer digits one cut holds: the number of cuts must follow."""
    a = np.full((classes, 1), 2.0**exponent)
    a[0] = 1
    exact = 1 + (classes - 1) * Fraction(2) ** exponent
    assert abs(Fraction(row_sum(a)[0]) - exact) <= 3 * Fraction(2) ** -53 * exact
    a[0] = 0
    assert abs(Fraction(row_sum(a)[0]) - (exact - 1)) <= 3 * Fraction(2) ** -53 * (exact - 1)
