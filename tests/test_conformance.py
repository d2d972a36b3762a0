"""The kit: what it takes, what it tells, and that it neither misses nor invents."""

import json
import os
import subprocess
import sys
import unittest
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import correct
import crossent
import crossent.testing.conformance as kit
from crossent.testing import (
    LAWS,
    Broken,
    Call,
    ConformanceError,
    assert_conforms,
    conformance_report,
    conformance_tests,
)
from crossent.testing import _compare as compare
from crossent.testing import _smallest as shrinking
from crossent.testing._calls import BINARY, OPTIONS, SPECS
from crossent.testing._subject import LAYOUTS
from crossent.testing._trials import subject
from crossent.testing._truth import decimals, exact
from crossent.testing.adapters import adapt
from crossent.testing.strategies import loss_calls

EXAMPLES = settings.default.max_examples  # 20; HYPOTHESIS_PROFILE=long: 1,000
SEEDS = range(3 if EXAMPLES >= 1000 else 1)
ROOT = Path(__file__).resolve().parents[1]


# ---------------------------------------------------------------------------------------
# no false alarms


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spec", SPECS)
def test_crossent__keeps_every_law(spec, seed):
    """At the contract's limits, with every option, and without a floating-point warning."""
    examples = EXAMPLES if EXAMPLES >= 1000 else 10
    report = adapt("crossent", spec).conforms(max_examples=examples, seed=seed)
    assert report.ok, report.text()
    assert not [v for v in report.verdicts if v.reason], "crossent has every option"


CORRECT = ("cross_entropy", BINARY, "log_softmax", "softplus")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("spec", CORRECT)
def test_correct_implementations__are_accepted(spec, seed):
    """Loops over longdouble, decimals and floats: other code, the same numbers. What takes a loop long in
    one of ten seeds, and of class losses in none.
    """
    loops = {"cross_entropy": range(0), BINARY: range(1), "log_softmax": range(1)}.get(spec, range(10))
    laws = [law for law in LAWS if law.most is None or law.most > 12 or seed in loops]
    report = conformance_report(
        getattr(correct, spec),
        spec,
        grad=getattr(correct, f"{spec}_grad", None),
        laws=laws,
        dtypes=("float16", "float32", "float64"),
        max_examples=max(EXAMPLES // 7, 2),
        seed=seed,
    )
    assert report.ok, report.text()


def test_refusals__of_what_need_not_be_taken_are_no_wrong_answers():
    """Weights of another dtype, a cotangent that would have to be broadcast, a number that is no array."""

    def refusing(f):
        def called(x, *target, grad_output=None, **options):
            arrays = [v for v in (*target, *options.values()) if isinstance(v, np.ndarray)]
            if any(v.dtype.kind == "f" and v.dtype != x.dtype for v in arrays) or not x.ndim:
                raise TypeError("arrays of one dtype")
            if grad_output is None:
                return f(x, *target, **options)
            shape = () if options.get("reduction") in (None, "mean", "sum") and target else x.shape
            if grad_output.shape != shape:
                raise ValueError("shapes")
            return f(x, *target, grad_output=grad_output, **options)

        return called

    laws = [
        "the_dtype_is_the_one_asked_for",
        "the_cotangent_is_multiplied_in",
        "the_class_axis_may_be_anywhere",
    ]
    for spec, supports in (
        ("sigmoid", ["grad_output"]),
        (BINARY, ["weight", "grad_output", "reduction"]),
        (BINARY, ["weight", "dtype"]),
        ("cross_entropy", ["weight", "dtype"]),
    ):
        report = conformance_report(
            refusing(getattr(crossent, spec)), spec, grad=refusing(getattr(crossent, f"{spec}_grad")),
            supports=supports, laws=laws, max_examples=20, seed=0,
        )  # fmt: skip
        assert report.ok, report.text()


def test_results__that_are_numbers_of_python_have_no_dtype():
    """A float64 in place of a float32 is told, a float is not."""

    def loss(z, y, dtype=None):
        return crossent.cross_entropy(z, y, dtype=dtype).astype(np.float64)

    told = [
        conformance_report(
            f, "cross_entropy", supports=["dtype"], laws=["the_dtype_is_the_one_asked_for"], seed=0
        ).ok
        for f in (loss, lambda z, y, dtype=None: float(loss(z, y, dtype)))
    ]
    assert told == [False, True]


# ---------------------------------------------------------------------------------------
# what it tells


def naive_softplus(x):
    with np.errstate(all="ignore"):
        return np.log(1 + np.exp(x))


def naive_softplus_grad(x):
    with np.errstate(all="ignore"):
        return np.exp(x) / (1 + np.exp(x))


def test_assert_conforms__tells_every_broken_law():
    """One exception: the law, why it matters, the smallest call, what came, what was due."""
    with pytest.raises(ConformanceError) as caught:
        assert_conforms(naive_softplus, "softplus", grad=naive_softplus_grad, seed=1)
    assert isinstance(caught.value, AssertionError)
    message, report = str(caught.value), caught.value.report
    assert len(report.broken) > 2
    for verdict in report.broken:
        c = verdict.counterexample
        for part in (verdict.law.name, c.call, c.came, c.due, verdict.law.formula):
            assert part in message
        assert " ".join(verdict.law.why.split()[:6]) in message
    confident = next(v for v in report.broken if v.law.name == "confident_predictions_keep_their_digits")
    assert "np.array([" in confident.counterexample.call
    assert len(confident.counterexample.call) < 60, "the smallest call is one number"


def test_assert_conforms__says_nothing_when_all_is_well():
    """Silence is the verdict that users want."""
    assert assert_conforms(crossent.sigmoid, "sigmoid", grad=crossent.sigmoid_grad, max_examples=5) is None


def test_report__is_the_same_for_the_same_seed():
    """A counter-example that cannot be had again is a rumour."""
    one, same, other = (
        conformance_report(naive_softplus, "softplus", max_examples=30, seed=seed).json()
        for seed in (7, 7, 8)
    )
    assert one == same
    assert one != other


def test_report__names_the_seed_that_was_drawn():
    """Without a seed, runs differ, and each can be repeated."""
    seeds = {
        conformance_report(np.exp, "softplus", laws=["no_rows_are_no_error"], seed=None).settings["seed"]
        for _ in range(2)
    }
    assert len(seeds) == 2


def test_report__renders_as_text_markdown_and_json():
    """For a terminal, for a page, for a program: the same verdicts."""
    report = conformance_report(
        naive_softplus, "softplus", grad=naive_softplus_grad, supports=(), max_examples=30, seed=1
    )
    text, markdown, data = str(report), report.markdown(), json.loads(report.json())
    assert not data["conforms"]
    assert not data["keeps_digits"]
    assert "half of them" in text
    words = {entry["law"]: entry["verdict"] for entry in data["laws"]}
    assert set(words.values()) == {"holds", "broken", "passed over"}
    for verdict in report.verdicts:
        assert words[verdict.law.name] == verdict.word
        assert verdict.law.name in text
        assert f"`{verdict.law.name}`" in markdown
    for entry in data["laws"]:
        if entry["verdict"] == "broken":
            assert entry["call"] in markdown
            assert entry["call"] in text
        if entry["verdict"] == "passed over":
            assert entry["reason"] in text
            assert entry["reason"] in markdown


def test_report__of_a_good_function_has_no_complaints():
    """And its digits are the contract's."""
    report = conformance_report(crossent.softplus, "softplus", max_examples=5, seed=1)
    assert report.ok
    assert "keeps all" in report.text()
    assert "half of them" not in report.markdown()


def test_counterexample__runs_when_pasted():
    """The call in a report is Python."""
    report = conformance_report(naive_softplus, "softplus", max_examples=30, seed=1)
    for verdict in report.broken:
        c = verdict.counterexample
        came = np.asarray(eval(c.call, {"np": np, "naive_softplus": naive_softplus}))
        assert str(came.ravel()[0]) == c.came or came.size > 1


def test_counterexample__of_a_view_is_a_call_with_the_view():
    """Else it would be the right answer that is pasted."""

    def softmax(x):  # of the memory in order
        return crossent.softmax(x if x.flags.c_contiguous else np.resize(x.base.ravel(order="K"), x.shape))

    law = "memory_does_not_matter"
    report = conformance_report(softmax, "softmax", laws=[law], dtypes=["float64"], max_examples=20, seed=0)
    ((_, c),) = [(v, v.counterexample) for v in report.broken]
    (name,) = [name for name in LAYOUTS if f"of {name} arrays" in c.problem]
    assert LAYOUTS[name].source.partition("{}")[2] in c.call
    due = np.asarray(eval(c.call, {"np": np, "softmax": crossent.softmax}))
    assert not np.allclose(np.asarray(eval(c.call, {"np": np, "softmax": softmax})), due)


def test_counterexample__names_a_dtype_with_too_few_digits():
    """A float32 result of float64 logits loses digits in one line: which are said there."""

    def single(x):
        return crossent.softplus(x.astype(np.float32))

    report = conformance_report(single, "softplus", max_examples=20, seed=1)
    told = [v.counterexample.problem for v in report.broken if v.law.name == "value_is_the_definition"]
    assert told[0].endswith(", in float32 for float64")


def test_report__tells_a_mean_over_nothing_by_one_law():
    """Padding alone comes up in many laws' calls, and only one of them is about it."""

    def value(x, target, ignore_index=-100):
        if np.all(target == ignore_index):
            return x.dtype.type(0)
        return crossent.cross_entropy(x, target, ignore_index=ignore_index)

    report = conformance_report(
        value, "cross_entropy", supports=["ignore_index", "indices"], max_examples=20, seed=0
    )
    assert [v.law.name for v in report.broken] == ["the_mean_of_nothing_is_nan"]


def test_report__tells_several_axes_by_their_law():
    """What loses no digit is not told as one that is lost."""

    def last(x, axis=-1, keepdims=False):
        return crossent.logsumexp(x, axis[-1] if isinstance(axis, tuple) else axis, keepdims=keepdims)

    laws = ["value_is_the_definition", "several_axes_are_one", "a_shift_is_not_seen"]
    report = conformance_report(last, "logsumexp", laws=laws, max_examples=10, seed=1)
    assert [v.law.name for v in report.broken] == ["several_axes_are_one"]
    assert report.keeps_digits
    assert ", axis=(0, 2))" in report.broken[0].counterexample.call


def test_laws__need_no_room_for_classes_squared():
    """A one-hot table of 70,000 classes is slow, not wrong."""

    def table(x, target):
        if x.shape[1] > 10_000:
            raise MemoryError("Unable to allocate 36.5 GiB")
        return crossent.cross_entropy(x, target)

    laws = ["many_classes_are_classes"]
    assert conformance_report(table, "cross_entropy", supports=["indices"], laws=laws, seed=0).ok

    def refuses(x, target):
        if x.shape[1] > 10_000:
            raise ValueError("too many classes")
        return crossent.cross_entropy(x, target)

    assert not conformance_report(refuses, "cross_entropy", supports=["indices"], laws=laws, seed=0).ok


def test_counterexample__of_a_lambda_is_a_call_of_f():
    """`<lambda>(...)` cannot be pasted."""
    report = conformance_report(lambda x: x, "softplus", grad=lambda x: x, max_examples=5, seed=1)
    calls = {v.law.name: v.counterexample.call for v in report.broken}
    assert calls["value_is_the_definition"].startswith("f(np.array(")
    assert calls["gradient_is_the_definition"].startswith("gradient(np.array(")


# ---------------------------------------------------------------------------------------
# a class of tests


def test_conformance_tests__are_one_test_a_law():
    """pytest shows a law a line."""
    TestNaive = conformance_tests(naive_softplus, "softplus", max_examples=30, seed=1)
    names = {name.removeprefix("test_") for name in vars(TestNaive) if name.startswith("test_")}
    assert names == {law.name for law in LAWS if "softplus" in law.specs}
    with pytest.raises(ConformanceError, match="ulp away"):
        TestNaive().test_value_is_the_definition()
    TestNaive().test_nan_stays_in_its_position()
    with pytest.raises(unittest.SkipTest, match="no gradient"):
        TestNaive().test_gradient_is_the_definition()
    assert TestNaive.test_value_is_the_definition.__doc__


def test_readme__the_file_of_fifteen_lines_finds_what_the_readme_says(tmp_path):
    """Pasted from the README, run by pytest."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in readme.split("```python\n")[1:]]
    (code,) = [block for block in blocks if "conformance_tests(" in block]
    assert code.count("\n") <= 15
    (tmp_path / "test_my_loss.py").write_text(code)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--tb=line",
            "-rf",
            "test_my_loss.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert run.returncode == 1, run.stdout + run.stderr
    failed = {
        line.split("::test_")[1].split()[0] for line in run.stdout.splitlines() if line.startswith("FAILED")
    }
    told = readme.partition("It breaks these laws, and others:")[2].partition("\n\n")[2].partition("\n\n")[0]
    names = {line.split("`")[1] for line in told.splitlines()}
    assert len(names) == 4
    assert names <= failed


# ---------------------------------------------------------------------------------------
# what it takes


def test_subject__options_are_those_of_the_signature():
    """By default nothing is passed that a function does not name."""

    def cross_entropy(x, target, weight=None, reduction="mean", speed=1):
        return crossent.cross_entropy(x, target, weight=weight, reduction=reduction)

    made = subject(cross_entropy, "cross_entropy")
    assert made.supports == {"weight", "reduction"}
    assert subject(crossent.cross_entropy, "cross_entropy").supports >= {"weight", "where", "axis", "dtype"}
    # a gradient with fewer options narrows them
    made = subject(
        cross_entropy, "cross_entropy", grad=lambda x, t, weight=None, grad_output=None: np.zeros_like(x)
    )
    assert made.supports == {"weight", "grad_output"}
    every = subject(lambda x, t, **o: crossent.cross_entropy(x, t, **o), "cross_entropy").supports
    assert every == subject(crossent.cross_entropy, "cross_entropy").supports
    assert subject(max, "softplus").supports == frozenset()


def test_subject__what_is_refused_is_not_tested():
    """Two dimensions and indices are a function too; the report says what it was not asked."""

    def only_pairs(x, target):
        n, _ = x.shape
        z = crossent.log_softmax(x, axis=1)
        return -z[np.arange(n), target].mean()

    made = subject(only_pairs, "cross_entropy")
    assert (made.kinds, made.ndims) == (("index",), ("2",))
    assert made.layouts == tuple(LAYOUTS)
    report = conformance_report(only_pairs, "cross_entropy", laws=["gradient_rows_sum_to_zero"], seed=1)
    assert "Not tested, as it was refused: logits of shape [3] (ValueError" in report.text()
    report = conformance_report(only_pairs, "cross_entropy", max_examples=5, seed=1)
    reasons = {v.law.name: v.reason for v in report.verdicts if v.reason}
    assert reasons["the_class_axis_may_be_anywhere"] == "needs logits of 1 or 3 or 4 dimensions"
    assert reasons["ignored_is_dropped"] == "needs where or ignore_index"


def strict(x, target):
    """Takes float arrays in order, of two dimensions, and int64 labels."""
    if not (x.flags.c_contiguous and x.dtype.isnative and x.ndim == 2 and target.dtype == np.int64):
        raise TypeError("not for me")
    return float(crossent.cross_entropy(x, target))


def test_subject__strict_functions_are_no_wrong_ones():
    """A kernel behind a foreign interface refuses what it was not written for: loud is not wrong."""
    report = conformance_report(strict, "cross_entropy", max_examples=4, seed=1)
    assert report.ok, report.text()
    labels = "labels of dtype int8, uint8, int16, uint16, int32, uint32, uint64"
    for what in (labels, "transposed, strided, reversed, byte-swapped arrays", ", [5, 3, 2, 4]"):
        assert f"{what} (TypeError: not for me)" in report.text()


def test_subject__logits_of_two_dimensions_may_be_named():
    """A function that does not look at the shape gives something for any."""

    def softmax(x):
        e = np.exp(x.astype(np.longdouble) - x.max(axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True)).astype(x.dtype)

    laws = ["value_is_the_definition", "the_class_axis_may_be_anywhere"]
    given = {"laws": laws, "max_examples": 12, "seed": 1}
    assert not conformance_report(softmax, "softmax", supports=(), **given).ok
    named = conformance_report(softmax, "softmax", supports=["ndim=2"], **given)
    assert [v.word for v in named.verdicts] == ["holds", "passed over"]


def test_subject__what_always_raises_is_broken():
    """A function that takes nothing at all was not refused this or that."""

    def broken(x, target):
        raise RuntimeError("out of memory")

    (absent,) = subject(broken, "cross_entropy").absent
    assert absent.startswith("even a plain call, broken(np.array([[0.5, ")
    assert absent.endswith(" (RuntimeError: out of memory)")
    laws = ["value_is_the_definition"]
    with pytest.raises(ConformanceError, match="RuntimeError: out of memory"):
        assert_conforms(broken, "cross_entropy", laws=laws, max_examples=2, seed=1)


def test_correct_implementations__may_have_nan_or_0_where_the_mean_of_nothing_picks_nothing():
    """The contract says neither: 0 / 0 of what is not picked is either left alone or divided as well."""

    def all_of_it(x, target, weight=None):
        grad = crossent.nll_loss_grad(x, target, weight=weight)
        return np.full_like(grad, np.nan) if np.isnan(grad).any() else grad

    def value(x, target, weight=None):
        return crossent.nll_loss(x, target, weight=weight)

    laws = ["the_mean_of_nothing_is_nan"]
    assert_conforms(value, "nll_loss", grad=all_of_it, laws=laws, max_examples=8, seed=1)
    assert_conforms(value, "nll_loss", grad=crossent.nll_loss_grad, laws=laws, max_examples=8, seed=1)


def test_subject__probabilities_alone_are_a_function_too():
    """Distillation has no indices."""

    def soft(x, target):
        if target.shape != x.shape or target.dtype.kind != "f":
            raise ValueError("probabilities")
        return crossent.cross_entropy(x, target)

    made = subject(soft, "cross_entropy")
    assert made.kinds == ("probability",)
    assert "class indices as targets (ValueError: probabilities)" in made.absent
    report = conformance_report(soft, "cross_entropy", max_examples=4, seed=1)
    assert report.ok, report.text()


def test_subject__a_kind_of_target_that_is_named_is_tested():
    """Who names probabilities has them, and is told when they fail."""

    def indices_only(x, target, **options):
        if target.dtype.kind == "f":
            raise TypeError("no")
        return crossent.cross_entropy(x, target, **options)

    names = ["reduction", "probabilities"]
    report = conformance_report(indices_only, "cross_entropy", supports=names, max_examples=5, seed=1)
    value = next(v for v in report.verdicts if v.law.name == "value_is_the_definition")
    assert value.counterexample.came == "TypeError: no"
    assert value.counterexample.due == "a result"
    kept = {v.law.name: v.reason for v in report.verdicts}
    assert kept["labels_out_of_range_are_refused"] == "needs index targets"


def test_subject__a_reduction_may_be_fixed():
    """Losses a position are what many functions return."""

    def losses(x, target):
        return crossent.cross_entropy(x, target, reduction="none")

    report = conformance_report(losses, "cross_entropy", supports="reduction=none", max_examples=5, seed=1)
    assert report.ok, report.text()
    reasons = {v.law.name: v.reason for v in report.verdicts if v.reason}
    assert reasons["long_sums_survive"] == "needs reduction=mean or sum"
    assert not conformance_report(losses, "cross_entropy", supports=(), max_examples=5, seed=1).ok


def test_subject__results_may_be_anything_that_numpy_converts():
    """Lists, Decimals, integers, wider floats; not complex numbers."""
    due = {"laws": ["value_is_the_definition"], "max_examples": 5, "seed": 1, "supports": ()}
    assert_conforms(lambda x: crossent.softplus(x).tolist(), "softplus", **due)
    assert_conforms(crossent.exact.softplus, "softplus", **due)
    assert_conforms(lambda x: crossent.softplus(x.astype(np.longdouble)), "softplus", **due)
    assert_conforms(
        lambda x: np.ones_like(x, int) - 1, "softplus", **{**due, "laws": ["inputs_are_not_written_to"]}
    )
    with pytest.raises(ConformanceError, match=r"came: +returned ndarray of complex128"):
        assert_conforms(lambda x: crossent.softplus(x) + 0j, "softplus", **{**due, "dtypes": "float64"})


def test_subject__whole_numbers_may_be_refused():
    """To take floats alone is no wrong answer; and without float64 there is nothing to compare with."""

    def floats_only(x):
        if np.asarray(x).dtype.kind != "f":
            raise TypeError("floats only")
        return crossent.softplus(x)

    for dtypes in (["float64"], ["float32"]):
        assert_conforms(
            floats_only, "softplus", laws=["whole_numbers_are_numbers"], dtypes=dtypes, max_examples=3
        )


def test_subject__a_tolerance_relaxes_digits_and_bits():
    """In ulp, for values and gradients each."""
    rng = np.random.default_rng(0)

    def rough(x):
        with np.errstate(under="ignore"):
            return crossent.softplus(x) * (1 + 20 * np.finfo(x.dtype).eps * rng.uniform(-1, 1))

    given = {"max_examples": 10, "seed": 1, "laws": ["value_is_the_definition", "a_row_stands_alone"]}
    report = conformance_report(rough, "softplus", **given)
    assert [v.word for v in report.verdicts] == ["broken", "broken"]
    assert_conforms(rough, "softplus", tolerance=50, **given)
    assert_conforms(rough, "softplus", tolerance=(50, 6), **given)
    assert not conformance_report(rough, "softplus", tolerance=(4, 50), **given).ok


def almost(x):
    """Right, but for a last digit or two in a place that is seldom drawn."""
    v = np.asarray(crossent.softplus(x))
    return np.where((np.asarray(x) > 1.2) & (np.asarray(x) < 1.7), v * (1 + 40 * np.finfo(v.dtype).eps), v)


def test_report__a_digit_that_is_met_late_is_told_as_a_digit():
    """Where the law about digits did not meet the call, another one does: it is not about what that says."""

    def check(made, call):
        made.check(Call("softplus", np.full(1, 1.5)))

    about = next(law for law in LAWS if law.name == "nan_stays_in_its_position")
    other = replace(about, name="other", check=check)
    laws = ["value_is_the_definition", other]
    given = {"laws": laws, "dtypes": ["float64"], "max_examples": 1, "seed": 3}
    report = conformance_report(almost, "softplus", **given)
    words = {v.law.name: v.word for v in report.verdicts}
    assert words == {"value_is_the_definition": "broken", "other": "holds"}
    assert not report.keeps_digits
    assert report.verdicts[0].counterexample.call == "almost(np.array([1.5]))"
    tests = conformance_tests(almost, "softplus", **given)()
    tests.test_value_is_the_definition()
    with pytest.raises(ConformanceError, match="value_is_the_definition"):
        tests.test_other()
    tests.test_other()


def test_report__what_is_no_digit_is_told_by_its_own_law():
    """A function that keeps its digits, and breaks something else."""

    def check(made, call):
        raise Broken(Call("softplus", np.full(1, 1.5)), "value", "told apart")

    other = replace(next(law for law in LAWS if law.mode == "half"), name="other", check=check)
    report = conformance_report(crossent.softplus, "softplus", laws=[other], max_examples=2, seed=3)
    assert [v.word for v in report.verdicts] == ["broken"]
    assert report.keeps_digits


@pytest.mark.parametrize(
    ("error", "match", "changed"),
    [
        (ValueError, "spec must be one of logsumexp, ", {"spec": "hinge"}),
        (ValueError, "supports may hold axis, keepdims, grad_output", {"supports": ["weight"]}),
        (ValueError, "supports may hold", {"supports": ["axis=0"]}),
        (
            ValueError,
            "dtypes must be among float16, float32, float64, got longdouble",
            {"dtypes": ["longdouble"]},
        ),
        (ValueError, "at least one dtype", {"dtypes": []}),
        (ValueError, "tolerance must be ulps", {"tolerance": -1}),
        (
            ValueError,
            "there is no law 'gravity': the laws are value_is_the_definition, ",
            {"laws": ["gravity"]},
        ),
        (ValueError, "max_examples must be at least 1, got 0", {"max_examples": 0}),
        (ValueError, "tolerance must be ulps, one number or two", {"tolerance": (1, 2, 3)}),
        (
            ValueError,
            "reduction=none, ndim=2.*got reduction=avg",
            {"spec": "nll_loss", "supports": ["reduction=avg"]},
        ),
        (TypeError, "must be functions", {"implementation": 3}),
        (TypeError, "must be functions", {"grad": 3}),
    ],
)
def test_assert_conforms__refuses_what_it_cannot_do(error, match, changed):
    """A typing mistake must not pass for conformance."""
    given = {"implementation": crossent.logsumexp, "spec": "logsumexp", **changed}
    if "longdouble" in given.get("dtypes", []):
        match = match.replace("longdouble", np.dtype(np.longdouble).name)
    with pytest.raises(error, match=match):
        assert_conforms(**given)


def test_conformance_tests__refuse_a_wrong_name_at_once():
    """Not when the first test is run."""
    with pytest.raises(ValueError, match="spec must be one of"):
        conformance_tests(crossent.softmax, "softmin")
    law = LAWS[0]
    assert list(vars(conformance_tests(crossent.softmax, "softmax", laws=[law])))[1] == f"test_{law.name}"
    assert kit._chosen(law.name) == (law,)


# ---------------------------------------------------------------------------------------
# comparing


@pytest.mark.parametrize(
    ("came", "due", "options", "problem"),
    [
        (1 + 4e-16, 1, {}, ""),
        (1 + 2e-15, 1, {}, "ulp away"),
        (np.nan, 1, {}, "NaN"),
        (1.0, "NaN", {}, "not NaN"),
        (np.nan, "NaN", {}, ""),
        (np.inf, "Infinity", {}, ""),
        (-np.inf, "Infinity", {}, "wrong sign"),
        (1e308, "Infinity", {}, "not infinite"),
        (np.inf, 1, {}, "infinite"),
        (1e-300, 0, {}, "not 0"),
        (1e-17, 0, {"scale": 1}, ""),
        (1e-10, 0, {"scale": 1}, "ulp away"),
        (np.inf, "1e309", {}, ""),
        (np.finfo(float).max, "1e309", {}, ""),
        (1e300, "1e309", {}, "not infinite"),
        (-np.inf, "1e309", {}, "wrong sign"),
        (0.0, "1e-310", {}, ""),
        (1e-300, "1e-310", {}, "not small"),
        (1e-20, "1.1e-20", {"least": "1e-320", "scale": 1}, ""),
        (1.0, "1e-30", {"least": "1e-320"}, "not small"),
        (1e300, "1e-300", {}, "ulp away"),
    ],
)
def test_check_digits__tells_right_from_wrong(came, due, options, problem):
    """One case a branch of the comparison that all laws stand on."""
    exact_due = np.array([Decimal(due)], object)
    scale = np.array([Decimal(options.get("scale", 0))], object)
    scale = np.maximum(scale, abs(exact_due)) if exact_due[0].is_finite() else exact_due
    least = np.array([Decimal(options["least"])], object) if "least" in options else None

    def check():
        call = Call("softplus", np.zeros(1))
        compare.check_digits(call, "value", np.array([came]), exact_due, scale=scale, least=least, limit=4)

    if problem:
        with pytest.raises(Broken, match=problem):
            check()
    else:
        check()


def test_check_digits__measures_near_powers_of_two():
    """Where the quick estimate may be off by a factor of two, the exact distance decides."""
    due = Decimal(1) - Decimal(2) ** -80  # rounds to 1, but its ulps are those below
    for ulps, right in ((4, True), (5, False)):
        came = decimals(1 - ulps * 2.0**-53)[()]
        distance = compare._distance(came, due, due, 4.0, np.dtype(float))
        assert (distance <= 4) == right
    assert compare._distance(Decimal(1), Decimal(0), Decimal(0), 4.0, np.dtype(float)) == np.inf
    assert compare._distance(Decimal("1e400"), Decimal(1), Decimal(1), 4.0, np.dtype(float)) == np.inf


@pytest.mark.parametrize("spec", SPECS)
def test_subject__sees_a_wrong_shape(spec):
    """One number too many is told as such, by every law, and never an error of the kit's own."""

    def column(x, *rest, **options):
        return np.expand_dims(getattr(crossent, spec)(x, *rest, **options), -1)

    report = conformance_report(column, spec, supports=OPTIONS[spec], max_examples=2, seed=0)
    told = {v.law.name: v.counterexample for v in report.broken}
    assert told["value_is_the_definition"].problem == "value: wrong shape"
    assert not [name for name, c in told.items() if "wrong shape" not in c.problem]
    assert {law.name for law in LAWS if spec in law.specs and law.gradient} == {
        v.law.name for v in report.verdicts if v.reason == "no gradient was given"
    }


def test_check_bits__sees_every_bit():
    """NaN is NaN, 0 is not -0."""
    call = Call("softplus", np.zeros(2))
    compare.check_bits(call, "value", np.array([np.nan, 0.0]), np.array([np.nan, 0.0]), "")
    for other in (np.array([np.nan, -0.0]), np.array([0.0, 0.0])):
        with pytest.raises(Broken):
            compare.check_bits(call, "value", other, np.array([np.nan, 0.0]), "not the same")
    with pytest.raises(Broken, match=r"^value: not the same; came 1.0, due 2.0$"):
        compare.check_bits(call, "value", np.float64(1.0), np.float64(2.0), "not the same")


@settings(max_examples=4)
@pytest.mark.parametrize("spec", SPECS)
@given(data=__import__("hypothesis").strategies.data())
def test_truth__is_the_definition(spec, data):
    """What the laws compare with is what the textbook says."""
    call = data.draw(loss_calls(spec, without=("dtype",)))
    definition = getattr(crossent.exact, spec)
    due = np.asarray(definition(*call.arguments, **call.options, digits=50), object)
    came = exact(call).value
    assert came.shape == due.shape
    for a, b in zip(came.ravel(), due.ravel(), strict=True):
        same = a == b or (a.is_nan() and b.is_nan()) or abs(a - b) <= abs(b) * Decimal("1e-45")
        assert same, (a, b)


# ---------------------------------------------------------------------------------------
# making calls small


def _law(check, **fields):
    from crossent.testing import Law

    return Law("a_law", "why", "formula", check, SPECS, {}, **fields)


def test_smallest__drops_what_does_not_matter():
    """From a drawn call to the one number, the one option, that breaks the law."""
    x = np.array([[0.3, 2.7, -1.4], [5.1, 0.2, 9.9], [1.3, 1.1, 1.2]])
    options = {
        "weight": np.array([0.7, 1.3, 2.1]),
        "where": np.array([True, True, False]),
        "reduction": "sum",
    }
    call = Call("cross_entropy", x, np.array([0, 1, 2]), options, np.array(0.3))

    def check(made, call):
        if (call.x > 5).any() and "where" in call.options:
            raise Broken(call, "value", "large")

    made = subject(crossent.cross_entropy, "cross_entropy", grad=crossent.cross_entropy_grad)
    small, broken = shrinking.smallest(_law(check), made, call, Broken(call, "value", "large"))
    assert broken.problem == "large"
    assert small.x.shape in {(1, 1), (1, 2)}
    assert set(small.options) == {"where"}
    assert small.grad_output is None
    assert set(small.x.ravel().tolist()) <= {0.0, 9.9, 10.0}


def test_smallest__makes_what_is_needed_small():
    """Weights, soft targets and masks that matter are kept, with fewer and rounder numbers."""
    rng = np.random.default_rng(0)
    q = rng.uniform(size=(3, 4))
    options = {"weight": rng.uniform(size=4), "where": np.array([True])}
    call = Call(
        "cross_entropy", rng.normal(size=(3, 4)), q / q.sum(axis=1, keepdims=True), options, np.array(2.57)
    )

    def check(made, call):
        needed = call.grad_output is not None and not call.index and {"weight", "where"} <= set(call.options)
        if needed and call.x.shape[1] > 1:
            raise Broken(call, "value", "wrong")

    made = subject(crossent.cross_entropy, "cross_entropy", grad=crossent.cross_entropy_grad)
    small, _ = shrinking.smallest(_law(check), made, call, Broken(call, "value", "wrong"))
    assert small.x.shape == small.target.shape == (1, 2)
    assert not small.x.any()
    assert small.options["weight"].tolist() in ([0.0, 0.0], [1.0, 1.0])
    assert small.grad_output in (0, 1)
    assert len(repr(small)) < 160


@pytest.mark.parametrize("spec", SPECS)
def test_smallest__ends_at_the_smallest_call(spec):
    """A law that everything breaks is broken by next to nothing, whatever was drawn."""
    made = subject(getattr(crossent, spec), spec, grad=getattr(crossent, f"{spec}_grad"))

    def check(made, call):
        assert call.x.size  # a law may ask for something
        raise Broken(call, "value", "always")

    @settings(max_examples=10)
    @given(loss_calls(spec))
    def every(call):
        small, _ = shrinking.smallest(_law(check), made, call, Broken(call, "value", "always"))
        assert small.x.size == 1
        assert not small.options or spec == BINARY
        assert small.grad_output is None

    every()


@settings(max_examples=10)
@given(loss_calls(BINARY, always=["weight", "pos_weight", "where"]))
def test_smallest__keeps_options_that_are_broadcast(call):
    """A weight of one number, or of a column, is one of many when rows are taken away."""
    made = subject(getattr(crossent, BINARY), BINARY)

    def check(made, call):
        if {"weight", "pos_weight", "where"} <= set(call.options):
            made.value(call)
            raise Broken(call, "value", "always")

    small, _ = shrinking.smallest(_law(check), made, call, Broken(call, "value", "always"))
    assert small.x.size == 1


def test_smallest__keeps_to_the_same_failure():
    """A wrong number must not become a crash of something else, nor a crash of the law itself."""
    call = Call("softplus", np.array([3.0, 4.0]))

    def check(made, call):
        if len(call.x) < 2:
            raise IndexError("a law of two")
        raise Broken(call, "value", "wrong", raised=bool((call.x == 0).any()))

    made = subject(crossent.softplus, "softplus")
    small, _ = shrinking.smallest(_law(check), made, call, Broken(call, "value", "wrong"))
    assert small.x.size == 2
    assert (small.x != 0).all()


def test_smallest__gives_up_after_so_many_tries(monkeypatch):
    """Slow functions are not called for ever."""
    monkeypatch.setattr(shrinking, "_TRIES", 3)
    seen = []

    def check(made, call):
        seen.append(call)

    call = Call("softplus", np.array([3.7, 4.6, 5.1, 0.2]))
    made = subject(crossent.softplus, "softplus")
    small, _ = shrinking.smallest(_law(check), made, call, Broken(call, "value", "wrong"))
    assert small is call
    assert len(seen) == 3


def test_fractions_are_numbers_too():
    """A function may return Fractions."""
    assert_conforms(
        lambda x: np.array([Fraction(float(v)) for v in np.ravel(crossent.softplus(x))], object).reshape(
            x.shape
        ),
        "softplus",
        laws=["a_row_stands_alone"],
        max_examples=5,
        seed=1,
        supports=(),
    )
