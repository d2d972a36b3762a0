"""PyTorch 2.13: random configurations against float64 autograd, and every deliberate difference.

Each batch draws its own configurations, one from each seed `(SEED, batch, n)`. A failure prints the
call to paste and its seed, and `classes_case(name, seed, np.random.default_rng(seed))` runs it again.
CROSSENT_PEERS_SEED draws others.
"""

from __future__ import annotations

import itertools
import math
import os
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")

import torch.nn.functional as F  # noqa: E402
import torch_oracle as oracle  # noqa: E402
from nearness import PEER, Expected, assert_near, snippet, ulp  # noqa: E402

import crossent  # noqa: E402

pytestmark = pytest.mark.peers

SEED = int(os.environ.get("CROSSENT_PEERS_SEED", "0"))
PER_BATCH = 60
NAN, INF = math.nan, math.inf


# Random configurations


def one_of(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def draw_dtype(rng: np.random.Generator) -> np.dtype[Any]:
    names = ["float64", "float32", "float16", "longdouble"]
    return np.dtype(str(rng.choice(names, p=[0.4, 0.4, 0.15, 0.05])))


def numbers(rng: np.random.Generator, shape: Any, dtype: Any, scale: float = 3.0) -> np.ndarray:
    """Moderate numbers of `dtype`: PyTorch's float64 has all their digits."""
    return np.asarray(np.clip(scale * rng.standard_normal(shape), -25, 25)).astype(dtype)


def layout(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The same numbers in another order, direction or byte order in memory, or read-only."""
    kind = rng.integers(8)
    if kind == 0 and x.ndim:
        return np.asfortranarray(x)
    if kind == 1 and x.ndim:
        return np.flip(np.flip(x, -1).copy(), -1)
    if kind == 2 and x.ndim:
        return np.repeat(x, 2, axis=0)[::2]
    if kind == 3 and x.dtype.kind == "f" and x.dtype != np.longdouble:
        return x.astype(x.dtype.newbyteorder())
    if kind == 4:
        x = x.copy()
        x.flags.writeable = False
    return x


def broadcastable(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`."""
    drop = rng.integers(len(shape) + 1)
    return tuple(1 if chance(rng, 0.3) else n for n in shape[drop:])


def draw_weight(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    w = rng.uniform(0.1, 3.0, shape)
    if chance(rng, 0.3):
        w = np.where(rng.random(shape) < 0.3, 0.0, w)
    if chance(rng, 0.15):
        w = np.where(rng.random(shape) < 0.3, -w, w)
    return np.asarray(w).astype(dtype)


def draw_grad_output(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    if chance(rng, 0.3):
        return None
    g = numbers(rng, shape if chance(rng, 0.7) else broadcastable(rng, shape), dtype, 2.0)
    if chance(rng, 0.2):
        g = np.where(rng.random(g.shape) < 0.3, np.zeros((), dtype), g)
    return g if g.ndim else one_of(rng, float(g), g)


def double(x: Any) -> Any:
    """The same numbers for the oracle: all drawn ones are exact in float64."""
    if x is None or isinstance(x, (int, float)):
        return x
    return np.asarray(x, np.float64) if x.dtype.kind == "f" else np.asarray(x)


def check(
    name: str,
    x: np.ndarray,
    *rest: np.ndarray,
    result: Any,
    expected: tuple[Expected, Expected],
    seed: Any,
    rng: np.random.Generator,
    ignored: np.ndarray | None = None,
    grad_output: Any,
    **options: Any,
) -> None:
    """Value, gradient and both at once of one configuration, near the oracle's."""
    what = f"{snippet(name, x, *rest, **options, grad_output=grad_output)}  # seed {seed}"
    f, f_grad = getattr(crossent, name), getattr(crossent, name + "_grad")
    more: dict[str, Any] = {"grad_output": grad_output}
    if "out" in crossent_parameters(f_grad) and chance(rng, 0.3):
        more["out"] = np.empty(x.shape, result)
    try:
        value, grad = f(x, *rest, **options), f_grad(x, *rest, **options, **more)
        assert_near(name, value, expected[0], result, what)
        assert_near(name + "_grad", grad, expected[1], result, what)
        if ignored is not None:
            assert np.all(grad[np.broadcast_to(ignored, grad.shape)] == 0), "ignored, not 0"
        if "out" in more:
            assert grad is more["out"], "the gradient is not out"
        both = getattr(crossent, name + "_value_and_grad", None)
        if both is not None:
            own = x.copy()
            if x.dtype == result and chance(rng, 0.5):
                more["out"] = own
            pair = both(own, *rest, **options, **more)
            np.testing.assert_array_equal(pair[0], value, err_msg="value_and_grad: value")
            np.testing.assert_array_equal(pair[1], grad, err_msg="value_and_grad: gradient")
    except AssertionError as error:
        if what in str(error):
            raise
        raise AssertionError(f"{error}\n{what}") from error
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{what}") from error


def crossent_parameters(f: Any) -> tuple[str, ...]:
    code = f.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def seeds(batch: int) -> Any:
    for n in range(PER_BATCH):
        seed = (SEED, batch, n)
        yield seed, np.random.default_rng(seed)


def draw_positions(rng: np.random.Generator) -> tuple[int, tuple[int, ...]]:
    """A number of classes, and the shape of the positions: [], [B], [B, d], [B, H, W]."""
    K = int(one_of(rng, 1, 2, 3, 4, 5, 7, 40))
    positions = tuple(int(rng.integers(1, 5)) for _ in range(rng.integers(4)))
    if positions and chance(rng, 0.04):
        positions = (0, *positions[1:])
    return K, positions


def draw_indices(
    rng: np.random.Generator, K: int, positions: tuple[int, ...]
) -> tuple[np.ndarray, int | None]:
    """Class indices of any integer dtype, some of them ignored."""
    kind = np.dtype(one_of(rng, "i8", "i8", "i8", "i4", "i2", "i1", "u1", "u4", "u8", ">i4"))
    y = rng.integers(0, K, positions)
    ignore: int | None = one_of(rng, None, None, -100, -1, int(rng.integers(K)), K + 3)
    if chance(rng, 0.4) and not (kind.kind == "u" and (ignore is None or ignore < 0)):
        share = one_of(rng, 0.3, 0.3, 0.9)
        y = np.where(rng.random(positions) < share, -100 if ignore is None else ignore, y)
    return np.asarray(y).astype(kind), ignore


def draw_where(rng: np.random.Generator, positions: tuple[int, ...]) -> np.ndarray | None:
    if not chance(rng, 0.3):
        return None
    shape = positions if chance(rng, 0.7) else broadcastable(rng, positions)
    return np.asarray(rng.random(shape) < one_of(rng, 0.5, 0.8))


def poison(rng: np.random.Generator, x: np.ndarray, ignored: np.ndarray, junk: tuple[Any, ...]) -> np.ndarray:
    """Fill the ignored positions with what must not matter."""
    return np.where(ignored, np.asarray(one_of(rng, *junk), x.dtype), x)


def classes_case(name: str, seed: Any, rng: np.random.Generator) -> None:
    K, positions = draw_positions(rng)
    ndim = len(positions) + 1
    axis = one_of(rng, None, None, -1, int(rng.integers(-ndim, ndim)))
    at = (min(1, ndim - 1) if axis is None else axis) % ndim
    shape = (*positions[:at], K, *positions[at:])
    source = draw_dtype(rng)
    soft = name == "cross_entropy" and chance(rng, 0.4)
    s = one_of(rng, None, None, 0.0, 0.1, 0.5, 1.0) if name == "cross_entropy" else None

    x = numbers(rng, shape, source, one_of(rng, 0.3, 3.0, 10.0))
    if name == "nll_loss" and chance(rng, 0.7):
        x = oracle.log_softmax(double(x), axis=at)[0].peer.astype(source)

    dtype = source
    if name == "cross_entropy" and source.itemsize >= 4 and chance(rng, 0.15):
        dtype = np.dtype(one_of(rng, "float32", "float64"))
        x = x.astype(np.promote_types("float32", min(dtype, source, key=lambda d: d.itemsize)))
        x = x.astype(source)  # exact in both
    narrow = min(dtype, source, key=lambda d: d.itemsize)

    where = draw_where(rng, positions)
    counted = np.ones(positions, bool) if where is None else np.broadcast_to(where, positions)
    if soft:
        ignore = one_of(rng, None, None, -100, -1)
        q = rng.uniform(0.0, 1.0, shape)
        kind = rng.integers(4)
        if kind == 0:
            q = np.moveaxis(np.eye(K)[rng.integers(0, K, positions)], -1, at)
        elif kind == 1:
            q = np.where(rng.random(shape) < 0.4, 0.0, q)
        if kind < 3 and K > 1:
            q = q / np.maximum(q.sum(at, keepdims=True), 0.1)
        target = q.astype(narrow)
        if chance(rng, 0.2) and narrow.itemsize <= 4:
            target = target.astype(np.float64)
    else:
        target, ignore = draw_indices(rng, K, positions)
        counted = counted & (target != (-100 if ignore is None else ignore))
    ignored = np.expand_dims(~counted, at)

    weight = draw_weight(rng, K, narrow) if chance(rng, 0.5) else None
    reduction = one_of(rng, None, "none", "mean", "sum")
    g = draw_grad_output(rng, positions if reduction == "none" else (), dtype)
    if not soft and not s and chance(rng, 0.15):  # masked classes
        x = np.where(rng.random(shape) < 0.2, np.asarray(-INF, source), x)
        x = np.where(np.all(x == -INF, at, keepdims=True), np.zeros((), source), x)
        if weight is not None:  # 0 * inf is a deliberate difference
            weight = np.where(weight == 0, np.ones((), weight.dtype), weight)
        if g is not None:
            g = np.where(np.asarray(g) == 0, np.ones((), dtype), g)

    options = {
        "weight": weight, "ignore_index": ignore, "reduction": reduction,
        "label_smoothing": s, "axis": axis, "where": where,
    }  # fmt: skip
    options = {k: v for k, v in options.items() if v is not None}
    named = {k: double(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = getattr(oracle, name)(double(x), double(target), **named, grad_output=double(g))
    if reduction in (None, "mean") and name == "cross_entropy" and not soft and not s:
        check_perplexity(x, target, options, expected[0], source, dtype)

    if chance(rng, 0.5):
        x = poison(rng, x, ignored, (NAN, INF, -INF))
        if soft:
            target = poison(rng, target, ignored, (NAN, INF, -1.0))
        elif where is not None:
            target = poison(rng, target, ~np.broadcast_to(where, positions), (99, 127))
    check(
        name, layout(rng, x), layout(rng, target), **options, grad_output=g, result=dtype,
        expected=expected, seed=seed, rng=rng, ignored=ignored,
        **({} if dtype == source else {"dtype": dtype.type}),
    )  # fmt: skip


def check_perplexity(x: Any, target: Any, options: Any, mean: Expected, source: Any, dtype: Any) -> None:
    options = {k: v for k, v in options.items() if k not in ("reduction", "label_smoothing")}
    if dtype != source or not np.all(mean.peer < 10):
        return
    value = np.exp(mean.peer)
    expected = Expected(np.asarray(value), None, value * (mean.reach + 1))
    what = snippet("perplexity", x, target, **options)
    assert_near("perplexity", crossent.perplexity(x, target, **options), expected, dtype, what)


@pytest.mark.parametrize("batch", range(40))
def test_cross_entropy__value_and_gradient_are_those_of_torch(batch: int) -> None:
    for seed, rng in seeds(batch):
        classes_case("cross_entropy", seed, rng)


@pytest.mark.parametrize("batch", range(100, 110))
def test_nll_loss__value_and_gradient_are_those_of_torch(batch: int) -> None:
    for seed, rng in seeds(batch):
        classes_case("nll_loss", seed, rng)


@pytest.mark.parametrize("batch", range(200, 220))
def test_binary_cross_entropy__value_and_gradient_are_those_of_torch(batch: int) -> None:
    for seed, rng in seeds(batch):
        shape = tuple(int(rng.integers(1, 5)) for _ in range(rng.integers(4)))
        if shape and chance(rng, 0.04):
            shape = (0, *shape[1:])
        source = dtype = draw_dtype(rng)
        if source.itemsize >= 4 and chance(rng, 0.15):
            dtype = np.dtype(one_of(rng, "float32", "float64"))
        narrow = min(dtype, source, key=lambda d: d.itemsize)
        x = numbers(rng, shape, narrow, one_of(rng, 0.3, 3.0, 10.0)).astype(source)
        kind = rng.integers(5)
        if kind < 2:
            y = rng.integers(0, 2, shape).astype(one_of(rng, narrow, narrow, "i8", "u1", "?"))
        elif kind < 4:
            y = rng.uniform(0, 1, shape)
        else:  # PyTorch takes any number
            y = rng.uniform(-1, 2, shape)
        if np.asarray(y).dtype == np.float64:
            y = np.asarray(y).astype(narrow)
        y = np.asarray(y)
        weight = draw_weight(rng, broadcastable(rng, shape), narrow) if chance(rng, 0.4) else None
        pos = np.abs(draw_weight(rng, broadcastable(rng, shape), narrow))
        where = draw_where(rng, shape)
        reduction = one_of(rng, None, "none", "mean", "sum")
        options = {
            "weight": weight, "pos_weight": pos if chance(rng, 0.5) else None,
            "reduction": reduction, "where": where,
        }  # fmt: skip
        options = {k: v for k, v in options.items() if v is not None}
        g = draw_grad_output(rng, shape if reduction == "none" else (), dtype)
        named = {k: double(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        expected = oracle.binary_cross_entropy_with_logits(
            double(x), double(y), **named, grad_output=double(g)
        )
        ignored = np.zeros(shape, bool) if where is None else ~np.broadcast_to(where, shape)
        if chance(rng, 0.5):
            x = poison(rng, x, ignored, (NAN, INF, -INF))
            if y.dtype.kind == "f":
                y = poison(rng, y, ignored, (NAN, INF))
        check(
            "binary_cross_entropy_with_logits", layout(rng, x), layout(rng, y), **options,
            grad_output=g, result=dtype, expected=expected, seed=seed, rng=rng, ignored=ignored,
            **({} if dtype == source else {"dtype": dtype.type}),
        )  # fmt: skip


@pytest.mark.parametrize("batch", range(300, 310))
@pytest.mark.parametrize("name", ["log_softmax", "softmax", "logsumexp"])
def test_softmax_family__value_and_gradient_are_those_of_torch(name: str, batch: int) -> None:
    for seed, rng in seeds(batch):
        shape = tuple(int(one_of(rng, 1, 2, 3, 4, 33)) for _ in range(rng.integers(1, 4)))
        if chance(rng, 0.04) and len(shape) > 1:
            shape = (0, *shape[1:])
        source = dtype = draw_dtype(rng)
        x = numbers(rng, shape, source, one_of(rng, 0.3, 3.0, 10.0))
        options: dict[str, Any] = {}
        axes = rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)]
        if 0 in shape:  # softmax of no classes is refused, logsumexp of nothing is -inf
            axes = axes[axes != 0] if len(axes[axes != 0]) else np.array([len(shape) - 1])
        if name == "logsumexp":
            options["axis"] = one_of(
                rng, int(axes[0]), tuple(int(a) - one_of(rng, 0, len(shape)) for a in axes), None
            )
            options["keepdims"] = chance(rng, 0.5)
        else:
            options["axis"] = int(axes[0]) - one_of(rng, 0, len(shape))
        if chance(rng, 0.3) and len(shape) == 1 and name != "logsumexp":
            del options["axis"]
        if chance(rng, 0.2):  # masked classes, never all of them
            first = (np.cumsum(np.ones(shape), int(axes[0])) == 1) | (rng.random(shape) < 0.7)
            x = np.where(first, x, np.asarray(-INF, source))
        probe = getattr(oracle, name)(double(x), **options)[0].peer
        g = draw_grad_output(rng, probe.shape, dtype)
        expected = getattr(oracle, name)(double(x), **options, grad_output=double(g))
        check(
            name, layout(rng, x), **options, grad_output=g, result=dtype,
            expected=expected, seed=seed, rng=rng,
        )  # fmt: skip


@pytest.mark.parametrize("batch", range(400, 404))
@pytest.mark.parametrize("name", ["softplus", "log_sigmoid", "sigmoid"])
def test_sigmoid_family__value_and_gradient_are_those_of_torch(name: str, batch: int) -> None:
    for seed, rng in seeds(batch):
        shape = tuple(int(one_of(rng, 0, 1, 2, 3, 33)) for _ in range(rng.integers(4)))
        dtype = draw_dtype(rng)
        x = numbers(rng, shape, dtype, one_of(rng, 0.3, 3.0, 10.0))
        g = draw_grad_output(rng, shape, dtype)
        expected = oracle.elementwise(name, double(x), grad_output=double(g))
        check(name, layout(rng, x), grad_output=g, result=dtype, expected=expected, seed=seed, rng=rng)


def test_bfloat16__is_the_float64_answer_rounded() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    rng = np.random.default_rng(SEED)
    for n in range(50):
        x = rng.normal(0, 3, (6, 5)).astype(ml_dtypes.bfloat16)
        y = rng.integers(0, 5, 6)
        expected = oracle.cross_entropy(np.asarray(x, np.float64), y)
        value, grad = crossent.cross_entropy_value_and_grad(x, y)
        for name, got, wanted in (
            ("cross_entropy", value, expected[0]),
            ("cross_entropy_grad", grad, expected[1]),
        ):
            assert_near(name, np.asarray(got), wanted, ml_dtypes.bfloat16, f"draw {n}")


# Loss objects


REDUCTIONS = ("none", "mean", "sum")


def made(cls: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return cls(*args, **kwargs), caught


def twins(name: str, arrays: tuple[Any, ...], rest: tuple[Any, ...]) -> tuple[Any, Any, list[Any]]:
    """The object of both libraries from the same positional arguments."""
    tensors = tuple(None if a is None else oracle.tensor(a) for a in arrays)
    theirs, _ = made(getattr(torch.nn, name), *tensors, *rest)
    ours, caught = made(getattr(crossent, name), *arrays, *rest)
    return ours, theirs, caught


def agree(ours: Any, theirs: Any, x: np.ndarray, target: np.ndarray, g: Any, what: str) -> None:
    value, grad = oracle.differentiate(lambda z: theirs(z, oracle.tensor(target)), x, g)
    reach = np.full((), 40.0 * max(x.size, 1))
    for got in (ours(x, target), ours.value_and_grad(x, target, grad_output=g)[0]):
        assert_near("cross_entropy", got, Expected(value, None, reach), np.float64, what)
    for got in (
        ours.grad(x, target, grad_output=g),
        ours.value_and_grad(x, target, grad_output=g)[1],
    ):
        assert_near("cross_entropy_grad", got, Expected(grad, None, reach), np.float64, what)


@pytest.mark.parametrize(("size_average", "reduce"), list(itertools.product([None, False, True], repeat=2)))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCEWithLogitsLoss"])
def test_objects__take_torchs_positional_arguments_and_deprecated_settings(
    name: str, reduction: str, size_average: bool | None, reduce: bool | None
) -> None:
    """PyTorch's code runs unchanged, and is told which reduction to write instead."""
    rng = np.random.default_rng(7)
    x = rng.normal(0, 2, (4, 3))
    if name == "BCEWithLogitsLoss":
        y = rng.uniform(0, 1, (4, 3))
        arguments = [((None,), ()), ((rng.uniform(0, 2, 3),), ())]
        tails: list[tuple[Any, ...]] = [()]
    else:
        y = np.array([2, 0, -1, 1])
        arguments = [((None,), (-1,)), ((rng.uniform(0, 2, 3),), (-1,))]
        tails = [(), (0.2,)] if name == "CrossEntropyLoss" else [()]
        if name == "NLLLoss":
            x = oracle.log_softmax(x)[0].peer
    for (arrays, ignore), tail in itertools.product(arguments, tails):
        rest = (size_average, *ignore, reduce, reduction, *tail)
        ours, theirs, caught = twins(name, arrays, rest)
        what = f"{name}{(*arrays, *rest)}"
        if size_average is None and reduce is None:
            assert not caught, what
        else:
            assert [w.category for w in caught] == [DeprecationWarning], what
            assert repr(theirs.reduction) in str(caught[0].message), what
        assert ours.reduction == theirs.reduction, what
        shape = y.shape if theirs.reduction == "none" else ()
        agree(ours, theirs, x, y, rng.normal(size=shape), what)


def test_objects__pos_weight_and_class_axis_and_probabilities() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(0, 2, (4, 3)), rng.uniform(0, 1, (4, 3))
    pos = rng.uniform(0, 3, 3)
    for reduction in REDUCTIONS:
        ours = crossent.BCEWithLogitsLoss(None, None, None, reduction, pos)
        theirs = torch.nn.BCEWithLogitsLoss(None, None, None, reduction, oracle.tensor(pos))
        agree(ours, theirs, x, y, None, repr(ours))
        soft, last = crossent.CrossEntropyLoss(reduction=reduction), y / y.sum(1, keepdims=True)
        agree(soft, torch.nn.CrossEntropyLoss(reduction=reduction), x, last, None, repr(soft))

    btv, index = rng.normal(0, 2, (2, 5, 3)), rng.integers(0, 3, (2, 5))
    ours = crossent.CrossEntropyLoss(axis=-1)
    flat = torch.nn.CrossEntropyLoss()(oracle.tensor(btv).reshape(10, 3), oracle.tensor(index).reshape(10))
    assert abs(ours(btv, index) - flat.item()) <= PEER * 40

    x = rng.normal(0, 2, (4, 3, 2))
    for axis in (0, 1, 2, -1):
        value = torch.nn.LogSoftmax(axis)(oracle.tensor(x)).numpy()
        reach = Expected(value, None, np.full(x.shape, 40.0))
        assert_near("log_softmax", crossent.LogSoftmax(axis)(x), reach, np.float64, f"axis {axis}")


def test_objects__refuse_the_settings_that_torch_refuses() -> None:
    for cls in (crossent.CrossEntropyLoss, crossent.NLLLoss, crossent.BCEWithLogitsLoss):
        with pytest.raises(ValueError, match=r"none.*mean.*sum"):
            cls(reduction="average")


# Agreements at the edges: the same answer, not by chance


EMPTY = np.zeros((0, 3)), np.zeros(0, np.int64)
IGNORED = np.array([[0.0, 1.0], [3.0, 1.0]]), np.array([-100, -100])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (EMPTY, {"reduction": "mean"}),
        (EMPTY, {"reduction": "sum"}),
        (EMPTY, {"reduction": "none"}),
        (IGNORED, {"reduction": "mean"}),
        (IGNORED, {"reduction": "sum"}),
        (IGNORED, {"reduction": "none"}),
        ((np.array([[0.0, 1.0]]), np.array([1])), {"weight": np.zeros(2)}),
        ((np.array([[0.0, 1.0]]), np.array([1])), {"weight": np.array([1.0, 0.0])}),
        (
            (np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([1, -100])),
            {"weight": np.array([1.0, 0.0]), "label_smoothing": 0.1},
        ),
        ((np.array([[3.0]]), np.array([0])), {}),
        ((np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([0, 1])), {"ignore_index": 0}),
        ((np.array([[0.0, 1.0, -INF]]), np.array([1])), {}),
        ((np.array([[0.0, 1.0, -INF]]), np.array([2])), {}),
        ((np.array([[0.0, 1.0, -INF]]), np.array([1])), {"label_smoothing": 0.1}),
        ((np.array([[0.0, NAN, 1.0], [0.0, 1.0, 2.0]]), np.array([0, 1])), {"reduction": "none"}),
        ((np.array([[0.0, INF, 1.0], [0.0, 1.0, 2.0]]), np.array([0, 1])), {"reduction": "none"}),
        ((np.full((1, 3), -INF), np.array([1])), {"reduction": "none"}),
        ((np.array([[NAN, 0.0]]), np.array([1])), {"weight": np.array([1.0, 0.0])}),
    ],
)
def test_cross_entropy__agrees_with_torch_at_the_edges(arguments: Any, options: Any) -> None:
    """Empty, ignored, weightless, masked and NaN rows: PyTorch's measured behaviour decides."""
    x, y = arguments
    tensors = {k: oracle.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    value, grad = oracle.differentiate(lambda z: F.cross_entropy(z, oracle.tensor(y), **tensors), x, None)
    what = snippet("cross_entropy", x, y, **options)
    ours = crossent.cross_entropy_value_and_grad(x, y, **options)
    for name, got, peer in (
        ("cross_entropy", ours[0], value),
        ("cross_entropy_grad", ours[1], grad),
    ):
        assert_near(name, got, Expected(peer, None, np.ones(())), np.float64, what)


# Deliberate differences: what PyTorch does, and what crossent does instead


def torch_value_and_grad(f: Any, x: Any, dtype: Any = torch.float64) -> tuple[Any, Any]:
    leaf = torch.tensor(x, dtype=dtype, requires_grad=True)
    value = f(leaf)
    value.sum().backward()
    return value.detach().numpy(), leaf.grad.numpy()


@pytest.mark.parametrize("junk", [NAN, INF])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_difference__an_ignored_row_that_holds_nan_has_gradient_zero(junk: float, options: Any) -> None:
    x, y = [[junk, junk], [0.0, 1.0]], [-100, 1]
    value, grad = torch_value_and_grad(lambda z: F.cross_entropy(z, torch.tensor(y), **options), x)
    assert np.isfinite(value)
    assert np.isnan(grad[0]).all()

    alone = crossent.cross_entropy_value_and_grad([[0.0, 1.0]], [1], **options)
    ours = crossent.cross_entropy_value_and_grad(x, y, **options)
    assert ours[0] == alone[0]
    np.testing.assert_array_equal(ours[1], [[0.0, 0.0], alone[1][0]])


def test_difference__where_leaves_out_what_a_mask_by_multiplication_does_not() -> None:
    """PyTorch has no where=: its users multiply the losses by a mask, and 0 * NaN is NaN."""
    x, y = [[NAN, 0.0], [0.0, 1.0]], [0, 1]
    losses = F.cross_entropy(torch.tensor(x), torch.tensor(y), reduction="none")
    assert (losses * torch.tensor([0.0, 1.0])).sum().isnan()
    for reduction in ("sum", "mean"):
        kept = crossent.cross_entropy(x, y, where=[False, True], reduction=reduction)
        assert kept == crossent.cross_entropy(x[1:], y[1:], reduction=reduction)


def test_difference__zero_times_infinity_is_zero() -> None:
    """A one-hot target is its index, also where the other logits are masked with -inf."""
    x, q = [[0.0, 1.0, -INF]], [[0.0, 1.0, 0.0]]
    onehot, index = torch.tensor(q, dtype=torch.float64), torch.tensor([1])
    by_index = torch_value_and_grad(lambda z: F.cross_entropy(z, index), x)
    assert np.isfinite(by_index[0])
    assert np.isnan(torch_value_and_grad(lambda z: F.cross_entropy(z, onehot), x)[0])

    ours = crossent.cross_entropy_value_and_grad(x, q)
    np.testing.assert_array_equal(ours[0], crossent.cross_entropy(x, [1]))
    np.testing.assert_array_equal(ours[1], crossent.cross_entropy_grad(x, [1]))
    np.testing.assert_allclose(ours[0], by_index[0], rtol=PEER, atol=0)


@pytest.mark.parametrize(
    ("y", "options", "loss"),
    [
        (2, {"weight": [1.0, 1.0, 0.0], "reduction": "sum"}, 0.0),
        (2, {"weight": [1.0, 1.0, 0.0], "reduction": "none"}, [0.0]),
        (1, {"weight": [1.0, 1.0, 0.0], "label_smoothing": 0.1}, None),
    ],
)
def test_difference__a_weight_of_zero_removes_an_infinite_loss(y: int, options: Any, loss: Any) -> None:
    x = [[0.0, 1.0, -INF]]
    named = {k: torch.tensor(v).double() if k == "weight" else v for k, v in options.items()}
    assert np.isnan(torch_value_and_grad(lambda z: F.cross_entropy(z, torch.tensor([y]), **named), x)[0])
    value, grad = crossent.cross_entropy_value_and_grad(x, [y], **options)
    assert np.isfinite(value).all()
    assert np.isfinite(grad).all()
    if loss is not None:
        np.testing.assert_array_equal(value, loss)
        np.testing.assert_array_equal(grad, [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("z", "y", "torch_loss", "loss", "grad"),
    [
        (INF, 0.0, INF, INF, 1.0),
        (INF, 1.0, NAN, 0.0, 0.0),
        (INF, 0.5, INF, INF, 0.5),
        (-INF, 0.0, NAN, 0.0, 0.0),
        (-INF, 1.0, NAN, INF, -1.0),
        (-INF, 0.5, NAN, INF, -0.5),
    ],
)
def test_difference__infinite_logits_of_binary_cross_entropy_have_a_loss(
    z: float, y: float, torch_loss: float, loss: float, grad: float
) -> None:
    """PyTorch adds (1 - y) * z and max(-z, 0): inf - inf."""
    target = torch.tensor([y], dtype=torch.float64)
    theirs = torch_value_and_grad(lambda x: F.binary_cross_entropy_with_logits(x, target), [z])
    np.testing.assert_array_equal(theirs[0], torch_loss)
    np.testing.assert_array_equal(theirs[1], [grad])
    ours = crossent.binary_cross_entropy_with_logits_value_and_grad([z], [y])
    np.testing.assert_array_equal(ours[0], loss)
    np.testing.assert_array_equal(ours[1], [grad])


ROWS = 70_000  # more than 65,504, the largest float16


@pytest.mark.parametrize(
    ("reduction", "smoothing", "theirs", "ours"),
    [
        ("mean", 0.0, 0.0, math.log(2)),
        ("mean", 0.1, INF, math.log(2)),
        ("sum", 0.0, None, ROWS * math.log(2)),  # off by eight ulp or so
        ("sum", 0.1, INF, ROWS * math.log(2)),
    ],
)
def test_difference__float16_means_and_sums_of_70000_rows_are_right(
    reduction: str, smoothing: float, theirs: float | None, ours: float
) -> None:
    """PyTorch divides by a float16 count that overflowed."""
    x = np.zeros((ROWS, 2), np.float16)
    y = np.zeros(ROWS, np.int64)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    value = F.cross_entropy(torch.from_numpy(x), torch.from_numpy(y), **options)
    assert value.dtype == torch.float16
    if theirs is None:
        assert value.item() != float(np.float16(ours))
    else:
        assert value.item() == theirs
    value = crossent.cross_entropy(x, y, **options)
    assert value.dtype == np.float16
    assert value == np.float16(ours)


def test_difference__float16_gradient_of_a_mean_over_70000_rows_is_not_zero() -> None:
    x, y = np.zeros((ROWS, 2), np.float16), np.zeros(ROWS, np.int64)
    grad = torch_value_and_grad(lambda z: F.cross_entropy(z, torch.from_numpy(y)), x, torch.float16)[1]
    assert not grad.any()
    expected = np.float16(0.5 / ROWS)
    grad = crossent.cross_entropy_grad(x, y)
    assert grad.dtype == np.float16
    np.testing.assert_array_equal(grad, np.broadcast_to([-expected, expected], x.shape))


def test_difference__float16_negative_log_likelihood_of_70000_rows_is_not_nan() -> None:
    lp, y = np.full((ROWS, 2), -1.0, np.float16), np.zeros(ROWS, np.int64)
    assert F.nll_loss(torch.from_numpy(lp), torch.from_numpy(y)).isnan()
    assert crossent.nll_loss(lp, y) == 1.0


@pytest.mark.parametrize("smoothing", [-0.1, NAN, 1.1])
def test_difference__label_smoothing_outside_the_unit_interval_is_refused(smoothing: float) -> None:
    """PyTorch refuses what is above 1, and takes a negative number or NaN for none at all."""
    x, y = torch.tensor([[0.0, 1.0]]), torch.tensor([1])
    if smoothing > 1:
        with pytest.raises(RuntimeError, match="label_smoothing"):
            F.cross_entropy(x, y, label_smoothing=smoothing)
    else:
        assert F.cross_entropy(x, y, label_smoothing=smoothing) == F.cross_entropy(x, y)
    for target in ([1], [[0.0, 1.0]]):
        with pytest.raises(ValueError, match=r"label_smoothing.*\[0, 1\]"):
            crossent.cross_entropy([[0.0, 1.0]], target, label_smoothing=smoothing)
    with pytest.raises(ValueError, match=r"label_smoothing.*\[0, 1\]"):
        crossent.CrossEntropyLoss(label_smoothing=smoothing)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "bool"])
def test_difference__binary_targets_may_be_integers_or_booleans(kind: str) -> None:
    x, y = np.array([0.5, -1.5], np.float32), np.array([0, 1]).astype(kind)
    with pytest.raises(RuntimeError):
        F.binary_cross_entropy_with_logits(torch.from_numpy(x), torch.from_numpy(y))
    ours = crossent.binary_cross_entropy_with_logits_value_and_grad(x, y)
    floats = crossent.binary_cross_entropy_with_logits_value_and_grad(x, y.astype(np.float32))
    assert ours[0] == floats[0]
    assert ours[0].dtype == np.float32
    np.testing.assert_array_equal(ours[1], floats[1])


@pytest.mark.parametrize("kind", ["int32", "int16", "int8"])
def test_difference__class_indices_may_be_of_any_integer_dtype(kind: str) -> None:
    x, y = np.array([[0.5, -1.5]], np.float32), np.array([1]).astype(kind)
    with pytest.raises(RuntimeError, match="Long or Byte"):
        F.cross_entropy(torch.from_numpy(x), torch.from_numpy(y))
    assert crossent.cross_entropy(x, y) == crossent.cross_entropy(x, [1])


@pytest.mark.parametrize(
    ("logits", "other"), [("float32", "float64"), ("float32", "float16"), ("float16", "float32")]
)
def test_difference__mixed_dtypes_work_and_the_logits_decide(logits: str, other: str) -> None:
    """PyTorch refuses weights of another dtype, and lets wider probabilities widen the result."""
    x, w = np.array([[0.0, 1.0]], logits), np.array([1.0, 2.0], other)
    with pytest.raises(RuntimeError, match="expected scalar type"):
        F.cross_entropy(torch.from_numpy(x), torch.tensor([1]), weight=torch.from_numpy(w))
    value, grad = crossent.cross_entropy_value_and_grad(x, [1], weight=w)
    same = crossent.cross_entropy_value_and_grad(x, [1], weight=w.astype(logits))
    assert value == same[0]
    assert value.dtype == grad.dtype == logits
    np.testing.assert_array_equal(grad, same[1])

    q = np.array([[0.25, 0.75]], other)
    wide = F.cross_entropy(torch.from_numpy(x), torch.from_numpy(q)).numpy()
    assert wide.dtype == np.promote_types(logits, other)
    for f in (crossent.cross_entropy, crossent.binary_cross_entropy_with_logits):
        value = f(x, q)
        assert value.dtype == logits
        assert abs(float(value) - float(f(x, q.astype(logits)))) <= ulp(float(value), logits)


def test_difference__integer_logits_are_float64() -> None:
    with pytest.raises(NotImplementedError):
        F.cross_entropy(torch.tensor([[0, 1]]), torch.tensor([1]))
    value = crossent.cross_entropy([[0, 1]], [1])
    assert value.dtype == np.float64
    assert value == crossent.cross_entropy([[0.0, 1.0]], [1])


@pytest.mark.parametrize(
    ("dtype", "z", "exact"),
    [("float32", 20.0, 2.0611536181902037e-09), ("float64", 50.0, 1.9287498479639178e-22)],
)
def test_difference__a_confident_right_prediction_keeps_its_digits(
    dtype: str, z: float, exact: float
) -> None:
    """PyTorch's loss, and the target's own gradient, are 0: nothing is left to learn."""
    x = np.array([[0.0, z]], dtype)
    theirs = torch_value_and_grad(lambda t: F.cross_entropy(t, torch.tensor([1])), x, getattr(torch, dtype))
    assert theirs[0] == 0
    assert theirs[1][0, 1] == 0
    assert theirs[1][0, 0] > 0
    value, grad = crossent.cross_entropy_value_and_grad(x, [1])
    onehot = crossent.cross_entropy_value_and_grad(x, np.array([[0.0, 1.0]], dtype))
    for got in (value, grad[0, 0], -grad[0, 1], onehot[0], onehot[1][0, 0], -onehot[1][0, 1]):
        assert abs(float(got) - exact) <= 4 * ulp(exact, dtype)


def test_difference__a_confident_right_binary_prediction_keeps_its_digits() -> None:
    target, exact = torch.tensor([0.0], dtype=torch.float64), 1.9287498479639178e-22
    theirs = torch_value_and_grad(lambda z: F.binary_cross_entropy_with_logits(z, target), [-50.0])
    assert theirs[0] == 0
    ours = crossent.binary_cross_entropy_with_logits_value_and_grad([-50.0], [0.0])
    assert abs(ours[0] - exact) <= 4 * ulp(exact, float)
    assert abs(ours[1][0] - exact) <= 6 * ulp(exact, float)


def test_difference__logsumexp_of_only_minus_infinity_has_gradient_zero() -> None:
    x = [[-INF, -INF]]
    value, grad = torch_value_and_grad(lambda z: torch.logsumexp(z, 1), x)
    assert value == -INF
    assert np.isnan(grad).all()
    assert crossent.logsumexp(x) == -INF
    np.testing.assert_array_equal(crossent.logsumexp_grad(x), [[0.0, 0.0]])


def test_difference__softplus_has_no_threshold() -> None:
    """From 20 on PyTorch returns x itself."""
    assert F.softplus(torch.tensor([20.5], dtype=torch.float64)).item() == 20.5
    assert crossent.softplus(20.5) > 20.5


def test_difference__softmax_needs_an_axis() -> None:
    """PyTorch makes up an axis for a scalar and classes for an empty row."""
    assert torch.softmax(torch.tensor(3.0), 0) == 1
    assert torch.softmax(torch.zeros(2, 0), 1).shape == (2, 0)
    for f, x in itertools.product((crossent.softmax, crossent.log_softmax), (3.0, np.zeros((2, 0)))):
        with pytest.raises(ValueError, match="class"):
            f(x)
