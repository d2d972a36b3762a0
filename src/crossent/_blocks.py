"""The engine: the only file with a Python loop over data.

A page's row function works on whole arrays ``(K, n)``, classes first, and on vectors ``(n,)``. `sweep`
runs it on one cache-sized block of positions after the other, so that temporaries stay in the cache
and memory does not grow with the input. Each position stands alone in its column: blocks may be of
any size and come in any order.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossent._sums import Array, ExactSum

BLOCK_BYTES = 1 << 20  # of one array of a block: smaller ones pay for more calls, larger ones for memory
FEW_CLASSES = 16  # up to here a loop over the classes of one row costs more than it does


@dataclass(frozen=True)
class Operand:
    """An array of shape ``(*classes, *positions)`` that a row function reads, or its result.

    A block of it has shape ``(K, n)``, or ``(n,)`` when there is no class axis, in contiguous memory of
    `dtype`: NumPy's ``exp`` may give other bits for other strides. It may be the caller's memory
    and is never written to.
    With `dtype` None the block is a view, with its positions in as many axes as they have.
    """

    array: Array
    dtype: np.dtype[Any] | None
    class_axes: int = 0

    def view(self, block: tuple[Any, ...]) -> Array:
        every: tuple[Any, ...] = (slice(None),) * self.class_axes
        return self.array[(*every, *block, ...)]


def sweep(
    rows: Callable[..., tuple[Array | None, ...]],
    operands: Sequence[Operand | None],
    results: Sequence[Operand | ExactSum | None],
    positions: tuple[int, ...],
) -> None:
    """Run ``rows(*blocks)`` over all positions and put what it returns into `results`.

    The first operand is the largest: it decides the order in which memory is read. What is None
    stays None, for operands and results alike.
    """
    leader = operands[0]
    assert leader is not None
    classes = leader.array.shape[: leader.class_axes]
    count = math.prod(classes)
    # The axis that memory holds closest together goes innermost; neighbours share cache lines.
    strides = [abs(stride) for stride in leader.array.strides]
    order = sorted(range(len(positions)), key=lambda axis: -strides[leader.class_axes + axis])
    positions = tuple(positions[axis] for axis in order)
    class_last = count > FEW_CLASSES and min(strides[leader.class_axes :], default=math.inf) > min(
        strides[: leader.class_axes], default=0
    )
    sources = [operand and _reordered(operand, order) for operand in operands]
    sinks = [_reordered(sink, order) if isinstance(sink, Operand) else sink for sink in results]
    itemsize = leader.dtype.itemsize if leader.dtype else leader.array.itemsize
    with np.errstate(all="ignore"):
        for block in _blocks(positions, max(1, BLOCK_BYTES // (itemsize * max(1, count)))):
            outcome = rows(*(source and _load(source, block, class_last) for source in sources))
            for sink, value in zip(sinks, outcome, strict=True):
                if sink is None or value is None:
                    continue
                if isinstance(sink, ExactSum):
                    sink.add(value)
                else:
                    _store(sink, block, value, class_last)


def _reordered(operand: Operand, order: list[int]) -> Operand:
    """Sort the position axes of an operand."""
    if order == sorted(order):
        return operand
    first = operand.class_axes
    axes = (*range(first), *(first + axis for axis in order))
    return Operand(operand.array.transpose(axes), operand.dtype, first)


def _blocks(positions: tuple[int, ...], n: int) -> Iterator[tuple[Any, ...]]:
    """Yield indices that cut an array of shape `positions` into blocks of about `n` positions.

    Trailing axes are taken whole as long as they fit; the axis before them is cut into slices.
    """
    if 0 in positions:
        return
    axis, inner = len(positions), 1
    while axis > 0 and inner * positions[axis - 1] <= n:
        axis -= 1
        inner *= positions[axis]
    if axis == 0:
        yield ()
        return
    step = max(1, n // inner)
    for outer in np.ndindex(positions[: axis - 1]):
        for start in range(0, positions[axis - 1], step):
            yield (*outer, slice(start, start + step))


def _load(operand: Operand, block: tuple[Any, ...], class_last: bool) -> Array:
    """Return a block of an operand as ``(K, n)`` or ``(n,)``, a copy unless it lies there like that."""
    view = operand.view(block)
    if operand.dtype is None:
        return view
    first = operand.class_axes
    classes, positions = view.shape[:first], view.shape[first:]
    if first and class_last:
        view = np.moveaxis(view, range(first), range(-first, 0))
    near = np.require(view, operand.dtype, ["C", "A"])
    if not first:
        return near.reshape(math.prod(positions))
    if class_last:  # seen as (K, n), the memory of (n, K): shapes are the same in both layouts
        return near.reshape(math.prod(positions), math.prod(classes)).T
    return near.reshape(math.prod(classes), math.prod(positions))


def _store(operand: Operand, block: tuple[Any, ...], value: Array, class_last: bool) -> None:
    """Write a block, rounded to the result's dtype."""
    view = operand.view(block)
    first = operand.class_axes
    if first and class_last:
        view = np.moveaxis(view, range(first), range(-first, 0))
        value = value.T
    np.copyto(view, value.reshape(view.shape), casting="unsafe")
