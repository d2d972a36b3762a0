"""The kit finds, on its own, what is known to be wrong in released software.

No case was written for any of them: these are the laws that every implementation is tried on.
"""

import importlib.metadata
import re

import pytest

from crossent.testing._calls import BINARY
from crossent.testing.adapters import adapt

pytestmark = pytest.mark.peers

CE = "cross_entropy"
NEEDS = {"jax": ["jax", "optax"], "sklearn": ["scikit-learn", "scipy"]}

# framework, function, law, what came, what was due: patterns
KNOWN = [
    ("torch", CE, "confident_predictions_keep_their_digits", r"-?0\.0", r"-?\d.*e-\d+"),
    ("torch", CE, "gradient_is_the_definition", "", ""),
    ("torch", CE, "ignored_positions_may_hold_anything", "nan", "0"),
    ("torch", CE, "zero_times_infinity_is_zero", "nan", ""),
    ("torch", CE, "long_sums_survive", "", ""),
    ("torch", CE, "smoothing_out_of_range_is_refused", "", "a ValueError"),
    ("torch", BINARY, "zero_times_infinity_is_zero", "nan", "0"),
    ("torch", BINARY, "infinities_have_their_limits", "nan", ""),
    ("jax", CE, "labels_out_of_range_are_refused", "", "an IndexError"),
    ("jax", CE, "a_common_offset_changes_nothing", "", ""),
    ("jax", CE, "confident_predictions_keep_their_digits", "", ""),
    ("scipy", "log_softmax", "confident_predictions_keep_their_digits", r"-?0\.0", r"-\d.*e-\d+"),
    ("onnx", CE, "wrong_predictions_cost_their_margin", "inf", r"\d+"),
    ("onnx", CE, "labels_out_of_range_are_refused", "", "an IndexError"),
    ("sklearn", CE, "confident_predictions_keep_their_digits", "", ""),
]


def adapted(framework, spec):
    """An adapter, or a skip that says what to install."""
    for name in NEEDS.get(framework, [framework]):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed: pip install '.[peers]'")
    return adapt(framework, spec)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("framework", "spec", "law", "came", "due"), KNOWN)
def test_frameworks__known_defects_are_found(framework, spec, law, came, due):
    """Each as a broken law, with a small counter-example."""
    report = adapted(framework, spec).conforms(
        laws=[law], max_examples=15 if framework == "jax" else 100, seed=0
    )
    (verdict,) = report.verdicts
    assert verdict.word == "broken", report.text()
    c = verdict.counterexample
    assert re.match(came, c.came), c
    assert re.match(due, c.due), c
    assert len(c.call) < 250, c


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("framework", ["torch", "jax", "scipy", "onnx"])
def test_frameworks__structure_holds_where_it_is_known_to(framework):
    """The adapters are right: no framework confuses classes, batches and memory."""
    laws = [
        "order_of_the_batch_means_nothing",
        "inputs_are_not_written_to",
        "the_same_call_gives_the_same_bits",
    ]
    adapter = adapted(framework, "softmax")
    report = adapter.conforms(laws=laws, max_examples=5, seed=1, dtypes=["float64"], tolerance=1e6)
    assert report.ok, report.text()
    assert len(report.verdicts) == 3
