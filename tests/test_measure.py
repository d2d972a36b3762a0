"""The ulp meter: its fast reference against the exact definition, planted errors, the command."""

import runpy
import sys
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

import crossent
import truth
from crossent import exact as definition
from crossent.testing import _pairs, ulp_error
from crossent.testing import measure as meter
from crossent.testing._limits import LIMITS, MEASURED, limit
from crossent.testing._pairs import Pairs, pairs
from crossent.testing._reference import Rows, Truth, perplexity, plain, reduced
from crossent.testing.measure import FUNCTIONS, REGIMES, Cell, distances, measure
from laws import BINARY, Call, exact

# The reference's relative error, of the value or, where terms cancel, of its scale. Half an ulp of
# float64 is 2**-53: the meter itself is wrong by less than 2**-42 ulp.
REFERENCE = Decimal(2) ** -95
NOTHING = Decimal(2) ** -1_000_000  # less than this counts as 0


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """The regime of many rows takes as long as all others together."""
    monkeypatch.setattr(meter, "_MANY_ROWS", 200)


def _decimals(x: Pairs):
    """The exact values of pairs."""
    with localcontext(truth.CONTEXT):
        values = np.empty(x.shape, object)
        for i in np.ndindex(x.shape):
            values[i] = (Decimal(float(x.hi[i])) + Decimal(float(x.lo[i]))) * Decimal(2) ** int(x.exponent[i])
        return values


def _assert_near(got: Pairs, due, scale: Pairs | None = None, bound=REFERENCE):
    due = np.asarray(due, object)
    assert got.shape == due.shape
    sizes = np.abs(due) if scale is None else _decimals(scale)
    with localcontext(truth.CONTEXT):
        for i, value in np.ndenumerate(_decimals(got)):
            if value != due[i]:
                assert abs(value - due[i]) <= max(bound * sizes[i], NOTHING), (i, value, due[i])


def _random(*shape, seed=0):
    """Numbers of all sizes and their exact values; nothing of either half of a pair is 0."""
    rng = np.random.default_rng(seed)
    x = pairs(rng.standard_normal(shape)) + pairs(rng.standard_normal(shape) * 2.0**-60)
    x = Pairs(x.hi, x.lo, x.exponent + rng.integers(-2000, 2000, shape))
    return x, _decimals(x)


# ---------------------------------------------------------------------------------------
# the arithmetic


def test_pairs__hold_floats_exactly():
    """Subnormal and largest numbers, zeros and infinities."""
    x = np.array([0.0, -0.0, 5e-324, -2.5e-310, 1.0, -1.7976931348623157e308, np.inf, -np.inf])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(pairs(x).to_float(), x)
        x = pairs(x[:6])
    np.testing.assert_array_equal(x.floor_log2[2:], [-1074, -1029, 0, 1023])


def test_pairs__floor_log2_of_just_less_than_a_power_of_two():
    """An ulp there is half of that above the power."""
    x = pairs(np.ones(2)) - pairs(np.array([0.0, 2.0**-80]))
    np.testing.assert_array_equal(x.floor_log2, [0, -1])


def test_pairs__arithmetic_is_right_to_100_bits():
    """Whatever the exponents, far beyond those of float64."""
    (x, a), (y, b) = _random(500), _random(500, seed=1)
    near = Pairs(y.hi, y.lo, x.exponent)
    c = _decimals(near)
    with localcontext(truth.CONTEXT):
        tight = Decimal(2) ** -101
        _assert_near(x + y, a + b, bound=tight)
        _assert_near(x - near, a - c, bound=tight)
        _assert_near(x * y, a * b, bound=tight)
        _assert_near(x / y, a / b, bound=tight)
        _assert_near(-abs(x), -np.abs(a), bound=tight)
        _assert_near(_pairs.maximum(x, y), np.maximum(a, b), bound=tight)


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
def test_pairs__sum_is_right_to_100_bits_of_its_magnitudes(n):
    """Along either axis, of terms of any size and sign."""
    x, a = _random(n, 3)
    with localcontext(truth.CONTEXT):
        _assert_near(x.sum(), a.sum(axis=0), abs(x).sum())
        moved = Pairs(x.hi.T, x.lo.T, x.exponent.T)
        _assert_near(moved.sum(1), a.sum(axis=0), abs(x).sum())


def test_pairs__exp_log_log1p_are_right_to_100_bits():
    """For arguments from 2**-500 to 2**20, and next to the numbers where the result is near 0."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(200) * 2.0**e for e in (-500, -60, -30, -8, -1, 0, 3, 9)])
    small = pairs(x) * (pairs(1) + pairs(rng.standard_normal(x.size) * 2.0**-60))
    large = pairs(np.append(rng.uniform(-(2.0**20), 2.0**20, 50), [-(2.0**20), 2.0**20]))
    positive = pairs(np.concatenate([np.abs(x), rng.uniform(-0.6, 0, 200), 1e300 * rng.random(9)]))
    near_1 = pairs(1) + pairs(rng.standard_normal(20) * 2.0**-40)
    with np.errstate(all="ignore"), localcontext(truth.CONTEXT):
        for each in (small, large):
            _assert_near(_pairs.exp(each), [v.exp() for v in _decimals(each)])
        _assert_near(_pairs.log(abs(small)), [v.ln() for v in _decimals(abs(small))])
        _assert_near(_pairs.log(near_1), [v.ln() for v in _decimals(near_1)])
        least = _pairs.exp(pairs(rng.uniform(-740, -660, 20)))  # of which float64 holds few digits
        _assert_near(_pairs.log1p(least), _decimals(least))
        due = []
        for v in _decimals(positive):
            with localcontext() as more:
                more.prec += 320
                due.append((1 + v).ln())
        _assert_near(_pairs.log1p(positive), due)


def test_pairs__infinities_pass_through():
    """Masked logits are -inf, and cost inf."""
    inf = np.inf
    with np.errstate(all="ignore"):
        x = pairs(np.array([inf, -inf, 2.0]))
        for got, due in (
            (x + pairs(1), [inf, -inf, 3]),
            (pairs(1) + x, [inf, -inf, 3]),
            (x * pairs(-2), [-inf, inf, -4]),
            (pairs(-2) * x, [-inf, inf, -4]),
            (x / pairs(2), [inf, -inf, 1]),
            (x[::2].sum(), inf),
            (pairs(np.array([[1.0, inf, 0.5, 0.0], [2.0, 1.0, 0.5, -inf]])).sum(), [3, inf, 1, -inf]),
            (_pairs.exp(x[:2]), [inf, 0]),
            (_pairs.exp(pairs(np.array([2e6, -2e6, 0]))), [inf, 0, 1]),
            (_pairs.log(pairs(np.array([0.0, 1.0]))), [-inf, 0]),
        ):
            np.testing.assert_array_equal(got.to_float(), due)
            np.testing.assert_array_equal(got.lo[~np.isfinite(got.hi)], 0)
        # beyond 2**20 the number itself, not only its float
        np.testing.assert_array_equal(_pairs.exp(pairs(np.array([2e6, -2e6]))).hi, [inf, 0])


def test_pairs__a_zero_is_smaller_than_any_number():
    """Its exponent must not push the digits of what it is added to out of sight."""
    tiny = Pairs(np.array([0.75]), np.array([2.0**-60]), np.array([-5000]))
    zero = pairs(np.zeros(1))
    for got in (tiny + zero, zero + tiny, tiny - zero, Pairs(*map(np.concatenate, zip(
        (tiny.hi, tiny.lo, tiny.exponent), (zero.hi, zero.lo, zero.exponent), strict=True
    ))).sum().expand(0)):  # fmt: skip
        _assert_near(got, _decimals(tiny), bound=0)
    assert zero.floor_log2[0] < -(2**39)


def test_pairs__exponents_have_no_end():
    """2**(2**35) is inf as a float, its inverse 0, and their product 1."""
    x = Pairs(np.full(2, 0.5), np.zeros(2), np.array([2**35, -(2**35)]))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(x.to_float(), [np.inf, 0])
    np.testing.assert_array_equal((x[:1] * x[1:]).to_float(), [0.25])
    with np.errstate(all="ignore"):
        e = _pairs.exp(pairs(np.ones(1)))
    for y in (pairs([1, 2]), pairs(np.float16([0.1])), pairs(np.float32([0.1])), e):
        assert (y.hi.dtype, y.lo.dtype, y.exponent.dtype) == (np.float64, np.float64, np.int64)
    np.testing.assert_array_equal(pairs(np.float16([0.1])).to_float(), np.float16([0.1]))


def test_pairs__differences_keep_the_digits_of_what_is_left():
    """Where the leading halves cancel, the result is that of the others, rounded once."""
    rng = np.random.default_rng(0)
    hi, lo = rng.uniform(0.5, 1, 100), rng.uniform(-1, 1, 100)
    x, y = (Pairs(hi, lo * 2.0**-e, np.zeros(100, np.int64)) for e in (54, 83))
    with localcontext(truth.CONTEXT):
        _assert_near(x - y, _decimals(x) - _decimals(y), bound=Decimal(2) ** -101)


@pytest.mark.parametrize("n", [3, 5, 6])
def test_pairs__sums_of_terms_of_one_size(n):
    """An odd one is carried on with both of its halves."""
    x, _ = _random(n, 4)
    x = Pairs(x.hi, x.lo, np.zeros(x.shape, np.int64))
    with localcontext(truth.CONTEXT):
        _assert_near(x.sum(), _decimals(x).sum(axis=0), abs(x).sum(), bound=Decimal(2) ** -101)
    assert x.expand(1).shape == (n, 1, 4)
    assert x.expand(0, 2).shape == (1, n, 1, 4)


def test_pairs__log_2_is_cut_into_parts_whose_products_are_exact():
    """30 bits each, of a number that is right to 45 digits and more."""
    ln2, parts = _pairs._constants()
    with localcontext(truth.CONTEXT):
        assert abs(Decimal(ln2.numerator) / ln2.denominator - Decimal(2).ln()) < Decimal("1e-49")
    assert 0 <= ln2 - sum(map(Fraction, parts)) < Fraction(1, 2**150)
    for i, part in enumerate(parts, start=1):
        units = Fraction(part) * 2 ** (30 * i)
        assert 0 < units < 2**30
        assert units.denominator == 1
    hi, lo = _pairs._word(Fraction(1, 3))
    assert hi == 1 / 3
    assert abs(Fraction(hi) + Fraction(lo) - Fraction(1, 3)) < Fraction(1, 2**106)


# ---------------------------------------------------------------------------------------
# the reference


def _defined(call):
    """The exact value of a call by the definition."""
    arguments = list(call.inputs.values())
    with localcontext(truth.CONTEXT):
        if call.function == "entropy":
            return [truth.entropy(p)[0] for p in arguments[0]]
        if call.function == "kl_divergence":
            return [truth.kl_divergence(p, q)[0] for p, q in zip(*arguments, strict=True)]
        if call.function == "smooth_labels":
            y, K, s = arguments[0], arguments[1], Fraction(arguments[2])
            rest = s / (K if call.options["spread"] == "all" else K - 1)
            own = 1 - s + (rest if call.options["spread"] == "all" else 0)
            due = np.array([[own if k == label else rest for k in range(K)] for label in y], object)
            return np.array([[Decimal(v.numerator) / v.denominator for v in row] for row in due], object)
        if call.function == "perplexity":
            return definition.cross_entropy(*arguments, **call.options).exp()
        return getattr(definition, call.function)(*arguments, **call.options)


def _derived(call):
    """A gradient and its scale by the tests' own derivation in decimals."""
    name, up = call.function.removesuffix("_grad"), call.options.get("grad_output")
    options = {name: v for name, v in call.options.items() if name != "grad_output"}
    if (call.function, call.variant) == ("log_softmax_grad", "one-hot g"):  # the gradient of -log p
        e = exact(Call("cross_entropy", call.inputs["x"], up.argmax(axis=1), {"reduction": "none"}))
        with localcontext(truth.CONTEXT):
            return -e.grad, e.grad_scale
    e = exact(Call(name, *call.inputs.values(), options=options, grad_output=up))
    return e.grad, e.grad_scale


def _small_calls(regime, dtype, rows, K, seed=0):
    for family, _ in meter._FAMILIES:
        draw = meter.Draw(np.random.default_rng([seed, K]), rows, K, np.dtype(dtype))
        z, y = REGIMES[regime](draw)
        yield from family(draw, z.astype(dtype), y)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(("dtype", "rows", "K"), [("float64", 2, 4), ("float32", 3, 2)])
def test_reference__agrees_with_the_definition(regime, dtype, rows, K):
    """Values with `crossent.exact`, gradients with the tests' derivation; no scale is more lenient."""
    seen = set()
    with np.errstate(all="ignore"):
        for call in _small_calls(regime, dtype, rows, K):
            if call.options.get("reduction") == "sum":  # the mean without its denominator
                continue
            got = call.truth()
            if call.function.endswith("_grad"):
                due, scale = _derived(call)
                with localcontext(truth.CONTEXT):
                    lenient = _decimals(got.scale) > scale * (1 + REFERENCE) + NOTHING
                assert not lenient.any(), call
            else:
                due = _defined(call)
            _assert_near(got.value, due, got.scale)
            seen.add(call.function)
    assert seen == set(FUNCTIONS)


def test_reference__a_sum_forgets_the_factors_of_terms_that_do_not_show():
    """A subnormal weight of a negligible term is no reason to leave the sum out; of the largest it is."""
    terms = plain(pairs(np.array([1.0, 1e-30]))).times(pairs(np.array([1.0, 1e-310])))
    assert terms.least[1] < -1022
    assert terms.sum().least == 0
    assert plain(pairs(np.ones(1))).times(pairs(np.full(1, 1e-310))).sum().least < -1022


def test_reference__a_factor_of_0_loses_nothing():
    """What is exactly 0 has no digits to lose: it is measured."""
    zero = plain(pairs(np.zeros(1)))
    assert zero.least == zero.times(pairs(0)).least == np.iinfo(np.int64).max
    assert plain(pairs(np.ones(1))).times(pairs(0)).least == 0


@np.errstate(all="ignore")
def test_reference__gradients_of_maps_count_in_all_their_terms():
    """Their scale is the sum of the terms' magnitudes, not the largest."""
    rng = np.random.default_rng(0)
    z, g = rng.standard_normal((2, 3, 4))
    for name in ("softmax", "log_softmax"):
        e = exact(Call(name, z, grad_output=g))
        _assert_near(getattr(Rows(z), f"{name}_grad")(pairs(g)).scale, e.grad_scale)


@np.errstate(all="ignore")
def test_reference__least_factors_pass_through():
    """A mean has the factors of its sum, a perplexity those of its mean, a log of a sum its larger part."""
    each = plain(pairs(np.array([1.0, 0.25]))).times(pairs(2.0**-1030))
    for reduction in ("mean", "sum"):
        assert reduced(each, reduction, pairs(2)).least == -1030
    assert perplexity(plain(pairs(np.array([2.0**-1030])))).least == -1030
    assert Rows([[-3.0, -3.0], [-0.5, -0.5]]).logsumexp().least.tolist() == [1, -1]
    rows = Rows([[0.0, 0.0, 800.0]])
    soft, label = rows.soft_grad(plain(pairs([[0.0, 0.0, 2.0]]))), rows.label_grad(np.array([2]))
    assert soft.least.tolist() == label.least.tolist() == [[-1155, -1155, -1154]]


@np.errstate(all="ignore")
def test_reference__reductions_and_perplexity():
    """A sum is not divided; the error of a perplexity is that of its mean, times the mean above 1."""
    each = plain(pairs(np.array([1.0, 2.0, 4.0])))
    assert [reduced(each, name, pairs(4)).value.to_float().tolist() for name in ("none", "sum", "mean")] == [
        [1, 2, 4], 7, 1.75,
    ]  # fmt: skip
    for mean, factor in ((0.5, 1), (3.0, 3)):
        got = perplexity(plain(pairs(np.array([mean]))))
        _assert_near(got.scale, _decimals(got.value * pairs(factor)))


# ---------------------------------------------------------------------------------------
# distances


def test_distances__are_those_of_ulp_error():
    """One rule, in fast and in exact arithmetic."""
    rng = np.random.default_rng(0)
    for dtype in ("float16", "float32", "float64"):
        x = pairs(rng.standard_normal(100) * 10.0 ** rng.uniform(-4, 4, 100))
        x = x * (pairs(1) + pairs(rng.standard_normal(100) * 2.0**-70))
        actual = (x.to_float() * (1 + 1e-3 * rng.standard_normal(100))).astype(dtype)
        scale = abs(x) * pairs(rng.uniform(1, 100, 100))
        for truth_, size in ((plain(x), None), (plain(x)._replace(scale=scale), _decimals(scale))):
            due = ulp_error(actual, _decimals(x), scale=size)
            np.testing.assert_allclose(distances(actual, truth_, dtype), due, rtol=1e-10)


@pytest.mark.parametrize(
    ("value", "actual", "due"),
    [
        (0.0, 0.0, 0),
        (0.0, 1e-300, np.inf),
        (1.0, np.nan, np.inf),
        (1.0, np.inf, np.inf),
        (np.inf, np.inf, 0),
        (np.inf, 1e308, np.inf),
        (-np.inf, np.inf, np.inf),
        (-1.7976931348623157e308, -np.inf, 0),
        (1.7976931348623157e308, -np.inf, np.inf),
        (1e-310, 0.0, np.nan),
    ],
)
def test_distances__special_values(value, actual, due):
    """Exactly 0 and infinite where that is due; nothing is said of subnormal numbers."""
    with np.errstate(all="ignore"):
        exact_value = plain(pairs(np.array([value])))
    got = distances(np.array([actual]), exact_value, "float64")
    np.testing.assert_array_equal(got, [due])


def test_distances__of_a_value_with_a_subnormal_factor_are_not_counted():
    """A weight of 1e-310 has lost its digits; half precision is computed in float32, and keeps them."""
    value = plain(pairs(np.array([1e300]))).times(pairs(np.array([1e-310])))
    assert np.isnan(distances(np.array([1e-10]), value, "float64"))
    value = plain(pairs(np.array([1e3]))).times(pairs(np.array([6e-8])))
    assert distances(np.array([6e-5], "float16"), value, "float16") < 1


def test_distances__refuses_another_shape():
    """A result that broadcasts is not a result."""
    with pytest.raises(ValueError, match="shape"):
        distances(np.ones(1), plain(pairs(np.ones(2))), "float32")


# ---------------------------------------------------------------------------------------
# planted errors


def _over(functions, implementation, **options):
    """The regimes in which an implementation breaks its limit, for each function."""
    cells = measure(functions, implementation=implementation, **{"size": 60, **options})
    assert cells
    return {cell.regime for cell in cells if not cell.ok}


def naive_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f != "smooth_labels"])
def test_measure__sees_one_entry_that_is_off(function):
    """One ulp more than the limit, in one entry of one result, in the last bits."""
    real, done = getattr(crossent, function), []

    def planted(*args, **options):
        value = np.array(real(*args, **options))
        flat = value.reshape(-1)
        normal = np.flatnonzero(np.isfinite(flat) & (np.abs(flat) > 1e-3))
        if normal.size and not done and options.get("reduction", "none") == "none":
            i = normal[-1]
            step = 1 + (LIMITS[function]["float64"] + 4) * 2.0**-52
            if function in ("softmax_grad", "log_softmax_grad", "logsumexp", "kl_divergence", "perplexity"):
                step = 1 + 2.0**-42  # these count in ulps of more than the value
            flat[i] *= step
            done.append(i)
        return value[()]

    regimes = ["scale 1"]
    assert not _over([function], {function: real}, regimes=regimes, dtypes=["float64"])
    assert _over([function], {function: planted}, regimes=regimes, dtypes=["float64"]) == set(regimes)


def test_measure__catches_p_minus_1():
    """The gradient of a confident right prediction is all in the digits that p - 1 loses."""

    def planted(logits, target, reduction="mean", **options):
        if options or reduction != "none" or target.dtype.kind == "f":
            raise NotImplementedError
        p = crossent.softmax(logits)
        p[np.arange(len(p)), target] -= 1
        return p

    regimes = ["confident right", "constant rows", "scale 10"]
    over = _over(["cross_entropy_grad"], {"cross_entropy_grad": planted}, regimes=regimes)
    assert "confident right" in over
    assert "constant rows" not in over


def test_measure__catches_the_plain_shift():
    """exp(z - m) magnifies the rounding of z - m; where z - m is exact nothing is wrong."""
    over = _over(["softmax"], {"softmax": naive_softmax})
    assert {"uniform 700", "scale 10", "confident right"} <= over
    assert not {"constant rows", "ties"} & over


def test_measure__catches_log_of_sum_of_exp():
    """It overflows, and forgets all terms beside the largest."""

    def logsumexp(x):
        return np.log(np.exp(x).sum(axis=1))

    def log_softmax(x):
        return x - logsumexp(x)[:, np.newaxis]

    over = _over(["logsumexp", "log_softmax"], {"logsumexp": logsumexp, "log_softmax": log_softmax})
    assert {"confident right", "thresholds of exp", "huge", "uniform 700", "log-probabilities"} <= over


def test_measure__catches_what_is_not_exactly_zero():
    """A masked class has no probability, not a small one."""
    wrong = {"softmax": lambda x: np.maximum(crossent.softmax(x), 1e-40)}
    assert _over(["softmax"], wrong, regimes=["masked", "scale 1"]) == {"masked"}


# ---------------------------------------------------------------------------------------
# the table


def test_measure__the_library_is_within_its_limits(monkeypatch):
    """A small run of everything; the command's own runs are larger."""
    monkeypatch.setattr(meter, "CLASSES", (3, 100))
    cells = []
    for i, dtype in enumerate(("float64", "float32", "float16")):  # all regimes, a half and a fourth of them
        cells += measure(size=200, seed=i, dtypes=[dtype], regimes=list(REGIMES)[:: 2**i])
    monkeypatch.setattr(meter, "_MANY_ROWS", 40_000)
    many = ["logsumexp", "perplexity", f"{BINARY}_grad"]
    cells += measure(many, regimes=[meter.MANY_ROWS], dtypes=["float32"])
    assert {cell.function for cell in cells} == set(FUNCTIONS)
    assert [cell for cell in cells if not cell.ok] == []
    assert sum(cell.count for cell in cells) > 3_000_000


def test_measure__same_seed_same_cells():
    """A cell can be found again; another seed draws other inputs."""
    options = {"size": 40, "dtypes": ["float64"], "regimes": list(REGIMES)[:5]}
    a, b, c = (measure(["softmax"], seed=seed, **options) for seed in (0, 0, 1))
    assert [vars(x) | {"arguments": 0} for x in a] == [vars(x) | {"arguments": 0} for x in b]
    assert [x.ulp for x in a] != [x.ulp for x in c]


def test_measure__worst_row_shows_the_distance_again():
    """The arguments of a cell are enough to go after it."""
    cells = measure(["softmax", "cross_entropy_grad"], size=40, regimes=["scale 10"])
    for cell in cells:
        if cell.function == "softmax" or cell.variant.endswith("none, g"):
            arguments = dict(cell.arguments)
            first = [arguments.pop(name) for name in ("x", "logits", "target") if name in arguments]
            assert len(first[0]) == 1
            got = getattr(crossent, cell.function)(*first, **arguments)
            call = Call(
                cell.function.removesuffix("_grad"),
                *first,
                options={k: v for k, v in arguments.items() if k != "grad_output"},
                grad_output=arguments.get("grad_output"),
            )
            e = exact(call)
            due, scale = (e.value, e.value_scale) if cell.function == "softmax" else (e.grad, e.grad_scale)
            assert ulp_error(got, due, scale=scale)[0, cell.entry[1]] == pytest.approx(cell.ulp, rel=1e-6)


def test_measure__leaves_out_what_an_implementation_does_not_offer():
    """Functions that are missing, and calls that are not implemented."""

    def no(*args, **options):
        raise NotImplementedError

    assert measure(implementation={"softmax": no}, size=4, dtypes=["float32"]) == []
    cells = measure(implementation={"sigmoid": crossent.sigmoid}, size=4, dtypes=["float32"])
    assert {cell.function for cell in cells} == {"sigmoid"}


def test_measure__long_rows_from_a_size_on(monkeypatch):
    """A language model's vocabulary is in every third run of a regime."""
    monkeypatch.setattr(meter, "_LONG_FROM", 4)
    options = {"regimes": ["scale 1"], "dtypes": ["float32"], "size": 4}
    counts = [measure(["logsumexp"], seed=seed, **options)[0].count for seed in (0, 1, 2)]
    assert sorted(np.diff(sorted(counts))) == [0, 2]


def test_measure__refuses_unknown_functions():
    """A misspelt name measures nothing, and would look like a success."""
    with pytest.raises(ValueError, match="sofmax"):
        measure(["sofmax"])


def test_limits__every_limit_is_measured_and_kept():
    """Docs show both numbers; a function without a measurement was never measured."""
    assert LIMITS.keys() == MEASURED.keys() == set(FUNCTIONS)
    for function, row in LIMITS.items():
        assert row.keys() == MEASURED[function].keys()
        for dtype, most in row.items():
            assert 0 < MEASURED[function][dtype] <= most == limit(function, dtype)
    with pytest.raises(KeyError, match="no limit for 'accuracy' in float32"):
        limit("accuracy", np.float32)


# ---------------------------------------------------------------------------------------
# the command


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(meter, "_QUICK", 20)
    monkeypatch.setattr(meter, "_FULL", 20)
    monkeypatch.setattr(meter, "CLASSES", (2, 5, 40))


def _run(*argv):
    """`python -m crossent.testing ...`: its exit status."""
    sys.modules.pop("crossent.testing.__main__", None)
    before, sys.argv = sys.argv, ["crossent.testing", *argv]
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_module("crossent.testing", run_name="__main__")
    finally:
        sys.argv = before
    return end.value.code


@pytest.mark.parametrize("options", [["--quick"], ["--full", "--seed", "7"], []])
def test_command__prints_a_line_a_function_and_dtype(small, capsys, options):
    """And at the end how many cells there are, and how many are over."""
    assert (
        _run("measure", "--function", "softmax", "--function", "sigmoid", "--dtype", "float32", *options) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if "K =" in line] == [
        ["softmax", "float32"],
        ["sigmoid", "float32"],
    ]
    assert lines[-2].endswith("cells measured")
    assert lines[-1] == "0 cells over the limit"
    assert lines[1].startswith("seeds 7, 8, 9;" if "--full" in options else "seeds 0;")


def test_command__shows_the_row_of_a_cell_over_its_limit(small, capsys, monkeypatch):
    """A row to paste, exact to the bit; of few classes, the others would fill the screen."""
    monkeypatch.setattr(crossent, "softmax", naive_softmax)
    monkeypatch.setattr(crossent, "nll_loss", lambda *a, **o: 1.5)
    command = ["--function", "softmax", "--function", "nll_loss", "--dtype", "float64"]

    def cost(log_probs, target, **options):
        return np.float64(1.0) if options["reduction"] != "none" else np.ones(len(target))

    monkeypatch.setattr(crossent, "nll_loss", cost)
    assert meter.main(command) == 1
    out = capsys.readouterr().out
    assert int(out.splitlines()[-1].split()[0]) == out.count("OVER") > 0
    assert "of softmax(x=np.array([h('" in out
    assert "of nll_loss(log_probs=np.array([h('" in out
    assert "target=np.array([" in out
    assert "reduction='mean'" in out
    assert "entry (" in out


def test_command__of_another_name_is_a_function_to_check(capsys):
    """Which needs to be told what function it is."""
    assert _run("weigh") == 2
    assert "--spec" in capsys.readouterr().err


def test_command__runs_itself_without_cpu_features(capfd, monkeypatch):
    """NumPy reads the variable when it is loaded, so that takes another process."""
    calls = []

    class Ended:
        returncode = 3

    def run(command, *, env, check):
        calls.append((command[3:], env["NPY_DISABLE_CPU_FEATURES"]))
        return Ended

    monkeypatch.setattr(meter.subprocess, "run", run)
    monkeypatch.setattr(meter, "dispatched_features", lambda level: [level.upper()])
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "ONE")
    assert meter.main(["--without", "avx2", "--seed", "1"]) == 3
    assert meter.main(["--seed", "1", "--without=avx512"]) == 3
    rest = ["measure", "--seed", "1"]
    assert calls == [(rest, "ONE AVX2"), (rest, "ONE AVX512")]


def test_command__cpu_features_are_named_as_this_numpy_names_them(monkeypatch):
    """Groups in NumPy 2.4, single features before; and only those that are found."""

    class Old:
        __cpu_dispatch__ = ("SSE41", "AVX2", "FMA3", "AVX512F", "AVX512_SKX", "AVX512_SPR")
        __cpu_features__ = dict.fromkeys(__cpu_dispatch__, True) | {"AVX512_SPR": False}

    class New:
        __cpu_dispatch__ = ("X86_V3", "X86_V4", "AVX512_ICL")
        __cpu_features__ = dict.fromkeys(__cpu_dispatch__, True)

    assert set(meter.dispatched_features("avx512")) <= set(meter.dispatched_features("avx2"))
    for umath, less, least in (
        (Old, ["AVX512F", "AVX512_SKX"], ["AVX2", "FMA3", "AVX512F", "AVX512_SKX"]),
        (New, ["X86_V4", "AVX512_ICL"], ["X86_V3", "X86_V4", "AVX512_ICL"]),
    ):
        monkeypatch.setattr(meter.importlib, "import_module", lambda name, umath=umath: umath)
        assert meter.dispatched_features("avx512") == less
        assert meter.dispatched_features("avx2") == least
    assert meter.dispatched_features() == ["X86_V3", "X86_V4", "AVX512_ICL"]


def test_cell__without_entries_is_empty():
    """A call whose results are all subnormal says nothing."""
    cell = Cell("softmax", "", "scale 1", "float64")
    subnormal = plain(pairs(np.array([1e-310])))
    call = meter.Call("softmax", "", {"x": np.ones(1)}, {}, lambda: subnormal)
    assert cell.with_call(call, np.zeros(1), 2) is cell
    assert isinstance(subnormal, Truth)
