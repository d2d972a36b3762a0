"""What `diagnose` returns, and the call that it looks at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

BINARY = "binary_cross_entropy_with_logits"
LOSSES = ("cross_entropy", "nll_loss", BINARY)


class Evidence(Mapping[str, Any]):
    """Figures by name: a mapping that cannot be changed, equal and hashable by value.

    Examples
    --------
    >>> Evidence(rows=8, classes=3)["rows"]
    8
    """

    __slots__ = ("_figures",)
    _figures: tuple[tuple[str, Any], ...]

    def __init__(self, **figures: Any) -> None:
        self._figures = tuple(figures.items())

    def __getitem__(self, name: str) -> Any:
        return dict(self._figures)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._figures)

    def __len__(self) -> int:
        return len(self._figures)

    def __hash__(self) -> int:
        return hash(frozenset(self._figures))

    def __repr__(self) -> str:
        return f"Evidence({self})"

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._figures)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong.

    A frozen dataclass, not a named tuple: a finding is no sequence, and a new field breaks no unpacking.

    Parameters
    ----------
    code : str
        A stable name, one of the table in `diagnose`.
    message : str
        What came, what was expected, the likely cause.
    advice : str
        What to write instead, one line of code.
    evidence : mapping
        The figures that it was judged by.

    Examples
    --------
    >>> from crossent import diagnose
    >>> (finding,) = diagnose([[0.5, 2.0, 1.0]], [-1])
    >>> finding.code, finding.evidence["low"]
    ('label-out-of-range', -1)
    >>> print(finding.message)  # that of the error that cross_entropy raises
    target[0] is -1, outside [0, 3) for K = 3 classes on the class axis 1, and not ignore_index=-100: if ...
    >>> print(*str(finding).splitlines()[1:], sep=chr(10))
      write: cross_entropy(logits, target, ignore_index=-1)
      evidence: error='IndexError', low=-1, high=-1, classes=3
    """

    code: str
    message: str
    advice: str
    evidence: Evidence

    def __str__(self) -> str:
        return f"{self.code}: {self.message}\n  write: {self.advice}\n  evidence: {self.evidence}"


def found(code: str, message: str, advice: str, **figures: Any) -> Finding:
    """Make a finding."""
    return Finding(code, message, advice, Evidence(**figures))


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a loss, as they came."""

    loss: str
    logits: Any
    target: Any
    weight: Any
    pos_weight: Any
    ignore_index: Any
    axis: Any
    where: Any

    @property
    def name(self) -> str:
        """What the loss calls its first argument."""
        return "log_probs" if self.loss == "nll_loss" else "logits"

    @property
    def weights(self) -> list[tuple[str, Any]]:
        """The weights that there are and that the loss takes, by name."""
        named = [("weight", self.weight)]
        if self.loss == BINARY:
            named.append(("pos_weight", self.pos_weight))
        return [(name, value) for name, value in named if value is not None]

    def code(self, *options: str, x: str = "", y: str = "target", loss: str = "", axis: Any = None) -> str:
        """Return the call as code, with some arguments written differently."""
        loss, axis = loss or self.loss, self.axis if axis is None else axis
        if axis is not None and loss != BINARY:
            options = (*options, f"axis={axis}")
        return f"{loss}({', '.join((x or self.name, y, *options))})"


def named_axis(axis: int, ndim: int) -> int:
    """Return an axis the way one writes it: the last one is -1."""
    return -1 if axis == ndim - 1 else axis
