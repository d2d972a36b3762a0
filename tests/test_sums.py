"""Sums: exact where they say so, and the same bits for every layout, block and order."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crossent
from crossent import _blocks, _reduction
from crossent._sums import (
    ExactSum,
    _rounded,
    corrected,
    double_sum,
    product,
    row_sum,
    two_product,
    two_sum,
    wide,
)

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


@pytest.mark.parametrize("seed", range(20))
def test_exact_sum__of_thousands_of_parts_is_rounded_once(seed):
    """Regression: 54 digits were kept on the way to 53; 5,000 losses summed to the second nearest float."""
    x = np.random.default_rng(seed).uniform(0, 10, 5000)
    total = ExactSum(F64)
    for piece in np.array_split(x, 20):
        total.add(piece)
    assert total.total() == math.fsum(x)
    assert total.over(np.float64(3)) == math.fsum(x) / 3


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


# ---------------------------------------------------------------------------------------
# rough sums: what is rounded to a narrower dtype need not be exact, unless it matters


def nearest(exact, dtype):
    """The number of this dtype that is nearest to a fraction; of two, the even one."""
    guess = np.dtype(dtype).type(float(exact))
    candidates = [guess, np.nextafter(guess, dtype(np.inf)), np.nextafter(guess, dtype(-np.inf))]
    bits = f"u{guess.itemsize}"
    return min(candidates, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(bits)) % 2))


def rough_total(*pieces):
    total = ExactSum(F64, rough=True)
    for piece in pieces:
        total.add(np.asarray(piece))
    return total


def on_the_boundary(dtype, side, n=1500):
    """Terms whose sum is halfway between two numbers, or off it by what a plain sum loses term by term."""
    top = {np.float32: 2.0**24, np.float16: 2.0**11}[dtype]
    terms = np.zeros(n, dtype)
    terms[1], terms[n // 2] = top, 1
    if side:
        terms[9:81:8] = side * 2.0**-31  # NumPy adds every eighth term to the same, and loses these
    exact = sum(map(Fraction, terms.astype(float).tolist()))
    assert exact - Fraction(top + 1) == side * 9 * Fraction(2) ** -31
    return terms, exact


@pytest.fixture
def sweeps(monkeypatch):
    """How often a loss has looked at its inputs."""
    seen, sweep = [], _reduction.sweep
    monkeypatch.setattr(_reduction, "sweep", lambda *a, **k: (seen.append(1), sweep(*a, **k))[1])
    return seen


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(
    ("dtype", "side"), [(np.float32, -1), (np.float32, 0), (np.float32, 1), (np.float16, 0)]
)
def test_rough_sum__on_a_boundary_the_second_look_decides(
    monkeypatch, sweeps, dtype, side, reduction, threads
):
    """A sum in float64 would round to the even neighbour, on whichever side of the middle it lies."""
    terms, exact = on_the_boundary(dtype, side)
    if reduction == "mean":  # a power of two leaves the boundary where it is
        terms, exact = np.concatenate([terms, np.zeros(2048 - len(terms), dtype)]), exact / 2048
    x, y = -terms[:, np.newaxis], np.zeros(len(terms), int)
    if threads > 1:
        monkeypatch.setattr(_blocks, "THREAD_BYTES", 0)
        monkeypatch.setattr(_blocks, "BLOCK_BYTES", 600 * (x.itemsize + _blocks._COLUMN_BYTES))
        monkeypatch.setattr(ExactSum, "_FEW", 16)
    due = nearest(exact, dtype)
    with crossent.set_num_threads(threads):
        value = crossent.nll_loss(x, y, reduction=reduction)
        assert value == due
        assert len(sweeps) == 2
        both, grad = crossent.nll_loss_value_and_grad(x, y, reduction=reduction)
        assert both == due
        sweeps.clear()
        own = x.copy()
        in_place, same = crossent.nll_loss_value_and_grad(own, y, reduction=reduction, out=own)
        assert in_place == due
        assert len(sweeps) == 1  # there is nothing left to look at
        assert same is own
        np.testing.assert_array_equal(own, grad)


@pytest.mark.parametrize("place", [0, 1, "weight"])
@pytest.mark.parametrize("side", [-1, 1])
def test_rough_sum__gradient_in_place_of_any_input(place, side):
    """The second look is at the target and the weights as well."""
    terms = on_the_boundary(np.float32, side)[0]
    z, q = np.full(1500, 0.0, np.float32), np.full(1500, 0.5, np.float32)
    loss = crossent.binary_cross_entropy_with_logits_value_and_grad
    value, grad = loss(z, q, weight=terms, reduction="sum")
    own = [z.copy(), q.copy(), terms.copy()]
    out = own[2 if place == "weight" else place]
    in_place, same = loss(*own[:2], weight=own[2], reduction="sum", out=out)
    assert in_place == value
    np.testing.assert_array_equal(same, grad)


def test_rough_sum__elsewhere_one_look_is_enough(sweeps):
    """Exact sums of a million losses cost more than the losses do: the second look must be rare."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        z = rng.standard_normal((2000, 5)).astype([np.float32, np.float16][seed % 2])
        value = crossent.cross_entropy(z, rng.integers(0, 5, 2000))
        assert np.isfinite(value)
    assert len(sweeps) == 20


@pytest.mark.parametrize("side", [-1, 0, 1])
def test_rough_sum__says_that_it_cannot_decide(side):
    """And an exact one always can."""
    terms, _ = on_the_boundary(np.float32, side)
    one, single, half = np.float64(1), np.dtype(np.float32), np.dtype(np.float16)
    with np.errstate(over="ignore"):
        assert not rough_total(terms).decides(one, single)
        assert rough_total(terms).decides(one, half)  # far from any boundary of these
        exact = ExactSum(F64)
        exact.add(terms)
        assert exact.decides(one, single)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 1e-30, 1e30]),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([np.float32, np.float16]),
)
def test_rough_sum__what_it_decides_is_the_exact_sum_rounded(seed, scale, mixed, pieces, dtype):
    """The bound on its error holds for terms of one sign and of both, in one block and in several."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(3000) * 10.0 ** rng.uniform(-9, 0, 3000) * scale
    x = (x if mixed else np.abs(x)).astype(np.float32)
    total = rough_total(*np.array_split(x, pieces))
    exact = math.fsum(x.tolist())
    assert 0 < total._error < 1e-9 * np.abs(x).sum(dtype=float)
    assert abs(float(total.total()) - exact) <= total._error + np.spacing(abs(exact))
    count = np.float64(2500)
    with np.errstate(all="ignore"):
        if total.decides(count, np.dtype(dtype)):
            assert total.over(count).astype(dtype) == (exact / count).astype(dtype)


@pytest.mark.parametrize(
    ("special", "due"),
    [([np.inf], np.inf), ([-np.inf], -np.inf), ([np.inf, -np.inf], np.nan), ([np.nan], np.nan)],
)
@pytest.mark.parametrize("at", [0, 1500, 2999])
def test_rough_sum__infinities_and_nan_decide(special, due, at):
    """In a block that is added roughly, and beside one that is."""
    x = np.linspace(1, 2, 3000)
    x[at : at + len(special)] = special[: len(x[at : at + len(special)])]
    if at == 2999 and len(special) > 1:
        x[0] = special[1]
    with np.errstate(invalid="ignore"):
        total = rough_total(*np.split(x, 3))
        np.testing.assert_equal(float(total.over(np.float64(3))), due)


def test_exact_sum__parts_of_several_threads_are_one_sum():
    """Each thread adds up its own blocks; how they were dealt out must not show."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(30_000) * 10.0 ** rng.uniform(-20, 20, 30_000)
    for kind in (ExactSum(F64), ExactSum(LONG)):
        due = kind.empty()
        due.add(x.astype(kind.dtype))
        total, mine = kind.empty(), [kind.empty() for _ in range(3)]
        for i, piece in enumerate(np.array_split(x.astype(kind.dtype), 300)):
            mine[i % 3].add(piece)  # more parts than are kept: some are carried
        for one in mine:
            total.merge(one)
        assert total.total() == due.total()
        assert total.total().dtype == kind.dtype
    for terms, expected in (([np.inf], np.inf), ([np.inf, -np.inf], np.nan)):
        total = ExactSum(F64)
        for term in terms:
            one = ExactSum(F64)
            one.add(np.full(3000, 1.0))
            one.add(np.array([term]))
            one._carry()
            total.merge(one)
        np.testing.assert_equal(float(total.total()), expected)


def test_rough_sum__parts_of_several_threads_keep_their_errors():
    """A merged sum that forgot how rough its parts are would decide what it cannot."""
    terms = on_the_boundary(np.float32, 1)[0]
    total = rough_total()
    total.merge(rough_total(terms))
    assert not total.decides(np.float64(1), np.dtype(np.float32))
    assert total.empty().decides(np.float64(1), np.dtype(np.float32))
    again = total.empty()  # of the same kind
    again.add(terms)
    assert not again.decides(np.float64(1), np.dtype(np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_row_sum__of_subnormal_and_of_very_large_numbers(dtype):
    """Where the common bit of all terms would be infinite they are added as they are."""
    info = np.finfo(dtype)
    a = np.full((64, 2), info.smallest_subnormal, dtype)
    a[:, 1] = np.ldexp(dtype(1), info.maxexp - 7)  # 64 of them are half of what is infinite
    with np.errstate(all="ignore"):
        tiny, large = row_sum(a)
    assert tiny == 64 * a[0, 0].astype(wide(a.dtype))
    assert large == np.ldexp(dtype(1), info.maxexp - 1)


# ---------------------------------------------------------------------------------------
# what mutants of the module showed to be untested


def fractions(a):
    """The exact values of floats of any width."""
    return [Fraction(*x.as_integer_ratio()) for x in a]


def factors(dtype):
    """Digits and sizes of all kinds, far from overflow."""
    rng = np.random.default_rng(0)
    a, b = np.ldexp(rng.standard_normal((2, 300)), rng.integers(-25, 25, (2, 300))).astype(dtype)
    return a * (
        1 + np.finfo(dtype).eps * rng.integers(0, 99, 300).astype(dtype)
    ), b  # longdouble's own digits


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_two_sum_and_two_product__result_and_error_are_exact(dtype):
    """Every correction of a gradient's last digits stands on these two identities."""
    a, b = factors(dtype)
    for combine, of in ((two_sum, Fraction.__add__), (two_product, Fraction.__mul__)):
        for x, y in ((a, b), (b, a)):
            result, error = combine(x, y)
            due = [of(*pair) for pair in zip(fractions(x), fractions(y), strict=True)]
            assert [sum(pair) for pair in zip(fractions(result), fractions(error), strict=True)] == due
            assert (abs(error) <= np.spacing(abs(result)) / 2).all()
            assert (error != 0).mean() > 0.5


def test_product__is_rounded_once():
    """A smoothing of 0.1 over 3 classes is no float: its rounding would be a second one."""
    a = factors(np.float64)[0]
    for exact in (Fraction(1, 3), 1 - Fraction(0.1), Fraction(0.1) / 50257):
        due = [x * exact for x in fractions(a)]
        assert product(a, exact).tolist() == [float(x) for x in due]
        assert (a * float(exact)).tolist() != [float(x) for x in due]


def test_corrected__puts_back_what_is_a_number():
    """Dekker's product of large factors overflows on the way: then there is nothing to put back."""
    error = np.array([0.5, -0.5, np.inf, -np.inf, np.nan])
    assert corrected(np.full(5, 2.0), error).tolist() == [2.5, 1.5, 2, 2, 2]


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_double_sum__has_twice_the_digits(dtype):
    """The smoothed target's weights are subtracted from their sum."""
    a = 1 + abs(factors(dtype)[0] % 1)[:15]
    total, rest = double_sum(a)
    assert sum(fractions([total[0], rest[0]])) == sum(fractions(a))
    assert abs(rest[0]) <= np.spacing(total[0]) / 2
    assert rest[0] != 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("classes", [3, 7, 15, 16])
def test_row_sum__of_few_float64_terms_is_rounded_once(classes, sign):
    """Of any size, whatever the size of the columns beside, and where the terms are alike."""
    rng = np.random.default_rng(classes)
    a = sign * rng.uniform([[0.0], [0.9], [0.99]], 1, (3, 200)).repeat(classes, 0).reshape(3, classes, 200)
    a *= rng.uniform(0.9, 1, (3, classes, 200))
    a = np.concatenate([a[0] * 1e-290, a[1], a[2] * 1e290, a[0] * 1e-9], axis=1)
    a = a[:, rng.permutation(800)]
    assert row_sum(a).tolist() == [math.fsum(column) for column in a.T]


def test_rough_sum__bounds_the_error_of_terms_that_cancel():
    """Ones beside 2**60 are lost: a bound of the size of the result would call what is left of them exact."""
    total = rough_total(np.repeat([2.0**60, 1.0, -(2.0**60)], 50))
    assert total.total() != 50
    for divisor in (1.0, 0.0):  # over 0, a sum of 0 is NaN and any other an infinity
        assert not total.decides(np.float64(divisor), np.dtype(np.float32))


def test_rough_sum__of_many_terms_on_a_boundary():
    """The bound grows with the number of terms."""
    terms, _ = on_the_boundary(np.float32, 0, n=1 << 15)
    assert not rough_total(terms).decides(np.float64(1), np.dtype(np.float32))


@pytest.mark.parametrize("n", [513, 1023, 2047])
def test_exact_sum__of_many_terms_alike(n):
    """Their sum is near the number that they are split with."""
    for seed in range(20):
        x = np.random.default_rng(seed).uniform(0.9, 1, n)
        assert total_of(x) == math.fsum(x)
        assert total_of(-x) == -math.fsum(x)


def test_exact_sum__near_the_largest_number():
    """Where what terms are split with would overflow, and one step below; what was there before stays."""
    for exponent in (1012, 1013):
        total = ExactSum(F64)
        total.add(np.ldexp([1.0], exponent))
        total.add(np.ldexp(np.ones(600), exponent))
        assert total.total() == math.ldexp(601, exponent)


def test_exact_sum__of_nothing_but_infinities():
    """Nothing finite is left to split."""
    assert total_of(np.full(600, np.inf)) == np.inf


def test_exact_sum__that_overflows_over_0_and_infinity():
    """As division has it, and without an error."""
    total = ExactSum(F64)
    total.add(np.full(3, 1e308))
    with np.errstate(all="ignore"):
        assert total.over(np.float64(0)) == np.inf
        assert np.isnan(total.over(np.float64(np.inf)))


def test_rough_sum__errors_of_all_parts_add_up():
    """One thread's bound is not the others'."""
    parts = [rough_total(np.full(100, size)) for size in (1.0, 2.0, 4.0)]
    total = parts[0].empty()
    for part in parts:
        total.merge(part)
    assert total._error == 7 * parts[0]._error > 0


def test_exact_sum__of_many_longdouble_terms_keeps_their_digits():
    """Those that are split, too."""
    x = np.full(600, np.longdouble(1) / 3)
    total = total_of(x)
    error, half = fractions([total])[0] - 600 * fractions(x[:1])[0], fractions([np.spacing(total)])[0] / 2
    assert abs(error) <= half


def test_rounded__is_the_nearest_number_in_all_ranges():
    """Of float64 Python's own conversion is: halfway and beside it, subnormal, and huge."""
    rng = np.random.default_rng(0)
    for exponent in (-1080, -1074, -1060, -1023, -1022, -600, -53, -1, 0, 1, 52, 53, 600, 1023, 1024):
        for n in [
            1,
            2,
            3,
            2**53 - 1,
            2**53 + 1,
            2**54 - 1,
            2**54 + 2,
            2**54 + 6,
            *rng.integers(1, 2**62, 20).tolist(),
        ]:
            for off in (0, Fraction(1, 2**80), -Fraction(1, 2**80), Fraction(1, 3)):
                exact = (n + off) * Fraction(2) ** exponent / 2 ** n.bit_length()
                for signed in (exact, -exact):
                    try:
                        due = float(signed)
                    except OverflowError:
                        due = math.inf if signed > 0 else -math.inf
                    with np.errstate(over="ignore"):
                        assert _rounded(signed, F64) == due
    assert not np.signbit(_rounded(Fraction(0), F64))


# ---------------------------------------------------------------------------------------
# denominators: what mutants of `_reduction` showed to be untested by these tests and the pages' simplest


def test_mean__of_probability_targets_divides_by_the_positions_that_count():
    """Not by their weights, which are in the losses already."""
    z, q = np.zeros((3, 2)), np.full((3, 2), 0.5)
    w = [3.0, 5.0]
    each = crossent.cross_entropy(z, q, weight=w, reduction="none")[0]
    assert crossent.cross_entropy(z, q, weight=w) == each
    assert crossent.cross_entropy(z, q, weight=w, where=[True, False, True]) == each


def test_mean__over_weights_of_0_is_nan_and_over_weights_that_cancel_is_infinite():
    """The first has counted nothing, though smoothing makes a loss of the others' weights; the second has."""
    smoothed = crossent.cross_entropy([[0.0, 0.0]], [0], weight=[0.0, 1.0], label_smoothing=0.5)
    assert np.isnan(smoothed)
    assert crossent.nll_loss([[-1.0, 0.0], [0.0, -3.0]], [0, 1], weight=[1.0, -1.0]) == -np.inf


def test_mean__of_longdouble_counts_in_longdouble():
    """The denominator is no float64."""
    x = -np.full((3, 1), np.longdouble(1) / 3)
    y = np.zeros(3, int)
    w = np.ones(1, np.longdouble) / 3
    assert crossent.nll_loss(x, y, weight=w, ignore_index=5) == -x[0, 0]
