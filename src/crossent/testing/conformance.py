"""Hold anybody's implementation against the laws: raise, report, or make a class of tests.

`assert_conforms` raises one `ConformanceError` that lists every broken law; `conformance_report` returns
what came of all of them; `conformance_tests` makes a class that pytest collects, one test a law.
"""

from __future__ import annotations

import secrets
import unittest
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from crossent.testing import _laws_digits, _laws_options, _laws_sizes, _laws_special, _laws_symmetry
from crossent.testing._calls import Call
from crossent.testing._compare import Broken
from crossent.testing._hypothesis import hypothesis
from crossent.testing._laws import Law, every_law
from crossent.testing._report import (
    ConformanceError,
    ConformanceReport,
    Counterexample,
    Verdict,
    settings_of,
)
from crossent.testing._smallest import smallest
from crossent.testing._subject import Function, Subject, Tolerance, Unfit
from crossent.testing._trials import asked, subject

__all__ = [
    "LAWS",
    "ConformanceError",
    "ConformanceReport",
    "Law",
    "assert_conforms",
    "conformance_report",
    "conformance_tests",
]

_PAGES = (_laws_digits, _laws_sizes, _laws_symmetry, _laws_options, _laws_special)
LAWS: tuple[Law, ...] = every_law()


def assert_conforms(
    implementation: Function,
    spec: str,
    *,
    grad: Function | None = None,
    supports: Iterable[str] | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    tolerance: Tolerance = None,
    laws: Iterable[str | Law] | None = None,
    max_examples: int = 100,
    seed: int | None = None,
) -> None:
    """Raise `ConformanceError` unless an implementation keeps every law that is about it.

    Parameters
    ----------
    implementation : callable
        ``implementation(x, target, **options)`` (without `target` for functions that have none). It gets
        NumPy arrays and returns anything that NumPy can convert.
    spec : str
        Which function of the contract it is: ``"cross_entropy"``, ``"softmax"``, ...
    grad : callable, optional
        ``grad(x, target, **options)`` returns the gradient of the sum of the value with respect to `x`, or
        of ``sum(grad_output * value)`` if it supports ``"grad_output"``.
    supports : iterable of str, optional
        The options that both have; others are never passed. By default those among their parameters. Beside
        the function's keywords: ``"grad_output"``, ``"indices"`` and ``"probabilities"`` for the kinds
        of targets (by default what is not refused at a trial call; of the binary loss, 0 and 1, and what
        is between),
        ``"reduction=none"`` (or sum) for a function that always reduces in that way, and ``"ndim=2"`` for
        one that takes logits of two dimensions alone (several may be named).
    dtypes : sequence of str
        Dtypes of the logits.
    tolerance : float or (float, float), optional
        Ulps that values and gradients may be away, instead of the contract's four and six (float16: 0.51).
        Results that the laws want in the same bits may then differ as much.
    laws : iterable of str or Law, optional
        Names of the laws to try; all by default. See ``LAWS``.
    max_examples : int
        Calls drawn for each law.
    seed : int, optional
        The same seed draws the same calls. By default a new one, which the message names.

    Raises
    ------
    ConformanceError
        An AssertionError with every broken law, why it matters, the smallest call found, what came and
        what was due; its attribute `report` holds the same as data.
    ValueError
        If `spec`, `supports`, `dtypes`, `tolerance` or `laws` name what there is not.

    Examples
    --------
    >>> import crossent
    >>> from crossent.testing import assert_conforms
    >>> assert_conforms(crossent.softplus, "softplus", grad=crossent.softplus_grad, max_examples=5, seed=1)

    The usual formula loses what is small:

    >>> import numpy as np
    >>> def softplus(x):
    ...     return np.log(1 + np.exp(x))
    >>> assert_conforms(softplus, "softplus", laws=["confident_predictions_keep_their_digits"], seed=1)
    Traceback (most recent call last):
        ...
    crossent.testing._report.ConformanceError: softplus breaks 1 of 1 laws of softplus ...
    """
    report = conformance_report(
        implementation, spec, grad=grad, supports=supports, dtypes=dtypes, tolerance=tolerance, laws=laws,
        max_examples=max_examples, seed=seed,
    )  # fmt: skip
    if not report.ok:
        raise ConformanceError(report)


def conformance_report(
    implementation: Function,
    spec: str,
    *,
    grad: Function | None = None,
    supports: Iterable[str] | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    tolerance: Tolerance = None,
    laws: Iterable[str | Law] | None = None,
    max_examples: int = 100,
    seed: int | None = None,
    progress: Callable[[Verdict], None] | None = None,
) -> ConformanceReport:
    """What came of every law: like `assert_conforms`, without raising.

    Parameters
    ----------
    implementation, spec, grad, supports, dtypes, tolerance, laws, max_examples, seed
        As for `assert_conforms`.
    progress : callable, optional
        Called with the verdict of each law when it is known.

    Returns
    -------
    ConformanceReport
        With the methods `text`, `markdown` and `json`, the verdicts as data, and `ok`.

    Examples
    --------
    >>> import crossent
    >>> from crossent.testing import conformance_report
    >>> report = conformance_report(crossent.sigmoid, "sigmoid", max_examples=5, seed=1)
    >>> report.ok
    True
    """
    made = subject(implementation, spec, grad=grad, supports=supports, dtypes=dtypes, tolerance=tolerance)
    run = _Run(made, max_examples, seed)
    about = _about(spec, laws)
    for each in about:
        verdict = run.verdict(each)
        if progress is not None:
            progress(verdict)
    return run.report([run.verdict(each) for each in about])  # a later law may have met few digits


def conformance_tests(
    implementation: Function,
    spec: str,
    *,
    grad: Function | None = None,
    supports: Iterable[str] | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    tolerance: Tolerance = None,
    laws: Iterable[str | Law] | None = None,
    max_examples: int = 100,
    seed: int | None = None,
) -> type:
    """Make a class of tests that pytest collects under a name that begins with Test, one test a law.

    Parameters
    ----------
    implementation, spec, grad, supports, dtypes, tolerance, laws, max_examples, seed
        As for `assert_conforms`.

    Returns
    -------
    type
        A class with one method a law; a law that says nothing about the implementation is skipped with
        the reason.

    Examples
    --------
    >>> import crossent
    >>> from crossent.testing import conformance_tests
    >>> TestSigmoid = conformance_tests(crossent.sigmoid, "sigmoid", max_examples=5, seed=1)
    >>> TestSigmoid().test_value_is_the_definition()
    """
    made = asked(implementation, spec, grad=grad, supports=supports, dtypes=dtypes, tolerance=tolerance)
    chosen = _about(spec, laws)

    @cache
    def run() -> _Run:
        return _Run(made(), max_examples, seed)

    def test_of(each: Law) -> Callable[[Any], None]:
        def test(self: Any) -> None:
            kept = run().keeps_digits
            verdict = run().verdict(each)
            if verdict.reason:
                raise unittest.SkipTest(verdict.reason)
            told = [verdict]
            if kept and not run().keeps_digits:  # met here, when the tests about digits may be over
                told += [run().verdict(law) for law in LAWS if law.mode == "digits" and law != each]
            if any(v.counterexample for v in told):
                raise ConformanceError(run().report(told))

        test.__name__ = test.__qualname__ = f"test_{each.name}"
        test.__doc__ = each.why
        return test

    methods = {f"test_{each.name}": test_of(each) for each in chosen}
    return type("TestConformance", (), {"__doc__": f"The laws of {spec}.", **methods})


def _about(spec: str, laws: Iterable[str | Law] | None) -> list[Law]:
    """Those of the chosen laws that say something about a function."""
    about = [each for each in _chosen(laws) if spec in each.specs]
    if not about:
        raise ValueError(f"none of these laws is about {spec}")
    return about


def _chosen(laws: Iterable[str | Law] | None) -> tuple[Law, ...]:
    if laws is None:
        return LAWS
    known = {each.name: each for each in LAWS}
    names = [laws] if isinstance(laws, str) else list(laws)
    wrong = [n for n in names if not isinstance(n, Law) and n not in known]
    if wrong:
        near = get_close_matches(str(wrong[0]), known, 3, 0.5)
        meant = f"did you mean {' or '.join(near)}?" if near else f"the laws are {', '.join(known)}"
        raise ValueError(f"there is no law {wrong[0]!r}: {meant}")
    return tuple(known[n] if isinstance(n, str) else n for n in names)


class _Run:
    """Verdicts on one implementation, each law tried once."""

    def __init__(self, made: Subject, max_examples: int, seed: int | None) -> None:
        if max_examples < 1:
            raise ValueError(f"max_examples must be at least 1, got {max_examples}")
        self.made, self.max_examples = made, max_examples
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self.known: dict[str, Verdict] = {}

    @property
    def keeps_digits(self) -> bool:
        """Whether the digits are those that are owed: if not, every law would tell the same."""
        return not any(self.verdict(each).counterexample for each in LAWS if each.mode == "digits")

    def verdict(self, each: Law) -> Verdict:
        """What comes of a law: asked for all digits, unless it is known that they are not kept. What breaks
        for want of digits alone is told by the law about digits, which did not meet the call.
        """
        if each.name not in self.known:
            mode = each.mode if each.mode == "digits" or not self.keeps_digits else "digits"
            found = self._examined(each, mode)
            if found.counterexample and mode != each.mode:
                loose = self._examined(each, each.mode)
                if loose.counterexample or self._told_elsewhere(found.counterexample.broken.call):
                    found = loose
            self.known[each.name] = found
        return self.known[each.name]

    def _examined(self, each: Law, mode: str) -> Verdict:
        return examine(each, replace(self.made, mode=mode), self.max_examples, self.seed)

    def _told_elsewhere(self, call: Call) -> bool:
        """Whether a call breaks a law about digits, which is then broken."""
        for law in LAWS:
            if law.mode == "digits" and not law.passed_over(self.made):
                try:
                    law.check(self.made, call)
                except Broken as broken:
                    count = self.known[law.name].examples
                    self.known[law.name] = Verdict(law, count, Counterexample.of(broken, self.made))
                    return True
        return False

    def report(self, verdicts: Sequence[Verdict]) -> ConformanceReport:
        """Tell these verdicts."""
        made = self.made
        settings = settings_of(made, self.max_examples, self.seed)
        return ConformanceReport(
            made.name, made.spec, tuple(verdicts), settings, made.absent, self.keeps_digits
        )


class _Found(Exception):
    """Ends Hypothesis's search."""


class _Quiet:
    """A call that Hypothesis does not print: it is not the smallest yet."""

    def __init__(self, call: Call) -> None:
        self.call = call


def examine(law: Law, made: Subject, max_examples: int, seed: int) -> Verdict:
    """Try one law on calls that Hypothesis draws, and make the one that breaks it small."""
    reason = law.passed_over(made)
    if reason:
        return Verdict(law, 0, reason=reason)
    hyp = hypothesis()
    from crossent.testing.strategies import loss_calls

    found: list[tuple[Call, Broken]] = []
    count = 0

    def each(drawn: _Quiet) -> None:
        nonlocal count
        call = drawn.call
        if not found:
            with suppress(Unfit):
                try:
                    law.check(made, call)
                except Broken as broken:
                    found.append((call, broken))
                count += 1
        if found:
            raise _Found

    settings = hyp.settings(
        max_examples=min(max_examples, law.most or max_examples),
        database=None, deadline=None, derandomize=False, report_multiple_bugs=False,
        phases=[hyp.Phase.generate], suppress_health_check=list(hyp.HealthCheck),
    )  # fmt: skip
    calls = loss_calls(made.spec, **law.calls(made)).map(_Quiet)
    search = hyp.seed(seed)(settings(hyp.given(calls)(each)))
    with suppress(_Found):
        search()
    if not count:
        return Verdict(law, 0, reason="asks for calls that it does not take")
    if not found:
        return Verdict(law, count)
    _, broken = smallest(law, made, *found[0])
    return Verdict(law, count, Counterexample.of(broken, made))
