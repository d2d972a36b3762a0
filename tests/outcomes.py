"""Everything that runs through the engine, on one input: the same for any threads, blocks and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import crossent
from laws import assert_bitwise

Array = np.ndarray


def inputs(shape, axis, dtype=np.float32, seed=0):
    """Logits with a few rows that need a shift, and labels."""
    rng = np.random.default_rng(seed)
    z = 3 * rng.standard_normal(shape)
    positions = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    z += np.expand_dims(np.where(rng.random(positions) < 0.2, 300.0, 0.0), axis)
    return z.astype(dtype), rng.integers(0, shape[axis], positions)


def outcomes(z: Array, y: Array, axis: int, layout: Callable[[Array], Array] = np.asarray) -> dict[str, Any]:
    """Call every function under telling options, each of its arrays laid out by `layout`."""
    q = layout(np.abs(np.sin(z)))
    g = layout(np.cos(z))
    each = layout(np.linspace(0.5, 1.5, y.size).reshape(y.shape).astype(z.dtype))  # one a position
    w = layout(np.linspace(0.5, 2, z.shape[axis]).astype(z.dtype))
    where = layout(y % 3 != 1)
    x, y = layout(z), layout(y)
    classes = {"axis": axis}
    ce, nll = crossent.cross_entropy_value_and_grad, crossent.nll_loss_value_and_grad
    bce = crossent.binary_cross_entropy_with_logits_value_and_grad
    axes = (axis % x.ndim,) if x.ndim == 1 else (0, x.ndim - 1)
    out = layout(np.empty_like(z))
    if not out.flags.writeable or out.dtype != z.dtype:
        out = np.empty_like(z)
    result = {
        "ce": ce(x, y, **classes),
        "ce grad": crossent.cross_entropy_grad(x, y, **classes),
        "ce out": ce(x, y, **classes, out=out)[0],
        "ce out's gradient": out,
        "ce none g": ce(x, y, reduction="none", grad_output=each, **classes),
        "ce sum w": ce(x, y, reduction="sum", weight=w, **classes),
        "ce ignore where": ce(x, y, ignore_index=1, where=where, weight=w, **classes),
        "ce smooth": ce(x, y, label_smoothing=0.1, **classes),
        "ce smooth w": ce(x, y, label_smoothing=0.1, weight=w, where=where, reduction="none", **classes),
        "ce soft": ce(x, q, reduction="sum", **classes),
        "ce soft smooth w": ce(x, q, label_smoothing=0.2, weight=w, where=where, **classes),
        "ce double": ce(x, y, dtype=np.float64, **classes),
        "ce half": ce(x, y, dtype=np.float16, **classes),
        "nll": nll(x, y, weight=w, **classes),
        "nll none": nll(x, y, ignore_index=0, reduction="none", grad_output=each, **classes),
        "bce": bce(x, q),
        "bce all": bce(x, q, weight=g, pos_weight=q, where=x > 0, reduction="sum"),
        "bce none g": bce(x, q, reduction="none", grad_output=g),
        "logsumexp": crossent.logsumexp(x, axis),
        "logsumexp axes": crossent.logsumexp(x, axes, keepdims=True),
        "logsumexp None": crossent.logsumexp(x, None),
        "logsumexp_grad": crossent.logsumexp_grad(x, axis, grad_output=each),
        "logsumexp_grad None": crossent.logsumexp_grad(x, None),
        "softmax": crossent.softmax(x, axis),
        "softmax_grad": crossent.softmax_grad(x, axis, grad_output=g),
        "log_softmax": crossent.log_softmax(x, axis),
        "log_softmax_grad": crossent.log_softmax_grad(x, axis, grad_output=g),
        "softplus": crossent.softplus(x),
        "softplus_grad": crossent.softplus_grad(x, grad_output=g),
        "log_sigmoid": crossent.log_sigmoid(x),
        "log_sigmoid_grad": crossent.log_sigmoid_grad(x),
        "sigmoid": crossent.sigmoid(x),
        "sigmoid_grad": crossent.sigmoid_grad(x, grad_output=g),
        "entropy": crossent.entropy(q, axis),
        "kl_divergence": crossent.kl_divergence(q, layout(np.abs(np.cos(z))), axis),
        "perplexity": crossent.perplexity(x, y, axis=axis),
    }
    return {
        f"{name}, {i}": np.array(part)
        for name, both in result.items()
        for i, part in enumerate(both if isinstance(both, tuple) else (both,))
    }


def assert_same_outcomes(a: dict[str, Any], b: dict[str, Any]) -> None:
    """The same bits, function by function."""
    assert a.keys() == b.keys()
    for name, result in a.items():
        assert_bitwise(b[name], result, name)
