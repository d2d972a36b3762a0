"""From a call that breaks a law to the smallest one that is found.

Hypothesis shrinks what it drew; here the call itself is made smaller: fewer options, rows, classes,
rounder numbers. It takes some hundred calls, and always the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from crossent.testing._calls import LOSSES, Array, Call
from crossent.testing._compare import Broken
from crossent.testing._laws import Law
from crossent.testing._subject import Subject

_TRIES = 300


def smallest(law: Law, subject: Subject, call: Call, broken: Broken) -> tuple[Call, Broken]:
    """Make a call smaller for as long as the same law is broken in the same way."""
    tries = 0
    progress = True
    while progress:
        progress = False
        for candidate in _smaller(call):
            if _cost(candidate) >= _cost(call) or not _suits(law, subject, candidate, call):
                continue
            tries += 1
            if tries > _TRIES:
                return call, broken
            still = _broken(law, subject, candidate)
            if still is not None and _way(still) == _way(broken):
                call, broken, progress = candidate, still, True
                break
    return call, broken


def _way(broken: Broken) -> tuple[bool, str, bool]:
    """How a call breaks a law."""
    return broken.raised, broken.quantity, broken.problem == "wrong shape"


def _suits(law: Law, subject: Subject, smaller: Call, call: Call) -> bool:
    """Whether a call is still one of the law's: with what they always have, if `call` has it."""
    given, left = ({**c.options, "grad_output": c.grad_output} for c in (call, smaller))
    always = (*law.draws.get("always", ()), *subject.fixed)
    if any(left.get(name) is None for name in always if given.get(name) is not None):
        return False
    return call.function not in LOSSES or smaller.reduction in law.reductions(subject)


def _broken(law: Law, subject: Subject, call: Call) -> Broken | None:
    """How a call breaks the law, if it does."""
    try:
        law.check(subject, call)
    except Broken as broken:
        return broken
    except Exception:  # a law may ask more of a call than a smaller one has
        return None
    return None


def _cost(call: Call) -> tuple[int, int, bool, int, int]:
    """Few options first, then few numbers, in rows, zeros among them, then short ones."""
    options = len(call.options) + (call.grad_output is not None)
    return options, call.x.size, not _in_rows(call), int(np.count_nonzero(call.x)), len(repr(call))


def _in_rows(call: Call) -> bool:
    """Whether the call has the form that rows and classes are taken from."""
    return bool(call.x.ndim == 1 if call.axis is None else call.x.ndim == 2 and call.axis == 1)


def _smaller(call: Call) -> Iterator[Call]:
    yield from _with_fewer_options(call)
    if _in_rows(call):
        yield from _with_fewer_rows(call.rows)  # whose masks and weights have all their numbers
        yield from _with_fewer_classes(call)
    else:
        yield call.rows
    yield from _with_rounder_numbers(call)


def _with_fewer_options(call: Call) -> Iterator[Call]:
    fixed = {"reduction"} if call.grad_output is not None and np.ndim(call.grad_output) else set()
    if call.grad_output is not None:
        yield call.changed(grad_output=None)
    for name in call.options:
        if name not in fixed and not (name == "axis" and call.axis != _default_axis(call)):
            yield call.having(**{name: None})


def _default_axis(call: Call) -> int | None:
    return call.having(axis=None).axis


def _with_fewer_rows(call: Call) -> Iterator[Call]:
    n = len(call.x)
    if n > 2:
        yield call.take(slice(None, n // 2))
        yield call.take(slice(n // 2, None))
    for i in range(min(n, 8) if n > 1 else 0):
        yield call.take(np.arange(n) != i)


def _with_fewer_classes(call: Call) -> Iterator[Call]:
    if call.x.ndim != 2 or not call.x.shape[1] > 1:
        return
    K = call.x.shape[1]
    for k in range(min(K, 8)):
        keep = np.arange(K) != k
        o = dict(call.options)
        if o.get("weight") is not None:
            o["weight"] = o["weight"][keep]
        target, g = call.target, call.grad_output
        if call.index:
            if np.any(target == k) or -1 < o.get("ignore_index", -100) < K:
                continue
            target = np.where(target > k, target - 1, target)
        elif target is not None:
            target = target[:, keep]
        if g is not None and call.function not in LOSSES and call.function != "logsumexp":
            g = g[:, keep]
        yield call.changed(x=call.x[:, keep], target=target, options=o, grad_output=g)


def _with_rounder_numbers(call: Call) -> Iterator[Call]:
    for x in _rounder(call.x):
        yield call.changed(x=x)
    if call.target is not None and not call.index:
        for target in _rounder(call.target):
            if np.all((target >= 0) & (target <= 1)):
                yield call.changed(target=target)
    elif call.target is not None and np.any(call.target != 0):
        yield call.changed(target=np.zeros_like(call.target))
    for name, value in call.options.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield call.having(**{name: np.ones_like(value)})
            for rounder in _rounder(value):
                yield call.having(**{name: rounder})
        elif isinstance(value, np.ndarray):
            yield call.having(**{name: np.broadcast_to(value, call.positions).copy()})
    if call.grad_output is not None:
        for g in (np.ones_like(call.grad_output), *_rounder(np.asarray(call.grad_output))):
            yield call.changed(grad_output=g)


def _rounder(x: Array) -> Iterator[Array]:
    """The same array with rounder numbers: all at once, then one by one."""
    with np.errstate(all="ignore"):
        yield np.zeros_like(x)
        for digits in (1, 2, 4):
            yield _rounded(x, digits)
        flat = x.ravel()
        for i in range(flat.size if flat.size <= 12 else 0):
            for value in (0.0, *(_rounded(flat[i], digits) for digits in (1, 2, 4))):
                changed = flat.copy()
                changed[i] = value
                yield changed.reshape(x.shape)


def _rounded(x: Any, digits: int) -> Array:
    """Numbers of so many significant digits."""
    a = np.asarray(x)
    text = [float(f"{float(v):.{digits - 1}e}") for v in a.ravel()]
    return np.asarray(text, a.dtype).reshape(a.shape)
