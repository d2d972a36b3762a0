"""Laws of this package alone: bits, memory, `out=`, and both results from one pass.

What every right implementation keeps is in `crossent.testing`, the one home of laws, and is run in
`test_conformance.py`. An `Implementation` is three callables with the package's signatures. A law raises
AssertionError when the implementation breaks it on a call. `test_checks_catch_bugs.py` hands the
same laws implementations that are wrong on purpose.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

import truth
from crossent.testing import _calls as kit
from crossent.testing import numerical_grad, ulp_error
from crossent.testing._calls import BINARY, CLASS_LOSSES, ELEMENTWISE, LOSSES, ROWS  # noqa: F401
from crossent.testing._limits import limit
from crossent.testing._truth import ZERO_OR_NAN, exact

# ---------------------------------------------------------------------------------------
# calls and implementations


@dataclass(frozen=True)
class Implementation:
    """A function, its gradient and, for losses, both from one pass."""

    name: str
    value: Callable[..., Any]
    grad: Callable[..., Any]
    value_and_grad: Callable[..., Any] | None = None


def package(name: str) -> Implementation:
    """The package's own implementation of `name`."""
    import crossent

    return Implementation(
        name,
        getattr(crossent, name),
        getattr(crossent, f"{name}_grad"),
        getattr(crossent, f"{name}_value_and_grad", None),
    )


class silence:
    """Whatever NumPy or Python would warn about inside is an error."""

    def __enter__(self):
        self._errstate = np.errstate(all="raise")
        self._warnings = warnings.catch_warnings()
        self._errstate.__enter__()
        self._warnings.__enter__()
        warnings.simplefilter("error")

    def __exit__(self, *exc):
        self._warnings.__exit__(*exc)
        self._errstate.__exit__(*exc)


class Call(kit.Call):
    """The kit's call, and what an implementation of this package makes of it."""

    def value(self, f: Implementation):
        with silence():
            return f.value(*self.arguments, **self.options)

    def grad(self, f: Implementation, **extra):
        with silence():
            return f.grad(*self.arguments, **self.options, grad_output=self.grad_output, **extra)

    def both(self, f: Implementation, **extra):
        assert f.value_and_grad is not None
        with silence():
            return f.value_and_grad(*self.arguments, **self.options, grad_output=self.grad_output, **extra)


# ---------------------------------------------------------------------------------------
# comparing


def assert_bitwise(a, b, what=""):
    """The same numbers in every bit; NaN equals NaN, 0 does not equal -0."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, f"{what}: shapes {a.shape} and {b.shape}"
    assert a.dtype.newbyteorder("=") == b.dtype.newbyteorder("="), f"{what}: {a.dtype}, {b.dtype}"
    same = (a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))
    assert np.all(same), f"{what}: {a[~same][:4]} is not {b[~same][:4]}"


def in_context(check):
    """Run `check` with `truth`'s digits, and without decimal's own exceptions."""

    @functools.wraps(check)
    def inside(*args, **keywords):
        with localcontext(truth.CONTEXT):
            return check(*args, **keywords)

    return inside


@in_context
def assert_ulp(name, actual, exact, *, scale=None, least=None, times=1.0, dtype=None):
    """`actual` is within `times` the limit of `name` of the exact numbers.

    Where the exact number or a factor of it is below the normal numbers only its smallness is
    promised; above the largest number it is infinite.
    """
    actual = np.asarray(actual)
    exact = np.asarray(exact, object) if not isinstance(exact, np.ndarray) else exact
    assert actual.shape == exact.shape, f"{name}: shape {actual.shape}, not {exact.shape}"
    dtype = actual.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
    allowed = times * limit(name, dtype)
    info = np.finfo(dtype)
    # half precision is computed in float32: its factors may be as small as float32's
    smallest = np.finfo(np.float32).tiny if dtype.itemsize == 2 else info.tiny
    smallest, largest = truth.decimal(smallest), truth.decimal(info.max)
    half = largest * truth.decimal(info.eps) / 4
    scales = exact if scale is None else np.asarray(scale, object)
    leasts = None if least is None else np.asarray(least, object).ravel()
    strict_actual, strict_exact, strict_scale = [], [], []
    for i, (got, due, size) in enumerate(zip(actual.ravel(), exact.ravel(), scales.ravel(), strict=True)):
        where = f"{name}, entry {i}: {got!r}, not {due:.25g}"
        if due.is_nan():
            assert np.isnan(got) or (due.compare_total(ZERO_OR_NAN) == 0 and got == 0), where
        elif due.is_infinite():
            assert np.isinf(got), where
            assert (got > 0) == (due > 0), where
        elif due == 0 and size == 0:
            assert got == 0, where
        elif abs(due) >= largest + half:
            assert np.isinf(got) or abs(got) == info.max, where
            assert (got > 0) == (due > 0), where
        elif abs(due) > largest - 64 * half:
            assert got != 0, where
            assert (got > 0) == (due > 0), where
        elif (dtype.itemsize > 2 and max(abs(due), size) < smallest) or (
            leasts is not None and leasts[i] < smallest
        ):
            assert np.isfinite(got), where
            assert abs(truth.decimal(got) - due) <= max(abs(size), smallest) * 2, where
        else:
            assert np.isfinite(got), where
            strict_actual.append(got)
            strict_exact.append(due)
            strict_scale.append(abs(size))
    if not strict_actual:
        return
    error = np.asarray(
        ulp_error(
            np.array(strict_actual, dtype),
            np.array(strict_exact, object),
            scale=np.array(strict_scale, object),
        )
    )
    worst = int(np.argmax(error))
    assert float(error[worst]) <= allowed, (
        f"{name}: {strict_actual[worst]!r} is {float(error[worst]):.3g} ulp from "
        f"{strict_exact[worst]:.25g} (limit {allowed:.3g})"
    )


def assert_same(name, a, b, *, scale=None, **keywords):
    """Two results of one exact number: each within the limit, so at most twice that apart."""
    exact = truth.decimals(b)
    scale = exact if scale is None else scale
    assert_ulp(name, a, exact, scale=scale, times=2, **keywords)


# ---------------------------------------------------------------------------------------
# the laws


@dataclass(frozen=True)
class Law:
    """A law, why it matters, the functions that it binds, and the calls that it can use."""

    name: str
    why: str
    check: Callable[[Implementation, Call], None]
    functions: tuple[str, ...]
    draws: dict[str, Any]


LAWS: list[Law] = []


def law(functions, **draws):
    """Register a check under its own name and docstring."""

    def register(check):
        check = in_context(check)
        LAWS.append(Law(check.__name__, check.__doc__, check, tuple(functions), draws))
        return check

    return register


def differences(call: Call):
    """The gradient by central differences of the textbook's definition, in decimals."""
    from crossent import exact as definitions

    definition = getattr(definitions, call.function)
    return numerical_grad(
        lambda x, digits: definition(x, *call.arguments[1:], **call.options, digits=digits),
        call.x,
        grad_output=call.grad_output,
        digits=60,
    )


@in_context
def assert_gradient_is_the_slope(f: Implementation, call: Call):
    """The gradient is that of the definition: to the last bits of its dtype."""
    e = exact(call)
    slope = differences(call)
    derived, differenced = e.grad.ravel(), np.asarray(slope.value, object).ravel()
    for ours, theirs, size in zip(derived, differenced, e.grad_scale.ravel(), strict=True):
        # a step of 1e-20 leaves a truncation error near 1e-40: twenty digits are sure
        assert abs(ours - theirs) <= abs(size) * Decimal("1e-20") + Decimal("1e-25"), (
            f"derived {ours:.25g}, differenced {theirs:.25g}"
        )
    assert_ulp(f"{call.function}_grad", call.grad(f), e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


@in_context
def assert_value_is_the_definition(f: Implementation, call: Call):
    """The value is the textbook's definition in decimals, and so is the tests' own derivation."""
    from crossent import exact as definitions

    e = exact(call)
    due = getattr(definitions, call.function)(*call.arguments, **call.options, digits=50)
    due = np.asarray(due, object)
    for ours, theirs in zip(e.value.ravel(), due.ravel(), strict=True):
        if ours.is_nan():
            assert theirs.is_nan()
        elif ours.is_infinite():
            assert ours == theirs
        else:
            assert abs(ours - theirs) <= abs(ours) * Decimal("1e-48"), f"{ours}, {theirs}"
    assert_ulp(call.function, call.value(f), due, scale=e.value_scale, least=e.value_least)


def assert_refused(name, error, fragments, *arguments, grad_output=None, **options):
    """Value, gradient and both raise `error` with all `fragments`, and leave out= alone."""
    f = package(name)
    assert f.value_and_grad is not None
    for each in (f.value, f.grad, f.value_and_grad):
        if each is f.value and grad_output is not None:
            continue
        extra, out = {}, None
        if each is not f.value:
            extra["grad_output"] = grad_output
            shape, dtype = getattr(arguments[0], "shape", (2, 3)), options.get("dtype", float)
            out = extra["out"] = np.full(shape, 7, dtype)
        with pytest.raises(error) as caught:
            each(*arguments, **options, **extra)
        if error is IndexError:
            assert not isinstance(caught.value, np.exceptions.AxisError)
        message = str(caught.value)
        for fragment in fragments:
            assert re.search(fragment, message), f"{fragment!r} is not in {message!r}"
        assert out is None or np.all(out == 7), "out= was written to"


def laws_of(function: str) -> list[Law]:
    """Every law that binds `function`."""
    return [each for each in LAWS if function in each.functions]


EVERYTHING = (*LOSSES, *ROWS, *ELEMENTWISE)
NORMALIZED = ("cross_entropy", *ROWS)


@law(LOSSES)
def value_and_grad_are_value_and_grad(f, call):
    """One pass must not be another computation: the same bits."""
    value, grad = call.both(f)
    assert_bitwise(value, call.value(f), "value")
    assert_bitwise(grad, call.grad(f), "gradient")


@law(EVERYTHING, reductions=("none", "sum"))
def class_axis_anywhere(f, call):
    """[B, K, H] and [B, H, K] are the same rows as [N, K]: the same bits."""
    rows = call.rows
    grad = rows.grad(f)
    if call.axis is not None:
        grad = np.moveaxis(grad.reshape(*call.positions, call.x.shape[call.axis]), -1, call.axis)
    assert_bitwise(call.grad(f), grad.reshape(call.x.shape), "gradient")
    if call.function in LOSSES and call.reduction == "none":
        assert_bitwise(call.value(f), rows.value(f).reshape(call.positions), "value")


@law(LOSSES, min_rows=1)
def ignored_rows_may_hold_anything(f, call):
    """Padding is uninitialized memory: NaN, inf and labels out of range must not leak."""
    call = call.rows
    dead = ~call.live
    x, target = call.x.copy(), call.target.copy()
    x[dead] = np.resize([np.nan, np.inf, -np.inf], x[dead].shape)
    if call.options.get("where") is not None:
        off = ~call.options["where"]
        if target.dtype.kind == "f":
            target[off] = np.resize([np.nan, np.inf, 7.0], target[off].shape)
        elif target.dtype.kind in "iu":
            target[off] = 99
    other = replace(call, x=x, target=target)
    assert_bitwise(other.value(f), call.value(f), "value")
    assert_bitwise(other.grad(f), call.grad(f), "gradient")


@law(CLASS_LOSSES, kinds=("index",), min_rows=1)
def where_is_ignore_index(f, call):
    """The two ways of ignoring are one."""
    call = call.rows
    masked = call.having(ignore_index=None, where=call.live)
    assert_bitwise(masked.value(f), call.value(f), "value")
    assert_bitwise(masked.grad(f), call.grad(f), "gradient")


@law(("cross_entropy",))
def smoothing_zero_is_none(f, call):
    """The default is the textbook's loss."""
    assert_bitwise(call.having(label_smoothing=0.0).value(f), call.having(label_smoothing=None).value(f))
    assert_bitwise(call.having(label_smoothing=0.0).grad(f), call.having(label_smoothing=None).grad(f))


@law(EVERYTHING)
def out_holds_the_gradient(f, call):
    """out= is the gradient's memory and nothing else: the same bits, also in the logits' own."""
    due = call.grad(f)
    out = np.full(call.x.shape, 7, call.result)
    got = call.grad(f, out=out)
    assert_bitwise(got, due, "returned with out=")
    assert_bitwise(out, due, "out=")
    assert np.may_share_memory(got, out) or not out.size
    wide = np.full((*call.x.shape, 2), 7, call.result)
    call.grad(f, out=wide[..., 1])
    assert_bitwise(wide[..., 1], due, "a strided out=")
    assert np.all(wide[..., 0] == 7), "out= wrote beside itself"
    if call.x.dtype == call.result:
        own = replace(call, x=call.x.copy())
        own.grad(f, out=own.x)
        assert_bitwise(own.x, due, "out=logits")
        if f.value_and_grad is not None:
            own = replace(call, x=call.x.copy())
            value, grad = own.both(f, out=own.x)
            assert_bitwise(value, call.value(f), "value with out=logits")
            assert_bitwise(own.x, due, "out=logits")
            assert_bitwise(grad, due, "out=logits, returned")


@law(EVERYTHING)
def layouts_are_one_array(f, call):
    """The same numbers in other memory are the same call: the same bits, nothing written to."""
    from strategies import LAYOUTS, in_layout

    value, grad = call.value(f), call.grad(f)
    for name in LAYOUTS:
        o = {k: in_layout(v, name) if isinstance(v, np.ndarray) else v for k, v in call.options.items()}
        target = None if call.target is None else in_layout(call.target, name)
        g = None if call.grad_output is None else in_layout(call.grad_output, name)
        other = replace(call, x=in_layout(call.x, name), target=target, options=o, grad_output=g)
        assert_bitwise(other.value(f), value, f"value, {name}")
        assert_bitwise(other.grad(f), grad, f"gradient, {name}")
        if f.value_and_grad is not None:
            both = other.both(f)
            assert_bitwise(both[0], value, f"value of both, {name}")
            assert_bitwise(both[1], grad, f"gradient of both, {name}")
        assert_bitwise(other.x, call.x, f"logits afterwards, {name}")
        if target is not None:
            assert np.array_equal(target, call.target, equal_nan=target.dtype.kind == "f")
