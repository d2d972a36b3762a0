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
from crossent._sums import Array, ExactSum


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
        self._sink: Operand | ExactSum = ExactSum(wide)  # where the losses of a block go
        self._upstream: Operand | None = None  # the cotangents of "none", one for each loss,
        self._shared: Any = wide.type(1)  # or the one that all losses share
        if reduction == "none":
            self._sink = Operand(np.empty(positions, dtype), dtype)
        if grad_output is not None:
            shape = positions if reduction == "none" else ()
            g = broadcast("grad_output", grad_output, shape, "the value")
            if reduction == "none":
                self._upstream = Operand(g, wide)
            else:
                self._shared = wide.type(g[()])

    def run(
        self,
        rows: Callable[..., tuple[Array | None, Array | None]],
        operands: Sequence[Operand | None],
        x: Array,
        axes: tuple[int, ...],
        *,
        value: bool,
        grad: bool,
        out: Array | None,
    ) -> tuple[Any, Any]:
        """Run ``rows(*blocks, g)``, `g` the cotangents or None, to ``(losses, gradient)``.

        What is not wanted is None, in what `rows` returns and in the result.
        """
        operands = [*operands, self._upstream]
        gradient = result = None
        if grad:
            result, gradient = gradient_array(out, x, self._dtype, axes, operands)

        def with_cotangent(*blocks: Array) -> tuple[Array | None, Array | None]:
            g = self._shared if blocks[-1] is None else blocks[-1]
            return rows(*blocks[:-1], Cotangent(g, self._divisor) if grad else None)

        sweep(with_cotangent, operands, [self._sink if value else None, gradient], self._positions)
        if result is not None and out is None:
            result = result[()]
        return (self._value() if value else None), result

    def _value(self) -> Any:
        if isinstance(self._sink, Operand):
            return self._sink.array[()]
        with np.errstate(all="ignore"):
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
    w = problem.class_weights
    total = _sum_of_labels(problem, w)
    if total == 0 and _sum_of_labels(problem, np.abs(w)) == 0:
        return np.nan
    return total


def _sum_of_labels(problem: Categories, w: Array) -> Any:
    total = ExactSum(problem.wide)

    def rows(y: Array, where: Array | None) -> tuple[Array]:
        y, kept = kept_labels(y, where, problem.ignore_index)
        return (np.where(kept, w[y], 0),)

    sweep(rows, [as_is(problem.index), as_is(problem.where)], [total], problem.positions)
    return total.total()
