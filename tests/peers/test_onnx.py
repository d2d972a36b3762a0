"""ONNX's backend node tests of the operators that crossent offers: inputs and expected outputs.

ONNX states its own tolerance with each test (its expected outputs are naive float32 results).
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

loader = pytest.importorskip(
    "onnx.backend.test.loader", reason="ONNX is not installed: pip install '.[peers]'"
)

import onnx  # noqa: E402

import crossent  # noqa: E402

pytestmark = pytest.mark.peers

# How many tests of each operator ONNX has at least (1.23): none may get lost without notice.
OPERATORS = {
    "SoftmaxCrossEntropyLoss": 34,
    "NegativeLogLikelihoodLoss": 18,
    "Softmax": 7,
    "LogSoftmax": 7,
    "Sigmoid": 2,
    "Softplus": 2,
    "ReduceLogSumExp": 9,
}


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Any]]:
    """ONNX's tests by operator; the function bodies of the same tests ("expanded") left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX makes the data of all its operators, with overflows
        tests = loader.load_model_tests(kind="node")
    found: dict[str, list[Any]] = {name: [] for name in OPERATORS}
    for test in tests:
        nodes = test.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in found and not re.search("expanded", test.name):
            found[nodes[0].op_type].append(test)
    return found


def run(node: Any, inputs: list[np.ndarray]) -> list[Any]:
    """One node, computed by crossent."""
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    x = inputs[0]
    if node.op_type in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"):
        f = crossent.cross_entropy if node.op_type == "SoftmaxCrossEntropyLoss" else crossent.nll_loss
        options["reduction"] = options.get("reduction", b"mean").decode()
        if len(inputs) > 2:
            options["weight"] = inputs[2]
        outputs = [f(x, inputs[1], **options)]
        if len(node.output) > 1:
            outputs.append(crossent.log_softmax(x, axis=1))
        return outputs
    if node.op_type == "ReduceLogSumExp":
        axes = tuple(inputs[1].tolist()) if len(inputs) > 1 else ()
        keepdims = bool(options.get("keepdims", 1))
        return [crossent.logsumexp(x, axis=axes or None, keepdims=keepdims)]
    functions: dict[str, Any] = {
        "Softmax": crossent.softmax,
        "LogSoftmax": crossent.log_softmax,
        "Sigmoid": crossent.sigmoid,
        "Softplus": crossent.softplus,
    }
    return [functions[node.op_type](x, **options)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_onnx__node_tests_hold(operator: str, cases: dict[str, list[Any]]) -> None:
    """Both outputs of SoftmaxCrossEntropyLoss, the loss and the log-probabilities."""
    assert len(cases[operator]) >= OPERATORS[operator]
    for test in cases[operator]:
        node = test.model.graph.node[0]
        for inputs, expected in test.data_sets:
            outputs = run(node, [np.asarray(x) for x in inputs])
            assert len(outputs) == len(expected), test.name
            for name, got, wanted in zip(node.output, outputs, expected, strict=True):
                what = f"{test.name}: {name}"
                assert got.dtype == wanted.dtype, what
                assert got.shape == wanted.shape, what
                np.testing.assert_allclose(got, wanted, rtol=test.rtol, atol=test.atol, err_msg=what)
