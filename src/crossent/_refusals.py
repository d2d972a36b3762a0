"""Which mistake it was that the front desk refused, and what to write instead.

The message of such a finding is that of the error, so that no two places say it differently. Here it only
gets its name, and its advice.
"""

from typing import Any

import numpy as np

from crossent import _arguments as desk
from crossent import _evidence as evidence
from crossent._scratch import Array
from crossent.findings import BINARY, Call, Finding, found, named_axis

_Refusal = tuple[str, str, dict[str, Any]]  # code, advice, evidence


def refused(call: Call, error: Exception) -> Finding:
    """Name what was refused."""
    known: _Refusal | None
    try:
        x = desk.real(call.name, call.logits)
        t = desk.real("target", call.target)
        known = (_of_elements if call.loss == BINARY else _of_classes)(call, x, t)
    except Exception:  # something that cannot be looked at: the error says so
        known = None
    code, advice, figures = known or ("refused", f"help(crossent.{call.loss})", {})
    return found(code, str(error), advice, error=type(error).__name__, **figures)


def _of_elements(call: Call, x: Array, t: Array) -> _Refusal | None:
    if t.shape != x.shape:
        advice = "target.shape == logits.shape"
        if _squeezed(t.shape) == _squeezed(x.shape):
            advice = call.code(y="target.reshape(logits.shape)")
        elif t.dtype.kind in "iu" and t.shape == x.shape[:-1]:
            advice = call.code(loss="cross_entropy", axis=-1) + "  # one class a row"
        return "target-shape", advice, {"logits": x.shape, "target": t.shape}
    for name, value in call.weights:
        shape = desk.real(name, value).shape
        if not _broadcasts(shape, x.shape):
            advice = f"np.broadcast_to({name}, logits.shape)"
            if shape == x.shape[:1]:
                advice = call.code(f"{name}={name}[:{', None' * (x.ndim - 1)}]")
            return "weight-shape", advice, {"argument": name, "shape": shape, "logits": x.shape}
    return None


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _of_classes(call: Call, x: Array, t: Array) -> _Refusal | None:
    axis = desk.class_axis(call.name, x, call.axis)
    classes, without = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    soft = desk.is_floating(t) and t.shape == x.shape
    ignore_index = desk.integer("ignore_index", call.ignore_index)
    if soft and call.loss == "nll_loss":
        return "soft-target", call.code(x="logits", loss="cross_entropy"), {"dtype": str(t.dtype)}
    if t.shape == x.shape and not soft:
        return _integers_like_logits(call, x, t, axis)
    if t.shape != without and not soft:
        return _misfit(call, x, t, axis, without)
    if classes == 1 and t.dtype.kind not in "iu" and not soft:
        return "one-class", call.code(x=f"{call.name}.reshape(target.shape)", loss=BINARY), {"classes": 1}
    if t.dtype == np.bool_:
        return "boolean-target", call.code(y="target.astype(int)"), {"true": int(np.count_nonzero(t))}
    if desk.is_floating(t) and not soft:
        whole = all(bool((t[box] == np.rint(t[box])).all()) for box in evidence.boxes(t.shape))
        advice = call.code(y="target.astype(int)") if whole else "np.mean((x - target) ** 2)  # regression?"
        return "float-indices", advice, {"dtype": str(t.dtype), "whole": whole}
    if soft and ignore_index >= 0:
        return None
    shape = (classes,) if call.weight is None else desk.real("weight", call.weight).shape
    if shape != (classes,):
        advice = f"weight.shape == ({classes},)"
        if shape == ():
            advice = call.code(f"weight=np.full({classes}, weight)")
        elif shape == without:
            losses = call.code("reduction='none'")
            advice = f"np.average({losses}, weights=weight)"
        return "weight-shape", advice, {"argument": "weight", "shape": shape, "classes": classes}
    return None if soft else _labels(call, t, classes)


def _integers_like_logits(call: Call, x: Array, t: Array, axis: int) -> _Refusal:
    rows = evidence.of_target(desk.first(t, (axis,)))
    if not rows.hard:
        advice = f"{call.name}.ndim == target.ndim + 1"
        return "target-shape", advice, {call.name: x.shape, "target": t.shape, "axis": axis}
    if rows.wrong.count:
        return (
            "multi-label-target",
            call.code(loss=BINARY),
            {"rows": rows.rows, "several": rows.several.count},
        )
    return "one-hot-integers", call.code(y=f"target.argmax(axis={axis})"), {"rows": rows.rows}


def _misfit(call: Call, x: Array, t: Array, axis: int, without: tuple[int, ...]) -> _Refusal:
    shapes = {call.name: x.shape, "target": t.shape, "axis": axis}
    if _fits_swapped(call, x, t):
        return "arguments-swapped", call.code(x="target", y=call.name), shapes
    for other in reversed(range(x.ndim)):
        if x.shape[:other] + x.shape[other + 1 :] == t.shape:
            advice = call.code(axis=named_axis(other, x.ndim))
            return "class-axis", advice, {**shapes, "other_axis": other}
    if _squeezed(t.shape) == _squeezed(without):
        integers = ".astype(int)" if desk.is_floating(t) else ""
        return "target-shape", call.code(y=f"target.reshape({without}){integers}"), shapes
    return "target-shape", f"target.shape == {without}", shapes


def _fits_swapped(call: Call, x: Array, t: Array) -> bool:
    try:
        desk.categories(
            "target", t, x, weight=None, ignore_index=call.ignore_index, axis=call.axis, where=None
        )  # fmt: skip
    except (TypeError, ValueError, IndexError):
        return False
    return True


def _labels(call: Call, y: Array, classes: int) -> _Refusal:
    counts = y != call.ignore_index
    if call.where is not None:
        counts = counts & desk.mask(call.where, y.shape)
    limits = np.iinfo(y.dtype)
    low = int(y.min(where=counts, initial=limits.max))
    high = int(y.max(where=counts, initial=limits.min))
    figures = {"low": low, "high": high, "classes": classes}
    if classes == 1 and low >= 0 and high == 1:
        return "one-class", call.code(x=f"{call.name}.reshape(target.shape)", loss=BINARY), figures
    if low >= 1 and high == classes and np.count_nonzero(y) == y.size:
        return "labels-from-one", call.code(y="target - 1"), figures
    if high < classes:  # it is `low` that is refused
        return "label-out-of-range", call.code(f"ignore_index={low}"), figures
    within = int(y.max(where=counts & (y < high), initial=limits.min))
    if low >= 0 and within < classes and high == 255:  # what images mark unlabelled pixels with
        return "label-out-of-range", call.code(f"ignore_index={high}"), figures
    return "label-out-of-range", f"{call.name}.shape  # {high + 1} classes at least", figures
