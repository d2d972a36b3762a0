"""How near a result must be to that of a peer which rounds as well.

    |actual - peer| <= LIMIT ulp of `scale`  +  PEER * `reach`

The first part is the project's own promise, in the dtype of the result: the limit of the one
table, counted in ulps of the result itself or, where terms cancel, of `scale`, the largest of them.
The second is what a float64 peer may be wrong by: `reach` is the sum of the magnitudes that it adds
up on its way (m - z[k], the logarithm of the sum, a weight), whether or not they cancel in the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crossent.testing._limits import LIMITS

# A float64 peer adds up at most 128 terms in a row, classes or positions (longer sums are added in
# cascades), and takes some twenty steps between; each rounds by at most eps / 2 of what it has so
# far: 128 + 20 halves make 74 eps. What exp makes of a rounded argument is inside `reach`.
PEER = 74 * float(np.finfo(np.float64).eps)

HALF = 0.51  # ulp: a half-precision result is the float32 one, rounded


@dataclass(frozen=True)
class Expected:
    """A peer's result, what the project's ulps are counted in, and what the peer's are."""

    peer: np.ndarray
    scale: np.ndarray | None  # None: the result itself
    reach: np.ndarray


def ulp(x: Any, dtype: Any) -> np.ndarray:
    """The distance between neighbours of `dtype` around the float64 numbers x, subnormals too."""
    dtype = np.dtype(dtype)
    if dtype.name == "bfloat16":
        digits, lowest = 7, -126
    else:
        digits, lowest = np.finfo(dtype).nmant, np.finfo(dtype).minexp
    exponent = np.frexp(np.abs(np.asarray(x, np.float64)))[1] - 1
    exponent = np.where(np.asarray(x) == 0, lowest, np.maximum(exponent, lowest))
    return np.ldexp(1.0, exponent - digits)


def tolerance(function: str, expected: Expected, dtype: Any) -> np.ndarray:
    """The right-hand side of the inequality above."""
    dtype = np.dtype(dtype).newbyteorder("=")
    size = np.abs(expected.peer)
    scale = size if expected.scale is None else np.maximum(size, expected.scale)
    if dtype.itemsize == 2:
        own = HALF * ulp(size, dtype) + LIMITS[function]["float32"] * ulp(scale, np.float32)
    elif dtype == np.float32:
        own = LIMITS[function]["float32"] * ulp(scale, dtype)
    else:  # of longdouble only what a float64 peer can see
        own = LIMITS[function]["float64"] * ulp(scale, np.float64)
    return own + PEER * expected.reach


def assert_near(function: str, actual: Any, expected: Expected, dtype: Any, what: str) -> None:
    """Compare one result; the message names the worst entry and ends with `what`, to paste."""
    peer = np.asarray(expected.peer, np.float64)
    assert actual.dtype == np.dtype(dtype).newbyteorder("="), f"dtype {actual.dtype}\n{what}"
    assert actual.shape == peer.shape, f"shape {actual.shape}, the peer's {peer.shape}\n{what}"
    a = np.asarray(actual, np.longdouble if actual.dtype == np.longdouble else np.float64)
    finite = np.isfinite(peer)
    same = np.where(finite, np.isfinite(a), (a == peer) | (np.isnan(a) & np.isnan(peer)))
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = tolerance(function, expected, dtype)
        distance = np.where(finite & same, np.abs(a - peer), 0)
        excess = np.where(finite & same, distance / allowed, np.where(same, 0, np.inf))
    if excess.size and excess.max() > 1:
        worst = np.unravel_index(int(excess.argmax()), excess.shape)
        most = np.broadcast_to(allowed, a.shape)[worst]
        raise AssertionError(
            f"{function}{list(map(int, worst))} = {a[worst]!r}, the peer's {peer[worst]!r}: "
            f"{excess[worst]:.3g} times the {most:.3g} allowed\n{what}"
        )


def snippet(function: str, *args: Any, **kwargs: Any) -> str:
    """The call as Python to paste; arrays of more than 64 entries by dtype and shape only."""

    def show(value: Any) -> str:
        if isinstance(value, np.ndarray):
            if value.size > 64:
                return f"<{value.dtype} {value.shape}>"
            items = (
                str(np.asarray(value, np.float64).tolist() if value.dtype.kind == "f" else value.tolist())
                .replace("inf", "np.inf")
                .replace("nan", "np.nan")
            )
            shape = f".reshape{value.shape}" if value.size == 0 else ""
            return f"np.array({items}, {value.dtype.str!r}){shape}"
        if isinstance(value, type) and issubclass(value, np.generic):
            return f"np.{value.__name__}"
        return repr(value)

    shown = [show(value) for value in args] + [f"{k}={show(v)}" for k, v in kwargs.items()]
    return f"crossent.{function}({', '.join(shown)})"
