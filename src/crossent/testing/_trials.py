"""From what a user gives to what is tested: it is read, and tried with calls that nothing is wrong with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from crossent.testing._calls import BINARY, CLASS_LOSSES, KINDS, LOSSES, NDIMS, REDUCTIONS, ROWS, SPECS, Call
from crossent.testing._compare import Broken
from crossent.testing._limits import LIMITS
from crossent.testing._subject import LABELS, LAYOUTS, Function, Subject, Tolerance, options_of

SHAPES = dict(zip(NDIMS, [(3,), (2, 3), (4, 3, 2), (5, 3, 2, 4)], strict=True))  # nothing fits by accident


def subject(implementation: Function, spec: str, **settings: Any) -> Subject:
    """What is tested, after a few trial calls: what it refuses to take is not tested."""
    return asked(implementation, spec, **settings)()


def asked(
    implementation: Function,
    spec: str,
    *,
    grad: Function | None = None,
    supports: Iterable[str] | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    tolerance: Tolerance = None,
) -> Callable[[], Subject]:
    """What is asked for, read without a call: the trial calls are made when the answer is called."""
    if spec not in SPECS:
        raise ValueError(f"spec must be one of {', '.join(SPECS)}, got {spec!r}")
    if not callable(implementation) or not (grad is None or callable(grad)):
        raise TypeError("implementation and grad must be functions")
    options, loose, kinds, fixed, ndims = _supported(implementation, spec, grad, supports)
    made = Subject(
        spec, implementation, grad, options - loose, fixed, _dtypes(spec, dtypes), _limits(tolerance),
        ndims=ndims or NDIMS,
    )  # fmt: skip
    return lambda: _tried(made, loose, kinds, ndims)


def _dtypes(spec: str, dtypes: Any) -> tuple[str, ...]:
    there_are = tuple(LIMITS[spec])
    names = []
    for dtype in dtypes if isinstance(dtypes, Iterable) and not isinstance(dtypes, str) else [dtypes]:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = str(dtype)
        if name not in there_are:
            raise ValueError(f"dtypes must be among {', '.join(there_are)}, got {name}")
        names.append(name)
    if not names:
        raise ValueError("dtypes must name at least one dtype")
    return tuple(names)


def _limits(tolerance: Any) -> tuple[float, float] | None:
    if tolerance is None:
        return None
    wrong = f"tolerance must be ulps, one number or two, got {tolerance}"
    try:
        limits = tuple(float(t) for t in (tolerance if isinstance(tolerance, Sequence) else [tolerance]))
    except (TypeError, ValueError) as error:
        raise ValueError(wrong) from error
    if len(limits) not in (1, 2) or not all(t >= 0 for t in limits):
        raise ValueError(wrong)
    return limits[0], limits[-1]


def _supported(
    implementation: Function, spec: str, grad: Function | None, supports: Iterable[str] | None
) -> tuple[frozenset[str], frozenset[str], tuple[str, ...], dict[str, Any], tuple[str, ...]]:
    """The options that a function has, those of them that only its ``**keywords`` may take, the kinds of
    targets and the numbers of dimensions that are named, and what it always has set (``"reduction=none"``).
    """
    if supports is None:
        found, loose = _parameters(implementation, spec)
        found -= {"grad_output"}
        if grad is not None:
            of_grad, loose_of_grad = _parameters(grad, spec)
            found = found & of_grad | of_grad & {"grad_output"}
            loose |= loose_of_grad
        return frozenset(found), frozenset(loose & found), (), {}, ()
    known = options_of(spec)
    names = [supports] if isinstance(supports, str) else list(supports)
    values = {"reduction": REDUCTIONS, "ndim": NDIMS}
    pairs = [name.partition("=")[::2] for name in names if "=" in name]
    plain = {name for name in names if "=" not in name}
    wrong = [name for name in plain if name not in known]
    wrong += [
        f"{name}={v}" for name, v in pairs if v not in values.get(name, ()) or name not in (*known, "ndim")
    ]
    if wrong:
        near = [] if "=" in wrong[0] else get_close_matches(wrong[0], known, 1)
        raise ValueError(
            f"supports may hold {', '.join(known)} (or reduction=none, ndim=2), got {', '.join(names)}"
            + (f": did you mean {near[0]}?" if near else "")
        )
    kinds = tuple(kind for kind, name in KINDS.items() if name in plain)
    ndims = tuple(value for name, value in pairs if name == "ndim")
    fixed = {name: value for name, value in pairs if name != "ndim"}
    return frozenset(plain - set(KINDS.values())), frozenset(), kinds, fixed, ndims


def _parameters(f: Function, spec: str) -> tuple[set[str], set[str]]:
    """Options among a function's parameters, and those that it takes if it takes any keyword."""
    try:
        parameters = inspect.signature(f).parameters
    except (TypeError, ValueError):  # a builtin
        return set(), set()
    known = {name for name in options_of(spec) if name not in KINDS.values()}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return known, known - set(parameters)
    return known & set(parameters), set()


# -- trial calls -----------------------------------------------------------------------------------------


def _tried(made: Subject, loose: frozenset[str], kinds: tuple[str, ...], ndims: tuple[str, ...]) -> Subject:
    """Leave out what the function refuses, where it was not named: kinds of targets, numbers of dimensions,
    keywords, dtypes of labels, forms of memory.
    """
    absent: list[str] = []
    made, form = _with_kinds(made, kinds, sorted(made.ndims, key=lambda n: n != "2"), absent)
    plain = trial(made, form)
    refusal = _refusal(made, plain)
    if refusal:
        absent.append(f"even a plain call, {plain.text(made.source_name)} ({refusal})")
        return replace(made, absent=tuple(absent))
    if not ndims:
        shape = {n: str(list(SHAPES[n])) for n in NDIMS}
        refused = {shape[n]: _refusal(made, trial(made, n)) for n in NDIMS}
        kept = _kept(list(shape.values()), refused, "logits of shape {}", absent)
        made = replace(made, ndims=tuple(n for n in NDIMS if shape[n] in kept))
    return _with_forms(_with_keywords(made, plain, loose, absent), plain, absent)


def _with_kinds(
    made: Subject, named: tuple[str, ...], forms: Sequence[str], absent: list[str]
) -> tuple[Subject, str]:
    """The kinds of targets that are named, or else not refused, and a number of dimensions to try the rest
    with.
    """
    there_are = tuple(kind for kind, name in KINDS.items() if name in options_of(made.spec))
    made = replace(made, kinds=named or there_are or ("index",))
    for form in forms:
        refused = {kind: _refusal(made, trial(made, form, kind)) for kind in made.kinds}
        if not all(refused.values()):
            break
    else:  # something else is wrong
        return made, forms[0]
    if named:
        return made, form
    binary = made.spec == BINARY
    spoken = {
        "index": "targets of 0 and 1" if binary else "class indices as targets",
        "probability": "targets between 0 and 1" if binary else "class probabilities as targets",
    }
    absent += [f"{spoken[kind]} ({refusal})" for kind, refusal in refused.items() if refusal]
    return replace(made, kinds=tuple(kind for kind in made.kinds if not refused[kind])), form


def _with_keywords(made: Subject, plain: Call, loose: frozenset[str], absent: list[str]) -> Subject:
    """Add the options that only ``**keywords`` may take, and do."""
    names = sorted(loose)
    refused = {
        name: _refusal(replace(made, supports=made.supports | {name}), with_option(plain, name))
        for name in names
    }
    return replace(made, supports=made.supports | set(_kept(names, refused, "{}", absent)))


def _with_forms(made: Subject, plain: Call, absent: list[str]) -> Subject:
    """Dtypes of labels, and forms of memory."""
    labels = [name for name in LABELS if name != "bool" or made.spec == BINARY]
    takes_labels = made.spec in LOSSES and made.kinds[0] == "index"
    tried = {n: plain.changed(target=plain.target.astype(n)) for n in labels} if takes_labels else {}
    refused = {name: _refusal(made, call) for name, call in tried.items()}
    labels = _kept(labels, refused, "labels of dtype {}", absent)
    refused = {
        name: _refusal(made, plain.mapped(layout.view), copies=False) for name, layout in LAYOUTS.items()
    }
    layouts = _kept(list(LAYOUTS), refused, "{} arrays", absent)
    return replace(made, labels=tuple(labels), layouts=tuple(layouts), absent=tuple(absent))


def _kept(names: list[str], refused: Mapping[str, str], what: str, absent: list[str]) -> list[str]:
    """The names that are not refused; the others are told of, a line for each reason."""
    for reason in dict.fromkeys(filter(None, refused.values())):
        same = ", ".join(name for name in names if refused.get(name) == reason)
        absent.append(f"{what.format(same)} ({reason})")
    return [name for name in names if not refused.get(name)]


def trial(made: Subject, ndim: str, kind: str | None = None) -> Call:
    """A call that nothing is wrong with; the class axis is named where that can be done."""
    dtype, shape, kind = made.dtypes[-1], SHAPES[ndim], kind or made.kinds[0]
    x = np.resize(np.array([0.5, -1.0, 0.25, 1.0, 0.0, 2.0]), shape).astype(dtype)
    axis = -1 if made.spec in ROWS else min(len(shape) - 1, 1)
    options = {"axis": axis} if "axis" in made.supports else {}
    if made.spec not in LOSSES:
        return Call(made.spec, x, None, options)
    if kind == "probability":
        return Call(made.spec, x, np.full(shape, 1 / 3, dtype), options)  # there are 3 classes
    if made.spec in CLASS_LOSSES:
        positions = () if len(shape) == 1 else (shape[0], *shape[2:])
        return Call(made.spec, x, np.ones(positions, np.int64), options)
    return Call(made.spec, x, (x > 0).astype(dtype))


def with_option(call: Call, name: str) -> Call:
    """A call with one option more, which changes nothing or little."""
    x = call.x
    of_class = np.ones(x.shape if call.axis is None else x.shape[call.axis], x.dtype)
    options: dict[str, Any] = {
        "weight": of_class, "pos_weight": of_class, "where": np.ones(call.positions, bool),
        "ignore_index": -100, "reduction": "sum", "label_smoothing": 0.1, "dtype": np.float64,
        "keepdims": True, "axis": call.axis,
    }  # fmt: skip
    if name == "grad_output":
        return call.changed(grad_output=np.ones(call.value_shape, x.dtype))
    return call.having(**{name: options[name]})


def _refusal(made: Subject, call: Call, *, copies: bool = True) -> str:
    """How the function refuses a call; nothing if it does not."""
    try:
        if copies:
            made.quantities(call)
        else:
            for f in (made.implementation, made.gradient):
                if f is not None:
                    made.run(call, "value", f, call.arguments, {})  # a wrong shape is no refusal
    except Broken as broken:
        return broken.came if broken.raised else ""
    return ""
