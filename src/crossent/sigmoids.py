"""Page 2: softplus, log_sigmoid and sigmoid, the two-class forms of page 1.

::

    softplus(x)    = log(1 + exp(x))
    log_sigmoid(x) = -softplus(-x)
    sigmoid(x)     = 1 / (1 + exp(-x))

Written like that, ``exp`` overflows for large arguments, and ``1 + exp(x)`` loses every digit of a small
``exp(x)``: float32 softplus(-20) becomes 0 instead of 2.06e-09. With ``t = exp(-abs(x))``, which
never exceeds 1::

    softplus(x) = max(x, 0) + log1p(t)
    sigmoid(x)  = 1 / (1 + t) for x >= 0, t / (1 + t) for x < 0

Gradients: softplus' = sigmoid(x), log_sigmoid' = sigmoid(-x), and
sigmoid' = sigmoid(x) sigmoid(-x) = t / (1 + t)**2.

Reference: M. Maechler, "Accurately computing log(1 - exp(-abs(a)))", Rmpfr package (2012).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossent import _arguments as desk
from crossent._blocks import Operand, sweep
from crossent._scratch import Array, room_like


def softplus(x: ArrayLike) -> Any:
    """Compute ``log(1 + exp(x))``: the smooth form of ``max(x, 0)``.

    Parameters
    ----------
    x : array_like, any shape
        Real numbers; integers and lists count as float64.

    Returns
    -------
    scalar or ndarray
        Shaped like `x`, in its dtype, in nats.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.

    Notes
    -----
    Special values: ``-inf`` gives 0, ``inf`` gives ``inf``, NaN gives NaN. Accuracy: 4 ulp.
    Gradient: `softplus_grad`, the sigmoid.

    Examples
    --------
    >>> softplus([-50.0, 0.0, 1000.0])
    array([1.92874985e-22, 6.93147181e-01, 1.00000000e+03])
    """
    return _map(softplus_rows, x)


def softplus_grad(x: ArrayLike, *, grad_output: ArrayLike | None = None, out: Array | None = None) -> Any:
    """Compute the gradient of ``sum(grad_output * softplus(x))``: ``grad_output * sigmoid(x)``.

    Parameters
    ----------
    x : array_like
        As for `softplus`.
    grad_output : array_like, optional
        Broadcasts to the shape of `x`; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `x` itself.

    Returns
    -------
    scalar or ndarray
        The gradient, shaped like `x`.

    Raises
    ------
    TypeError
        As `softplus`.
    ValueError
        If `grad_output` or `out` do not fit.

    Notes
    -----
    ``d/dx log(1 + exp(x)) = exp(x) / (1 + exp(x))``. Special values as for `sigmoid`. Accuracy: 6 ulp.

    Examples
    --------
    >>> softplus_grad([-50.0, 0.0])
    array([1.92874985e-22, 5.00000000e-01])
    """
    return _map_grad(sigmoid_rows, x, grad_output, out)


def log_sigmoid(x: ArrayLike) -> Any:
    """Compute ``log(sigmoid(x)) = -softplus(-x)``: the log-probability of a yes.

    Parameters
    ----------
    x : array_like, any shape
        Logits; integers and lists count as float64.

    Returns
    -------
    scalar or ndarray
        Shaped like `x`, in its dtype, in nats, never positive.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.

    Notes
    -----
    Special values: ``inf`` gives 0, ``-inf`` gives ``-inf``, NaN gives NaN. Accuracy: 4 ulp.
    Gradient: `log_sigmoid_grad`.

    Examples
    --------
    >>> log_sigmoid([-1000.0, 0.0, 50.0])
    array([-1.00000000e+03, -6.93147181e-01, -1.92874985e-22])
    """
    return _map(_log_sigmoid_rows, x)


def log_sigmoid_grad(x: ArrayLike, *, grad_output: ArrayLike | None = None, out: Array | None = None) -> Any:
    """Compute the gradient of ``sum(grad_output * log_sigmoid(x))``: ``grad_output * sigmoid(-x)``.

    Parameters
    ----------
    x : array_like
        As for `log_sigmoid`.
    grad_output : array_like, optional
        Broadcasts to the shape of `x`; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `x` itself.

    Returns
    -------
    scalar or ndarray
        The gradient, shaped like `x`.

    Raises
    ------
    TypeError
        As `log_sigmoid`.
    ValueError
        If `grad_output` or `out` do not fit.

    Notes
    -----
    ``d/dx -softplus(-x) = sigmoid(-x)``. Special values: 0 at ``inf``, 1 at ``-inf``. Accuracy: 6 ulp.

    Examples
    --------
    >>> log_sigmoid_grad([0.0, 50.0])
    array([5.00000000e-01, 1.92874985e-22])
    """
    return _map_grad(_log_sigmoid_grad_rows, x, grad_output, out)


def sigmoid(x: ArrayLike) -> Any:
    """Compute ``1 / (1 + exp(-x))``: a logit's probability.

    Use it to report probabilities. Never take its logarithm: `log_sigmoid` and
    `binary_cross_entropy_with_logits` keep the digits that this loses.

    Parameters
    ----------
    x : array_like, any shape
        Logits; integers and lists count as float64.

    Returns
    -------
    scalar or ndarray
        Probabilities, shaped like `x`, in its dtype.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.

    Notes
    -----
    Special values: 0 at ``-inf``, 1 at ``inf``, NaN at NaN. Accuracy: 4 ulp. Gradient: `sigmoid_grad`.

    Examples
    --------
    >>> sigmoid([-50.0, 0.0, 50.0])
    array([1.92874985e-22, 5.00000000e-01, 1.00000000e+00])
    """
    return _map(sigmoid_rows, x)


def sigmoid_grad(x: ArrayLike, *, grad_output: ArrayLike | None = None, out: Array | None = None) -> Any:
    """Compute the gradient of ``sum(grad_output * sigmoid(x))``.

    Parameters
    ----------
    x : array_like
        As for `sigmoid`.
    grad_output : array_like, optional
        Broadcasts to the shape of `x`; None means ones.
    out : ndarray, optional
        Where to write the gradient: shape and dtype of the result; may be `x` itself.

    Returns
    -------
    scalar or ndarray
        ``grad_output * sigmoid(x) * sigmoid(-x)``, shaped like `x`.

    Raises
    ------
    TypeError
        As `sigmoid`.
    ValueError
        If `grad_output` or `out` do not fit.

    Notes
    -----
    Computed from ``t = exp(-abs(x))`` as ``t / (1 + t (2 + t))``: one rounding less of each factor than
    in ``t / (1 + t)**2``. Special values: 0 at both infinities. Accuracy: 6 ulp.

    Examples
    --------
    >>> sigmoid_grad([-50.0, 0.0, 50.0])
    array([1.92874985e-22, 2.50000000e-01, 1.92874985e-22])
    """
    return _map_grad(_sigmoid_grad_rows, x, grad_output, out)


def _map(rows: Callable[[Array], Array], x: ArrayLike) -> Any:
    x = desk.real("x", x)
    dtype = desk.result_dtype("x", x)
    value = Operand(np.empty(x.shape, dtype), dtype)
    sweep(rows, [Operand(x, desk.work_dtype(dtype))], x.shape, sink=value)
    return value.array[()]


def _map_grad(
    rows: Callable[[Array], Array], x: ArrayLike, grad_output: ArrayLike | None, out: Array | None
) -> Any:
    """Chain rule of an elementwise function: its derivative times the cotangent."""
    x = desk.real("x", x)
    dtype = desk.result_dtype("x", x)
    g = None
    if grad_output is not None:
        g = desk.broadcast("grad_output", grad_output, x.shape, "x")
    work = desk.work_dtype(dtype, g)
    operands = [Operand(x, work), g if g is None else Operand(g, work)]
    result, gradient = desk.gradient_array(out, x, dtype, (), operands)
    sweep(lambda z, g: rows(z) if g is None else rows(z) * g, operands, x.shape, sink=gradient)
    return result if out is not None else result[()]


# --------------------------------------------------------------------------------------------------
# Row maths: x (n,), elementwise.


def exp_minus_size(x: Array, name: str) -> Array:
    """Return ``exp(-|x|)``, in the `room` of that name."""
    t = np.abs(x, out=room_like(name, x))
    np.negative(t, out=t)
    return np.exp(t, out=t)


def zeros_like(x: Array) -> Array:
    """Return zeros to compare `x` with: with a single number NumPy compares one by one."""
    zeros = room_like("log", x)  # which is not taken yet
    zeros[...] = 0
    return zeros


def softplus_rows(x: Array) -> Array:
    """Return ``max(x, 0) + log(1 + exp(-|x|))``: two terms that are never negative."""
    zero = zeros_like(x)
    t = exp_minus_size(x, "t")
    result = np.maximum(x, zero)
    result += np.log1p(t, out=t)
    return result


def _log_sigmoid_rows(x: Array) -> Array:
    return -softplus_rows(-x)


def sigmoid_rows(x: Array) -> Array:
    """Return ``sigmoid(x)``: ``1 + t`` never cancels, and ``t`` keeps the digits of small results."""
    t = exp_minus_size(x, "t")
    p = (x >= zeros_like(x)).astype(x.dtype)
    np.maximum(t, p, out=p)  # t where x is negative, else 1: t is never above that
    t += 1
    p /= t
    return p


def _log_sigmoid_grad_rows(x: Array) -> Array:
    return sigmoid_rows(-x)


def _sigmoid_grad_rows(x: Array) -> Array:
    t = np.exp(-np.abs(x))
    slope: Array = t / (1 + t * (2 + t))
    return slope
