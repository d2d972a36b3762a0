"""Laws about special values, and about what must be refused."""

from __future__ import annotations

import numpy as np

from crossent.testing._calls import BINARY, CLASS_LOSSES, LOSSES, ROWS, SPECS, Call
from crossent.testing._compare import Broken
from crossent.testing._laws import law
from crossent.testing._laws_digits import CALM
from crossent.testing._laws_sizes import with_class
from crossent.testing._subject import Subject
from crossent.testing._truth import Exact, exact


@law(
    "f([z, -inf]) = f(z), and the gradient of the new logit is 0",
    (*ROWS, "cross_entropy"),
    regimes=CALM,
    without=("label_smoothing",),
)
def a_masked_class_is_removed(s: Subject, call: Call) -> None:
    """A logit of -inf is how attention and vocabularies leave a class out: -inf - -inf is NaN."""
    call = call.rows
    masked = with_class(call, -np.inf)
    if call.grad_output is None and call.function == "log_softmax":
        s.check_value(masked)
        return  # a cotangent of ones sees the masked class
    e, due = exact(call), exact(masked)

    def beside(known: np.ndarray, of_mask: np.ndarray) -> np.ndarray:
        """What the call without the class gives, and the entry of the class."""
        if known.ndim < 2:
            return known
        return np.concatenate([known, of_mask[:, -1:]], axis=1)

    s.check(masked, Exact(*(beside(getattr(e, f), getattr(due, f)) for f in _FIELDS)))


_FIELDS = ("value", "value_scale", "value_least", "grad", "grad_scale", "grad_least")


@law(
    "f(z, y) = inf where z[y] = -inf (binary: y = 1 at -inf, y = 0 at inf)",
    LOSSES,
    kinds=("index",),
    regimes=CALM,
)
def an_impossible_target_costs_inf(s: Subject, call: Call) -> None:
    """What the model calls impossible has happened: a loss of NaN, or of 100, hides it."""
    call = call.rows
    x = call.x.copy()
    if call.function == BINARY:
        x[0] = np.inf if call.target[0] == 0 else -np.inf
    elif x.shape[1] > 1 and call.live[0]:
        x[0, call.target[0]] = -np.inf
    s.check(call.changed(x=x))


@law(
    "0 * inf = 0: a term whose probability, weight or smoothing is 0 is 0",
    LOSSES,
    regimes=("masked", "infinite"),
    without=("label_smoothing",),
)
def zero_times_infinity_is_zero(s: Subject, call: Call) -> None:
    """Soft targets and masked logits meet in every masked language model: 0 * -inf is NaN in floats."""
    if call.function == BINARY:
        y = np.where(np.isposinf(call.x), 1, np.where(np.isneginf(call.x), 0, call.target))
        s.check(call.changed(target=y.astype(call.target.dtype)))
        return
    call = call.rows
    x = np.where(np.isposinf(call.x), 1, call.x).astype(call.x.dtype)
    x[np.isneginf(x).all(axis=1), 0] = 0
    call = call.changed(x=x)
    w = np.where(np.isneginf(x).any(axis=0), 0, np.resize([1.0, 2.0], x.shape[1])).astype(x.dtype)
    if call.index:
        if s.has("weight"):
            s.check(call.having(weight=w))
        call = call.changed(target=np.where(call.live, x.argmax(axis=1), call.target))
        smoothed = call.reduction != "mean" or np.any(w[call.target[call.live]])  # else of no weight
    else:
        # a target of nothing costs nothing
        call = call.changed(target=np.where(np.isneginf(x), 0, call.target).astype(call.target.dtype))
        smoothed = True
    s.check(call)
    if smoothed and s.has("weight") and s.has("label_smoothing"):
        s.check(call.having(weight=w, label_smoothing=0.25))


@law("NaN in z[i]: f(z)[i] is NaN, f(z)[j] is as before", SPECS, regimes=CALM)
def nan_stays_in_its_position(s: Subject, call: Call) -> None:
    """One broken example must be seen where it is, and must not poison or hide in the others."""
    call = call.rows
    labels = call.function in CLASS_LOSSES and call.index
    for i in range(min(len(call.x), 3)):
        x = call.x.copy()
        k = call.target[i] if labels and call.live[i] else i % x.shape[1] if x.ndim == 2 else 0
        x[(i, k) if x.ndim == 2 else i] = np.nan
        s.check(call.changed(x=x))
        if i == 0 and labels and s.has("weight"):  # 0 * NaN is NaN
            s.check(call.changed(x=x).having(weight=(np.arange(x.shape[1]) != k).astype(x.dtype)))


@law(
    "softmax with inf, or of only -inf, is NaN; logsumexp and softplus of inf are inf, sigmoid of inf is 1; "
    "three quarters of the largest number are a number",
    SPECS,
    regimes=("infinite", "nan", "masked"),
)
def infinities_have_their_limits(s: Subject, call: Call) -> None:
    """An overflow upstream has to arrive as what it is, not as a number that looks fine."""
    s.check(call)
    if call.function not in LOSSES:  # large numbers are no infinities
        large = np.finfo(call.x.dtype).max * call.x.dtype.type(0.75)
        s.check(call.changed(x=np.nan_to_num(call.x, posinf=large, neginf=-large)))


@law("f(z, y) raises for y < 0 and y >= K that are not ignored", CLASS_LOSSES, kinds=("index",), regimes=CALM)
def labels_out_of_range_are_refused(s: Subject, call: Call) -> None:
    """A label of -1 that wraps to the last class trains a model on it, and nobody is told."""
    call = call.rows.having(where=None)
    K = call.x.shape[1]
    for bad in (-1, K, -K, K + 100, -K - 2):
        if bad != call.options.get("ignore_index", -100):
            target = call.target.copy()
            target[0] = bad
            _refused(s, call.changed(target=target), f"label {bad} of {K} classes accepted", "an IndexError")


@law(
    "f(label_smoothing=s) raises unless 0 <= s <= 1",
    ("cross_entropy",),
    needs=("label_smoothing",),
    regimes=CALM,
)
def smoothing_out_of_range_is_refused(s: Subject, call: Call) -> None:
    """A negative smoothing, or a percentage, gives a loss without a lower bound."""
    for bad in (-0.1, 1.5, 10.0, float("nan")):
        _refused(s, call.having(label_smoothing=bad), f"label_smoothing={bad} accepted", "a ValueError")


@law(
    "f(z[N], y[N, 1]) is not f over [N, N]",
    LOSSES,
    kinds=("index",),
    regimes=CALM,
    min_rows=2,
    ndims=("2",),
)
def targets_are_not_broadcast(s: Subject, call: Call) -> None:
    """[N] against [N, 1] is [N, N] to NumPy: a loss that falls, of a model that learns nothing."""
    call = call.rows.having(weight=None, pos_weight=None, where=None)
    column = call.changed(target=call.target[:, np.newaxis])
    try:
        came = s.value(column)
    except Broken:
        return
    due = s.value(call)  # to read a column as a row does no harm
    if came.size != due.size or not np.array_equal(came.ravel(), due.ravel(), equal_nan=True):
        shown = came if came.size == 1 else f"shape {came.shape}"
        raise Broken(column, "value", "a target of another shape accepted", str(shown), "a ValueError")


def _refused(s: Subject, call: Call, problem: str, due: str) -> None:
    """Raise Broken if the function or its gradient returns."""
    try:
        quantity, came = "value", s.value(call)
    except Broken:
        if s.gradient is None:
            return
        try:
            quantity, came = "gradient", s.grad(call)
        except Broken:
            return
    shown = came if came.size == 1 else came.tolist() if came.size < 9 else f"shape {came.shape}"
    raise Broken(call, quantity, problem, str(shown), due)
