"""Hypothesis strategies for whole calls, and the memory layouts that one array can have.

`calls(function)` draws a `laws.Call`: dtype, class axis, logits in one of several regimes, target
kind and dtype, every option, and a cotangent. Edge values are on by default.
"""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from laws import BINARY, CLASS_LOSSES, ELEMENTWISE, LOSSES, Call

FLOATS = ("float16", "float32", "float64")
INDEX_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4")

# ---------------------------------------------------------------------------------------
# layouts: the same numbers, another memory


def _strided(x):
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), x.dtype)
    view = wide[..., ::2] if x.ndim else wide[0]
    if x.ndim:
        view[...] = x
        return view
    return np.array(x)


def _reversed(x):
    flip = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[flip])[flip] if x.ndim else np.array(x)


def _read_only(x):
    x = np.array(x)
    x.flags.writeable = False
    return x


def _swapped(x):
    return np.asarray(x).astype(x.dtype.newbyteorder("S"))


def _unaligned(x):
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    view = buffer[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def _transposed(x):
    return np.ascontiguousarray(x.T).T


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "transposed": _transposed,
    "strided": _strided,
    "reversed": _reversed,
    "read-only": _read_only,
    "byte-swapped": _swapped,
    "unaligned": _unaligned,
}
layouts = st.sampled_from(sorted(LAYOUTS))


def in_layout(x, name):
    """`x` with the same shape and numbers in the memory layout `name`."""
    x = np.asarray(x)
    if x.ndim == 0 and name not in ("read-only", "byte-swapped"):
        return x
    result = LAYOUTS[name](x)
    assert result.shape == x.shape
    return result


# ---------------------------------------------------------------------------------------
# numbers


def _spread(dtype):
    """Where exp of a difference is still comfortably normal in `dtype`."""
    return {"float16": 8.0, "float32": 80.0, "float64": 600.0, "longdouble": 600.0}[dtype]


def _bits(dtype):
    return 64 if dtype == "longdouble" else 8 * np.dtype(dtype).itemsize


def plain(dtype):
    """Numbers of a trained model: a few units, with ties."""
    return st.one_of(
        st.integers(-4, 4).map(float),
        st.floats(-5, 5, width=_bits(dtype), allow_subnormal=False),
    )


def edges(dtype):
    """Finite numbers where implementations break."""
    info = np.finfo(dtype)
    return st.sampled_from(
        [0.0, -0.0, 1.0, -1.0]
        + [float(info.tiny), -float(info.tiny), float(info.smallest_subnormal)]
        + [float(info.eps), -float(info.eps), 20.0, -20.0, 88.0, -88.0, 103.0, 745.0, -745.0]
        + [float(info.max) / 4, -float(info.max) / 4, 3e4, -3e4]
    )


def _dense(draw, shape, scale, dtype):
    """Numbers with all their bits in use, from a seed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.asarray(np.clip(scale * rng.normal(size=shape), -3 * scale, 3 * scale), dtype)


@st.composite
def logits(draw, shape, dtype, regimes=None):
    """Finite logits of one regime."""
    regime = draw(
        st.sampled_from(
            regimes or ["plain", "dense", "confident", "wide", "ties", "offset", "tiny", "edges", "dense"]
        )
    )
    dt = np.dtype(dtype)
    spread = _spread(dtype)

    def array(elements):
        values = draw(hnp.arrays(np.float64, shape, elements=elements, fill=st.nothing()))
        return values.astype(dt)

    if regime == "plain":
        return array(plain(dtype))
    if regime == "ties":
        return array(st.sampled_from([0.0, 1.0]))
    if regime == "dense":
        return _dense(draw, shape, draw(st.sampled_from([1.0, 4.0, spread / 4])), dt)
    if regime == "confident":
        margins = [sign * part * spread for part in (0.25, 0.5, 0.9, 1.0) for sign in (1, -1)]
        return array(st.sampled_from([0.0, 0.25, -0.5, 1.0, *margins]))
    if regime == "offset":
        base = draw(st.sampled_from([1e3, -1e3, 1e6, -1e8, 1e30, -1e30]))
        if abs(base) > float(np.finfo(dt).max):
            base = 1e4 if base > 0 else -1e4
        return np.asarray(dt.type(base) + array(st.integers(-8, 8).map(float)), dt)
    if regime == "tiny":
        info = np.finfo(dt)
        return array(
            st.sampled_from([0.0, float(info.tiny), -float(info.tiny), float(info.eps)])
            | st.just(float(info.smallest_subnormal))
        )
    if regime == "wide":
        return array(st.floats(-spread, spread, width=_bits(dtype), allow_subnormal=False))
    values = draw(hnp.arrays(np.float64, shape, elements=edges(dtype), fill=st.nothing()))
    # sums of a few weighted losses stay finite; test_*__near_the_largest_number go further
    top = float(np.finfo(dt).max) / (4 if dtype == "float16" else 2**12)
    return np.asarray(np.clip(values, -top, top), dt)


def factors(dtype, zeros=True):
    """Weights and cotangents: normal numbers well inside the range, zeros among them."""
    some = [0.125, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 8.0]
    elements = st.sampled_from(some + [0.0] * zeros) | st.floats(
        0.125, 8.0, width=_bits(dtype), allow_subnormal=False
    )
    return elements


def signed_factors(dtype):
    """Cotangents: both signs."""
    return st.tuples(factors(dtype), st.sampled_from([1.0, -1.0])).map(lambda t: t[0] * t[1])


@st.composite
def _array(draw, elements, shape, dtype):
    values = draw(hnp.arrays(np.float64, shape, elements=elements, fill=st.nothing()))
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        values = values * rng.uniform(0.5, 1.0, shape)
    return np.asarray(values, dtype)


@st.composite
def probabilities(draw, shape):
    """Rows that are distributions in float64: one-hot, with zeros, or dense."""
    raw = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 4), fill=st.nothing())).astype(np.float64)
    if shape[-1]:
        raw[..., 0] += raw.sum(axis=-1) == 0
        raw /= raw.sum(axis=-1, keepdims=True)
    return raw


# ---------------------------------------------------------------------------------------
# calls


@st.composite
def _where(draw, shape):
    """A mask of `shape`, or one that broadcasts to it."""
    mask = draw(hnp.arrays(np.bool_, shape, fill=st.nothing()))
    if mask.ndim and mask.size and draw(st.booleans()):
        return mask[:1]
    return mask


@st.composite
def calls(
    draw,
    function,
    *,
    dtypes=FLOATS,
    kinds=("index", "probability"),
    reductions=("none", "mean", "sum"),
    regimes=None,
    ndims=("2", "3", "last", "first", "1"),
    min_classes=1,
    min_rows=0,
    without=(),
    signed=True,
):
    """One call of `function` with everything that it takes; `without` names options to leave."""
    dtype = draw(st.sampled_from(dtypes))
    if function in ELEMENTWISE:
        shape = draw(st.sampled_from([(4,), (3, 2), (2, 1, 3), (7,), (1,), (), (0,), (2, 0)]))
        if min_rows and not (shape and shape[0] >= min_rows):
            shape = (min_rows, *shape[1:])
        x = draw(logits(shape, dtype, regimes))
        g = draw(st.none() | _array(signed_factors(dtype), shape, dtype))
        return Call(function, x, None, {}, g)

    # sampled, not integers(): hypothesis likes small integers, and bugs do not
    K = draw(st.sampled_from([k for k in (3, 2, 4, 5, 1) if k >= min_classes]))
    B = draw(st.sampled_from([b for b in (3, 2, 4, 1, 0) if b >= min_rows]))
    H = draw(st.sampled_from([2, 3, 1]))
    layout = draw(st.sampled_from(ndims))
    shape, axis = {
        "1": ((K,), None),
        "2": ((B, K), None),
        "3": ((B, K, H), None),
        "last": ((B, H, K), -1),
        "first": ((K, B), 0),
    }[layout]
    if function == BINARY:
        x = draw(logits(shape, dtype, regimes))
        return draw(_binary(function, x, dtype, reductions, without, signed))
    x = draw(logits(shape, dtype, regimes))
    if function not in LOSSES:
        ax = axis if axis is not None else {"1": 0, "2": 1, "3": 1}[layout]
        out = tuple(n for i, n in enumerate(shape) if i != ax % len(shape))
        gshape = out if function == "logsumexp" else shape
        g = draw(st.none() | _array(signed_factors(dtype), gshape, dtype))
        return Call(function, x, None, {"axis": ax}, g)

    options = {} if axis is None and draw(st.booleans()) else {"axis": axis}
    ax = axis if axis is not None else (0 if len(shape) == 1 else 1)
    positions = tuple(n for i, n in enumerate(shape) if i != ax % len(shape))
    kind = draw(st.sampled_from(kinds)) if function == "cross_entropy" else "index"
    if kind == "index":
        itype = np.dtype(draw(st.sampled_from(INDEX_DTYPES)))
        target = draw(hnp.arrays(np.int64, positions, elements=st.integers(0, K - 1), fill=st.nothing()))
        if "ignore_index" not in without and draw(st.booleans()):
            ignore = draw(st.integers(0, K - 1) | st.sampled_from([-1, -100, 77]))
            options["ignore_index"] = ignore
            if ignore >= 0 or itype.kind == "i":
                hit = draw(hnp.arrays(np.bool_, positions, fill=st.nothing()))
                target = np.where(hit, ignore, target)
        target = target.astype(itype)
    else:
        q = draw(probabilities((*positions, K)))
        qtype = draw(st.sampled_from([dtype, "float64"]))
        target = np.ascontiguousarray(np.moveaxis(q, -1, ax)).astype(qtype)
    if "weight" not in without and draw(st.booleans()):
        options["weight"] = draw(_array(factors(dtype), (K,), draw(st.sampled_from([dtype, "float64"]))))
    if "where" not in without and draw(st.booleans()):
        options["where"] = draw(_where(positions))
    if function == "cross_entropy" and "label_smoothing" not in without and draw(st.booleans()):
        options["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 0.25, 0.9, 1.0]))
    options["reduction"] = draw(st.sampled_from(reductions))
    g = draw(_cotangent(dtype, positions, options["reduction"], signed))
    return Call(function, x, target, options, g)


@st.composite
def _cotangent(draw, dtype, positions, reduction, signed):
    shape = positions if reduction == "none" else ()
    elements = signed_factors(dtype) if signed else factors(dtype)
    return draw(st.none() | _array(elements, shape, dtype))


@st.composite
def _binary(draw, function, x, dtype, reductions, without, signed):
    elements = st.sampled_from([0.0, 1.0, 0.5, 0.25]) | st.floats(
        0.015625, 0.984375, width=_bits(dtype), allow_subnormal=False
    )
    target = draw(_array(elements, x.shape, draw(st.sampled_from([dtype, "float64"]))))
    if draw(st.booleans()) and "hard" not in without:
        target = np.round(target).astype(draw(st.sampled_from(["bool", "int64", dtype])))
    options = {}
    for name in ("weight", "pos_weight"):
        if name not in without and draw(st.booleans()):
            shape = draw(st.sampled_from([x.shape, x.shape[1:], ()]))
            options[name] = draw(_array(factors(dtype), shape, dtype))
    if "where" not in without and draw(st.booleans()):
        options["where"] = draw(_where(x.shape))
    options["reduction"] = draw(st.sampled_from(reductions))
    g = draw(_cotangent(dtype, x.shape, options["reduction"], signed))
    return Call(function, x, target, options, g)


__all__ = ["CLASS_LOSSES", "FLOATS", "INDEX_DTYPES", "LAYOUTS", "calls", "in_layout", "logits"]
