"""What is tested: somebody's function and gradient, the options they have, the digits they owe."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np

from crossent.testing._calls import BINARY, CLASS_LOSSES, ELEMENTWISE, LOSSES, OPTIONS, SPECS, Array, Call
from crossent.testing._compare import Broken, check_bits, check_digits
from crossent.testing._limits import LIMITS, limit
from crossent.testing._truth import Exact, decimals, exact

Tolerance: TypeAlias = float | tuple[float, float] | None
Function: TypeAlias = Callable[..., Any]

_NAMES = {"index": "indices", "probability": "probabilities"}
KINDS = tuple(_NAMES.values())
LABELS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64", "bool")
_TRIALS = {
    "1": (3,),
    "2": (2, 3),
    "3": (4, 3, 2),
    "4": (5, 3, 2, 4),
}  # no two alike: nothing fits by accident


def _strided(x: Array) -> Array:
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def _reversed(x: Array) -> Array:
    flip = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[flip])[flip]


def _read_only(x: Array) -> Array:
    x = np.array(x)
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "strided": _strided,
    "reversed": _reversed,
    "read-only": _read_only,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder("S")),
}


def options_of(spec: str) -> tuple[str, ...]:
    """Everything that `supports` may name for a function."""
    kinds = KINDS if spec in ("cross_entropy", BINARY) else ()
    return (*OPTIONS[spec], *kinds, "grad_output")


@dataclass(frozen=True, eq=False)
class Subject:
    """An implementation under test.

    A law calls `value` and `grad`, which copy the inputs, pass on only the options that the function has, and
    turn an exception into a broken law, or compares them with the definition at once: `check`.

    Parameters
    ----------
    spec : str
        The contract's name of the function.
    implementation : callable
        ``implementation(x, target, **options)``.
    gradient : callable, optional
        ``gradient(x, target, **options)``.
    supports : frozenset of str
        The options that they have.
    fixed : mapping
        Options that they always have set, and do not take.
    dtypes : tuple of str
        The dtypes to test.
    tolerance : tuple of float, optional
        Limits in ulp, for values and gradients, instead of the contract's.
    kinds : tuple of str
        ``"index"`` and ``"probability"``: the targets that it takes.
    ndims : tuple of str
        The forms of logits that it takes.
    labels : tuple of str
        The integer dtypes of class indices that it takes (binary: also bool).
    layouts : tuple of str
        The forms of memory that it takes.
    absent : tuple of str
        What it refused when it was tried.
    mode : str
        How near results must be: ``"digits"``, as near as the limit; ``"half"``, in half of the digits;
        ``"structure"``, in half of the digits of the largest number.
    """

    spec: str
    implementation: Function
    gradient: Function | None = None
    supports: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float32", "float64")
    tolerance: tuple[float, float] | None = None
    kinds: tuple[str, ...] = ("index", "probability")
    ndims: tuple[str, ...] = tuple(_TRIALS)
    labels: tuple[str, ...] = LABELS
    layouts: tuple[str, ...] = tuple(LAYOUTS)
    absent: tuple[str, ...] = ()
    mode: str = "digits"

    @property
    def name(self) -> str:
        """What the function is called where it comes from."""
        return str(getattr(self.implementation, "__name__", None) or type(self.implementation).__name__)

    @property
    def grad_name(self) -> str:
        """What the gradient is called where it comes from."""
        return str(getattr(self.gradient, "__name__", None) or type(self.gradient).__name__)

    def has(self, option: str) -> bool:
        """Whether calls may hold this option, be of this dtype, or have this kind of target."""
        return option in (*self.supports, *self.dtypes, *(_NAMES[kind] for kind in self.kinds))

    def limit(self, quantity: str, dtype: np.dtype[Any]) -> float:
        """Ulps that a value or a gradient may be away."""
        gradient = quantity == "gradient"
        if self.tolerance is not None:
            return self.tolerance[gradient]
        return limit(f"{self.spec}_grad" if gradient else self.spec, dtype)

    # -- calling ---------------------------------------------------------------------------------

    def value(self, call: Call) -> Array:
        """What the function gives."""
        return self._run(call, "value", self.implementation, {})

    def grad(self, call: Call) -> Array:
        """What the gradient gives."""
        assert self.gradient is not None
        extra = {} if call.grad_output is None else {"grad_output": np.array(call.grad_output, order="C")}
        return self._run(call, "gradient", self.gradient, extra)

    def quantities(self, call: Call) -> list[tuple[str, Array]]:
        """The value and, where there is one, the gradient."""
        result = [("value", self.value(call))]
        return result if self.gradient is None else [*result, ("gradient", self.grad(call))]

    def options(self, call: Call) -> dict[str, Any]:
        """The options to pass on."""
        return {
            k: np.array(v, order="C") if isinstance(v, np.ndarray) else v
            for k, v in call.options.items()
            if k in self.supports
        }

    def arguments(self, call: Call) -> tuple[Array, ...]:
        """Copies of the positional arguments, in order: nothing that is tested may change what is tested
        next, and only one law is about memory.
        """
        return tuple(np.array(a, order="C") for a in call.arguments)

    def _run(self, call: Call, quantity: str, f: Function, extra: dict[str, Any]) -> Array:
        return self.run(call, quantity, f, self.arguments(call), {**self.options(call), **extra})

    def run(
        self, call: Call, quantity: str, f: Function, arguments: tuple[Array, ...], options: dict[str, Any]
    ) -> Array:
        """Call a function, and convert what it returns: an array of the right shape."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                came = _converted(f(*arguments, **options))
        except Exception as error:
            text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise Broken(call, quantity, "raised", text, "a result", raised=True) from error
        due = call.x.shape if quantity == "gradient" else call.value_shape
        if came.shape != due:
            raise Broken(call, quantity, "wrong shape", f"shape {came.shape}", f"shape {due}")
        return came

    # -- comparing -------------------------------------------------------------------------------

    def check(self, call: Call, due: Exact | None = None, *, note: str = "") -> None:
        """Value and gradient of a call are the exact ones (or those of `due`), to the digits they owe."""
        self.check_value(call, due, note=note)
        if self.gradient is not None:
            self.check_grad(call, due, note=note)

    def check_value(self, call: Call, due: Exact | None = None, *, note: str = "") -> None:
        """The value is the exact one."""
        e = exact(call) if due is None else due
        came = self.value(call)
        self.digits(call, "value", came, e.value, scale=e.value_scale, least=e.value_least, note=note)

    def check_grad(self, call: Call, due: Exact | None = None, *, note: str = "") -> None:
        """The gradient is the exact one."""
        e = exact(call) if due is None else due
        came = self.grad(call)
        self.digits(call, "gradient", came, e.grad, scale=e.grad_scale, least=e.grad_least, note=note)

    def digits(
        self, call: Call, quantity: str, came: Array, due: Any, *, scale: Any, least: Any = None,
        note: str = "", times: float = 1.0,
    ) -> None:  # fmt: skip
        """Numbers are within the limit (`times` as much where they are compared with results)."""
        allowed, coarse = times * self.limit(quantity, call.result), None
        if self.mode != "digits":
            allowed = max(allowed, 2.0 ** ((np.finfo(call.result).nmant + 1) / 2))
        if self.mode == "structure":
            # a loss of 1 is an ordinary one, and so is a gradient of 1 (of a mean: in one position)
            mean = quantity == "gradient" and call.function in LOSSES and call.reduction == "mean"
            coarse = Decimal(1) / max(int(np.prod(call.positions)), 1) if mean else Decimal(1)
        check_digits(
            call, quantity, came, due, scale=scale, least=least, limit=allowed, coarse=coarse, note=note
        )

    def bits(self, call: Call, quantity: str, came: Array, due: Array, what: str) -> None:
        """Two results are one: in every bit, or as near as the tolerance is, where there is one."""
        if self.tolerance is None:
            check_bits(call, quantity, came, due, what)
        else:
            size = abs(decimals(due))
            note = f": {what}"
            self.digits(call, quantity, came, decimals(due), scale=size, times=2.0, note=note)


def _converted(result: Any) -> Array:
    """What came, as an array of floats."""
    a = np.asarray(result)
    if a.dtype.kind == "f":
        return a
    if a.dtype.kind in "cSUMm" or a.dtype.names:
        raise TypeError(f"returned {a.dtype}, not real numbers")
    return a.astype(np.float64)  # whole numbers, Decimals, bfloat16


# -- making one ----------------------------------------------------------------------------------------


def subject(
    implementation: Function,
    spec: str,
    *,
    grad: Function | None = None,
    supports: Iterable[str] | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    tolerance: Tolerance = None,
) -> Subject:
    """What is tested, after a few trial calls: what it refuses to take is not tested."""
    if spec not in SPECS:
        raise ValueError(f"spec must be one of {', '.join(SPECS)}, got {spec!r}")
    if not callable(implementation) or not (grad is None or callable(grad)):
        raise TypeError("implementation and grad must be functions")
    names = tuple(np.dtype(d).name for d in ([dtypes] if isinstance(dtypes, str) else dtypes))
    for name in names:
        if name not in LIMITS[spec]:
            raise ValueError(f"dtypes must be among {', '.join(LIMITS[spec])}, got {name}")
    if not names:
        raise ValueError("dtypes must name at least one dtype")
    found, fixed = _supported(implementation, spec, grad, supports)
    forms = fixed.pop("ndim", None)
    limits = None
    if tolerance is not None:
        pair = tolerance if isinstance(tolerance, tuple) else (tolerance, tolerance)
        limits = (float(pair[0]), float(pair[1]))
        if not all(t >= 0 for t in limits):
            raise ValueError(f"tolerance must be ulps, one number or two, got {tolerance}")
    made = Subject(spec, implementation, grad, found - set(KINDS), fixed, names, limits)
    return _tried(made, found, forms)


def _supported(
    implementation: Function, spec: str, grad: Function | None, supports: Iterable[str] | None
) -> tuple[frozenset[str], dict[str, Any]]:
    """The options that a function has, and those that it always has set (``"reduction=none"``)."""
    known = options_of(spec)
    if supports is None:
        found = set(_parameters(implementation, known)) - {"grad_output"}
        if grad is not None:
            found &= {*_parameters(grad, known), *KINDS}
            found |= {"grad_output"} & set(_parameters(grad, known))
        return frozenset(found), {}
    names = [supports] if isinstance(supports, str) else list(supports)
    fixed = dict(name.split("=", 1) for name in names if "=" in name)
    wrong = [n for n in [*fixed, *(n for n in names if "=" not in n)] if n not in (*known, "ndim")]
    values = {"reduction": ("none", "mean", "sum"), "ndim": _TRIALS}
    if wrong or any(value not in values.get(name, ()) for name, value in fixed.items()):
        raise ValueError(
            f"supports may hold {', '.join(known)} (or reduction=none, ndim=2), got {', '.join(names)}"
        )
    return frozenset(n for n in names if "=" not in n), fixed


def _parameters(f: Function, known: Sequence[str]) -> list[str]:
    """Options among a function's parameters; all of them, if it takes any keyword."""
    try:
        parameters = inspect.signature(f).parameters
    except (TypeError, ValueError):  # a builtin
        return []
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return [name for name in known if name not in KINDS]
    return [name for name in known if name in parameters]


def _tried(made: Subject, found: frozenset[str], form: str | None) -> Subject:
    """Leave out what the function refuses: shapes, unless it has `axis`, kinds of targets, unless named,
    dtypes of labels, forms of memory.
    """
    absent: list[str] = []
    usual = form or ("1" if made.spec in (*ELEMENTWISE, BINARY) else "2")
    kinds = _kinds(made, found, usual, absent)
    ndims = [usual] if form else list(_TRIALS)
    if not made.has("axis") and not form:
        for ndim, shape in _TRIALS.items():
            refusal = _refusal(made, _trial(made, shape, kinds[0]))
            if ndim != usual and refusal:
                ndims.remove(ndim)
                absent.append(f"logits of shape {list(shape)} ({refusal})")
    plain = _trial(made, _TRIALS[usual], kinds[0])
    labels, layouts = list(LABELS), list(LAYOUTS)
    if not _refusal(made, plain):
        if made.spec != BINARY:
            labels.remove("bool")
        takes_labels = made.spec in LOSSES and kinds[0] == "index"
        tried = {n: plain.changed(target=plain.target.astype(n)) for n in labels} if takes_labels else {}
        refused = {name: _refusal(made, call) for name, call in tried.items()}
        labels = _kept(labels, refused, "labels of dtype {}", absent)
        refused = {}
        for name, layout in LAYOUTS.items():
            target = None if plain.target is None else layout(plain.target)
            refused[name] = _refusal(made, plain.changed(x=layout(plain.x), target=target), copies=False)
        layouts = _kept(layouts, refused, "{} arrays", absent)
    return replace(
        made, kinds=tuple(kinds), ndims=tuple(ndims), labels=tuple(labels), layouts=tuple(layouts),
        absent=tuple(absent),
    )  # fmt: skip


def _kept(names: list[str], refused: Mapping[str, str], what: str, absent: list[str]) -> list[str]:
    """The names that are not refused; the others are told of, a line for each reason."""
    for reason in dict.fromkeys(filter(None, refused.values())):
        same = ", ".join(name for name in names if refused.get(name) == reason)
        absent.append(f"{what.format(same)} ({reason})")
    return [name for name in names if not refused.get(name)]


def _kinds(made: Subject, found: frozenset[str], form: str, absent: list[str]) -> list[str]:
    """The kinds of targets that are named, or else not refused."""
    kinds = ["index", "probability"] if made.spec in ("cross_entropy", BINARY) else ["index"]
    named = [kind for kind, name in zip(kinds, KINDS, strict=False) if name in found]
    if named or len(kinds) == 1:
        return named or kinds
    binary = made.spec == BINARY
    spoken = {
        "index": "targets of 0 and 1" if binary else "class indices as targets",
        "probability": "targets between 0 and 1" if binary else "class probabilities as targets",
    }
    refusals = {kind: _refusal(made, _trial(made, _TRIALS[form], kind)) for kind in kinds}
    if all(refusals.values()):  # something else is wrong
        return kinds
    absent += [f"{spoken[kind]} ({refusal})" for kind, refusal in refusals.items() if refusal]
    return [kind for kind in kinds if not refusals[kind]]


def _trial(made: Subject, shape: tuple[int, ...], kind: str) -> Call:
    """A call that nothing is wrong with."""
    dtype = made.dtypes[-1]
    x = np.resize(np.array([0.5, -1.0, 0.25, 1.0, 0.0, 2.0]), shape).astype(dtype)
    if made.spec not in LOSSES:
        return Call(made.spec, x)
    if kind == "probability":
        return Call(made.spec, x, np.full(shape, 1 / 3, dtype))  # there are 3 classes
    if made.spec in CLASS_LOSSES:
        positions = () if len(shape) == 1 else (shape[0], *shape[2:])
        return Call(made.spec, x, np.ones(positions, np.int64))
    return Call(made.spec, x, (x > 0).astype(dtype))


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
