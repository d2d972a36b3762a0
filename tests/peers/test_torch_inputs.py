"""PyTorch's own test inputs for these functions, as its wheel ships them.

Three collections: the operators' samples (`op_db`), the modules' inputs (`module_db`) with their
erroneous inputs, and the older lists of modules and criteria behind `test_nn.py`. Each sample is
run by PyTorch once, to record the call that it comes down to; crossent then makes the same call,
with PyTorch in float64 as oracle. Calls that crossent does not offer are counted by reason.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[peers]'")

import torch.nn.functional as F  # noqa: E402
import torch_oracle as oracle  # noqa: E402
from nearness import assert_near, snippet  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

import crossent  # noqa: E402

pytestmark = pytest.mark.peers

# PyTorch's functions, and their parameters by crossent's names; `_` is nobody's business.
LOSS = ("weight", "size_average", "ignore_index", "reduce", "reduction")
SOFTMAX = ("axis", "_", "dtype")
FUNCTIONS: dict[Any, tuple[str, tuple[str, ...]]] = {
    F.cross_entropy: ("cross_entropy", ("target", *LOSS, "label_smoothing")),
    F.nll_loss: ("nll_loss", ("target", *LOSS)),
    F.binary_cross_entropy_with_logits: (
        "binary_cross_entropy_with_logits",
        ("target", "weight", "size_average", "reduce", "reduction", "pos_weight"),
    ),
    F.log_softmax: ("log_softmax", SOFTMAX),
    F.softmax: ("softmax", SOFTMAX),
    torch.log_softmax: ("log_softmax", ("axis", "dtype")),
    torch.softmax: ("softmax", ("axis", "dtype")),
    torch.logsumexp: ("logsumexp", ("axis", "keepdims")),
    F.softplus: ("softplus", ("beta", "threshold")),
    F.logsigmoid: ("log_sigmoid", ()),
    torch.sigmoid: ("sigmoid", ()),
}
RENAMED = {"dim": "axis", "keepdim": "keepdims", "_stacklevel": "_"}
DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
ELEMENTWISE = ("softplus", "log_sigmoid", "sigmoid")

OPERATORS = (
    "nn.functional.cross_entropy",
    "nn.functional.nll_loss",
    "nn.functional.binary_cross_entropy_with_logits",
    "log_softmax",
    "softmax",
    "logsumexp",
    "nn.functional.softplus",
    "nn.functional.logsigmoid",
    "sigmoid",
)
MODULES = (
    "CrossEntropyLoss",
    "NLLLoss",
    "BCEWithLogitsLoss",
    "LogSoftmax",
    "Softmax",
    "Softplus",
    "LogSigmoid",
    "Sigmoid",
)


@pytest.fixture(scope="module", autouse=True)
def internals() -> tuple[Any, Any, Any]:
    """Import PyTorch's test modules, and take back the Hypothesis profile that they load."""
    pytest.importorskip("expecttest", reason="PyTorch's test modules need expecttest: pip install expecttest")
    from hypothesis import settings

    settings.register_profile("before_torch", settings())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal import (
            common_methods_invocations,
            common_modules,
            common_nn,
        )
    settings.load_profile("before_torch")
    torch.manual_seed(0)
    return common_methods_invocations, common_modules, common_nn


class Recorder(TorchFunctionMode):
    """Notes the outermost calls of PyTorch's functions."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in FUNCTIONS:
            name, parameters = FUNCTIONS[function]
            options = dict(zip(parameters, args[1:], strict=False))
            options |= {RENAMED.get(k, k): v for k, v in (kwargs or {}).items()}
            x = args[0] if args else options.pop("input")
            self.calls.append((name, x, {k: v for k, v in options.items() if v is not None}))
        return function(*args, **(kwargs or {}))


class Unoffered(Exception):
    """The reason why crossent has no such call."""


class Tally:
    """Runs samples, and counts what was compared and what could not be."""

    def __init__(self) -> None:
        self.compared = 0
        self.unoffered = Counter[str]()

    def run(self, what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        with Recorder() as recorder:
            function(*args, **kwargs)
        assert len(recorder.calls) == 1, f"{what}: {recorder.calls}"
        try:
            compare(*recorder.calls[0], what=what)
            self.compared += 1
        except Unoffered as reason:
            self.unoffered[str(reason)] += 1

    def report(self, record: Callable[[str, Any], None]) -> None:
        """A function with nothing to compare is a skip, not a pass."""
        record("compared", self.compared)
        record("unoffered", dict(self.unoffered))
        reasons = "; ".join(f"{n} x {reason}" for reason, n in self.unoffered.items())
        print(f"{self.compared} compared; not offered: {reasons or 'none'}")
        if not self.compared:
            pytest.skip(f"nothing to compare: {reasons}")


def array(value: Any) -> Any:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


def double(value: Any) -> Any:
    floating = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(np.float64) if floating else value


def compare(name: str, x: Any, options: dict[str, Any], what: str) -> None:
    """Value and gradient of one call."""
    x = array(x)
    options = {k: array(v) for k, v in options.items() if k != "_"}
    if options.pop("reduce", None) is False:
        options["reduction"] = "none"
    if name == "softplus":
        beta, threshold = options.pop("beta", 1), options.pop("threshold", 20)
        if (beta, threshold) != (1, 20):
            raise Unoffered(f"softplus with beta={beta}, threshold={threshold}")
    if "dtype" in options:
        options["dtype"] = DTYPES[options["dtype"]]
    if isinstance(options.get("axis"), list):
        options["axis"] = tuple(options["axis"])
    if "softmax" in name and (x.ndim == 0 or x.shape[options["axis"]] == 0):
        with pytest.raises(ValueError, match="class"):
            getattr(crossent, name)(x, **options)
        raise Unoffered("softmax of a scalar or of no classes: a ValueError here")
    target = (options.pop("target"),) if "target" in options else ()
    dtype = np.dtype(options.get("dtype", x.dtype if x.dtype.kind == "f" else np.float64))
    named = {k: double(v) for k, v in options.items() if k != "dtype"}

    value = np.asarray(getattr(crossent, name)(x, *target, **options))
    for g in (None, np.random.default_rng(0).normal(size=value.shape).astype(dtype)):
        call = snippet(name, x, *target, **options, grad_output=g) + f"  # {what}"
        wide = x.astype(np.float64)
        if name in ELEMENTWISE:
            expected = oracle.elementwise(name, wide, grad_output=double(g))
        else:
            expected = getattr(oracle, name)(wide, *map(double, target), **named, grad_output=double(g))
        assert_near(name, value, expected[0], dtype, call)
        grad = getattr(crossent, name + "_grad")(x, *target, **options, grad_output=g)
        assert_near(name + "_grad", np.asarray(grad), expected[1], dtype, call)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_op_db__samples_of_each_operator(
    operator: str, dtype: str, internals: Any, record_property: Any
) -> None:
    tally = Tally()
    ops = [op for op in internals[0].op_db if op.name == operator]
    assert ops
    for op in ops:
        makers = [op.sample_inputs]
        if op.reference_inputs_func is not None:
            makers.append(op.reference_inputs)
        for make in makers:
            for sample in make("cpu", getattr(torch, dtype)):
                tally.run(op.full_name, op.op, sample.input, *sample.args, **sample.kwargs)
    tally.report(record_property)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("module", MODULES)
def test_module_db__inputs_of_each_module(
    module: str, dtype: str, internals: Any, record_property: Any
) -> None:
    tally = Tally()
    (info,) = (i for i in internals[1].module_db if i.module_cls is getattr(torch.nn, module))
    for sample in info.module_inputs_func(
        info, device="cpu", dtype=getattr(torch, dtype), requires_grad=False, training=True
    ):
        made, given = sample.constructor_input, sample.forward_input
        f = info.module_cls(*made.args, **made.kwargs)
        tally.run(f"{module}: {sample.desc}", f, *given.args, **given.kwargs)
    tally.report(record_property)


# What PyTorch refuses among these samples, and with which error crossent does.
REFUSED = {
    "Expected floating point type for target with class probabilities": TypeError,
    "expected target dtype to be Long or Byte": TypeError,
    "Expected input batch_size": ValueError,
    "Expected target size": ValueError,
    "weight tensor should be defined": ValueError,
    "ignore_index is not supported for floating point target": ValueError,
    "label_smoothing must be between": ValueError,
    "expected scalar type": ValueError,  # weights of another dtype work, but there are no classes
}


@pytest.mark.parametrize("module", ["CrossEntropyLoss", "NLLLoss"])
def test_module_db__erroneous_inputs_are_refused(module: str, internals: Any, record_property: Any) -> None:
    (info,) = (i for i in internals[1].module_db if i.module_cls is getattr(torch.nn, module))
    refused = 0
    for sample in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=False, training=True
    ):
        made = sample.module_error_input.constructor_input
        given = sample.module_error_input.forward_input
        options = {k: array(v) for k, v in made.kwargs.items()}
        errors = {error for text, error in REFUSED.items() if text in sample.error_regex}
        assert errors, sample.error_regex
        with pytest.raises(tuple(errors)):
            getattr(crossent, module)(**options)(*map(array, given.args))
        refused += 1
    record_property("refused", refused)
    assert refused


def test_common_nn__modules_and_criteria(internals: Any, record_property: Any) -> None:
    """The lists behind test_nn.py, whatever their entries are called."""
    common, tally = internals[2], Tally()
    wanted = re.compile("BCEWithLogits|NLLLoss|CrossEntropy|softmax|softplus|sigmoid", re.IGNORECASE)
    others = re.compile("Poisson|Gaussian|Hardsigmoid|BCELoss", re.IGNORECASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's deprecated settings
        tests = itertools.chain(common.get_new_module_tests(), common.criterion_tests)
        for test in tests:
            name = test.get("fullname") or test["module_name"]
            if not wanted.search(name) or others.search(name):
                continue
            make = test.get("constructor") or getattr(torch.nn, test["module_name"])
            inputs = [
                test[f"{kind}_fn"]() if f"{kind}_fn" in test
                else test[kind] if kind in test
                else torch.randn(test[f"{kind}_size"])
                for kind in ("input", "target")
                if any(f"{kind}{end}" in test for end in ("", "_fn", "_size"))
            ]  # fmt: skip
            tally.run(name, make(*test.get("constructor_args", ())), *inputs)
    assert tally.compared >= 30
    tally.report(record_property)
