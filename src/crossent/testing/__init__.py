"""What property tests of losses and gradients are made of.

`ulp_error` measures a result, `numerical_grad` differences a function, and `check_grad` holds a
gradient against it.
"""

from crossent.testing._differences import NumericalGrad, check_grad, numerical_grad
from crossent.testing._ulp import ulp_error

__all__ = ["NumericalGrad", "check_grad", "numerical_grad", "ulp_error"]
