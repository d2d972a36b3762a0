"""What is silently wrong: judgements of the figures that `_evidence.py` finds."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from crossent import _arguments as desk
from crossent import _evidence as evidence
from crossent._refusals import refused
from crossent._scratch import Array
from crossent.findings import BINARY, Call, Finding, found, named_axis

_NO_SLOPE = f"exp(-{evidence.SATURATED:g}) is 0 in float32: nothing is learned there; are they raw scores?"
_DIVISION = "; were they divided by a count of 0?"


def foreign_options(call: Call) -> Iterator[Finding]:
    """Name options that the loss does not have."""
    options = {}
    if call.loss != BINARY:
        if call.pos_weight is not None:
            options["pos_weight"] = call.code("weight=weight")
    else:
        if call.axis is not None:
            options["axis"] = call.code()
        if not _is_default(call.ignore_index):
            options["ignore_index"] = call.code("where=target != ignore_index")
    for name, advice in options.items():
        yield found(
            "no-such-option", f"{call.loss} has no option {name}; it was not looked at", advice, option=name
        )


def _is_default(ignore_index: Any) -> bool:
    try:
        return desk.integer("ignore_index", ignore_index) == -100
    except TypeError:
        return False


# --------------------------------------------------------------------------------------------------
# Classes


def judge_classes(call: Call) -> Iterator[Finding]:
    """Look at a call of `cross_entropy` or `nll_loss`."""
    try:
        x = desk.real(call.name, call.logits)
        problem = desk.categories(
            call.name, x, call.target, weight=call.weight, ignore_index=call.ignore_index,
            axis=call.axis, where=call.where, soft=call.loss != "nll_loss",
        )  # fmt: skip
    except Exception as error:  # arrays of other libraries may raise anything
        yield refused(call, error)
        return
    rows = evidence.of_logits(problem)
    q = None if problem.probability is None else evidence.of_target(problem.probability, problem)
    yield from _counts(call, problem, rows)
    yield from _numbers(call, problem, rows)
    meaning = [*_other_axis(call, x, problem, rows, q)]
    if not meaning and q is not None:
        meaning = [*_soft_rows(call, problem, q)]
    yield from meaning
    # Rows along a wrong axis, or of what should be the target, say nothing more.
    if not {finding.code for finding in meaning} & {"class-axis", "softmax-axis", "arguments-swapped"}:
        yield from _scale(call, problem, rows)
    yield from _weights(call)
    yield from _absent(call, problem, rows)


def _counts(call: Call, problem: desk.Categories, rows: evidence.Logits) -> Iterator[Finding]:
    """Is there a mean?"""
    if rows.rows > rows.weightless:
        return
    advice = f"if target.size: {call.code()}"
    if not rows.positions:
        came = f"there are no positions: {call.name} without classes have the shape {problem.positions}"
    elif rows.rows:
        came = f"the labels of all {rows.rows} positions have weight 0"
        advice = call.code()
    else:
        came = f"all {rows.positions} positions are left out, by ignore_index={problem.ignore_index} or where"
        if problem.where is None:
            advice = f"if (target != {problem.ignore_index}).any(): {call.code()}"
    yield found(
        "nothing-counts", f"{came}: the mean is 0 / 0, NaN", advice, positions=rows.positions, rows=rows.rows
    )


def _numbers(call: Call, problem: desk.Categories, rows: evidence.Logits) -> Iterator[Finding]:
    """Do the logits give a number?"""
    wrong = rows.strange
    if wrong.count:
        yield found(
            "non-finite-logits",
            f"{call.name} hold NaN, inf, or nothing but -inf in {wrong.count} of {rows.rows} rows, first "
            f"{call.name}[{_place(wrong, problem)}]: the loss is NaN there (-inf in part of a row is fine, a "
            "masked class)",
            f"np.argwhere(~np.isfinite({call.name}))  # where they are: mend what made them",
            count=wrong.count, rows=rows.rows, first=wrong.place,
        )  # fmt: skip
    wrong = rows.impossible
    if wrong.count:
        whose = "the label" if problem.index is not None else "a class that the target wants"
        advice = call.code("where=...") + "  # or do not mask the label"
        if call.loss == "nll_loss":
            advice = call.code(x="log_softmax(logits)")
        yield found(
            "infinite-loss",
            f"{call.name} are -inf at {whose} in {wrong.count} of {rows.rows} rows, first "
            f"{call.name}[{_place(wrong, problem)}]: the loss is inf; was the label masked, or a logarithm "
            "of 0 taken?",
            advice,
            count=wrong.count, rows=rows.rows, first=wrong.place,
        )  # fmt: skip


def _place(wrong: evidence.Found, problem: desk.Categories) -> str:
    """Write a row as an index into the caller's array."""
    at = [str(i) for i in wrong.place]
    at.insert(problem.axis, ":")
    return ", ".join(at)


def _scale(call: Call, problem: desk.Categories, rows: evidence.Logits) -> Iterator[Finding]:
    """Are they logits, or log-probabilities, at all?"""
    norms, n = rows.norms, rows.rows
    norm = norms.kind()
    # Not those that total less than 1: the best few of many log-probabilities are legitimate.
    if call.loss == "nll_loss" and norm != "probabilities" and norms.above:
        yield found(
            "logits-as-log-probabilities",
            f"log_probs are no log-probabilities: exp(log_probs) totals more than 1 in {norms.above} of {n} "
            f"rows (the largest logsumexp is {norms.lse_high:.3g}, expected 0); are they logits?",
            call.code(x="logits", loss="cross_entropy"),
            rows=n, above=norms.above, lse_high=norms.lse_high,
        )  # fmt: skip
    # Log-probabilities are what nll_loss takes. For cross_entropy they are harmless, and said because who
    # passes them expects something else; but no other loss takes probabilities as target.
    right = norm == "log-probabilities" and (call.loss == "nll_loss" or problem.index is None)
    if norm is not None and not right:
        yield _normalised(call, norms, n, norm)
    if call.loss == "cross_entropy" and rows.saturated and 2 * rows.saturated >= n:
        yield found(
            "saturated-logits",
            f"logits saturate: in {rows.saturated} of {n} rows the largest leads the next by more "
            f"than {evidence.SATURATED:g}, and {_NO_SLOPE}",
            call.code(x="logits / temperature"),
            rows=n, saturated=rows.saturated, low=norms.low, high=norms.high,
        )  # fmt: skip


def _normalised(call: Call, norms: evidence.Norms, n: int, norm: str) -> Finding:
    """Say what normalised rows are taken for."""
    figures = {"rows": n, "low": norms.low, "high": norms.high}
    if norm == "log-probabilities":
        said = f"{BINARY} takes the sigmoid of each, which is for logits"
        advice = call.code(x="z") + "  # z: what log_softmax was given"
        if call.loss != BINARY:
            said = "harmless but redundant: cross_entropy normalises again, which changes nothing"
            advice = call.code(loss="nll_loss") + "  # or pass what log_softmax was given"
        return found(
            "log-probabilities-as-logits",
            f"logits look like log-probabilities: the logsumexp of all {n} rows is 0 within "
            f"{norms.lse_off:.1g}; {said}",
            advice,
            **figures, lse_off=norms.lse_off,
        )  # fmt: skip
    figures["sum_off"] = norms.sum_off
    seen = f"look like probabilities: all {n} rows lie in [0, 1] and sum to 1 within {norms.sum_off:.1g}"
    if call.loss == "nll_loss":
        return found(
            "probabilities-as-log-probabilities",
            f"log_probs {seen}; nll_loss takes their logarithms",
            call.code(x="log_softmax(z)")
            + "  # z: what softmax was given; np.log(log_probs) if that is lost",
            **figures,
        )
    inside = "sigmoid" if call.loss == BINARY else "softmax"
    return found(
        "probabilities-as-logits",
        f"logits {seen}; {call.loss} takes the {inside} itself: of probabilities it is nearly flat, and the "
        "loss stays far from 0",
        call.code(x="z") + "  # z: what softmax was given; np.log(logits) if that is lost",
        **figures,
    )


def _soft_rows(call: Call, problem: desk.Categories, q: evidence.Target) -> Iterator[Finding]:
    """Are the rows of a floating target distributions?"""
    n, wrong = q.rows, q.wrong.count
    if not wrong:
        return
    at = f"target[{_place(q.wrong, problem)}]"
    figures: dict[str, Any] = {
        "rows": n, "wrong": wrong, "low": q.low, "sum_low": q.sum_low, "sum_high": q.sum_high,
        "first": q.wrong.place,
    }  # fmt: skip
    if q.low < 0 and not evidence.of_target(problem.x, problem).wrong.count:
        yield found(
            "arguments-swapped",
            f"all rows of logits are probabilities, and those of target are not (first {at}): did target "
            "come first?",
            call.code(x="target", y="logits"),
            **figures,
        )
        return
    if q.hard and q.several.count:
        yield found(
            "multi-label-target",
            f"target has several classes in {q.several.count} of {n} rows of 0 and 1, first "
            f"target[{_place(q.several, problem)}]: cross_entropy is for one class a row; yes-or-no labels "
            "have a loss of their own",
            call.code(loss=BINARY),
            **figures, several=q.several.count,
        )  # fmt: skip
        return
    cause, advice = "", call.code(y=f"target / target.sum(axis={problem.axis}, keepdims=True)")
    if len(problem.x) == 1:
        cause, advice = "; one logit a row: is it a yes-or-no question?", call.code(loss=BINARY)
    elif q.empty == wrong:
        cause, advice = "; they hold zeros: padding?", call.code(f"where=target.any(axis={problem.axis})")
    yield found(
        "target-rows",
        f"class probabilities must be at least 0 and sum to 1, but {wrong} of {n} rows of target do not, "
        f"first {at} (smallest entry {q.low:.3g}, sums from {q.sum_low:.3g} to {q.sum_high:.3g}){cause}",
        advice,
        **figures,
    )


def _other_axis(
    call: Call, x: Array, problem: desk.Categories, rows: evidence.Logits, q: evidence.Target | None
) -> Iterator[Finding]:
    """Suspect another class axis where shapes cannot tell: axes of one length, and soft targets."""
    suspected = _suspected_by_target if q is not None else _suspected_by_labels
    for axis in range(x.ndim):
        if axis == problem.axis or not 2 <= x.shape[axis] <= evidence.BOX or not rows.rows:
            continue  # longer ones would take memory, and are no class axis that is mistaken for another
        said, figures = suspected(call, x, problem, q, axis)
        if said:
            yield found(
                "class-axis",
                f"the class axis is {problem.axis}, and looks wrong: {said}",
                call.code(axis=named_axis(axis, x.ndim)),
                axis=problem.axis, other_axis=axis, **figures,
            )  # fmt: skip
            return
        # More is asked for than of the class axis: an axis may be so long, and its entries so much of
        # one kind, that all its sums are nearly the same.
        kind = evidence.other_norms(x, axis).kind(chance=1e-6)
        if kind is None or rows.norms.fits()[0] == kind:
            continue
        said = f"{call.name} are {kind} along axis {axis}"
        advice = call.code(x="z")
        if call.loss == "nll_loss":
            advice = call.code(x=f"log_softmax(z, axis={problem.axis})")
        if x.shape[:axis] + x.shape[axis + 1 :] == problem.positions and q is None:
            advice = call.code(axis=named_axis(axis, x.ndim)) + f"  # or {advice}"
        yield found(
            "softmax-axis",
            f"{said}, but the class axis is {problem.axis}: which of the two is wrong?",
            advice,
            axis=problem.axis, other_axis=axis, normalised=kind,
        )  # fmt: skip
        return


_Suspicion = tuple[str, dict[str, Any]]


def _suspected_by_target(call: Call, x: Array, problem: desk.Categories, q: Any, axis: int) -> _Suspicion:
    if not q.wrong.count or problem.where is not None:  # a mask fits one class axis only
        return "", {}
    t = desk.real("target", call.target)
    if evidence.of_target(desk.first(t, (axis,))).wrong.count:
        return "", {}
    return f"the rows of target sum to 1 along axis {axis} instead", {"rows": q.rows, "wrong": q.wrong.count}


def _suspected_by_labels(call: Call, x: Array, problem: desk.Categories, q: Any, axis: int) -> _Suspicion:
    if x.shape[:axis] + x.shape[axis + 1 :] != problem.positions:
        return "", {}
    # A model that has learned something agrees with its labels along the class axis. It agrees a little more
    # than chance along the other one, too: what is the largest of its row is often the largest of its
    # column, and counts there if the labels of two places are each other. So the other axis has to be four
    # times as far beyond chance, unless the class axis is not at all. Where both axes agree, or each label
    # stands there once (images and texts scored against each other), either may be meant.
    if x.ndim == 2 and np.unique(np.asarray(problem.index)).size == len(problem.x):
        return "", {}
    here = evidence.agreement(x, problem.axis, problem)
    there = evidence.agreement(x, axis, problem)
    learned = here.chance < 1e-2 and there.beyond < 4 * here.beyond
    if there.chance > 1e-6 or learned:
        return "", {}
    said = (
        f"the largest entry is the label's {there.share:.0%} of the time along axis {axis}, and "
        f"{here.share:.0%} along axis {problem.axis} ({there.expected:.0%} would be chance)"
    )
    return said, {"share": here.share, "other_share": there.share, "chance": there.chance}


def _weights(call: Call) -> Iterator[Finding]:
    """Are weights numbers that a weight can be?"""
    for name, came in call.weights:
        w = desk.real(name, came)
        wrong = evidence.Found()
        for box in evidence.boxes(w.shape):
            part = w[box].astype(evidence.wide_dtype(w))
            wrong.add(box, np.flatnonzero(~((part >= 0) & (part < np.inf))))
        if wrong.count:
            value = float(w[wrong.place])
            yield found(
                "weight-values",
                f"weights must be finite and at least 0, but {wrong.count} of {w.size} in {name} are not, "
                f"first {_entry(name, wrong)} = {value:g}{'' if value < 0 else _DIVISION}",
                f"{name} = n / np.maximum(counts, 1)",
                argument=name, count=wrong.count, first=wrong.place,
            )  # fmt: skip


def _entry(name: str, wrong: evidence.Found) -> str:
    return f"{name}[{', '.join(map(str, wrong.place))}]" if wrong.place else name


def _absent(call: Call, problem: desk.Categories, rows: evidence.Logits) -> Iterator[Finding]:
    """Do classes never appear that should?"""
    counts = evidence.label_counts(problem, rows.rows)
    if counts is None:
        return
    missing = [int(k) for k in np.flatnonzero(counts == 0) if k != problem.ignore_index]
    rarest = int(counts[counts > 0].min())
    # Long tails have rare classes that were seen, and rarer ones that were not. If the rarest seen
    # stands there 100 times, one ten times rarer would not have been missed: chance exp(-10).
    if not missing or rarest < 100:
        return
    some = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
    shifted = missing == [0] and len(counts) > 2
    yield found(
        "absent-classes",
        f"{len(missing)} of {len(counts)} classes never appear among {rows.rows} labels ({some}), but all "
        f"others at least {rarest} times; {'are labels counted from 1?' if shifted else 'is K right?'}",
        call.code(y="target - 1") if shifted else "np.bincount(np.ravel(target))",
        labels=rows.rows, classes=len(counts), absent=len(missing), first=missing[0], rarest=rarest,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Yes or no


def judge_binary(call: Call) -> Iterator[Finding]:
    """Look at a call of `binary_cross_entropy_with_logits`."""
    try:
        x = desk.real("logits", call.logits)
        y = desk.same_shape("target", call.target, x.shape, "logits")
        for name, value in call.weights:
            desk.broadcast(name, value, x.shape, "logits")
        where = desk.mask(call.where, x.shape)
    except Exception as error:  # arrays of other libraries may raise anything
        yield refused(call, error)
        return
    seen = evidence.of_elements(x, y, where)
    yield from _weights(call)
    yield from _ambiguous(call, x.shape)
    if not seen.count:
        came = f"all {x.size} elements are left out by where"
        if not x.size:
            came = f"logits of shape {x.shape} are empty"
        advice = f"if target.size: {call.code()}"
        yield found("nothing-counts", f"{came}: the mean is 0 / 0, NaN", advice, positions=x.size, rows=0)
        return
    yield from _binary_numbers(call, seen)
    targets = [*_binary_targets(call, seen, y)]
    yield from targets
    if not any(finding.code == "arguments-swapped" for finding in targets):
        yield from _binary_scale(call, seen, x, where)


def _ambiguous(call: Call, shape: tuple[int, ...]) -> Iterator[Finding]:
    """Could a weight have been meant for another axis?"""
    for name, value in call.weights:
        w = desk.real(name, value)
        axes = [axis for axis, n in enumerate(shape) if w.shape == (n,)]
        if w.size < 2 or len(axes) < 2:
            continue
        last, other = axes[-1], axes[-2]
        as_last, as_other = f"{name}[{'None, ' * last}:]", f"{name}[:{', None' * (last - other)}]"
        yield found(
            "weight-fits-two-axes",
            f"{name} of shape {w.shape} fits the axes {', '.join(map(str, axes))} of logits of shape "
            f"{shape}, and is used along the last; {len(shape)} axes of its own would say which one is meant",
            call.code(f"{name}={as_last}") + f"  # axis {last}; {as_other} for axis {other}",
            argument=name, length=len(w), axes=tuple(axes),
        )  # fmt: skip


def _binary_numbers(call: Call, seen: evidence.Elements) -> Iterator[Finding]:
    """Do the logits give a number?"""
    wrong = seen.nan
    if wrong.count:
        yield found(
            "non-finite-logits",
            f"logits are NaN in {wrong.count} of {seen.count} elements, first {_entry('logits', wrong)}: the "
            "loss is NaN there",
            "np.argwhere(np.isnan(logits))  # where they are: mend what made them",
            count=wrong.count, rows=seen.count, first=wrong.place,
        )  # fmt: skip
    wrong = seen.impossible
    if wrong.count:
        yield found(
            "infinite-loss",
            f"logits are infinite and wrong in {wrong.count} of {seen.count} elements, first "
            f"{_entry('logits', wrong)}: the loss is inf; was a wanted element masked?",
            call.code("where=np.isfinite(logits)"),
            count=wrong.count, rows=seen.count, first=wrong.place,
        )  # fmt: skip


def _binary_targets(call: Call, seen: evidence.Elements, y: Array) -> Iterator[Finding]:
    """Are targets probabilities of yes?"""
    wrong, low, high = seen.missing, seen.low, seen.high
    if wrong.count:
        yield found(
            "target-outside-0-1",
            f"target must hold probabilities in [0, 1], but {wrong.count} of {seen.count} elements are NaN, "
            f"first {_entry('target', wrong)}: the loss is NaN there; are labels missing?",
            call.code("where=~np.isnan(target)"),
            count=wrong.count, rows=seen.count, first=wrong.place,
        )  # fmt: skip
    wrong = seen.outside
    if not wrong.count:
        return
    figures = {"count": wrong.count, "rows": seen.count, "low": low, "high": high, "first": wrong.place}
    at = _entry("target", wrong)
    if seen.hard and seen.ones:
        yield found(
            "arguments-swapped",
            f"logits are all 0 or 1, and target is not (first {at}): did target come first?",
            call.code(x="target", y="logits"),
            **figures,
        )
        return
    cause, advice = "are they class indices, or percent?", call.code(loss="cross_entropy")
    if low == -1 and high == 1:
        cause, advice = "are the labels -1 and 1?", call.code(y="(target + 1) / 2")
    elif low >= 1 and high == 2:
        cause, advice = "are labels counted from 1?", call.code(y="target - 1")
    elif high <= 1:  # it is `low` that is outside
        cause = f"does {low:g} mark elements to leave out?"
        advice = call.code(f"where=target != {low:g}")
    yield found(
        "target-outside-0-1",
        f"target must hold probabilities in [0, 1], but {wrong.count} of {seen.count} elements do not, first "
        f"{at} = {float(y[wrong.place]):g} (smallest {low:g}, largest {high:g}); {cause}",
        advice,
        **figures,
    )


def _binary_scale(call: Call, seen: evidence.Elements, x: Array, where: Array | None) -> Iterator[Finding]:
    """Are they logits at all?"""
    # Outputs of a sigmoid crowd at 0 and 1 and never leave [0, 1]. Logits that come within 0.05 of both ends
    # would: beyond an end, a falling density of any usual width has at least half as many as within 0.05
    # of it. So ten at each end and none beyond have a chance of (2 / 3)**20 = 0.0003. Exact zeros do
    # not count, a relu makes them, and placeholders from a uniform generator do not crowd: they have a tenth
    # of all there, a fifth is asked for. Nothing but zeros and ones, ten of each, are hard predictions.
    n, near = seen.count, (seen.near_0, seen.near_1)
    crowded = seen.beyond == 0 and min(near) >= 10 and sum(near) > 0.2 * n
    if crowded or (seen.hard and min(seen.ones, n - seen.ones) >= 10):
        yield found(
            "probabilities-as-logits",
            f"logits look like probabilities: all {n} lie in [0, 1], and crowd at its ends; {BINARY} takes "
            "the sigmoid itself: of probabilities it is nearly flat, and the loss stays far from 0",
            call.code(x="z") + "  # z: what sigmoid was given",
            rows=n, near_0=seen.near_0, near_1=seen.near_1, ones=seen.ones,
        )  # fmt: skip
    elif where is None and x.ndim > 1:
        rows = evidence.of_logits(desk.Categories(desk.first(x, (1,)), 1, x.dtype, x.dtype))
        norm = rows.norms.kind()
        if norm is not None:
            yield _normalised(call, rows.norms, rows.rows, norm)
    if 2 * seen.saturated >= n:
        yield found(
            "saturated-logits",
            f"logits saturate: {seen.saturated} of {n} lie beyond {evidence.SATURATED:g} or "
            f"-{evidence.SATURATED:g}, and {_NO_SLOPE}",
            call.code(x="logits / temperature"),
            rows=n, saturated=seen.saturated,
        )  # fmt: skip
