"""The two exact derivations against each other: numbers, what their ulps count in, and least factors.

The laws compare with `_truth`, the test vectors hold what `_exact_gradients` says. They share no formula, so
what both say of these calls is either right or wrong twice.
"""

from decimal import Decimal, localcontext

import numpy as np
import pytest

import truth
from crossent import exact as definition
from crossent.testing import _truth
from crossent.testing._calls import BINARY, LOSSES, ROWS, Call
from crossent.testing._exact_gradients import answer
from crossent.testing._truth import CONTEXT, ZERO_OR_NAN, exact

INF, NAN = np.inf, np.nan


@pytest.fixture(autouse=True)
def forget():
    """Rows are kept from one call to the next: a change of the code below them would not be seen."""
    _truth.softmax_row.cache_clear()
    _truth._sigmoids.cache_clear()


def _both(call):
    """Value and gradient of a call: (number, scale, least) of each derivation, entry by entry."""
    names = ("log_probs" if call.function == "nll_loss" else "logits", "target")
    names = names if call.target is not None else ("x",)
    arguments = dict(zip(names, call.arguments, strict=True))
    ours, theirs = exact(call), answer(call.function, arguments, call.options, call.grad_output)
    for quantity, other in (("value", theirs.value), ("grad", theirs.gradient)):
        parts = [np.asarray(a, object) for a in ours.of(quantity)]
        others = [np.asarray(a, object) for a in other]
        assert {a.shape for a in parts} == {a.shape for a in others} == {others[0].shape}, quantity
        yield quantity, list(zip(*(a.ravel() for a in parts), *(a.ravel() for a in others), strict=True))


def _near(a, b, size=0):
    """To 38 digits of the number, or of what it cancels from."""
    if a.is_nan() or b.is_nan() or a.is_infinite() or b.is_infinite():
        return str(a) == str(b)
    return abs(a - b) <= max(abs(b), size * Decimal("1e-18")) * Decimal("1e-38")


def _agree(call):
    both = list(_both(call))  # in the caller's own context
    with localcontext(CONTEXT):
        for quantity, entries in both:
            # a sum of losses forgets the factors of its small terms, which the vectors keep
            least = quantity == "grad" or call.value_shape or call.function in ROWS
            for i, entry in enumerate(entries):
                (value, scale, factor), (value_, scale_, factor_) = entry[:3], entry[3:]
                said = f"{quantity} {i}: {', '.join(f'{v:.6g}' for v in entry)}"
                if value.compare_total(ZERO_OR_NAN) == 0:
                    assert quantity == "grad", said
                    assert both[0][1][0][0].is_nan() or np.isnan(call.grad_output), said
                    assert value_ == 0, said
                    continue
                assert _near(value, value_, scale), said
                if not value.is_nan():
                    assert abs(value) - scale <= scale * Decimal("1e-50") or scale.is_infinite(), said
                    assert _near(scale, max(abs(value_), scale_)), said
                    assert not least or scale == 0 or _near(factor, factor_), said


Z = np.array(
    [[0.5, -1.0, 2.25], [-INF, 0.0, 1.5], [3.0, 3.0, 3.0], [-400.0, 0.0, -1e-5], [0.0, 900.0, 899.0]]
)
ODD = np.array([[NAN, 0.0, 1.0], [INF, 0.0, -INF], [-INF, -INF, -INF], [INF, INF, 1.0]])
NEGATIVE = np.array([[-1.0, -2.0, -3.0], [-0.5, -0.5, -20.0], [-50.0, -60.0, -70.0]])
G = np.array([[1.5, -2.0, 0.25], [1.0, 1.0, -3.0], [0.0, 2.0, 0.0], [-1.0, 1e-30, 2.0], [1.0, 1.0, 1.0]])
ROW_CALLS = [
    Call(name, x, None, options, g)
    for name in ("logsumexp", "softmax", "log_softmax")
    for x, options, g in (
        (Z, {}, None),
        (Z, {}, G[:, 0] if name == "logsumexp" else G),
        (Z.T, {"axis": 0}, G[:, 1] if name == "logsumexp" else G.T),
        (Z[0], {}, None),
        (Z[:4].reshape(2, 2, 3), {"axis": -2}, G[:2].reshape(2, 3) if name == "logsumexp" else None),
        (ODD, {}, None),
        (NEGATIVE, {}, None),
        (ODD[2:3], {}, None),
        (np.zeros((2, 1)), {}, None),
        (np.float16([[1.0, 2.0]]), {}, None),
    )
] + [Call("logsumexp", Z, None, {"axis": axis, "keepdims": True}, None) for axis in (0, 1)]
ROW_CALLS += [
    Call("logsumexp", Z[:4].reshape(2, 2, 3), None, {"axis": 1, "keepdims": True}, np.ones((2, 1, 3)))
]


@pytest.mark.parametrize("call", ROW_CALLS, ids=lambda call: call.function)
def test_rows__are_derived_twice(call):
    """Masked and sure rows, equal ones, those that hold NaN or inf, and one class."""
    _agree(call)


X = np.array([-INF, -800.0, -30.0, -1.0, -1e-20, 0.0, 1e-20, 3.0, 40.0, 800.0, INF, NAN])


@pytest.mark.parametrize("g", [None, np.linspace(-2, 2, X.size)], ids=["", "g"])
@pytest.mark.parametrize("name", ["softplus", "log_sigmoid", "sigmoid"])
def test_elementwise__are_derived_twice(name, g):
    """Both tails, and what is between them."""
    _agree(Call(name, X, None, {}, g))
    _agree(Call(name, X.reshape(3, 4), None, {}, None if g is None else g.reshape(3, 4)))


W = np.array([0.5, 2.0, 1e-3])
Y = np.array([2, 1, 0, 0, 2])
Q = np.array([[0.25, 0.25, 0.5], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.125, 0.75, 0.125]])
MASK = np.array([True, False, True, True, True])
OPTIONS = [
    {},
    {"weight": W},
    {"weight": np.array([0.0, 1.5, 2.0])},
    {"weight": np.array([0.0, -1.5, 2.0])},
    {"where": MASK},
    {"weight": W, "where": MASK},
]
SMOOTHED = [
    *OPTIONS,
    {"label_smoothing": 0.25},
    {"label_smoothing": 1.0},
    {"label_smoothing": 0.1, "weight": W},
]
IGNORED = [{"ignore_index": 2}, {"ignore_index": 0, "where": MASK, "weight": W}]


def _reduced(name, x, target, options):
    """Calls under every reduction, with a cotangent and without."""
    shape = Call(name, x, target, options).positions
    up = np.resize([1.5, -2.0, 0.0, 3.0, -0.125], shape)
    for reduction, g in (
        ("none", None), ("none", up), ("mean", None), ("mean", np.array(1e-3)), ("sum", np.array(-2.5))
    ):  # fmt: skip
        given = {} if reduction == "mean" and len(options) % 2 else {"reduction": reduction}
        yield Call(name, x, target, {**options, **given}, g)


def _loss_agrees(name, x, target, options):
    for call in _reduced(name, x, target, options):
        _agree(call)


@pytest.mark.parametrize("options", [*SMOOTHED, *IGNORED], ids=lambda o: ", ".join(o))
def test_cross_entropy__of_labels_is_derived_twice(options):
    """Every option; the label that is sure, masked, or one of equals."""
    _loss_agrees("cross_entropy", Z, Y, options)


@pytest.mark.parametrize("options", SMOOTHED, ids=lambda o: ", ".join(o))
def test_cross_entropy__of_probabilities_is_derived_twice(options):
    """One class that owns everything, and several."""
    _loss_agrees("cross_entropy", Z, Q, options)


@pytest.mark.parametrize("options", [*OPTIONS, *IGNORED], ids=lambda o: ", ".join(o))
def test_nll_loss__is_derived_twice(options):
    """Log-probabilities as they come: of -inf, of 0, and above 0."""
    _loss_agrees("nll_loss", np.where(Z == 0, Z, -np.abs(Z)), Y, options)
    if "ignore_index" not in options:
        _loss_agrees("nll_loss", Z, np.array([0, 0, 1, 1, -100]), options)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_losses__of_nan_and_of_nothing_are_derived_twice(name):
    """Rows that are broken, one class alone, every position ignored, weights that sum to 0, no rows."""
    _loss_agrees(name, ODD, np.array([1, 1, 1, 2]), {})
    _loss_agrees(name, np.where(np.isnan(ODD), -1.0, ODD)[:2], np.array([0, 2]), {})
    _loss_agrees(name, ODD, np.array([-100, 1, 1, -100]), {})
    _loss_agrees(name, ODD, np.array([0, 0, 0, 0]), {})
    _loss_agrees(name, Z[:, :1], np.zeros(5, int), {})
    _loss_agrees(name, Z, np.full(5, -100), {})
    _loss_agrees(name, Z, Y, {"where": np.zeros(5, bool)})
    _loss_agrees(name, Z, Y, {"weight": np.zeros(3)})
    _loss_agrees(name, Z[3:4], Y[3:4], {"weight": W / 10})
    _loss_agrees(name, Z[:0], Y[:0], {})
    _agree(Call(name, Z[0], np.array(1), {}, np.array(NAN)))


def test_losses__the_mean_of_nothing_may_show_in_what_is_not_picked():
    """The contract leaves open whether 0 / 0 is felt where no term is; beside a mean of something it is 0."""
    for weight, picked in (([0.0, 1.0], "NaN"), ([2.0, 1.0], "-1")):
        e = exact(Call("nll_loss", Z[:1, :2], np.array([0]), {"weight": np.array(weight)}))
        assert str(e.grad[0, 0]) == picked
        assert (e.grad[0, 1].compare_total(ZERO_OR_NAN) == 0) == (picked == "NaN")


PW = np.array([1e-3, 3.0, 0.0, 2.0, 0.5])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": np.array([2.0, 0.0, 1.0, 0.5, -1.0])},
        {"pos_weight": PW},
        {"weight": np.array(2.0), "pos_weight": PW, "where": MASK},
        {"pos_weight": -PW},
    ],
    ids=lambda o: ", ".join(o),
)
@pytest.mark.parametrize(
    "y", [[0.0, 1.0, 0.0, 1.0, 1.0], [0.25, 0.5, 0.75, 1.0, 0.125]], ids=["labels", "soft"]
)
def test_binary__is_derived_twice(options, y):
    """Right and wrong, sure and not, with weights of 0."""
    for x in ([0.0, -1.0, 2.0, 45.0, -45.0], [700.0, -700.0, 1e-9, -3.0, 3.0]):
        _loss_agrees(BINARY, np.array(x), np.array(y), options)


def test_binary__of_nan_is_derived_twice():
    """In any one of its arguments; and one cotangent for all."""
    names = ("weight", "pos_weight")
    for i in range(4):
        x, y, *weights = (np.where(i == j, NAN, [0.5, 1.0]) for j in range(4))
        _loss_agrees(BINARY, x, y, dict(zip(names, weights, strict=True)))
    _loss_agrees(BINARY, np.zeros(0), np.zeros(0), {})
    _agree(Call(BINARY, np.array([1.0, -2.0]), np.eye(2)[0], {"reduction": "none"}, np.array(3.0)))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_losses__of_other_shapes_are_derived_twice(name):
    """One row, a class axis that is named, images; positions that are broadcast."""
    x, some = np.linspace(-3, 2, 12), np.array([True, False, True, True])
    for call in (
        Call(name, x[:3], np.array(1), {"reduction": "none"}),
        Call(name, x[:3], np.array(1)),
        Call(name, x.reshape(2, 3, 2), np.array([[0, 2], [1, -100]]), {"reduction": "none"}, np.eye(2)),
        Call(name, x.reshape(2, 2, 3), np.array([[0, 2], [1, -100]]), {"axis": -1}, np.array(2.0)),
        Call(name, x.reshape(3, 4), np.array([0, 2, 1, 1]), {"axis": 0, "where": some}),
    ):
        _agree(call)
    if name == "cross_entropy":
        x, q = (np.moveaxis(a[:4].reshape(2, 2, 3), 2, 0) for a in (Z, Q))
        _agree(Call(name, x, q, {"axis": 0, "reduction": "none"}))


# ---------------------------------------------------------------------------------------
# what one of them has alone


def test_decimals__are_the_exact_values():
    """Of any real dtype, of an array of any shape; longdouble has more digits than a float holds."""
    for x in (np.longdouble(1) / 3, np.finfo(np.longdouble).max, np.finfo(np.longdouble).smallest_normal):
        n, d = x.as_integer_ratio()
        with localcontext(CONTEXT):
            assert abs(_truth.decimal(x) * d / n - 1) < Decimal("1e-58")
    assert _truth.decimal(-np.longdouble(INF)) == Decimal("-Infinity")
    assert _truth.decimal(np.longdouble(NAN)).is_nan()
    assert _truth.decimal(2**70 + 1) == 2**70 + 1
    assert _truth.decimal(np.uint8(200)) == 200
    assert _truth.decimal(np.True_) == 1
    assert str(_truth.decimal(Decimal("1.50"))) == "1.50"
    got = _truth.decimals(np.array([[0.1, NAN], [-0.0, 2.0]], np.float32))
    assert got.shape == (2, 2)
    assert got[0, 0] == Decimal(float(np.float32(0.1)))
    assert got[0, 1].is_nan()
    assert got[1].tolist() == [0, 2]


@pytest.mark.parametrize("r", ["1e-4000", "1e-30", "9.9e-10", "1e-9", "1.01e-9", "1e-3", "1", "1e50"])
def test_log1p__has_all_its_digits(r):
    """Where the series is taken for the logarithm, and where not."""
    with localcontext(CONTEXT):
        got = _truth.log1p(Decimal(r))
        with localcontext(CONTEXT) as more:
            more.prec = 120
            due = (1 + Decimal(r)).ln() or Decimal(r)
        assert abs(got - due) <= due * Decimal("1e-49")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses__a_sum_has_the_digits_of_its_large_terms(reduction):
    """Terms below the mean of their magnitudes may have any factors; those above it, or at it, count."""
    for w, x, least in (
        ((0.5, 1e-300, 0.25), (0, 0, 0), 0.25),  # 0.25 is the mean of the three
        ((0.25, 0.25, 0.25), (0, 0, 0), 0.25),
        ((1.0, 1e-300), (0, 0), np.log(2)),
        ((1e-300, 1e-5), (0, 800), 1e-5),
        ((0.5, 0.125), (0, 0), 0.5),
    ):
        options = {"reduction": reduction, "weight": np.array(w)}
        call = Call(BINARY, np.array(x, float), np.zeros(len(w)), options)
        assert float(exact(call).value_least[()]) == least, w


P = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [1e-300, 0.75, 0.25]])
NEAR = np.array([[0.25, 0.5, 0.25], [0.25, 0.25, 0.5], [0.0, 1.0, 0.0], [0.5, 1e-310, 0.5]])


@pytest.mark.parametrize("axis", [-1, 0])
def test_answer__of_measures_counts_in_the_sum_of_magnitudes(axis):
    """Entropies and divergences, along any axis; perplexity counts its mean's error."""
    p, q = (P, NEAR) if axis else (P.T, NEAR.T)
    options = {} if axis else {"axis": 0}
    entropies = answer("entropy", {"p": p}, options)
    divergences = answer("kl_divergence", {"p": p, "q": q}, options)
    assert entropies.gradient is divergences.gradient is None
    one = answer("entropy", {"p": P[1]}, {}).value
    assert (one.value[()], one.least[()]) == (entropies.value.value[1], Decimal("0.25"))
    assert answer("entropy", {"p": P.reshape(2, 2, 3)}, {}).value.value.shape == (2, 2)
    for i in range(len(P)):
        for got, due, numbers in (
            (entropies.value, truth.entropy(P[i]), P[i]),
            (divergences.value, truth.kl_divergence(P[i], NEAR[i]), [*P[i], *NEAR[i]]),
        ):
            value, scale, least = (part[i] for part in got)
            with localcontext(CONTEXT):
                assert _near(value, due[0], due[1])
                assert _near(scale, due[1])
                assert float(least) == min(v for v in numbers if v)


def test_answer__of_perplexity_counts_the_error_of_its_mean():
    """In ulps of the value, times the mean where that is above 1."""
    weight = {"weight": np.array([1.0, 3.0, 0.5])}
    for z, y, options in (
        (Z[:1], [1], {}),
        (Z[:1], [2], {}),
        (np.array([[0.0, 50.0]]), [1], {}),
        (Z[[0, 2]], [1, 2], weight),
    ):
        got = answer("perplexity", {"logits": z, "target": np.array(y)}, options).value
        value, scale, least = (part[()] for part in got)
        with localcontext(CONTEXT):
            mean = definition.cross_entropy(z, y, **options)
            assert _near(value, mean.exp())
            assert _near(scale, mean.exp() * max(1, mean))
            assert _near(least, mean)


def test_answer__drops_the_dtype_and_takes_numbers():
    """`dtype` decides what the ulps of a result are, not the result; a cotangent may be one number."""
    x = np.array([[1, 2]])
    plain = answer("softmax", {"x": x}, {"dtype": np.float16}, np.array(2.0))
    assert [float(v) for v in plain.gradient.value.flat] == [0, 0]
    assert plain.value.value.shape == plain.gradient.value.shape == (1, 2)
    for axis in (None, (0, 1), (1, 0), 1):
        got = answer("logsumexp", {"x": x.astype(float)}, {"axis": axis}, np.array(3.0))
        assert [round(float(v), 6) for v in got.gradient.value.flat] == [0.806824, 2.193176]


@pytest.mark.parametrize("spec", LOSSES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_truth__a_factor_of_0_does_not_hide_nan(spec, reduction):
    """Of a weight or a probability: value and gradient of the position are NaN, as in `crossent.exact`."""
    shape = (2,) if spec == BINARY else (2, 3)
    x = np.full(shape, -1.0)
    x[0] = np.nan
    options = {"reduction": reduction}
    if spec == BINARY:
        targets = [np.array([y, 1.0]) for y in (0.0, 0.5, 1.0)]
        factors = [{}, {"weight": np.array([0.0, 1.0])}, {"pos_weight": np.array([0.0, 1.0])}]
    else:
        targets = [np.array([0, 1])] + [np.array([[0.0, 1, 0], [1, 0, 0]])] * (spec == "cross_entropy")
        factors = [{}, {"weight": np.array([0.0, 1.0, 1.0])}]
    for target in targets:
        for factor in factors:
            e = exact(Call(spec, x, target, {**options, **factor}))
            due = np.asarray(getattr(definition, spec)(x, target, **options, **factor))
            for came, known in zip(e.value.ravel(), due.ravel(), strict=True):
                assert known.is_nan() if came.is_nan() else abs(came - known) < Decimal("1e-45")
            assert np.ravel(e.value)[0].is_nan()
            if spec != "nll_loss":  # its gradient does not look at the log-probabilities
                assert all(v.is_nan() for v in np.ravel(e.grad[0]))
                assert reduction == "mean" or all(v.is_finite() for v in np.ravel(e.grad[1]))
