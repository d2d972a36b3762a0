"""The definition in `crossent.exact`, against what can be known without it."""

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossent import exact

INF, NAN = math.inf, math.nan
LN2 = Decimal("0.69314718055994530941723212145817656807550013436026")  # OEIS A002162
LN3 = Decimal("1.0986122886681096913952452369225257046474905578227")  # OEIS A002391


def in_last_place(actual: Decimal, expected, digits: int) -> float:
    """Distance in units of the last of `digits` digits of the expected value."""
    with localcontext(Context(prec=digits + 50, Emin=-(10**9), Emax=10**9)):
        if isinstance(expected, Fraction):
            expected = Decimal(expected.numerator) / expected.denominator
        return float(abs(actual - expected).scaleb(digits - 1 - expected.adjusted()))


def same(actual, expected) -> bool:
    """Equal number by number; two NaN are equal."""
    a, b = np.asarray(actual, dtype=object), np.asarray(expected, dtype=object)
    return a.shape == b.shape and all(
        float(v) == float(w) or (v != v and w != w) for v, w in zip(a.flat, b.flat, strict=True)
    )


def naive_neg_log_softmax(z: list[float], digits: int) -> list[Decimal]:
    """``-log(exp(z[k]) / sum(exp(z)))``, with so many digits that it may cancel as it likes."""
    with localcontext(Context(prec=digits, Emax=10**9, Emin=-(10**9))):
        e = [Decimal(v).exp() for v in z]
        return [-(v / sum(e)).ln() for v in e]


def exp_fraction(x: int) -> Fraction:
    """Taylor's series, to far beyond 50 digits for small arguments: no decimal arithmetic."""
    return sum((Fraction(x**n, math.factorial(n)) for n in range(80)), Fraction(0))


logits = st.lists(st.floats(-100, 100), min_size=2, max_size=5)
weights = st.floats(-3, 3)


# -- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: exact.logsumexp([0, 0]), LN2),
        (lambda: exact.logsumexp([0.0] * 3), LN3),
        (lambda: exact.log_softmax([7, 7, 7])[1], LN3.copy_negate()),
        (lambda: exact.softmax([1e30] * 3)[2], Fraction(1, 3)),
        (lambda: exact.softplus(0), LN2),
        (lambda: exact.log_sigmoid(0), LN2.copy_negate()),
        (lambda: exact.sigmoid(0), Fraction(1, 2)),
        (lambda: exact.sigmoid(1), 1 / (1 + exp_fraction(-1))),
        (lambda: exact.softmax([1, 3])[0], 1 / (1 + exp_fraction(2))),
        (lambda: exact.cross_entropy([0, 0], 1), LN2),
        (lambda: exact.cross_entropy([[0, 0], [0, 0]], [0, 1], reduction="mean"), LN2),
        (lambda: exact.binary_cross_entropy_with_logits(0, 1), LN2),
    ],
)
def test_exact__closed_forms_come_out_in_all_50_digits(call, expected) -> None:
    """Literals and rational series share no code with the decimal module's exp and ln."""
    assert in_last_place(call(), expected, 50) <= 1


def test_cross_entropy__a_sure_prediction_costs_the_series_of_log1p() -> None:
    """The loss of [0, 50] is 1.9e-22: 1 + exp(-50) shows it only after 22 digits."""
    with localcontext(Context(prec=100)):
        t = Decimal(-50).exp()
        series = t - t**2 / 2 + t**3 / 3
    loss = exact.cross_entropy([0, 50], 1)
    assert in_last_place(loss, series, 50) <= 1
    assert float(loss) == 1.9287498479639178e-22


def test_cross_entropy__a_loss_far_below_the_precision_keeps_all_its_digits() -> None:
    """exp(-1e5) is 3.6e-43430: log of the naive ratio would need that many digits."""
    with localcontext(Context(prec=60)):
        tail = Decimal(-100_000).exp()
    loss = exact.cross_entropy([0, 1e5], 1)
    assert in_last_place(loss, tail, 50) <= 1
    assert loss.adjusted() == -43430


def test_exact__exponents_go_far_beyond_those_of_decimals_default_context() -> None:
    """Which ends at 10**999999: exp(-1e7) is 1.5e-4342945."""
    with localcontext(Context(prec=60)):
        tail = Decimal(-100_000).exp()
    with localcontext(Context(prec=60, Emin=-(10**9))):
        tail **= 100
    assert in_last_place(exact.softplus(-(10**7), digits=40), tail, 40) <= 1
    assert in_last_place(exact.cross_entropy([0, 10**7], 1, digits=40), tail, 40) <= 1
    huge = Decimal("1e2000000")
    assert exact.nll_loss([Decimal("-1e2000000")], 0) == huge
    assert exact.logsumexp([huge, 0]) == huge


def test_exact__logits_of_1e30_neither_overflow_nor_hang() -> None:
    """exp(1e30) has more digits than there is memory; the differences of logits are all right."""
    assert exact.cross_entropy([0, 1e30], 0) == Decimal(int(1e30))
    assert exact.cross_entropy([0, 1e30], 1) == 0
    assert exact.logsumexp([1e30, 0]) == Decimal(int(1e30))
    assert exact.softplus([-1e30, 1e30]).tolist() == [0, Decimal(int(1e30))]
    assert exact.sigmoid([-1e30, 1e30]).tolist() == [0, 1]


@given(logits)
def test_log_softmax__is_the_log_of_the_ratio_of_exps(z: list[float]) -> None:
    """The definition, in enough digits to survive its own cancellation, has no other identity in it."""
    naive = naive_neg_log_softmax(z, digits=400)
    for k, lp in enumerate(exact.log_softmax(z)):
        loss = lp.copy_negate()
        assert in_last_place(loss, naive[k], 50) <= 1
        assert exact.cross_entropy(z, k) == loss
    with localcontext(Context(prec=400)):
        for p, loss in zip(exact.softmax(z), naive, strict=True):
            assert in_last_place(p, (-loss).exp(), 50) <= 1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=4))
def test_logsumexp__near_zero_keeps_all_its_digits(z: list[float]) -> None:
    """A row shifted by its own logsumexp, rounded, has one of about 1e-17: 17 digits cancel."""
    shifted = [v - float(exact.logsumexp(z)) for v in z]
    with localcontext(Context(prec=400)):
        naive = sum(Decimal(v).exp() for v in shifted).ln()
    result = exact.logsumexp(shifted)
    assert result == naive == 0 or in_last_place(result, naive, 50) <= 1


@given(st.floats(-300, 300))
def test_sigmoids__are_the_two_class_softmax(x: float) -> None:
    """One definition, two spellings."""
    assert in_last_place(exact.softplus(x), exact.logsumexp([0, x]), 50) <= 1
    assert in_last_place(exact.log_sigmoid(x), exact.log_softmax([0, x])[1], 50) <= 1
    assert in_last_place(exact.sigmoid(x), exact.softmax([0, x])[1], 50) <= 1
    assert (
        in_last_place(exact.binary_cross_entropy_with_logits(x, 1), exact.cross_entropy([0, x], 1), 50) <= 1
    )


@given(logits, st.data())
def test_exact__results_with_other_digits_are_the_same_numbers_rounded(z, data) -> None:
    """Weights of either sign make sums that cancel: more digits are carried, not fewer shown."""
    row = st.lists(weights, min_size=len(z), max_size=len(z))
    w, q, s = data.draw(row), data.draw(row), data.draw(st.floats(0, 1))
    few, some, many = (
        exact.cross_entropy(z, q, weight=w, label_smoothing=s, digits=d) for d in (10, 50, 100)
    )
    assert few == some == many == 0 or in_last_place(few, many, 10) <= 1
    assert few == some == many == 0 or in_last_place(some, many, 50) <= 1
    assert len(few.as_tuple().digits) <= 10


EACH = [
    exact.logsumexp,
    lambda x, **options: exact.log_softmax(x, **options)[0],
    lambda x, **options: exact.softmax(x, **options)[0],
    lambda x, **options: exact.softplus(x, **options)[1],
    lambda x, **options: exact.log_sigmoid(x, **options)[1],
    lambda x, **options: exact.sigmoid(x, **options)[1],
    lambda x, **options: exact.nll_loss([Fraction(v, 7) for v in x], 1, **options),
    lambda x, **options: exact.cross_entropy(x, 0, **options),
    lambda x, **options: exact.binary_cross_entropy_with_logits(x, [0, 1], **options),
]


@pytest.mark.parametrize("function", EACH)
def test_exact__50_digits_unless_others_are_asked_for(function) -> None:
    """All that are shown are right, so that none more may be shown."""
    for digits in (7, 50, 83):
        assert len(function([0, 1], digits=digits).as_tuple().digits) == digits
    assert str(function([0, 1])) == str(function([0, 1], digits=50))


def test_exact__a_sum_that_cancels_exactly_is_zero_and_ends() -> None:
    """No precision tells an exact 0 from a small number: the search for digits has an end."""
    assert exact.cross_entropy([0.0, 0.0, 0.0], [0.5, 0.25, -0.75]) == 0
    assert exact.cross_entropy([[0, 1], [0, 1]], [0, 0], weight=[1, 0], reduction="sum") > 0
    assert exact.nll_loss([[1.0], [-1.0]], [0, 0]) == 0
    assert exact.cross_entropy([3.5], 0) == exact.log_softmax([3.5])[0] == 0
    assert exact.logsumexp([0.0]) == 0


def test_exact__terms_that_cancel_to_their_last_digits_are_summed_again() -> None:
    """1e20 - 1e20 + 1e-200 is 1e-200, which 50 digits do not show."""
    tiny = Fraction(1, 10**200)
    x = [[Decimal("1e20")], [Decimal("-1e20")], [Decimal("-1e-200")]]
    assert exact.nll_loss(x, [0, 0, 0], reduction="sum") == Decimal("1e-200")
    assert in_last_place(exact.nll_loss(x, [0, 0, 0]), tiny / 3, 50) <= 1


def test_exact__a_sum_may_cancel_in_1000_digits_and_is_0_beyond() -> None:
    """The end of the search for digits, as the module's page says it."""
    for lost, due in ((1000, Decimal("1e-1000")), (1001, 0)):
        assert exact.nll_loss([[-1], [1], [Decimal(f"-1e-{lost}")]], [0, 0, 0], reduction="sum") == due


def test_exact__zero_is_written_as_0() -> None:
    """Neither as -0 nor with the exponent of what cancelled."""
    for zero in (
        exact.cross_entropy([3.5], 0),
        exact.log_softmax([3.5])[0],
        exact.nll_loss([0.0], 0),
        exact.nll_loss([[Decimal("1.50")], [Decimal("-1.50")]], [0, 0]),
        exact.cross_entropy([0.0, 1.0], -100, reduction="none"),
    ):
        assert str(zero) == "0"


# -- numbers in and out ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f8"])
def test_exact__floats_stand_for_their_exact_binary_values(dtype) -> None:
    """0.1 is another number in every dtype, and the truth for each is its own."""
    v = np.array([0.1], dtype)[0]
    expected = -Fraction(*v.as_integer_ratio()) if np.dtype(dtype).isnative else -Fraction(0.1)
    assert in_last_place(exact.nll_loss(np.array([0.1], dtype), 0), expected, 50) <= 1


def test_exact__longdouble_is_not_squeezed_through_float64() -> None:
    """1 + eps of a longdouble is 1 as a float64."""
    eps = np.finfo(np.longdouble).eps
    loss = exact.nll_loss(np.array([-1 - eps]), 0, digits=200)
    assert Fraction(loss) == 1 + Fraction(*eps.as_integer_ratio())
    assert same(exact.sigmoid(np.array([-INF, INF, NAN], np.longdouble)), [0, 1, NAN])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_exact__signalling_nans_are_nans(dtype) -> None:
    """As they come from uninitialised memory: no warning of NumPy's about the conversion."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    signalling = (np.array([INF], dtype).view(bits) + bits.type(1)).view(dtype)
    assert same(exact.softplus(signalling), [NAN])
    assert same(exact.cross_entropy(np.append(signalling, dtype(0)), 1), NAN)


def test_exact__bfloat16_is_taken_exactly() -> None:
    """Its dtype is foreign to NumPy; its numbers are floats."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.array([0.1, -2], ml_dtypes.bfloat16)
    assert exact.logsumexp(x) == exact.logsumexp([float(v) for v in x])


def test_exact__ints_decimals_and_fractions_are_taken_as_they_are() -> None:
    """One third is not the float next to it."""
    third = exact.nll_loss([Fraction(-1, 3), Decimal(0), 1], 0)
    assert in_last_place(third, Fraction(1, 3), 50) <= 1
    assert exact.nll_loss([Decimal("-0.1")], 0) == Decimal("0.1")
    assert exact.nll_loss([-(10**40) - 1], 0) == 10**40 + 1
    assert exact.softmax([True, np.True_]).tolist() == [Decimal("0.5")] * 2
    assert exact.logsumexp(np.array([0, 0], np.int8)) == LN2


def test_exact__results_are_decimals_or_object_arrays_of_them() -> None:
    """A 0-d result is a number, as NumPy's are."""
    assert isinstance(exact.logsumexp([1.0, 2.0]), Decimal)
    assert isinstance(exact.softplus(1.0), Decimal)
    assert isinstance(exact.cross_entropy([1.0, 2.0], 0, reduction="none"), Decimal)
    out = exact.softmax(np.ones((2, 3)))
    assert out.dtype == object
    assert out.shape == (2, 3)
    assert all(isinstance(p, Decimal) for p in out.flat)


def test_exact__the_callers_decimal_context_is_neither_used_nor_changed() -> None:
    """A context of 3 digits must not leak into the ground truth."""
    with localcontext(Context(prec=3)) as context:
        assert exact.softplus(0) == LN2
        loss = exact.cross_entropy([Fraction(1, 3), 0], 0, label_smoothing=Fraction(1, 7))
        assert context.prec == 3
    assert loss == exact.cross_entropy([Fraction(1, 3), 0], 0, label_smoothing=Fraction(1, 7))


# -- axes and shapes -----------------------------------------------------------------------------------


def test_logsumexp__axes_and_keepdims_follow_numpy() -> None:
    """A sum of exps over axes has the shape of numpy's sum over them."""
    x = np.arange(24.0).reshape(2, 3, 4)
    for axis in (0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), (), None):
        for keepdims in (False, True):
            got = exact.logsumexp(x, axis, keepdims=keepdims)
            with_numpy = np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))
            assert np.shape(got) == np.shape(with_numpy)
            assert [f"{v:.10f}" for v in np.ravel(got)] == [f"{v:.10f}" for v in np.ravel(with_numpy)]
    assert exact.logsumexp(3.5, axis=None) == Decimal("3.5")


@pytest.mark.parametrize("function", [exact.softmax, exact.log_softmax])
def test_softmax__another_class_axis_is_a_transposed_problem(function) -> None:
    """The class axis moves, the numbers stay."""
    x = np.arange(24.0).reshape(2, 3, 4) ** 1.5
    for axis in range(3):
        moved = function(np.moveaxis(x, axis, -1))
        assert np.moveaxis(moved, -1, axis).tolist() == function(x, axis).tolist()
    assert function(np.zeros((0, 3))).shape == (0, 3)


def test_cross_entropy__the_class_axis_is_1_unless_named() -> None:
    """[B, K, H, W] as in PyTorch; [B, T, V] with axis=-1."""
    x = np.arange(24.0).reshape(2, 3, 4) ** 0.5
    y = np.array([[0, 1, 2, 0], [2, 1, 0, 1]])
    by_default = exact.cross_entropy(x, y, reduction="none")
    assert by_default.shape == (2, 4)
    assert by_default[1, 2] == exact.cross_entropy(x[1, :, 2], 0)
    last = exact.cross_entropy(np.moveaxis(x, 1, -1), y, reduction="none", axis=-1)
    assert last.tolist() == by_default.tolist()
    lp = exact.log_softmax(x, axis=1, digits=70)
    assert exact.nll_loss(lp, y, reduction="none").tolist() == by_default.tolist()
    last = exact.nll_loss(np.moveaxis(lp, 1, -1), y, reduction="none", axis=-1)
    assert last.tolist() == by_default.tolist()
    q = np.arange(24.0).reshape(2, 3, 4) / 16
    by_default = exact.cross_entropy(x, q, reduction="none")
    for axis in (0, -1):
        moved = (np.moveaxis(a, 1, axis) for a in (x, q))
        assert exact.cross_entropy(*moved, reduction="none", axis=axis).tolist() == by_default.tolist()


# -- options ---------------------------------------------------------------------------------------

Z = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 2.0, 2.0]])
Y = np.array([2, 0, 1])
W = np.array([0.5, 2.0, 3.0])


def test_cross_entropy__mean_divides_by_the_weights_of_the_labels() -> None:
    """Not by their number: a class of weight 2 counts as if each of its examples stood there twice."""
    each = exact.cross_entropy(Z, Y, reduction="none", digits=70)
    with localcontext(Context(prec=70)):
        weighted = [w * loss for w, loss in zip([3, Decimal("0.5"), 2], each, strict=True)]
        total, mean = sum(weighted), sum(weighted) / Decimal("5.5")
    assert in_last_place(exact.cross_entropy(Z, Y, weight=W, reduction="sum"), total, 50) <= 1
    assert in_last_place(exact.cross_entropy(Z, Y, weight=W), mean, 50) <= 1
    assert in_last_place(exact.nll_loss(exact.log_softmax(Z, digits=70), Y, weight=W), mean, 50) <= 1


def test_cross_entropy__smoothing_is_the_smoothed_probability_target() -> None:
    """(1 - s) * one_hot + s / K as probabilities; the sums are one, the denominators two."""
    s = Fraction(1, 10)
    q = np.full((3, 3), s / 3, dtype=object)
    q[np.arange(3), Y] += 1 - s
    for w in (None, W):
        smoothed = exact.cross_entropy(Z, Y, label_smoothing=s, weight=w, reduction="none")
        by_hand = exact.cross_entropy(Z, q, weight=w, reduction="none")
        for a, b in zip(smoothed, by_hand, strict=True):
            assert in_last_place(a, b, 50) <= 1
    hard = np.eye(3)[Y]
    assert exact.cross_entropy(Z, hard, label_smoothing=0.25, weight=W, reduction="sum") == (
        exact.cross_entropy(Z, Y, label_smoothing=0.25, weight=W, reduction="sum")
    )
    assert exact.cross_entropy(Z, hard, weight=W) != exact.cross_entropy(Z, Y, weight=W)


def test_cross_entropy__smoothing_takes_the_float_at_its_exact_value() -> None:
    """The float 0.1 is a little more than a tenth."""
    as_float = exact.cross_entropy([1, 2], 0, label_smoothing=0.1)
    assert as_float == exact.cross_entropy([1, 2], 0, label_smoothing=Fraction(0.1))
    assert as_float != exact.cross_entropy([1, 2], 0, label_smoothing=Decimal("0.1"))


def test_cross_entropy__probabilities_are_linear_in_the_target() -> None:
    """Which mean divides by the number of positions, whatever the weights are."""
    q = np.array([[0.25, 0.75, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    lp = exact.log_softmax(Z, digits=80)
    with localcontext(Context(prec=80)):
        terms = [Decimal(q[i, k]) * Decimal(W[k]) * -lp[i, k] for i in range(3) for k in range(3)]
        mean = sum(terms) / 3
    assert in_last_place(exact.cross_entropy(Z, q, weight=W), mean, 50) <= 1


def test_binary_cross_entropy__is_its_formula() -> None:
    """weight * (pos_weight * y * softplus(-z) + (1 - y) * softplus(z)), mean over the elements."""
    y = np.array([[0.0, 0.25, 1.0]] * 3)
    pos, neg = exact.softplus(-Z, digits=80), exact.softplus(Z, digits=80)
    with localcontext(Context(prec=80)):
        terms = [
            Decimal(2) * (Decimal(W[k]) * Decimal(y[i, k]) * pos[i, k] + Decimal(1 - y[i, k]) * neg[i, k])
            for i in range(3)
            for k in range(3)
        ]
        mean = sum(terms) / 9
    got = exact.binary_cross_entropy_with_logits(Z, y, weight=[[2], [2], [2]], pos_weight=W)
    assert in_last_place(got, mean, 50) <= 1
    each = exact.binary_cross_entropy_with_logits(Z, y, weight=2, pos_weight=W, reduction="none")
    assert in_last_place(each[1, 1], terms[4], 50) <= 1
    assert exact.binary_cross_entropy_with_logits(Z, Z > 0) > 0


def test_losses__ignoring_a_position_is_dropping_it() -> None:
    """It takes no part in sums or denominators, whatever it holds."""
    z, y = Z.copy(), Y.copy()
    z[1] = [NAN, INF, -INF]
    kept = [0, 2]
    for loss in (exact.cross_entropy, exact.nll_loss):
        expected = loss(Z[kept], Y[kept], weight=W)
        y[1] = -100
        assert loss(z, y, weight=W) == expected
        assert loss(z, y, weight=W, reduction="none")[1] == 0
        y[1] = 77
        assert loss(z, y, weight=W, ignore_index=77) == expected
        assert loss(z, y, weight=W, where=[True, False, True]) == expected
    q = np.full((3, 3), 0.25)
    q[1] = NAN
    dropped = exact.cross_entropy(Z[kept], q[kept], label_smoothing=0.5)
    assert exact.cross_entropy(z, q, where=[True, False, True], label_smoothing=0.5) == dropped
    dropped = exact.binary_cross_entropy_with_logits(Z[kept], q[kept])
    where = [[True], [False], [True]]
    assert exact.binary_cross_entropy_with_logits(z, q, where=where) == dropped
    assert exact.cross_entropy(Z, Y, ignore_index=0) == exact.cross_entropy(Z[[0, 2]], Y[[0, 2]])


# -- special values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "value", "log_probs", "probs"),
    [
        ([0.0, -INF], 0, [0, -INF], [1, 0]),
        ([-INF, -INF], -INF, [NAN, NAN], [NAN, NAN]),
        ([0.0, INF], INF, [NAN, NAN], [NAN, NAN]),
        ([INF, INF], INF, [NAN, NAN], [NAN, NAN]),
        ([INF, -INF], INF, [NAN, NAN], [NAN, NAN]),
        ([NAN, INF], NAN, [NAN, NAN], [NAN, NAN]),
        ([0.0, NAN], NAN, [NAN, NAN], [NAN, NAN]),
        ([5.0], 5, [0], [1]),
    ],
)
def test_softmax_family__special_values(x, value, log_probs, probs) -> None:
    """The table of the conventions, as literals."""
    assert same(exact.logsumexp(x), value)
    assert same(exact.log_softmax(x), log_probs)
    assert same(exact.softmax(x), probs)


def test_logsumexp__of_nothing_is_minus_infinity() -> None:
    """The sum over nothing is 0, its logarithm -inf."""
    assert same(exact.logsumexp([]), -INF)
    assert same(exact.logsumexp(np.zeros((2, 0))), [-INF, -INF])
    assert np.shape(exact.logsumexp(np.zeros((0, 2)))) == (0,)


@pytest.mark.parametrize(
    ("function", "at_minus_inf", "at_inf"),
    [(exact.softplus, 0, INF), (exact.log_sigmoid, -INF, 0), (exact.sigmoid, 0, 1)],
)
def test_sigmoids__special_values(function, at_minus_inf, at_inf) -> None:
    """Limits at the infinities, NaN at NaN."""
    assert same(function([-INF, INF, NAN]), [at_minus_inf, at_inf, NAN])


@pytest.mark.parametrize(
    ("z", "target", "options", "value"),
    [
        ([0.0, -INF], 1, {}, INF),
        ([0.0, -INF], 0, {}, 0),
        ([0.0, -INF], [1.0, 0.0], {}, 0),
        ([0.0, -INF], [0.5, 0.5], {}, INF),
        ([0.0, -INF], 0, {"label_smoothing": 0.5}, INF),
        ([0.0, -INF], 0, {"label_smoothing": 0.5, "weight": [1, 0]}, 0),
        ([0.0, -INF], 1, {"weight": [1, 0], "reduction": "sum"}, 0),
        ([0.0, -INF], 1, {"label_smoothing": 1.0, "weight": [1, 0]}, NAN),
        ([0.0, NAN], 1, {"weight": [1, 0], "reduction": "sum"}, NAN),
        ([0.0, 0.0], [1.0, 0.0], {"weight": [1.0, NAN]}, NAN),
        ([-INF, -INF], 0, {}, NAN),
        ([0.0, INF], 1, {}, NAN),
        ([0.0, 1.0], -100, {}, NAN),
        ([0.0, 1.0], -100, {"reduction": "sum"}, 0),
        ([0.0, 1.0], -100, {"reduction": "none"}, 0),
        ([0.0, 1.0], 0, {"weight": [0, 1]}, NAN),
        ([0.0, 1.0], 0, {"where": False}, NAN),
        ([0.0, 1.0], [0.5, 0.5], {"where": False, "reduction": "sum"}, 0),
        (np.zeros((0, 2)), np.zeros(0, int), {}, NAN),
        (np.zeros((0, 2)), np.zeros((0, 2)), {"reduction": "sum"}, 0),
    ],
)
def test_cross_entropy__special_values(z, target, options, value) -> None:
    """0 * inf is 0, NaN is not hidden by a 0, the mean over nothing is NaN and its sum 0."""
    assert same(exact.cross_entropy(z, target, **options), value)


@pytest.mark.parametrize(
    ("log_probs", "options", "value"),
    [(-INF, {}, INF), (-INF, {"weight": [0], "reduction": "sum"}, 0), (NAN, {"weight": [0]}, NAN)],
)
def test_nll_loss__special_values(log_probs, options, value) -> None:
    """As for `cross_entropy`, whose second half it is."""
    assert same(exact.nll_loss([log_probs], 0, **options), value)


@pytest.mark.parametrize(
    ("z", "y", "options", "value"),
    [
        (INF, 1.0, {}, 0),
        (INF, 0.0, {}, INF),
        (-INF, 0.0, {}, 0),
        (-INF, 1.0, {}, INF),
        (-INF, 0.5, {}, INF),
        (-INF, 1.0, {"pos_weight": 0}, 0),
        (INF, 0.0, {"weight": 0}, 0),
        (NAN, 0.0, {"weight": 0}, NAN),
        (NAN, 0.0, {"where": False}, NAN),
        (NAN, 0.0, {"where": False, "reduction": "sum"}, 0),
        (np.zeros((0, 2)), np.zeros((0, 2)), {}, NAN),
    ],
)
def test_binary_cross_entropy__special_values(z, y, options, value) -> None:
    """A term whose factor is 0 is 0, also where softplus is inf."""
    assert same(exact.binary_cross_entropy_with_logits(z, y, **options), value)


def test_cross_entropy__nan_stays_in_its_own_row() -> None:
    """One bad row is no reason to lose the others."""
    z = np.array([[0.0, NAN], [0.0, 0.0], [INF, 0.0]])
    losses = exact.cross_entropy(z, [0, 0, 0], reduction="none")
    assert losses[1] == LN2
    assert losses[0].is_nan()
    assert losses[2].is_nan()


# -- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "x .*complex", lambda: exact.softmax([1j])),
        (TypeError, "x .*str|x .*<U", lambda: exact.softplus(["1"])),
        (ValueError, "class axis", lambda: exact.softmax(1.0)),
        (ValueError, "at least one class", lambda: exact.log_softmax(np.zeros((2, 0)))),
        (ValueError, "class axis", lambda: exact.cross_entropy(1.0, 0)),
        (np.exceptions.AxisError, "axis 2", lambda: exact.softmax([[1.0]], axis=2)),
        (IndexError, r"\[0, 3\).*3", lambda: exact.cross_entropy(Z, [0, 3, 0])),
        (IndexError, r"\[0, 3\).*-1", lambda: exact.nll_loss(Z, [0, -1, 0])),
        (ValueError, r"\(3,\).*\(2,\)", lambda: exact.cross_entropy(Z, [0, 1])),
        (ValueError, r"\(3,\).*\(3, 2\)", lambda: exact.cross_entropy(Z, np.ones((3, 2)))),
        (TypeError, "indices.*float64", lambda: exact.nll_loss(Z, [0.0, 1.0, 2.0])),
        (TypeError, "^target .*booleans$", lambda: exact.cross_entropy(Z, [True, False, True])),
        (ValueError, r"weight.*\(3,\).*\(2,\)", lambda: exact.cross_entropy(Z, Y, weight=[1, 2])),
        (ValueError, "'none', 'mean' or 'sum'", lambda: exact.cross_entropy(Z, Y, reduction="avg")),
        (ValueError, r"\[0, 1\].*1.5", lambda: exact.cross_entropy(Z, Y, label_smoothing=1.5)),
        (ValueError, r"\[0, 1\].*nan", lambda: exact.cross_entropy(Z, Y, label_smoothing=NAN)),
        (ValueError, "ignore_index", lambda: exact.cross_entropy(Z, Z, ignore_index=0)),
        (TypeError, "where.*int64", lambda: exact.cross_entropy(Z, Y, where=[1, 0, 1])),
        (ValueError, "broadcast", lambda: exact.cross_entropy(Z, Y, where=[True, False])),
        (ValueError, "target.*logits", lambda: exact.binary_cross_entropy_with_logits(Z, Y)),
        (ValueError, "broadcast", lambda: exact.binary_cross_entropy_with_logits(Z, Z, weight=[1, 2])),
        (ValueError, "prec", lambda: exact.softplus(1.0, digits=-50)),
    ],
)
def test_exact__refuses_what_has_no_meaning(error, message, call) -> None:
    """Ground truth that guesses would be worse than none."""
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("x", exact.logsumexp),
        ("x", exact.log_softmax),
        ("x", exact.softmax),
        ("x", exact.softplus),
        ("x", exact.log_sigmoid),
        ("x", exact.sigmoid),
        ("log_probs", lambda bad: exact.nll_loss(bad, 0)),
        ("weight", lambda bad: exact.nll_loss([0, 0], 0, weight=bad)),
        ("logits", lambda bad: exact.cross_entropy(bad, 0)),
        ("target", lambda bad: exact.cross_entropy([0, 0], bad)),
        ("weight", lambda bad: exact.cross_entropy([0, 0], 0, weight=bad)),
        ("label_smoothing", lambda bad: exact.cross_entropy([0, 0], 0, label_smoothing=bad)),
        ("logits", lambda bad: exact.binary_cross_entropy_with_logits(bad, [0, 0])),
        ("target", lambda bad: exact.binary_cross_entropy_with_logits([0, 0], bad)),
        ("weight", lambda bad: exact.binary_cross_entropy_with_logits([0, 0], [0, 0], weight=bad)),
        ("pos_weight", lambda bad: exact.binary_cross_entropy_with_logits([0, 0], [0, 0], pos_weight=bad)),
    ],
)
def test_exact__messages_name_the_argument(name, call) -> None:
    """Of four arrays, which one?"""
    with pytest.raises(TypeError, match=f"^{name} must hold real numbers, got dtype complex128$"):
        call([1j, 0])


def test_cross_entropy__object_arrays_of_ints_are_indices_and_of_fractions_probabilities() -> None:
    """The kind of the numbers decides, as the dtype does elsewhere."""
    indices = np.array([2, np.int64(0), 1], dtype=object)
    assert exact.cross_entropy(Z, indices) == exact.cross_entropy(Z, Y)
    halves = np.full((3, 3), Fraction(1, 2), dtype=object)
    assert exact.cross_entropy(Z, halves) == exact.cross_entropy(Z, np.full((3, 3), 0.5))
