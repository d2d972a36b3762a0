"""Known bugs, each as the few lines of the implementation that has it: what the vectors' flags mean.

A `naive_*` function takes a case and returns what such an implementation makes of it: a value, a
gradient, or both. All of it but the one step is right. The arithmetic is that of the dtype; exp and
log are the exact ones, rounded, and sums go from left to right, so every machine gets the same wrong
digits.

These formulas are data. Nothing of the package is computed with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from crossent.exact import _log1p as _exact_log1p
from crossent.exact import _precision

__all__ = ["BUGS", "Bug", "Case"]

Array: TypeAlias = npt.NDArray[Any]
Wrong: TypeAlias = dict[str, Array]

_BINARY = "binary_cross_entropy_with_logits"


@dataclass(frozen=True, eq=False)
class Case:
    """One call: the arguments by position, the options by name, and which bugs it finds."""

    function: str
    comment: str
    arguments: Mapping[str, Array]
    options: Mapping[str, Any] = field(default_factory=dict)
    grad_output: Array | None = None
    flags: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def x(self) -> Array:
        """The first argument."""
        return next(iter(self.arguments.values()))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the result."""
        given = np.dtype(self.options.get("dtype", self.x.dtype))
        return given if given.kind == "f" else np.dtype(np.float64)


class Bug(NamedTuple):
    """What is wrong, the formula that is, what it gives, and the function that shows it."""

    mistake: str
    formula: str
    consequence: str
    naive: Callable[[Case], Wrong]


# -- arithmetic that is the same everywhere --------------------------------------------------------


def _by_decimals(function: Callable[[Decimal], Decimal], x: Array) -> Array:
    """A function of single numbers, exactly rounded to the dtype."""
    with _precision(40):
        values = [float(function(Decimal(float(v)))) for v in x.ravel()]
    return np.array(values, dtype=np.float64).astype(x.dtype).reshape(x.shape)


def _exp(x: Array) -> Array:
    return _by_decimals(Decimal.exp, x)


def _log(x: Array) -> Array:
    return _by_decimals(Decimal.ln, x)


def _log1p(x: Array) -> Array:
    return _by_decimals(_exact_log1p, x)


def _sum(x: Array, axis: int = 0) -> Array:
    """From left to right; the sum of nothing is 0."""
    parts = np.moveaxis(x, axis, 0)
    return np.asarray(reduce(np.add, parts, np.zeros(parts.shape[1:], x.dtype)))


# -- a call in rows (N, K), and back ---------------------------------------------------------------


class Rows:
    """Logits, target and options of a case in the dtype of computing, one position a row."""

    def __init__(self, c: Case, axis: int | None = None, dtype: npt.DTypeLike | None = None) -> None:
        self.c = c
        half = np.dtype(np.float32) if c.dtype == np.float16 else c.dtype
        self.dtype: np.dtype[Any] = np.dtype(half if dtype is None else dtype)
        self.real: Any = self.dtype.type
        rowwise = c.function in ("logsumexp", "log_softmax", "softmax")
        default = -1 if rowwise else min(c.x.ndim - 1, 1)
        self.axis = c.options.get("axis", default) if axis is None else axis
        last = np.moveaxis(c.x, self.axis, -1)
        self.shape, self.K = last.shape[:-1], last.shape[-1]
        self.z = last.reshape(-1, self.K).astype(self.dtype)
        self.N = len(self.z)
        self.g = None if c.grad_output is None else c.grad_output.astype(self.dtype)
        self.keep = np.broadcast_to(c.options.get("where", True), self.shape).ravel()
        self.w = np.broadcast_to(c.options.get("weight", 1), self.K).astype(self.dtype)
        self.s: Any = self.real(c.options.get("label_smoothing", 0.0))
        if "target" in c.arguments:
            self._targets(c.arguments["target"])

    def _targets(self, target: Array) -> None:
        self.index = target.dtype.kind in "iu"
        one = self.real(1)
        if self.index:
            y = target.ravel()
            self.keep = self.keep & (y != self.c.options.get("ignore_index", -100))
            self.y = np.where(self.keep, y, 0)
            self.q = (np.arange(self.K) == self.y[:, np.newaxis]).astype(self.dtype)
            self.count = _sum(self.w[self.y][self.keep])
            self.own = (one - self.s) * self.q * self.w[self.y][:, np.newaxis] + self.s / self.K * self.w
        else:
            self.q = np.moveaxis(target, self.axis, -1).reshape(-1, self.K).astype(self.dtype)
            self.count = _sum(self.keep.astype(self.dtype))
            self.own = ((one - self.s) * self.q + self.s / self.K) * self.w

    def log_softmax(self) -> Array:
        """Of every row; the right one."""
        top = self.z.argmax(axis=1)[:, np.newaxis] == np.arange(self.K)
        m = self.z[top][:, np.newaxis]
        rest = _sum(np.where(top, 0, _exp(self.z - m)).astype(self.dtype), 1)
        return np.asarray(self.z - m - _log1p(rest)[:, np.newaxis])

    def costs(self) -> Array:
        """``-log p[k]``, of the log-probabilities that came or of the softmax of the logits."""
        return -self.z if self.c.function == "nll_loss" else -self.log_softmax()

    def losses(self, costs: Array) -> Array:
        """One loss a position, the ignored ones 0: a factor of 0 is no term."""
        terms = np.where(self.own == 0, 0, self.own * costs).astype(self.dtype)
        return np.where(self.keep, _sum(terms, 1), self.real(0))

    def entries(self) -> Array:
        """``p * sum(a) - a``, with a what each class weighs; `nll_loss`: ``-a``."""
        own = np.where(self.keep[:, np.newaxis], self.own, 0).astype(self.dtype)
        if self.c.function == "nll_loss":
            return -own
        p = np.where(own.any(axis=1, keepdims=True), _exp(self.log_softmax()), 0)
        return np.asarray(p * _sum(own, 1)[:, np.newaxis] - own)

    def value(self, losses: Array, count: Any = None) -> Wrong:
        """Losses of the positions, reduced: over the right count unless another is given."""
        return {"value": self.reduced(losses, self.count if count is None else count)}

    def reduced(self, losses: Array, count: Any) -> Array:
        """Losses as they are, their sum or their mean."""
        reduction = self.c.options.get("reduction", "mean")
        if reduction == "none":
            return losses.reshape(self.shape).astype(self.c.dtype)
        total = _sum(losses)
        total = np.asarray(total / self.real(count) if reduction == "mean" else total)
        return (_exp(total) if self.c.function == "perplexity" else total).astype(self.c.dtype)

    def gradient(self, entries: Array, count: Any = None, upstream: Any = None) -> Wrong:
        """Entries of the positions, over the count of a mean and times the cotangent."""
        mean = self.c.options.get("reduction", "mean") == "mean"
        divisor = self.real((self.count if count is None else count) if mean else 1)
        g = np.asarray(self.real(1) if self.g is None else self.g if upstream is None else upstream)
        g = g.reshape(-1, 1) if g.ndim else g
        return {"gradient": self.laid(entries * g / divisor)}

    def laid(self, rows: Array) -> Array:
        """Rows in the shape of the first argument."""
        return np.moveaxis(rows.reshape(*self.shape, self.K), -1, self.axis).astype(self.c.dtype)

    def of(self, log_softmax: Array, total: Array | None = None) -> Wrong:
        """The value that log-probabilities (and the logarithm of a sum) lead to."""
        if self.c.function == "logsumexp" and total is not None:
            return {"value": total.reshape(self.shape).astype(self.c.dtype)}
        if self.c.function == "softmax":
            return {"value": self.laid(_exp(log_softmax))}
        if self.c.function == "log_softmax":
            return {"value": self.laid(log_softmax)}
        return self.value(self.losses(-log_softmax))


class Elements:
    """Logits, target and options of the binary loss, in the dtype of computing."""

    def __init__(self, c: Case) -> None:
        self.c = c
        self.dtype: np.dtype[Any] = np.dtype(np.float32) if c.dtype == np.float16 else c.dtype
        self.real: Any = self.dtype.type
        self.z = c.x.astype(self.dtype)
        self.y = c.arguments["target"].astype(self.dtype)
        self.w = np.asarray(c.options.get("weight", 1)).astype(self.dtype)
        self.pw = np.asarray(c.options.get("pos_weight", 1)).astype(self.dtype)
        self.keep = np.broadcast_to(c.options.get("where", True), self.z.shape)
        self.one = self.real(1)

    def sigmoid(self, z: Array) -> Array:
        return np.asarray(self.one / (self.one + _exp(-z)))

    def softplus(self, z: Array) -> Array:
        return np.asarray(np.maximum(z, 0) + _log1p(_exp(-abs(z))))

    def losses(self) -> Array:
        """Terms without a factor of 0, the ignored elements 0."""
        pull, push = self.pw * self.y, self.one - self.y
        terms = [np.where(f == 0, 0, f * self.softplus(z)) for f, z in ((pull, -self.z), (push, self.z))]
        return np.where(self.keep, self.w * (terms[0] + terms[1]), 0).astype(self.dtype)

    def reduced(self, losses: Array, count: Any = None) -> Wrong:
        reduction = self.c.options.get("reduction", "mean")
        if reduction == "none":
            return {"value": losses.astype(self.c.dtype)}
        total = _sum(losses.ravel())
        if reduction == "mean":
            total = total / self.real(self.keep.sum() if count is None else count)
        return {"value": total.astype(self.c.dtype)}

    def gradient(self, entries: Array) -> Wrong:
        """Entries over the count of a mean, times the cotangent; the ignored ones 0."""
        mean = self.c.options.get("reduction", "mean") == "mean"
        g = self.one if self.c.grad_output is None else self.c.grad_output.astype(self.dtype)
        entries = np.where(self.keep, entries * g / self.real(self.keep.sum() if mean else 1), 0)
        return {"gradient": entries.astype(self.c.dtype)}


# -- bugs of the softmax and its logarithm ---------------------------------------------------------


def naive_exp_overflows(c: Case) -> Wrong:
    """Nothing is taken out of the sum."""
    if c.function in ("softplus", "log_sigmoid"):
        x = c.x if c.function == "softplus" else -c.x
        value = _log(1 + _exp(x))
        return {"value": value if c.function == "softplus" else -value}
    if c.function == "sigmoid":
        return {"value": _exp(c.x) / (1 + _exp(c.x))}
    if c.function == _BINARY:
        e = Elements(c)
        z, y = e.z, e.y
        return e.reduced(e.w * (e.pw * y * _log(1 + _exp(-z)) + (1 - y) * _log(1 + _exp(z))))
    r = Rows(c)
    total = _log(_sum(_exp(r.z), 1))
    if c.function == "softmax":
        return {"value": r.laid(_exp(r.z) / _sum(_exp(r.z), 1)[:, np.newaxis])}
    return r.of(r.z - total[:, np.newaxis], total)


def naive_underflow_then_log(c: Case) -> Wrong:
    """The probability first, which is 0, then its logarithm."""
    if c.function == "log_sigmoid":
        return {"value": _log(1 / (1 + _exp(-c.x)))}
    if c.function == _BINARY:
        e = Elements(c)
        p, y = e.sigmoid(e.z), e.y
        return e.reduced(-e.w * (e.pw * y * _log(p) + np.where(y == 1, 0, (1 - y) * _log(1 - p))))
    r = Rows(c)
    return r.of(_log(_shifted_softmax(r.z)))


def _shifted_softmax(z: Array) -> Array:
    e = _exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / _sum(e, 1)[:, np.newaxis])


def naive_confident(c: Case) -> Wrong:
    """The maximum is taken out, its own 1 is not: log(1 + r) of a small r is 0."""
    if c.function in ("softplus", "log_sigmoid"):
        value = _log(1 + _exp(-abs(c.x)))
        return {
            "value": np.maximum(c.x, 0) + value if c.function == "softplus" else np.minimum(c.x, 0) - value
        }
    if c.function == _BINARY:
        e = Elements(c)
        # The formula of PyTorch: z + (log1p(exp(-|z|)) - z) for a confident no.
        log = _log1p(_exp(-abs(e.z))) + np.maximum(-e.z, 0)
        return e.reduced(e.w * ((1 - e.y) * e.z + (1 + (e.pw - 1) * e.y) * log))
    r = Rows(c)
    m = r.z.max(axis=1, keepdims=True)
    total = _log(_sum(_exp(r.z - m), 1))[:, np.newaxis]
    return r.of(r.z - m - total, m + total)


def naive_confident_gradient(c: Case) -> Wrong:
    """``p - 1``, or ``s (1 - s)``: the difference of two numbers next to 1."""
    if c.function == "sigmoid":
        s = 1 / (1 + _exp(-c.x))
        return {"gradient": s * (1 - s)}
    if c.function == "log_sigmoid":
        return {"gradient": 1 - 1 / (1 + _exp(-c.x))}
    if c.function == _BINARY:
        e = Elements(c)
        return e.gradient(e.w * (e.sigmoid(e.z) * (1 + (e.pw - 1) * e.y) - e.pw * e.y))
    r = Rows(c)
    return r.gradient(r.entries())


def naive_tied_maximum(c: Case) -> Wrong:
    """Every logit that equals the maximum is left out of the sum as if it were the maximum."""
    r = Rows(c)
    m = r.z.max(axis=1, keepdims=True)
    total = m + _log1p(_sum(np.where(r.z == m, 0, _exp(r.z - m)).astype(r.dtype), 1))[:, np.newaxis]
    return r.of(r.z - total, total)


def naive_common_offset(c: Case) -> Wrong:
    """logsumexp(z) - z[y]: two numbers of the offset's size are subtracted."""
    r = Rows(c)
    m = r.z.max(axis=1, keepdims=True)
    return r.of(r.z - (m + _log(_sum(_exp(r.z - m), 1))[:, np.newaxis]))


def naive_global_maximum(c: Case) -> Wrong:
    """One maximum for the whole array: the other rows underflow, and a NaN is everybody's."""
    r = Rows(c)
    m = r.z.max()
    total = m + _log(_sum(_exp(r.z - m), 1))[:, np.newaxis]
    return r.of(r.z - total, total)


def naive_all_minus_inf(c: Case) -> Wrong:
    """``z - max(z)`` where both are the same infinity."""
    r = Rows(c)
    m = r.z.max(axis=1, keepdims=True)
    return r.of(r.z, m + _log(_sum(_exp(r.z - m), 1))[:, np.newaxis])


def naive_target_at_minus_inf(c: Case) -> Wrong:
    """Probabilities are kept away from 0 before the logarithm."""
    if c.function == "kl_divergence":
        p, q, eps = c.arguments["p"], c.arguments["q"], np.asarray(1e-7, c.dtype)
        return {"value": _sum(p * _log(p / np.maximum(q, eps)), -1)}
    if c.function == _BINARY:
        e = Elements(c)
        p, eps = e.sigmoid(e.z), e.real(1e-12)
        return e.reduced(
            -e.w * (e.pw * e.y * _log(np.maximum(p, eps)) + (1 - e.y) * _log(np.maximum(1 - p, eps)))
        )
    r = Rows(c)
    return r.of(_log(np.maximum(_shifted_softmax(r.z), r.real(1e-12))))


def naive_softmax_twice(c: Case) -> Wrong:
    """Probabilities are taken for logits."""
    r = Rows(c)
    r.z = _exp(r.log_softmax())
    return r.of(r.log_softmax())


def naive_class_axis(c: Case) -> Wrong:
    """Classes are looked for on the last axis."""
    r = Rows(c, axis=-1)
    return r.of(r.log_softmax())


def naive_softmax_grad_diagonal(c: Case) -> Wrong:
    """Only the diagonal of the Jacobian: ``p (1 - p) g``."""
    r = Rows(c)
    p = _exp(r.log_softmax())
    g = np.moveaxis(np.broadcast_to(1 if r.g is None else r.g, c.x.shape), r.axis, -1).reshape(r.N, r.K)
    return {"gradient": r.laid(p * (1 - p) * g)}


def naive_log_softmax_grad_sum(c: Case) -> Wrong:
    """``g - p`` instead of ``g - p sum(g)``: right only where g sums to 1."""
    r = Rows(c)
    g = np.moveaxis(np.broadcast_to(1 if r.g is None else r.g, c.x.shape), r.axis, -1).reshape(r.N, r.K)
    return {"gradient": r.laid(g - _exp(r.log_softmax()))}


def naive_one_minus_sigmoid(c: Case) -> Wrong:
    """``1 - sigmoid(-x)``: the digits of a small probability are lost in the 1."""
    return {"value": 1 - 1 / (1 + _exp(c.x))}


# -- bugs of targets, weights and reductions -------------------------------------------------------


def naive_all_ignored(c: Case) -> Wrong:
    """The denominator is kept away from 0."""
    if c.function == _BINARY:
        e = Elements(c)
        return e.reduced(e.losses(), max(int(e.keep.sum()), 1))
    r = Rows(c)
    return r.value(r.losses(r.costs()), max(float(r.count), 1))


def naive_weight_in_denominator(c: Case) -> Wrong:
    """The other denominator: the number for class indices, the weights for everything else."""
    if c.function == _BINARY:
        e = Elements(c)
        return e.reduced(e.losses(), np.broadcast_to(e.w, e.z.shape)[e.keep].sum())
    r = Rows(c)
    count = r.keep.sum() if r.index else _sum(_sum((r.q * r.w)[r.keep]))
    return r.value(r.losses(r.costs()), count) | (
        {} if c.function == "perplexity" else r.gradient(r.entries(), count)
    )


def naive_ignored_in_denominator(c: Case) -> Wrong:
    """The sum leaves the ignored positions out, the denominator does not."""
    if c.function == _BINARY:
        e = Elements(c)
        return e.reduced(e.losses(), e.z.size)
    r = Rows(c)
    return r.value(r.losses(r.costs()), r.N)


def naive_ignored_row_holds_nan(c: Case) -> Wrong:
    """Ignored losses are multiplied by 0, which NaN and infinities survive."""
    if c.function == _BINARY:
        e = Elements(c)
        keep, e.keep = e.keep, np.ones_like(e.keep)
        return e.reduced(e.losses() * keep, keep.sum())
    r = Rows(c)
    keep, r.keep = r.keep, np.ones_like(r.keep)
    return r.value(r.losses(r.costs()) * keep)


def naive_ignored_gradient_leaks(c: Case) -> Wrong:
    """Ignored positions get the gradient of class 0."""
    r = Rows(c)
    r.keep = np.ones_like(r.keep)
    return r.gradient(r.entries())


def naive_ignore_index_in_range(c: Case) -> Wrong:
    """Only labels below 0 are ignored."""
    r = Rows(c)
    r.y = c.arguments["target"].ravel()
    r.keep = r.y >= 0
    r.own = r.w[r.y][:, np.newaxis] * (np.arange(r.K) == r.y[:, np.newaxis])
    return r.value(r.losses(r.costs()), _sum(r.w[r.y]))


def naive_label_wraps(c: Case) -> Wrong:
    """The label is an index like any other: -1 is the last class."""
    r = Rows(c)
    costs = r.costs()[np.arange(r.N), c.arguments["target"].ravel()]
    return r.value(costs, r.N)


def naive_zero_times_inf(c: Case) -> Wrong:
    """Every class is multiplied and added, also where the factor is 0."""
    if c.function == _BINARY:
        e = Elements(c)
        return e.reduced(e.w * (e.pw * e.y * e.softplus(-e.z) + (1 - e.y) * e.softplus(e.z)))
    if c.function == "entropy":
        return {"value": -_sum(c.x * _log(c.x), -1)}
    if c.function == "kl_divergence":
        return {"value": _sum(c.x * _log(c.x / c.arguments["q"]), -1)}
    r = Rows(c)
    return r.value(_sum(r.own * r.costs(), 1))


def naive_binary_infinite_logit(c: Case) -> Wrong:
    """``max(z, 0) - z y + log1p(exp(-|z|))``: a difference of two infinities."""
    e = Elements(c)
    return e.reduced(e.w * (np.maximum(e.z, 0) - e.z * e.y + _log1p(_exp(-abs(e.z)))))


def naive_half_precision_sum(c: Case) -> Wrong:
    """Losses are added in the dtype of the logits."""
    e = Elements(c) if c.function == _BINARY else Rows(c)
    each = e.losses() if isinstance(e, Elements) else e.losses(e.costs())
    total = _sum(each.ravel().astype(np.float16))
    mean = c.options.get("reduction", "mean") == "mean"
    return {"value": (total / np.float16(e.keep.sum()) if mean else total).astype(np.float16)}


def naive_smoothing_spread(c: Case) -> Wrong:
    """The smoothing is spread over the other classes: s / (K - 1) each."""
    r = Rows(c)
    r.own = np.where(r.q == 1, r.real(1) - r.s, r.s / (r.K - 1)).astype(r.dtype) * r.w
    return r.value(r.losses(r.costs())) | r.gradient(r.entries())


def naive_smoothing_weight(c: Case) -> Wrong:
    """Weighted by the label's class: the smoothed target times w[y], not each class times its own."""
    r = Rows(c)
    r.own = ((r.real(1) - r.s) * r.q + r.s / r.K) * r.w[r.y][:, np.newaxis]
    return r.value(r.losses(r.costs())) | r.gradient(r.entries())


def naive_pos_weight_on_negatives(c: Case) -> Wrong:
    """The weight of the positives multiplies the whole loss."""
    e = Elements(c)
    weights, e.pw = e.pw, np.asarray(e.one)
    return e.reduced(weights * e.losses())


def naive_dtype_afterwards(c: Case) -> Wrong:
    """Computed in the dtype of the logits, then converted."""
    r = Rows(c, dtype=c.x.dtype)
    return r.of(r.log_softmax())


# -- bugs of gradients -----------------------------------------------------------------------------


def naive_mean_gradient_is_the_sums(c: Case) -> Wrong:
    """The gradient of the sum: nothing divides it."""
    r = Rows(c)
    return r.gradient(r.entries(), count=1)


def naive_weight_missing_in_gradient(c: Case) -> Wrong:
    """``p - one_hot``, whatever the class weighs."""
    r = Rows(c)
    r.own = r.q
    return r.gradient(r.entries())


def naive_pos_weight_missing_in_gradient(c: Case) -> Wrong:
    """``sigmoid(z) - y``, whatever a positive weighs."""
    e = Elements(c)
    return e.gradient(e.w * (e.sigmoid(e.z) - e.y))


def naive_upstream_forgotten(c: Case) -> Wrong:
    """The gradient that comes from above is taken for ones."""
    r = Rows(c)
    return r.gradient(r.entries(), upstream=r.real(1))


def naive_gradient_at_all_minus_inf(c: Case) -> Wrong:
    """The softmax of nothing, NaN, where the value does not move."""
    r = Rows(c)
    return {"gradient": r.laid(_shifted_softmax(r.z))}


BUGS: dict[str, Bug] = {
    "exp-overflows": Bug(
        "No maximum is taken out before exp.",
        "log(sum(exp(z))), exp(x) / (1 + exp(x))",
        "Infinite or NaN from logits of 89 in float32, 710 in float64.",
        naive_exp_overflows,
    ),
    "underflow-then-log": Bug(
        "The probability is computed first and its logarithm taken afterwards.",
        "log(softmax(z)), log(sigmoid(x))",
        "A loss of a hundred or a thousand becomes infinite, as the probability was 0.",
        naive_underflow_then_log,
    ),
    "confident-float32": Bug(
        "The maximum's own 1 is added to the rest of the sum before the logarithm.",
        "(z[y] - m) - log(sum(exp(z - m))), log(1 + exp(-x))",
        "The loss of a sure, right prediction is 0 from a margin of 17, and has few digits before.",
        naive_confident,
    ),
    "confident-float64": Bug(
        "As confident-float32, in double precision, where it takes a margin of 37.",
        "(z[y] - m) - log(sum(exp(z - m))), log(1 + exp(-x))",
        "The loss of a sure, right prediction is 0, where it should be exp(-margin).",
        naive_confident,
    ),
    "confident-gradient": Bug(
        "1 is subtracted from a probability next to 1.",
        "p[y] - 1, s * (1 - s), sigmoid(z) - y",
        "The gradient's entry of a sure, right class is 0: the row no longer sums to 0.",
        naive_confident_gradient,
    ),
    "tied-maximum": Bug(
        "To keep the maximum's 1 apart, every logit that equals the maximum is left out of the sum.",
        "m + log1p(sum(exp(z[z != m] - m)))",
        "Two equal logits cost 0 instead of log(2).",
        naive_tied_maximum,
    ),
    "common-offset": Bug(
        "The loss is the difference of two numbers as large as the logits.",
        "logsumexp(z) - z[y]",
        "At logits around 1e8 the loss is a multiple of 8 in float32; adding a number to all logits should"
        " change nothing.",
        naive_common_offset,
    ),
    "global-maximum": Bug(
        "The maximum is that of the whole array.",
        "z - max(all z)",
        "Rows far below the largest have no digits, or an infinite loss.",
        naive_global_maximum,
    ),
    "nan-stays-in-row": Bug(
        "A NaN gets out of its row, here through the maximum of the whole array.",
        "z - max(all z)",
        "One bad row makes every other one NaN.",
        naive_global_maximum,
    ),
    "all-minus-inf": Bug(
        "The maximum is subtracted also where it is infinite.",
        "m + log(sum(exp(z - m))) with m = -inf or inf",
        "NaN, where the sum of nothing has the logarithm -inf, and an infinite one inf.",
        naive_all_minus_inf,
    ),
    "gradient-at-all-minus-inf": Bug(
        "The gradient of logsumexp is the softmax, also where all logits are -inf.",
        "exp(z - m) / sum(exp(z - m)) with m = -inf",
        "NaN, where the value stays -inf whatever a finite step does: 0.",
        naive_gradient_at_all_minus_inf,
    ),
    "target-at-minus-inf": Bug(
        "Probabilities are kept away from 0 before the logarithm.",
        "log(max(p, eps))",
        "What is impossible and happens costs 27.6 (or 16.1), and every other large loss is cut off.",
        naive_target_at_minus_inf,
    ),
    "softmax-twice": Bug(
        "The function is given probabilities, or takes the softmax of its softmax.",
        "log_softmax(softmax(z))",
        "Losses between log(K) - 1 and log(K) + 1 whatever the logits are.",
        naive_softmax_twice,
    ),
    "class-axis": Bug(
        "The classes of an image batch [B, K, ...] are looked for on the last axis.",
        "softmax(z, axis=-1)",
        "Plausible numbers that mean nothing.",
        naive_class_axis,
    ),
    "softmax-grad-diagonal": Bug(
        "Only the diagonal of the softmax's Jacobian is used.",
        "p * (1 - p) * g",
        "The gradient's rows do not sum to 0.",
        naive_softmax_grad_diagonal,
    ),
    "log-softmax-grad-sum": Bug(
        "The gradient of the cross-entropy is used for any gradient from above.",
        "g - p instead of g - p * sum(g)",
        "Wrong unless g sums to 1.",
        naive_log_softmax_grad_sum,
    ),
    "one-minus-sigmoid": Bug(
        "A small probability is computed as the rest of a large one.",
        "1 - sigmoid(-x)",
        "Few digits below -10, then 0.",
        naive_one_minus_sigmoid,
    ),
    "all-ignored": Bug(
        "The denominator is kept away from 0.",
        "sum(losses) / max(count, 1)",
        "The mean over nothing is 0 and looks like a perfect batch; it is NaN.",
        naive_all_ignored,
    ),
    "weight-in-denominator": Bug(
        "The mean is divided by the wrong count.",
        "the number of positions for class indices; the sum of the weights for probabilities and binary"
        " targets",
        "A weighted mean that is off by the average weight.",
        naive_weight_in_denominator,
    ),
    "ignored-in-denominator": Bug(
        "Ignored positions are left out of the sum and not out of the count.",
        "sum(losses[kept]) / N",
        "The loss shrinks with the padding.",
        naive_ignored_in_denominator,
    ),
    "ignored-row-holds-nan": Bug(
        "Ignored losses are multiplied by 0.",
        "sum(losses * kept)",
        "Padding that holds NaN or infinities makes the whole batch NaN.",
        naive_ignored_row_holds_nan,
    ),
    "ignored-gradient-leaks": Bug(
        "Ignored positions have no loss, but a gradient.",
        "p - one_hot(0) where the label is ignore_index",
        "Padding is trained on.",
        naive_ignored_gradient_leaks,
    ),
    "ignore-index-in-range": Bug(
        "Labels are taken as ignored when they are negative.",
        "kept = y >= 0",
        "ignore_index=0, the padding token of many vocabularies, is trained on.",
        naive_ignore_index_in_range,
    ),
    "label-wraps": Bug(
        "A label is an index like any other.",
        "z[-1]",
        "The label -1 is the last class. It has to be refused.",
        naive_label_wraps,
    ),
    "zero-times-inf": Bug(
        "Terms whose factor is 0 are multiplied out.",
        "sum(q * -log p), p * log(p)",
        "NaN for a one-hot target with a masked class: a term with probability 0 is absent.",
        naive_zero_times_inf,
    ),
    "binary-infinite-logit": Bug(
        "The usual stable formula subtracts two infinities.",
        "max(z, 0) - z * y + log1p(exp(-|z|))",
        "NaN where the answer is certain and right: 0.",
        naive_binary_infinite_logit,
    ),
    "half-precision-sum": Bug(
        "Half-precision losses are added in half precision.",
        "float16 + float16",
        "Small losses vanish beside a sum of 2048; the sum of a mean overflows at 65504.",
        naive_half_precision_sum,
    ),
    "smoothing-spread": Bug(
        "The smoothing is spread over the other classes only.",
        "1 - s on the label's class, s / (K - 1) on each other; not 1 - s + s / K and s / K",
        "A loss that is off by little enough to be believed.",
        naive_smoothing_spread,
    ),
    "smoothing-weight": Bug(
        "A smoothed target is weighted by its label's class.",
        "w[y] * sum((1 - s) * q + s / K) instead of w[k] for class k's term",
        "A loss that is wrong only where weights and smoothing meet.",
        naive_smoothing_weight,
    ),
    "pos-weight-on-negatives": Bug(
        "pos_weight multiplies the whole loss.",
        "pos_weight * (y * softplus(-z) + (1 - y) * softplus(z))",
        "Negatives weigh as much as positives, so that nothing is balanced.",
        naive_pos_weight_on_negatives,
    ),
    "dtype-afterwards": Bug(
        "The result is converted to the dtype that was asked for, after computing in that of the logits.",
        "float64(log_softmax(float32 z))",
        "Sixteen digits are shown, seven are right.",
        naive_dtype_afterwards,
    ),
    "mean-gradient-is-the-sums": Bug(
        "The gradient of the mean is not divided.",
        "p - one_hot instead of (p - one_hot) / count",
        "The step grows with the batch.",
        naive_mean_gradient_is_the_sums,
    ),
    "weight-missing-in-gradient": Bug(
        "The weights are in the loss and not in its gradient.",
        "p - one_hot instead of w[y] * (p - one_hot)",
        "Weights change the number that is shown, and not what is learned.",
        naive_weight_missing_in_gradient,
    ),
    "pos-weight-missing-in-gradient": Bug(
        "pos_weight is in the loss and not in its gradient.",
        "sigmoid(z) - y instead of (1 - y) * sigmoid(z) - pos_weight * y * sigmoid(-z)",
        "As weight-missing-in-gradient.",
        naive_pos_weight_missing_in_gradient,
    ),
    "upstream-forgotten": Bug(
        "The gradient that comes from above is taken for ones.",
        "p - one_hot instead of g * (p - one_hot)",
        "Right while the loss is the last step, and then not.",
        naive_upstream_forgotten,
    ),
}
