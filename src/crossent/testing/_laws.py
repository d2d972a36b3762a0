"""The laws as data: a name, why it matters, the formula, and a check."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import localcontext
from typing import Any

from crossent.testing._calls import LOSSES, REDUCTIONS, SPECS, Call
from crossent.testing._subject import Subject
from crossent.testing._truth import CONTEXT

Check = Callable[[Subject, Call], None]


@dataclass(frozen=True)
class Law:
    """A property that every right implementation has.

    Parameters
    ----------
    name : str
        A claim in a few words.
    why : str
        One sentence on why it matters.
    formula : str
        The claim as a formula.
    check : callable
        ``check(implementation, call)`` raises `Broken` if the implementation breaks the law on the call.
    specs : tuple of str
        The functions that it binds.
    draws : mapping
        The calls that it can use: keywords of ``strategies.loss_calls``.
    needs : tuple of str
        Options that the implementation must have, ``"a|b"`` for one of two.
    gradient : bool
        Whether it is about the gradient alone.
    most : int, optional
        The largest number of examples, for laws whose calls are large.
    mode : str
        What is asked of an implementation that does not keep the contract's digits: them all the same
        (``"digits"``), half of them (``"half"``), or half of those of the largest number (``"structure"``).
    """

    name: str
    why: str
    formula: str
    check: Check
    specs: tuple[str, ...]
    draws: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    gradient: bool = False
    most: int | None = None
    mode: str = "structure"

    def passed_over(self, subject: Subject) -> str:
        """Why the law, one about the implementation's function, says nothing about it; nothing if it does."""
        if self.gradient and subject.gradient is None:
            return "no gradient was given"
        for need in self.needs:
            if not any(subject.has(option) for option in need.split("|")):
                return f"needs {need.replace('|', ' or ')}"
        if not set(self.draws.get("kinds", subject.kinds)) & set(subject.kinds):
            return f"needs {self.draws['kinds'][0]} targets"
        if not set(self.draws.get("ndims", subject.ndims)) & set(subject.ndims):
            return f"needs logits of {' or '.join(self.draws['ndims'])} dimensions"
        if self.draws.get("min_rows", 1) > 1 and subject.one_row:
            return "needs several rows"
        if not self.reductions(subject):
            return f"needs reduction={' or '.join(self.draws['reductions'])}"
        return ""

    def reductions(self, subject: Subject) -> tuple[str, ...]:
        """The reductions that its calls may have."""
        wanted = tuple(self.draws.get("reductions", REDUCTIONS))
        if subject.spec not in LOSSES or subject.has("reduction"):
            return wanted
        only = subject.fixed.get("reduction", "mean")
        return tuple(r for r in wanted if r == only)

    def calls(self, subject: Subject) -> dict[str, Any]:
        """Keywords of ``strategies.loss_calls`` for an implementation."""
        draws = dict(self.draws)
        supports = set(subject.supports) | set(subject.fixed)
        kinds = [k for k in draws.pop("kinds", subject.kinds) if k in subject.kinds]
        ndims = [n for n in draws.pop("ndims", subject.ndims) if n in subject.ndims]
        dtypes = [d for d in draws.pop("dtypes", subject.dtypes) if d in subject.dtypes] or subject.dtypes
        draws.pop("reductions", None)
        return {
            "supports": supports, "kinds": kinds, "ndims": ndims, "dtypes": dtypes,
            "reductions": self.reductions(subject), **draws,
        }  # fmt: skip


_REGISTERED: list[Law] = []


def law(
    formula: str,
    specs: tuple[str, ...] = SPECS,
    *,
    needs: tuple[str, ...] = (),
    gradient: bool = False,
    most: int | None = None,
    mode: str = "structure",
    of_nothing: bool = False,
    **draws: Any,
) -> Callable[[Check], Check]:
    """Register a check under its own name and docstring. What is due of a mean over nothing is looked at by
    the law that is about it alone.
    """

    def register(check: Check) -> Check:
        @functools.wraps(check)
        def exactly(subject: Subject, call: Call) -> None:
            with localcontext(CONTEXT):  # 60 digits, and no exceptions of decimal's own
                check(replace(subject, of_nothing=of_nothing), call)

        why = " ".join((check.__doc__ or "").split())
        name = exactly.__name__
        _REGISTERED.append(Law(name, why, formula, exactly, specs, draws, needs, gradient, most, mode))
        return exactly

    return register


def every_law() -> tuple[Law, ...]:
    """All laws, in the order of a report."""
    return tuple(_REGISTERED)
