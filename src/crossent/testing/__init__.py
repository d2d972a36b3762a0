"""What property tests of losses and gradients are made of.

`ulp_error` measures a result, `numerical_grad` differences a function, and `check_grad` holds a
gradient against it. `load_vectors` reads the test vectors, which are for other languages as well.
`assert_conforms` holds a whole implementation against the laws that every right one
keeps; `conformance_report` tells, and `conformance_tests` makes tests of it. The modules `strategies`, which
draws calls for property tests of your own, and `adapters`, which wraps frameworks, are imported when
they are used.

Hypothesis is imported when it is used.
"""

import importlib
from types import ModuleType

from crossent.testing._calls import Call
from crossent.testing._compare import Broken
from crossent.testing._differences import NumericalGrad, check_grad, numerical_grad
from crossent.testing._ulp import ulp_error
from crossent.testing._vectors import load_vectors
from crossent.testing.conformance import (
    LAWS,
    ConformanceError,
    ConformanceReport,
    Law,
    assert_conforms,
    conformance_report,
    conformance_tests,
)

__all__ = [
    "LAWS",
    "Broken",
    "Call",
    "ConformanceError",
    "ConformanceReport",
    "Law",
    "NumericalGrad",
    "assert_conforms",
    "check_grad",
    "conformance_report",
    "conformance_tests",
    "load_vectors",
    "numerical_grad",
    "ulp_error",
]


def __getattr__(name: str) -> ModuleType:
    if name in ("adapters", "strategies"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
