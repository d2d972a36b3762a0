"""Which shift a row of exponentials gets: none, a whole number, or its maximum; and that it never shows."""

import numpy as np
import pytest

import crossent
from crossent import _blocks, _exponentials, exact
from crossent.testing import ulp_error
from crossent.testing._limits import limit
from laws import assert_bitwise

F, D = np.float32, np.float64
inf, nan = np.inf, np.nan
ROWS = [  # of three classes: every way that a row can go
    [0.0, 1.0, -2.0],  # none
    [-3.0, -9.0, -4.5],  # none: s < 1, and all terms are normal numbers
    [-80.25, -95.1, -81.7],  # a whole number below the maximum
    [-3.0, -70.3, -61.0],
    [-0.5, -61.3, -61.0],
    [-0.499, -61.3, -61.0],  # too near to 0 for a whole number
    [120.7, 100.3, 90.2],  # the maximum comes to lie at 60
    [1e4 + 0.25, 1e4, 1e4 - 30.5],
    [120.7, 29.5, 90.2],  # the smallest logit is less than half of the shift
    [120.7, -100.0, 90.2],
    [-2e6, -2e6 - 1.5, -2e6 - 20],
    [0.0, -70.0, -71.0],  # r too small
    [-100.0, -171.0, -190.0],  # a whole number, and r too small after it
    [-80.0, -inf, -90.0],
    [120.0, -inf, 110.0],
    [0.0, -640.0, -650.0],  # float64: r nearly, and then altogether subnormal
    [0.0, -712.0, -715.0],
    [-inf, -inf, -inf],
    [-80.0, nan, -90.0],
    [120.0, inf, 110.0],
]
SHIFTS = [0, 0, -81, -3, -1, -0.499, 60, 9940, 120.7, 120.7, -2e6, 0, -100, -80, 120]  # of the first rows


def outcomes(z):
    """All that is made of exponentials, for the label 0."""
    y = np.zeros(len(z), int)
    loss, grad = crossent.cross_entropy_value_and_grad(z, y, reduction="none")
    return loss, grad, crossent.softmax(z), crossent.log_softmax(z), crossent.logsumexp(z)


@pytest.mark.parametrize("dtype", [F, D])
@pytest.mark.parametrize("copies", [1, 30, 4000])
def test_exponentials__the_rows_beside_it_do_not_decide_about_a_row(dtype, copies):
    """In any company, in both layouts, with few classes and with many, each row keeps its bits."""
    z = np.tile(np.asarray(ROWS, dtype), (1, copies))
    alone = [np.concatenate(parts) for parts in zip(*(outcomes(row[np.newaxis]) for row in z), strict=True)]
    order = np.random.default_rng(0).permutation(len(z))
    for mixed in (z[order], np.asfortranarray(z[order])):
        for a, b in zip(outcomes(mixed), alone, strict=True):
            assert_bitwise(a, b[order])


@pytest.mark.parametrize("dtype", [F, D])
@pytest.mark.parametrize(
    "row",
    ROWS
    + [
        [-31.0, -100.0, -0.9],
        [-31.0, -32.0, -33.0],
        [100.0, 40.0, 77.0],
        [-100.0, -0.6, -0.55],
        [75.8, 71.0, 70.0],
        [44.0, 40.0, 40.2],
    ],
)
def test_exponentials__a_shift_that_is_foreseen_is_the_one_that_would_have_been_found(
    row, dtype, monkeypatch
):
    """Nothing changes where the first class gives a hint, and nothing where the hint is wrong."""
    z = np.array([row, np.subtract(row, 0.01)], dtype)
    found = outcomes(z)
    monkeypatch.setattr(_exponentials, "_FORESEE", 1)
    for a, b in zip(outcomes(z), found, strict=True):
        assert_bitwise(a, b)


@pytest.fixture
def sizes(monkeypatch):
    """The shapes of the blocks that were exponentiated."""
    shapes = []
    plain = _exponentials._exponentials

    def noted(z, *arguments, **options):
        shapes.append(z.shape)
        return plain(z, *arguments, **options)

    monkeypatch.setattr(_exponentials, "_exponentials", noted)
    return shapes


def test_exponentials__shifts_are_foreseen_where_all_columns_need_one(sizes):
    """Large blocks far from 0 are exponentiated once; near 0, and where one column differs, twice."""
    y = np.zeros(40, int)
    for offset, times in ((-80, 1), (120, 1), (0, 1), (-45, 2)):
        sizes.clear()
        z = (offset + 4 * np.random.default_rng(0).standard_normal((40, 1000))).astype(F)
        crossent.cross_entropy(z, y)
        assert sizes == [(1000, 40)] * times, offset
    z[0], z[:, 1] = -20, -80
    sizes.clear()
    crossent.cross_entropy(z, y)
    assert sizes == [(1000, 40)] * 2


def test_exponentials__a_row_of_minus_infinities_is_taken_by_itself(sizes):
    """Rows that are masked altogether do not make the others wait."""
    z = np.random.default_rng(0).standard_normal((40, 30)).astype(F)
    z[7] = -inf
    loss = crossent.cross_entropy(z, np.zeros(40, int), reduction="none")
    assert np.flatnonzero(np.isnan(loss)).tolist() == [7]
    assert sizes == [(30, 40), (30, 1)]


@pytest.mark.parametrize("dtype", [F, D])
@pytest.mark.parametrize("row", ROWS[:17])
def test_exponentials__every_shift_keeps_the_digits(row, dtype):
    """Values and softmax within their limits of the exact ones, whatever the shift."""
    z = np.array([row] * 3, dtype)
    loss = crossent.cross_entropy(z, np.arange(3), reduction="none")
    due = exact.cross_entropy(z, np.arange(3), reduction="none")
    assert np.max(ulp_error(loss, due)) <= limit("cross_entropy", np.dtype(dtype).name)
    p, due = crossent.softmax(z[0]), exact.softmax(z[0])
    normal = np.array([float(v) >= np.finfo(dtype).tiny for v in due])
    assert np.max(ulp_error(p, due)[normal]) <= limit("softmax", np.dtype(dtype).name)


def test_exponentials__whole_numbers_are_chosen_where_they_can_be():
    """The shift of each row: 0, a whole number, or the maximum."""
    z = np.asarray(ROWS, F)
    block = _blocks.Block("z", z.T, z.dtype, 1, True, [_blocks.Cut((), 0, 3, True)])
    with np.errstate(all="ignore"):
        e = _exponentials.exponentials(block, np.zeros(len(z), int))
    np.testing.assert_array_equal(e.shift[: len(SHIFTS)].astype(F), np.asarray(SHIFTS, F))


@pytest.mark.parametrize(
    ("row", "shift"),
    [([40.0, 44.0], 0), ([61.5, 60.0], 1), ([0.0, -640.0], 0 - 64), ([0.0, -620.0], 0), ([44.5, -1.0], 44.5)],
)
def test_exponentials__float64_is_shifted_from_a_smaller_sum_on(row, shift):
    """2**64, and 64 less than the maximum where all other terms would be subnormal numbers."""
    z = np.array([row])
    block = _blocks.Block("z", z.T, z.dtype, 1, True, [_blocks.Cut((), 0, 2, True)])
    e = _exponentials.exponentials(block, np.zeros(1, int))
    assert (0 if e.shift is None else e.shift[0]) == shift


@pytest.mark.skipif(np.finfo(np.longdouble).nmant == 52, reason="longdouble is float64 here")
@pytest.mark.parametrize("row", ROWS[:17])
def test_exponentials__longdouble_keeps_digits_of_its_own(row):
    """The label's term, too, has more digits than float64."""
    z = np.array([row] * 3, np.longdouble) / 3
    due = exact.cross_entropy(z, np.arange(3), reduction="none")
    loss = crossent.cross_entropy(z, np.arange(3), reduction="none")
    assert np.max(ulp_error(loss, due)) <= limit("cross_entropy", "float64")


@pytest.mark.parametrize("dtype", [F, D])
@pytest.mark.parametrize("k", [2, 3])
def test_exponentials__a_whole_number_is_subtracted_without_an_error(dtype, k):
    """The shifts that are chosen, and ``z - c`` in rational numbers."""
    rng = np.random.default_rng(k)
    offset = rng.choice([-5000.0, -300.0, -80.0, -2.0, -0.3, 80.0, 150.0, 9000.0], (400, 1))
    z = (offset + rng.choice([1e-3, 1.0, 20.0], (400, 1)) * rng.standard_normal((400, k))).astype(dtype)
    c = _exponentials._exact_shift(z.max(axis=1), z.min(axis=1)).astype(dtype)
    assert np.count_nonzero(c < 0) > 50
    assert np.count_nonzero(c > 0) > 50
    shifted = z - c[:, np.newaxis]
    wide = z.astype(np.longdouble) - c[:, np.newaxis]
    assert (shifted == wide).all() or np.finfo(np.longdouble).nmant <= 52
    assert ((shifted.max(axis=1) < 61) | (c == 0)).all()


@pytest.mark.parametrize("dtype", [F, D])
def test_cross_entropy_grad__a_large_cotangent_over_a_small_sum_stays_finite(dtype):
    """``g / s`` overflows where ``s < 1``, ``p g`` does not."""
    z = np.array([[-30.0, -31.0, -50.0], [-2.0, -2.5, -3.0], [-1.0, -2.0, -3.0], [0.0, 1.0, 2.0]], dtype)
    g = np.finfo(dtype).max * np.array([0.45, 0.45, 0.8, 0.45], dtype)
    if dtype == D:
        g[2] /= 2  # as much as float64 has room for
    grad = crossent.cross_entropy_grad(z, [2] * 4, reduction="none", grad_output=g)
    p = crossent.softmax(z.astype(np.longdouble))
    p[:, 2] -= 1
    np.testing.assert_allclose(grad, (p * g[:, np.newaxis]).astype(dtype), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("classes", [20, 45])
@pytest.mark.parametrize("offset", [-80.0, 0.0, 130.0])
def test_cross_entropy__more_classes_than_a_block_holds_are_shifted_alike(offset, classes, monkeypatch):
    """In pieces of classes: the same digits, and the same bits whether terms are kept or computed again."""
    z = (np.random.default_rng(0).standard_normal((2, 90)) + offset).astype(F)
    z[1, 7] = -90  # for which some of these shifts are not exact
    y = [3, 70]
    due, p = exact.cross_entropy(z, y, reduction="none"), exact.softmax(z)
    normal = p.astype(float) >= np.finfo(F).tiny
    monkeypatch.setattr(_blocks, "CUT_BYTES", 4 * classes)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1)
    found = []
    for kept in (_exponentials._KEPT_BYTES, 0):
        monkeypatch.setattr(_exponentials, "_KEPT_BYTES", kept)
        loss, grad = crossent.cross_entropy_value_and_grad(z, y, reduction="none")
        assert np.max(ulp_error(loss, due)) <= limit("cross_entropy", "float32")
        assert np.max(ulp_error(crossent.softmax(z), p)[normal]) <= limit("softmax", "float32")
        found.append((loss, grad, crossent.softmax(z)))
    for a, b in zip(*found, strict=True):
        assert_bitwise(a, b)
