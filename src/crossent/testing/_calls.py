"""One call of one function as data, and its text as Python that can be pasted and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["BINARY", "CLASS_LOSSES", "ELEMENTWISE", "LOSSES", "OPTIONS", "ROWS", "SPECS", "Call"]

Array: TypeAlias = npt.NDArray[Any]

BINARY = "binary_cross_entropy_with_logits"
CLASS_LOSSES = ("nll_loss", "cross_entropy")
LOSSES = (*CLASS_LOSSES, BINARY)
ROWS = ("logsumexp", "log_softmax", "softmax")
ELEMENTWISE = ("softplus", "log_sigmoid", "sigmoid")
SPECS = (*ROWS, *ELEMENTWISE, *LOSSES)
REDUCTIONS = ("none", "mean", "sum")
NDIMS = ("1", "2", "3", "4")
KINDS = {"index": "indices", "probability": "probabilities"}  # and what `supports` calls them

_LOSS = {"weight": None, "ignore_index": -100, "reduction": "mean", "axis": None, "where": None}

# The options of every function, with the contract's defaults.
OPTIONS: dict[str, dict[str, Any]] = {
    "logsumexp": {"axis": -1, "keepdims": False},
    "log_softmax": {"axis": -1, "dtype": None},
    "softmax": {"axis": -1, "dtype": None},
    "softplus": {},
    "log_sigmoid": {},
    "sigmoid": {},
    "nll_loss": _LOSS,
    "cross_entropy": {**_LOSS, "label_smoothing": 0.0, "dtype": None},
    BINARY: {"weight": None, "pos_weight": None, "reduction": "mean", "where": None, "dtype": None},
}


@dataclass(frozen=True, eq=False)
class Call:
    """One call as data.

    Parameters
    ----------
    function : str
        The contract's name of the function.
    x : ndarray
        The first argument.
    target : ndarray, optional
        The second argument of a loss.
    options : dict, optional
        Every keyword but `grad_output`.
    grad_output : ndarray, optional
        The cotangent that the gradient is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from crossent.testing import Call
    >>> Call("softmax", np.array([0.0, np.inf], np.float32))
    crossent.softmax(np.array([0.0, np.inf], dtype='float32'))
    """

    function: str
    x: Any
    target: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    grad_output: Any = None

    def __repr__(self) -> str:
        return self.text()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis prints."""
        printer.text(repr(self))

    def text(self, name: str | None = None, *, grad: bool | None = None, view: str = "{}") -> str:
        """Python source of the call: of the gradient, if there is a cotangent or `grad` says so; `view` is
        the source of a view of an array.
        """
        grad = self.grad_output is not None if grad is None else grad

        def source(v: Any) -> str:
            return view.format(literal(v)) if isinstance(v, np.ndarray) and v.ndim else literal(v)

        parts = [source(a) for a in self.arguments]
        parts += [f"{k}={source(v)}" for k, v in self.options.items()]
        if grad and self.grad_output is not None:
            parts.append(f"grad_output={source(self.grad_output)}")
        default = f"crossent.{self.function}{'_grad' if grad else ''}"
        return f"{name or default}({', '.join(parts)})"

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return (self.x,) if self.target is None else (self.x, self.target)

    def having(self, **options: Any) -> Self:
        """Return the same call with these options; None takes an option away."""
        merged = {**self.options, **options}
        return replace(self, options={k: v for k, v in merged.items() if v is not None})

    def changed(self, **fields: Any) -> Self:
        """Return the same call with other fields."""
        return replace(self, **fields)

    def mapped(self, of: Callable[[Array], Array]) -> Self:
        """Return the same call with ``of(a)`` in the place of each array."""

        def other(v: Any) -> Any:
            return of(v) if isinstance(v, np.ndarray) else v

        o = {name: other(v) for name, v in self.options.items()}
        target, g = other(self.target), other(self.grad_output)
        return replace(self, x=other(self.x), target=target, options=o, grad_output=g)

    @property
    def reduction(self) -> str:
        """The reduction, also where it is the default."""
        return str(self.options.get("reduction", "mean"))

    @property
    def class_weight(self) -> Array | None:
        """The weights that have one number a class; none of the binary loss, whose weights have positions."""
        return self.options.get("weight") if self.function in CLASS_LOSSES else None

    @property
    def index(self) -> bool:
        """Whether the target holds class indices."""
        return self.target is not None and np.asarray(self.target).dtype.kind in "iu"

    @property
    def axis(self) -> int | None:
        """The class axis as a position, None where there is none."""
        if self.function in ELEMENTWISE or self.function == BINARY:
            return None
        axis = self.options.get("axis")
        if axis is None:
            axis = 1 if self.function in LOSSES else -1
        return int(axis) % int(self.x.ndim)  # 1 is 0 where there is one axis alone

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of the losses of ``reduction="none"``."""
        if self.axis is None:
            return tuple(self.x.shape)
        return tuple(n for i, n in enumerate(self.x.shape) if i != self.axis)

    @property
    def value_shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        if self.function in LOSSES:
            return self.positions if self.reduction == "none" else ()
        shape = tuple(self.x.shape)
        if self.function != "logsumexp":
            return shape
        summed, keep = self.summed, self.options.get("keepdims", False)
        return tuple(1 if i in summed else n for i, n in enumerate(shape) if keep or i not in summed)

    @property
    def summed(self) -> tuple[int, ...]:
        """The axes that logsumexp sums over, as positions."""
        axis = self.options.get("axis", -1)
        every = range(self.x.ndim) if axis is None else np.atleast_1d(axis) % self.x.ndim
        return tuple(int(i) for i in every)

    @property
    def over_several(self) -> bool:
        """Whether there is no one class axis: logsumexp over a tuple of them, or over all."""
        axis = self.options.get("axis", -1)
        return self.function == "logsumexp" and (axis is None or np.ndim(axis) > 0)

    @property
    def rows(self) -> Self:
        """The same call on `(N, K)` rows (`(N,)` elements where there are no classes)."""
        o = dict(self.options)
        g = self.grad_output
        axis = self.axis
        if axis is None:
            if self.function == BINARY:
                for name in ("weight", "pos_weight", "where"):
                    if o.get(name) is not None:
                        o[name] = np.broadcast_to(o[name], self.x.shape).ravel()
            if g is not None and np.ndim(g):
                g = np.broadcast_to(g, self.x.shape).ravel()
            target = None if self.target is None else self.target.ravel()
            return replace(self, x=self.x.ravel(), target=target, options=o, grad_output=g)
        n = int(np.prod(self.positions))
        K = self.x.shape[axis]
        if o.get("where") is not None:
            o["where"] = np.broadcast_to(o["where"], self.positions).reshape(n)

        def last(a: Array) -> Array:
            return np.ascontiguousarray(np.moveaxis(a, axis, -1)).reshape(n, K)

        o.pop("axis", None)
        o.pop("keepdims", None)
        target = self.target
        if self.function in LOSSES:
            target = target.reshape(n) if self.index else last(target)
            g = np.asarray(g).reshape(n) if self.reduction == "none" and g is not None else g
        elif g is not None:
            g = g.reshape(n) if self.function == "logsumexp" else last(g)
        return replace(self, x=last(self.x), target=target, options=o, grad_output=g)

    def take(self, rows: Any) -> Self:
        """A call in rows form with these rows alone."""
        o = dict(self.options)
        if o.get("where") is not None:
            o["where"] = o["where"][rows]
        if self.function == BINARY:
            for name in ("weight", "pos_weight"):
                if o.get(name) is not None:
                    o[name] = o[name][rows]
        g = self.grad_output
        if g is not None and np.ndim(g):
            g = g[rows]
        target = None if self.target is None else self.target[rows]
        return replace(self, x=self.x[rows], target=target, options=o, grad_output=g)

    @property
    def live(self) -> npt.NDArray[np.bool_]:
        """Which rows count (rows form)."""
        live = np.ones(len(self.x), bool)
        if self.options.get("where") is not None:
            live &= self.options["where"]
        if self.index and self.function in CLASS_LOSSES:
            live &= self.target.astype(object) != self.options.get("ignore_index", -100)
        return live

    @property
    def of_nothing(self) -> bool:
        """Whether it is a mean over no position, or over positions that weigh nothing."""
        if self.function not in LOSSES or self.reduction != "mean":
            return False
        rows = self.rows
        w = rows.options.get("weight")
        if self.index and self.function in CLASS_LOSSES and w is not None:
            return not np.any(w[rows.target[rows.live]])
        return not rows.live.any()

    @property
    def result(self) -> np.dtype[Any]:
        """The result's dtype."""
        dtype: np.dtype[Any] = np.dtype(self.options.get("dtype") or self.x.dtype)
        if dtype.kind in "biu":
            return np.dtype(np.float64)
        return dtype.newbyteorder("=")


_MANY = 48  # numbers that are written out in full


def literal(v: Any) -> str:
    """Python source of a value of an argument."""
    if isinstance(v, type):  # dtype=np.float64
        return f"np.{v.__name__}"
    if not isinstance(v, np.ndarray):
        return _number(v)
    if v.size > _MANY and (short := _short(v)):
        return short
    implied = v.dtype.kind == "b" or v.dtype in (np.float64, np.int64)
    shape = f".reshape{v.shape}" if 0 in v.shape else ""
    dtype = "" if implied and (v.size or v.dtype == np.float64) else f", dtype={_name(v.dtype)!r}"
    return f"np.array({_nested(v) if v.size else '[]'}{dtype}){shape}"


def _short(v: Array) -> str:
    """Source of an array of the same few numbers, rows or columns again and again; nothing for others."""
    first = v.ravel()[0]
    if np.all((v == first) | ((v != v) & (first != first))):
        return f"np.full({v.shape}, {_number(first)}, dtype={_name(v.dtype)!r})"
    for axis in (0, v.ndim - 1):
        n = v.shape[axis]
        for text, index in _patterns(n):
            part = np.take(v, np.unique(index, return_index=True)[1], axis)
            if np.array_equal(np.take(part, index, axis), v, equal_nan=v.dtype.kind == "f"):
                return f"{literal(part)}[{'..., ' if axis else ''}{text}]"
    return ""


def _patterns(n: int) -> Iterator[tuple[str, Array]]:
    """Indices of n numbers that are a few: in turn, in runs, or one again and again before the others."""
    at = np.arange(n)
    for few in range(1, min(n // 2, _MANY) + 1):
        yield f"np.arange({n}) % {few}" if few > 1 else f"np.zeros({n}, int)", at % few
        yield f"np.arange({n}) * {few} // {n}", at * few // n
        yield f"np.maximum(np.arange({n}) - {n - few}, 0)", np.maximum(at - (n - few), 0)


def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.isnative else dtype.str


def _nested(v: Array) -> str:
    if v.ndim:
        return f"[{', '.join(_nested(part) for part in v)}]"
    return _number(v[()])


def _number(v: Any) -> str:
    """Shortest text of a number that gives the same one back in its dtype."""
    if not isinstance(v, np.floating | float):
        return repr(v.item() if isinstance(v, np.generic) else v)
    if np.isfinite(v):
        return str(v)
    return "np.nan" if np.isnan(v) else "np.inf" if v > 0 else "-np.inf"
