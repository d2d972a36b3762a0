"""The ulp meter: how far every function and gradient is from the exact answer, on this machine.

Functions x regimes of inputs x dtypes, against a fast reference with 100 bits. A *cell* is one
function in one variant (its options, its reduction) on one regime in one dtype, over all class
counts; it holds the worst entry that was found there. Distances are in ulps of the true value. Where
the problem itself cancels they are in ulps of the largest term (``logsumexp``, soft targets, the
gradient of the binary loss) or of the sum of the terms' magnitudes (``softmax_grad``,
``log_softmax_grad``, ``entropy``, ``kl_divergence``); entries whose value, or a factor of it, is not a normal
number are left out.

The meter knows public calls only. Pass the functions of another library, wrapped to be called
like those of this one, and it measures them the same way::

    measure(["softmax"], implementation={"softmax": scipy.special.softmax})
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import crossent
from crossent.testing import _reference as reference
from crossent.testing._limits import limit
from crossent.testing._pairs import Pairs, pairs, where
from crossent.testing._reference import Rows, Truth, plain, pulled, reduced

__all__ = ["FUNCTIONS", "REGIMES", "Cell", "dispatched_features", "measure", "measure_in_turn"]

Array: TypeAlias = npt.NDArray[Any]
Implementation: TypeAlias = Mapping[str, Callable[..., Any]]

CLASSES = (2, 3, 5, 10, 33, 130, 1000)
_LONG, _LONG_FROM = 50257, 2000  # a language model's vocabulary, from this size on
_THRESHOLDS = (-745.0, -708.0, -104.0, -103.0, -88.0, -87.0, 0.0, 88.0, 89.0, 709.0)
_SMOOTHING = 0.1
_MANY_ROWS = 40_000
_QUICK, _FULL = 1000, 2000
_DTYPES = ("float16", "float32", "float64")
_VARIABLE = "NPY_DISABLE_CPU_FEATURES"


# -- regimes ---------------------------------------------------------------------------------------
# Each returns logits (N, K) in float64 and the labels (N,); the logits are then rounded to the dtype.


@dataclass(frozen=True)
class Draw:
    """What a regime draws from: random numbers, a shape, and the format that it aims at."""

    rng: np.random.Generator
    rows: int
    classes: int
    dtype: np.dtype[Any]

    @property
    def info(self) -> np.finfo[Any]:
        """Limits of the format."""
        return np.finfo(self.dtype)

    @property
    def far(self) -> float:
        """Where ``exp(-x)`` leaves the normal numbers."""
        return -float(np.log(self.info.tiny.astype(np.float64)))

    def normal(self, scale: float = 1.0) -> Array:
        return scale * self.rng.standard_normal((self.rows, self.classes))

    def uniform(self, low: float, high: float) -> Array:
        return self.rng.uniform(low, high, (self.rows, self.classes))

    def column(self, low: float, high: float) -> Array:
        return self.rng.uniform(low, high, (self.rows, 1))

    def labels(self) -> Array:
        return self.rng.integers(0, self.classes, self.rows)

    def others(self, y: Array) -> Array:
        """A class that is not `y`, if there are two."""
        return (y + self.rng.integers(1, max(2, self.classes), self.rows)) % self.classes


Logits: TypeAlias = tuple[Array, Array]


def _scale(scale: float) -> Callable[[Draw], Logits]:
    return lambda d: (d.normal(scale), d.labels())


def _offset(offset: float) -> Callable[[Draw], Logits]:
    """Logits around a number that is the same for a row, of either sign; apart by ulps of it at least."""

    def logits(d: Draw) -> Logits:
        c = min(offset, float(d.info.max) / 4)
        step = max(1.0, c * float(d.info.eps))
        return d.column(-c, c) + d.normal(step), d.labels()

    return logits


def _margins(d: Draw) -> tuple[Array, Array, Array]:
    """Logits, labels and margins (N,) that reach from 0 to beyond the smallest subnormal."""
    margin = d.rng.permutation(np.linspace(0, 1.1 * d.far, d.rows))
    return d.normal(), d.labels(), margin


def _confident_right(d: Draw) -> Logits:
    z, y, margin = _margins(d)
    z[np.arange(d.rows), y] = z.max(axis=1) + margin
    return z, y


def _confident_wrong(d: Draw) -> Logits:
    z, y, margin = _margins(d)
    z[np.arange(d.rows), d.others(y)] = z.max(axis=1) + margin
    return z, y


def _ties(d: Draw) -> Logits:
    return np.round(d.normal()), d.labels()


def _tiny_differences(d: Draw) -> Logits:
    """A few ulps apart, around numbers of all sizes."""
    c = d.column(-1, 1) * 10.0 ** np.round(d.column(-3, 3))
    return c + np.abs(c) * float(d.info.eps) * np.round(d.normal(3)), d.labels()


def _masked(d: Draw) -> Logits:
    """Half of the classes are switched off, never the label's."""
    z, y = d.normal(3), d.labels()
    z[(d.uniform(0, 1) < 0.5) & (np.arange(d.classes) != y[:, np.newaxis])] = -np.inf
    return z, y


def _near_subnormal(d: Draw) -> Logits:
    """One class has it all; the others' probabilities are around the smallest normal number."""
    z = d.column(-5, 5) - d.uniform(d.far - 12, d.far + 3)
    y = d.labels()
    z[np.arange(d.rows), np.where(d.rng.random(d.rows) < 0.5, y, d.others(y))] += d.far
    return z, y


def _wide_probabilities(d: Draw) -> Logits:
    """Probabilities of all sizes down to the smallest normal number."""
    return -d.uniform(0, d.far), d.labels()


def _huge(d: Draw) -> Logits:
    """So far apart that exp knows 0 and 1 only; sums of losses may overflow, the logits' differences not."""
    return d.normal(float(d.info.max) ** 0.8), d.labels()


def _thresholds(d: Draw) -> Logits:
    """Around the arguments at which exp overflows, leaves the normal numbers, or becomes 0."""
    at = d.rng.choice(_THRESHOLDS, size=(d.rows, 1))
    return np.where(d.uniform(0, 1) < 0.7, at, 0) + d.normal(2), d.labels()


def _negative(d: Draw) -> Logits:
    return -np.abs(d.normal(5)) - 1, d.labels()


def _log_probabilities(d: Draw) -> Logits:
    """Logits that are normalised already: logsumexp cancels to almost 0."""
    p = d.rng.dirichlet(np.full(d.classes, 0.7), d.rows)
    return np.log(np.maximum(p, 1e-30)), d.labels()


def _constant(d: Draw) -> Logits:
    return np.repeat(d.column(-30, 30), d.classes, axis=1), d.labels()


def _competitor(d: Draw) -> Logits:
    """Two classes that matter, at any distance, among others that hardly do."""
    z, y = d.normal() - d.column(20, 60), d.labels()
    z[np.arange(d.rows), y] = 0
    z[np.arange(d.rows), d.others(y)] = d.rng.uniform(-40, 40, d.rows)
    return z + d.column(-2, 2), y


def _wide(width: float) -> Callable[[Draw], Logits]:
    return lambda d: (d.uniform(-width, width), d.labels())


def _mixed_rows(d: Draw) -> Logits:
    """Easy, hard and ordinary rows under one reduction."""
    y = d.labels()
    z = d.normal() * 10 ** d.column(-1, 1)
    z[np.arange(d.rows), y] += d.rng.choice([-40, 0, 2, 10, 40], d.rows)
    return z, y


MANY_ROWS = "40,000 rows"
REGIMES: dict[str, Callable[[Draw], Logits]] = {
    "scale 1e-3": _scale(1e-3),
    "scale 0.1": _scale(0.1),
    "scale 1": _scale(1.0),
    "scale 10": _scale(10.0),
    "scale 100": _scale(100.0),
    "confident right": _confident_right,
    "confident wrong": _confident_wrong,
    "ties": _ties,
    "offset 1e2": _offset(1e2),
    "offset 1e4": _offset(1e4),
    "offset 1e30": _offset(1e30),
    "tiny differences": _tiny_differences,
    "masked": _masked,
    "near subnormal": _near_subnormal,
    "wide probabilities": _wide_probabilities,
    "huge": _huge,
    "thresholds of exp": _thresholds,
    "all negative": _negative,
    "log-probabilities": _log_probabilities,
    "constant rows": _constant,
    "one competitor": _competitor,
    "uniform 40": _wide(40.0),
    "uniform 700": _wide(700.0),
    "mixed rows": _mixed_rows,
    MANY_ROWS: _mixed_rows,
}


# -- calls -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One call of a public function, and what it should return."""

    function: str
    variant: str
    inputs: dict[str, Any]  # by position
    options: dict[str, Any]  # by name
    truth: Callable[[], Truth]

    def row(self, entry: tuple[int, ...]) -> dict[str, Any]:
        """Arguments that belong to the row of an entry; for a mean or a sum, those that are short."""
        arguments = {**self.inputs, **self.options}
        if not entry:
            return {name: a for name, a in arguments.items() if np.size(a) <= 64}
        x = next(iter(self.inputs.values()))

        def one(name: str, a: Any) -> Any:
            of_classes = name == "weight" and a.shape != x.shape
            return a[entry[0] :][:1] if np.shape(a)[:1] == x.shape[:1] and not of_classes else a

        return {name: one(name, a) for name, a in arguments.items()}


def _loss_calls(
    function: str,
    kind: str,
    inputs: dict[str, Array],
    options: dict[str, Any],
    loss: Callable[[], Truth],
    grad: Callable[[], Truth],
    count: Pairs,
    g: Array,
) -> Iterator[Call]:
    """A loss and its gradient under every reduction; `g` are cotangents of the positions."""
    loss, grad = cache(loss), cache(grad)
    for reduction in ("none", "mean", "sum"):
        options = {**options, "reduction": reduction}
        truth = partial(_reduced, loss, reduction, count)
        yield Call(function, f"{kind}, {reduction}", inputs, options, truth)
        for name, up in (("", None), (", g", g if reduction == "none" else g[0])):
            truth = partial(_pulled, grad, reduction, count, None if up is None else pairs(up))
            more = options if up is None else {**options, "grad_output": up}
            yield Call(f"{function}_grad", f"{kind}, {reduction}{name}", inputs, more, truth)


def _reduced(loss: Callable[[], Truth], *options: Any) -> Truth:
    return reduced(loss(), *options)


def _pulled(grad: Callable[[], Truth], *options: Any) -> Truth:
    return pulled(grad(), *options)


def _factors(d: Draw, *shape: int, signed: bool = False) -> Array:
    """Weights and cotangents, in the dtype."""
    sign = d.rng.choice([-1, 1], shape) if signed else 1
    return (sign * d.rng.uniform(0.2, 4, shape)).astype(d.dtype)


def _class_calls(d: Draw, z: Array, y: Array) -> Iterator[Call]:
    """What has a class axis: page 1, and the losses of pages 3 and 4."""
    N, K = z.shape
    rows = cache(lambda: Rows(z))
    x, logits = {"x": z}, {"logits": z, "target": y}
    g, g_rows, w = _factors(d, N, K, signed=True), _factors(d, N, signed=True), _factors(d, K)
    one_hot = (np.arange(K) == y[:, np.newaxis]).astype(d.dtype)

    yield Call("logsumexp", "", x, {}, lambda: rows().logsumexp())
    yield Call("logsumexp_grad", "", x, {}, lambda: plain(rows().p))
    yield Call(
        "logsumexp_grad", "g", x, {"grad_output": g_rows},
        lambda: plain(rows().p).times(pairs(g_rows).expand(1)),
    )  # fmt: skip
    yield Call("softmax", "", x, {}, lambda: plain(rows().p))
    yield Call("log_softmax", "", x, {}, lambda: plain(-rows().loss))
    loss, grad = cache(lambda: rows().label_loss(y)), cache(lambda: rows().label_grad(y))
    for name, up in (("", None), ("g", g), ("one-hot g", one_hot)):
        options = {} if up is None else {"grad_output": up}
        cotangent = pairs(np.ones_like(z) if up is None else up)
        yield Call("softmax_grad", name, x, options, partial(_softmax_grad, rows, cotangent))
        truth = partial(_log_softmax_grad, rows, cotangent)
        if up is one_hot:  # [k = y] - p: the page promises all digits of it
            truth = partial(_times, grad, pairs(-1))
        yield Call("log_softmax_grad", name, x, options, truth)

    ones, w_y = pairs(np.ones(N)), pairs(w[y])
    yield from _loss_calls("cross_entropy", "index", logits, {}, loss, grad, ones.sum(), g_rows)
    yield from _loss_calls(
        "cross_entropy", "weight", logits, {"weight": w},
        lambda: loss().times(w_y), lambda: grad().times(w_y.expand(1)), w_y.sum(), g_rows,
    )  # fmt: skip
    probabilities = {"logits": z, "target": one_hot}
    yield from _loss_calls("cross_entropy", "one-hot", probabilities, {}, loss, grad, ones.sum(), g_rows)

    q = _targets(d, rows().p)
    s = pairs(_SMOOTHING)
    spread = s / pairs(K)
    smooth = pairs(one_hot) * (pairs(1) - s) + spread
    probabilities = {"logits": z, "target": q}
    smoothing: dict[str, Any] = {"label_smoothing": _SMOOTHING}
    for kind, inputs, options, t, count in (
        ("smoothing", logits, smoothing, smooth, ones),
        ("smoothing, weight", logits, {**smoothing, "weight": w}, smooth, w_y),
        ("soft", probabilities, {}, pairs(q), ones),
        ("soft, weight", probabilities, {"weight": w}, pairs(q), ones),
        ("soft, smoothing", probabilities, smoothing, pairs(q) * (pairs(1) - s) + spread, ones),
    ):
        target = plain(t).times(pairs(w)) if "weight" in options else plain(t)
        yield from _loss_calls(
            "cross_entropy", kind, inputs, options,
            partial(_soft_loss, rows, target), partial(_soft_grad, rows, target), count.sum(), g_rows,
        )  # fmt: skip

    for name, options, count in (("index", {}, ones), ("weight", {"weight": w}, w_y)):
        yield Call(
            "perplexity", name, logits, options,
            partial(_perplexity, loss, pairs(w[y] if options else np.ones(N)), count.sum()),
        )  # fmt: skip

    lp = (-rows().loss).to_float().astype(d.dtype)
    inputs = {"log_probs": lp, "target": y}
    picked = plain(pairs(-lp[np.arange(N), y]))
    at_y = plain(pairs(-one_hot))
    yield from _loss_calls("nll_loss", "index", inputs, {}, lambda: picked, lambda: at_y, ones.sum(), g_rows)
    yield from _loss_calls(
        "nll_loss", "weight", inputs, {"weight": w},
        lambda: picked.times(w_y), lambda: at_y.times(w_y.expand(1)), w_y.sum(), g_rows,
    )  # fmt: skip


def _softmax_grad(rows: Callable[[], Rows], g: Pairs) -> Truth:
    return rows().softmax_grad(g)


def _log_softmax_grad(rows: Callable[[], Rows], g: Pairs) -> Truth:
    return rows().log_softmax_grad(g)


def _times(truth: Callable[[], Truth], *factors: Pairs) -> Truth:
    return truth().times(*factors)


def _soft_loss(rows: Callable[[], Rows], target: Truth) -> Truth:
    return rows().soft_loss(target)


def _soft_grad(rows: Callable[[], Rows], target: Truth) -> Truth:
    return rows().soft_grad(target)


def _perplexity(loss: Callable[[], Truth], w: Pairs, count: Pairs) -> Truth:
    return reference.perplexity(reduced(loss().times(w), "mean", count))


def _targets(d: Draw, p: Pairs) -> Array:
    """Target distributions: at the optimum, anywhere, and nearly all of it on one class; 0 where p is."""
    random = d.rng.dirichlet(np.full(d.classes, 0.7), d.rows)
    peaked = (np.arange(d.classes) == d.labels()[:, np.newaxis]) * (1 - 2.0**-10) + random * 2.0**-10
    kinds = np.stack([p.to_float(), random, peaked])
    q = kinds[np.arange(d.rows) % 3, np.arange(d.rows)]
    return np.where(p.hi == 0, 0, q).astype(d.dtype)


def _information_calls(d: Draw, z: Array, y: Array) -> Iterator[Call]:
    """Distributions from the logits; others that are neighbours of them, or anywhere."""
    exact = Rows(z).p.to_float()
    p = exact.astype(d.dtype)
    near = exact * (1 + float(d.info.eps) * np.round(d.normal(2)))
    q = np.stack([near, exact[:, ::-1], _targets(d, pairs(exact))])[np.arange(d.rows) % 3, np.arange(d.rows)]
    q = q.astype(d.dtype)
    for spread, others in (("all", d.classes), ("others", d.classes - 1)):
        s = float(d.rng.random())
        rest = pairs(s) / pairs(others)
        own = pairs(1) - pairs(s) + (rest if spread == "all" else pairs(0))
        at_y = np.arange(d.classes) == y[:, np.newaxis]
        yield Call(
            "smooth_labels", spread, {"target": y, "num_classes": d.classes, "smoothing": s},
            {"spread": spread, "dtype": d.dtype}, partial(plain, where(at_y, own, rest)),
        )  # fmt: skip
    yield Call("entropy", "", {"p": p}, {}, lambda: reference.entropy(pairs(p)))
    yield Call("kl_divergence", "", {"p": p, "q": q}, {}, lambda: reference.kl_divergence(pairs(p), pairs(q)))


def _elementwise_calls(d: Draw, z: Array, y: Array) -> Iterator[Call]:
    """Two classes are one logit, their difference; and each logit by itself."""
    difference = z[:, 1] - z[:, 0]
    x = np.concatenate([z[:, 0], np.where(np.isfinite(difference), difference, 0)])
    y = np.concatenate([1 - y, y]).astype(d.dtype)
    n = len(x)
    rows = cache(lambda: Rows(np.stack([np.zeros_like(x), x], axis=1)))  # class 1 is yes
    g = _factors(d, n, signed=True)
    for function, value, slope in (
        ("softplus", lambda: rows().loss[:, 0], lambda: rows().p[:, 1]),
        ("log_sigmoid", lambda: -rows().loss[:, 1], lambda: rows().p[:, 0]),
        ("sigmoid", lambda: rows().p[:, 1], lambda: rows().p[:, 0] * rows().p[:, 1]),
    ):
        yield Call(function, "", {"x": x}, {}, partial(_plain, value))
        yield Call(f"{function}_grad", "", {"x": x}, {}, partial(_plain, slope))
        yield Call(f"{function}_grad", "g", {"x": x}, {"grad_output": g}, partial(_plain, slope, pairs(g)))

    soft = d.rng.random(n).astype(d.dtype)
    w, pw = _factors(d, n), _factors(d, n)
    for kind, target, options in (
        ("labels", y, {}),
        ("soft", soft, {}),
        ("labels, weights", y, {"weight": w, "pos_weight": pw}),
        ("soft, weights", soft, {"weight": w, "pos_weight": pw}),
    ):
        yes, no = plain(pairs(target)), plain(pairs(1) - pairs(target))
        if options:
            yes, no = yes.times(pairs(pw), pairs(w)), no.times(pairs(w))
        yield from _loss_calls(
            "binary_cross_entropy_with_logits", kind, {"logits": x, "target": target}, options,
            partial(_binary_loss, rows, yes, no), partial(_binary_grad, rows, yes, no),
            pairs(n), g,
        )  # fmt: skip


def _plain(value: Callable[[], Pairs], *factors: Pairs) -> Truth:
    return plain(value()).times(*factors)


def _binary_loss(rows: Callable[[], Rows], yes: Truth, no: Truth) -> Truth:
    return yes.times(rows().loss[:, 1]).plus(no.times(rows().loss[:, 0]))


def _binary_grad(rows: Callable[[], Rows], yes: Truth, no: Truth) -> Truth:
    return no.times(rows().p[:, 1]).minus(yes.times(rows().p[:, 0]))


# -- cells -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One function and variant on one regime in one dtype.

    Attributes
    ----------
    function, variant, regime, dtype : str
        What was measured.
    ulp : float
        The largest distance found; ``inf`` for a number that is not finite, or not 0, where it should be.
    limit : float
        The most that the contract allows.
    count : int
        Entries measured: those whose value and factors are normal numbers.
    over : float
        Share of them beyond the limit.
    classes : int
        Number of classes where the worst entry was found.
    entry : tuple of int
        Its place in the result.
    arguments : dict
        The call's arguments for the row of the worst entry alone.
    """

    function: str
    variant: str
    regime: str
    dtype: str
    ulp: float = 0.0
    limit: float = np.inf
    count: int = 0
    over: float = 0.0
    classes: int = 0
    entry: tuple[int, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        return self.ulp <= self.limit

    def with_call(self, call: Call, actual: Any, classes: int) -> Cell:
        """Return this cell after one more call."""
        found = distances(actual, call.truth(), self.dtype)
        count = int(np.count_nonzero(~np.isnan(found)))
        if count == 0:
            return self
        total = self.count + count
        over = (self.over * self.count + np.count_nonzero(found > self.limit)) / total
        entry = tuple(int(i) for i in np.unravel_index(np.nanargmax(found), found.shape))
        ulp = float(found[entry])
        if self.count and ulp <= self.ulp:
            return replace(self, count=total, over=over)
        row = call.row(entry)
        return replace(
            self, count=total, over=over, ulp=ulp, classes=classes, entry=entry, arguments=row
        )  # fmt: skip


@np.errstate(all="ignore")
def distances(actual: npt.ArrayLike, truth: Truth, dtype: npt.DTypeLike) -> Array:
    """Distance of each entry in ulps of `dtype`, NaN for those that the contract says nothing of.

    Half precision is computed in float32: its factors may be as small as float32's.
    """
    a = np.asarray(actual, np.float64)
    value, scale, least = truth
    if a.shape != value.shape:
        raise ValueError(f"a result of shape {a.shape} where {value.shape} is due")
    info = np.finfo(dtype)
    half = np.dtype(dtype).itemsize == 2
    size = scale.floor_log2  # of the power of two below
    error = abs(pairs(a) - value)
    unit = np.maximum(size, info.minexp) - info.nmant
    ulps = np.ldexp(error.hi, np.clip(error.exponent - unit, -4000, 4000).astype(np.intc))
    ulps = np.where(np.isnan(ulps), np.inf, ulps)
    # An infinity is right where one is due, and where the number is as large as the largest.
    due = value.to_float()
    overflows = np.abs(due) >= float(info.max) * (1 - 4 * float(info.eps))
    ulps = np.where((a == due) | (overflows & np.isinf(a) & (np.sign(a) == np.sign(due))), 0, ulps)
    normal = (half | (size >= info.minexp)) & (least >= (-126 if half else info.minexp))
    nothing = (scale.hi == 0) & (value.hi == 0)  # is exactly 0
    ulps = np.where(nothing, np.where(a == 0, 0, np.inf), ulps)
    return np.where(normal | nothing | ~np.isfinite(value.hi), ulps, np.nan)


# Functions that share their inputs and the costly part of the reference.
Family: TypeAlias = Callable[[Draw, Array, Array], Iterator[Call]]
_FAMILIES: tuple[tuple[Family, tuple[str, ...]], ...] = (
    (
        _class_calls,
        (
            "logsumexp", "logsumexp_grad", "softmax", "softmax_grad", "log_softmax", "log_softmax_grad",
            "nll_loss", "nll_loss_grad", "cross_entropy", "cross_entropy_grad", "perplexity",
        ),
    ),
    (_information_calls, ("entropy", "kl_divergence", "smooth_labels")),
    (
        _elementwise_calls,
        (
            "softplus", "softplus_grad", "log_sigmoid", "log_sigmoid_grad", "sigmoid", "sigmoid_grad",
            "binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits_grad",
        ),
    ),
)  # fmt: skip
FUNCTIONS = tuple(name for _, names in _FAMILIES for name in names)


def measure(
    functions: Iterable[str] | None = None,
    *,
    dtypes: Iterable[npt.DTypeLike] = ("float32", "float64"),
    regimes: Iterable[str] | None = None,
    seed: int = 0,
    size: int = 3000,
    implementation: Implementation | None = None,
) -> list[Cell]:
    """Measure functions on every regime of inputs.

    Parameters
    ----------
    functions : iterable of str, optional
        Names of functions; a gradient's ends in ``_grad``. By default all of `FUNCTIONS`.
    dtypes : iterable of dtype, optional
        Of the inputs and the results: float16, float32, float64.
    regimes : iterable of str, optional
        By default all of `REGIMES`.
    seed : int, optional
        Other inputs for each.
    size : int, optional
        Entries of the logits of one regime and class count.
    implementation : mapping of str to callable, optional
        What to measure: called like the functions of this package, positional arguments first. A
        function that is missing, or raises NotImplementedError for a call, is left out.

    Returns
    -------
    list of Cell
        One for each function, variant, regime and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from crossent.testing.measure import measure
    >>> max(cell.ulp for cell in measure(["softmax"], regimes=["scale 1"], size=100)) <= 4
    True
    >>> naive = {"softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)}
    >>> cells = measure(regimes=["scale 1", "offset 1e4"], size=100, implementation=naive)
    >>> [(c.regime, c.ok) for c in cells if c.dtype == "float64"]
    [('scale 1', True), ('offset 1e4', False)]
    """
    batches = measure_in_turn(
        functions, dtypes=dtypes, regimes=regimes, seed=seed, size=size, implementation=implementation
    )
    return [cell for batch in batches for cell in batch]


def measure_in_turn(
    functions: Iterable[str] | None = None,
    *,
    dtypes: Iterable[npt.DTypeLike] = ("float32", "float64"),
    regimes: Iterable[str] | None = None,
    seed: int = 0,
    size: int = 3000,
    implementation: Implementation | None = None,
) -> Iterator[list[Cell]]:
    """Yield the cells of `measure` a few functions at a time, as they are done."""
    if implementation is None:
        implementation = {name: getattr(crossent, name) for name in FUNCTIONS}
    wanted = set(FUNCTIONS if functions is None else functions)
    if unknown := sorted(wanted - set(FUNCTIONS)):
        raise ValueError(f"functions must be among FUNCTIONS, got {unknown}")
    wanted &= set(implementation)
    for dtype_like in dtypes:
        dtype = np.dtype(dtype_like)
        for family, names in _FAMILIES:
            if wanted.isdisjoint(names):
                continue
            measured = [
                cell
                for regime in (REGIMES if regimes is None else regimes)
                for cell in _cells(family, implementation, wanted, regime, dtype, seed, size)
            ]
            yield sorted(measured, key=lambda cell: names.index(cell.function))


@np.errstate(all="ignore")
def _cells(
    family: Family,
    implementation: Implementation,
    wanted: set[str],
    regime: str,
    dtype: np.dtype[Any],
    seed: int,
    size: int,
) -> list[Cell]:
    """Cells of one regime."""
    cells: dict[tuple[str, str], Cell] = {}
    for call, K in _calls(family, regime, dtype, seed, size):
        if call.function not in wanted:
            continue
        try:
            actual = implementation[call.function](*call.inputs.values(), **call.options)
        except NotImplementedError:
            continue
        name = call.function, call.variant
        new = Cell(*name, regime, dtype.name, limit=limit(call.function, dtype))
        cells[name] = cells.get(name, new).with_call(call, actual, K)
    return list(cells.values())


def _calls(
    family: Family, regime: str, dtype: np.dtype[Any], seed: int, size: int
) -> Iterator[tuple[Call, int]]:
    """Every call on a regime, and its number of classes."""
    number = list(REGIMES).index(regime)
    shapes = [(max(2, size // K), K) for K in CLASSES]
    if size >= _LONG_FROM and (number + seed) % 3 == 0:  # costly: each regime in one of three seeds
        shapes.append((2, _LONG))
    if family is _elementwise_calls:
        shapes = [(size, 2)]
    if regime == MANY_ROWS:
        shapes = [(_MANY_ROWS, 2 if family is _elementwise_calls else 3)]
    for rows, K in shapes:
        rng = np.random.default_rng([seed, number, K, dtype.itemsize])
        draw = Draw(rng, rows, K, dtype)
        z, y = REGIMES[regime](draw)
        for call in family(draw, z.astype(dtype), y):
            yield call, K


# -- the command -----------------------------------------------------------------------------------


def dispatched_features(without: str | None = None) -> list[str]:
    """CPU features that this NumPy dispatches to on this machine.

    Parameters
    ----------
    without : {"avx512", "avx2"}, optional
        Only those that must be disabled to run without AVX-512, or without AVX2 (and AVX-512) either:
        ``NPY_DISABLE_CPU_FEATURES`` takes them, separated by spaces. NumPy 2.4 groups them, older ones
        name each.

    Returns
    -------
    list of str
        The names that the running NumPy uses.
    """
    umath = importlib.import_module("numpy._core._multiarray_umath")
    found = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]
    if without is None:
        return found
    prefixes = ("AVX512", "X86_V4") + (("AVX2", "FMA3", "X86_V3") if without == "avx2" else ())
    return [name for name in found if name.startswith(prefixes)]


def main(argv: Sequence[str]) -> int:
    """Run ``python -m crossent.testing measure``: print the table, return 1 if a cell is over its limit."""
    parser = argparse.ArgumentParser(
        prog="python -m crossent.testing measure",
        description="Measure in ulps how far every function is from the exact answer on this machine.",
    )
    parser.add_argument("--seed", type=int, default=0, help="other inputs (default 0)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="one seed, few rows (default)")
    how.add_argument("--full", action="store_true", help="three seeds, more rows")
    parser.add_argument("--function", action="append", choices=FUNCTIONS, help="only this one")
    parser.add_argument("--dtype", action="append", choices=_DTYPES, help="only this one")
    parser.add_argument(
        "--without", choices=("avx512", "avx2"),
        help="run with these CPU features off in NumPy (avx2: AVX-512 too)",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if options.without:
        return _run_without(options.without, argv)
    features = " ".join(dispatched_features()) or "none beside the baseline"
    print(f"NumPy {np.__version__}, {platform.machine()}, CPU features: {features}")
    seeds = range(options.seed, options.seed + (3 if options.full else 1))
    size = _FULL if options.full else _QUICK
    print(f"seeds {', '.join(map(str, seeds))}; {size} logits for each regime and class count")
    print(f"{'function':38} {'dtype':8} {'worst':>7} {'limit':>6}   where the worst was found", flush=True)
    cells = []
    for dtype in options.dtype or _DTYPES:
        runs = (measure_in_turn(options.function, dtypes=[dtype], seed=seed, size=size) for seed in seeds)
        for batches in zip(*runs, strict=True):
            batch = [cell for cells in batches for cell in cells]
            for function in dict.fromkeys(cell.function for cell in batch):
                worst = max((c for c in batch if c.function == function), key=lambda cell: cell.ulp)
                print(_line(worst), flush=True)
            cells += batch
    bad = sorted((cell for cell in cells if not cell.ok), key=lambda cell: cell.classes)
    for cell in bad:
        print(f"\nOVER {_line(cell)}\n     {cell.over:.2%} of {cell.count} entries; {_literal(cell)}")
    print(f"\n{sum(cell.count for cell in cells)} entries in {len(cells)} cells measured")
    print(f"{len(bad)} cells over the limit")
    return 1 if bad else 0


def _run_without(level: str, argv: Sequence[str]) -> int:
    """Run the command in a process of its own: NumPy reads the variable when it is loaded."""
    names = [*os.environ.get(_VARIABLE, "").split(), *dispatched_features(level)]
    rest = [a for i, a in enumerate(argv) if not a.startswith("--without") and argv[i - 1] != "--without"]
    command = [sys.executable, "-m", "crossent.testing", "measure", *rest]
    print(f"{_VARIABLE}={' '.join(names)!r}", flush=True)
    return subprocess.run(command, env={**os.environ, _VARIABLE: " ".join(names)}, check=False).returncode


def _line(cell: Cell) -> str:
    place = "; ".join(filter(None, (cell.variant, cell.regime, f"K = {cell.classes}")))
    return f"{cell.function:38} {cell.dtype:8} {cell.ulp:7.3f} {cell.limit:6.2f}   {place}"


def _literal(cell: Cell) -> str:
    """The worst row's call, to be pasted; numbers as their exact hexadecimal form."""

    def text(a: Any) -> str:
        if np.ndim(a) and a.dtype.kind == "f":
            numbers = ", ".join(f"h('{float(v).hex()}')" for v in np.ravel(a))
            return f"np.array([{numbers}], '{a.dtype}').reshape({a.shape})"
        return f"np.array({a.tolist()})" if np.ndim(a) else repr(a)

    if cell.classes > 33:
        return f"entry {cell.entry}"
    given = ", ".join(f"{name}={text(a)}" for name, a in cell.arguments.items())
    return f"entry {cell.entry} of {cell.function}({given})"
