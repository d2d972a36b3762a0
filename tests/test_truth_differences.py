"""Finite differences: what a caller is told, and functions that are hard to difference."""

from decimal import Decimal

import numpy as np
import pytest

from crossent import exact
from crossent.testing import check_grad, numerical_grad

NAN = np.nan


def test_check_grad__allows_6_ulp():
    """By default, as the contract does."""
    check_grad(exact.softplus, lambda x: 0.5 + 6 * 2.0**-53 + 0 * x, np.zeros(1))
    with pytest.raises(AssertionError, match="apart    7 ulp"):
        check_grad(exact.softplus, lambda x: 0.5 + 7 * 2.0**-53 + 0 * x, np.zeros(1))


def test_check_grad__differences_with_the_digits_it_is_given():
    """`digits` is where the differences begin."""
    asked = []

    def f(x, digits):
        asked.append(digits)
        return exact.softplus(x, digits=digits)

    check_grad(f, lambda x: 0.5 + 0 * x, np.zeros(1), digits=70)
    assert min(asked) == 70


def test_check_grad__names_the_worst_entry_and_counts_them_all():
    """Not the last one."""
    with pytest.raises(AssertionError, match=r"2 of 3 .* worst \[0\]"):
        check_grad(exact.softplus, lambda x: np.array([0.9, 0.5, 0.6]), np.zeros(3))
    f = np.vectorize(lambda v: Decimal(v) if v <= 2 else Decimal("NaN"), otypes=[object])
    with pytest.raises(
        ValueError, match=r"say nothing of 2 of 3 .* first \[1\]: f is not finite next to x = 2.0"
    ):
        check_grad(f, lambda x: np.ones(3), np.array([0.0, 2.0, 2.0]))
    with pytest.raises(ValueError, match=r"or say what is near enough with rtol \(and scale\)$"):
        check_grad(lambda x: x * 0 + 1, lambda x: x * 0, np.ones(1), rtol=1e-6)


def test_numerical_grad__of_float32_knows_its_rounding():
    """The error bounds the distance also where the function has 24 bits."""
    x = np.linspace(0.1, 3, 30)
    value, error = numerical_grad(lambda x: np.sin(x).astype(np.float32), x)
    assert np.all(np.abs(value - np.cos(x)) <= error)
    assert np.all(error < 1e-3)


def test_numerical_grad__of_floats_leaves_out_what_has_no_weight():
    """Where grad_output is 0, f(x) may be anything."""
    value, error = numerical_grad(lambda x: np.array([x[0] ** 2, NAN]), [3.0], grad_output=[1, 0])
    assert abs(value[0] - 6) <= error[0] < 1e-9


def test_numerical_grad__sees_functions_that_hide_nan():
    """Such as those that take the larger of two: that NaN changes nothing does not mean that nothing does."""

    def f(x):
        return np.array([Decimal(9) if v != v else Decimal(v) * Decimal(v) for v in x], object)

    value, error = numerical_grad(f, [3.0])
    assert abs(value[0] - 6) <= error[0] < Decimal("1e-30")


def test_numerical_grad__says_nothing_where_f_is_nan():
    """Outside of the domain nothing is known; what NaN elsewhere does to other entries is no matter."""

    def log(x):
        return np.array([Decimal(v).ln() for v in x], object)

    value, error = numerical_grad(log, [-1.0, 2.0], digits=60)
    assert value[0].is_nan()
    assert error[0].is_nan()


def test_numerical_grad__names_the_argument_that_is_no_number():
    """As every function of the package does."""
    for name, arguments in (("x", (["a"], [1.0])), ("grad_output", ([0.0], ["a"]))):
        x, g = arguments
        with pytest.raises((TypeError, ValueError), match=rf"^{name} must"):
            numerical_grad(exact.softplus, x, grad_output=g, digits=60)
