"""The front desk: what users bring becomes canonical arrays here, or is refused with a reason.

The only file that raises. Pages get arrays whose class axis comes first, whose shapes fit and whose
dtypes are known; nothing behind this desk checks anything again. Nothing is copied but what NumPy
has to make of lists.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.typing import ArrayLike, DTypeLike

from crossent._blocks import Operand, sweep
from crossent._scratch import Array
from crossent._sums import ExactSum, wide

REDUCTIONS = ("none", "mean", "sum")
_WORK = (np.dtype(np.float32), np.dtype(np.float64))
_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
_OVERLAP_WORK: Any = 100_000  # NumPy's measure; what takes longer to tell apart counts as an overlap


# Arrays and dtypes


def real(name: str, value: ArrayLike) -> Array:
    """Return `value` as an array of real numbers, or say why it is none."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a numpy.ma.MaskedArray, whose mask would be lost: pass {name}.data and "
            "where=~mask (True where a position counts)"
        )
    if value is None:
        raise TypeError(f"{name} is None; expected an array of real numbers")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name} cannot be made an array of real numbers: {error}") from error
    if not (array.dtype.kind in "fiub" or _is_bfloat16(array.dtype)):
        came = f"an array of dtype {array.dtype}"
        if not isinstance(value, np.ndarray):
            came = f"a {type(value).__name__} (as an array: dtype {array.dtype})"
        raise TypeError(f"{name} must be an array of real numbers, not {came}")
    return array


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Tell whether this is the dtype of the package ml_dtypes, which need not be installed."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def is_floating(array: Array) -> bool:
    """Tell floating arrays (probabilities) from integers (class indices)."""
    return array.dtype.kind == "f" or _is_bfloat16(array.dtype)


def result_dtype(name: str, x: Array, dtype: DTypeLike | None = None) -> np.dtype[Any]:
    """Return the dtype of the result: `dtype`, or that of floating `x`, or float64."""
    if dtype is None:
        return x.dtype.newbyteorder("=") if is_floating(x) else np.dtype(np.float64)
    try:
        wanted = np.dtype(dtype).newbyteorder("=")
    except TypeError as error:
        raise TypeError(f"dtype must be a floating dtype, not {dtype!r}") from error
    if not (wanted.kind == "f" or _is_bfloat16(wanted)):
        raise TypeError(f"dtype must be a floating dtype, not {wanted}; {name} are real numbers")
    return wanted


def work_dtype(result: np.dtype[Any], *factors: Array | None) -> np.dtype[Any]:
    """Return the dtype to compute in: float32 at least, and no narrower than floating factors."""
    floats = [array.dtype for array in factors if array is not None and is_floating(array)]
    if not floats and result in _WORK:
        return result
    return np.result_type(np.float32, result, *(dtype.newbyteorder("=") for dtype in floats))


# Shapes


def class_axis(name: str, x: Array, axis: int | None) -> int:
    """Return the class axis as a number in ``[0, ndim)``; None is PyTorch's rule."""
    if x.ndim == 0:
        raise ValueError(f"{name} has no class axis: its shape is (); expected at least (K,)")
    if axis is None:
        axis = min(1, x.ndim - 1)
    axis = normalize_axis_index(integer("axis", axis), x.ndim)
    if x.shape[axis] == 0:
        raise ValueError(f"{name} of shape {x.shape} has no classes: axis {axis} has length 0")
    return axis


def class_axes(x: Array, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the axes to reduce over as numbers in ``[0, ndim)``; None is all of them."""
    if axis is None:
        return tuple(range(x.ndim))
    axes = tuple(integer("axis", one) for one in (axis if isinstance(axis, tuple) else (axis,)))
    if x.ndim == 0 and axes in ((0,), (-1,)):
        return ()  # NumPy and PyTorch reduce a single number, too
    return normalize_axis_tuple(axes, x.ndim, argname="axis")


def first(x: Array, axes: tuple[int, ...]) -> Array:
    """View `x` with some of its axes before the others."""
    if axes in ((), (0,)):
        return x
    if x.ndim == 2 and len(axes) == 1:
        return x.T
    return x.transpose((*axes, *(axis for axis in range(x.ndim) if axis not in axes)))


def integer(name: str, value: Any) -> int:
    """Return an integer of any kind as an int."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r}") from None


def broadcast(name: str, value: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    """View a real array in `shape`, that of `what`."""
    return _broadcast(name, real(name, value), shape, what)


def _broadcast(name: str, array: Array, shape: tuple[int, ...], what: str) -> Array:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name} of shape {array.shape} does not broadcast to {shape}, the shape of {what}"
        ) from None


def same_shape(name: str, value: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    """Return a real array that has the shape of `what`."""
    array = real(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} of shape {array.shape} must have the shape {shape} of {what}")
    return array


def mask(where: ArrayLike | None, shape: tuple[int, ...]) -> Array | None:
    """View `where` in the shape of the losses."""
    if where is None:
        return None
    array = real("where", where)
    if array.dtype != np.bool_:
        raise TypeError(
            f"where must be boolean (True where a position counts), not {array.dtype}; write where != 0"
        )
    return _broadcast("where", array, shape, "the losses of reduction='none'")


# Options


def reduction_word(reduction: str) -> str:
    """Refuse anything but the three words."""
    if not (isinstance(reduction, str) and reduction in REDUCTIONS):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reduction!r}")
    return reduction


def smoothing(name: str, value: float) -> float:
    """Return a number in [0, 1]."""
    try:
        if isinstance(value, str | bytes):  # which float would read
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number in [0, 1], not {value!r}") from None
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value!r}")
    return number


def deprecated_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> tuple[str, bool]:
    """Map PyTorch's two deprecated settings; also tell whether they were used."""
    if size_average is None and reduce is None:
        return reduction_word(reduction), False
    if reduce is not None and not reduce:
        return "none", True
    return ("mean" if size_average is None or size_average else "sum"), True


def spread_word(spread: str, num_classes: int) -> str:
    """Refuse anything but the two words, and to spread over the others of one class."""
    if spread not in ("all", "others"):
        raise ValueError(f"spread must be 'all' or 'others', not {spread!r}")
    if spread == "others" and num_classes == 1:
        raise ValueError("spread='others' needs other classes, but num_classes is 1")
    return spread


def new_axis(axis: int, ndim: int) -> int:
    """Return where an axis is put in, as a number in ``[0, ndim]``."""
    return normalize_axis_index(integer("axis", axis), ndim + 1)


def number_of_classes(num_classes: int) -> int:
    """Return a positive integer."""
    number = integer("num_classes", num_classes)
    if number < 1:
        raise ValueError(f"num_classes must be at least 1, got {number}")
    return number


# Where results go


def gradient_array(
    out: Array | None,
    x: Array,
    dtype: np.dtype[Any],
    axes: tuple[int, ...],
    operands: Sequence[Operand | None],
) -> tuple[Array, Operand]:
    """Return the array to write the gradient into, `out` if it fits, and its canonical form.

    Each position is written after it was read, so `out` may be `x` or another input of that shape
    itself. Any other overlap would change what is still to be read.
    """
    if out is None:
        out = np.empty(x.shape, dtype)
        return out, Operand(first(out, axes), dtype, len(axes))
    if not isinstance(out, np.ndarray):
        raise ValueError(f"out must be a NumPy array, not a {type(out).__name__}")
    if out.shape != x.shape:
        raise ValueError(f"out of shape {out.shape} does not fit the gradient's shape {x.shape}")
    if out.dtype.newbyteorder("=") != dtype:
        raise ValueError(f"out of dtype {out.dtype} does not fit the gradient's dtype {dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    canonical = first(out, axes)
    for operand in operands:
        if operand is not None and _overlap_in_part(canonical, operand.array):
            raise ValueError("out overlaps an input in part; pass the input itself or an array of its own")
    return out, Operand(canonical, dtype, len(axes))


def _overlap_in_part(a: Array, b: Array) -> bool:
    def walk(array: Array) -> Any:
        steps = [step for step in zip(array.shape, array.strides, strict=True) if step[0] != 1]
        return array.ctypes.data, array.dtype, steps

    if not np.may_share_memory(a, b) or walk(a) == walk(b):
        return False
    try:
        return np.shares_memory(a, b, max_work=_OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True


# Canonical forms


@dataclass(slots=True)
class Categories:
    """A problem over classes: arrays with the class axis first, positions after it."""

    x: Array  # (K, *positions)
    axis: int
    dtype: np.dtype[Any]  # of the result
    work: np.dtype[Any]  # to compute in
    index: Array | None = None  # (*positions), integers
    probability: Array | None = None  # (K, *positions)
    weight: Array | None = None  # (K,), as it was given
    ignore_index: int = -100
    where: Array | None = None  # (*positions), boolean
    all_count: bool = field(init=False)  # seen at a glance: all labels are classes and none is left out

    def __post_init__(self) -> None:
        self.all_count = self._all_count()

    def weights(self, y: Array | slice) -> Array | None:
        """Return the weights of classes `y`, in `wide`; None where there are none."""
        return None if self.weight is None else self.weight[y].astype(self.wide)

    def _all_count(self) -> bool:
        y, classes = self.index, len(self.x)
        if y is None or self.where is not None or 0 <= self.ignore_index < classes:
            return False
        if y.size == 0:
            return True
        kind = y.dtype.kind
        if kind == "i" and y.dtype.isnative and classes < 1 << (8 * y.itemsize - 1):
            y, kind = (
                y.view(_UNSIGNED[y.itemsize]),
                "u",
            )  # negative numbers are the largest: one look is enough
        return bool(np.maximum.reduce(y, axis=None) < classes and (kind == "u" or y.min() >= 0))

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape without classes."""
        return self.x.shape[1:]

    @property
    def wide(self) -> np.dtype[Any]:
        """The dtype of what there is one of per position."""
        return wide(self.work)


def categories(
    name: str,
    x: Array,
    target: ArrayLike,
    *,
    weight: ArrayLike | None,
    ignore_index: int,
    axis: int | None,
    where: ArrayLike | None,
    dtype: DTypeLike | None = None,
    soft: bool = True,
    blend: bool = False,
) -> Categories:
    """Bring logits (or log-probabilities), target and options into canonical form.

    The target's dtype decides what it is: integers are class indices, floats are probabilities,
    if `soft` allows them. `blend` tells that weights multiply whole rows, as they do with
    probabilities, and not one entry of each.
    """
    result = result_dtype(name, x, dtype)
    axis = class_axis(name, x, axis)
    ignore_index = integer("ignore_index", ignore_index)
    z = first(x, (axis,))
    t = real("target", target)
    _check_target(name, x, t, axis, soft)
    floating = is_floating(t)
    if floating and ignore_index >= 0:
        raise ValueError(
            f"ignore_index={ignore_index} means nothing for class probabilities; "
            "leave positions out with where="
        )
    w = None
    if weight is not None:
        w = real("weight", weight)
        if w.shape != (len(z),):
            raise ValueError(
                f"weight of shape {w.shape} must hold one number a class: expected ({len(z)},) "
                f"for {name} of shape {x.shape} with the class axis {axis}"
            )
    work = work_dtype(result, t, w if floating or blend else None)
    problem = Categories(
        x=z,
        axis=axis,
        dtype=result,
        work=work,
        index=None if floating else t,
        probability=first(t, (axis,)) if floating else None,
        weight=w,
        ignore_index=ignore_index,
        where=mask(where, z.shape[1:]),
    )
    check_labels(problem)
    return problem


def _check_target(name: str, x: Array, t: Array, axis: int, soft: bool) -> None:
    """Refuse a target whose dtype or shape does not fit, and guess what was meant."""
    without = x.shape[:axis] + x.shape[axis + 1 :]
    if t.dtype == np.bool_:
        raise TypeError(
            "target is boolean; class indices must be integers: write target.astype(int) for two "
            "classes, or binary_cross_entropy_with_logits for yes-or-no labels"
        )
    floating = is_floating(t)
    if floating and (t.shape == without or not soft):
        also = "" if soft else " (cross_entropy takes class probabilities, nll_loss does not)"
        raise TypeError(
            f"class indices must be integers, but target is {t.dtype} of shape {t.shape}: write "
            f"target.astype(int), or pass probabilities of the shape {x.shape} of {name}{also}"
        )
    if not floating and t.shape == x.shape:
        raise TypeError(
            f"class probabilities must be floating, but target is {t.dtype} of the shape {t.shape} "
            f"of {name}: write target.astype(float) for one-hot or probability rows of "
            f"cross_entropy, or target.argmax(axis={axis}) for class indices"
        )
    if t.shape == (x.shape if floating else without):
        return
    message = f"target of shape {t.shape} does not fit {name} of shape {x.shape}: expected "
    if soft:
        message += f"class indices of shape {without} or probabilities of shape {x.shape}"
    else:
        message += f"class indices of shape {without}"
    message += f" with the class axis {axis}"
    fits = [a for a in range(x.ndim) if x.shape[:a] + x.shape[a + 1 :] == t.shape]
    if fits:
        other = -1 if x.ndim - 1 in fits else fits[0]
        message += f"; it fits the class axis {other}: pass axis={other}"
    raise ValueError(message)


# Class indices: what only a pass over the target can check


def kept_labels(problem: Categories, y: Array, where: Array | None) -> tuple[Array, Array | None]:
    """Return class indices that are safe to pick with, and the positions that do not count, if any."""
    y = y.astype(np.intp, copy=False)
    if problem.all_count:
        return y, None
    dropped = left_out(y != problem.ignore_index if where is None else (y != problem.ignore_index) & where)
    if dropped is not None:
        y = y.copy()
        y[dropped] = 0
    return y, dropped


def left_out(where: Array | None) -> Array | None:
    """Return the positions of a block that do not count, None if all do."""
    if where is None or where.all():
        return None
    return np.flatnonzero(~where)


def check_labels(problem: Categories) -> None:
    """Refuse class indices outside ``[0, K)`` at positions that count."""
    y, classes = problem.index, len(problem.x)
    if y is None or problem.all_count:
        return
    found = ExactSum(np.dtype(np.float64))

    def rows(y: Array, where: Array | None) -> Array:
        return _outside(problem, y, where).astype(np.float64)

    where = problem.where
    sweep(rows, [as_is(y), as_is(where)], y.shape, sink=found)
    if found.total() == 0:
        return
    wrong = _outside(problem, y, where)  # only now an array of the target's size
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = f"target[{', '.join(map(str, at))}]" if at else "target"
    low, high = int(y[wrong].min()), int(y[wrong].max())
    cause = ""
    if low == high == classes and not (y == 0).any():
        cause = ": are labels counted from 1? Subtract 1"
    elif low == high < 0:
        cause = f": if {low} marks positions to leave out, pass ignore_index={low}"
    raise IndexError(
        f"{place} is {int(y[at])}, outside [0, {classes}) for K = {classes} classes on the class "
        f"axis {problem.axis}, and not ignore_index={problem.ignore_index}{cause}"
    )


def _outside(problem: Categories, y: Array, where: Array | None) -> Array:
    wrong: Array = ((y < 0) | (y >= len(problem.x))) & (y != problem.ignore_index)
    return wrong if where is None else wrong & where


def as_is(array: Array | None, class_axes: int = 0) -> Operand | None:
    """Make an array, if there is one, an operand in its own dtype."""
    return None if array is None else Operand(array, array.dtype.newbyteorder("="), class_axes)


def labels(name: str, target: ArrayLike, num_classes: int) -> Array:
    """Return class indices in ``[0, num_classes)``, of any shape."""
    y = real(name, target)
    if is_floating(y) or y.dtype == np.bool_:
        raise TypeError(f"class indices must be integers, but {name} is {y.dtype}: write {name}.astype(int)")
    wrong = (y < 0) | (y >= num_classes)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(map(str, at))}]" if at else name
        raise IndexError(f"{place} is {int(y[at])}, outside [0, {num_classes}) for K = {num_classes} classes")
    return y.astype(np.intp)
