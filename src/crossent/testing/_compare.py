"""Comparisons that the laws are made of: digits against the exact numbers, and bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from crossent.testing._calls import Call
from crossent.testing._truth import CONTEXT, ZERO_OR_NAN, Exact, Objects, decimal, decimals
from crossent.testing._ulp import ulp_size

Array = npt.NDArray[Any]


@contextmanager
def may_be_refused() -> Iterator[None]:
    """Of calls that an implementation need not take: to refuse them is no wrong answer."""
    try:
        yield
    except Broken as broken:
        if not broken.raised:
            raise


class Broken(AssertionError):
    """A law does not hold: on which call, in which number, what came and what was due.

    Parameters
    ----------
    call : Call
        The call that shows it.
    quantity : str
        ``"value"`` or ``"gradient"``.
    problem : str
        What is wrong.
    came, due : str
        What the implementation gave, and what it should have.
    raised : bool
        Whether the implementation raised.
    """

    def __init__(
        self,
        call: Call,
        quantity: str,
        problem: str,
        came: str = "",
        due: str = "",
        *,
        raised: bool = False,
    ) -> None:
        self.call, self.quantity, self.problem = call, quantity, problem
        self.came, self.due, self.raised = came, due, raised
        super().__init__(f"{quantity}: {problem}; came {came}, due {due}")


def show(v: Any) -> str:
    """A number in as many digits as matter."""
    if isinstance(v, Decimal):
        if not v.is_finite():
            return {"Infinity": "inf", "-Infinity": "-inf"}.get(str(v), "nan")
        return f"{v:.20g}" if v else "0"
    return str(v)


def _distance(got: Decimal, due: Decimal, scale: Decimal, limit: float, dtype: np.dtype[Any]) -> float:
    """Distance in ulps of the larger of `due` and `scale` in `dtype`; 0 if clearly below the limit.

    The computed number may have more digits than `dtype`.
    """
    info = np.finfo(dtype)
    error, magnitude = abs(got - due), max(abs(due), scale)
    size = float(magnitude)
    if 0 < size < math.inf:
        exponent = max(math.frexp(size)[1] - 1, int(info.minexp)) - int(info.nmant)
        if float(error) <= limit / 4 * math.ldexp(1.0, exponent):  # size may be rounded up to a power of two
            return 0.0
    try:
        return float(Fraction(error) / ulp_size(dtype, magnitude))
    except OverflowError:
        return math.inf


def check_digits(
    call: Call,
    quantity: str,
    actual: Array,
    exact: Any,
    *,
    scale: Any,
    least: Objects | None,
    limit: float,
    coarse: Decimal | None = None,
    note: str = "",
) -> None:
    """Raise Broken unless `actual` is within `limit` ulp of the exact numbers.

    Where the exact number, or a factor of it, is below the normal numbers only its smallness is asked for;
    above the largest number it is infinite. With `coarse`, ulps are those of the largest of the numbers or of
    `coarse`, but for exact zeros.
    """
    dtype = call.result
    exact, scale = np.asarray(exact, object), np.asarray(scale, object)
    info = np.finfo(dtype)
    # half precision is computed in float32: its factors may be as small as float32's
    tiny = decimal(np.finfo(np.float32).tiny if dtype.itemsize == 2 else info.tiny)
    largest = decimal(info.max)
    half = largest * decimal(info.eps) / 4
    leasts: list[Decimal | None] = [None] * exact.size if least is None else list(least.ravel())
    indices = list(np.ndindex(exact.shape))
    entries = zip(indices, actual.ravel(), exact.ravel(), scale.ravel(), leasts, strict=True)
    with localcontext(CONTEXT):
        least_size = Decimal(0)
        if coarse is not None:
            least_size = max([coarse, *(abs(v) for v in exact.flat if v.is_finite())])
        for index, got, due, size, smallest in entries:
            if size:
                size = max(size, least_size)
            small = (dtype.itemsize > 2 and max(abs(due), size) < tiny) or (
                smallest is not None and smallest < tiny
            )
            problem = _problem(decimal(got), due, size, small, dtype, tiny, largest, half, limit)
            if problem:
                where = f" at {list(index)}" if index else ""
                raise Broken(call, quantity, f"{problem}{where}{note}", show(got), show(due))


def _problem(
    got: Decimal,
    due: Decimal,
    size: Decimal,
    small: bool,
    dtype: np.dtype[Any],
    tiny: Decimal,
    largest: Decimal,
    half: Decimal,
    limit: float,
) -> str:
    """What is wrong with one number; nothing if it is right."""
    if due.is_nan():
        either = due.compare_total(ZERO_OR_NAN) == 0
        return "" if got.is_nan() or (either and got == 0) else "not NaN"
    if got.is_nan():
        return "NaN"
    if due.is_infinite():
        return "" if got == due else "not infinite" if got.is_finite() else "of the wrong sign"
    if due == 0 and size == 0:
        return "" if got == 0 else "not 0"
    if abs(due) > largest - 64 * half:
        # the largest numbers may round to inf, and what is beyond must, or be the largest one
        if got * due < 0:
            return "of the wrong sign"
        if got.is_infinite():
            return ""
        if abs(due) >= largest + half:
            return "not infinite" if got.copy_abs() < largest else ""  # abs() would round
    if got.is_infinite():
        return "infinite"
    if small:
        return "" if abs(got - due) <= max(abs(size), tiny) * 2 else "not small"
    ulp = _distance(got, due, abs(size), limit, dtype)
    return "" if ulp <= limit else f"{ulp:.3g} ulp away (limit {limit:g})"


def check_bits(call: Call, quantity: str, actual: Array, due: Array, what: str) -> None:
    """Raise Broken unless both are the same numbers in every bit (NaN is NaN, 0 is not -0)."""
    same = (actual == due) & (np.signbit(actual) == np.signbit(due)) | (np.isnan(actual) & np.isnan(due))
    if not np.all(same):
        index = tuple(int(i) for i in np.argwhere(~same)[0])
        place = f" at {list(index)}" if index else ""
        raise Broken(call, quantity, what + place, show(actual[index]), show(due[index]))


def repeated(e: Exact, times: int, *, mean: bool) -> Exact:
    """The exact sum (or mean) over rows that are repeated, and the gradient of one repetition."""
    n, one = Decimal(times), Decimal(1)
    up, down = (one, n) if mean else (n, one)
    with localcontext(CONTEXT):
        return replace(
            e,
            value=e.value * up,
            value_scale=e.value_scale * up,
            grad=e.grad / down,
            grad_scale=e.grad_scale / down,
        )


def total(dtype: np.dtype[Any], *parts: Array) -> tuple[Objects, Objects]:
    """The exact sum of results, and the sum of their magnitudes.

    In half precision the magnitude is at least that of a normal number: below, the parts are rounded to
    multiples of the smallest one.
    """
    with localcontext(CONTEXT):
        pieces = [decimals(p) for p in parts]
        value = sum(pieces[1:], pieces[0])
        size = sum((abs(p) for p in pieces[1:]), abs(pieces[0]))
        return value, at_least(size, dtype)


def at_least(size: Any, dtype: np.dtype[Any]) -> Objects:
    """Magnitudes in whose ulps results are compared with results."""
    least = decimal(np.finfo(dtype).tiny) if dtype.itemsize == 2 else Decimal(0)
    result: Objects = np.asarray(np.frompyfunc(lambda v: max(v, least), 1, 1)(size), object)
    return result
