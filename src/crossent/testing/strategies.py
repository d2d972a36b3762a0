"""Hypothesis strategies for cross-entropy: logits, targets, weights, masks, and whole calls.

They need Hypothesis (``pip install "crossent[testing]"``), which is imported when this module is. Edge
values are on by default: ties, infinities, NaN, subnormal numbers, large offsets, confident margins. A
whole call prints as Python that can be pasted and run.

Examples
--------
>>> import numpy as np
>>> from hypothesis import given
>>> from crossent import softmax
>>> from crossent.testing import strategies
>>> @given(strategies.logits((2, 3), "float32", regimes=strategies.FINITE))
... def test_probabilities_are_at_most_one(z):
...     assert np.all(softmax(z) <= 1)
>>> test_probabilities_are_at_most_one()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from crossent.testing._calls import (
    BINARY,
    ELEMENTWISE,
    KINDS,
    LOSSES,
    NDIMS,
    OPTIONS,
    REDUCTIONS,
    SPECS,
    Array,
    Call,
)
from crossent.testing._regimes import REGIMES as DRAWN
from crossent.testing._regimes import Draw, choice, seeded, some_of, st

__all__ = [
    "FINITE",
    "REGIMES",
    "class_targets",
    "class_weights",
    "cotangents",
    "logits",
    "loss_calls",
    "probability_targets",
    "where_masks",
]

FINITE = ("plain", "dense", "ties", "confident", "wide", "offset", "tiny", "edges")
REGIMES = (*FINITE, "masked", "infinite", "nan")

_LARGEST = 256  # numbers of a call: the truth is slow
_CLASSES = (3, 2, 4, 5, 3, 2, 7, 1, 8, 10, 15, 17, 32, 33)
_ROWS = (3, 2, 1, 4, 2, 1, 5, 3, 8, 11, 16, 33)
_NAMES = tuple(dict.fromkeys([*(name for options in OPTIONS.values() for name in options), "grad_output"]))
_DTYPES = ("float16", "float32", "float64")
_FACTORS = (1.0, 0.5, 2.0, 0.25, 1.5, 3.0, 0.125, 8.0)


def logits(
    shape: tuple[int, ...] | Any = (3, 4), dtype: str = "float32", *, regimes: Iterable[str] = REGIMES
) -> Any:
    """Logits: arrays of floats, edge values included.

    Parameters
    ----------
    shape : tuple of int, or strategy of them
        The class axis may be any.
    dtype : str
        ``"float16"``, ``"float32"`` or ``"float64"``.
    regimes : iterable of str
        Any of ``REGIMES``: ``"plain"`` (a few units), ``"dense"`` (all bits in use), ``"ties"``,
        ``"confident"`` (margins at which ``1 - p`` rounds to 0), ``"wide"`` (as wide as exp can go),
        ``"offset"`` (1 to 1e36 added to all), ``"tiny"`` (subnormal numbers), ``"edges"`` (thresholds of exp,
        the largest numbers), ``"masked"`` (``-inf``), ``"infinite"`` (both infinities), ``"nan"``.
        ``FINITE`` leaves out the last three.

    Returns
    -------
    SearchStrategy of ndarray
    """
    names = tuple(regimes)
    unknown = set(names) - set(REGIMES)
    if unknown or not names:
        raise ValueError(f"regimes must be among {', '.join(REGIMES)}, got {', '.join(names)}")
    dt = np.dtype(dtype)
    if dt.name not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, got {dt.name}")
    return _strategy(_logits, shape, dt, names)


def _logits(draw: Draw, shape: Any, dt: np.dtype[Any], names: Sequence[str]) -> Array:
    wanted = shape if isinstance(shape, tuple) else draw(shape)
    with np.errstate(all="ignore"):  # what is too large for the dtype is infinite
        return np.asarray(DRAWN[draw(choice(names))](draw, wanted, dt), dt)


def class_targets(
    shape: tuple[int, ...] = (3,),
    num_classes: int = 4,
    *,
    dtype: str = "int64",
    ignore_index: int | None = None,
) -> Any:
    """Class indices in ``[0, num_classes)``, some of them `ignore_index` where that is given.

    Parameters
    ----------
    shape : tuple of int
        The logits' shape without the class axis.
    num_classes : int
        ``K``.
    dtype : str
        An integer dtype.
    ignore_index : int, optional
        Drawn for a third of the positions.

    Returns
    -------
    SearchStrategy of ndarray
    """
    held = np.iinfo(dtype)
    for what, label in (("num_classes", num_classes - 1), ("ignore_index", ignore_index)):
        if label is not None and not held.min <= label <= held.max:
            raise ValueError(f"{what} asks for label {label}, which {dtype} does not hold")
    return _strategy(_class_targets, shape, num_classes, dtype, ignore_index)


def _class_targets(
    draw: Draw, shape: tuple[int, ...], num_classes: int, dtype: str, ignore_index: int | None
) -> Array:
    target = some_of(draw, shape, range(num_classes)).astype(np.int64)
    if ignore_index is not None:
        target = np.where(some_of(draw, shape, [0, 0, 1]) == 1, ignore_index, target)
    return np.asarray(target.astype(dtype))


def probability_targets(shape: tuple[int, ...] = (3, 4), dtype: str = "float32", *, axis: int = -1) -> Any:
    """Distributions over the classes: one-hot, with zeros in them, uniform, dense.

    Parameters
    ----------
    shape : tuple of int
        The logits' shape.
    dtype : str
        A floating dtype.
    axis : int
        The class axis.

    Returns
    -------
    SearchStrategy of ndarray
    """
    return _strategy(_probability_targets, shape, dtype, axis)


def _probability_targets(draw: Draw, shape: tuple[int, ...], dtype: str, axis: int) -> Array:
    moved = (*(n for i, n in enumerate(shape) if i != axis % len(shape)), shape[axis])
    kind = draw(choice(["some", "one-hot", "dense"]))
    if kind == "dense":
        raw = seeded(draw).uniform(0.01, 1.0, moved)
    elif kind == "some":
        raw = some_of(draw, moved, [0, 1, 2, 3])
        raw[..., 0] += raw.sum(axis=-1) == 0
    else:
        labels = some_of(draw, moved[:-1], range(moved[-1]))
        raw = (np.arange(moved[-1]) == labels[..., np.newaxis]).astype(np.float64)
    q = raw / raw.sum(axis=-1, keepdims=True)
    return np.ascontiguousarray(np.moveaxis(q, -1, axis)).astype(dtype)


def class_weights(num_classes: int = 4, dtype: str = "float32", *, zeros: bool = True) -> Any:
    """One weight a class: normal numbers between 1/16 and 8, and 0.

    Parameters
    ----------
    num_classes : int
        ``K``.
    dtype : str
        A floating dtype.
    zeros : bool
        Whether weights may be 0.

    Returns
    -------
    SearchStrategy of ndarray
    """
    return _strategy(_factors, (num_classes,), dtype, zeros)


def _factors(
    draw: Draw, shape: tuple[int, ...], dtype: str, zeros: bool = True, signed: bool = False
) -> Array:
    values = [*_FACTORS, *[0.0] * (2 * zeros), *[-v for v in _FACTORS if signed]]
    v = some_of(draw, shape, values)
    if draw(_BOOLEANS):  # all bits in use
        v = v * seeded(draw).uniform(0.5, 1.0, shape)
    return np.asarray(v, dtype)


def cotangents(shape: tuple[int, ...] = (), dtype: str = "float32") -> Any:
    """Upstream gradients (`grad_output`): both signs, and 0.

    Parameters
    ----------
    shape : tuple of int
        The value's shape.
    dtype : str
        A floating dtype.

    Returns
    -------
    SearchStrategy of ndarray
    """
    return _strategy(_factors, shape, dtype, True, True)


def where_masks(shape: tuple[int, ...] = (3,), *, broadcast: bool = True) -> Any:
    """Boolean masks of the positions that count.

    Parameters
    ----------
    shape : tuple of int
        The positions' shape.
    broadcast : bool
        Whether masks may be smaller, and broadcast to it.

    Returns
    -------
    SearchStrategy of ndarray of bool
    """
    return _strategy(_where_masks, shape, broadcast)


def _where_masks(draw: Draw, shape: tuple[int, ...], broadcast: bool = True) -> Array:
    smaller = [shape, *([(1, *shape[1:]), shape[1:]] if broadcast and shape else [])]
    return some_of(draw, draw(choice(smaller)), [1, 1, 0]).astype(bool)


_BOOLEANS = st.booleans()


def _drawn(draw: Draw, function: Any, *arguments: Any) -> Any:
    return function(draw, *arguments)


# Hypothesis compiles a function for every composite: one is enough, whose parts call each other.
_strategy: Any = st.composite(_drawn)


# -- whole calls ------------------------------------------------------------------------------------


def loss_calls(
    spec: str,
    supports: Iterable[str] | None = None,
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    kinds: Sequence[str] = tuple(KINDS),
    reductions: Sequence[str] = REDUCTIONS,
    regimes: Iterable[str] = REGIMES,
    ndims: Sequence[str] = NDIMS,
    without: Iterable[str] = (),
    always: Iterable[str] = (),
    min_classes: int = 1,
    min_rows: int = 1,
    small: bool = False,
    square: bool = False,
) -> Any:
    """Whole calls of one function: logits, target, every option, a cotangent.

    A call with a cotangent, ``grad_output``, is one of the gradient, and prints as such.

    Parameters
    ----------
    spec : str
        The contract's name of the function.
    supports : iterable of str, optional
        The options that calls may hold, ``"grad_output"`` among them; all by default.
    dtypes : sequence of str
        Dtypes of the logits.
    kinds : sequence of str
        ``"index"`` and ``"probability"`` targets (of the binary loss: 0 and 1, or between).
    reductions : sequence of str
        Reductions to draw from; only the default, ``"mean"``, where `supports` has none.
    regimes : iterable of str
        See `logits`.
    ndims : sequence of str
        ``"1"``: one row of classes, ``"2"``: a batch, ``"3"``: ``[B, K, H]``, ``"4"``: ``[B, K, H, W]``, or
        any other place of the class axis where `supports` has `axis`.
    without : iterable of str
        Options to leave out.
    always : iterable of str
        Options that every call holds.
    min_classes, min_rows : int
        The least number of classes and of rows.
    small : bool
        At most three rows and three classes.
    square : bool
        All axes of one length: no shape tells one from another.

    Returns
    -------
    SearchStrategy of Call

    Examples
    --------
    >>> from hypothesis import given
    >>> import crossent
    >>> from crossent.testing import strategies
    >>> @given(strategies.loss_calls("cross_entropy", {"weight", "reduction"}, regimes=["plain"]))
    ... def test_losses_are_not_negative(call):
    ...     loss = crossent.cross_entropy(call.x, call.target, **call.options)
    ...     assert not np.any(loss < 0)
    >>> test_losses_are_not_negative()
    """
    if spec not in SPECS:
        raise ValueError(f"spec must be one of {', '.join(SPECS)}, got {spec!r}")
    known = (*OPTIONS[spec], "grad_output")
    options = set(known if supports is None else supports) - set(without)
    forms = tuple(map(str, ndims))
    for what, names, there_are in (
        ("supports", options, known), ("always", always, _NAMES), ("without", without, _NAMES),
        ("ndims", forms, NDIMS), ("kinds", kinds, KINDS), ("reductions", reductions, REDUCTIONS),
    ):  # fmt: skip
        if wrong := [name for name in names if name not in there_are]:
            raise ValueError(f"{what} must be among {', '.join(there_are)}, got {', '.join(wrong)}")
    drawer = _Drawer(
        spec,
        frozenset(options),
        tuple(dtypes),
        tuple(kinds),
        tuple(reductions),
        tuple(regimes),
        forms,
        frozenset(always) & options,
        min_classes,
        min_rows,
        small,
        square,
    )

    return _strategy(drawer.call)


class _Drawer:
    """Draws the parts of a call."""

    def __init__(
        self,
        spec: str,
        supports: frozenset[str],
        dtypes: Sequence[str],
        kinds: Sequence[str],
        reductions: Sequence[str],
        regimes: Sequence[str],
        ndims: Sequence[str],
        always: frozenset[str],
        min_classes: int,
        min_rows: int,
        small: bool,
        square: bool,
    ) -> None:
        self.spec, self.supports, self.dtypes, self.kinds = spec, supports, dtypes, kinds
        self.reductions, self.regimes, self.ndims, self.always = reductions, regimes, ndims, always
        self.min_classes, self.min_rows, self.small, self.square = min_classes, min_rows, small, square

    def call(self, draw: Draw) -> Call:
        dtype = draw(choice(self.dtypes))
        shape, axis = self._shape(draw)
        x = _logits(draw, shape, np.dtype(dtype), self.regimes)
        options: dict[str, Any] = {}
        if self._has(draw, "axis") and self.spec not in ELEMENTWISE:
            options["axis"] = axis - len(shape) if draw(_BOOLEANS) else axis
        elif self.spec not in (*ELEMENTWISE, BINARY):
            x = np.ascontiguousarray(np.moveaxis(x, axis, self._default_axis(len(shape))))
        call = Call(self.spec, x, None, options)
        if self.spec in LOSSES:
            call = self._loss(draw, call, dtype)
        elif self.spec == "logsumexp" and self._has(draw, "keepdims"):
            call = call.having(keepdims=draw(_BOOLEANS))
        if "dtype" in self.supports and dtype == "float32" and draw(st.integers(0, 7)) == 0:
            call = call.having(dtype=np.float64)
        if "grad_output" in self.supports and ("grad_output" in self.always or draw(_BOOLEANS)):
            call = call.changed(grad_output=_factors(draw, call.value_shape, dtype, True, True))
        return call

    def _has(self, draw: Draw, option: str) -> bool:
        """Whether to pass an option."""
        return option in self.supports and (option in self.always or draw(_BOOLEANS))

    def _default_axis(self, ndim: int) -> int:
        return min(ndim - 1, 1) if self.spec in LOSSES else -1

    def _shape(self, draw: Draw) -> tuple[tuple[int, ...], int]:
        """A shape and its class axis. Sampled, not integers(): Hypothesis likes small integers, bugs
        do not.
        """
        classes, rows = ((2, 3), (2, 1, 3)) if self.small else (_CLASSES, _ROWS)
        K = draw(choice([k for k in classes if k >= self.min_classes]))
        B = draw(choice([b for b in rows if b >= self.min_rows]))
        H = draw(choice([1] if self.small else [2, 3, 1]))
        least = max(self.min_rows, self.min_classes)
        if self.square or (not self.small and least <= 5 and draw(st.integers(0, 3)) == 0):
            B = H = K = max(min(K, 5), least)
        # one row of K classes where more rows are wanted is no choice
        forms = [
            n for n in self.ndims if n != "1" or self.min_rows <= 1 or self.spec in (*ELEMENTWISE, BINARY)
        ]
        form = draw(choice(forms))
        if not self.square:
            B = max(min(B, _LARGEST // (K * H * (1 + (form == "4")))), self.min_rows)
        last = B if self.square else 2
        if self.spec in (*ELEMENTWISE, BINARY):
            return {"1": (B,), "2": (B, K), "3": (B, K, H), "4": (B, K, H, last)}[form], 0
        if form == "1":
            return (K,), 0
        shape = {"2": [B], "3": [B, H], "4": [B, H, last]}[form]
        axis = draw(st.integers(0, len(shape)))
        shape.insert(axis, K)
        return tuple(shape), axis

    def _loss(self, draw: Draw, call: Call, dtype: str) -> Call:
        positions = call.positions
        kind = "index" if self.spec == "nll_loss" else draw(choice(self.kinds))
        right = draw(st.integers(0, 3)) == 0  # one wrong answer hides all right ones in a mean
        options = dict(call.options)
        if self.spec == BINARY:
            values = [0.0, 1.0] if kind == "index" else [0.5, 0.0, 1.0, 0.25, 0.75]
            target = some_of(draw, positions, values)
            if kind == "index" and right:
                target = call.x > 0
            if kind == "probability" and draw(_BOOLEANS):
                target = target * seeded(draw).uniform(0.5, 1.0, positions)
            call = call.changed(target=np.asarray(target, dtype))
            for name in ("weight", "pos_weight"):
                if self._has(draw, name):
                    shape = draw(choice([positions, positions[1:], ()]))
                    options[name] = _factors(draw, shape, dtype)
        else:
            axis = call.axis or 0
            K = call.x.shape[axis]
            if kind == "index":
                target, ignored = self._indices(draw, positions, K, options)
                if right:
                    target = np.where(target == ignored, target, call.x.argmax(axis))
                call = call.changed(target=target)
            else:
                call = call.changed(target=_probability_targets(draw, call.x.shape, dtype, axis))
            if self._has(draw, "weight"):
                options["weight"] = _factors(draw, (K,), dtype)
            if self._has(draw, "label_smoothing"):
                options["label_smoothing"] = draw(choice([0.1, 0.25, 0.0, 0.9, 1.0]))
        if self._has(draw, "where"):
            options["where"] = _where_masks(draw, positions)
        if "reduction" in self.supports:
            reduction = draw(choice(self.reductions))
            if reduction != "mean" or draw(_BOOLEANS):
                options["reduction"] = reduction
        if (
            options.get("label_smoothing")
            and options.get("reduction", "mean") == "mean"
            and "weight" in options
        ):
            # of positions that weigh nothing, smoothing leaves something over nothing
            options["weight"] = np.where(options["weight"] == 0, 1, options["weight"]).astype(dtype)
        return call.changed(options=options)

    def _indices(
        self, draw: Draw, shape: tuple[int, ...], K: int, options: dict[str, Any]
    ) -> tuple[Array, int | None]:
        """Class indices, and which of them is ignored: inside or outside of [0, K), or the default."""
        ignore: int | None = None
        if self._has(draw, "ignore_index"):
            options["ignore_index"] = ignore = draw(choice([-1, 0, K - 1, -100, 0, 255]))
        elif "ignore_index" in self.supports and draw(_BOOLEANS):
            ignore = -100
        return _class_targets(draw, shape, K, "int64", ignore), ignore
