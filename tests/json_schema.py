"""The part of JSON Schema (draft 2020-12) that the test vectors' schema is written in.

A keyword that is not known here is an error, so nothing of the schema goes unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
}
ABOUT = {"$schema", "$defs", "title", "description"}


def violations(value: Any, schema: Any, root: Any = None, path: str = "$") -> Iterator[str]:
    """What breaks the schema, with the place where it does."""
    root = schema if root is None else root
    for keyword, rule in schema.items():
        if keyword not in ABOUT:
            yield from CHECKS[keyword](value, rule, schema, root, path)


def _ref(value, rule, schema, root, path):
    assert rule.startswith("#/$defs/"), rule
    yield from violations(value, root["$defs"][rule.removeprefix("#/$defs/")], root, path)


def _type(value, rule, schema, root, path):
    if not TYPES[rule](value):
        yield f"{path} is no {rule}: {value!r:.60}"


def _one_of(value, rule, schema, root, path):
    found = [list(violations(value, each, root, path)) for each in rule]
    if sum(not each for each in found) != 1:
        yield f"{path} fits {sum(not each for each in found)} of {len(rule)}: {found!r:.200}"


def _simple(message, breaks, kind=object):
    def check(value, rule, schema, root, path):
        if isinstance(value, kind) and breaks(value, rule):
            yield f"{path} {message} {rule!r}: {value!r:.60}"

    return check


def _properties(value, rule, schema, root, path):
    for name, each in rule.items():
        if isinstance(value, dict) and name in value:
            yield from violations(value[name], each, root, f"{path}.{name}")


def _additional(value, rule, schema, root, path):
    names = set(value) - set(schema.get("properties", ())) if isinstance(value, dict) else set()
    for name in names:
        if rule is False:
            yield f"{path}.{name} is unknown"
        else:
            yield from violations(value[name], rule, root, f"{path}.{name}")


def _names(value, rule, schema, root, path):
    for name in value if isinstance(value, dict) else ():
        yield from violations(name, rule, root, f"{path} (name)")


def _items(value, rule, schema, root, path):
    for n, item in enumerate(value if isinstance(value, list) else ()):
        yield from violations(item, rule, root, f"{path}[{n}]")


def _dependent(value, rule, schema, root, path):
    for name, needed in rule.items():
        if name in value and not set(needed) <= set(value):
            yield f"{path}.{name} needs {needed}"


CHECKS = {
    "$ref": _ref,
    "type": _type,
    "oneOf": _one_of,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "dependentRequired": _dependent,
    "required": _simple("lacks one of", lambda v, names: not set(names) <= set(v), dict),
    "const": _simple("is not", lambda v, due: v != due),
    "enum": _simple("is none of", lambda v, each: v not in each),
    "pattern": _simple("does not match", lambda v, p: re.search(p, v) is None, str),
    "minLength": _simple("is shorter than", lambda v, n: len(v) < n, str),
    "minItems": _simple("has fewer items than", lambda v, n: len(v) < n, list),
    "uniqueItems": _simple("has equal items", lambda v, on: on and len(set(v)) < len(v), list),
    "minProperties": _simple("has fewer names than", lambda v, n: len(v) < n, dict),
    "minimum": _simple("is below", lambda v, n: v < n, int | float),
    "exclusiveMinimum": _simple("is not above", lambda v, n: v <= n, int | float),
}
