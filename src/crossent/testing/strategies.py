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

from crossent.testing._calls import BINARY, ELEMENTWISE, LOSSES, OPTIONS, SPECS, Array, Call
from crossent.testing._regimes import REGIMES as DRAWN
from crossent.testing._regimes import Draw, seeded, some_of, st

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
_CLASSES = (3, 2, 4, 5, 3, 2, 7, 1, 17, 33)
_ROWS = (3, 2, 1, 4, 2, 1, 5, 3, 8, 33)
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
        ``"offset"`` (1 to 1e30 added to all), ``"tiny"`` (subnormal numbers), ``"edges"`` (thresholds of exp,
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

    def arrays(draw: Draw) -> Array:
        wanted = shape if isinstance(shape, tuple) else draw(shape)
        with np.errstate(all="ignore"):  # what is too large for the dtype is infinite
            return np.asarray(DRAWN[draw(st.sampled_from(names))](draw, wanted, dt), dt)

    return st.composite(arrays)()


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
    labels = list(range(num_classes))

    def arrays(draw: Draw) -> Array:
        target = some_of(draw, shape, labels).astype(np.int64)
        if ignore_index is not None:
            target = np.where(some_of(draw, shape, [0, 0, 1]) == 1, ignore_index, target)
        return np.asarray(target.astype(dtype))

    return st.composite(arrays)()


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

    def arrays(draw: Draw) -> Array:
        moved = (*(n for i, n in enumerate(shape) if i != axis % len(shape)), shape[axis])
        kind = draw(st.sampled_from(["some", "one-hot", "dense"]))
        if kind == "dense":
            raw = seeded(draw).uniform(0.01, 1.0, moved)
        elif kind == "some":
            raw = some_of(draw, moved, [0, 1, 2, 3])
            raw[..., 0] += raw.sum(axis=-1) == 0
        else:
            labels = some_of(draw, moved[:-1], list(range(moved[-1])))
            raw = (np.arange(moved[-1]) == labels[..., np.newaxis]).astype(np.float64)
        q = raw / raw.sum(axis=-1, keepdims=True)
        return np.ascontiguousarray(np.moveaxis(q, -1, axis)).astype(dtype)

    return st.composite(arrays)()


def class_weights(num_classes: int = 4, dtype: str = "float32", *, zeros: bool = True) -> Any:
    """One weight a class: normal numbers between 1/8 and 8, and 0.

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
    return _factors((num_classes,), dtype, zeros=zeros)


def _factors(shape: tuple[int, ...], dtype: str, *, zeros: bool = True, signed: bool = False) -> Any:
    values = [*_FACTORS, *[0.0] * (2 * zeros), *[-v for v in _FACTORS if signed]]

    def arrays(draw: Draw) -> Array:
        v = some_of(draw, shape, values)
        if draw(st.booleans()):  # all bits in use
            v = v * seeded(draw).uniform(0.5, 1.0, shape)
        return np.asarray(v, dtype)

    return st.composite(arrays)()


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
    return _factors(shape, dtype, signed=True)


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

    def arrays(draw: Draw) -> Array:
        smaller = [shape, *([(1, *shape[1:]), shape[1:]] if broadcast and shape else [])]
        return some_of(draw, draw(st.sampled_from(smaller)), [1, 1, 0]).astype(bool)

    return st.composite(arrays)()


# -- whole calls ------------------------------------------------------------------------------------


def loss_calls(
    spec: str,
    supports: Iterable[str] | None = None,
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    kinds: Sequence[str] = ("index", "probability"),
    reductions: Sequence[str] = ("none", "mean", "sum"),
    regimes: Iterable[str] = REGIMES,
    ndims: Sequence[str] = ("1", "2", "3"),
    without: Iterable[str] = (),
    always: Iterable[str] = (),
    min_classes: int = 1,
    min_rows: int = 1,
    small: bool = False,
    square: bool = False,
) -> Any:
    """Whole calls of one function: logits, target, every option, a cotangent.

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
        ``"1"``: one row of classes, ``"2"``: a batch, ``"3"``: ``[B, K, H]``, or any other place of the
        class axis where `supports` has `axis`.
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
    options = set((*OPTIONS[spec], "grad_output") if supports is None else supports) - set(without)
    drawer = _Drawer(
        spec,
        frozenset(options),
        tuple(dtypes),
        tuple(kinds),
        tuple(reductions),
        tuple(regimes),
        tuple(ndims),
        frozenset(always) & options,
        min_classes,
        min_rows,
        small,
        square,
    )

    def calls(draw: Draw) -> Call:
        return drawer.call(draw)

    return st.composite(calls)()


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
        dtype = draw(st.sampled_from(self.dtypes))
        shape, axis = self._shape(draw)
        x = draw(logits(shape, dtype, regimes=self.regimes))
        options: dict[str, Any] = {}
        if self._has(draw, "axis") and self.spec not in ELEMENTWISE:
            options["axis"] = axis - len(shape) if draw(st.booleans()) else axis
        elif self.spec not in (*ELEMENTWISE, BINARY):
            x = np.ascontiguousarray(np.moveaxis(x, axis, self._default_axis(len(shape))))
        call = Call(self.spec, x, None, options)
        if self.spec in LOSSES:
            call = self._loss(draw, call, dtype)
        elif self.spec == "logsumexp" and self._has(draw, "keepdims"):
            call = call.having(keepdims=draw(st.booleans()))
        if "dtype" in self.supports and dtype == "float32" and draw(st.integers(0, 7)) == 0:
            call = call.having(dtype=np.float64)
        if "grad_output" in self.supports and ("grad_output" in self.always or draw(st.booleans())):
            call = call.changed(grad_output=draw(cotangents(call.value_shape, dtype)))
        return call

    def _has(self, draw: Draw, option: str) -> bool:
        """Whether to pass an option."""
        return option in self.supports and (option in self.always or draw(st.booleans()))

    def _default_axis(self, ndim: int) -> int:
        return min(ndim - 1, 1) if self.spec in LOSSES else -1

    def _shape(self, draw: Draw) -> tuple[tuple[int, ...], int]:
        """A shape and its class axis. Sampled, not integers(): Hypothesis likes small integers, bugs
        do not.
        """
        classes, rows = ((2, 3), (2, 1, 3)) if self.small else (_CLASSES, _ROWS)
        K = draw(st.sampled_from([k for k in classes if k >= self.min_classes]))
        B = draw(st.sampled_from([b for b in rows if b >= self.min_rows]))
        H = draw(st.sampled_from([1] if self.small else [2, 3, 1]))
        if self.square or (not self.small and self.min_rows <= K < 6 and draw(st.integers(0, 3)) == 0):
            B = H = K = min(max(K, self.min_rows), 5)
        B = max(min(B, _LARGEST // (K * H)), self.min_rows)
        # one row of K classes where more rows are wanted is no choice
        forms = [
            n for n in self.ndims if n != "1" or self.min_rows <= 1 or self.spec in (*ELEMENTWISE, BINARY)
        ]
        form = draw(st.sampled_from(forms))
        if self.spec in (*ELEMENTWISE, BINARY):
            return {"1": (B,), "2": (B, K), "3": (B, K, H)}[form], 0
        if form == "1":
            return (K,), 0
        shape = [B] if form == "2" else [B, H]
        axis = draw(st.integers(0, len(shape)))
        shape.insert(axis, K)
        return tuple(shape), axis

    def _loss(self, draw: Draw, call: Call, dtype: str) -> Call:
        positions = call.positions
        kind = "index" if self.spec == "nll_loss" else draw(st.sampled_from(self.kinds))
        options = dict(call.options)
        if self.spec == BINARY:
            values = [0.0, 1.0] if kind == "index" else [0.5, 0.0, 1.0, 0.25, 0.75]
            target = some_of(draw, positions, values)
            if kind == "probability" and draw(st.booleans()):
                target = np.clip(target * seeded(draw).uniform(0.5, 1.0, positions), 0, 1)
            call = call.changed(target=np.asarray(target, dtype))
            for name in ("weight", "pos_weight"):
                if self._has(draw, name):
                    shape = draw(st.sampled_from([positions, positions[1:], ()]))
                    options[name] = draw(_factors(shape, dtype))
        else:
            axis = call.axis or 0
            K = call.x.shape[axis]
            if kind == "index":
                call = call.changed(target=self._indices(draw, positions, K, options))
            else:
                call = call.changed(target=draw(probability_targets(call.x.shape, dtype, axis=axis)))
            if self._has(draw, "weight"):
                options["weight"] = draw(class_weights(K, dtype))
            if self._has(draw, "label_smoothing"):
                options["label_smoothing"] = draw(st.sampled_from([0.1, 0.25, 0.0, 0.9, 1.0]))
        if self._has(draw, "where"):
            options["where"] = draw(where_masks(positions))
        if "reduction" in self.supports:
            reduction = draw(st.sampled_from(self.reductions))
            if reduction != "mean" or draw(st.booleans()):
                options["reduction"] = reduction
        if (
            options.get("label_smoothing")
            and options.get("reduction", "mean") == "mean"
            and "weight" in options
        ):
            # of positions that weigh nothing, smoothing leaves something over nothing
            options["weight"] = np.where(options["weight"] == 0, 1, options["weight"]).astype(dtype)
        return call.changed(options=options)

    def _indices(self, draw: Draw, shape: tuple[int, ...], K: int, options: dict[str, Any]) -> Array:
        """Class indices; the ignored one inside or outside of [0, K), or the default."""
        ignore: int | None = None
        if self._has(draw, "ignore_index"):
            options["ignore_index"] = ignore = draw(st.sampled_from([-1, 0, K - 1, -100, 0, 255]))
        elif "ignore_index" in self.supports and draw(st.booleans()):
            ignore = -100
        return np.asarray(draw(class_targets(shape, K, ignore_index=ignore)))
