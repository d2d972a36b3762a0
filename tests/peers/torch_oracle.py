"""PyTorch's float64 autograd as oracle: value and gradient of each function, with their bounds.

Every function takes float64 NumPy arrays and options by crossent's names, and returns the expected
value and gradient (`nearness.Expected`). `where=` is emulated: PyTorch has `ignore_index` for
class indices only, so elsewhere the losses of reduction="none" are masked and reduced here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from nearness import Expected

Pair = tuple[Expected, Expected]

torch.set_num_threads(1)  # the arrays are small: more threads only wait for each other


def tensor(x: Any) -> torch.Tensor:
    """A float64 or int64 tensor of its own from any array."""
    x = np.asarray(x)
    return torch.tensor(x.astype(np.float64 if x.dtype.kind == "f" else np.int64))


def differentiate(
    f: Callable[[torch.Tensor], torch.Tensor], x: np.ndarray, g: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Value, and gradient of sum(g * f(x)), by autograd."""
    leaf = tensor(x).requires_grad_(True)
    value = f(leaf)
    value.backward(torch.broadcast_to(tensor(1.0 if g is None else g), value.shape))
    assert leaf.grad is not None
    return value.detach().numpy(), leaf.grad.numpy()


def times(a: Any, b: Any) -> np.ndarray:
    """a * b, where a factor of 0 makes 0."""
    a, b = np.broadcast_arrays(a, b)
    return np.multiply(a, b, out=np.zeros(a.shape), where=(a != 0) & (b != 0))


def spread(z: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """What a row's log-softmax adds up: max - min of the finite logits, log K, 1 for the rest."""
    finite = np.isfinite(z)
    top = np.max(np.where(finite, z, -np.inf), axis=axis, keepdims=True, initial=-1e300)
    low = np.min(np.where(finite, z, np.inf), axis=axis, keepdims=True, initial=1e300)
    count = z.size / max(top.size, 1)
    return np.maximum(top - low, 0) + np.log(max(count, 1)) + 1


def reduce(losses: np.ndarray, reduction: str, denominator: float, condition: float = 1.0) -> np.ndarray:
    """Magnitudes of losses to the magnitude of their reduction."""
    if reduction == "none":
        return losses
    with np.errstate(invalid="ignore", divide="ignore"):
        total = losses.sum() * (condition / np.float64(abs(denominator)) if reduction == "mean" else 1.0)
    return np.asarray(total)


# Losses over classes


def cross_entropy(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    where: np.ndarray | None = None,
    grad_output: Any = None,
) -> Pair:
    """Expected value and gradient of the cross-entropy of finite logits (or -inf: masked)."""
    return _classes(
        F.cross_entropy, True, logits, target, weight, ignore_index, reduction, label_smoothing,
        axis, where, grad_output,
    )  # fmt: skip


def nll_loss(
    log_probs: np.ndarray,
    target: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int | None = None,
    where: np.ndarray | None = None,
    grad_output: Any = None,
) -> Pair:
    """Expected value and gradient of the negative log-likelihood."""
    return _classes(
        F.nll_loss, False, log_probs, target, weight, ignore_index, reduction, 0.0,
        axis, where, grad_output,
    )  # fmt: skip


def _classes(f, softmax, x, target, weight, ignore_index, reduction, s, axis, where, g) -> Pair:
    class_axis = min(1, x.ndim - 1) if axis is None else axis % x.ndim
    last = np.moveaxis(x, class_axis, -1)  # rows of classes, positions before them
    K, positions = last.shape[-1], last.shape[:-1]
    soft = target.dtype.kind == "f"
    counted = np.ones(positions, bool) if where is None else np.broadcast_to(where, positions)
    if soft:
        q = (1 - s) * np.moveaxis(target, class_axis, -1) + s / K
    else:
        target = target.astype(np.int64)
        counted = counted & (target != ignore_index)
        y = np.where(counted, target, 0)
        q = (1 - s) * np.eye(K)[y] + s / K

    # The loss of a position is the sum of coefficients c[k] times -lp[k].
    w = np.ones(K) if weight is None else weight
    c = np.where(counted[..., None], q * w, 0.0)
    a = np.abs(c)
    picked = counted.astype(float) if soft else np.where(counted, w[y], 0.0)
    denominator = float(picked.sum())
    condition = float(np.abs(picked).sum() / abs(denominator)) if denominator else 1.0

    def run(z: torch.Tensor) -> torch.Tensor:
        # PyTorch has the classes in axis 1, or the only axis.
        z = torch.movedim(z, -1, min(1, z.ndim - 1)).contiguous()
        w = None if weight is None else tensor(weight)
        smoothing = {"label_smoothing": s} if softmax else {}
        if not soft:
            t = tensor(np.where(counted, target, ignore_index))
            return f(z, t, w, ignore_index=ignore_index, reduction=reduction, **smoothing)
        t = tensor(np.moveaxis(np.moveaxis(target, class_axis, -1), -1, min(1, x.ndim - 1)))
        if where is None:
            return f(z, t, w, reduction=reduction, **smoothing)
        losses = f(z, t, w, reduction="none", **smoothing) * tensor(counted)
        total = losses if reduction == "none" else losses.sum()
        return total / denominator if reduction == "mean" else total

    value, grad = differentiate(run, last, g)

    if softmax:
        lp = torch.log_softmax(tensor(last), -1).numpy()
        p, width = np.exp(lp), spread(last, -1)
    else:
        lp, p, width = last, np.zeros(last.shape), np.abs(last) + 1
    terms = times(a, np.abs(lp)).sum(-1)
    sums = times(a, width).sum(-1)
    expected_value = Expected(
        value,
        reduce(terms, reduction, denominator, condition),
        reduce(sums, reduction, denominator, condition),
    )

    g = np.abs(np.broadcast_to(1.0 if g is None else g, value.shape))
    if reduction == "mean":
        with np.errstate(divide="ignore", invalid="ignore"):
            g = g * condition / np.abs(denominator)
    g = np.broadcast_to(g, positions)[..., None]
    mass = a.sum(-1, keepdims=True)
    reach = times(g, mass * times(p, width) + a)
    if np.any(w < 0):
        scale = times(g, mass * p + a)
    elif s == 0 and (not soft or np.all(np.sort(q, axis=-1) == np.eye(K)[-1])):
        scale = None if condition == 1 else np.abs(grad) * condition
    else:
        scale = times(g, np.maximum(mass * p, a))
    if soft and reduction == "mean" and denominator == 0:
        grad = np.zeros(last.shape)  # nothing counts: not 0 * NaN

    def back(r: np.ndarray) -> np.ndarray:
        return np.moveaxis(r, -1, class_axis)

    return expected_value, Expected(back(grad), None if scale is None else back(scale), back(reach))


def binary_cross_entropy_with_logits(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    pos_weight: np.ndarray | None = None,
    reduction: str = "mean",
    where: np.ndarray | None = None,
    grad_output: Any = None,
) -> Pair:
    """Expected value and gradient of the binary cross-entropy of finite logits."""
    z, y = logits, np.asarray(target, np.float64)
    w = np.ones(()) if weight is None else np.asarray(weight)
    v = np.ones(()) if pos_weight is None else np.asarray(pos_weight)
    counted = np.ones(z.shape, bool) if where is None else np.broadcast_to(where, z.shape)
    denominator = float(counted.sum())

    def run(x: torch.Tensor) -> torch.Tensor:
        options = {
            "weight": None if weight is None else tensor(weight),
            "pos_weight": None if pos_weight is None else tensor(pos_weight),
        }
        f = F.binary_cross_entropy_with_logits
        if where is None:
            return f(x, tensor(y), reduction=reduction, **options)
        losses = f(x, tensor(y), reduction="none", **options) * tensor(counted)
        total = losses if reduction == "none" else losses.sum()
        return total / denominator if reduction == "mean" else total

    value, grad = differentiate(run, z, grad_output)

    factor = np.where(counted, np.abs(w), 0.0)
    softplus = np.logaddexp(0, z)
    terms = factor * (np.abs(v * y) * np.logaddexp(0, -z) + np.abs(1 - y) * softplus)
    sums = factor * (1 + np.abs(y)) * (1 + np.abs(v)) * (np.abs(z) + 1)
    expected_value = Expected(
        value, reduce(terms, reduction, denominator), reduce(sums, reduction, denominator)
    )

    g = np.abs(np.broadcast_to(1.0 if grad_output is None else grad_output, value.shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        g = np.broadcast_to(g / denominator if reduction == "mean" else g, z.shape)
    p = np.exp(z - softplus)
    up, down = np.abs(1 - y) * p, np.abs(v * y) * np.exp(-softplus)
    scale = times(g, factor * np.maximum(up, down))
    reach = times(g, factor * (1 + np.abs(y)) * (1 + np.abs(v)))
    if reduction == "mean" and denominator == 0:
        grad = np.zeros(z.shape)  # nothing counts: not 0 * NaN
    return expected_value, Expected(grad, scale, reach)


# Functions


def log_softmax(x: np.ndarray, *, axis: int = -1, grad_output: Any = None) -> Pair:
    """Expected log-probabilities and gradient."""
    value, grad = differentiate(lambda z: torch.log_softmax(z, axis), x, grad_output)
    g = np.abs(np.broadcast_to(1.0 if grad_output is None else grad_output, x.shape))
    width = spread(x, axis)
    terms = g + np.exp(value) * g.sum(axis, keepdims=True)
    return Expected(value, None, np.broadcast_to(width, x.shape)), Expected(grad, terms, terms * width)


def softmax(x: np.ndarray, *, axis: int = -1, grad_output: Any = None) -> Pair:
    """Expected probabilities and gradient."""
    value, grad = differentiate(lambda z: torch.softmax(z, axis), x, grad_output)
    g = np.abs(np.broadcast_to(1.0 if grad_output is None else grad_output, x.shape))
    width = spread(x, axis)
    terms = value * (g + (g * value).sum(axis, keepdims=True))
    return Expected(value, None, value * width), Expected(grad, terms, terms * width)


def logsumexp(
    x: np.ndarray,
    *,
    axis: int | tuple[int, ...] | None = -1,
    keepdims: bool = False,
    grad_output: Any = None,
) -> Pair:
    """Expected logarithm of the sum of exponentials, and gradient."""
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)

    def run(z: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(z, axes, keepdim=keepdims) if axes else z * 1.0

    value, grad = differentiate(run, x, grad_output)
    axes = axes if x.ndim else ()  # PyTorch gives a scalar an axis, NumPy does not
    whole = value if keepdims else np.expand_dims(value, tuple(a % x.ndim for a in axes))
    top = np.max(x, axes, keepdims=True, initial=-np.inf)
    finite = np.isfinite(whole) & np.isfinite(top)
    terms = np.where(finite, np.maximum(np.abs(top), np.abs(whole - np.where(finite, top, 0))), 0.0)
    width = spread(x, axes)
    reach = np.where(finite, np.abs(top) + width, 0.0)
    shape = value.shape
    return (
        Expected(value, terms.reshape(shape), reach.reshape(shape)),
        Expected(grad, None, np.abs(grad) * (width + reach)),
    )


def elementwise(name: str, x: np.ndarray, *, grad_output: Any = None) -> Pair:
    """Expected value and gradient of softplus, log_sigmoid and sigmoid."""
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        # threshold: above it PyTorch returns x itself, by default from 20 on: wrong by 2e-9
        "softplus": lambda z: F.softplus(z, threshold=700),
        "log_sigmoid": F.logsigmoid,
        "sigmoid": torch.sigmoid,
    }
    value, grad = differentiate(functions[name], x, grad_output)
    g = np.abs(np.broadcast_to(1.0 if grad_output is None else grad_output, x.shape))
    size = np.where(np.isfinite(x), np.abs(x) + 1, 1)
    # PyTorch's derivative of sigmoid is (1 - p) p, whose first factor loses digits
    lost = g * value if name == "sigmoid" else g
    return Expected(value, None, np.abs(value) * size), Expected(grad, None, lost)
