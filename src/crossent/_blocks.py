"""The engine: the only file with a Python loop over data.

A page's row function works on arrays ``(K, n)``, classes first, and on vectors ``(n,)``. `sweep` runs it
on one block of positions after the other, so that temporaries stay in the cache and memory does not
grow with the input; several threads take blocks from the same list. Each position stands alone in
its column: blocks may be of any size and come in any order. Where one position alone has more
classes than a block should hold, these are taken one `Cut` after the other.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from crossent import _threads
from crossent._half import convert
from crossent._scratch import Array, room, rooms
from crossent._sums import ExactSum, row_sum

BLOCK_BYTES = 1 << 21  # of one array of a block: smaller ones pay for more calls, larger ones for memory
ELEMENT_BYTES = 1 << 19  # the same where there are no classes, and many arrays
CUT_BYTES = 1 << 19  # the classes of one position are cut to this; a sum's bits depend on it
FEW_CLASSES = 16  # up to here a loop over the classes of one row costs more than it does
THREAD_BYTES = 1 << 22  # waking a thread, and waiting for the interpreter, cost as much as this much work
_COLUMN_BYTES = 64  # what vectors (n,) add to a column of few classes
_NAMES = tuple(f"operand {i}" for i in range(8))  # of the rooms of their blocks
_SMALL = 1 << 16  # bytes of an input whose rows are taken as one: the next does not matter there
_SHORT = 1024  # columns: up to here the second index costs less than making one of two
_columns = np.arange(BLOCK_BYTES // _COLUMN_BYTES)  # no block has more
_BUFFER = 1024  # elements: NumPy copies rows shorter than its buffer before it broadcasts over them


class Operand(NamedTuple):
    """An array of shape ``(*classes, *positions)`` that a row function reads, or writes its result to.

    Its blocks are contiguous memory of `dtype`: NumPy's ``exp`` may give other bits for other strides.
    They may be the caller's memory, and are never written to unless they are the result.
    """

    array: Array
    dtype: np.dtype[Any]
    class_axes: int = 0


class Cut(NamedTuple):
    """Some neighbouring classes: all of them, or as many as fit into a block."""

    at: tuple[Any, ...]  # the index into the class axes
    start: int
    stop: int
    whole: bool

    def put(self, a: Array, k: Array, value: Any) -> None:
        """Set ``a[k] = value`` for those of the classes ``k (n,)`` that lie in this cut, ``a (k, n)``."""
        if self.whole:
            near, at = _entries(a, k)
            near[at] = value
        else:
            here = np.flatnonzero((self.start <= k) & (k < self.stop))
            a[k[here] - self.start, here] = np.broadcast_to(value, k.shape)[here]

    def take(self, a: Array, k: Array) -> Array:
        """Return ``a[k]`` in the same way; what lies in another cut is any number."""
        near, at = _entries(a, k if self.whole else np.clip(k - self.start, 0, len(a) - 1))
        found: Array = near[at]
        return found


class Block:
    """Some positions of an operand as ``(K, n)``, one cut of classes at a time."""

    __slots__ = ("_class_last", "_first", "_name", "_view", "_whole", "cuts", "dtype", "shape")

    def __init__(
        self, name: str, view: Array, dtype: np.dtype[Any], first: int, class_last: bool, cuts: list[Cut]
    ) -> None:
        self.dtype = dtype
        self._name = name  # of its room
        self.shape = cuts[-1].stop, math.prod(view.shape[first:])
        self.cuts = cuts
        self._view = view
        self._first = first
        self._class_last = class_last
        self._whole: Array | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, cut: Cut) -> Array:
        """Return a cut of classes as ``(k, n)``, a copy unless it lies there like that."""
        if not cut.whole:
            return _load(self._name, self._view[cut.at], self.dtype, self._first, self._class_last)
        if self._whole is None:
            self._whole = _load(self._name, self._view, self.dtype, self._first, self._class_last)
        return self._whole

    def pick(self, k: Array) -> Array:
        """Return the entries of classes ``k (n,)``, one a position."""
        if self._whole is not None:
            near, at = _entries(self._whole, k)
            found: Array = near[at]
            return found
        first, view = self._first, self._view
        if view.ndim == 2 and first == 1:
            return view[k, np.arange(len(k))].astype(self.dtype, copy=False)
        # flat: of shape (n, 1), NumPy 2.3 and 2.4 get it wrong from the 8,194th on (numpy#31980)
        where = (at.reshape(view.shape[first:]) for at in np.unravel_index(k, view.shape[:first]))
        places = np.indices(view.shape[first:], sparse=True)
        return view[(*where, *places)].reshape(-1).astype(self.dtype)

    def columns(self, n: Array | slice) -> "Block":
        """Return some positions of a block whose classes are in one cut."""
        block = Block(self._name, self._view, self.dtype, self._first, self._class_last, self.cuts)
        block._whole = self[self.cuts[0]][:, n]
        block.shape = block._whole.shape
        return block

    def largest(self) -> tuple[Array, Array]:
        """Return the first class ``(n,)`` whose entry is the largest, or NaN, and the entry."""
        k = np.zeros(self.shape[1], np.intp)
        m = np.full(self.shape[1], -np.inf, self.dtype)
        for cut in self.cuts:
            z = self[cut]
            here = _argmax(z)
            top = z[here, np.arange(len(here))]
            if cut.whole:
                return here, top
            better = (top > m) | (np.isnan(top) & ~np.isnan(m))
            k[better], m[better] = here[better] + cut.start, top[better]
        return k, m

    def extreme(self, of: np.ufunc, axis: int | None = None) -> Any:
        """Return the least or largest of all entries, or with `axis` 0 of each column ``(n,)``; or NaN."""
        return of.reduce([of.reduce(self[cut], axis) for cut in self.cuts])

    def sum(self, terms: Callable[[Cut], Array]) -> Array:
        """Add ``terms(cut)`` of shape ``(k, n)`` over all classes, in float64 or wider: ``(n,)``."""
        parts = [row_sum(terms(cut), self.dtype) for cut in self.cuts]
        return parts[0] if len(parts) == 1 else row_sum(np.stack(parts))


class Target(Block):
    """Some positions of a result as ``(K, n)``."""

    __slots__ = ()

    def write(self, fill: Callable[[Cut, Array], None]) -> None:
        """Have ``fill(cut, out)`` write into arrays ``(k, n)``: the result's own memory where it can be."""
        for cut in self.cuts:
            view = self._view if cut.whole else self._view[cut.at]
            out = _flat(view, self.dtype, self._first, self._class_last)
            if out is not None:
                fill(cut, out)
                continue
            out = self._room(cut)
            fill(cut, out)
            if self._first and self._class_last:
                view, out = np.moveaxis(view, range(self._first), range(-self._first, 0)), out.T
            convert(out.reshape(view.shape), view)

    def _room(self, cut: Cut) -> Array:
        n, k = self.shape[1], cut.stop - cut.start
        if not self._first:
            return room(self._name, (n,), self.dtype)
        if self._class_last:
            return room(self._name, (n, k), self.dtype).T
        return room(self._name, (k, n), self.dtype)


Rows = Callable[..., Any]  # to an array (n,), or None without a sink
Sink = Operand | ExactSum | None


def sweep(
    rows: Rows,
    operands: Sequence[Operand | None],
    positions: tuple[int, ...],
    *,
    sink: Sink = None,
    target: Operand | None = None,
    bulk: float = 1,
) -> None:
    """Run ``rows(*blocks)`` over all positions, with a `Target` as last argument if there is one.

    A block is a `Block` if the operand has classes, else an array ``(n,)``; what is None stays None. The
    vectors ``(n,)`` that `rows` returns go to `sink`. The first operand is the largest: it decides the
    order in which memory is read. `bulk` tells how many times the memory of a plain loss `rows` takes.
    """
    leader = operands[0]
    assert leader is not None
    array, first = leader.array, leader.class_axes
    itemsize = leader.dtype.itemsize
    widest = itemsize if first else max(operand.dtype.itemsize for operand in operands if operand)
    if array.itemsize == 2:  # copies of the input and, perhaps, of the gradient
        bulk += 0.75
    sizes = int(BLOCK_BYTES / bulk), ELEMENT_BYTES, CUT_BYTES, FEW_CLASSES
    plan = _plan(array.shape, array.strides, first, itemsize, widest, sizes)
    if plan.order:
        positions = tuple(positions[axis] for axis in plan.order)
        operands = [operand and _reordered(operand, plan.order) for operand in operands]
        target = target and _reordered(target, plan.order)
        sink = _reordered(sink, plan.order) if isinstance(sink, Operand) else sink
    size, total = array.size * itemsize, math.prod(positions)
    threads = _threads.get_num_threads() if size >= THREAD_BYTES else 1
    if min(threads, total) < 2:
        _run(rows, operands, sink, target, plan, _blocks(positions, plan.n), small=size < _SMALL)
        return
    n = min(plan.n, -(-total // (2 * threads)))  # work for every thread, in equal parts
    blocks = _Shared(_blocks(positions, n))

    def work() -> None:
        own = sink.empty() if isinstance(sink, ExactSum) else sink
        try:
            _run(rows, operands, own, target, plan, blocks, small=False)
        except BaseException:
            blocks.close()
            raise
        if isinstance(sink, ExactSum) and isinstance(own, ExactSum):
            with blocks.lock:
                sink.merge(own)

    _threads.share(work, min(threads, -(-total // n)) - 1)


class _Plan(NamedTuple):
    """How an array of some shape and strides is taken apart."""

    order: tuple[int, ...] | None  # of the axes of the positions, None as they are
    class_last: bool
    cuts: list[Cut]
    n: int  # positions a block


@lru_cache(maxsize=1 << 10)
def _plan(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    first: int,
    itemsize: int,
    widest: int,
    sizes: tuple[int, ...],
) -> _Plan:
    block_bytes, element_bytes, cut_bytes, few_classes = sizes
    steps = [abs(stride) for stride in strides]
    # The axis that memory holds closest together goes innermost; neighbours share cache lines.
    axes = range(len(shape) - first)
    order = tuple(sorted(axes, key=lambda axis: -steps[first + axis]))
    count = math.prod(shape[:first])
    class_last = (
        first > 0 and count > few_classes and min(steps[first:], default=math.inf) > min(steps[:first])
    )
    n = block_bytes // (itemsize * count + _COLUMN_BYTES) if first else element_bytes // widest
    cuts = _cuts(shape[:first], max(1, cut_bytes // itemsize)) if first else []
    if len(cuts) > 1:  # row functions choose for whole columns what to keep
        n = 1
    return _Plan(None if order == tuple(axes) else order, class_last, cuts, max(1, n))


def _run(
    rows: Rows,
    operands: Sequence[Operand | None],
    sink: Sink,
    target: Operand | None,
    plan: _Plan,
    blocks: Iterator[tuple[Any, ...]],
    *,
    small: bool,
) -> None:
    with np.errstate(all="ignore"), rooms:
        if not small:
            np.setbufsize(_BUFFER)
        for block in blocks:
            arguments = [
                operand and _block(name, operand, block, plan)
                for name, operand in zip(_NAMES, operands, strict=False)
            ]
            if target is not None:
                view = _part(target, block)
                cuts = plan.cuts if target.class_axes else _ELEMENTS
                arguments.append(
                    Target("target", view, target.dtype, target.class_axes, plan.class_last, cuts)
                )
            outcome = rows(*arguments)
            if isinstance(sink, ExactSum):
                sink.add(outcome)
            elif sink is not None:
                view = _part(sink, block)
                convert(outcome.reshape(view.shape), view)


def _block(name: str, operand: Operand, block: tuple[Any, ...], plan: _Plan) -> Any:
    view = _part(operand, block)
    if operand.class_axes:
        return Block(name, view, operand.dtype, operand.class_axes, plan.class_last, plan.cuts)
    return _load(name, view, operand.dtype, 0, False)


def _part(operand: Operand, block: tuple[Any, ...]) -> Array:
    if not block:
        return operand.array
    return operand.array[(*(slice(None),) * operand.class_axes, *block, ...)]


class _Shared:
    """An iterator that several threads pull from."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.lock = threading.Lock()
        self._iterator = iterator

    def __iter__(self) -> "_Shared":
        return self

    def __next__(self) -> Any:
        with self.lock:
            return next(self._iterator)

    def close(self) -> None:
        """Leave nothing to the other threads."""
        with self.lock:
            self._iterator = iter(())


def _reordered(operand: Operand, order: tuple[int, ...]) -> Operand:
    """Sort the position axes of an operand."""
    first = operand.class_axes
    axes = (*range(first), *(first + axis for axis in order))
    return operand._replace(array=operand.array.transpose(axes))


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


def _cuts(classes: tuple[int, ...], most: int) -> list[Cut]:
    """Cut the classes, in their own order, into pieces of at most `most`."""
    total = math.prod(classes)
    if total <= most:
        return [Cut((), 0, total, True)]
    cuts, start = [], 0
    for index in _blocks(classes, most):
        axis = len(index) - 1
        last = index[axis].indices(classes[axis])
        stop = start + (last[1] - last[0]) * math.prod(classes[axis + 1 :])
        outer = (slice(i, i + 1) for i in index[:axis])  # an axis is kept: its class axes are counted
        cuts.append(Cut((*outer, slice(*last)), start, stop, False))
        start = stop
    return cuts


_ELEMENTS = [Cut((), 0, 1, True)]  # of what has no classes


def _load(name: str, view: Array, dtype: np.dtype[Any], first: int, class_last: bool) -> Array:
    """Return ``(*classes, *positions)`` as ``(K, n)``, or ``(n,)`` without classes; a copy if need be."""
    near = _flat(view, dtype, first, class_last)
    if near is not None:
        return near
    shape = view.shape
    if first and class_last:
        view = np.moveaxis(view, range(first), range(-first, 0))
    copy = room(name, view.shape, dtype)
    convert(view, copy)
    n = math.prod(shape[first:])
    if not first:
        return copy.reshape(n)
    count = math.prod(shape[:first])
    return copy.reshape(n, count).T if class_last else copy.reshape(count, n)


def _flat(view: Array, dtype: np.dtype[Any], first: int, class_last: bool) -> Array | None:
    """See ``(*classes, *positions)`` as ``(K, n)``, or as ``(n,)`` without classes; None if it takes a copy.

    That is, unless its numbers are of `dtype`, and those of a row, or with `class_last` of a column, are
    neighbours.
    """
    if view.dtype != dtype or not view.flags.aligned:
        return None
    shape, strides, near = view.shape, view.strides, view.itemsize
    if view.ndim == 2 and first == 1 and shape[not class_last] != 1:
        return view if strides[not class_last] == near else None
    if view.ndim == 1 and not first and strides[0] == near:
        return view
    rows, columns = _merged(shape[:first], strides[:first]), _merged(shape[first:], strides[first:])
    if rows is None or columns is None:
        return None
    inner, outer = (rows, columns) if class_last and first else (columns, rows)
    if (outer if inner[0] == 1 else inner)[1] not in (near, None):
        return None
    if not first:
        return view.reshape(columns[0])
    if first == 1 and view.ndim == 2:
        return view
    return view.reshape(rows[0], columns[0])


def _merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int | None] | None:
    """Return length and stride of some axes taken as one, None if they don't follow each other."""
    length, stride = 1, None
    for n, step in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1:
            if stride is not None and step != length * stride:
                return None
            stride = step if stride is None else stride
            length *= n
    return length, stride


def _entries(a: Array, k: Array) -> tuple[Array, Any]:
    """Return memory and index of ``a[k]`` for ``a (K, n)`` and ``k (n,)``: one index is faster than two."""
    n = len(k)
    columns = _columns[:n]
    if n <= _SHORT or min(a.strides) <= 0:
        return a, (k, columns)
    down, right = (stride // a.itemsize for stride in a.strides)
    size = 1 + (len(a) - 1) * down + (n - 1) * right  # with what lies between the rows
    at = k * down + columns if right == 1 else k + columns * right
    return as_strided(a, (size,), (a.itemsize,)), at


def _argmax(z: Array) -> Array:
    """Return the class ``(n,)`` of the first largest entry of each column, or of its first NaN."""
    if z.shape[0] == 1 or z.strides[0] < z.strides[1]:
        k: Array = z.argmax(axis=0)
        return k
    # Classes first: NumPy's argmax takes one column after the other, maximum and comparison take them all.
    count = len(z)
    rank = np.arange(count, 0, -1, dtype=np.min_scalar_type(count))[:, np.newaxis]
    k = count - ((z == z.max(axis=0)) * rank).max(axis=0).astype(np.intp)
    strange = np.flatnonzero(k == count)  # NaN equals nothing
    if strange.size:
        k[strange] = z[:, strange].argmax(axis=0)
    return k
