"""The laws: each a function of an implementation and a call, run over every loss.

An `Implementation` is three callables with the package's signatures; a `Call` is one call of one
function as data. A law raises AssertionError when the implementation breaks it on the call.
`test_checks_catch_bugs.py` hands the same laws implementations that are wrong on purpose.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

import truth
from crossent.testing import numerical_grad, ulp_error
from crossent.testing._limits import limit

BINARY = "binary_cross_entropy_with_logits"
CLASS_LOSSES = ("nll_loss", "cross_entropy")
LOSSES = (*CLASS_LOSSES, BINARY)
ROWS = ("logsumexp", "log_softmax", "softmax")
ELEMENTWISE = ("softplus", "log_sigmoid", "sigmoid")


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


@dataclass(frozen=True, eq=False)
class Call:
    """One call as data. `x` is the first argument, `options` every keyword but `grad_output`."""

    function: str
    x: Any
    target: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    grad_output: Any = None

    def __repr__(self):
        def show(v):
            if not isinstance(v, np.ndarray):
                return repr(v)
            if v.dtype.kind == "f":
                items = str([float(e) for e in v.ravel()]).replace("nan", "np.nan")
                items = items.replace("inf", "np.inf")
            else:
                items = str(v.ravel().tolist())
            shape = "" if v.ndim == 1 else f".reshape{v.shape}"
            return f"np.array({items}, {v.dtype.str!r}){shape}"

        parts = [show(self.x)] + ([] if self.target is None else [show(self.target)])
        parts += [f"{k}={show(v)}" for k, v in self.options.items()]
        text = f"crossent.{self.function}({', '.join(parts)})"
        return text + ("" if self.grad_output is None else f"  # g={show(self.grad_output)}")

    def _repr_pretty_(self, printer, cycle):
        printer.text(repr(self))

    @property
    def arguments(self):
        return (self.x,) if self.target is None else (self.x, self.target)

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

    def having(self, **options):
        """The same call with these options; None takes an option away."""
        merged = {**self.options, **options}
        return replace(self, options={k: v for k, v in merged.items() if v is not None})

    @property
    def reduction(self):
        return self.options.get("reduction", "mean")

    @property
    def index(self):
        """Whether the target holds class indices."""
        return self.target is not None and np.asarray(self.target).dtype.kind in "iu"

    @property
    def axis(self):
        """The class axis as a position, None for elementwise functions."""
        if self.function in ELEMENTWISE or self.function == BINARY:
            return None
        axis = self.options.get("axis")
        if axis is None:
            axis = (0 if self.x.ndim == 1 else 1) if self.function in LOSSES else -1
        return axis % self.x.ndim

    @property
    def positions(self):
        """The shape of the losses of reduction="none"."""
        if self.axis is None:
            return self.x.shape
        return tuple(n for i, n in enumerate(self.x.shape) if i != self.axis)

    @property
    def rows(self):
        """The same call on `(N, K)` rows (`(N,)` elements where there are no classes)."""
        o = dict(self.options)
        if self.function in ELEMENTWISE:
            g = None if self.grad_output is None else self.grad_output.ravel()
            return replace(self, x=self.x.ravel(), grad_output=g)
        n = int(np.prod(self.positions))
        if o.get("where") is not None:
            o["where"] = np.broadcast_to(o["where"], self.positions).reshape(n)
        if self.function == BINARY:
            for name in ("weight", "pos_weight"):
                if o.get(name) is not None:
                    o[name] = np.broadcast_to(o[name], self.x.shape).reshape(n)
            g = self.grad_output
            if g is not None and np.ndim(g):
                g = np.broadcast_to(g, self.x.shape).reshape(n)
            return replace(self, x=self.x.ravel(), target=self.target.ravel(), options=o, grad_output=g)
        K = self.x.shape[self.axis]

        def last(a):
            return np.ascontiguousarray(np.moveaxis(a, self.axis, -1)).reshape(n, K)

        o.pop("axis", None)
        target, g = self.target, self.grad_output
        if self.function in LOSSES:
            target = target.reshape(n) if self.index else last(target)
            g = np.asarray(g).reshape(n) if self.reduction == "none" and g is not None else g
        else:
            o["axis"] = -1
            if g is not None:
                g = g.reshape(n) if self.function == "logsumexp" else last(g)
        return replace(self, x=last(self.x), target=target, options=o, grad_output=g)

    def take(self, rows):
        """A call in rows form with these rows alone."""
        o = dict(self.options)
        if o.get("where") is not None:
            o["where"] = o["where"][rows]
        if self.function == BINARY:
            for name in ("weight", "pos_weight"):
                if o.get(name) is not None:
                    o[name] = o[name][rows]
        g = self.grad_output
        if g is not None and np.ndim(g):
            g = g[rows]
        target = None if self.target is None else self.target[rows]
        return replace(self, x=self.x[rows], target=target, options=o, grad_output=g)

    @property
    def live(self):
        """Which rows count (rows form)."""
        live = np.ones(len(self.x), bool)
        if self.options.get("where") is not None:
            live &= self.options["where"]
        if self.index and self.function in CLASS_LOSSES:
            live &= self.target.astype(object) != self.options.get("ignore_index", -100)
        return live

    @property
    def result(self):
        """The result's dtype."""
        return np.dtype(self.options.get("dtype") or self.x.dtype).newbyteorder("=")


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
            assert np.isnan(got), where
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


def exact(call: Call) -> truth.Exact:
    """The exact answer of a call of any shape."""
    rows = call.rows
    if call.function in ELEMENTWISE:
        e = truth.elementwise(rows)
    elif call.function in ROWS:
        e = truth.rows(rows)
    else:
        e = truth.loss(rows)
    positions, axis = call.positions, call.axis

    def full(a):
        if axis is None:
            return a.reshape(call.x.shape)
        return np.moveaxis(a.reshape(*positions, call.x.shape[axis]), -1, axis)

    def value(a):
        if call.function in ("softmax", "log_softmax"):
            return full(a)
        return a if call.function in LOSSES and call.reduction != "none" else a.reshape(positions)

    return truth.Exact(
        value(e.value), value(e.value_scale), value(e.value_least),
        full(e.grad), full(e.grad_scale), full(e.grad_least),
    )  # fmt: skip


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


@law(EVERYTHING)
def value_is_exact(f, call):
    """Digits that are wrong are worse than digits that are missing."""
    e = exact(call)
    value = call.value(f)
    assert np.asarray(value).dtype == call.result
    assert_ulp(call.function, value, e.value, scale=e.value_scale, least=e.value_least)


@law(EVERYTHING)
def gradient_is_exact(f, call):
    """Every entry counts: training follows the small ones near convergence."""
    e = exact(call)
    grad = call.grad(f)
    assert grad.dtype == call.result
    assert_ulp(f"{call.function}_grad", grad, e.grad, scale=e.grad_scale, least=e.grad_least)


@law(LOSSES)
def value_and_grad_are_value_and_grad(f, call):
    """One pass must not be another computation: the same bits."""
    value, grad = call.both(f)
    assert_bitwise(value, call.value(f), "value")
    assert_bitwise(grad, call.grad(f), "gradient")


def _whole(x, spread=64):
    """Integers near x, so that adding an integer to them is exact."""
    return np.clip(np.rint(x), -spread, spread)


@law(NORMALIZED, regimes=["plain", "ties", "confident"])
def shift_invariance(f, call):
    """Adding one number to all logits of a row changes no probability."""
    shift = 256 if call.result == np.float16 else 2**15
    base = replace(call, x=_whole(call.x, 16).astype(call.x.dtype))
    moved = replace(base, x=(base.x + base.x.dtype.type(shift)).astype(base.x.dtype))
    e = exact(base)
    if call.function == "logsumexp":
        e_moved = exact(moved)
        assert_ulp(call.function, moved.value(f), e_moved.value, scale=e_moved.value_scale)
    else:
        assert_ulp(call.function, moved.value(f), e.value, scale=e.value_scale,
                   least=e.value_least)  # fmt: skip
    assert_ulp(f"{call.function}_grad", moved.grad(f), e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


@law(("cross_entropy", "nll_loss"))
def permuted_classes(f, call):
    """The names of the classes mean nothing."""
    call = call.rows
    K = call.x.shape[1]
    order = np.roll(np.arange(K), 1)
    rank = np.argsort(order)
    o = dict(call.options)
    if o.get("weight") is not None:
        o["weight"] = o["weight"][order]
    if call.index:
        inside = (call.target >= 0) & (call.target.astype(object) < K)
        target = np.where(inside, rank[np.where(inside, call.target, 0).astype(int)], call.target)
        target = target.astype(call.target.dtype)
        if 0 <= o.get("ignore_index", -100) < K:
            o["ignore_index"] = int(rank[o["ignore_index"]])
    else:
        target = call.target[:, order]
    other = replace(call, x=call.x[:, order], target=target, options=o)
    e = exact(call)
    assert_ulp(call.function, other.value(f), e.value, scale=e.value_scale, least=e.value_least)
    grad = other.grad(f)[:, rank]
    assert_ulp(f"{call.function}_grad", grad, e.grad, scale=e.grad_scale, least=e.grad_least)


@law((*LOSSES, "logsumexp", "softmax", "log_softmax"))
def permuted_rows(f, call):
    """The order of a batch means nothing; one row's result has the same bits anywhere."""
    call = call.rows
    order = np.roll(np.arange(len(call.x)), 1)
    other = call.take(order)
    if call.function in LOSSES and call.reduction != "none":
        e = exact(call)
        assert_ulp(call.function, other.value(f), e.value, scale=e.value_scale,
                   least=e.value_least)  # fmt: skip
    else:
        assert_bitwise(other.value(f), call.value(f)[order], "value")
    if call.reduction == "mean" and call.function in LOSSES:
        return
    assert_bitwise(other.grad(f), call.grad(f)[order], "gradient")


@law(EVERYTHING, reductions=("none",))
def a_row_stands_alone(f, call):
    """A row's bits do not depend on the rows beside it."""
    call = call.rows
    value, grad = call.value(f), call.grad(f)
    for i in range(len(call.x)):
        alone = call.take(slice(i, i + 1))
        assert_bitwise(alone.value(f), value[i : i + 1], f"value of row {i}")
        assert_bitwise(alone.grad(f), grad[i : i + 1], f"gradient of row {i}")
    repeated = call.take(np.tile(np.arange(len(call.x)), 37))
    assert_bitwise(repeated.value(f)[: len(call.x)], value, "value in a long batch")
    if len(call.x):
        assert_bitwise(repeated.grad(f)[-len(call.x) :], grad, "gradient in a long batch")


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


@law(("cross_entropy", "softmax", "log_softmax"))
def certainty_is_free(f, call):
    """With one class there is nothing to learn: the loss and its gradient are exactly 0."""
    call = call.rows
    one = replace(call, x=call.x[:, :1])
    if call.function == "cross_entropy":
        o = dict(call.options)
        o.pop("ignore_index", None)
        if "weight" in o:
            o["weight"] = np.ones(1)
        target = np.zeros(len(call.x), int) if call.index else np.ones((len(call.x), 1))
        one = replace(one, target=target, options=o)
        count = one.live.any()
        if count or one.reduction != "mean":
            assert np.all(one.value(f) == 0)
            assert np.all(one.grad(f) == 0)
        return
    g = None if call.grad_output is None else call.grad_output[:, :1]
    one = replace(one, grad_output=g)
    assert np.all(one.value(f) == (1 if call.function == "softmax" else 0))
    assert np.all(one.grad(f) == 0)


@law(NORMALIZED, without=("label_smoothing",))
def a_masked_class_is_removed(f, call):
    """A logit of -inf is how attention masks and vocabularies leave a class out."""
    call = call.rows
    e = exact(call)
    n, K = call.x.shape
    x = np.concatenate([call.x, np.full((n, 1), -np.inf, call.x.dtype)], axis=1)
    o, target, g = dict(call.options), call.target, call.grad_output
    if call.function == "cross_entropy":
        if "weight" in o:
            o["weight"] = np.append(o["weight"], np.ones(1, o["weight"].dtype))
        if not call.index:
            target = np.concatenate([target, np.zeros((n, 1), target.dtype)], axis=1)
        if o.get("ignore_index", -100) == K:
            o["ignore_index"] = -100
    elif call.function != "logsumexp" and g is not None:
        g = np.concatenate([g, np.zeros((n, 1), g.dtype)], axis=1)
    masked = replace(call, x=x, target=target, options=o, grad_output=g)
    value, grad = masked.value(f), masked.grad(f)
    if call.function in ("softmax", "log_softmax"):
        assert np.all(value[:, K] == (0 if call.function == "softmax" else -np.inf))
        value = value[:, :K]
    assert_ulp(call.function, value, e.value, scale=e.value_scale, least=e.value_least)
    if call.function in ("softmax", "log_softmax") and call.grad_output is None:
        return  # a cotangent of ones sees the masked class
    empty = np.isnan(grad).any(axis=1) if n else np.zeros(0, bool)
    assert np.all(grad[~empty, K] == 0)
    assert_ulp(f"{call.function}_grad", grad[:, :K], e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


@law(CLASS_LOSSES, kinds=("index",), without=("weight",), min_classes=2, min_rows=1)
def an_impossible_target_costs_inf(f, call):
    """A class that the model calls impossible, and that happens, costs inf: not NaN, not max."""
    call = call.rows
    x = call.x.copy()
    rows = np.flatnonzero(call.live)
    if call.options.get("label_smoothing") == 1.0:
        rows = rows[:0]
    x[rows, call.target[rows].astype(int)] = -np.inf
    hard = replace(call, x=x)
    value = np.asarray(hard.value(f))
    if hard.reduction != "none":
        assert value == np.inf if len(rows) else not value > 0 or call.live.any()
    else:
        assert np.all(value[rows] == np.inf)
    e = exact(hard)
    assert_ulp(f"{call.function}_grad", hard.grad(f), e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


@law(EVERYTHING, min_rows=2, reductions=("none", "sum"))
def nan_stays_in_its_row(f, call):
    """One broken example must not poison the gradient of a batch."""
    call = call.rows
    before_value, before_grad = call.value(f), call.grad(f)
    for i in range(len(call.x)):
        x = call.x.copy()
        x[i] = np.nan
        broken = replace(call, x=x)
        value, grad = broken.value(f), broken.grad(f)
        others = np.arange(len(x)) != i
        assert_bitwise(grad[others], before_grad[others], "gradient of the other rows")
        if call.function not in LOSSES or call.reduction == "none":
            assert_bitwise(value[others], before_value[others], "value of the other rows")
        if call.function in LOSSES and not call.live[i]:
            assert_bitwise(grad[i], before_grad[i], "an ignored row")
            assert_bitwise(value, before_value, "an ignored row's value")
            continue
        assert np.all(np.isnan(value[i] if np.ndim(value) else value))
        if call.function != "nll_loss":
            assert np.all(np.isnan(grad[i]))


@law(("cross_entropy", "softmax", "log_softmax"), kinds=("index",), dtypes=("float32", "float64"))
def gradient_rows_sum_to_zero(f, call):
    """Softmax does not see a common shift, so its gradient has no part along it."""
    call = call.rows
    e = exact(call)
    grad = call.grad(f)
    allowed = limit(f"{call.function}_grad", call.result) * float(np.finfo(call.result).eps)
    for row, scale in zip(grad, e.grad_scale, strict=True):
        if np.all(np.isfinite(row)):
            total = sum(truth.decimals(row), truth.ZERO)
            size = sum(scale, truth.ZERO)
            slack = truth.decimal(np.finfo(call.result).tiny)
            assert abs(total) <= truth.decimal(allowed) * size + slack, f"{row} sums to {total}"


@law(("cross_entropy",), kinds=("index",), without=("where",), min_rows=1)
def index_is_one_hot(f, call):
    """A one-hot floating target is as exact as its index."""
    call = call.having(reduction="sum" if call.reduction == "mean" else call.reduction).rows
    live = call.live
    call = call.take(live)
    call = replace(call, options={k: v for k, v in call.options.items() if k != "ignore_index"})
    hot = np.eye(call.x.shape[1], dtype=call.x.dtype)[call.target.astype(int)]
    other = replace(call, target=hot)
    e = exact(call)
    assert_ulp(call.function, other.value(f), e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{call.function}_grad", other.grad(f), e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


@law(LOSSES)
def ones_as_weight_weigh_nothing(f, call):
    """A weight of one is no weight."""
    plain = call.having(weight=None, pos_weight=None)
    if call.function == BINARY:
        ones = plain.having(weight=np.ones(call.x.shape[-1:]), pos_weight=np.ones(()))
    else:
        ones = plain.having(weight=np.ones(call.x.shape[call.axis], call.x.dtype))
    e = exact(plain)
    assert_ulp(call.function, ones.value(f), e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{call.function}_grad", ones.grad(f), e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


@law(LOSSES)
def ignoring_is_dropping(f, call):
    """An ignored row is a row that is not there: in losses, sums, denominators, gradients."""
    call = call.rows
    live = call.live
    dropped = call.take(live)
    value, grad = call.value(f), call.grad(f)
    assert np.all(grad[~live] == 0), "an ignored row has a gradient"
    if call.reduction == "none":
        assert np.all(value[~live] == 0), "an ignored row has a loss"
        assert_bitwise(value[live], dropped.value(f), "losses")
    else:
        e = exact(dropped)
        assert_ulp(call.function, value, e.value, scale=e.value_scale, least=e.value_least)
    e = exact(dropped)
    assert_ulp(f"{call.function}_grad", grad[live], e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


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


def _float_sum(*parts):
    """The exact sum of results, and the sum of their magnitudes.

    The magnitude is at least a few normal numbers: below, the parts lost digits themselves.
    """
    pieces = [truth.decimals(p) for p in parts]
    total, size = pieces[0], abs(pieces[0])
    for piece in pieces[1:]:
        total, size = total + piece, size + abs(piece)
    floor = truth.decimal(np.finfo(parts[0].dtype).tiny) * 1024
    return total, np.maximum(size, floor)


@law(LOSSES, reductions=("sum", "none"), dtypes=("float32", "float64"))
def linear_in_the_weights(f, call):
    """The loss of w + v is the loss of w plus the loss of v."""
    if call.function == BINARY:
        w = np.resize([1.0, 0.5, 0.0, 2.0], call.x.shape)
    else:
        w = np.resize([1.0, 0.5, 0.0, 2.0], call.x.shape[call.axis])
    v = w[::-1] + 0.5
    parts = [call.having(weight=each).value(f) for each in (w, v)]
    total, size = _float_sum(*parts)
    assert_ulp(call.function, call.having(weight=w + v).value(f), total, scale=size, times=2)


@law(("cross_entropy",), reductions=("sum", "none"), dtypes=("float32", "float64"))
def linear_in_the_smoothing(f, call):
    """Smoothing mixes the loss with that of the uniform distribution, and nothing else."""
    zero, one, quarter = (call.having(label_smoothing=s).value(f) for s in (0.0, 1.0, 0.25))
    zero, one = truth.decimals(zero), truth.decimals(one)
    mixed = zero * truth.decimal(0.75) + one * truth.decimal(0.25)
    if mixed.size if isinstance(mixed, np.ndarray) else True:
        assert_ulp(call.function, quarter, mixed, times=2)


@law(("cross_entropy",), kinds=("index",), without=("weight", "label_smoothing"))
def two_classes_are_binary(f, call):
    """Softmax over two classes is the sigmoid of their difference."""
    call = call.rows
    z = call.x[:, 0]
    pair = np.stack([np.zeros_like(z), z], axis=1)
    y = (np.arange(len(z)) % 2).astype(int)
    o = {k: v for k, v in call.options.items() if k != "ignore_index"}
    two = replace(call, x=pair, target=y, options=o)
    one = replace(two, function=BINARY, x=z, target=y.astype(float))
    e = exact(one)
    assert_ulp(call.function, two.value(f), e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{call.function}_grad", two.grad(f)[:, 1], e.grad, scale=e.grad_scale,
               least=e.grad_least)  # fmt: skip


@law(LOSSES, dtypes=("float32", "float64"))
def none_sum_and_mean_agree(f, call):
    """The mean divides the sum of the losses by the weight of what was counted."""
    call = call.rows
    if call.function in CLASS_LOSSES and call.index and call.options.get("weight") is not None:
        share = np.where(
            call.live, call.options["weight"][np.where(call.live, call.target, 0).astype(int)], 0
        )
    else:
        share = call.live.astype(float)
    g = None if call.grad_output is None else np.asarray(call.grad_output).ravel()[:1]
    g = None if g is None or not g.size else g.reshape(())
    losses = replace(call.having(reduction="none"), grad_output=None).value(f)
    total, size = (sum(each, truth.ZERO) for each in _float_sum(losses))
    weight = sum(truth.decimals(share), truth.ZERO)
    summed = replace(call.having(reduction="sum"), grad_output=g).value(f)
    assert_ulp(call.function, summed, np.array(total, object), scale=size, times=2)
    mean = replace(call.having(reduction="mean"), grad_output=g).value(f)
    if weight == 0:
        assert np.isnan(mean)
    else:
        due = np.array(total / weight, object)
        assert_ulp(call.function, mean, due, scale=np.array(size / weight, object), times=2)


@law(LOSSES, reductions=("sum",), dtypes=("float32", "float64"), min_rows=1)
def split_batches_add_up(f, call):
    """Accumulating over micro-batches is training on the batch."""
    call = call.rows
    at = len(call.x) // 2
    first, second = call.take(slice(None, at)), call.take(slice(at, None))
    total, size = _float_sum(first.value(f), second.value(f))
    assert_ulp(call.function, call.value(f), total, scale=size, times=2)
    grad = np.concatenate([first.grad(f), second.grad(f)])
    assert_bitwise(call.grad(f), grad, "gradient")


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


@law(EVERYTHING, dtypes=("float32",))
def twice_the_dtype_is_exact(f, call):
    """dtype=float64 on float32 logits gives the float64 answer."""
    if call.function not in ("cross_entropy", BINARY, "softmax", "log_softmax"):
        return
    wide = call.having(dtype=np.float64)
    e = exact(call)
    value, grad = wide.value(f), wide.grad(f)
    assert np.asarray(value).dtype == np.float64
    assert grad.dtype == np.float64
    assert_ulp(call.function, value, e.value, scale=e.value_scale, least=e.value_least)
    assert_ulp(f"{call.function}_grad", grad, e.grad, scale=e.grad_scale, least=e.grad_least)
