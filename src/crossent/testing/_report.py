"""What came of running the laws, and how it is told: as text, Markdown or JSON."""

from __future__ import annotations

import json
import platform
import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossent.testing._compare import Broken
from crossent.testing._laws import Law
from crossent.testing._subject import Subject

_WIDTH = 100


@dataclass(frozen=True)
class Counterexample:
    """The smallest call found that breaks a law, what came, what was due."""

    call: str
    problem: str
    came: str
    due: str
    broken: Broken = field(repr=False, compare=False)

    @classmethod
    def of(cls, broken: Broken, subject: Subject) -> Counterexample:
        """Tell a broken law."""
        gradient = broken.quantity == "gradient"
        name = subject.grad_name if gradient else subject.name
        name = name if name.isidentifier() else "gradient" if gradient else "f"
        call = broken.call.text(name, grad=gradient)
        return cls(call, f"{broken.quantity}: {broken.problem}", broken.came, broken.due, broken)


@dataclass(frozen=True)
class Verdict:
    """What came of one law: `counterexample` if it is broken, `reason` if it says nothing about this
    function.
    """

    law: Law
    examples: int
    counterexample: Counterexample | None = None
    reason: str = ""

    @property
    def word(self) -> str:
        """``"holds"``, ``"broken"`` or ``"passed over"``."""
        return "passed over" if self.reason else "broken" if self.counterexample else "holds"


@dataclass(frozen=True)
class ConformanceReport:
    """What came of all laws.

    Parameters
    ----------
    name, spec : str
        The implementation's name, and the contract's.
    verdicts : tuple of Verdict
        One a law.
    settings : dict
        Seed, examples, dtypes, options, limits, versions.
    absent : tuple of str
        What the implementation refused at a trial call, and was not tested with.
    keeps_digits : bool
        Whether the digits are the contract's (or as many as the tolerance leaves). If they are not, the
        laws that are about something else were held to half of them.
    """

    name: str
    spec: str
    verdicts: tuple[Verdict, ...]
    settings: dict[str, Any]
    absent: tuple[str, ...] = ()
    keeps_digits: bool = True

    @property
    def broken(self) -> tuple[Verdict, ...]:
        """The broken laws."""
        return tuple(v for v in self.verdicts if v.counterexample)

    @property
    def ok(self) -> bool:
        """Whether no law is broken."""
        return not self.broken

    @property
    def summary(self) -> str:
        """One line."""
        tried = sum(not v.reason for v in self.verdicts)
        what = f"breaks {len(self.broken)} of {tried} laws" if self.broken else f"keeps all {tried} laws"
        return f"{self.name} {what} of {self.spec} ({_set(self.settings)})"

    def text(self) -> str:
        """For a terminal: the broken laws with their counter-examples, then a table."""
        parts = [self.summary]
        for n, verdict in enumerate(self.broken, 1):
            parts.append(f"{n}. {explained(verdict)}")
        parts.append(
            "\n".join([*(f"{v.word:>11}  {v.law.name}{_more(v)}" for v in self.verdicts), *self._notes()])
        )
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """For a page: a table, then the counter-examples."""
        lines = [f"# {self.name} as {self.spec}", "", self.summary + ".", ""]
        lines += ["| law | verdict | examples |", "|---|---|---:|"]
        for v in self.verdicts:
            word = f"**{v.word}**" if v.counterexample else v.word + (f": {v.reason}" if v.reason else "")
            lines.append(f"| `{v.law.name}` | {word} | {v.examples or ''} |")
        lines += ["", *self._notes()]
        for v in self.broken:
            c = v.counterexample
            assert c is not None
            lines += [
                "", f"## {v.law.name}", "", v.law.why, "", f"`{v.law.formula}`", "", f"{c.problem}:", "",
                "```python", c.call, f"# came: {c.came}", f"# due:  {c.due}", "```",
            ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """For programs."""
        laws = []
        for v in self.verdicts:
            entry: dict[str, Any] = {"law": v.law.name, "verdict": v.word, "examples": v.examples}
            if v.reason:
                entry["reason"] = v.reason
            if v.counterexample:
                c = v.counterexample
                entry |= {"why": v.law.why, "formula": v.law.formula, "call": c.call}
                entry |= {"problem": c.problem, "came": c.came, "due": c.due}
            laws.append(entry)
        whole = {
            "implementation": self.name, "spec": self.spec, "conforms": self.ok, "settings": self.settings,
            "not_tested": list(self.absent), "keeps_digits": self.keeps_digits, "laws": laws,
        }  # fmt: skip
        return json.dumps(whole, indent=2)

    def _notes(self) -> list[str]:
        options = ", ".join(self.settings["supports"]) or "none"
        notes = [f"Options that it was called with: {options}."]
        notes += [f"Not tested, as it was refused: {what}." for what in self.absent]
        if not self.keeps_digits:
            notes.append(
                "The digits are not those of the contract: laws about something else were "
                "held to half of them."
            )
        return notes

    def __str__(self) -> str:
        return self.text()


class ConformanceError(AssertionError):
    """An implementation breaks laws: every one, why it matters, the smallest call, what came, what was due.

    Parameters
    ----------
    report : ConformanceReport
        Everything that was found.
    """

    def __init__(self, report: ConformanceReport) -> None:
        self.report = report
        found = [f"{n}. {explained(verdict)}" for n, verdict in enumerate(report.broken, 1)]
        super().__init__("\n\n".join([report.summary, *found]))


def explained(verdict: Verdict) -> str:
    """A broken law in a few lines."""
    c, law = verdict.counterexample, verdict.law
    assert c is not None
    why = textwrap.fill(law.why, _WIDTH, initial_indent="   why:  ", subsequent_indent="         ")
    lines = [law.name, why, f"   law:  {law.formula}", f"   call: {c.call}", f"   {c.problem}"]
    return "\n".join([*lines, f"   came: {c.came}", f"   due:  {c.due}"])


def _more(verdict: Verdict) -> str:
    if verdict.reason:
        return f": {verdict.reason}"
    return (
        f": {verdict.counterexample.problem}" if verdict.counterexample else f" ({verdict.examples} examples)"
    )


def _set(settings: dict[str, Any]) -> str:
    return f"{', '.join(settings['dtypes'])}, seed {settings['seed']}"


def settings_of(subject: Subject, max_examples: int, seed: int) -> dict[str, Any]:
    """What a run was made with: enough to repeat it."""
    return {
        "seed": seed,
        "max_examples": max_examples,
        "dtypes": list(subject.dtypes),
        "supports": sorted(subject.supports),
        "fixed": dict(subject.fixed),
        "tolerance": None if subject.tolerance is None else list(subject.tolerance),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
