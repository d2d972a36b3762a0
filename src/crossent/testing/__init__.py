"""What property tests of losses and gradients are made of.

`ulp_error` measures a result, `numerical_grad` differences a function, and `check_grad` holds a
gradient against it. `load_vectors` reads the test vectors, which are for other languages as well.
"""

from crossent.testing._differences import NumericalGrad, check_grad, numerical_grad
from crossent.testing._ulp import ulp_error
from crossent.testing._vectors import load_vectors

__all__ = ["NumericalGrad", "check_grad", "load_vectors", "numerical_grad", "ulp_error"]
