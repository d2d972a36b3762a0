"""Writes the test vectors, byte for byte the same on every machine, and compares them with the files.

Expected numbers come from the definition in decimals, inputs from Python's own generator, the wrong
answers of the known bugs from correctly rounded arithmetic: nothing depends on NumPy's version, the
processor or the C library.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_UP, Context, Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from crossent.exact import ZERO
from crossent.testing._exact_gradients import Numbers, answer
from crossent.testing._limits import limit
from crossent.testing._vector_bugs import BUGS, Array, Case
from crossent.testing._vector_cases import FUNCTIONS, cases
from crossent.testing._vectors import read_due

__all__ = ["files", "main"]

_WIDTH = 110
_NAME, _ARRAY = 24, 64  # room for a name in front and a comma behind; and for an array's dtype and shape
_UPWARDS = Context(prec=6, rounding=ROUND_UP)


def files() -> dict[str, str]:
    """Text of every file but the schema, by name."""
    examples: dict[str, Any] = {}
    texts = {}
    for function in FUNCTIONS:
        numbered = [
            _case(f"{function}-{n:03}", case, examples) for n, case in enumerate(cases(function), start=1)
        ]
        texts[f"{function}.json"] = (
            _text({"$schema": "schema.json", "function": function, "cases": numbered}) + "\n"
        )
    flags = {
        name: {**bug._asdict(), "naive": bug.naive.__name__, "example": examples[name]}
        for name, bug in BUGS.items()
    }
    texts["flags.json"] = _text({"$schema": "schema.json", "flags": flags}) + "\n"
    return texts


# -- one case --------------------------------------------------------------------------------------


def _case(name: str, case: Case, examples: dict[str, Any]) -> dict[str, Any]:
    """A case as JSON; the first of each flag is its example."""
    contents: dict[str, Any] = {
        "id": name,
        "comment": case.comment,
        "flags": list(case.flags),
        "arguments": {key: _array(value) for key, value in case.arguments.items()},
        "options": {key: _option(value) for key, value in case.options.items()},
    }
    if case.grad_output is not None:
        contents["grad_output"] = _array(case.grad_output)
    if case.refused is None:
        due = answer(case.function, case.arguments, case.options, case.grad_output)
        contents["value"] = _due(due.value, case.dtype, case.function)
        if due.gradient is not None:
            contents["gradient"] = _due(due.gradient, case.dtype, f"{case.function}_grad")
    else:
        contents["refused"] = case.refused
    if case.flags:
        contents["wrong"] = {}
    for flag in case.flags:
        with np.errstate(all="ignore"):
            given = BUGS[flag].naive(case)
        wrong, example = _wrong(contents, given)
        if not wrong:
            raise ValueError(f"{name} does not find the bug {flag!r}: its answer is right")
        contents["wrong"][flag] = wrong
        examples.setdefault(flag, {"case": name, **example})
    return contents


def _wrong(contents: Mapping[str, Any], given: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a bug returns, where it is outside the limits, and its worst entry to read."""
    wrong: dict[str, Any] = {}
    example: dict[str, str] = {}
    for part, got in given.items():
        worst, due = 0, contents.get("refused")
        if due is None:
            error = read_due(contents[part]).error(got)
            if np.all(error <= contents[part]["ulp"]):
                continue
            worst = int(np.argmax(error))
            due = contents[part]["data"][worst]
        wrong[part] = [_hexadecimal(v) for v in got.ravel()]
        example = example or {"of": part, "due": due, "wrong": repr(float(got.flat[worst]))}
    return wrong, example


def _due(numbers: Numbers, dtype: np.dtype[Any], name: str) -> dict[str, Any]:
    """Expected numbers and the distance allowed."""
    value, scale, least = (part.ravel().tolist() for part in numbers)
    contents = {
        "dtype": dtype.name,
        "shape": list(numbers.value.shape),
        "ulp": limit(name, dtype),
        "data": [_decimal(v) for v in value],
    }
    scale = [_scale(*entry, dtype) for entry in zip(value, scale, least, strict=True)]
    return {**contents, "scale": [_decimal(s) for s in scale]} if any(scale) else contents


def _scale(value: Decimal, scale: Decimal, least: Decimal, dtype: np.dtype[Any]) -> Decimal:
    """Magnitude whose ulps count, 0 where it is the number's own.

    Of a number with a factor below the normal numbers digits are not promised: its distance counts in
    ulps that are as large as the smallest normal number, so that flushing to zero is allowed.
    """
    info = np.finfo(dtype)
    if not value.is_finite():
        return ZERO
    if dtype != np.float16 and least < Decimal(float(info.smallest_normal)):  # float16 has float32's
        scale = max(scale, Decimal(float(info.smallest_normal)) / Decimal(float(info.eps)))
    rounded = _UPWARDS.create_decimal(scale)
    own = _UPWARDS.create_decimal(abs(value))
    return rounded if rounded > own else ZERO


# -- numbers and arrays ----------------------------------------------------------------------------


def _hexadecimal(v: Any) -> str:
    """An exact float, without the zeros that Python writes."""
    mantissa, point, exponent = float(v).hex().partition("p")
    return mantissa.rstrip("0").removesuffix(".") + point + exponent


def _decimal(v: Decimal) -> str:
    """Digits without zeros at the end; ``nan``, ``inf`` and ``-inf`` as C reads them."""
    if not v.is_finite():
        return str(float(v))
    if not v:
        return "0"
    v = v.normalize(Context(prec=40))
    return f"{v:f}" if -5 < v.adjusted() < 20 else f"{v:e}"


def _array(a: Array) -> dict[str, Any]:
    """An array as its dtype, its shape and its numbers in C order."""
    data = [_hexadecimal(v) if a.dtype.kind == "f" else v for v in a.ravel().tolist()]
    return {"dtype": a.dtype.name, "shape": list(a.shape), "data": data}


def _option(value: Any) -> Any:
    if isinstance(value, np.ndarray | float):
        return _array(np.asarray(value))
    return list(value) if isinstance(value, tuple) else value


# -- text ------------------------------------------------------------------------------------------


def _text(value: Any, indent: int = 0, before: int = _NAME) -> str:
    """JSON that fits on a screen: what fits on a line stands on one, lists of numbers fill theirs."""
    line = json.dumps(value, ensure_ascii=False)
    whole = indent > 1 and 2 * indent + before + len(line) <= _WIDTH
    if whole or not isinstance(value, dict | list) or not value:
        return line
    pad, end = "  " * (indent + 1), "\n" + "  " * indent
    if isinstance(value, list):
        items = [_text(v, indent + 1) for v in value]
        lines = items if isinstance(value[0], dict) else _filled(items, _WIDTH - len(pad))
        return f"[\n{pad}" + f",\n{pad}".join(lines) + f"{end}]"
    if "data" in value:  # an array: its lists are broken, not what stands around them
        return f"{{{', '.join(f'{json.dumps(k)}: {_text(v, indent, _ARRAY)}' for k, v in value.items())}}}"
    items = [f"{json.dumps(key)}: {_text(v, indent + 1)}" for key, v in value.items()]
    return f"{{\n{pad}" + f",\n{pad}".join(items) + f"{end}}}"


def _filled(items: Sequence[str], width: int) -> Iterator[str]:
    """As many items on a line as there is room for."""
    line = items[0]
    for item in items[1:]:
        if len(line) + len(item) + 3 > width:
            yield line
            line = item
        else:
            line += f", {item}"
    yield line


# -- command ---------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or say which of the package's are not what is generated."""
    parser = argparse.ArgumentParser(
        prog="python -m crossent.testing vectors", description="Test vectors for other languages."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", metavar="DIR", type=Path, help="write the files into this folder")
    what.add_argument("--check", action="store_true", help="compare the package's files with the generator")
    arguments = parser.parse_args(argv)
    texts = files()
    if arguments.write is not None:
        arguments.write.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (arguments.write / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {len(texts)} files, {_count(texts)} cases, into {arguments.write}")
        return 0
    folder = resources.files("crossent.testing") / "vectors"
    different = [
        name
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]
    for name in different:
        print(f"{name} is not what the generator writes", file=sys.stderr)
    print(f"{len(texts) - len(different)} of {len(texts)} files are as generated, {_count(texts)} cases")
    return 1 if different else 0


def _count(texts: Mapping[str, str]) -> int:
    return sum(len(json.loads(text).get("cases", ())) for text in texts.values())
