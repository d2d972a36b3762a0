"""Numbers for the strategies: some of a few, from a seed, and the regimes of logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from crossent.testing._calls import Array
from crossent.testing._hypothesis import hypothesis

st: Any = hypothesis("hypothesis.strategies")

Draw = Callable[[Any], Any]

_SEEDS = st.integers(0, 2**32 - 1)
_SMALL = 16  # arrays up to here are drawn number by number, so that Hypothesis can shrink them


def _spread(dtype: npt.DTypeLike) -> float:
    """Where exp of a difference is still comfortably normal in `dtype`."""
    return {2: 8.0, 4: 80.0}.get(np.dtype(dtype).itemsize, 600.0)


def _just_normal(dtype: npt.DTypeLike) -> float:
    """The largest margin, in quarters, at which exp of minus it is a normal number."""
    return math.floor(-4 * math.log(np.finfo(dtype).tiny)) / 4


def seeded(draw: Draw) -> np.random.Generator:
    return np.random.default_rng(draw(_SEEDS))


@cache
def _choice(values: tuple[Any, ...]) -> Any:
    return st.sampled_from(values)


def choice(values: Sequence[Any]) -> Any:
    """A strategy for one of these, made once."""
    return _choice(tuple(values))


def some_of(draw: Draw, shape: tuple[int, ...], values: Sequence[float]) -> Array:
    """An array of some of these numbers, in float64."""
    size = int(np.prod(shape))
    if size <= _SMALL:
        each = choice(values)
        return np.reshape([draw(each) for _ in range(size)], shape).astype(np.float64)
    return np.asarray(seeded(draw).choice(np.asarray(values, np.float64), shape))


def _plain(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    size = int(np.prod(shape))
    if size > _SMALL:
        return 4 * seeded(draw).standard_normal(shape)
    width = min(8 * dt.itemsize, 64)
    each = _few_units(width)
    return np.reshape([draw(each) for _ in range(size)], shape).astype(np.float64)


@cache
def _few_units(width: int) -> Any:
    return st.one_of(st.integers(-4, 4).map(float), st.floats(-5, 5, width=width, allow_subnormal=False))


def _dense(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    scale = draw(choice([1.0, 4.0, 16.0, _spread(dt) / 4]))
    return np.asarray(np.clip(scale * seeded(draw).standard_normal(shape), -3 * scale, 3 * scale))


def _ties(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    return some_of(draw, shape, [0.0, 1.0])


def _confident(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    sizes = [*(part * _spread(dt) for part in (0.25, 0.5, 0.9, 1.0)), _just_normal(dt)]
    margins = [sign * size for size in sizes for sign in (1, -1)]
    return some_of(draw, shape, [0.0, 0.25, -0.5, 1.0, 20.0, -20.0, *margins])


def _wide(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    return seeded(draw).uniform(-_spread(dt), _spread(dt), shape)


def _offset(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    sizes = [10.0**n for n in (0, 1, 2, 3, 4, 6, 8, 12, 16, 30, 36) if 10.0**n < np.finfo(dt).max / 4]
    offset = draw(choice(sizes)) * draw(choice([1.0, -1.0]))
    return np.asarray(offset + some_of(draw, shape, [float(k) for k in range(-4, 5)]))


def _tiny(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    info = np.finfo(dt)
    return some_of(
        draw,
        shape,
        [0.0, float(info.tiny), -float(info.tiny), float(info.eps), float(info.smallest_subnormal)],
    )


def _edges(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
    info = np.finfo(dt)
    some = [0.0, -0.0, 1.0, -1.0, float(info.tiny), -float(info.tiny), float(info.smallest_subnormal)]
    some += [
        float(info.eps),
        -float(info.eps),
        20.0,
        -20.0,
        88.0,
        -88.0,
        103.0,
        710.0,
        745.0,
        -745.0,
        3e4,
        -3e4,
    ]
    some += [float(info.max) / 4, -float(info.max) / 4, _just_normal(dt), -_just_normal(dt)]
    # sums of a few weighted losses stay finite
    top = float(info.max) / (4 if dt.itemsize == 2 else 2**12)
    return np.clip(some_of(draw, shape, some), -top, top)


def _sprinkled(*values: float) -> Callable[[Draw, tuple[int, ...], np.dtype[Any]], Array]:
    """Ordinary numbers with these among them."""

    def numbers(draw: Draw, shape: tuple[int, ...], dt: np.dtype[Any]) -> Array:
        base = draw(choice([_plain, _ties, _confident]))(draw, shape, dt)
        marks = some_of(draw, shape, [0.0, 0.0, *range(1, len(values) + 1)]).astype(int)
        return np.asarray(np.choose(marks, [base, *(np.full(shape, v) for v in values)]))

    return numbers


REGIMES: dict[str, Callable[[Draw, tuple[int, ...], np.dtype[Any]], Array]] = {
    "plain": _plain,
    "dense": _dense,
    "ties": _ties,
    "confident": _confident,
    "wide": _wide,
    "offset": _offset,
    "tiny": _tiny,
    "edges": _edges,
    "masked": _sprinkled(-np.inf),
    "infinite": _sprinkled(-np.inf, np.inf),
    "nan": _sprinkled(np.nan, -np.inf, np.inf),
}
