"""What a report says, to the letter, as text, Markdown and JSON; and how the laws are run one by one."""

import json
import os
import platform
import unittest
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.database import InMemoryExampleDatabase

import crossent
import crossent.testing.conformance as kit
from crossent.testing import (
    LAWS,
    Broken,
    Call,
    ConformanceError,
    Law,
    assert_conforms,
    conformance_report,
    conformance_tests,
)
from crossent.testing._calls import SPECS
from crossent.testing._report import ConformanceReport, Counterexample, Verdict, explained, settings_of
from crossent.testing._subject import Subject
from crossent.testing._trials import subject

# -- one report by hand ------------------------------------------------------------------------------


def law(name, check=lambda made, call: None, **fields):
    return Law(name, f"Why {name}.", f"{name} = 0", check, ("softplus",), {}, **fields)


def counterexample():
    broken = Broken(Call("softplus", np.array([1.0])), "value", "not 0 at [0]", "1.0", "0")
    return Counterexample("f(np.array([1.0]))", "value: not 0 at [0]", "1.0", "0", broken)


SETTINGS = {"dtypes": ["float32", "float64"], "seed": 7, "supports": ["axis", "where"]}
VERDICTS = (
    Verdict(law("one"), 12),
    Verdict(law("two"), 3, counterexample()),
    Verdict(law("three"), 0, reason="needs where"),
    Verdict(law("four"), 1, replace(counterexample(), problem="value: infinite")),
)
REPORT = ConformanceReport("f", "softplus", VERDICTS, SETTINGS, ("labels (E: no)", "lists (E: no)"), False)
GOOD = ConformanceReport("f", "softplus", VERDICTS[:1], {**SETTINGS, "supports": []})

SUMMARY = "f breaks 2 of 3 laws of softplus (float32, float64, seed 7)"
NOTES = """\
Options that it was called with: axis, where.
Not tested, as it was refused: labels (E: no).
Not tested, as it was refused: lists (E: no).
The digits are not those of the contract: laws about something else were held to half of them."""
FOUND = """\
1. two
   why:  Why two.
   law:  two = 0
   call: f(np.array([1.0]))
   value: not 0 at [0]
   came: 1.0
   due:  0

2. four
   why:  Why four.
   law:  four = 0
   call: f(np.array([1.0]))
   value: infinite
   came: 1.0
   due:  0"""
TEXT = f"""\
{SUMMARY}

{FOUND}

      holds  one (12 examples)
     broken  two: value: not 0 at [0]
passed over  three: needs where
     broken  four: value: infinite
{NOTES}"""
MARKDOWN = f"""\
# f as softplus

{SUMMARY}.

| law | verdict | examples |
|---|---|---:|
| `one` | holds | 12 |
| `two` | **broken** | 3 |
| `three` | passed over: needs where |  |
| `four` | **broken** | 1 |

{NOTES}

## two

Why two.

`two = 0`

value: not 0 at [0]:

```python
f(np.array([1.0]))
# came: 1.0
# due:  0
```

## four

Why four.

`four = 0`

value: infinite:

```python
f(np.array([1.0]))
# came: 1.0
# due:  0
```
"""


def test_report__as_text():
    """For a terminal, and as the message of the error, which needs no table."""
    assert REPORT.text() == str(REPORT) == TEXT
    error = ConformanceError(REPORT)
    assert str(error) == f"{SUMMARY}\n\n{FOUND}"
    assert error.report is REPORT
    assert GOOD.text() == (
        "f keeps all 1 laws of softplus (float32, float64, seed 7)\n\n"
        "      holds  one (12 examples)\nOptions that it was called with: none."
    )


def test_report__as_markdown():
    """For a page, with the calls to paste."""
    assert REPORT.markdown() == MARKDOWN
    assert GOOD.markdown().endswith("| `one` | holds | 12 |\n\nOptions that it was called with: none.\n")


def test_report__as_json():
    """For programs, and indented for people."""
    told = {"call": "f(np.array([1.0]))", "came": "1.0", "due": "0"}
    laws = [
        {"law": "one", "verdict": "holds", "examples": 12},
        {
            "law": "two", "verdict": "broken", "examples": 3, "why": "Why two.", "formula": "two = 0",
            "problem": "value: not 0 at [0]", **told,
        },
        {"law": "three", "verdict": "passed over", "examples": 0, "reason": "needs where"},
        {
            "law": "four", "verdict": "broken", "examples": 1, "why": "Why four.", "formula": "four = 0",
            "problem": "value: infinite", **told,
        },
    ]  # fmt: skip
    whole = {
        "implementation": "f", "spec": "softplus", "conforms": False, "settings": SETTINGS,
        "not_tested": ["labels (E: no)", "lists (E: no)"], "keeps_digits": False, "laws": laws,
    }  # fmt: skip
    assert json.loads(REPORT.json()) == whole
    assert REPORT.json().startswith('{\n  "implementation": "f",\n')
    good = json.loads(GOOD.json())
    assert (good["conforms"], good["keeps_digits"], good["not_tested"]) == (True, True, [])


def test_report__long_reasons_are_wrapped():
    """To 100 columns, under the first word."""
    verdict = replace(VERDICTS[1], law=replace(VERDICTS[1].law, why="word " * 30))
    lines = explained(verdict).splitlines()
    assert lines[1] == "   why:  " + " ".join(["word"] * 18)
    assert lines[2] == "         " + " ".join(["word"] * 12)


def test_report__settings_are_enough_to_repeat_it():
    """With versions, for whoever cannot."""
    made = Subject(
        "nll_loss", len, supports=frozenset({"where", "axis"}), fixed={"reduction": "sum"},
        dtypes=("float16",), tolerance=(3.0, 4.0),
    )  # fmt: skip
    assert settings_of(made, 9, 5) == {
        "seed": 5, "max_examples": 9, "dtypes": ["float16"], "supports": ["axis", "where"],
        "fixed": {"reduction": "sum"}, "tolerance": [3.0, 4.0], "numpy": np.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
    assert settings_of(replace(made, tolerance=None), 9, 5)["tolerance"] is None


def test_report__names_the_function_whose_call_it_shows():
    """The gradient's, if that is what is wrong; what cannot be pasted is called `f` or `gradient`."""

    def double(x, grad_output=None):
        return 2 * crossent.softplus_grad(x, grad_output=grad_output)

    call = Call("softplus", np.array([0.5]), None, {}, np.array([2.0]))
    texts = {}
    for f, grad in ((crossent.softplus, double), (lambda x: x, lambda x: x)):
        made = Subject("softplus", f, grad)
        for quantity in ("value", "gradient"):
            broken = Broken(call, quantity, "wrong", "1", "2")
            told = Counterexample.of(broken, made)
            assert (told.problem, told.came, told.due) == (f"{quantity}: wrong", "1", "2")
            assert told.broken is broken
            texts[f.__name__, quantity] = told.call
    assert texts == {
        ("softplus", "value"): "softplus(np.array([0.5]))",
        ("softplus", "gradient"): "double(np.array([0.5]), grad_output=np.array([2.0]))",
        ("<lambda>", "value"): "f(np.array([0.5]))",
        ("<lambda>", "gradient"): "gradient(np.array([0.5]), grad_output=np.array([2.0]))",
    }


# -- running laws --------------------------------------------------------------------------------------


def test_examined__counts_the_examples_up_to_the_first_that_breaks_it():
    """The same seed draws the same calls; after the first wrong one only smaller calls are tried."""
    made, seen = subject(crossent.softplus, "softplus"), []

    def keep(made, call):
        seen.append(call)

    verdict = kit.examine(law("quiet", keep), made, 9, 4)
    assert (verdict.examples, verdict.word, verdict.reason) == (9, "holds", "")
    assert len(seen) == 9
    first = [call.text() for call in seen]
    seen.clear()
    assert kit.examine(law("quiet", keep, most=3), made, 9, 4).examples == 3
    kit.examine(law("quiet", keep, most=20), made, 9, 4)
    assert [call.text() for call in seen] == first[:3] + first
    seen.clear()
    kit.examine(law("quiet", keep), made, 9, 5)
    assert [call.text() for call in seen] != first

    def third(made, call):
        if any(call.text() == text for text in first[2:]) or call.x.size == 0:
            raise Broken(call, "value", "met", "1", "2")

    verdict = kit.examine(law("loud", third), made, 9, 4)
    assert (verdict.examples, verdict.word) == (3, "broken")
    assert verdict.counterexample.problem == "value: met"
    passed = kit.examine(law("gradients", keep, gradient=True), made, 9, 4)
    assert (passed.law.name, passed.examples) == ("gradients", 0)
    assert passed.reason == "no gradient was given"


def test_examined__shows_the_smallest_call():
    """Tried on the same law and the same function."""

    def large(made, call):
        if made.value(call).max() > 2:
            raise Broken(call, "value", "large")

    made = subject(crossent.softplus, "softplus", dtypes=["float64"])
    verdict = kit.examine(law("large", large), made, 50, 1)
    call = verdict.counterexample.broken.call
    assert call.x.size == 1
    assert float(f"{call.x.item():.0e}") == call.x.item()
    assert verdict.counterexample.call == call.text("softplus")


@pytest.fixture
def strangers_profile():
    """Settings of Hypothesis that would spoil every run."""
    database = InMemoryExampleDatabase()
    settings.register_profile(
        "strangers", database=database, deadline=timedelta(microseconds=1), max_examples=1,
        suppress_health_check=[],
    )  # fmt: skip
    settings.load_profile("strangers")
    yield database
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "crossent"))


def test_examined__under_anybodys_settings_of_hypothesis(strangers_profile):
    """Nothing is stored, and nothing is too slow."""
    made = subject(crossent.softplus, "softplus")
    assert kit.examine(law("quiet"), made, 9, 4).examples == 9
    kit.examine(law("never", never), made, 9, 4)
    assert not strangers_profile.data


def test_examined__draws_of_what_the_law_and_the_function_have():
    """Dtypes of the function, keywords of the law."""
    made, seen = subject(crossent.softmax, "softmax", dtypes=["float16"]), []

    def keep(made, call):
        seen.append(call)

    about = Law("narrow", "Why.", "a", keep, ("softmax",), {"ndims": ("2",), "min_rows": 3})
    kit.examine(about, made, 20, 1)
    assert {call.x.dtype.name for call in seen} == {"float16"}
    assert {call.x.ndim for call in seen} == {2}
    assert min(np.prod(call.positions) for call in seen) >= 3
    assert {call.function for call in seen} == {"softmax"}


def wrong(x):
    return crossent.softplus(x) + 1


def test_reports__hold_laws_about_something_else_to_half_of_the_digits():
    """If the digits are not those that are owed; otherwise to all of them."""
    modes = {}

    def look(made, call):
        modes[made.name] = made.mode

    for mode in ("structure", "half"):
        for f in (crossent.softplus, wrong):
            options = {"laws": [law("other", look, mode=mode)], "max_examples": 2, "seed": 1}
            report = conformance_report(f, "softplus", **options)
            assert report.keeps_digits == (f is not wrong)
        assert modes == {"softplus": "digits", "wrong": mode}


def test_reports__are_told_as_they_come():
    """In the order that was asked for, each law once."""
    told = []
    names = ["inputs_are_not_written_to", "value_is_the_definition"]
    report = conformance_report(
        wrong, "softplus", laws=names, max_examples=3, seed=1, dtypes=["float64"], progress=told.append
    )
    assert [v.law.name for v in told] == [v.law.name for v in report.verdicts] == names
    assert [v.word for v in report.verdicts] == ["holds", "broken"]
    assert (report.name, report.spec, report.absent) == ("wrong", "softplus", ())
    assert (report.settings["seed"], report.settings["max_examples"]) == (1, 3)
    assert report.settings["dtypes"] == ["float64"]
    assert not report.keeps_digits


def test_reports__draw_a_seed_of_their_own(monkeypatch):
    """Of 32 bits, and it is named."""
    options = {"laws": ["nan_stays_in_its_position"], "max_examples": 1}
    monkeypatch.setattr(kit.secrets, "randbelow", lambda n: n - 1)
    assert conformance_report(crossent.sigmoid, "sigmoid", **options).settings["seed"] == 2**32 - 1
    assert conformance_report(crossent.sigmoid, "sigmoid", seed=0, **options).settings["seed"] == 0


def test_reports__of_the_same_seed_are_of_the_same_calls():
    """So that what was found is found again."""
    drawn = []
    for seed in (1, 1, 2):
        drawn.append([])
        about = [law("look", lambda made, call: drawn[-1].append(call.text()))]
        conformance_report(crossent.softplus, "softplus", laws=about, max_examples=6, seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]


def test_conformance_tests__have_the_names_of_laws_and_say_why():
    """As pytest shows them; a law that says nothing is skipped with the reason."""
    options = {"max_examples": 2, "seed": 1, "dtypes": ["float64"], "tolerance": (9.0, 8.0), "supports": ()}
    tests = conformance_tests(wrong, "softplus", **options)
    about = [law for law in LAWS if "softplus" in law.specs]
    assert (tests.__name__, tests.__doc__) == ("TestConformance", "The laws of softplus.")
    assert [name for name in vars(tests) if name.startswith("test_")] == [f"test_{one.name}" for one in about]
    for one in about:
        test = vars(tests)[f"test_{one.name}"]
        assert test.__name__ == test.__qualname__ == f"test_{one.name}"
        assert test.__doc__ == one.why
    made = tests()
    with pytest.raises(unittest.SkipTest, match=r"^no gradient was given$"):
        made.test_gradient_is_the_definition()
    with pytest.raises(ConformanceError) as caught:
        made.test_value_is_the_definition()
    report = caught.value.report
    assert [v.law.name for v in report.verdicts] == ["value_is_the_definition"]
    assert report.settings["tolerance"] == [9.0, 8.0]
    assert report.settings["dtypes"] == ["float64"]
    assert (report.settings["max_examples"], report.settings["seed"]) == (2, 1)
    graded = conformance_tests(crossent.softplus, "softplus", grad=lambda x: 0 * x, max_examples=2, seed=1)()
    with pytest.raises(ConformanceError):
        graded.test_gradient_is_the_definition()


def almost(x):
    """Right, but for a few digits in a place that is seldom drawn."""
    v = np.asarray(crossent.softplus(x))
    return np.where((np.asarray(x) > 1.2) & (np.asarray(x) < 1.7), v * (1 + 40 * np.finfo(v.dtype).eps), v)


def test_conformance_tests__tell_what_is_more_than_digits_by_the_law_itself():
    """The digits of the call that breaks it are no news then."""

    def check(made, call):
        call = Call("softplus", np.full(1, 1.5))
        made.check(call)
        if made.mode == "structure":
            raise Broken(call, "value", "mine")

    options = {"laws": ["value_is_the_definition", law("other", check)], "max_examples": 1, "seed": 3}
    tests = conformance_tests(almost, "softplus", dtypes=["float64"], **options)()
    tests.test_value_is_the_definition()
    with pytest.raises(ConformanceError) as caught:
        tests.test_other()
    told = {v.law.name: v.counterexample.problem for v in caught.value.report.broken}
    assert told == {"other": "value: mine"}


def test_laws__that_ask_for_digits_of_their_own_are_told_by_themselves():
    """Where the laws about digits keep silent about the call."""

    def check(made, call):
        if made.mode == "digits":
            raise Broken(call, "value", "too few for me")

    laws = ["value_is_the_definition", law("other", check)]
    report = conformance_report(crossent.softplus, "softplus", laws=laws, max_examples=2, seed=3)
    assert [v.law.name for v in report.broken] == ["other"]
    assert report.keeps_digits


def test_laws__that_find_no_call_to_ask_for_are_passed_over():
    """A function of two dimensions without an axis has no place for many positions."""

    def rows(x):
        if x.ndim != 2:
            raise ValueError("two dimensions")
        return crossent.softmax(x)

    report = conformance_report(rows, "softmax", laws=["many_positions_are_rows"], seed=0)
    (verdict,) = report.verdicts
    assert (verdict.word, verdict.reason) == ("passed over", "asks for calls that it does not take")


def never(made, call):
    """A law that nothing keeps."""
    raise Broken(call, "gradient", "never")


def three_ways(f, spec, **options):
    """The reports of the three functions."""
    yield conformance_report(f, spec, **options)
    for test in (
        lambda: assert_conforms(f, spec, **options),
        lambda: conformance_tests(f, spec, **options)().test_never(),
    ):
        with pytest.raises(ConformanceError) as caught:
            test()
        yield caught.value.report


def test_laws__are_tried_on_100_calls_in_two_dtypes_by_default():
    """By all three functions."""
    for report in three_ways(crossent.softplus, "softplus", laws=[law("never", never)]):
        told = report.settings
        assert (told["max_examples"], told["dtypes"]) == (100, ["float32", "float64"])
        assert told["tolerance"] is None


def test_laws__are_tried_as_they_are_asked_to_be():
    """By all three functions: the gradient, options, dtypes, limits, examples and the seed are passed on."""
    options = {
        "grad": crossent.softplus_grad, "supports": [], "dtypes": ["float16"],
        "tolerance": (9.0, 8.0), "laws": [law("never", never, gradient=True)], "max_examples": 7, "seed": 5,
    }  # fmt: skip
    for report in three_ways(crossent.softplus, "softplus", **options):
        (verdict,) = report.verdicts
        assert verdict.counterexample.call.startswith("softplus_grad(")
        told = report.settings
        assert (told["supports"], told["dtypes"]) == ([], ["float16"])
        assert (told["tolerance"], told["max_examples"], told["seed"]) == ([9, 8], 7, 5)


def test_laws__of_a_function_that_there_is_not():
    """Told when the class is made."""
    with pytest.raises(ValueError, match=r"^spec must be") as caught:
        conformance_tests(crossent.softmax, "softmin")
    assert str(caught.value) == f"spec must be one of {', '.join(SPECS)}, got 'softmin'"


def test_laws__are_chosen_by_name_or_given():
    """One name or several, in any order; those about other functions are left out."""
    mine = law("mine")
    tests = conformance_tests(crossent.softplus, "softplus", laws=[mine, "value_is_the_definition"])
    names = [name for name in vars(tests) if name.startswith("test_")]
    assert names == ["test_mine", "test_value_is_the_definition"]
    one = conformance_tests(crossent.softplus, "softplus", laws="value_is_the_definition")
    assert [name for name in vars(one) if name.startswith("test_")] == ["test_value_is_the_definition"]
    for make in (conformance_tests, conformance_report):
        with pytest.raises(ValueError, match="none of these laws is about softmax"):
            make(crossent.softmax, "softmax", laws=[mine])
    with pytest.raises(ValueError, match=r"^there is no law 'gravity': the laws are ") as caught:
        conformance_tests(crossent.softplus, "softplus", laws=["gravity", mine, "inertia"])
    assert str(caught.value).endswith(", ".join(one.name for one in LAWS))
    with pytest.raises(ValueError, match="'many_row_are_rows': did you mean many_rows_are_rows or "):
        conformance_tests(crossent.softplus, "softplus", laws="many_row_are_rows")
