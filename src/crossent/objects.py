"""Loss objects with PyTorch's names, settings and positional order: thin shells over the pages.

An object holds settings, never state: it is immutable, compares and hashes by its settings, and its
arrays are read-only copies.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from crossent import _arguments as desk
from crossent._scratch import Array
from crossent.binary import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_grad,
    binary_cross_entropy_with_logits_value_and_grad,
)
from crossent.categorical import cross_entropy, cross_entropy_grad, cross_entropy_value_and_grad
from crossent.lse import log_softmax, log_softmax_grad
from crossent.nll import nll_loss, nll_loss_grad, nll_loss_value_and_grad


class _Settings:
    """An immutable set of named settings."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: make a new one to set {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({settings})"

    def _key(self) -> tuple[Any, ...]:
        return (type(self), *(_by_value(value) for value in self.__dict__.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Settings) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self.__dict__), ()  # copies and pickles are read-only too


class _Loss(_Settings):
    """Settings of a loss: its value, its gradient, and both."""

    _functions: ClassVar[tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]]

    def __call__(self, x: ArrayLike, target: ArrayLike, *, where: ArrayLike | None = None) -> Any:
        """Return the loss with these settings."""
        return self._functions[0](x, target, where=where, **self.__dict__)

    def grad(
        self,
        x: ArrayLike,
        target: ArrayLike,
        *,
        grad_output: ArrayLike | None = None,
        where: ArrayLike | None = None,
        out: Array | None = None,
    ) -> Any:
        """Return the loss's gradient for `x` with these settings."""
        return self._functions[1](x, target, grad_output=grad_output, where=where, out=out, **self.__dict__)

    def value_and_grad(
        self,
        x: ArrayLike,
        target: ArrayLike,
        *,
        grad_output: ArrayLike | None = None,
        where: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[Any, Any]:
        """Return the loss and its gradient for `x` with these settings, from one pass."""
        value, gradient = self._functions[2](
            x, target, grad_output=grad_output, where=where, out=out, **self.__dict__
        )
        return value, gradient


def _by_value(setting: Any) -> Any:
    if isinstance(setting, np.ndarray):
        return setting.dtype.str, setting.shape, setting.tobytes()
    return setting


def _frozen(name: str, setting: ArrayLike | None) -> Array | None:
    """Return a read-only copy of an array."""
    if setting is None:
        return None
    array: Array = np.array(desk.real(name, setting))
    array.flags.writeable = False
    return array


def _reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """Map the two deprecated settings as PyTorch does, and say what to write instead."""
    word, deprecated = desk.deprecated_reduction(size_average, reduce, reduction)
    if deprecated:
        warnings.warn(
            f"size_average and reduce are deprecated: write reduction={word!r}",
            DeprecationWarning,
            stacklevel=3,
        )
    return word


class CrossEntropyLoss(_Loss):
    """Hold the settings of `crossent.cross_entropy`, as ``torch.nn.CrossEntropyLoss`` does.

    Parameters
    ----------
    weight : array_like, shape (K,), optional
        A weight for each class.
    size_average, reduce : bool, optional
        Deprecated; `reduction` says it.
    ignore_index : int, default -100
        Positions with this label cost nothing.
    reduction : {"mean", "sum", "none"}, default "mean"
        How the losses become the value.
    label_smoothing : float in [0, 1], default 0.0
        The part of the target that is spread evenly.
    axis : int, optional
        The class axis; None is PyTorch's rule.

    Examples
    --------
    >>> loss = CrossEntropyLoss(label_smoothing=0.1)
    >>> loss([[2.0, 0.0]], [0]).round(10)
    np.float64(0.226928011)
    >>> loss.grad([[2.0, 0.0]], [0])
    array([[-0.06920292,  0.06920292]])
    """

    weight: Array | None
    ignore_index: int
    reduction: str
    label_smoothing: float
    axis: int | None

    _functions = (cross_entropy, cross_entropy_grad, cross_entropy_value_and_grad)

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        axis: int | None = None,
    ) -> None:
        super().__init__(
            weight=_frozen("weight", weight),
            ignore_index=desk.integer("ignore_index", ignore_index),
            reduction=_reduction(size_average, reduce, reduction),
            label_smoothing=desk.smoothing("label_smoothing", label_smoothing),
            axis=axis if axis is None else desk.integer("axis", axis),
        )


class NLLLoss(_Loss):
    """Hold the settings of `crossent.nll_loss`, as ``torch.nn.NLLLoss`` does.

    Parameters
    ----------
    weight : array_like, shape (K,), optional
        A weight for each class.
    size_average, reduce : bool, optional
        Deprecated; `reduction` says it.
    ignore_index : int, default -100
        Positions with this label cost nothing.
    reduction : {"mean", "sum", "none"}, default "mean"
        How the losses become the value.
    axis : int, optional
        The class axis; None is PyTorch's rule.

    Examples
    --------
    >>> NLLLoss()(np.log([[0.5, 0.5]]), [0])
    np.float64(0.6931471805599453)
    """

    weight: Array | None
    ignore_index: int
    reduction: str
    axis: int | None

    _functions = (nll_loss, nll_loss_grad, nll_loss_value_and_grad)

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        *,
        axis: int | None = None,
    ) -> None:
        super().__init__(
            weight=_frozen("weight", weight),
            ignore_index=desk.integer("ignore_index", ignore_index),
            reduction=_reduction(size_average, reduce, reduction),
            axis=axis if axis is None else desk.integer("axis", axis),
        )


class BCEWithLogitsLoss(_Loss):
    """Hold the settings of `crossent.binary_cross_entropy_with_logits`, as PyTorch's class does.

    Parameters
    ----------
    weight : array_like, optional
        Broadcasts to the logits; multiplies the losses.
    size_average, reduce : bool, optional
        Deprecated; `reduction` says it.
    reduction : {"mean", "sum", "none"}, default "mean"
        How the losses become the value.
    pos_weight : array_like, optional
        Broadcasts to the logits; multiplies the "yes" terms.

    Examples
    --------
    >>> BCEWithLogitsLoss(pos_weight=2.0)([0.0], [1.0])
    np.float64(1.3862943611198906)
    """

    weight: Array | None
    reduction: str
    pos_weight: Array | None

    _functions = (
        binary_cross_entropy_with_logits,
        binary_cross_entropy_with_logits_grad,
        binary_cross_entropy_with_logits_value_and_grad,
    )

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: ArrayLike | None = None,
    ) -> None:
        super().__init__(
            weight=_frozen("weight", weight),
            reduction=_reduction(size_average, reduce, reduction),
            pos_weight=_frozen("pos_weight", pos_weight),
        )


class LogSoftmax(_Settings):
    """Hold the class axis of `crossent.log_softmax`, as ``torch.nn.LogSoftmax`` does.

    Parameters
    ----------
    axis : int, default -1
        The class axis.

    Examples
    --------
    >>> LogSoftmax()([0.0, 0.0])
    array([-0.69314718, -0.69314718])
    """

    axis: int

    def __init__(self, axis: int = -1) -> None:
        super().__init__(axis=desk.integer("axis", axis))

    def __call__(self, x: ArrayLike) -> Any:
        """Return `crossent.log_softmax` along this axis."""
        return log_softmax(x, self.axis)

    def grad(self, x: ArrayLike, grad_output: ArrayLike | None = None) -> Any:
        """Return `crossent.log_softmax_grad` along this axis."""
        return log_softmax_grad(x, self.axis, grad_output=grad_output)
