"""The checkers must reject planted bugs, accept what is right, and say when they cannot tell."""

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from crossent import exact
from crossent.testing import check_grad, numerical_grad, ulp_error
from crossent.testing._ulp import ulp_size

INF, NAN = math.inf, math.nan

FORMATS = [np.float16, np.float32, np.float64, np.longdouble]


# -- ulp_error --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FORMATS)
def test_ulp_error__neighbouring_floats_are_1_ulp_apart(dtype) -> None:
    """In every binade, at its edges, and among the subnormal numbers."""
    info = np.finfo(dtype)
    up, zero = dtype(INF), dtype(0)
    for x in (dtype(1), dtype(1.5), dtype(-3), info.tiny, info.smallest_subnormal, zero, dtype(1000)):
        assert ulp_error(np.nextafter(x, up), np.asarray(x)) == 1
    assert ulp_error(np.nextafter(info.max, zero), info.max) == 1
    assert ulp_error(np.nextafter(dtype(2), zero), dtype(2)) == 0.5  # 2 begins a binade of wider ulps


def test_ulp_error__is_measured_in_exact_arithmetic() -> None:
    """The distance to the decimal 0.1 is far below what float64 can subtract."""
    with localcontext(Context(prec=60)):
        distance = (Decimal.from_float(0.1) - Decimal("0.1")) * 2**56  # an ulp of 0.1 is 2**-56
    assert ulp_error(0.1, Decimal("0.1")) == float(distance)
    assert ulp_error(0.1, Fraction(1, 10)) == float(distance)
    assert ulp_error(1.0, Decimal(1) + Decimal("1e-25")) == float(Fraction(2**52, 10**25))
    assert ulp_error(np.float32(1), 1 + 2.0**-40) == 2.0**-17


@pytest.mark.parametrize(
    ("magnitude", "size"),
    [
        (Fraction(5, 3), -52),
        (Fraction(8, 3), -51),
        (Fraction(2, 3), -53),
        (Fraction(3, 10), -54),
        (0.5, -53),
        (0.25, -54),
        (-1, -52),
        (Decimal("-1e-2"), -59),
        (2.0**-1021, -1073),
        (2.0**-1022, -1074),
        (0.0, -1074),
    ],
)
def test_ulp_size__is_that_of_the_binade(magnitude, size) -> None:
    """At the first number of a binade too, and where the quotient of two integers has to be rounded down."""
    assert ulp_size("float64", magnitude) == Fraction(2) ** size
    assert ulp_size(np.float32, 1) == Fraction(1, 2**23)
    with pytest.raises(ValueError, match=r"^an ulp needs a finite magnitude, got inf$"):
        ulp_size("float64", INF)


def test_ulp_error__bfloat16_has_8_bits() -> None:
    """A dtype that NumPy's finfo does not know."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert ulp_error(ml_dtypes.bfloat16(1), Fraction(1) + Fraction(1, 2**7)) == 1
    assert ulp_error(np.array([1, 3], ml_dtypes.bfloat16), [1, 3]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("actual", "exact_value", "error"),
    [
        (INF, INF, 0),
        (-INF, -INF, 0),
        (INF, -INF, INF),
        (NAN, NAN, 0),
        (NAN, 1, INF),
        (1.0, NAN, INF),
        (1.0, INF, INF),
        (INF, 1, INF),
        (NAN, INF, INF),
        (INF, NAN, INF),
        (INF, Decimal("1e309"), 0),
        (-INF, Decimal("-1e309"), 0),
        (INF, Decimal("-1e309"), INF),
        (INF, 2**1024 - 2**970, 0),  # half an ulp past the largest float: rounds to inf
        (INF, 2**1024 - 2**970 - 1, INF),
        (INF, Decimal("1e9999"), 0),
        (1.0, Decimal("1e9999"), INF),
        (NAN, Decimal("1e9999"), INF),
        (0.0, 0, 0),
        (-0.0, Decimal(0), 0),
        (0.0, Decimal("1e-43430"), 0),
        (5e-324, Decimal("1e-43430"), 1),
        (5e-324, 0, 1),
        (1e300, 0, INF),  # more ulps than there are floats
    ],
)
def test_ulp_error__special_values(actual, exact_value, error) -> None:
    """Infinities and NaN agree or do not; rounding to inf is right where the truth is beyond."""
    assert ulp_error(actual, exact_value) == error


def test_ulp_error__scale_widens_the_ulp_of_what_cancels_and_no_other() -> None:
    """1 - (1 - 1e-16) cannot be had to its own ulps, only to those of 1."""
    assert ulp_error(2.0**-52, 0, scale=1) == 1
    assert ulp_error(2.0**-52, 0) == 2.0**1022
    assert ulp_error(4.0, 4 + 2.0**-50, scale=1) == 1
    assert ulp_error([1.0, 1.0], [1, 1 + 2.0**-52], scale=[1, Decimal(2)]).tolist() == [0, 0.5]
    for scale in (INF, NAN):
        with pytest.raises(ValueError, match="finite"):
            ulp_error(1.0, 1, scale=scale)
        with pytest.raises(ValueError, match="finite"):
            check_grad(exact.softplus, lambda x: x + 0.5, np.zeros(1), scale=scale)
    with pytest.raises(ValueError, match="finite"):
        check_grad(exact.softplus, lambda x: x + INF, np.zeros(1), scale=INF)


def test_ulp_error__is_elementwise_and_broadcasts() -> None:
    """A number for numbers, a float64 array for arrays."""
    assert isinstance(ulp_error(1.0, 1), float)
    errors = ulp_error(np.float32([[1, 2], [4, 8]]), np.array([Decimal(1), Decimal(2)]))
    assert errors.dtype == np.float64
    assert errors.tolist() == [[0, 0], [2.0**23 * 3, 2.0**22 * 6]]


def test_ulp_error__only_floats_have_ulps() -> None:
    """An integer or a Decimal as the actual value is a mix-up of the arguments."""
    for actual in (1, Decimal(1), "1"):
        with pytest.raises(TypeError, match="dtype"):
            ulp_error(actual, 1.0)


# -- numerical_grad, in decimals -----------------------------------------------------------------------


def true_cross_entropy_grad(z, y: int) -> list[Decimal]:
    """``p - one_hot(y)``, with the target's entry as minus the others' sum."""
    p = exact.softmax(z, digits=100)
    with localcontext(Context(prec=100)):
        p[y] = -sum(p[k] for k in range(len(p)) if k != y)
    return p.tolist()


def relative(actual: Decimal, expected: Decimal) -> Decimal:
    with localcontext(Context(prec=100)):
        return abs(actual / expected - 1)


@pytest.mark.parametrize("z", [[0.5, -1.0, 2.0], [0, 50, 20], [0, 0, 700], [1e-300, 3e5, 2.9e5]])
@pytest.mark.parametrize("form", ["partial", "lambda with digits"])
def test_numerical_grad__of_decimals_has_30_digits_in_every_entry(z, form) -> None:
    """Probabilities of 1e-304 and of 1e-4343 too: more digits are asked for where they are needed."""
    f = {
        "partial": partial(exact.cross_entropy, target=1),
        "lambda with digits": lambda z, digits: exact.cross_entropy(z, 1, digits=digits),
    }[form]
    value, error = numerical_grad(f, z)
    for got, bound, expected in zip(value, error, true_cross_entropy_grad(z, 1), strict=True):
        assert abs(got - expected) <= bound
        if abs(expected) > Decimal("1e-320"):
            assert relative(got, expected) < Decimal("1e-30")
        else:
            assert bound < Decimal("1e-324")


def test_numerical_grad__a_small_row_is_seen_beside_a_large_one() -> None:
    """In a sum the loss of 1e-130 drowns in one of 1: its gradient needs 130 digits more."""
    z = np.array([[0.0, 0.0], [300.0, 0.0]])
    value, error = numerical_grad(partial(exact.cross_entropy, target=[0, 0], reduction="sum"), z)
    expected = true_cross_entropy_grad(z[1], 0)
    assert relative(value[1, 1], expected[1]) < Decimal("1e-30")
    assert error[1, 1] < Decimal("1e-160")


def test_numerical_grad__a_function_without_digits_is_trusted_to_those_it_returns() -> None:
    """With 60 digits and a step of 1e-20, entries far below 1e-40 are not seen, and the bound says so."""
    z = np.array([0.0, 300.0])
    value, error = numerical_grad(lambda z: exact.softmax(z, digits=60), z, grad_output=[0, 1])
    assert abs(value[0]) <= error[0]
    assert Decimal("1e-41") < error[0] < Decimal("1e-37")


def test_numerical_grad__plain_decimal_arithmetic_runs_with_the_digits_it_needs() -> None:
    """`f` need not come from `crossent.exact`: arithmetic on Decimals heeds the context."""
    x = np.array([0.5, -1e-9, 1e9])
    value, error = numerical_grad(lambda x: x * x * x, x, digits=60)
    for got, bound, v in zip(value, error, x.tolist(), strict=True):
        expected = 3 * Fraction(v) ** 2
        assert abs(Fraction(got) - expected) <= Fraction(bound)
        assert Fraction(bound) <= expected / 10**29


def test_numerical_grad__decimals_in_are_decimals_all_the_way() -> None:
    """Also Fractions, and one number that is no array."""
    value, error = numerical_grad(exact.softplus, Decimal("0.1"))
    assert abs(value - exact.sigmoid(Decimal("0.1"))) <= error
    assert isinstance(value, Decimal) or value.shape == ()
    value, error = numerical_grad(exact.softplus, [Fraction(1, 3)])
    assert relative(value[0], exact.sigmoid(Fraction(1, 3))) < Decimal("1e-30")


def test_numerical_grad__weights_the_outputs_by_grad_output() -> None:
    """The gradient is of sum(grad_output * f(x)); where grad_output is 0, f may be anything."""
    f = partial(exact.cross_entropy, target=[0, 1], reduction="none")
    z = np.array([[0.5, 0.0], [1.0, 2.0]])
    plain, _ = numerical_grad(f, z)
    value, _ = numerical_grad(f, z, grad_output=[2.0, -1e300])
    for k in range(2):
        assert relative(value[0, k], 2 * plain[0, k]) < Decimal("1e-25")
        assert relative(value[1, k], Decimal.from_float(-1e300) * plain[1, k]) < Decimal("1e-25")
    z[1, 0] = NAN
    value, _ = numerical_grad(f, z, grad_output=[1, 0])
    assert value[1].tolist() == [0, 0]
    assert relative(value[0, 0], plain[0, 0]) < Decimal("1e-25")
    value, _ = numerical_grad(f, z, grad_output=[NAN, 0])
    assert value[0, 0].is_nan()


def test_numerical_grad__entries_without_influence_are_exactly_0_with_error_0() -> None:
    """Ignored rows, whatever they hold."""
    z = np.array([[1.0, 2.0], [NAN, -INF], [3.0, INF], [5.0, 6.0]])
    f = partial(exact.cross_entropy, target=[0, -100, -100, -100])
    value, error = numerical_grad(f, z)
    assert not value[1:].any()
    assert not error[1:].any()
    assert value[0].all()


def test_numerical_grad__a_sum_that_does_not_change_is_0_within_the_smallest_float() -> None:
    """The probabilities sum to 1: each moves, their sum does not."""
    value, error = numerical_grad(exact.softmax, [0.0, 1.0, 3.0])
    assert all(abs(v) <= e < Decimal("1e-324") for v, e in zip(value, error, strict=True))


@pytest.mark.parametrize(
    ("z", "derivatives"),
    [
        ([0.0, -INF], [0, 0]),
        ([0.0, INF], [NAN, NAN]),
        ([0.0, NAN], [NAN, NAN]),
        ([-INF, -INF], [NAN, NAN]),
    ],
)
def test_numerical_grad__special_values(z, derivatives) -> None:
    """A masked logit has derivative 0; where f is not finite, differences say nothing."""
    value, error = numerical_grad(partial(exact.cross_entropy, target=0), z)
    assert [float(v) for v in value] == pytest.approx(derivatives, abs=0, nan_ok=True)
    assert [float(e) for e in error] == pytest.approx(derivatives, abs=0, nan_ok=True)


def test_numerical_grad__where_no_step_is_small_enough_the_error_says_so() -> None:
    """The cube root is vertical at 0."""

    def root(x):
        return np.array([(abs(v).ln() / 3).exp().copy_sign(v) if v else v * 1 for v in x], object)

    value, error = numerical_grad(root, [0.0], digits=30)
    assert error[0] > value[0] / 10


def test_numerical_grad__a_callable_without_a_signature_is_called_without_digits() -> None:
    """Some builtins have none."""

    class Opaque:
        __signature__ = "none"

        def __call__(self, x):
            return exact.softplus(x)

    value, error = numerical_grad(Opaque(), 0.0)
    assert abs(value - Decimal("0.5")) <= error


def test_numerical_grad__digits_of_floats_are_refused() -> None:
    """A function of floats has 16 digits whatever it is asked for."""
    with pytest.raises(TypeError, match=r"Decimals.*float64"):
        numerical_grad(lambda x: np.ones(2), [1.0], digits=60)


# -- numerical_grad, in floats ----------------------------------------------------------------------


def naive_cross_entropy(z, y):
    """In NumPy, for logits of moderate size."""
    return np.log(np.exp(z).sum(-1)) - z[np.arange(len(y)), y]


def naive_cross_entropy_grad(z, y, grad_output=1.0):
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p * np.reshape(grad_output, (-1, 1))


def test_numerical_grad__of_floats_is_within_its_own_error() -> None:
    """Ten digits or more of a function of order 1."""
    z = np.array([[0.5, -1.0, 2.0], [3.0, 1.0, -2.0]])
    y = [1, 0]
    value, error = numerical_grad(lambda z: naive_cross_entropy(z, y), z, grad_output=[1, -2])
    expected = naive_cross_entropy_grad(z, y, [1, -2])
    assert (np.abs(value - expected) <= error).all()
    assert (error < 1e-10).all()
    value, error = numerical_grad(lambda x: np.float32(x**2).sum(), [3.0])
    assert abs(value[0] - 6) <= error[0] < 1e-3


def test_numerical_grad__of_floats_steps_around_the_edge_of_the_domain() -> None:
    """log(x) at 0.1: a first step of 0.25 is out of it."""

    def log(x):
        return np.where(x > 0, np.log(np.abs(x)), NAN)

    value, error = numerical_grad(log, 0.1)
    assert abs(value - 10) <= error < 1e-4
    value, error = numerical_grad(lambda x: np.where(np.abs(x) < 1, x, INF), [-INF, 2.0, 0.5])
    assert np.isnan(value).tolist() == [True] * 3
    value, error = numerical_grad(lambda x: np.arctan(x), [-INF, INF, 0.0])
    assert value[:2].tolist() == error[:2].tolist() == [0, 0]


def test_numerical_grad__of_floats_finds_a_step_at_large_arguments() -> None:
    """1e20 + 0.25 is 1e20."""
    value, error = numerical_grad(lambda x: (x / 1e10) ** 2, [1e20])
    assert abs(value[0] - 2) <= error[0] < 1e-9
    assert numerical_grad(lambda x: np.rint(x).astype(int) * 0, [0.0]).value.tolist() == [0]


# -- check_grad -------------------------------------------------------------------------------------


Z = np.array([[0.5, -1.0, 2.0], [3.0, 1.0, -2.0], [0.0, 700.0, 10.0]])
Y = np.array([1, 0, 2])
MEAN = partial(exact.cross_entropy, target=Y)


def right_grad(z, grad_output=None):
    """Gradient of the mean, correctly rounded."""
    g = Decimal(1) if grad_output is None else Decimal(grad_output)
    rows = [true_cross_entropy_grad(row, y) for row, y in zip(z, Y.tolist(), strict=True)]
    with localcontext(Context(prec=100)):
        out = [[g * v / 3 for v in row] for row in rows]
    return np.array([[float(v) for v in row] for row in out]).astype(z.dtype)


def test_check_grad__accepts_the_right_gradient() -> None:
    """In each dtype, for entries from 1 down to 1e-304."""
    check_grad(MEAN, right_grad, Z)
    check_grad(MEAN, right_grad, Z, ulp=0.51)
    check_grad(MEAN, right_grad, Z, grad_output=-3.0)
    check_grad(MEAN, right_grad, Z, grad_output=1e300)
    check_grad(MEAN, right_grad, Z.astype(np.float32))
    check_grad(MEAN, right_grad, Z.astype(np.float16))
    check_grad(MEAN, right_grad, Z, digits=80)


def but(change, at=None):
    """The right gradient with a bug."""

    def f_grad(z, **options):
        g = right_grad(z, **options)
        if at is None:
            return change(g)
        g[at] = change(g[at])
        return g

    return f_grad


@pytest.mark.parametrize("at", [None, (0, 1), (2, 1), (2, 0)])
@pytest.mark.parametrize("grad_output", [None, 1e300])
@pytest.mark.parametrize(
    "change",
    [
        lambda g: -g,
        lambda g: 3 * g,
        lambda g: g * (1 + 1e-9),
        lambda g: g * (1 - 1e-9),
        lambda g: g * (1 + 1e-14),
        lambda g: 0 * g,
        lambda g: g + NAN,
        lambda g: g + INF,
    ],
    ids=["sign", "times N", "+1e-9", "-1e-9", "+1e-14", "zero", "nan", "inf"],
)
def test_check_grad__rejects_a_bug_in_all_entries_or_in_one(change, at, grad_output) -> None:
    """At (2, 0) the true entry is 3e-305 (or 3e-5): there is no absolute tolerance to hide in."""
    with pytest.raises(AssertionError, match=r"worst \[\d, \d\]"):
        check_grad(MEAN, but(change, at), Z, grad_output=grad_output)


def test_check_grad__rejects_p_minus_1_at_a_sure_prediction() -> None:
    """p - 1 is 0 in floats where the truth is -1.9e-22."""

    def p_minus_1(z):
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        return p - np.array([0, 1])

    f = partial(exact.cross_entropy, target=1)
    check_grad(f, p_minus_1, np.array([0.0, 1.0]))
    with pytest.raises(AssertionError, match=r"1 of 2 .* \[1\]"):
        check_grad(f, p_minus_1, np.array([0.0, 50.0]))


def test_check_grad__rejects_an_ignored_row_that_leaks() -> None:
    """The smallest subnormal number is too much where the truth is 0."""
    f = partial(exact.cross_entropy, target=[0, -100], reduction="sum")
    z = np.array([[1.0, 2.0], [3.0, 4.0]])
    right = np.array([[-1, 1], [0, 0]]) * float(exact.sigmoid(1))
    check_grad(f, lambda z: right, z)
    with pytest.raises(AssertionError, match=r"1 of 4 .* \[1, 1\]"):
        check_grad(f, lambda z: right + np.array([[0, 0], [0, 1e-322]]), z)


def test_check_grad__rejects_weights_applied_twice() -> None:
    """Squares of weights differ from the weights where they are not 1."""
    w = np.array([1.0, 3.0])
    f = partial(exact.nll_loss, target=[0, 1], weight=w, reduction="sum")
    check_grad(f, lambda lp: -np.diag(w), np.zeros((2, 2)))
    with pytest.raises(AssertionError, match=r"1 of 4 .* \[1, 1\]"):
        check_grad(f, lambda lp: -np.diag(w**2), np.zeros((2, 2)))


def test_check_grad__the_message_holds_both_values_and_the_error_in_ulp() -> None:
    """Enough to see what is wrong without running anything again."""
    with pytest.raises(AssertionError) as caught:
        check_grad(exact.softplus, lambda x: np.array([0.5, 1.0]), np.zeros(2))
    message = str(caught.value)
    assert "worst [1]" in message
    assert "got      1.0" in message
    assert "expected 0.5" in message
    assert "4.5e+15 ulp of float64" in message


def test_check_grad__rejects_another_shape() -> None:
    """Broadcasting would hide it."""
    with pytest.raises(AssertionError, match=r"shape \(1, 3\), x has \(3, 3\)"):
        check_grad(MEAN, lambda z: right_grad(z).sum(0, keepdims=True), Z)
    check_grad(exact.softplus, lambda x: x, np.zeros((0, 2)))


def test_check_grad__measures_a_cancelling_entry_in_ulps_of_scale() -> None:
    """p - q near the optimum is right to the ulps of p and q, not to its own."""
    z, q = np.array([0.0, 1.0]), np.array([0.25, 0.75])
    z[1] = float(3 * 0 + math.log(3))
    f = partial(exact.cross_entropy, target=q)

    def p_minus_q(z):
        return np.exp(z) / np.exp(z).sum() - q

    with pytest.raises(AssertionError, match="2 of 2"):
        check_grad(f, p_minus_q, z)
    check_grad(f, p_minus_q, z, scale=q)
    with pytest.raises(AssertionError, match="2 of 2"):
        check_grad(f, lambda z: p_minus_q(z) + [1e-14, -1e-14], z, scale=q)


def test_check_grad__where_leaves_entries_out() -> None:
    """Those that differences cannot judge, for instance."""
    wrong = but(lambda g: g + 1, (1, 2))
    mask = np.ones((3, 3), bool)
    mask[1, 2] = False
    check_grad(MEAN, wrong, Z, where=mask)
    check_grad(MEAN, but(lambda g: -g), Z, where=False)


def test_check_grad__refuses_to_pass_what_differences_of_floats_cannot_see() -> None:
    """9e-14 is beyond float64 differences of a loss of order 1: no verdict is no pass."""
    z, y = np.array([[0.0, 30.0]]), [1]
    f = partial(naive_cross_entropy, y=y)
    f_grad = partial(naive_cross_entropy_grad, y=y)
    with pytest.raises(ValueError, match=r"too coarsely.*crossent\.exact"):
        check_grad(f, f_grad, z)
    with pytest.raises(ValueError, match="too coarsely"):
        check_grad(lambda x: x * 0 + 1, lambda x: x * 0, np.ones(1), rtol=1e-6)
    check_grad(f, f_grad, z, rtol=1e-8, scale=1)
    with pytest.raises(AssertionError, match="2 of 2"):
        check_grad(f, lambda z: -f_grad(z) - 1, z)


def test_check_grad__rtol_is_the_limit_for_functions_of_floats() -> None:
    """What they can see, they check."""
    z, y = Z[:2], [1, 0]
    f = partial(naive_cross_entropy, y=y)
    f_grad = partial(naive_cross_entropy_grad, y=y)
    check_grad(f, f_grad, z, rtol=1e-8)
    check_grad(f, f_grad, z, rtol=1e-8, grad_output=np.array([2.0, -1.0]))
    with pytest.raises(AssertionError, match=r"1 of 6 .* \[1, 2\]"):
        check_grad(f, lambda z: f_grad(z) * (1 + 1e-6 * (np.arange(6).reshape(2, 3) == 5)), z, rtol=1e-8)
    check_grad(f, lambda z: f_grad(z) * (1 + 1e-9), z, rtol=1e-8)


def test_check_grad__says_where_f_is_not_finite() -> None:
    """A NaN gradient agrees with a loss of NaN; about any other, differences say nothing."""
    f = partial(exact.cross_entropy, target=[0, 0], reduction="none")
    z = np.array([[0.0, 0.0], [0.0, NAN]])
    check_grad(f, lambda z: np.array([[-0.5, 0.5], [NAN, NAN]]), z)
    with pytest.raises(ValueError, match=r"say nothing of 1 of 4 .* \[1, 1\].*where="):
        check_grad(f, lambda z: np.array([[-0.5, 0.5], [NAN, 0.0]]), z)


def test_check_grad__functions_that_write_to_their_argument_do_not_spoil_the_check() -> None:
    """Each call gets a copy of its own."""

    def destructive(x):
        y = exact.softplus(x)
        x[...] = 0
        return y

    def destructive_grad(x):
        g = 1 / (1 + np.exp(-x))
        x[...] = 0
        return g

    x = np.array([1.0, 2.0])
    check_grad(destructive, destructive_grad, x)
    assert x.tolist() == [1.0, 2.0]


def test_check_grad__only_floating_gradients_have_ulps() -> None:
    """An integer gradient is a bug of its own."""
    with pytest.raises(TypeError, match="int64"):
        check_grad(exact.softplus, lambda x: np.zeros(1, int), np.zeros(1))
