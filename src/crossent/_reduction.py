"""none, sum and mean: how losses become the value, and how the value's cotangent gets back to them.

Policies, each in one place:

* the denominator of the mean is the number of positions that count or, with class indices, the
  sum of their class weights; over nothing the mean is 0 / 0 = NaN and the sum 0;
* totals and denominators are exact sums, rounded once to float64 (or longdouble), and the result
  is rounded to its own dtype last.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossent._arguments import (
    Categories,
    as_is,
    broadcast,
    gradient_array,
    kept_labels,
)
from crossent._blocks import Operand, sweep
from crossent._scratch import Array
from crossent._sums import ExactSum


@dataclass(frozen=True)
class Cotangent:
    """What arrives at each loss from above: ``value / divisor``, not yet divided."""

    value: Array  # (n,) or one number
    divisor: Array  # one number


class Reduction:
    """The last step of a loss over `positions`, and the first step of its gradient."""

    def __init__(
        self,
        reduction: str,
        positions: tuple[int, ...],
        dtype: np.dtype[Any],
        wide: np.dtype[Any],
        count: Callable[[], Any],
        grad_output: ArrayLike | None = None,
    ) -> None:
        self._positions = positions
        self._dtype = dtype
        self._divisor = wide.type(count() if reduction == "mean" else 1)
        # Where the losses of a block go.
        self._sink: Operand | ExactSum
        self._upstream: Operand | None = None  # the cotangents of "none", one for each loss,
        self._shared: Any = wide.type(1)  # or the one that all losses share
        if reduction == "none":
            self._sink = Operand(np.empty(positions, dtype), dtype)
        else:
            self._sink = ExactSum(wide, rough=dtype.itemsize < 8 == wide.itemsize)
        if grad_output is not None:
            shape = positions if reduction == "none" else ()
            g = broadcast("grad_output", grad_output, shape, "the value")
            if reduction == "none":
                self._upstream = Operand(g, wide)
            else:
                self._shared = wide.type(g[()])

    def run(
        self,
        rows: Callable[..., Array | None],
        operands: Sequence[Operand | None],
        x: Array,
        axes: tuple[int, ...],
        *,
        value: bool,
        grad: bool,
        out: Array | None,
        work: np.dtype[Any],
        bulk: float = 1,
    ) -> tuple[Any, Any]:
        """Run ``rows(*blocks, g, target)``, cotangents and a place for the gradient, to value and gradient.

        What is not wanted is None: `g` and `target`, what `rows` returns, and the result.
        """
        operands = [*operands, self._upstream]

        def of_values(*blocks: Any) -> Array | None:
            return rows(*blocks[:-1], None, None)

        def of_both(*blocks: Any) -> Array | None:
            g = self._shared if blocks[-2] is None else blocks[-2]
            return rows(*blocks[:-2], Cotangent(g, self._divisor), blocks[-1])

        result = None
        if grad:
            result, target = gradient_array(out, x, self._dtype, axes, operands)
            if (
                out is not None
                and isinstance(self._sink, ExactSum)
                and any(
                    operand is not None and np.may_share_memory(result, operand.array) for operand in operands
                )
            ):
                self._sink = ExactSum(self._sink.dtype)  # the gradient takes an input's place: no second look
            into = target._replace(dtype=work)
            sweep(
                of_both, operands, self._positions,
                sink=self._sink if value else None, target=into, bulk=bulk,
            )  # fmt: skip
            if out is None:
                result = result[()]
        else:
            sweep(of_values, operands, self._positions, sink=self._sink, bulk=bulk)
        return (self._value(of_values, operands, bulk) if value else None), result

    def _value(
        self, rows: Callable[..., Array | None], operands: Sequence[Operand | None], bulk: float
    ) -> Any:
        if isinstance(self._sink, Operand):
            return self._sink.array[()]
        with np.errstate(all="ignore"):
            if not self._sink.decides(self._divisor, self._dtype):
                self._sink = ExactSum(self._sink.dtype)
                sweep(rows, operands, self._positions, sink=self._sink, bulk=bulk)
            return self._sink.over(self._divisor).astype(self._dtype)


def count_positions(positions: tuple[int, ...], where: Array | None) -> int:
    """Return how many positions count."""
    return math.prod(positions) if where is None else int(np.count_nonzero(where))


def count_labels(problem: Categories) -> Any:
    """Return the sum of the class weights of the labels that count, NaN if all of these are 0."""
    if problem.index is None:
        return count_positions(problem.positions, problem.where)
    if problem.weight is None and problem.all_count:
        return problem.index.size
    total = _sum_of_labels(problem, np.positive)
    if total == 0 and _sum_of_labels(problem, np.abs) == 0:
        return np.nan
    return total


def _sum_of_labels(problem: Categories, of: Callable[[Array], Array]) -> Any:
    total = ExactSum(problem.wide)

    def rows(y: Array, where: Array | None) -> Array:
        y, dropped = kept_labels(problem, y, where)
        w = problem.weights(y)
        counted = np.ones(len(y), problem.wide) if w is None else of(w)
        if dropped is not None:
            counted[dropped] = 0
        return counted

    sweep(rows, [as_is(problem.index), as_is(problem.where)], problem.positions, sink=total)
    return total.total()
