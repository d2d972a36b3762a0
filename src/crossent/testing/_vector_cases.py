"""The cases of the test vectors: grids of options over ordinary numbers, then what goes wrong, bug by bug.

Cases are numbered in the order in which they stand here, so new ones go to the end of their function.
Ordinary numbers are drawn with Python's generator, whose stream no release changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle, product
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from crossent import exact
from crossent.testing._vector_bugs import Array, Case

__all__ = ["FUNCTIONS", "cases"]

F16, F32, F64 = np.float16, np.float32, np.float64
FLOATS = (F64, F32, F16)
REDUCTIONS = ("none", "mean", "sum")
INF, NAN = math.inf, math.nan
BINARY = "binary_cross_entropy_with_logits"
_CONFIDENT = {F16: "confident-float32", F32: "confident-float32", F64: "confident-float64"}
_MARGIN = {F16: 15.0, F32: 40.0, F64: 50.0}
_FAR = {F16: 300.0, F32: 300.0, F64: 2000.0}


class _Draw:
    """Ordinary numbers of a dtype, the same on every machine."""

    def __init__(self, seed: str, dtype: npt.DTypeLike, *, fine: bool = False) -> None:
        self.random = Random(seed)
        self.dtype = np.dtype(dtype)
        self.step = 0.0 if fine else 2.0**-6  # multiples of 1/64 are short to read

    def array(self, *shape: int, low: float = -4.0, high: float = 4.0) -> Array:
        values = [low + (high - low) * self.random.random() for _ in range(math.prod(shape))]
        values = [round(v / self.step) * self.step for v in values] if self.step else values
        return np.array(values, dtype=np.float64).reshape(shape).astype(self.dtype)

    def positive(self, *shape: int) -> Array:
        return self.array(*shape, low=0.25, high=3.0)

    def labels(self, classes: int, *shape: int) -> Array:
        labels = [int(self.random.random() * classes) for _ in range(math.prod(shape))]
        return np.array(labels, dtype=np.int64).reshape(shape)

    def distribution(self, shape: tuple[int, ...], axis: int) -> Array:
        """Sixteenths that sum to 1 along the axis; some are 0."""
        units: Array = np.zeros((*shape[:axis], *shape[axis + 1 :], shape[axis]), dtype=np.int64)
        for row in units.reshape(-1, shape[axis]):
            for _ in range(16):
                row[int(self.random.random() * shape[axis])] += 1
        return np.asarray(np.moveaxis(units, -1, axis) / 16).astype(self.dtype)

    def mask(self, *shape: int) -> Array:
        """Some of each."""
        mask = np.array([self.random.random() < 0.6 for _ in range(math.prod(shape))], dtype=bool)
        mask[0], mask[-1] = True, False
        return mask.reshape(shape)


def cases(function: str) -> list[Case]:
    """Cases of a function."""
    return list(_CASES[function]())


def _one(function: str, comment: str, x: Any, *flags: str, g: Any = None, **options: Any) -> Case:
    """A case of a function of one array."""
    name = "p" if function == "entropy" else "x"
    return Case(function, comment, {name: np.asarray(x)}, options, g, flags)


def _two(
    function: str,
    comment: str,
    x: Any,
    target: Any,
    *flags: str,
    g: Any = None,
    refused: str | None = None,
    **options: Any,
) -> Case:
    """A case of a loss."""
    name = "log_probs" if function == "nll_loss" else "logits"
    arguments = {name: np.asarray(x), "target": np.asarray(target)}
    return Case(function, comment, arguments, options, g, flags, refused)


# -- functions of rows -----------------------------------------------------------------------------


def _logsumexp() -> Iterator[Case]:
    f = "logsumexp"
    layouts: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((4,), {}),
        ((2, 3), {}),
        ((3, 2), {"axis": 0}),
        ((2, 3, 2), {"axis": 1, "keepdims": True}),
        ((2, 2, 2), {"axis": (0, 2)}),
        ((2, 3), {"axis": None}),
    ]
    for n, (dtype, (shape, options)) in enumerate(product(FLOATS, layouts)):
        d = _Draw(f"{f} {n}", dtype, fine=n % 3 == 0)
        yield _one(f, "ordinary numbers", d.array(*shape), **options)
    for dtype in FLOATS:
        d = _Draw(f"{f} g {dtype.__name__}", dtype)
        yield _one(f, "a gradient from above", d.array(2, 3), g=d.array(2))
        yield _one(f, "integers of the dtype, 0 included", np.array([[0, 1], [-3, 0]], dtype))
        yield _one(f, "large", np.array([_FAR[dtype], _FAR[dtype] - 1], dtype), "exp-overflows")
        yield _one(f, "far below 0", np.array([-_FAR[dtype], -_FAR[dtype]], dtype), "exp-overflows")
        yield _one(f, "one class has it all", np.array([0, -_MARGIN[dtype]], dtype), _CONFIDENT[dtype])
        yield _one(f, "ties", np.array([[2, 2, 1], [0, 0, 0]], dtype), "tied-maximum")
        rows = np.array([[-INF, -INF], [INF, 1], [-INF, 1]], dtype)
        yield _one(f, "infinities", rows, "all-minus-inf")
        yield _one(
            f, "only -inf", np.array([-INF, -INF], dtype), "all-minus-inf", "gradient-at-all-minus-inf"
        )
        yield _one(f, "rows far apart", np.array([[0, 1], [_FAR[dtype], 0]], dtype), "global-maximum")
        yield _one(f, "a NaN", np.array([[0, 1], [NAN, 0]], dtype), "nan-stays-in-row")
        half = np.array([-0.693147], dtype)
        yield _one(f, "the terms cancel", np.concatenate([half, half]))
        yield _one(f, "of nothing", np.zeros((2, 0), dtype))
    yield _one(f, "integers", np.array([1, 2, 3], np.int32))
    yield _one(f, "huge", np.array([1e30, 1e30], F32), "exp-overflows")
    yield _one(f, "huge", np.array([-1e300, -1e300], F64), "exp-overflows")
    yield _one(f, "one number", np.array([-7.5], F64))


def _softmaxes(f: str) -> Iterator[Case]:
    layouts: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((3,), {}),
        ((2, 3), {}),
        ((3, 2), {"axis": 0}),
        ((2, 3, 2), {"axis": 1}),
    ]
    for n, (dtype, (shape, options)) in enumerate(product(FLOATS, layouts)):
        d = _Draw(f"{f} {n}", dtype, fine=n % 3 == 0)
        yield _one(f, "ordinary numbers", d.array(*shape), g=d.array(*shape), **options)
    for dtype in FLOATS:
        d = _Draw(f"{f} special {dtype.__name__}", dtype)
        z, g = d.array(2, 3), d.array(2, 3)
        if f == "softmax":
            yield _one(f, "a gradient from above", z, "softmax-grad-diagonal", g=g)
        else:
            yield _one(f, "a gradient from above", z, "log-softmax-grad-sum", g=g)
        yield _one(f, "without a gradient from above: it is ones", z)
        one_hot = np.array([[0, 1, 0], [1, 0, 0]], dtype)
        yield _one(f, "one class's gradient", z, g=one_hot)
        far = _FAR[dtype]
        yield _one(f, "large", np.array([far, far - 1, far - 3], dtype), "exp-overflows", g=one_hot[0])
        rows = np.array([[0, 1], [far, far - 1]], dtype)
        yield _one(f, "rows far apart", rows, "global-maximum", g=np.array([[1, 0], [0, 1]], dtype))
        masked = np.array([[0, -INF, 1], [-INF, 2, -INF]], dtype)
        yield _one(f, "masked classes", masked, g=g)
        bad = np.array([[NAN, 0], [INF, 0], [-INF, -INF], [0, 1]], dtype)
        yield _one(f, "NaN, inf and only -inf, each in its own row", bad, "nan-stays-in-row")
        if f == "log_softmax":
            yield _one(f, "an impossible class, nearly", np.array([0, far], dtype), "underflow-then-log")
            sure = np.array([0, _MARGIN[dtype]], dtype)
            yield _one(f, "one class has it all", sure, _CONFIDENT[dtype], g=np.array([0, 1], dtype))
            yield _one(f, "ties", np.array([2, 2, 1], dtype), "tied-maximum")
        else:
            yield _one(
                f, "one class has it all", np.array([0, _MARGIN[dtype]], dtype), g=np.array([0, 1], dtype)
            )
            yield _one(f, "ties", np.array([2, 2, 1], dtype), "tied-maximum", g=one_hot[0])
        yield _one(f, "one class", np.array([[3], [-2]], dtype), g=np.array([[1], [2]], dtype))
    d = _Draw(f"{f} dtype", F32, fine=True)
    yield _one(f, "float32 in, float64 out", d.array(2, 3), "dtype-afterwards", dtype="float64")
    if f == "log_softmax":
        rows = np.array([[1e8, 1e8 + 8]], F32)
        yield _one(f, "an offset of 1e8", rows, "common-offset", g=np.array([[1, 0]], F32))
        rows = np.array([[1e15 + 0.125, 1e15]], F64)
        yield _one(f, "an offset of 1e15", rows, "common-offset", g=np.array([[1, 0]], F64))
    yield _one(f, "integers", np.array([[1, 2, 3]], np.int64))
    yield _one(f, "no rows", np.zeros((0, 3), F64))


# -- functions of numbers --------------------------------------------------------------------------


def _elementwise(f: str) -> Iterator[Case]:
    for n, dtype in enumerate(FLOATS):
        for m, shape in enumerate([(), (5,), (2, 3)]):
            d = _Draw(f"{f} {n} {m}", dtype, fine=m == 1)
            yield _one(f, "ordinary numbers", d.array(*shape), g=d.array(*shape) if m else None)
        special = np.array([0.0, -0.0, INF, -INF, NAN], dtype)
        yield _one(f, "special values", special, *(["exp-overflows"] if f == "sigmoid" else []))
        far = _FAR[dtype]
        both = np.array([far, -far], dtype)
        yield _one(f, "far from 0", both, "exp-overflows")
        edge = {F16: [-17, -16.625, -9.75, 11.09], F32: [-87, -86, 16.6, 88.5], F64: [-708, -700, 36.7, 709]}
        yield _one(
            f, "where exp leaves the normal numbers, or 1 + exp forgets the 1", np.array(edge[dtype], dtype)
        )
        margin = _MARGIN[dtype]
        if f == "sigmoid":
            low = np.array([-margin, -margin / 2], dtype)
            if dtype is not F16:
                yield _one(f, "unlikely", low, "one-minus-sigmoid")
            yield _one(f, "likely", -low, *_steep(dtype))
        elif f == "softplus":
            yield _one(f, "a sure, right no", np.array([-margin, -margin / 2], dtype), *_if_wide(dtype))
        else:
            yield _one(f, "a sure, right yes", np.array([margin, margin / 2], dtype), *_if_wide(dtype))
            if dtype is not F16:
                yield _one(f, "impossible, nearly", np.array([-far, -far / 2], dtype), "underflow-then-log")
                yield _one(f, "a small slope", np.array([margin], dtype), "confident-gradient")
        tiny = np.array([1e-3, -1e-4, 6e-5], dtype)
        yield _one(f, "next to 0", tiny, g=np.asarray(-0.5, dtype))
    yield _one(f, "integers", np.array([-2, 0, 3], np.int16))
    yield _one(f, "nothing", np.zeros(0, F32))
    yield _one(f, "subnormal and smallest numbers", np.array([5e-324, -1e-310, 2.0**-1022], F64))
    yield _one(f, "huge", np.array([1e308, -1e308], F64), "exp-overflows")


def _if_wide(dtype: type[Any]) -> list[str]:
    return [] if dtype is F16 else [_CONFIDENT[dtype]]  # float16 is computed in float32


def _steep(dtype: type[Any]) -> list[str]:
    return [] if dtype is F16 else ["confident-gradient"]


# -- losses with classes ---------------------------------------------------------------------------


def _class_grid(f: str) -> Iterator[Case]:
    """Every kind of target and option, under every reduction, in every dtype and some shape."""
    kinds = ["index", "weight", "ignore", "where"]
    if f == "cross_entropy":
        kinds += ["smoothing", "smoothing weight", "soft", "soft weight", "soft smoothing", "one-hot"]
    layouts: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((2, 3), {}),
        ((3,), {}),
        ((2, 3, 2), {}),
        ((2, 2, 3), {"axis": -1}),
        ((3, 4), {"axis": 0}),
    ]
    turns = cycle(layouts)
    integers = cycle([np.int64, np.int32, np.uint8, np.int8])
    for n, (kind, dtype, reduction) in enumerate(product(kinds, FLOATS, REDUCTIONS)):
        (shape, options), d = next(turns), _Draw(f"{f} {n}", dtype, fine=n % 4 == 0)
        axis = options.get("axis", min(len(shape) - 1, 1)) % len(shape)
        places, K = shape[:axis] + shape[axis + 1 :], shape[axis]
        x = d.array(*shape, low=-6, high=-0.0625) if f == "nll_loss" else d.array(*shape)
        labels = d.labels(K, *places).astype(next(integers))
        target: Array = labels
        options = {**options, "reduction": reduction}
        if "soft" in kind:
            target = d.distribution(shape, axis)
        if kind == "one-hot":
            one_hot: Array = np.eye(K)[labels]
            target = np.moveaxis(one_hot, -1, axis).astype(dtype)
        if "weight" in kind:
            options["weight"] = d.positive(K).astype(F64 if n % 2 else dtype)
        if "smoothing" in kind:
            options["label_smoothing"] = (0.1, 0.25, 1.0)[n % 3]
        if kind == "where" and places:
            options["where"] = d.mask(*places)
        if kind == "ignore":
            target = target.astype(np.int64)
            target[(0,) * target.ndim if places else ()] = -100
        g = None
        if n % 2:
            g = d.array(*places) if reduction == "none" else d.array()
        yield _two(f, f"{kind}, {reduction}", x, target, g=g, **options)


def _class_bugs(f: str) -> Iterator[Case]:
    """What `nll_loss` and `cross_entropy` have in common."""
    for dtype in (F64, F32):
        d = _Draw(f"{f} bugs {dtype.__name__}", dtype)
        x = d.array(3, 3, low=-6, high=-0.0625) if f == "nll_loss" else d.array(3, 3)
        w = np.array([0.5, 1, 3], dtype)
        dirty = x.copy()
        dirty[1] = [NAN, INF, -INF]
        ignored = np.array([2, -100, 1])
        yield _two(f, "everything is ignored", x, [-100, -100, -100], "all-ignored")
        yield _two(f, "everything is masked out", x, [0, 1, 2], "all-ignored", where=np.array(False))
        yield _two(f, "weights that are 0", x, [1, 1, 1], "all-ignored", weight=np.array([1, 0, 1], dtype))
        yield _two(f, "everything is ignored: the sum is 0", x, [-100, -100, -100], reduction="sum")
        yield _two(f, "an empty batch", np.zeros((0, 3), dtype), np.zeros(0, np.int64), "all-ignored")
        yield _two(f, "the mean with weights", x, [0, 2, 2], "weight-in-denominator", weight=w)
        yield _two(f, "one ignored position", x, ignored, "ignored-in-denominator", "ignored-gradient-leaks")
        yield _two(
            f, "one position is masked out", x, [2, 0, 1], "ignored-in-denominator", where=ignored >= 0
        )
        yield _two(f, "an ignored row holds anything", dirty, ignored, "ignored-row-holds-nan")
        yield _two(f, "a masked row and its label hold anything", dirty, [2, 999, 1], where=ignored >= 0)
        yield _two(f, "ignore_index is a class", x, [0, 1, 0], "ignore-index-in-range", ignore_index=0)
        yield _two(f, "ignore_index is the last class", x, [2, 1, 0], "ignore-index-in-range", ignore_index=2)
        yield _two(f, "a label below 0", x, [0, -1, 1], "label-wraps", refused="IndexError")
        yield _two(f, "a label of K", x, [0, 3, 1], refused="IndexError")
        yield _two(f, "the mean's gradient", x, [2, 0, 1], "mean-gradient-is-the-sums")
        yield _two(
            f, "the weights' gradient", x, [0, 2, 2], "weight-missing-in-gradient", weight=w, reduction="sum"
        )
        g = np.array([1, -0.5, 0], dtype)
        yield _two(
            f, "a gradient from above for each", x, [0, 2, 1], "upstream-forgotten", g=g, reduction="none"
        )
        yield _two(f, "a gradient from above", x, [0, 2, 1], "upstream-forgotten", g=np.asarray(3, dtype))
        yield _two(f, "a weight below 0", x, [0, 1, 2], weight=np.array([-1, 3, 2], dtype), reduction="sum")
        impossible = np.array([[0, -INF, 0]], dtype)
        yield _two(
            f, "the target cannot be", impossible, [1], *(["target-at-minus-inf"] if f != "nll_loss" else [])
        )
        zero = np.array([1, 0, 1], dtype)
        yield _two(
            f,
            "what cannot be weighs nothing",
            impossible,
            [1],
            "zero-times-inf",
            weight=zero,
            reduction="sum",
        )


def _nll_loss() -> Iterator[Case]:
    f = "nll_loss"
    yield from _class_grid(f)
    yield from _class_bugs(f)
    bad = np.array([[-1, NAN], [-2, -0.5]], F64)
    yield _two(f, "a NaN that is picked, and one that is not", bad, [1, 0], reduction="none")
    yield _two(f, "a NaN that is not picked", bad, [0, 0])
    yield _two(
        f, "a weight of 0 does not hide a NaN", bad, [1, 0], weight=np.array([1.0, 0.0]), reduction="sum"
    )
    yield _two(f, "what is certain costs 0", np.array([[0.0, -INF]]), [0])
    yield _two(f, "no log-probabilities: signs differ", np.array([[2.5, -1], [-2.25, 1]], F32), [0, 0])
    half = np.full((6, 2), -0.25, F16)
    half[0] = -2048
    yield _two(f, "a sum past 2048", half, [0] * 6, "half-precision-sum", reduction="sum")
    large = np.full((3, 2), -30000, F16)
    yield _two(f, "a mean whose sum overflows", large, [0, 1, 0], "half-precision-sum")
    ruled = np.array([float(v) for v in exact.log_softmax([0, 50], digits=30)])
    yield _two(f, "log-probabilities of [0, 50]", ruled, 1)


def _cross_entropy() -> Iterator[Case]:
    f = "cross_entropy"
    yield from _class_grid(f)
    yield from _class_bugs(f)
    for dtype in FLOATS:
        margin, far = _MARGIN[dtype], _FAR[dtype]
        sure = np.array([[0, margin], [margin, 0]], dtype)
        yield _two(f, "sure and right", sure, [1, 0], _CONFIDENT[dtype], reduction="none")
        yield _two(f, "sure and right", sure, [1, 0], *_steep(dtype), _CONFIDENT[dtype])
        yield _two(
            f, "sure and right, as probabilities", sure, np.eye(2, dtype=dtype)[[1, 0]], _CONFIDENT[dtype]
        )
        yield _two(
            f, "sure and wrong", np.array([0, far], dtype), 0, "underflow-then-log", "target-at-minus-inf"
        )
        yield _two(f, "large", np.array([far, far - 1], dtype), 1, "exp-overflows")
        yield _two(f, "ties", np.array([[2, 2], [1, 1]], dtype), [0, 1], "tied-maximum")
        apart = np.array([[0, 1, 2], [far, 0, 0]], dtype)
        yield _two(f, "rows far apart", apart, [1, 0], "global-maximum", reduction="none")
        bad = np.array([[0, NAN], [0, 1], [INF, 0], [-INF, -INF]], dtype)
        yield _two(f, "NaN, inf and only -inf", bad, [0, 0, 0, 0], "nan-stays-in-row", reduction="none")
        masked = np.array([[0, 1, -INF]], dtype)
        one_hot = np.array([[0, 1, 0]], dtype)
        yield _two(f, "a masked class, one-hot target", masked, one_hot, "zero-times-inf")
        yield _two(f, "a masked class, index target", masked, [1])
        weight = np.array([1, 1, 0], dtype)
        yield _two(
            f,
            "a masked class of weight 0, smoothed",
            masked,
            [1],
            "zero-times-inf",
            weight=weight,
            label_smoothing=0.125,
        )
        yield _two(f, "a masked class, smoothed", masked, [1], label_smoothing=0.125)
        yield _two(f, "one class", np.array([[3], [-2]], dtype), [0, 0])
    for dtype, offset in ((F32, 1e8), (F64, 1e15), (F32, 1e30), (F64, 1e300)):
        step = float(np.spacing(dtype(offset)))
        z: Array = np.array([[offset, offset + step, offset - step / 2]], F64).astype(dtype)
        flags = ["common-offset"] if offset < 1e20 else []
        yield _two(f, f"an offset of {offset:g}", z, [0], *flags)
        yield _two(f, f"an offset of -{offset:g}", -z, [1], *flags)
    for dtype in (F64, F32):
        d = _Draw(f"{f} more {dtype.__name__}", dtype)
        z, w = d.array(2, 3), np.array([0.5, 1, 3], dtype)
        q = d.distribution((2, 3), 1)
        yield _two(f, "the mean with weights, as probabilities", z, q, "weight-in-denominator", weight=w)
        yield _two(f, "smoothing", z, [0, 2], "smoothing-spread", label_smoothing=0.125)
        yield _two(f, "smoothing and weights", z, [0, 2], "smoothing-weight", label_smoothing=0.125, weight=w)
        yield _two(f, "all is smoothing", z, [0, 2], "smoothing-spread", label_smoothing=1.0)
        yield _two(f, "ordinary logits", z * 2, [0, 2], "softmax-twice")
        yield _two(f, "as many classes as columns", d.array(2, 3, 3), d.labels(3, 2, 3), "class-axis")
        yield _two(
            f,
            "near the optimum of a soft target",
            np.array([[0, 0, 0.001]], dtype),
            np.full((1, 3), 1 / 3, dtype),
        )
        yield _two(f, "at the optimum", np.array([[1, 1]], dtype), np.array([[0.5, 0.5]], dtype))
        none = np.zeros((2, 3), dtype)
        yield _two(f, "nothing is asked", z, none, reduction="sum")
        yield _two(f, "probabilities that do not sum to 1", z, q * 2, reduction="none")
        dirty = z.copy()
        dirty[0] = NAN
        keep = np.array([False, True])
        yield _two(
            f,
            "masked out, as probabilities",
            dirty,
            q,
            "ignored-row-holds-nan",
            "ignored-in-denominator",
            where=keep,
        )
        mask = np.array([[True], [False]])
        yield _two(f, "where broadcasts", d.array(2, 3, 2), d.labels(3, 2, 2), where=mask)
        yield _two(f, "a vocabulary", d.array(1, 16), [7])
        for smoothing in (-0.1, 1.1, NAN):
            yield _two(
                f, f"smoothing of {smoothing}", z, [0, 2], refused="ValueError", label_smoothing=smoothing
            )
    half = np.zeros((6, 2), F16)
    half[0] = [2048, 0]
    yield _two(f, "a sum past 2048", half, [1] * 6, "half-precision-sum", reduction="sum")
    large = np.array([[30000, 0]] * 3, F16)
    yield _two(f, "a mean whose sum overflows", large, [1, 1, 1], "half-precision-sum")
    yield _two(f, "a loss that overflows float16", np.array([60000, -60000], F16), 1)
    d = _Draw(f"{f} dtype", F32, fine=True)
    z = d.array(2, 3)
    yield _two(f, "float32 in, float64 out", z, [0, 2], "dtype-afterwards", dtype="float64")
    yield _two(f, "float32 in, float64 out, as probabilities", z, d.distribution((2, 3), 1), dtype="float64")
    yield _two(f, "integer logits", np.array([[3, 1, 0]], np.int32), [1])
    wide = np.array([[0.3, 0.7, 0.0]])
    yield _two(f, "float32 logits, float64 probabilities", z[:1], wide)
    yield _two(
        f, "losses below the normal numbers", np.array([[0, 100], [0, 90]], F32), [1, 1], reduction="none"
    )
    yield _two(
        f, "losses below the normal numbers", np.array([[0, 740], [0, 720]], F64), [1, 1], reduction="none"
    )


def _perplexity() -> Iterator[Case]:
    f = "perplexity"
    for n, dtype in enumerate(FLOATS):
        d = _Draw(f"{f} {n}", dtype, fine=True)
        z, w = d.array(3, 4), np.array([0.5, 1, 3, 2], dtype)
        yield _two(f, "ordinary logits", z, d.labels(4, 3))
        yield _two(f, "weights", z, [0, 2, 2], "weight-in-denominator", weight=w)
        yield _two(f, "an ignored position", z, [0, -100, 2], "ignored-in-denominator")
        yield _two(f, "a guess among four", np.zeros((2, 4), dtype), [1, 3])
        yield _two(f, "everything is ignored", z, [-100] * 3, "all-ignored")
        flags = [] if dtype is F16 else ["target-at-minus-inf"]  # exp(27.6) is inf in float16
        yield _two(f, "the target cannot be", np.array([[0, -INF]], dtype), [1], *flags)


# -- the binary loss -------------------------------------------------------------------------------


def _binary() -> Iterator[Case]:
    f = BINARY
    shapes = cycle([(3,), (2, 2), (), (2, 1, 2)])
    kinds = ("plain", "weight", "pos_weight", "both", "where", "soft")
    for n, (kind, dtype, reduction) in enumerate(product(kinds, FLOATS, REDUCTIONS)):
        shape, d = next(shapes), _Draw(f"{f} {n}", dtype, fine=n % 4 == 0)
        z = d.array(*shape)
        y: Array = d.labels(2, *shape).astype([dtype, np.int64, np.bool_][n % 3])
        options: dict[str, Any] = {"reduction": reduction}
        if kind in ("weight", "both"):
            options["weight"] = d.positive(*shape[-1:]).astype(dtype)
        if kind in ("pos_weight", "both"):
            options["pos_weight"] = d.positive(*shape).astype(dtype)
        if kind == "where" and shape:
            options["where"] = d.mask(*shape)
        if kind == "soft":
            y = d.array(*shape, low=0, high=1)
        g = None
        if n % 2:
            g = d.array(*shape) if reduction == "none" else d.array()
        yield _two(f, f"{kind}, {reduction}", z, y, g=g, **options)
    for dtype in FLOATS:
        m, far = _MARGIN[dtype], _FAR[dtype]
        sure, right = np.array([-m, m], dtype), np.array([0, 1], dtype)
        yield _two(f, "sure and right", sure, right, *_if_wide(dtype), *_steep(dtype))
        yield _two(f, "sure and right, one by one", sure, right, *_if_wide(dtype), reduction="none")
        yield _two(
            f,
            "sure and wrong",
            np.array([-far, far], dtype),
            right[::-1],
            "underflow-then-log",
            "exp-overflows",
        )
        limits, labels = np.array([INF, -INF], dtype), np.array([1, 0], dtype)
        yield _two(
            f,
            "infinite and right",
            limits,
            labels,
            "zero-times-inf",
            "binary-infinite-logit",
            reduction="none",
        )
        yield _two(f, "infinite and wrong", limits, 1 - labels, "target-at-minus-inf", reduction="none")
        z = np.array([0.5, -1.25, 2], dtype)
        y = np.array([1, 0, 0], dtype)
        pw = np.array([3, 3, 0.5], dtype)
        yield _two(
            f,
            "a weight of the positives",
            z,
            y,
            "pos-weight-on-negatives",
            "pos-weight-missing-in-gradient",
            pos_weight=pw,
        )
        yield _two(f, "the mean with weights", z, y, "weight-in-denominator", weight=pw)
        keep = np.array([True, False, True])
        yield _two(f, "one element is masked out", z, y, "ignored-in-denominator", where=keep)
        dirty = np.array([0.5, NAN, 2], dtype)
        yield _two(f, "a masked element holds anything", dirty, y, "ignored-row-holds-nan", where=keep)
        yield _two(f, "everything is masked out", z, y, "all-ignored", where=np.array(False))
        yield _two(f, "a NaN", dirty, y, reduction="none")
        yield _two(f, "at the optimum of a soft target", np.zeros(2, dtype), np.array([0.5, 0.25], dtype))
        near = 10 if dtype is F16 else 20
        soft = np.array([0.999, 0.001], dtype)
        yield _two(f, "next to certain targets", np.array([near, -near], dtype), soft)
        yield _two(f, "nothing", np.zeros(0, dtype), np.zeros(0, dtype), "all-ignored")
        zero = np.array([0, 1, 1], dtype)
        yield _two(f, "weights of 0", z, y, weight=zero, pos_weight=zero)
    half = np.array([2048, 0, 0, 0, 0, 0], F16)
    yield _two(f, "a sum past 2048", half, np.zeros(6, F16), "half-precision-sum", reduction="sum")
    yield _two(
        f, "a mean whose sum overflows", np.full(3, 30000, F16), np.zeros(3, F16), "half-precision-sum"
    )
    yield _two(
        f, "float32 in, float64 out", np.array([0.1, -3.3], F32), np.array([0.0, 1.0], F32), dtype="float64"
    )
    yield _two(f, "integer logits", np.array([-2, 3]), np.array([1, 1]))
    sure = np.array([-40, 50], F64)
    yield _two(
        f, "sure and right, added", sure, np.array([False, True]), "confident-float64", reduction="sum"
    )


# -- measures --------------------------------------------------------------------------------------


def _measures(f: str) -> Iterator[Case]:
    def case(comment: str, p: Array, q: Array, *flags: str, **options: Any) -> Case:
        arguments = {"p": p} if f == "entropy" else {"p": p, "q": q}
        return Case(f, comment, arguments, options, None, flags)

    for n, dtype in enumerate(FLOATS):
        d = _Draw(f"{f} {n}", dtype)
        p, q = d.distribution((2, 4), 1), (d.distribution((2, 4), 1) + dtype(0.25)) / 2
        yield case("sixteenths", p, q)
        yield case("along the first axis", p.T.copy(), q.T.copy(), axis=0)
        yield case("a guess", np.full(4, 0.25, dtype), np.array([0.125, 0.125, 0.25, 0.5], dtype))
        certain = np.array([[1, 0], [0, 1]], dtype)
        yield case("certain", certain, np.array([[0.5, 0.5], [0.25, 0.75]], dtype), "zero-times-inf")
        if f == "kl_divergence":
            yield case("of itself", p, p)
            near = np.array([0.5, 0.5 - 2.0**-9], dtype)
            yield case("of neighbours", near, near[::-1].copy())
            impossible = np.array([0.5, 0.5], dtype), np.array([1, 0], dtype)
            flags = [] if dtype is F16 else ["target-at-minus-inf"]
            yield case("what cannot be and is", *impossible, *flags)
        yield case("a NaN", np.array([[0.5, NAN], [0.5, 0.5]], dtype), np.full((2, 2), 0.5, dtype))


_CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "cross_entropy": _cross_entropy,
    BINARY: _binary,
    "nll_loss": _nll_loss,
    "log_softmax": lambda: _softmaxes("log_softmax"),
    "softmax": lambda: _softmaxes("softmax"),
    "logsumexp": _logsumexp,
    "softplus": lambda: _elementwise("softplus"),
    "log_sigmoid": lambda: _elementwise("log_sigmoid"),
    "sigmoid": lambda: _elementwise("sigmoid"),
    "perplexity": _perplexity,
    "entropy": lambda: _measures("entropy"),
    "kl_divergence": lambda: _measures("kl_divergence"),
}
FUNCTIONS = tuple(_CASES)
