"""Every check is tried on implementations that are wrong on purpose, and must reject them.

A law that passes everything proves nothing. `honest` is the exact answer, rounded: all laws accept
it. Each planted bug changes one thing in it (or is one of the naive formulas), and is rejected by
the law named beside it.
"""

from dataclasses import replace
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import laws
from laws import (
    BINARY,
    LAWS,
    Call,
    Implementation,
    assert_bitwise,
    assert_refused,
    assert_same,
    assert_ulp,
    exact,
    laws_of,
)
from strategies import calls
from truth import decimals

# ---------------------------------------------------------------------------------------
# an honest implementation: the exact answer, rounded


def _rounded(numbers, dtype):
    with np.errstate(all="ignore"):
        return np.array([float(v) for v in np.ravel(numbers)]).reshape(np.shape(numbers)).astype(dtype)


def honest(name, *, change=None, value=None, grad=None):
    """The exact answer, rounded. `change` edits the call first, `value` and `grad` the results."""

    def prepare(x, target=None, *, grad_output=None, dtype=None, **options):
        x = np.asarray(x)
        result = np.dtype(dtype or x.dtype).newbyteorder("=")
        options = {k: v for k, v in options.items() if v is not None}
        target = None if target is None else np.asarray(target)
        call = Call(name, x, target, options, grad_output)
        return call, result

    def to_value(*args, **options):
        call, dtype = prepare(*args, **options)
        used = change(call) if change else call
        result = _rounded(exact(used).value, dtype)
        result = value(call, result) if value else result
        return result if np.ndim(result) else dtype.type(result)

    def to_grad(*args, out=None, **options):
        call, dtype = prepare(*args, **options)
        used = change(call) if change else call
        result = _rounded(exact(used).grad, dtype)
        result = grad(call, result) if grad else result
        if out is None:
            return result
        out[...] = result
        return out

    def to_both(*args, out=None, **options):
        result = to_value(*args, **options)
        return result, to_grad(*args, out=out, **options)

    return Implementation(name, to_value, to_grad, to_both)


def rejected(law, implementation, **narrow):
    """Whether `law` finds a call that `implementation` breaks."""
    found = []

    @settings(
        max_examples=300, derandomize=True, deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(data=st.data())
    def search(data):
        call = data.draw(calls(implementation.name, **{**narrow, **law.draws}))
        try:
            with np.errstate(all="ignore"):
                law.check(implementation, call)
        except (AssertionError, FloatingPointError, RuntimeWarning) as error:
            found.append(error)
            raise AssertionError("found") from error

    try:
        search()
    except AssertionError:
        assert found
    return bool(found)


ALL = [pytest.param(n, each, id=f"{n}-{each.name}") for n in laws.EVERYTHING for each in laws_of(n)]


@pytest.mark.parametrize(("name", "law"), ALL)
@settings(max_examples=4)
@given(data=st.data())
def test_laws__accept_an_honest_implementation(name, law, data):
    """A law that rejects the exact answer is no law."""
    law.check(honest(name), data.draw(calls(name, **law.draws)))


# ---------------------------------------------------------------------------------------
# planted bugs


def _zero_where(call, grad):
    """0 * NaN: the mask multiplies instead of selecting."""
    rows = call.rows
    broken = ~np.isfinite(rows.x)
    dead = ~rows.live
    if call.axis is None:
        grad.reshape(-1)[broken & dead] = np.nan
    else:
        moved = np.moveaxis(grad, call.axis, -1)
        moved[(broken.any(axis=1) & dead).reshape(call.positions)] = np.nan
    return grad


def _ignore_inside_only(call):
    """ignore_index outside [0, K) is taken modulo K."""
    ignore = call.options.get("ignore_index", -100)
    if not call.index or 0 <= ignore < call.rows.x.shape[1]:
        return call
    K = call.rows.x.shape[1]
    target = np.where(call.target.astype(object) == ignore, ignore % K, call.target)
    return replace(call, target=target.astype(int))


def _value_grad_scaled(name):
    """value_and_grad returns a value scaled by grad_output."""
    f = honest(name)

    def both(*args, grad_output=None, out=None, **options):
        value, grad = f.value_and_grad(*args, grad_output=grad_output, out=out, **options)
        return (value if grad_output is None else value * np.asarray(grad_output)), grad

    return replace(f, value_and_grad=both)


def _last_axis_only(name):
    """The class axis is always the last."""
    f = honest(name)

    def last(g):
        def inner(x, target=None, **options):
            axis = options.pop("axis", None)
            x = np.asarray(x)
            axis = (0 if x.ndim == 1 else 1) if axis is None else axis
            if x.shape[axis] == x.shape[-1]:
                axis = -1
            return g(x, target, axis=axis, **options)

        return inner

    return replace(f, value=last(f.value), grad=last(f.grad))


def _wrong_layout(name):
    """Strides are not looked at: the memory is read in order."""
    f = honest(name)

    def read(x):
        x = np.asarray(x)
        return np.ravel(x, order="K").reshape(x.shape)

    return replace(
        f,
        value=lambda x, *a, **o: f.value(read(x), *a, **o),
        grad=lambda x, *a, **o: f.grad(read(x), *a, **o),
    )


def _writes_to_logits(name):
    """The maximum is subtracted in place."""
    f = honest(name)

    def spoil(g):
        def inner(x, *args, **options):
            result = g(x, *args, **options)
            if isinstance(x, np.ndarray) and x.flags.writeable and x.size and "out" not in options:
                x -= x.max()
            return result

        return inner

    return replace(f, value=spoil(f.value), grad=spoil(f.grad))


def _out_late(name):
    """out=logits: the logits are overwritten before they are read a second time."""
    f = honest(name)

    def grad(x, *args, out=None, **options):
        if out is None:
            return f.grad(x, *args, **options)
        out[...] = 0
        return f.grad(x, *args, out=out, **options)

    return replace(f, grad=grad)


def _out_ignored(name):
    f = honest(name)
    return replace(f, grad=lambda *a, out=None, **o: f.grad(*a, **o))


BUGS = [
    # function, bug, law that finds it, how
    ("cross_entropy", "0 * NaN", "ignored_rows_may_hold_anything", {"grad": _zero_where}),
    (BINARY, "0 * NaN", "ignored_rows_may_hold_anything", {"grad": _zero_where}),
    ("cross_entropy", "ignore_index modulo K", "where_is_ignore_index",
     {"change": _ignore_inside_only}),
    ("cross_entropy", "value scaled by the cotangent", "value_and_grad_are_value_and_grad",
     _value_grad_scaled),
    (BINARY, "value scaled by the cotangent", "value_and_grad_are_value_and_grad",
     _value_grad_scaled),
    ("cross_entropy", "axis guessed from the shape", "class_axis_anywhere", _last_axis_only),
    ("nll_loss", "axis guessed from the shape", "class_axis_anywhere", _last_axis_only),
    ("cross_entropy", "strides not looked at", "layouts_are_one_array", _wrong_layout),
    ("softmax", "strides not looked at", "layouts_are_one_array", _wrong_layout),
    ("sigmoid", "strides not looked at", "layouts_are_one_array", _wrong_layout),
    ("cross_entropy", "logits written to", "layouts_are_one_array", _writes_to_logits),
    ("log_softmax", "logits written to", "layouts_are_one_array", _writes_to_logits),
    ("cross_entropy", "out= before reading", "out_holds_the_gradient", _out_late),
    ("softmax", "out= before reading", "out_holds_the_gradient", _out_late),
    ("sigmoid", "out= not written", "out_holds_the_gradient", _out_ignored),
]  # fmt: skip


# Rare among all calls, so that finding them there takes long: where to look for these.
NARROW = {"axis guessed from the shape": {"ndims": ("3",), "regimes": ["dense"]}}


@pytest.mark.parametrize(
    ("name", "bug", "law", "make"),
    [pytest.param(*each, id="-".join(each[:3])) for each in BUGS],
)
def test_laws__reject_the_planted_bug(name, bug, law, make):
    """The bug is found by the law whose sentence describes it."""
    wrong = make(name) if callable(make) else honest(name, **make)
    (found,) = [each for each in laws_of(name) if each.name == law]
    assert rejected(found, wrong, **NARROW.get(bug, {})), f"{law} does not see it"


def test_laws__every_law_has_a_bug_that_it_finds():
    """A law without a bug is not known to work: list the bug, or the reason."""
    known = {law for _, _, law, _ in BUGS}
    others = {"smoothing_zero_is_none": "test_laws__smoothing_zero"}
    assert {law.name for law in LAWS} == known | set(others)
    for test in others.values():
        assert test in globals()


def _law(name, law):
    return next(each for each in laws_of(name) if each.name == law)


def test_laws__smoothing_zero():
    """A default that smooths is seen."""

    def change(call):
        return call if "label_smoothing" in call.options else call.having(label_smoothing=0.1)

    wrong = honest("cross_entropy", change=change)
    assert rejected(_law("cross_entropy", "smoothing_zero_is_none"), wrong)


# ---------------------------------------------------------------------------------------
# the checkers themselves


def test_assert_ulp__sees_what_it_should():
    """One test a branch of the comparison that all others stand on."""
    one = decimals(1.0)
    eps = np.finfo(float).eps
    assert_ulp("softmax", np.float64(1 + 4 * eps), one)
    for wrong in (1 + 5 * eps, 1 - 5 * eps, 0.0, -1.0, np.nan, np.inf):
        with pytest.raises(AssertionError):
            assert_ulp("softmax", np.float64(wrong), one)
    for value in (np.nan, np.inf, -np.inf, 0.0):
        assert_ulp("softmax", np.float64(value), decimals(value))
        with pytest.raises(AssertionError):
            assert_ulp("softmax", np.float64(1), decimals(value))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(-np.inf), decimals(np.inf))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(1e-300), decimals(0.0))
    assert_ulp("softmax", np.float64(1e-17), decimals(0.0), scale=one)
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(1e-15), decimals(0.0), scale=one)
    with pytest.raises(AssertionError, match="shape"):
        assert_ulp("softmax", np.ones(2), decimals(np.ones(3)))
    with pytest.raises(KeyError):
        assert_ulp("a_function_without_a_limit", np.float64(1), one)
    # half precision rounds once
    assert_ulp("softmax", np.float16(1), decimals(1 + 2.0**-11))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float16(1), decimals(1 + 2.0**-10))
    # beyond the largest number
    assert_ulp("softmax", np.float32(np.inf), decimals(1e39))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float32(1), decimals(1e39))
    # below the normal numbers only smallness is promised, and it is
    assert_ulp("softmax", np.float64(0), decimals(1e-310))
    with pytest.raises(AssertionError):
        assert_ulp("softmax", np.float64(1e-300), decimals(1e-310))


def test_assert_bitwise__sees_what_it_should():
    """NaN is NaN, 0 is not -0, float32 is not float64."""
    assert_bitwise(np.array([np.nan, 0.0]), np.array([np.nan, 0.0]))
    for other in (np.array([0.0]), np.array([-0.0, 1]), np.float32([0, 1]), np.array([0, np.nan])):
        with pytest.raises(AssertionError):
            assert_bitwise(np.array([0.0, 1.0]), other)


def test_assert_same__allows_two_roundings_and_no_third():
    """Two results of one number are each within the limit."""
    eps = np.finfo(float).eps
    assert_same("softmax", np.float64(1 + 8 * eps), np.float64(1))
    with pytest.raises(AssertionError):
        assert_same("softmax", np.float64(1 + 9 * eps), np.float64(1))


def test_assert_refused__sees_a_written_out_and_a_missing_word():
    """The error tests would pass on anything that raises otherwise."""
    z = np.zeros((2, 3))

    def grad(x, *args, out=None, **options):
        out[...] = 0
        raise ValueError("reduction must be none, mean or sum")

    def refuse(*args, **options):
        raise ValueError("reduction must be none, mean or sum")

    late = Implementation("cross_entropy", refuse, grad, refuse)
    with (
        mock.patch.object(laws, "package", return_value=late),
        pytest.raises(AssertionError, match="written"),
    ):
        assert_refused("cross_entropy", ValueError, ["reduction"], z, [0, 1])
    plain = Implementation("cross_entropy", refuse, refuse, refuse)
    with mock.patch.object(laws, "package", return_value=plain):
        assert_refused("cross_entropy", ValueError, ["reduction"], z, [0, 1])
        with pytest.raises(AssertionError, match="weight"):
            assert_refused("cross_entropy", ValueError, ["weight"], z, [0, 1])
    silent = Implementation("cross_entropy", *[lambda *a, **o: None] * 3)
    with (
        mock.patch.object(laws, "package", return_value=silent),
        pytest.raises(pytest.fail.Exception),
    ):
        assert_refused("cross_entropy", ValueError, [], z, [0, 1])
