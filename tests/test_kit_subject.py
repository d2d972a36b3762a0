"""What is called, and how: layouts, options, trial calls, digits that are owed, which laws say nothing."""

import warnings
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

import crossent
from crossent.testing import LAWS, Broken, Call, Law, conformance_report, conformance_tests
from crossent.testing import _laws as laws_as_data
from crossent.testing._calls import BINARY, CLASS_LOSSES, LOSSES, OPTIONS, ROWS, SPECS, literal
from crossent.testing._subject import LABELS, LAYOUTS, Subject, Unfit, options_of
from crossent.testing._trials import subject, trial, with_option
from crossent.testing._truth import DIGITS, Exact, exact

# -- forms of memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts__are_the_same_numbers_in_the_memory_they_are_named_for(name, shape):
    """A copy: what is given is left as it was."""
    x = np.arange(1.0, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    y = LAYOUTS[name].view(x)
    source = eval(LAYOUTS[name].source.format(literal(x)))
    assert (source.strides, source.dtype, source.flags.writeable) == (y.strides, y.dtype, y.flags.writeable)
    assert np.array_equal(y, x)
    assert np.array_equal(y, source)
    assert y.dtype.newbyteorder("=") == np.float32
    assert (y.dtype.isnative, y.flags.writeable) == (name != "byte-swapped", name != "read-only")
    assert x.flags.writeable
    strides = x.strides
    looks = {
        "transposed": tuple(4 * int(np.prod(shape[:i])) for i in range(len(shape))),
        "strided": tuple(2 * s for s in strides),
        "reversed": tuple(-s for s in strides),
    }
    assert y.strides == looks.get(name, strides)
    assert name == "read-only" or not np.shares_memory(x, y)
    for other in (3, np.array(3)):  # as they are
        assert LAYOUTS[name].view(other) is other


# -- options and names -------------------------------------------------------------------------------


def test_options__are_those_of_the_contract():
    """With the kinds of targets where there are two, and the cotangent."""
    assert options_of("softplus") == ("grad_output",)
    assert options_of("logsumexp") == ("axis", "keepdims", "grad_output")
    kinds = ("indices", "probabilities", "grad_output")
    assert options_of("cross_entropy")[-3:] == options_of(BINARY)[-3:] == kinds
    assert "probabilities" not in options_of("nll_loss")


class Model:
    """A callable without a name of its own."""

    def __call__(self, x):
        return crossent.softplus(x)


def test_subject__is_called_what_the_function_is():
    """Or what its class is."""
    made = subject(Model(), "softplus", grad=crossent.softplus_grad)
    assert (made.name, made.grad_name) == ("Model(...)", "softplus_grad")
    assert (made.source_name, subject(crossent.softplus, "softplus").source_name) == ("f", "softplus")
    made = subject(crossent.softplus, "softplus", grad=lambda x: crossent.softplus_grad(x))
    assert (made.name, made.grad_name) == ("softplus", "<lambda>")


def test_subject__has_options_dtypes_and_kinds_of_targets():
    """What laws ask for."""
    made = subject(crossent.cross_entropy, "cross_entropy", supports=["where", "indices"], dtypes="float32")
    assert made.supports == {"where"}
    assert all(made.has(name) for name in ("where", "indices", "float32"))
    assert not any(made.has(name) for name in ("weight", "probabilities", "float64"))
    made = subject(crossent.cross_entropy, "cross_entropy", supports=["indices", "probabilities"])
    assert made.kinds == ("index", "probability")
    assert not made.supports


@pytest.mark.parametrize("tolerance", [None, 50, (50, 7)])
def test_subject__owes_the_digits_of_the_contract_or_of_the_tolerance(tolerance):
    """Values and gradients each."""
    made = subject(crossent.softmax, "softmax", tolerance=tolerance)
    due = {None: (4, 6), 50: (50, 50), (50, 7): (50, 7)}[tolerance]
    assert (made.limit("value", np.dtype("float32")), made.limit("gradient", np.dtype("float32"))) == due
    half = {None: 0.51, 50: 50, (50, 7): 7}[tolerance]
    assert made.limit("gradient", np.dtype("float16")) == half
    assert subject(crossent.softmax, "softmax", tolerance=0).tolerance == (0, 0)


@pytest.mark.parametrize(
    ("error", "message", "given"),
    [
        (ValueError, f"spec must be one of {', '.join(SPECS)}, got 'hinge'", {"spec": "hinge"}),
        (TypeError, "implementation and grad must be functions", {"implementation": 1}),
        (TypeError, "implementation and grad must be functions", {"grad": 1}),
        (ValueError, "dtypes must be among float16, float32, float64, got int64", {"dtypes": "int64"}),
        (ValueError, "dtypes must name at least one dtype", {"dtypes": ()}),
        (ValueError, "tolerance must be ulps, one number or two, got (1, nan)", {"tolerance": (1, np.nan)}),
        (
            ValueError,
            "supports may hold axis, dtype, grad_output (or reduction=none, ndim=2), got axis, speed",
            {"supports": ["axis", "speed"]},
        ),
        *(
            (
                ValueError,
                f"supports may hold axis, dtype, grad_output (or reduction=none, ndim=2), got {name}",
                {"supports": name},
            )
            for name in ("ndim=5", "ndim=", "axis=1", "speed=1", "weight", "reduction=sum")
        ),
        *(
            (
                ValueError,
                "supports may hold weight, ignore_index, reduction, axis, where, grad_output "
                f"(or reduction=none, ndim=2), got {name}",
                {"supports": name, "spec": "nll_loss"},
            )
            for name in ("reduction=average", "reduction=none=1", "reduction=", "indices")
        ),
    ],
)
def test_subject__refuses_what_there_is_not(error, message, given):
    """In words that name what there is."""
    with pytest.raises(error) as caught:
        subject(**{"implementation": crossent.softmax, "spec": "softmax", **given})
    assert str(caught.value) == message


def test_subject__takes_what_is_named():
    """One name or several, options that are fixed, the number of dimensions."""
    made = subject(crossent.nll_loss, "nll_loss", supports=["reduction=sum", "ndim=3", "axis"])
    assert (made.supports, made.fixed, made.ndims) == ({"axis"}, {"reduction": "sum"}, ("3",))
    assert (made.dtypes, made.tolerance, made.mode) == (("float32", "float64"), None, "digits")
    for reduction in ("none", "mean", "sum"):
        made = subject(crossent.nll_loss, "nll_loss", supports=f"reduction={reduction}")
        assert (made.supports, made.fixed) == (set(), {"reduction": reduction})
    made = subject(crossent.softmax, "softmax", supports="axis", dtypes=[np.float16])
    assert (made.supports, made.fixed, made.ndims) == ({"axis"}, {}, ("1", "2", "3", "4"))
    assert (made.dtypes, made.absent) == (("float16",), ())


def test_subject__parameters_are_options():
    """Of both functions; a cotangent is the gradient's alone, and any keyword is all options."""

    def grad(x, axis=-1, *, grad_output=None):
        return np.zeros(x.shape)

    def any_keyword(x, **options):
        return crossent.softmax(x)

    assert subject(crossent.softmax, "softmax").supports == {"axis", "dtype"}
    assert subject(crossent.softmax, "softmax", grad=grad).supports == {"axis", "grad_output"}
    assert subject(any_keyword, "softmax").supports == {"axis", "dtype"}
    assert subject(any_keyword, "softmax", grad=any_keyword).supports == {"axis", "dtype", "grad_output"}
    few = subject(lambda x: crossent.softmax(x), "softmax", grad=grad)
    assert few.supports == {"grad_output"}
    both = subject(lambda x, target, **o: crossent.cross_entropy(x, target), "cross_entropy")
    assert both.kinds == ("index", "probability")
    assert not {"indices", "probabilities"} & both.supports


# -- calling -----------------------------------------------------------------------------------------


class Recorder:
    """Remembers what it was called with."""

    def __init__(self, result=0.0):
        self.calls, self.result = [], result

    def __call__(self, *arguments, **options):
        self.calls.append((arguments, options))
        return self.result


def recorded(spec="cross_entropy", **fields):
    f, g = Recorder(), Recorder(np.zeros((2, 3)))
    return f, g, Subject(spec, f, g, **fields)


def test_subject__passes_copies_in_order_of_what_is_supported():
    """Nothing that is tested may change what is tested next, and only one law is about memory."""
    x, w = np.arange(6.0).reshape(3, 2).T, np.arange(6.0)[::2]
    y, g = np.array([1, 1, 0, 0])[::2], np.array([3.0, 4.0, 5.0, 6.0])[::2]
    call = Call("cross_entropy", x, y, {"weight": w, "axis": 1, "reduction": "sum"}, g)
    f, grad, made = recorded(supports=frozenset({"weight", "reduction"}))
    assert made.value(call) == 0
    assert made.grad(call).shape == (2, 3)
    assert [name for name, _ in made.quantities(call)] == ["value", "gradient"]
    assert [name for name, _ in replace(made, gradient=None).quantities(call)] == ["value"]
    for recorder, names in ((f, ["weight", "reduction"]), (grad, ["weight", "reduction", "grad_output"])):
        (arguments, options) = recorder.calls[0]
        assert list(options) == names
        assert type(options["reduction"]) is str
        pairs = [(x, arguments[0]), (y, arguments[1]), (w, options["weight"])]
        pairs += [(g, options["grad_output"])] if "grad_output" in options else []
        for was, passed in pairs:
            assert np.array_equal(passed, was)
            assert passed.flags.c_contiguous
            assert passed.flags.writeable
            assert not np.shares_memory(passed, was)
    made.grad(call.changed(grad_output=None))
    assert "grad_output" not in grad.calls[-1][1]
    other = replace(made, spec=BINARY, implementation=Recorder(np.float64(0)), supports={"weight"})
    other.value(Call(BINARY, x, x, {"weight": x}))
    assert other.implementation.calls[0][1]["weight"].flags.c_contiguous
    made.grad(call.changed(grad_output=np.ones((3, 2)).T))
    assert grad.calls[-1][1]["grad_output"].flags.c_contiguous


def test_subject__hears_no_warnings_of_others():
    """They are no wrong answers; crossent's own are heard by its adapter."""

    def loud(x):
        warnings.warn("slow", stacklevel=1)
        np.exp(x * 1e5)
        return np.log1p(np.exp(x))

    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert subject(loud, "softplus").value(Call("softplus", np.ones(2))).shape == (2,)


def told(made, call, quantity="value"):
    with pytest.raises(Broken) as caught:
        getattr(made, {"value": "value", "gradient": "grad"}[quantity])(call)
    broken = caught.value
    assert broken.call is call
    assert broken.quantity == quantity
    return broken.problem, broken.came, broken.due, broken.raised


def test_subject__an_error_or_a_wrong_shape_is_a_broken_law():
    """With the first line of the message, and both shapes."""

    def fails(x, target):
        raise ValueError("\n no such kernel\nat 0x7f")

    call = Call("cross_entropy", np.zeros((2, 3)), np.array([0, 1]))
    made = Subject("cross_entropy", fails, fails)
    for quantity in ("value", "gradient"):
        assert told(made, call, quantity) == ("raised", "ValueError: no such kernel", "a result", True)
    made = Subject("cross_entropy", lambda x, y: np.zeros(2), lambda x, y: np.zeros(2))
    assert told(made, call) == ("wrong shape", "shape (2,)", "shape ()", False)
    assert told(made, call, "gradient") == ("wrong shape", "shape (2,)", "shape (2, 3)", False)


@pytest.mark.parametrize(
    ("result", "dtype"),
    [
        (1, "float64"),
        (True, "float64"),
        ([Decimal("0.5")], "float64"),
        (np.float16(1), "float16"),
        (np.array([1, 2], np.longdouble), np.longdouble),
        (np.array([1], ">f4"), ">f4"),
    ],
)
def test_subject__results_are_floats_of_their_own_dtype(result, dtype):
    """Or float64, for what NumPy can convert."""
    call = Call("softplus", np.zeros(np.shape(result)))
    came = Subject("softplus", lambda x: result).value(call)
    assert came.dtype == np.dtype(dtype)
    assert np.all(came == np.asarray(result, dtype))


@pytest.mark.parametrize(
    ("result", "what"),
    [
        (1j, "complex"),
        (np.complex64(1j), "complex64 of complex64"),
        ("1", "str"),
        (b"1", "bytes"),
        (np.datetime64(1, "s"), "datetime64 of datetime64[s]"),
        (np.timedelta64(1, "s"), "timedelta64 of timedelta64[s]"),
        (np.zeros((), [("a", float)]), "ndarray of [('a', '<f8')]"),
        (None, "None"),
        ([None, 1.0], "a list of 2"),
        ((1.0, [2.0, 3.0]), "a tuple of 2"),
        ({"loss": 1.0}, "dict"),
    ],
)
def test_subject__results_that_are_no_real_numbers_are_errors(result, what):
    """Though NumPy would convert a text of digits, and None to NaN. It is no refusal of the call."""
    came = told(Subject("softplus", lambda x: result), Call("softplus", np.zeros(())))
    assert came == ("no numbers", f"returned {what}", "numbers", False)


@pytest.mark.parametrize(
    "error", [SystemExit("bad label"), type("PanicException", (BaseException,), {})("Err")]
)
def test_subject__whatever_is_raised_is_told(error):
    """Rust's panics and exits are no Exceptions; they must not end a report."""

    def raises(x):
        raise error

    came = told(Subject("softplus", raises), Call("softplus", np.zeros(1)))
    assert came == ("raised", f"{type(error).__name__}: {error}", "a result", True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_subject__ends_when_it_is_told_to(error):
    """The user asks for it, not the function."""

    def raises(x):
        raise error

    with pytest.raises(error):
        Subject("softplus", raises).value(Call("softplus", np.zeros(1)))


def test_subject__a_list_of_no_rows_has_no_other_shape():
    """An array has."""
    call = Call("softmax", np.zeros((0, 3)))
    assert Subject("softmax", lambda x: []).value(call).shape == (0, 3)
    assert told(Subject("softmax", lambda x: np.zeros(0)), call)[0] == "wrong shape"
    assert told(Subject("softmax", lambda x: [1.0]), call)[0] == "wrong shape"
    assert told(Subject("softmax", lambda x: []), Call("softmax", np.zeros((1, 3))))[0] == "wrong shape"


# -- comparing ---------------------------------------------------------------------------------------


def test_subject__check_is_of_both_quantities_with_the_laws_note():
    """Against the exact answer of the call, or against another that the law has."""
    call = Call("log_softmax", np.array([[0.5, 1.0, -1.0], [0.0, 2.0, 1.0]]))
    made = subject(crossent.log_softmax, "log_softmax", grad=crossent.log_softmax_grad)
    made.check(call)
    other = exact(call.changed(x=call.x[:, ::-1]))
    for name, quantity in (("check", "value"), ("check_value", "value"), ("check_grad", "gradient")):
        with pytest.raises(Broken, match=rf"^{quantity}: .* ulp away .* at \[0, 0\] of a mirror; "):
            getattr(made, name)(call, other, note=" of a mirror")
    wrong = replace(made, gradient=lambda x: -crossent.log_softmax_grad(x))
    with pytest.raises(Broken, match=r"^gradient: .* at \[0, 0\] here; "):
        wrong.check(call, note=" here")
    mixed = replace(exact(call), grad=other.grad)
    with pytest.raises(Broken, match=r"^gradient: .* at \[0, 0\] there; "):
        made.check(call, mixed, note=" there")
    for name in ("check", "check_value", "check_grad"):
        with pytest.raises(Broken, match=r" at \[0, 0\]; came "):
            getattr(made, name)(call, other)
    with pytest.raises(Broken, match=r"^gradient: .* at \[0, 0\]; came "):
        made.check(call, mixed)
    replace(wrong, gradient=None).check(call)


def test_subject__check_measures_against_scale_and_least():
    """Those of the quantity that is checked."""

    def answer(**changes):
        one, none = np.array([Decimal(1)], object), np.array([Decimal(1)], object)
        return Exact(**{**dict.fromkeys(Exact.__annotations__, one), "value_least": none, **changes})

    far, small = np.array([Decimal(2) ** 20], object), np.array([Decimal("1e-320")], object)
    call = Call("softplus", np.zeros(1))
    made = Subject("softplus", lambda x: x + 1 + 2.0**-32, lambda x: x + 1 + 2.0**-32)
    for quantity, check in (("value", made.check_value), ("grad", made.check_grad)):
        with pytest.raises(Broken):
            check(call, answer())
        check(call, answer(**{f"{quantity}_scale": far}))
        check(call, answer(**{f"{quantity}_least": small}))


def room(made, call, quantity, **options):
    """The largest power of two by which a number far below 1 may be away."""
    due = np.full(call.x.shape, Decimal(2.0**-40), object)
    for exponent in range(10, -130, -1):
        try:
            came = np.full(call.x.shape, 2.0**-40 + 2.0**exponent)
            made.digits(call, quantity, came, due, scale=due, **options)
        except Broken:
            continue
        return exponent
    return None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subject__modes_are_all_digits_half_of_them_or_half_of_the_largest_number(dtype):
    """A loss of 1 is an ordinary one; a gradient of 1, of a mean in one position of all."""
    x = np.zeros((4, 2), dtype)
    sums = Call("cross_entropy", x, np.zeros(4, int), {"reduction": "sum"})
    mean = Call("cross_entropy", x, np.zeros(4, int))
    made = subject(crossent.cross_entropy, "cross_entropy", grad=crossent.cross_entropy_grad)
    ulp = {"float32": -23, "float64": -52}[dtype]
    assert room(made, mean, "value") == -40 + ulp + 2  # 4 ulp
    assert room(made, mean, "value", times=2.0) == -40 + ulp + 3
    half = {"float32": 12, "float64": 26}[dtype]
    kept = replace(made, mode="half")
    assert room(kept, mean, "value") == room(kept, sums, "gradient") == -40 + ulp + half
    assert room(replace(kept, tolerance=(2.0**28, 2.0**29)), mean, "gradient") == -40 + ulp + 29
    kept = replace(made, mode="structure")
    assert room(kept, mean, "value") == room(kept, sums, "value") == ulp + half
    assert room(kept, sums, "gradient") == ulp + half
    assert room(kept, mean, "gradient") == ulp + half - 2
    assert room(kept, mean.having(where=np.ones(4, bool)), "gradient") == ulp + half - 2
    assert room(kept, Call("cross_entropy", x[:1], np.zeros(1, int)), "gradient") == ulp + half
    maps = replace(kept, spec="softmax")
    assert room(maps, Call("softmax", x), "gradient") == ulp + half
    nothing = Call("cross_entropy", np.zeros((0, 2), dtype), np.zeros(0, int))
    kept.digits(nothing, "gradient", nothing.x, np.zeros((0, 2), object), scale=np.zeros((0, 2), object))


def test_subject__half_precision_owes_more_digits():
    """Half an ulp, and the little that double rounding adds."""
    call = Call("softmax", np.zeros(2, np.float16))
    made = subject(crossent.softmax, "softmax", dtypes="float16")
    due = np.full(2, Decimal(1))
    made.digits(call, "value", np.full(2, 1 + 2.0**-11), due, scale=due)
    with pytest.raises(Broken, match=r"^value: 1 ulp away \(limit 0.51\) at \[0\]; came "):
        made.digits(call, "value", np.full(2, 1 + 2.0**-10), due, scale=due)


def test_subject__bits_are_the_same_or_within_twice_the_tolerance():
    """Two results, each of which may be as far away."""
    call, one = Call("softplus", np.zeros(1)), np.ones(1)
    made = subject(crossent.softplus, "softplus")
    made.bits(call, "value", one, one, "twice the same")
    next_to_it = np.nextafter(one, 2)
    with pytest.raises(Broken, match=r"^value: twice the same at \[0\]; ") as caught:
        made.bits(call, "value", next_to_it, one, "twice the same")
    assert caught.value.call is call
    loose = replace(made, tolerance=(2.0, 3.0))
    loose.bits(call, "value", one + 4 * 2.0**-52, one, "twice the same")
    loose.bits(call, "gradient", one + 6 * 2.0**-52, one, "twice the same")
    loose.bits(call, "value", -one - 4 * 2.0**-52, -one, "twice the same")
    with pytest.raises(
        Broken, match=r"^value: 5 ulp away \(limit 4\) at \[0\]: twice the same; came 1.0+1, due 1$"
    ):
        loose.bits(call, "value", one + 5 * 2.0**-52, one, "twice the same")


# -- trial calls -------------------------------------------------------------------------------------


def refusing(spec, when):
    """Crossent's function, but for calls that it refuses."""

    def f(x, *rest):
        if when(x, *rest):
            raise TypeError("not for me")
        return getattr(crossent, spec)(x, *rest)

    return f


WHY = "(TypeError: not for me)"


@pytest.mark.parametrize("spec", SPECS)
def test_trials__of_a_function_that_takes_everything_leave_nothing_out(spec):
    """Whatever its options are."""
    made = subject(refusing(spec, lambda *a: False), spec, grad=getattr(crossent, f"{spec}_grad"))
    assert made.absent == ()
    assert made.ndims == ("1", "2", "3", "4")
    kinds = ("index", "probability") if spec in ("cross_entropy", BINARY) else ("index",)
    assert made.kinds == kinds
    assert made.labels == (LABELS if spec == BINARY else LABELS[:-1])
    assert made.layouts == tuple(LAYOUTS)


@pytest.mark.parametrize("spec", [*ROWS, *CLASS_LOSSES])
def test_trials__find_shapes_that_are_refused(spec):
    """Each is told, but for the usual one, with the message."""
    made = subject(refusing(spec, lambda x, *a: x.ndim != 2), spec)
    assert made.ndims == ("2",)
    assert made.absent == (f"logits of shape [3], [4, 3, 2], [5, 3, 2, 4] {WHY}",)
    made = subject(refusing(spec, lambda x, *a: x.ndim == 3), spec)
    assert (made.ndims, made.absent) == (("1", "2", "4"), (f"logits of shape [4, 3, 2] {WHY}",))
    # a function that says how many is not tried
    made = subject(refusing(spec, lambda x, *a: x.ndim == 2), spec, supports="ndim=3")
    assert (made.ndims, made.absent) == (("3",), ())


@pytest.mark.parametrize("spec", ["softplus", BINARY])
def test_trials__of_elements_start_from_one_dimension(spec):
    """It is their usual form."""
    made = subject(refusing(spec, lambda x, *a: x.ndim != 1), spec)
    assert made.ndims == ("1",)
    assert made.absent == (f"logits of shape [2, 3], [4, 3, 2], [5, 3, 2, 4] {WHY}",)


@pytest.mark.parametrize(
    ("spec", "kind", "told"),
    [
        ("cross_entropy", "iu", "class indices as targets"),
        ("cross_entropy", "f", "class probabilities as targets"),
        (BINARY, "between", "targets between 0 and 1"),
        (BINARY, "whole", "targets of 0 and 1"),
    ],
)
def test_trials__find_kinds_of_targets_that_are_refused(spec, kind, told):
    """Binary answers of 0 and 1 are floats too."""

    def refused(x, y):
        if kind in ("between", "whole"):
            return np.all(np.isin(y, (0, 1))) == (kind == "whole")
        return y.dtype.kind in kind

    made = subject(refusing(spec, refused), spec)
    assert made.kinds == (("probability",) if kind in ("iu", "whole") else ("index",))
    assert made.absent == (f"{told} {WHY}",)
    named = subject(refusing(spec, refused), spec, supports=["indices", "probabilities"])
    assert named.kinds == ("index", "probability")
    assert not any("targets" in what for what in named.absent)


def test_trials__find_labels_and_memory_that_are_refused():
    """A line for each message, and dtypes that are left."""

    def strict(x, y):
        if y.dtype.itemsize < 4:
            raise TypeError(f"no {y.dtype.kind}")
        if not x.flags.c_contiguous or not y.flags.writeable:
            raise ValueError("memory")
        return crossent.cross_entropy(x, y)

    made = subject(strict, "cross_entropy", supports=["indices"])
    assert made.labels == ("int32", "uint32", "uint64")
    assert made.layouts == ("byte-swapped",)
    assert made.absent == (
        "labels of dtype int8, int16 (TypeError: no i)",
        "labels of dtype uint8, uint16 (TypeError: no u)",
        "transposed, strided, reversed, read-only arrays (ValueError: memory)",
    )


def test_trials__of_probabilities_find_memory_that_is_refused():
    """Labels are not tried: there are none."""

    def soft(x, q):
        if q.dtype.kind != "f" or not q.dtype.isnative:
            raise TypeError("not for me")
        return crossent.cross_entropy(x, q)

    made = subject(soft, "cross_entropy")
    assert (made.kinds, made.labels, len(made.layouts)) == (("probability",), LABELS[:-1], 4)
    assert made.absent == (f"class indices as targets {WHY}", f"byte-swapped arrays {WHY}")


@pytest.mark.parametrize("which", ["implementation", "gradient"])
def test_trials__try_the_gradient_too(which):
    """What one of the two refuses is not tested."""

    def strict(of):
        def f(x, target):
            if x.ndim == 1 or not x.dtype.isnative or target.dtype == np.int8:
                raise TypeError("not for me")
            return of(x, target)

        return f

    f, g = crossent.cross_entropy, crossent.cross_entropy_grad
    f, g = (strict(f), g) if which == "implementation" else (f, strict(g))
    made = subject(f, "cross_entropy", grad=g, supports=["indices"])
    assert (made.kinds, made.ndims) == (("index",), ("2", "3", "4"))
    assert made.absent == (
        f"logits of shape [3] {WHY}",
        f"labels of dtype int8 {WHY}",
        f"byte-swapped arrays {WHY}",
    )


def test_trials__are_not_spoilt_by_a_function_that_writes_to_its_inputs():
    """Each one gets numbers of its own."""
    seen = []

    def writes(x, target):
        seen.append(np.array(x))
        x[...] = target[...] = 0
        return 0.0

    made = subject(writes, "cross_entropy", supports=["indices"])
    assert made.absent == ("read-only arrays (ValueError: assignment destination is read-only)",)
    assert len(seen) > 10
    assert all(x.any() for x in seen)


def test_trials__of_what_always_fails_leave_all_to_the_laws():
    """A function that takes nothing was not refused this or that kind, label or memory."""
    made = subject(refusing("cross_entropy", lambda *a: True), "cross_entropy")
    assert (made.kinds, made.labels, made.layouts) == (("index", "probability"), LABELS, tuple(LAYOUTS))
    assert made.absent[-1].startswith("even a plain call, f(np.array([[0.5, -1.0, 0.25], [1.0, ")
    assert made.absent[-1].endswith(f" np.array([1, 1])) {WHY}")
    # a wrong result is no refusal
    wrong = subject(lambda x, y: np.zeros((7, 7)), "cross_entropy")
    assert (wrong.absent, wrong.ndims) == ((), ("1", "2", "3", "4"))


@pytest.mark.parametrize("spec", LOSSES)
def test_trials__are_calls_that_nothing_is_wrong_with(spec):
    """Ordinary logits of the last dtype, labels that there are, targets that are probabilities."""
    seen = []

    def look(x, target):
        seen.append((x, target))
        return getattr(crossent, spec)(x, target)

    subject(look, spec, dtypes=["float64", "float32"])
    for x, y in seen:
        assert x.dtype.newbyteorder("=") == np.float32
        assert np.all(abs(x) <= 2)
        assert len(np.unique(x)) >= 3
        if spec in CLASS_LOSSES and y.dtype.kind in "iu":
            assert y.shape == (x.shape[:1] + x.shape[2:] if x.ndim > 1 else ())
            assert np.all((y >= 0) & (y < x.shape[1 if x.ndim > 1 else 0]))
        else:
            assert y.dtype.kind in "iub" or y.dtype == x.dtype
            assert y.shape == x.shape
            assert np.all((y >= 0) & (y <= 1))
    if spec != BINARY:
        axis = [1 if x.ndim > 1 else 0 for x, _ in seen]
        sums = [y.sum(a) for (x, y), a in zip(seen, axis, strict=True) if y.shape == x.shape]
        assert all(np.allclose(s, 1, rtol=1e-6) for s in sums)
        assert (spec == "cross_entropy") == bool(sums)
    else:
        both = [y for _, y in seen if y.dtype.kind == "f" and np.isin(y, (0, 1)).all()]
        assert all(set(np.unique(y)) == {0, 1} for y in both)
        assert any(np.all((y > 0) & (y < 1)) for _, y in seen)


# -- laws as data ------------------------------------------------------------------------------------


def law(**fields):
    draws = fields.pop("draws", {})
    return Law("a_law", "Why.", "a = b", lambda made, call: None, SPECS, draws, **fields)


@pytest.mark.parametrize(
    ("fields", "changes", "reason"),
    [
        ({}, {}, ""),
        ({"gradient": True}, {}, "no gradient was given"),
        ({"gradient": True}, {"gradient": crossent.cross_entropy_grad}, ""),
        ({"needs": ("where",)}, {}, "needs where"),
        ({"needs": ("where",)}, {"supports": frozenset({"where"})}, ""),
        ({"needs": ("where|ignore_index",)}, {}, "needs where or ignore_index"),
        ({"needs": ("where|ignore_index",)}, {"supports": frozenset({"ignore_index"})}, ""),
        ({"needs": ("float64", "weight")}, {}, "needs weight"),
        ({"draws": {"kinds": ("probability",)}}, {"kinds": ("index",)}, "needs probability targets"),
        ({"draws": {"kinds": ("index",)}}, {"kinds": ("index",)}, ""),
        ({"draws": {"ndims": ("1", "3")}}, {"ndims": ("2",)}, "needs logits of 1 or 3 dimensions"),
        ({"draws": {"ndims": ("1", "2")}}, {"ndims": ("2",)}, ""),
        ({"draws": {"reductions": ("none", "sum")}}, {}, "needs reduction=none or sum"),
        ({"draws": {"reductions": ("none", "sum")}}, {"fixed": {"reduction": "sum"}}, ""),
        ({"draws": {"reductions": ("none", "sum")}}, {"supports": frozenset({"reduction"})}, ""),
        ({"draws": {"reductions": ("none", "sum")}}, {"spec": "softmax"}, ""),
    ],
)
def test_law_as_data__says_why_it_is_passed_over(fields, changes, reason):
    """In the words of the report; a function without `reduction` returns the mean."""
    made = Subject(**{"spec": "cross_entropy", "implementation": crossent.cross_entropy, **changes})
    assert law(**fields).passed_over(made) == reason


def test_law_as_data__draws_what_the_implementation_has():
    """Of what the law can use; any dtype, where there is none of those it asks for."""
    made = Subject(
        "cross_entropy", crossent.cross_entropy, supports=frozenset({"where"}), fixed={"reduction": "sum"},
        dtypes=("float16", "float32"), kinds=("index",), ndims=("2", "3"),
    )  # fmt: skip
    everything = {
        "supports": {"where", "reduction"}, "kinds": ["index"], "ndims": ["2", "3"],
        "dtypes": ["float16", "float32"], "reductions": ("sum",),
    }  # fmt: skip
    assert law().calls(made) == everything
    draws = {
        "kinds": ("probability", "index"), "ndims": ("3", "4"), "dtypes": ("float64", "float32"),
        "reductions": ("sum", "mean"), "min_rows": 2,
    }  # fmt: skip
    narrowed = {**everything, "ndims": ["3"], "dtypes": ["float32"], "min_rows": 2}
    assert law(draws=draws).calls(made) == narrowed
    assert law(draws={"dtypes": ("float64",)}).calls(made)["dtypes"] == ("float16", "float32")
    free = replace(made, supports=frozenset({"reduction"}), fixed={})
    assert law().reductions(free) == ("none", "mean", "sum")
    assert law(draws=draws).reductions(free) == ("sum", "mean")
    assert law().reductions(replace(free, supports=frozenset())) == ("mean",)


def test_law_as_data__is_registered_with_its_name_and_docstring(monkeypatch):
    """And runs with the digits that the exact numbers have."""
    monkeypatch.setattr(laws_as_data, "_REGISTERED", [])
    seen = []

    def nothing_is_lost(made, call):
        """Why it
        matters.
        """
        third = Decimal(1) / 3
        seen.append((made, call, len(third.as_tuple().digits), Decimal(1) / 0))

    options = {"needs": ("axis",), "gradient": True, "most": 7, "mode": "half", "min_rows": 3}
    check = laws_as_data.law("a = b", ("softmax",), **options)(nothing_is_lost)
    (made,) = laws_as_data.every_law()
    assert (made.name, made.why, made.formula) == ("nothing_is_lost", "Why it matters.", "a = b")
    assert (made.specs, made.needs, made.gradient) == (("softmax",), ("axis",), True)
    assert (made.most, made.mode, made.draws, made.check) == (7, "half", {"min_rows": 3}, check)
    given = Subject("softmax", crossent.softmax)
    made.check(given, "a call")
    ((came, *rest),) = seen
    assert vars(came) == vars(given)
    assert rest == ["a call", DIGITS, Decimal("Infinity")]
    laws_as_data.law("c = d")(lambda made, call: None)
    plain = laws_as_data.every_law()[1]
    assert (plain.specs, plain.needs, plain.gradient) == (SPECS, (), False)
    assert (plain.why, plain.most, plain.mode, plain.draws) == ("", None, "structure", {})
    laws_as_data.law("e = f", of_nothing=True)(lambda made, call: seen.append(made.of_nothing))
    laws_as_data.every_law()[2].check(given, "a call")
    assert seen[-1] is True


def test_subject__looks_at_means_over_nothing_if_it_is_told_to():
    """One law is about them."""
    zero = Subject("cross_entropy", lambda x, y, **options: x.sum() * 0)
    call = Call("cross_entropy", np.zeros((1, 2)), np.array([-100]))
    zero.check_value(call)
    for wrong in (replace(zero, of_nothing=True), zero):
        with pytest.raises(Broken, match="value: "):
            wrong.check_value(call if wrong.of_nothing else call.changed(target=np.array([1])))


# -- forms that a function takes ----------------------------------------------------------------------


def of_dimensions(of, *ndims):
    """A function that takes logits of these dimensions alone."""

    def f(x, *rest, **options):
        if np.ndim(x) not in ndims:
            raise ValueError(f"expected {ndims} dimensions")
        return of(x, *rest, **options)

    return f


@pytest.mark.parametrize(
    ("spec", "ndim"),
    [("sigmoid", 3), ("softmax", 1), ("softmax", 4), ("logsumexp", 3), ("nll_loss", 1), ("nll_loss", 3),
     ("cross_entropy", 1), ("cross_entropy", 4), (BINARY, 2)],
)  # fmt: skip
def test_fitted__rows_are_put_into_the_form_that_is_taken(spec, ndim):
    """Laws ask about rows; what a function of four dimensions alone does is not lost, nor told as broken."""
    f, g = (of_dimensions(getattr(crossent, name), ndim) for name in (spec, f"{spec}_grad"))
    supports = [name for name in options_of(spec) if name not in ("axis", "indices", "probabilities")]
    laws = [law for law in LAWS if law.most is None]  # the others are large
    report = conformance_report(f, spec, grad=g, supports=supports, laws=laws, max_examples=3, seed=0)
    assert report.ok, report.text()
    assert len(report.absent) == 1
    assert report.absent[0].startswith("logits of shape [")
    held = sum(v.word == "holds" for v in report.verdicts)
    assert held >= 10


def test_fitted__is_the_same_call_for_rows_of_other_dimensions():
    """Classes keep their place, class weights their shape, numbers without dimensions theirs."""
    made = Subject("cross_entropy", crossent.cross_entropy, ndims=("4",))
    w = np.array([1.0, 2.0, 3.0])
    options = {"weight": w, "where": np.array([True, False])}
    call = Call("cross_entropy", np.zeros((2, 3)), np.array([0, 2]), options, np.array(2.0))
    fit = made.fitted(call)
    assert (fit.x.shape, fit.target.shape, fit.options["where"].shape) == ((2, 3, 1, 1), (2, 1, 1), (2, 1, 1))
    assert fit.options["weight"] is w
    assert fit.grad_output.shape == ()
    call = Call("softmax", np.zeros((2, 3)), grad_output=np.ones((2, 3)))
    fit = replace(made, spec="softmax", ndims=("1", "3")).fitted(call)
    assert (fit.x.shape, fit.grad_output.shape) == ((2, 1, 3), (2, 1, 3))
    one = replace(made, spec="softmax", ndims=("1",))
    assert one.fitted(call.take(slice(1))).x.shape == (3,)
    with pytest.raises(Unfit):
        one.fitted(call)
    assert one.fitted(Call("softplus", np.array(1.0))).x.shape == ()


def test_trials__of_keywords_leave_out_what_is_refused():
    """A function that takes any keyword says nothing of which: each is tried."""

    def loose(x, target, weight=None, **options):
        if options.keys() & {"label_smoothing", "dtype", "axis"}:
            raise TypeError("unexpected keyword")
        return crossent.cross_entropy(x, target, weight=weight, **options)

    def grad(x, target, **options):
        return crossent.cross_entropy_grad(x, target, **options)

    made = subject(loose, "cross_entropy", grad=grad)
    every = {"weight", "ignore_index", "reduction", "where", "grad_output"}
    assert made.supports == every
    assert made.absent == ("axis, dtype, label_smoothing (TypeError: unexpected keyword)",)
    named = subject(loose, "cross_entropy", grad=grad, supports=[*every, "dtype"])
    assert named.supports == {*every, "dtype"}
    assert conformance_report(loose, "cross_entropy", grad=grad, laws=["value_is_the_definition"], seed=0).ok

    def plain(x, target, weight=None, label_smoothing=0.0, where=None):
        return crossent.cross_entropy(x, target, weight=weight, label_smoothing=label_smoothing, where=where)

    def plain_grad(x, target, weight=None, label_smoothing=0.0, where=None):
        return grad(x, target, weight=weight, label_smoothing=label_smoothing, where=where)

    def refusing_grad(x, target, **options):
        if options.get("where") is not None:
            raise TypeError("unexpected keyword")
        return grad(x, target, **options)

    assert subject(loose, "cross_entropy", grad=plain_grad).supports == {"weight", "where"}
    assert subject(plain, "cross_entropy", grad=refusing_grad).supports == {"weight", "label_smoothing"} | {
        "grad_output"
    }
    binary = subject(lambda x, y, **k: crossent.binary_cross_entropy_with_logits(x, y, **k), BINARY)
    assert binary.supports == {"weight", "pos_weight", "reduction", "where", "dtype"}
    rows = subject(lambda x, **k: crossent.logsumexp(x, **k), "logsumexp")
    assert rows.supports == {"axis", "keepdims"}


@pytest.mark.parametrize("spec", SPECS)
def test_trials__name_the_class_axis_and_each_option_in_turn(spec):
    """What refuses such a call has not got the option."""
    made = Subject(spec, getattr(crossent, spec), supports=frozenset(options_of(spec)), dtypes=("float32",))
    for ndim in "1234":
        for kind in ("index", "probability")[: 2 if spec in ("cross_entropy", BINARY) else 1]:
            call = trial(made, ndim, kind)
            assert (call.x.ndim, call.x.dtype) == (int(ndim), np.float32)
            assert len(np.unique(call.x)) >= 3
            axis = {"1": 0}.get(ndim, 1) if spec in CLASS_LOSSES else -1
            assert call.options == ({"axis": axis} if "axis" in OPTIONS[spec] else {})
            due = getattr(crossent, spec)(call.x, *call.arguments[1:], **made.options(call.having(axis=None)))
            assert due.shape == call.value_shape
    call = trial(made, "2").having(axis=None)
    K = 3 if spec in CLASS_LOSSES else call.x.shape
    every = {
        "weight": np.ones(K), "pos_weight": np.ones(K), "where": np.ones(call.positions, bool),
        "ignore_index": -100, "reduction": "sum", "label_smoothing": 0.1, "keepdims": True, "axis": call.axis,
    }  # fmt: skip
    for name in OPTIONS[spec]:
        (passed,) = with_option(call, name).options.items()
        assert passed[0] == name
        assert np.array_equal(passed[1], every[name]) if name != "dtype" else passed[1] is np.float64
        if name.endswith("weight"):
            assert passed[1].dtype == np.float32
    g = with_option(call, "grad_output").grad_output
    assert (g.shape, g.dtype) == (call.value_shape, np.float32)
    assert np.all(g == 1)


def test_trials__start_from_a_form_that_is_taken():
    """Kinds of targets are asked in it too."""

    def images(x, target):
        if x.ndim != 4 or target.dtype.kind == "f":
            raise ValueError("images and labels")
        return crossent.cross_entropy(x, target)

    made = subject(images, "cross_entropy")
    assert (made.ndims, made.kinds) == (("4",), ("index",))
    named = subject(images, "cross_entropy", supports=["ndim=4", "ndim=3", "indices"])
    assert (named.ndims, named.kinds) == (("4", "3"), ("index",))


@pytest.mark.parametrize("dtypes", [np.float32, "float32", ["float32"], np.dtype("float32"), [np.float32]])
def test_subject__dtypes_may_be_named_in_any_way(dtypes):
    """By NumPy's names or types, one or several."""
    assert subject(crossent.softplus, "softplus", dtypes=dtypes).dtypes == ("float32",)


@pytest.mark.parametrize("dtypes", ["float8", ["bfloat16"], 3])
def test_subject__says_which_dtypes_there_are(dtypes):
    """Also of what NumPy does not know."""
    (name,) = dtypes if isinstance(dtypes, list) else [dtypes]
    with pytest.raises(ValueError, match=rf"^dtypes must be among float16, float32, float64, got {name}$"):
        subject(crossent.softplus, "softplus", dtypes=dtypes)


@pytest.mark.parametrize("tolerance", ["4x", {"value": 4}, [], (1, 2, 3), -1, [1, -1]])
def test_subject__says_what_a_tolerance_is(tolerance):
    """One number of ulps, or two."""
    with pytest.raises(ValueError, match=r"^tolerance must be ulps, one number or two, got "):
        subject(crossent.softplus, "softplus", tolerance=tolerance)
    assert subject(crossent.softplus, "softplus", tolerance=[4, 6]).tolerance == (4.0, 6.0)
    assert subject(crossent.softplus, "softplus", tolerance=[4]).tolerance == (4.0, 4.0)


def test_subject__suggests_the_option_that_was_meant():
    """The others are listed."""
    with pytest.raises(ValueError, match=r"got wieght: did you mean weight\?$"):
        subject(crossent.nll_loss, "nll_loss", supports=["wieght"])


def test_conformance_tests__refuse_wrong_settings_where_they_are_written():
    """Not in each test, and without a call of the function."""

    def never(x):
        raise AssertionError

    for wrong in ({"supports": ["nope"]}, {"dtypes": ["int8"]}, {"tolerance": -1}, {"laws": [3]}):
        with pytest.raises(ValueError, match=r"must be|may hold|there is no law 3"):
            conformance_tests(never, "softplus", **wrong)
    conformance_tests(never, "softplus")
