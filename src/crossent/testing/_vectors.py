"""The test vectors, read: what a test in Python needs of them.

The files are for every language; ``docs/vectors.md`` describes them. Nothing here knows how they were
made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from crossent.exact import Objects
from crossent.testing._ulp import ulp_error

__all__ = ["Due", "Vector", "load_vectors"]

Array: TypeAlias = npt.NDArray[Any]

_BESIDE = ("flags.json", "schema.json")  # files that hold no cases


@dataclass(frozen=True, eq=False)
class Due:
    """What a value or a gradient should be: Decimals, and how far from them it may be.

    Attributes
    ----------
    dtype : dtype
        Of the result; its ulps count.
    exact : ndarray of Decimal
        The exact numbers, to 40 digits.
    ulp : float
        Largest distance allowed.
    scale : ndarray of Decimal
        Magnitude in whose ulps the distance counts, where that is larger than the number's own.
    """

    dtype: np.dtype[Any]
    exact: Objects
    ulp: float
    scale: Objects

    def error(self, actual: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Distance of a result from this, in ulps of this dtype, entry by entry.

        A 0 without a scale is promised exactly: anything else is infinitely far. So is a result of
        another shape.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            got = np.asarray(actual).astype(self.dtype)
        if got.shape != self.exact.shape:
            return np.full(self.exact.shape, np.inf)
        error = np.asarray(ulp_error(got, self.exact, scale=self.scale), dtype=np.float64)
        return np.where((self.exact == 0) & (self.scale == 0) & (got != 0), np.inf, error)

    def accepts(self, actual: npt.ArrayLike) -> bool:
        """Whether a result has this shape and is nowhere further away than allowed."""
        return np.shape(actual) == self.exact.shape and bool(np.all(self.error(actual) <= self.ulp))


@dataclass(frozen=True, eq=False)
class Vector:
    """One case: a call and what is due.

    Attributes
    ----------
    id : str
        Function and number.
    function : str
        A public function of the package; its gradient is the one whose name ends in ``_grad``.
    comment : str
        What the case is about.
    flags : tuple of str
        Known bugs that this case finds; ``flags.json`` explains them.
    arguments : dict of str to ndarray
        By position, in this order.
    options : dict
        By name: arrays, numbers, words.
    grad_output : ndarray or None
        Gradient from above.
    value, gradient : Due or None
        Both are None where the call is to be refused; measures have no gradient.
    refused : str or None
        The built-in exception that `crossent` raises.
    wrong : dict
        For each flag what an implementation with that bug returns: ``{"value": array, ...}``.
    """

    id: str
    function: str
    comment: str
    flags: tuple[str, ...]
    arguments: dict[str, Array]
    options: dict[str, Any]
    grad_output: Array | None
    value: Due | None
    gradient: Due | None
    refused: str | None
    wrong: dict[str, dict[str, Array]]


def load_vectors(function: str | None = None) -> list[Vector]:
    """Test vectors of a function, or of all of them.

    Parameters
    ----------
    function : str, optional
        A public function's name, without ``_grad``.

    Returns
    -------
    list of Vector
        In the order of the files.

    Raises
    ------
    ValueError
        If there are none for that name; the message lists the functions that have some.

    Examples
    --------
    >>> from crossent import softplus
    >>> from crossent.testing import load_vectors
    >>> vectors = load_vectors("softplus")
    >>> all(v.value.accepts(softplus(*v.arguments.values(), **v.options)) for v in vectors)
    True
    """
    folder = resources.files("crossent.testing") / "vectors"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".json") and f.name not in _BESIDE)
    functions = [name.removesuffix(".json") for name in names]
    if function is not None and function not in functions:
        raise ValueError(f"no vectors for {function!r}; there are some for {', '.join(functions)}")
    vectors: list[Vector] = []
    for name in functions if function is None else [function]:
        contents = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        vectors += [read_vector(name, case) for case in contents["cases"]]
    return vectors


def read_vector(function: str, case: Mapping[str, Any]) -> Vector:
    """One case of a file."""
    options = {name: _option(name, value) for name, value in case["options"].items()}
    due = {name: read_due(case[name]) if name in case else None for name in ("value", "gradient")}
    wrong = {
        flag: {part: _wrong(due[part], data) for part, data in parts.items()}
        for flag, parts in case.get("wrong", {}).items()
    }
    return Vector(
        id=case["id"],
        function=function,
        comment=case["comment"],
        flags=tuple(case["flags"]),
        arguments={name: _array(value) for name, value in case["arguments"].items()},
        options=options,
        grad_output=_array(case["grad_output"]) if "grad_output" in case else None,
        value=due["value"],
        gradient=due["gradient"],
        refused=case.get("refused"),
        wrong=wrong,
    )


def _array(value: Mapping[str, Any]) -> Array:
    """An array of floats as hex, of integers or of booleans."""
    data = [float.fromhex(v) if isinstance(v, str) else v for v in value["data"]]
    return np.array(data, dtype=value["dtype"]).reshape(value["shape"])


def _option(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return float(_array(value)) if name == "label_smoothing" else _array(value)
    return tuple(value) if isinstance(value, list) else value


def read_due(value: Mapping[str, Any]) -> Due:
    def decimals(texts: list[str]) -> Objects:
        numbers = np.empty(len(texts), dtype=object)
        numbers[:] = [Decimal(text) for text in texts]
        return numbers.reshape(value["shape"])

    exact = decimals(value["data"])
    scale = decimals(value.get("scale", ["0"] * exact.size))
    return Due(np.dtype(value["dtype"]), exact, float(value["ulp"]), scale)


def _wrong(due: Due | None, data: list[str]) -> Array:
    """What a bug returns, in the shape of what is due; of a call that is refused, one number."""
    values = np.array([float.fromhex(v) for v in data])
    return values if due is None else values.astype(due.dtype).reshape(due.exact.shape)
