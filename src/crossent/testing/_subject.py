"""What is tested: somebody's function and gradient, the options they have, the digits they owe."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from crossent.testing._calls import BINARY, ELEMENTWISE, KINDS, LOSSES, NDIMS, OPTIONS, ROWS, Array, Call
from crossent.testing._compare import Broken, check_bits, check_digits
from crossent.testing._limits import limit
from crossent.testing._truth import Exact, decimals, exact

Tolerance: TypeAlias = float | tuple[float, float] | None
Function: TypeAlias = Callable[..., Any]

LABELS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64", "bool")


class Layout(NamedTuple):
    """A form of memory: what makes it of an array, and its Python source."""

    of: Callable[[Array], Array]
    source: str

    def view(self, v: Any) -> Any:
        """What is passed for an argument: a view of an array, all else as it is."""
        return self.of(v) if isinstance(v, np.ndarray) and v.ndim else v


LAYOUTS = {
    "transposed": Layout(lambda x: np.array(x, order="F"), "np.array({}, order='F')"),
    "strided": Layout(lambda x: np.repeat(x, 2, axis=-1)[..., ::2], "np.repeat({}, 2, axis=-1)[..., ::2]"),
    "reversed": Layout(lambda x: np.flip(np.flip(x).copy()), "np.flip(np.flip({}).copy())"),
    "read-only": Layout(lambda x: np.broadcast_to(x, x.shape), "(lambda x: np.broadcast_to(x, x.shape))({})"),
    "byte-swapped": Layout(
        lambda x: x.astype(x.dtype.newbyteorder()), "(lambda x: x.astype(x.dtype.newbyteorder()))({})"
    ),
}


def options_of(spec: str) -> tuple[str, ...]:
    """Everything that `supports` may name for a function."""
    kinds = KINDS if spec in ("cross_entropy", BINARY) else {}
    return (*OPTIONS[spec], *kinds.values(), "grad_output")


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
    of_nothing : bool
        Whether means over nothing are compared: the other laws would tell what one law is about.
    """

    spec: str
    implementation: Function
    gradient: Function | None = None
    supports: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float32", "float64")
    tolerance: tuple[float, float] | None = None
    kinds: tuple[str, ...] = ("index", "probability")
    ndims: tuple[str, ...] = NDIMS
    labels: tuple[str, ...] = LABELS
    layouts: tuple[str, ...] = tuple(LAYOUTS)
    absent: tuple[str, ...] = ()
    mode: str = "digits"
    of_nothing: bool = False

    @property
    def name(self) -> str:
        """What the function is called where it comes from."""
        return _name(self.implementation)

    @property
    def source_name(self) -> str:
        """What to call the function in Python."""
        return self.name if self.name.isidentifier() else "f"

    @property
    def grad_name(self) -> str:
        """What the gradient is called where it comes from."""
        return _name(self.gradient)

    @property
    def one_row(self) -> bool:
        """Whether no call has more than one row of classes."""
        return self.ndims == ("1",) and self.spec not in (*ELEMENTWISE, BINARY)

    def has(self, option: str) -> bool:
        """Whether calls may hold this option, be of this dtype, or have this kind of target."""
        return option in (*self.supports, *self.dtypes, *(KINDS[kind] for kind in self.kinds))

    def limit(self, quantity: str, dtype: np.dtype[Any]) -> float:
        """Ulps that a value or a gradient may be away."""
        gradient = quantity == "gradient"
        if self.tolerance is not None:
            return self.tolerance[gradient]
        return limit(f"{self.spec}_grad" if gradient else self.spec, dtype)

    # -- calling ---------------------------------------------------------------------------------

    def value(self, call: Call) -> Array:
        """What the function gives."""
        fit = self.fitted(call)
        came = self.run(fit, "value", self.implementation, self.arguments(fit), self.options(fit))
        return came.reshape(call.value_shape)

    def grad(self, call: Call) -> Array:
        """What the gradient gives."""
        assert self.gradient is not None
        fit = self.fitted(call)
        options = self.options(fit)
        if fit.grad_output is not None:
            options["grad_output"] = np.array(fit.grad_output, order="C")
        return self.run(fit, "gradient", self.gradient, self.arguments(fit), options).reshape(call.x.shape)

    def fitted(self, call: Call) -> Call:
        """The same call with as many dimensions as the function takes: laws ask about rows."""
        n = call.x.ndim
        if not n or str(n) in self.ndims:
            return call
        more = max(map(int, self.ndims)) - n
        if more < 0 and len(call.x) != 1:
            raise Unfit

        of_class = call.class_weight

        def fit(a: Array) -> Array:
            if a is of_class or not a.ndim:
                return a
            if more < 0:
                return a.reshape(a.shape[1:])
            before = 1 if call.function in ROWS else a.ndim  # their classes stay the last
            return a.reshape(*a.shape[:before], *(1,) * more, *a.shape[before:])

        return call.mapped(fit)

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

    def run(
        self, call: Call, quantity: str, f: Function, arguments: tuple[Array, ...], options: dict[str, Any]
    ) -> Array:
        """Call a function, and convert what it returns: an array of the right shape."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = f(*arguments, **options)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # SystemExit, and panics of Rust, are no Exceptions
            text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise Broken(call, quantity, "raised", text, "a result", raised=True) from error
        came = _converted(result)
        if came is None:
            raise Broken(call, quantity, "no numbers", f"returned {_described(result)}", "numbers")
        due = call.x.shape if quantity == "gradient" else call.value_shape
        if came.size == 0 == np.prod(due) and not hasattr(result, "shape"):
            came = came.reshape(due)  # a list of nothing has no other shape
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
        if call.of_nothing and not self.of_nothing:
            return
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


def _name(f: Any) -> str:
    return str(getattr(f, "__name__", "") or f"{type(f).__name__}(...)")


class Unfit(Exception):
    """A function takes no call of this form."""


def _converted(result: Any) -> Array | None:
    """What came, as an array of floats; None if it is none."""
    try:
        a = np.asarray(result)
        if a.dtype.kind == "f":
            return a
        if a.dtype.kind in "cSUMm" or a.dtype.names or (a.dtype.kind == "O" and None in a.ravel().tolist()):
            return None
        return a.astype(np.float64)  # whole numbers, Decimals, bfloat16
    except (TypeError, ValueError):
        return None


def _described(result: Any) -> str:
    """What came instead of numbers."""
    if result is None:
        return "None"
    kind = type(result).__name__
    if isinstance(result, tuple | list):
        return f"a {kind} of {len(result)}"
    return f"{kind} of {result.dtype}" if isinstance(result, np.ndarray | np.generic) else kind
