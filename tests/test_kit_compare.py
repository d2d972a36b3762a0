"""What the laws compare with: the limits, digits against exact numbers, bits, sums of results."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from crossent.testing import Broken, Call
from crossent.testing import _compare as compare
from crossent.testing._limits import limit
from crossent.testing._truth import ZERO_OR_NAN, exact

EPS = 2.0**-52
TINY = 2.0**-1022
MAX = np.finfo(float).max
BIG = int(MAX)
HALF = 2**970  # half an ulp of it
TELL = Call("softplus", np.zeros(1))


def test_limit__is_that_of_the_contract():
    """4 ulp for values, 6 for gradients, half precision rounded; a function without a limit is an error."""
    assert limit("softmax", "float32") == limit("softmax", np.float64) == 4
    assert limit("softmax_grad", ">f8") == 6
    assert limit("cross_entropy", np.dtype("float16")) == 0.51
    for function, dtype in (("hinge", "float32"), ("softmax", "int64")):
        with pytest.raises(KeyError) as caught:
            limit(function, dtype)
        assert caught.value.args == (f"no limit for {function!r} in {dtype}: add one to LIMITS",)


@pytest.mark.parametrize(
    ("v", "text"),
    [
        (Decimal("Infinity"), "inf"),
        (Decimal("-Infinity"), "-inf"),
        (Decimal("NaN"), "nan"),
        (ZERO_OR_NAN, "nan"),
        (Decimal("0E-40"), "0"),
        (Decimal(1) / 3, "0.33333333333333333333"),
        (Decimal("1e-400"), "1e-400"),
        (np.float32(0.1), "0.1"),
    ],
)
def test_show__as_many_digits_as_matter(v, text):
    """What a counter-example prints of what came and what was due."""
    assert compare.show(v) == text


def problem(came, due, scale=None, *, dtype="float64", least=None, limit=4, coarse=None):
    """What `check_digits` says of one number."""
    due = Decimal(due)
    size = abs(due) if scale is None and due.is_finite() else Decimal(scale or 0)
    call = Call("softplus", np.zeros((), dtype))
    least = None if least is None else np.array(Decimal(least), object)
    try:
        compare.check_digits(
            call, "value", np.array(came), due, scale=size, least=least, limit=limit, coarse=coarse
        )
    except Broken as broken:
        return broken.problem
    return ""


@pytest.mark.parametrize(
    ("came", "due", "options", "told"),
    [
        # digits
        (1 + 4 * EPS, 1, {}, ""),
        (1 + 5 * EPS, 1, {}, "5 ulp away (limit 4)"),
        (1 - 5 * EPS, 1, {}, "5 ulp away (limit 4)"),
        (-1 - 5 * EPS, -1, {}, "5 ulp away (limit 4)"),
        (-1, 1, {}, "9.01e+15 ulp away (limit 4)"),
        (1 + 3 * EPS, 1, {"limit": 2.5}, "3 ulp away (limit 2.5)"),
        (1 + 32 * EPS, 1, {"scale": 8}, ""),
        (1 + 40 * EPS, 1, {"scale": 8}, "5 ulp away (limit 4)"),
        (8 + 40 * EPS, 8, {"scale": 1}, "5 ulp away (limit 4)"),
        (np.float32(1) + np.float32(2**-21), 1, {"dtype": "float32"}, ""),
        (1 + 5 * 2.0**-23, 1, {"dtype": "float32"}, "5 ulp away (limit 4)"),
        # NaN
        (np.nan, "NaN", {}, ""),
        (0.0, "NaN", {}, "not NaN"),
        (1.0, ZERO_OR_NAN, {}, "not NaN"),
        (0.0, ZERO_OR_NAN, {}, ""),
        (np.nan, ZERO_OR_NAN, {}, ""),
        (np.nan, 1, {}, "NaN"),
        (np.nan, "Infinity", {}, "NaN"),
        # infinities
        (np.inf, "Infinity", {}, ""),
        (-np.inf, "-Infinity", {}, ""),
        (-np.inf, "Infinity", {}, "of the wrong sign"),
        (MAX, "Infinity", {}, "not infinite"),
        (np.inf, 1, {}, "infinite"),
        (-np.inf, -1e300, {}, "infinite"),
        # zeros
        (-0.0, 0, {}, ""),
        (5e-324, 0, {}, "not 0"),
        (4 * EPS, 0, {"scale": 1}, ""),
        (5 * EPS, 0, {"scale": 1}, "5 ulp away (limit 4)"),
        # around the largest number
        (np.inf, BIG, {}, ""),
        (np.inf, BIG - 60 * HALF, {}, ""),
        (np.inf, BIG - 70 * HALF, {}, "infinite"),
        (-np.inf, BIG, {}, "of the wrong sign"),
        (-MAX, BIG, {}, "of the wrong sign"),
        (MAX, -BIG, {}, "of the wrong sign"),
        (-np.inf, -BIG, {}, ""),
        (MAX - 8 * HALF, BIG, {}, ""),
        (1.0, BIG, {}, "9.01e+15 ulp away (limit 4)"),
        (0.0, BIG, {}, "9.01e+15 ulp away (limit 4)"),
        (MAX - 10 * HALF, BIG, {}, "5 ulp away (limit 4)"),
        (MAX, BIG + HALF, {}, ""),
        (-MAX, -BIG - HALF, {}, ""),
        (np.nextafter(MAX, 0), BIG + HALF, {}, "not infinite"),
        (np.nextafter(-MAX, 0), -BIG - HALF, {}, "not infinite"),
        (np.nextafter(MAX, 0), BIG + HALF // 2, {}, ""),
        (-MAX, Decimal("1e400"), {}, "of the wrong sign"),
        (np.inf, Decimal("1e400"), {}, ""),
        # below the normal numbers only smallness counts
        (0.0, "1e-310", {}, ""),
        (-1e-310, "1e-310", {}, ""),
        (2 * TINY + 2**-1073, 2.0**-1073, {}, ""),
        (2 * TINY + 2**-1072, 2.0**-1073, {}, "not small"),
        (TINY + 5 * 2**-1074, Decimal(TINY), {}, "5 ulp away (limit 4)"),
        (2 * TINY, "1e-310", {"scale": TINY}, "8.99e+15 ulp away (limit 4)"),
        # ... and where a factor is below them, half of the digits of nothing
        (3.0, 1, {"least": "1e-310"}, ""),
        (9.0, 1, {"least": "1e-310", "scale": 4}, ""),
        (9.1, 1, {"least": "1e-310", "scale": 4}, "not small"),
        (3.0, 1, {"least": TINY}, "9.01e+15 ulp away (limit 4)"),
        # half precision is computed in single
        (2.0**-20 + 2.0**-24, 2.0**-20, {"dtype": "float16", "limit": 0.51}, "1 ulp away (limit 0.51)"),
        (2.0**-20 + 2.0**-25, 2.0**-20, {"dtype": "float16", "limit": 0.51}, ""),
        (2.0**-26, "1e-40", {"dtype": "float16", "limit": 0.51}, ""),
        (1.5, 1, {"dtype": "float16", "least": "1e-37"}, "512 ulp away (limit 4)"),
        (1.5, 1, {"dtype": "float16", "least": "1e-39"}, ""),
        (1.5, 1, {"dtype": "float32", "least": "1e-39"}, ""),
        (1.5, 1, {"dtype": "float32", "least": "1e-37"}, "4.19e+06 ulp away (limit 4)"),
    ],
)  # fmt: skip
def test_check_digits__says_what_is_wrong(came, due, options, told):
    """On both sides of every threshold, and in the words of the report."""
    assert problem(came, due, **options) == told


def test_check_digits__coarse_counts_in_ulps_of_the_largest():
    """With half of the digits of the largest number, small ones may lose theirs; exact zeros may not."""

    def check(came, due, coarse):
        due = np.array([Decimal(v) for v in due], object)
        scale = np.array([abs(v) if v.is_finite() else Decimal(0) for v in due], object)
        compare.check_digits(
            TELL, "value", np.array(came), due, scale=scale, least=None, limit=4, coarse=coarse
        )

    check([1 + 32 * EPS, -8, np.inf], [1, -8, "Infinity"], Decimal(2))
    check([1 + 32 * EPS, 2], [1, 2], Decimal(8))
    with pytest.raises(Broken, match=r"^value: 5 ulp away \(limit 4\) at \[0\]; "):
        check([1 + 40 * EPS, -8], [1, -8], Decimal(2))
    with pytest.raises(Broken, match=r"^value: 5 ulp away \(limit 4\) at \[0\]; "):
        check([1 + 40 * EPS, 2], [1, 2], Decimal(8))
    with pytest.raises(Broken, match=r"^value: not 0 at \[1\]; came 1e-300, due 0$"):
        check([8, 1e-300], [8, 0], Decimal(1))


def test_check_digits__tells_the_first_wrong_number():
    """Where it is, what came, what was due, and what the law adds."""
    due = np.array([[Decimal(1), Decimal(2)], [Decimal(3), Decimal("NaN")]], object)
    least = np.array([[Decimal(1), Decimal("1e-310")], [Decimal(3), Decimal(1)]], object)
    came = np.array([[1.0, 3.0], [4.0, 1.0]])
    with pytest.raises(Broken) as caught:
        compare.check_digits(
            TELL, "gradient", came, due, scale=due, least=least, limit=4, note=" (of a copy)"
        )
    broken = caught.value
    assert (broken.call, broken.quantity, broken.raised) == (TELL, "gradient", False)
    assert (broken.came, broken.due) == ("4.0", "3")
    assert broken.problem == "2.25e+15 ulp away (limit 4) at [1, 0] (of a copy)"
    assert str(broken) == f"gradient: {broken.problem}; came 4.0, due 3"


@pytest.mark.parametrize(
    ("dtype", "got", "due", "scale", "ulps"),
    [
        ("float64", 1 + 2 * EPS, 1, 0, 2),
        ("float64", 1 + EPS, 1, 0, 0),  # clearly below the limit: not measured
        ("float64", 1 + 16 * EPS, 1, 8, 2),
        ("float64", 8 + 16 * EPS, 8, 1, 2),
        ("float32", 1 + 2.0**-22, 1, 0, 2),
        ("float64", 3 * 5e-324, 5e-324, 0, 2),
        ("float64", 5 * 5e-324, 0, 0, 5),
        ("float16", 3 * 2.0**-24, 2.0**-24, 0, 2),
    ],
)
def test_distance__is_measured_where_it_could_matter(dtype, got, due, scale, ulps):
    """Within a quarter of the limit it is 0 without a look at the fractions."""
    assert compare._distance(Decimal(got), Decimal(due), Decimal(scale), 4.0, np.dtype(dtype)) == ulps


def test_check_bits__tells_the_first_other_number():
    """In which call, where, and both numbers; what must be the same is said by the law."""
    compare.check_bits(TELL, "value", np.array([-np.inf, 2.0]), np.array([-np.inf, 2.0]), "")
    with pytest.raises(Broken) as caught:
        compare.check_bits(
            TELL, "gradient", np.array([[1, 2], [3, 4.0]]), np.array([[1, 2], [5, 6.0]]), "the same twice"
        )
    broken = caught.value
    assert (broken.call, broken.quantity, broken.problem) == (TELL, "gradient", "the same twice at [1, 0]")
    assert (broken.came, broken.due) == ("3.0", "5.0")
    with pytest.raises(Broken, match=r"^value: the same; came 1.0, due 2.0$"):
        compare.check_bits(TELL, "value", np.float64(1), np.float64(2), "the same")
    for came, due in ((np.nan, 1.0), (1.0, np.nan), (-np.inf, np.inf)):
        with pytest.raises(Broken):
            compare.check_bits(TELL, "value", np.array([came]), np.array([due]), "")


def test_broken__says_nothing_of_what_it_was_not_told():
    """A law may have no number to show."""
    broken = Broken(TELL, "value", "not deterministic")
    assert (broken.came, broken.due, broken.raised) == ("", "", False)
    assert Broken(TELL, "value", "raised", raised=True).raised


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_repeated__is_the_exact_answer_of_repeated_rows(reduction):
    """So that a law about a million rows need not sum them."""
    x, y, g = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, 0.0]]), np.array([2, 1]), np.array(-3.0)
    options = {"reduction": reduction}
    once = exact(Call("cross_entropy", x, y, options, g))
    thrice = exact(Call("cross_entropy", np.tile(x, (3, 1)), np.tile(y, 3), options, g))
    told = compare.repeated(once, 3, mean=reduction == "mean")
    for name in ("value", "value_scale", "grad", "grad_scale"):
        due, came = np.asarray(getattr(thrice, name)), np.asarray(getattr(told, name))
        due = due[:2] if "grad" in name else due
        assert came.shape == due.shape
        assert np.all(abs(came - due) <= abs(due) * Decimal("1e-50"))


def test_total__is_exact_and_measured_against_its_terms():
    """1 + 2**-55 - 1 is 2**-55, and its magnitude 2 and as much."""
    value, size = compare.total(np.dtype(float), np.array([1.0]), np.array([2.0**-55]), np.array([-1.0]))
    assert value.tolist() == [Decimal(2.0**-55)]
    assert [Fraction(v) for v in size] == [2 + Fraction(1, 2**55)]
    value, size = compare.total(np.dtype(np.float16), np.array([2.0**-20, 1.0], np.float16))
    assert value.tolist() == [2.0**-20, 1]
    assert size.tolist() == [2.0**-14, 1]  # half precision: at least a normal number
    assert float(compare.total(np.dtype(np.float32), np.array([2.0**-140]))[1][0]) == 2.0**-140
    assert compare.at_least(Decimal(3), np.dtype(float)).shape == ()
