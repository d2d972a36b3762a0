"""What the kit's strategies draw: all that their pages promise, and nothing else."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from crossent.testing import _regimes, strategies
from crossent.testing._calls import BINARY, CLASS_LOSSES, LOSSES, OPTIONS, SPECS

DTYPES = ("float16", "float32", "float64")


@pytest.fixture(autouse=True)
def evenly(monkeypatch):
    """Strategies give an example at once, drawn evenly: quickly, and whatever Hypothesis is installed."""
    rng = np.random.default_rng(0)

    def draw(source):
        return source()

    def sampled_from(values):
        return lambda: values[rng.integers(len(values))]

    def integers(low, high):
        return lambda: int(rng.integers(low, high, endpoint=True))

    def few_units(width):
        assert width in (16, 32, 64)
        return lambda: (
            float(np.float16(rng.uniform(-5, 5))) if rng.random() < 0.5 else float(rng.integers(-4, 5))
        )

    monkeypatch.setattr(_regimes, "_choice", sampled_from)
    monkeypatch.setattr(_regimes, "_few_units", few_units)
    monkeypatch.setattr(_regimes, "_SEEDS", integers(0, 2**32 - 1))
    monkeypatch.setattr(strategies, "_BOOLEANS", integers(0, 1))
    monkeypatch.setattr(strategies, "st", SimpleNamespace(integers=integers, sampled_from=sampled_from))
    monkeypatch.setattr(strategies, "_strategy", lambda function, *arguments: function(draw, *arguments))


def drawn(strategy, *arguments, n=200, **keywords):
    """Examples of a strategy."""
    return [strategy(*arguments, **keywords) for _ in range(n)]


def numbers(arrays):
    """Every number of some arrays."""
    return np.concatenate([np.ravel(a) for a in arrays])


# ---------------------------------------------------------------------------------------
# logits


@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds__are_those_of_the_dtype(dtype):
    """Up to `_spread` exp(-x) is normal with room; `_just_normal` is the last quarter at which it is."""
    tiny = float(np.finfo(dtype).tiny)
    with np.errstate(under="ignore"):
        assert np.exp(-_regimes._spread(dtype)) > 2 * tiny
        margin = _regimes._just_normal(dtype)
        assert np.exp(-margin) >= tiny > np.exp(-margin - 0.25)
    assert margin % 0.25 == 0


VALUES = {
    "ties": lambda f: {0, 1},
    "confident": lambda f: {
        *(0, 0.25, -0.5, 1, 20, -20),
        *(sign * size * f.spread for size in (0.25, 0.5, 0.9, 1) for sign in (1, -1)),
        *(sign * f.normal for sign in (1, -1)),
    },
    "tiny": lambda f: {0, f.tiny, -f.tiny, f.eps, f.subnormal},
    "edges": lambda f: {
        *(0, 1, -1, 20, -20, 88, -88, 103, 710, 745, -745, min(3e4, f.top), max(-3e4, -f.top)),
        *(f.tiny, -f.tiny, f.subnormal, f.eps, -f.eps, f.normal, -f.normal, f.top, -f.top),
    },
}  # fmt: skip


class Format:
    """Thresholds of a dtype."""

    def __init__(self, dtype):
        info = np.finfo(dtype)
        self.spread, self.normal = _regimes._spread(dtype), _regimes._just_normal(dtype)
        self.tiny, self.eps, self.subnormal = map(float, (info.tiny, info.eps, info.smallest_subnormal))
        self.top = float(info.max) / (4 if info.bits == 16 else 2**12)


@pytest.mark.parametrize("shape", [(4, 4), (20, 30)], ids=["drawn one by one", "from a seed"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("regime", VALUES)
def test_logits__are_some_of_the_regime_s_numbers(regime, dtype, shape):
    """All of them come, in small arrays and in large ones, and no others."""
    seen = numbers(drawn(strategies.logits, shape, dtype, regimes=[regime], n=80 if shape == (4, 4) else 4))
    assert seen.dtype == dtype
    assert set(seen.tolist()) == set(np.array(sorted(VALUES[regime](Format(dtype))), dtype).tolist())
    if regime == "edges":
        assert set(np.signbit(seen[seen == 0]).tolist()) == {True, False}


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits__of_the_other_regimes(dtype):
    """A few units; bits that are all in use; as wide as exp can go; around one number."""
    f = Format(dtype)
    for shape, few in (((4, 4), 5), ((5, 7), 40)):
        z = numbers(drawn(strategies.logits, shape, dtype, regimes=["plain"]))
        assert np.abs(z).max() <= few
        assert {-4, -3, 3, 4} < set(np.rint(z).tolist())
        assert np.mean(z % 1 != 0) > 0.1
    sizes, seen = [1.0, 4.0, 16.0, f.spread / 4], set()
    for z in drawn(strategies.logits, (30, 30), dtype, regimes=["dense"]):
        near = [size for size in sizes if abs(np.std(z.astype(float)) / size - 1) < 0.1]
        assert near
        seen.add(near[0])
        assert np.abs(z).max() <= 0.75 * f.spread + 48
        assert 2.5 < np.abs(z).max() / np.std(z.astype(float)) < 3.5
        assert len(np.unique(z)) > 300
    assert seen == set(sizes)
    found = drawn(strategies.logits, (3, 4), dtype, regimes=["wide"])
    assert {z.shape for z in found} == {(3, 4)}
    z = numbers(found)
    assert 0.98 * f.spread < z.max() <= f.spread
    assert -f.spread <= z.min() < -0.98 * f.spread
    centres = {}
    for z in drawn(strategies.logits, (20, 20), dtype, regimes=["offset"], n=300):
        centre = float(np.median(z))
        n = round(np.log10(abs(centre) + 1e-9))
        centres[centre > 0, n] = z
        assert n < 1 or 0.7 < abs(centre) / 10.0**n < 1.5
        assert np.abs(z.astype(float) - centre).max() <= max(8, 8 * abs(centre) * f.eps)
    largest = {"float16": 4, "float32": 36, "float64": 36}[dtype]
    exponents = {n for n in (0, 1, 2, 3, 4, 6, 8, 12, 16, 30, 36) if n <= largest}
    assert {(sign, n) for sign in (True, False) for n in exponents} <= set(centres)
    assert centres[True, 2].max() - centres[True, 2].min() == 8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 4), (20, 10)])
def test_logits__special_numbers_stand_among_ordinary_ones(dtype, shape, monkeypatch):
    """-inf of masks, both infinities, NaN: each about as often as the others, half are ordinary."""
    for regime, marks in (
        ("masked", [-np.inf]),
        ("infinite", [-np.inf, np.inf]),
        ("nan", [np.nan, -np.inf, np.inf]),
    ):
        monkeypatch.setitem(_regimes.REGIMES, regime, _regimes._sprinkled(*marks))
        arrays = drawn(strategies.logits, shape, dtype, regimes=[regime], n=50)
        z = numbers(arrays)
        for mark in marks:
            share = np.mean(np.isnan(z) if np.isnan(mark) else z == mark)
            assert 0.1 < share < 0.5
        assert np.isnan(z).any() == (regime == "nan")
        assert np.isposinf(z).any() == (regime != "masked")
        assert np.mean(np.isfinite(z)) > 0.25
        finite = [set(a[np.isfinite(a)].tolist()) for a in arrays if np.isfinite(a).sum() > 3]
        assert any(values <= {0.0, 1.0} for values in finite)  # ties
        assert any(max(map(abs, values)) >= 0.9 * Format(dtype).spread for values in finite)  # confident
        assert any(v % 1 for values in finite for v in values)


def test_logits__shapes_may_be_drawn():
    """A tuple, or a strategy of tuples; numbers without axes; other seeds give other numbers."""
    shapes = {z.shape for z in drawn(strategies.logits, strategies.st.sampled_from([(2, 3), (), (40,)]))}
    assert shapes == {(2, 3), (), (40,)}
    assert drawn(strategies.logits)[0].shape == (3, 4)
    assert drawn(strategies.logits)[0].dtype == np.float32
    assert len({z.tobytes() for z in drawn(strategies.logits, (5, 5), regimes=["wide"], n=20)}) > 15


def test_seeds__decide_large_arrays():
    """Hypothesis repeats an example by its seed; numbers are float64 whatever they are made of."""
    a, b, c = (_regimes.some_of(lambda seeds, n=n: n, (50,), [0, 1, 2]) for n in (5, 5, 6))
    assert a.dtype == np.float64
    assert a.tolist() == b.tolist() != c.tolist()


# ---------------------------------------------------------------------------------------
# targets, weights, masks


@pytest.mark.parametrize("shape", [(3,), (5, 6)])
def test_class_targets__are_in_range_or_ignored(shape):
    """Every class, every integer dtype; a third of the positions ignored where that is asked for."""
    y = drawn(strategies.class_targets, shape, 5, dtype="uint16")
    assert all(each.shape == shape and each.dtype == np.uint16 for each in y)
    assert set(numbers(y).tolist()) == set(range(5))
    y = numbers(drawn(strategies.class_targets, shape, 3, ignore_index=-7))
    assert y.dtype == np.int64
    assert set(y.tolist()) == {0, 1, 2, -7}
    assert 0.1 < np.mean(y == -7) < 0.5
    (one, *_) = drawn(strategies.class_targets)
    assert one.shape == (3,)
    assert set(numbers(drawn(strategies.class_targets)).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 4), -1), ((2, 5, 3), 1), ((4, 3), 0), ((6,), 0), ((9, 2, 3), -3)]
)
def test_probability_targets__are_distributions(shape, axis):
    """One-hot, with zeros, uniform, dense; along any axis."""
    found = drawn(strategies.probability_targets, shape, "float64", axis=axis, n=100)
    kinds = set()
    for q in found:
        assert (q.shape, q.dtype, q.flags.c_contiguous) == (shape, np.float64, True)
        np.testing.assert_allclose(q.sum(axis=axis), 1, rtol=1e-12)
        assert q.min() >= 0
        kinds.add("one-hot" if set(q.ravel()) <= {0, 1} else "zeros" if q.min() == 0 else "dense")
    assert kinds == {"one-hot", "zeros", "dense"}
    dense = [q for q in found if q.min() > 0 and len(np.unique(q)) == q.size]
    assert all((q.max(axis=axis) <= 100 * q.min(axis=axis)).all() for q in dense)
    labels = {
        int(np.moveaxis(q, axis, -1).reshape(-1, shape[axis])[0].argmax()) for q in found if q.max() == 1
    }
    assert len(labels) == shape[axis]
    assert drawn(strategies.probability_targets)[0].shape == (3, 4)
    assert drawn(strategies.probability_targets)[0].dtype == np.float32


def test_weights_and_cotangents__are_normal_numbers():
    """Between 1/8 and 8 in magnitude, or 0; weights of one sign, cotangents of both."""
    weights, cotangents = strategies.class_weights, strategies.cotangents
    for strategy, arguments, shape, low, zeros in (
        (weights, (), (4,), 1 / 16, True),
        (weights, (6, "float64"), (6,), 1 / 16, True),
        (partial(weights, zeros=False), (6, "float64"), (6,), 1 / 16, False),
        (cotangents, (), (), -8, True),
        (cotangents, ((2, 3), "float16"), (2, 3), -8, True),
    ):
        found = drawn(strategy, *arguments)
        assert {a.shape for a in found} == {shape}
        v = numbers(found)
        assert (v == 0).any() == zeros
        assert v[v != 0].min() >= low
        assert 6 < v.max() <= 8
        assert 1 / 16 <= np.abs(v[v != 0]).min() <= 1 / 8
        assert (v < 0).any() == (low < 0)
        plain = np.isin(np.abs(v), [0, 1, 0.5, 2, 0.25, 1.5, 3, 0.125, 8])
        assert 0.2 < np.mean(plain) < 0.95  # of others all bits are in use
    mantissas = [np.frexp(w[w != 0])[0] for w in drawn(strategies.class_weights, 8, "float64")]
    assert max(len(set(m.tolist())) for m in mantissas) > 4
    assert drawn(strategies.class_weights)[0].dtype == np.float32
    assert drawn(strategies.cotangents, (2,), "float16")[0].dtype == np.float16


def test_where_masks__may_be_smaller():
    """And broadcast; more is True than False."""
    found = drawn(strategies.where_masks, (3, 4), n=80)
    assert {m.shape for m in found} == {(3, 4), (1, 4), (4,)}
    assert all(m.dtype == bool for m in found)
    assert 0.5 < numbers(found).mean() < 0.9
    assert {m.shape for m in drawn(strategies.where_masks, (3, 4), broadcast=False)} == {(3, 4)}
    assert {m.shape for m in drawn(strategies.where_masks)} == {(3,), (1,), ()}
    assert {m.shape for m in drawn(strategies.where_masks, ())} == {()}


# ---------------------------------------------------------------------------------------
# whole calls


@pytest.mark.parametrize("spec", SPECS)
def test_loss_calls__hold_every_option(spec):
    """And leave out each; cotangents of the value's shape; class axes in every place."""
    calls = drawn(strategies.loss_calls, spec, regimes=["plain"], n=150)
    for name in OPTIONS[spec]:
        held = [call.options.get(name) is not None for call in calls]
        assert 0 < sum(held) < len(calls), name
    assert {str(call.x.dtype) for call in calls} == {"float32", "float64"}
    assert {call.x.ndim for call in calls} >= {1, 2, 3, 4}
    ups = [call for call in calls if call.grad_output is not None]
    assert 40 < len(ups) < 110
    assert all(call.grad_output.shape == call.value_shape for call in ups)
    assert any((call.grad_output < 0).any() for call in ups)
    assert any((call.grad_output == 0).any() for call in ups)
    assert all(call.grad_output.dtype == call.x.dtype for call in ups)
    if "dtype" in OPTIONS[spec]:
        with_dtype = [call for call in calls if "dtype" in call.options]
        assert {(str(call.x.dtype), call.options["dtype"]) for call in with_dtype} == {
            ("float32", np.float64)
        }
        assert len(with_dtype) < 30
    if "axis" in OPTIONS[spec]:
        axes = {(call.x.ndim, call.options.get("axis")) for call in calls}
        assert axes >= {(3, axis) for axis in (-3, -2, -1, 0, 1, 2, None)}
        default = 1 if spec in LOSSES else -1
        assert any(call.axis == default % call.x.ndim for call in calls if "axis" not in call.options)
        assert {call.x.shape[call.axis] for call in calls} > {1, 2, 3, 5, 10, 33}
    assert max(call.x.size for call in calls) <= 256
    assert not any(value is None for call in calls for value in call.options.values())
    assert max(call.x.size for call in calls) > 200


@pytest.mark.parametrize("spec", CLASS_LOSSES)
def test_loss_calls__of_classes_have_targets_and_options_of_every_kind(spec):
    """Labels in range or ignored, probabilities along the class axis, every reduction and smoothing."""
    calls = drawn(strategies.loss_calls, spec, regimes=["plain"], n=250)
    options = [call.options for call in calls]
    assert {o.get("reduction") for o in options} == {None, "none", "mean", "sum"}
    ignores = {o["ignore_index"] for o in options if "ignore_index" in o}
    assert {-1, 0, -100, 255} < ignores
    assert ignores & {1, 2, 3, 4}  # the last class
    if spec == "cross_entropy":
        assert {o["label_smoothing"] for o in options if "label_smoothing" in o} == {0, 0.1, 0.25, 0.9, 1}
        soft = [call for call in calls if not call.index]
        assert 60 < len(soft) < 190
        for call in soft:
            assert call.target.dtype == call.x.dtype
            np.testing.assert_allclose(call.target.sum(axis=call.axis), 1, rtol=1e-5)
    ignored = 0
    for call in calls:
        if call.index:
            y, K = call.target, call.x.shape[call.axis]
            assert (y.shape, y.dtype) == (call.positions, np.int64)
            inside = (y >= 0) & (y < K)
            assert np.all(inside | (y == call.options.get("ignore_index", -100)))
            ignored += "ignore_index" not in call.options and not inside.all()
        w = call.options.get("weight")
        assert w is None or (w.shape, w.dtype, w.min() >= 0) == (
            (call.x.shape[call.axis],),
            call.x.dtype,
            True,
        )
        mask = call.options.get("where")
        assert mask is None or np.broadcast_shapes(mask.shape, call.positions) == call.positions
        if w is not None and call.options.get("label_smoothing") and call.reduction == "mean":
            assert w.min() > 0
    assert ignored > 5
    last = {call.options.get("ignore_index") == call.x.shape[call.axis] - 1 > 2 for call in calls}
    assert last == {True, False}
    assert all(call.index for call in calls) == (spec == "nll_loss")
    masks = [(call.options["where"].shape, call.positions) for call in calls if "where" in call.options]
    assert {mask == positions for mask, positions in masks} == {True, False}
    if spec == "cross_entropy":
        smooth = [call for call in calls if call.options.get("label_smoothing") and "weight" in call.options]
        assert {call.reduction for call in smooth} == {"none", "mean", "sum"}
        assert any((call.options["weight"] == 0).any() for call in smooth)
    weights = [o["weight"] for o in options if "weight" in o]
    assert any((w == 0).any() for w in weights)


def test_loss_calls__of_the_binary_loss():
    """Targets of 0 and 1 or between; weights of three shapes."""
    calls = drawn(strategies.loss_calls, BINARY, regimes=["plain"], n=250)
    for call in calls:
        assert (call.target.shape, call.target.dtype) == (call.x.shape, call.x.dtype)
        assert call.target.min() >= 0
        assert call.target.max() <= 1
    soft = [call for call in calls if not np.isin(call.target, [0, 1]).all()]
    assert 60 < len(soft) < 200
    for kind in ("index", "probability"):
        found = drawn(strategies.loss_calls, BINARY, regimes=["plain"], kinds=[kind])
        seen = set(numbers([call.target for call in found]).tolist())
        assert seen > {0, 1} if kind == "probability" else seen == {0, 1}
    dense = [call for call in soft if not np.isin(call.target, [0, 0.25, 0.5, 0.75, 1]).all()]
    assert 20 < len(dense) < len(soft) - 20
    assert {0, 0.25, 0.5, 0.75, 1} <= set(numbers([call.target for call in soft]).tolist())
    several = [call.target for call in dense if call.target.size > 20]
    assert all(len(np.unique(y)) > 5 for y in several)
    for name in ("weight", "pos_weight"):
        held = [call for call in calls if name in call.options]
        assert {call.x.ndim - call.options[name].ndim for call in held if call.x.ndim > 2} >= {0, 1, 3}
        assert all(call.options[name].dtype == call.x.dtype for call in held)


def test_loss_calls__narrowed():
    """Every keyword narrows what is drawn, and nothing else."""

    def calls(spec="cross_entropy", **keywords):
        return drawn(strategies.loss_calls, spec, regimes=["plain"], **keywords, n=60)

    assert {str(call.x.dtype) for call in calls(dtypes=["float16"])} == {"float16"}
    assert {call.index for call in calls(kinds=["index"])} == {True}
    assert {call.index for call in calls(kinds=["probability"])} == {False}
    assert {call.reduction for call in calls(reductions=["sum"])} == {"sum"}
    assert {call.reduction for call in calls(supports=["weight"])} == {"mean"}
    for n in (1, 2, 3, 4):
        for spec in ("cross_entropy", "softmax", "softplus"):
            assert {call.x.ndim for call in calls(spec, ndims=[str(n)])} == {n}
    assert not any(
        "weight" in call.options or "axis" in call.options for call in calls(without=["weight", "axis"])
    )
    assert all(call.grad_output is None for call in calls(without=["grad_output"]))
    for call in calls(always=["weight", "grad_output", "where"], without=["where"]):
        assert call.grad_output is not None
        assert "weight" in call.options
        assert "where" not in call.options
    for spec in ("cross_entropy", BINARY):
        for call in calls(spec, min_rows=4, min_classes=6):
            rows = np.prod(call.positions) if spec != BINARY else len(call.x)
            assert rows >= 4
            assert spec == BINARY or call.x.shape[call.axis] >= 6
    assert {
        call.x.shape for call in calls("softmax", min_rows=2, ndims=["1", "2"]) if call.x.ndim == 1
    } == set()
    small = calls(small=True)
    batches = calls(small=True, ndims=["2"], without=["axis"])
    assert {call.x.shape[0] for call in batches} == {1, 2, 3}
    assert {call.x.shape[-1] for call in calls("softplus", small=True, ndims=["3"])} == {1}
    assert {call.x.shape[call.axis] for call in small} == {2, 3}
    assert {call.x.ndim for call in small} == {1, 2, 3, 4}
    assert max(call.x.shape[0] for call in small if call.axis != 0) == 3
    for call in calls(square=True):
        assert len(set(call.x.shape)) == 1
        assert call.x.shape[0] <= 5
    assert any(
        len(set(call.x.shape)) == 1 and call.x.ndim == 3 and len(call.x) > 1 for call in calls(ndims=["3"])
    )
    masks = calls(supports=["where", "reduction"], kinds=["index"])
    assert all((call.target >= 0).all() for call in masks)
    assert {tuple(sorted(call.options)) for call in masks} == {
        (), ("where",), ("reduction",), ("reduction", "where"),
    }  # fmt: skip
    moved = calls(supports=["reduction"], ndims=["3"])
    assert {call.axis for call in moved} == {1}
    assert {call.axis for call in calls("softmax", supports=[], ndims=["3"])} == {2}
    assert min(call.x.shape[-1] for call in calls("softmax", supports=[], ndims=["3"], min_classes=6)) >= 6
    uneven = [call.x.shape for call in calls("softplus", ndims=["3"]) if len(set(call.x.shape)) > 1]
    assert {shape[-1] for shape in uneven} == {1, 2, 3}
    assert {call.x.shape[-1] for call in calls("softplus", ndims=["4"])} == {2}
    assert all(len(set(call.x.shape)) == 1 for call in calls("softplus", ndims=["4"], square=True))
    keeps = calls("logsumexp", always=["keepdims"])
    assert {call.options["keepdims"] for call in keeps} == {True, False}
