"""A call as data: its text, what is changed in it, and the smaller calls that are tried for it."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import crossent
from crossent.testing import Broken, Call, Law, _smallest
from crossent.testing._calls import BINARY, SPECS, literal
from crossent.testing._subject import subject

# -- calls -------------------------------------------------------------------------------------------


def test_kit_calls__text_is_of_the_value_or_of_the_gradient():
    """By the cotangent, unless it is said."""
    x, y, g = np.array([0.5, 1.0]), np.array(1), np.array(2.0)
    plain, graded = Call("cross_entropy", x, y, {"axis": 0}), Call("cross_entropy", x, y, {}, g)
    a = "np.array([0.5, 1.0]), np.array(1)"
    assert plain.text() == repr(plain) == f"crossent.cross_entropy({a}, axis=0)"
    assert plain.text(grad=True) == f"crossent.cross_entropy_grad({a}, axis=0)"
    assert graded.text() == f"crossent.cross_entropy_grad({a}, grad_output=np.array(2.0))"
    assert graded.text(grad=False) == f"crossent.cross_entropy({a})"
    assert graded.text("f") == f"f({a}, grad_output=np.array(2.0))"
    assert graded.text("f", grad=False) == f"f({a})"
    typed = plain.having(reduction="sum", dtype=np.float32, axis=None)
    assert typed.text("f") == f"f({a}, reduction='sum', dtype=np.float32)"


def test_kit_calls__are_printed_by_hypothesis_as_python():
    """In the message of a failing test."""

    call, printed = Call("softplus", np.zeros(1)), []
    call._repr_pretty_(SimpleNamespace(text=printed.append), False)
    assert printed == ["crossent.softplus(np.array([0.0]))"]


def test_kit_calls__options_and_fields_are_changed_in_a_copy():
    """None takes an option away."""
    call = Call("softmax", np.zeros(2), None, {"axis": 0, "dtype": "float32"})
    other = call.having(axis=None, dtype="float64")
    assert (other.options, call.options) == ({"dtype": "float64"}, {"axis": 0, "dtype": "float32"})
    assert other.x is call.x
    assert call.changed(function="log_softmax").function == "log_softmax"
    assert call.function == "softmax"


def test_kit_calls__a_map_is_of_every_array():
    """And of nothing else."""
    options = {"weight": np.array([1.0, 2.0]), "reduction": "sum"}
    call = Call("cross_entropy", np.zeros((2, 2)), np.array([0, 1]), options, np.array(3.0))
    other = call.mapped(lambda a: a + 1)
    assert (other.x.tolist(), other.target.tolist(), other.grad_output) == ([[1, 1], [1, 1]], [1, 2], 4)
    assert other.options["weight"].tolist() == [2, 3]
    assert other.options["reduction"] == "sum"
    bare = Call("softplus", np.zeros(2)).mapped(lambda a: a + 1)
    assert (bare.x.tolist(), bare.target, bare.grad_output) == ([1, 1], None, None)


def test_kit_calls__rows_are_taken_with_all_that_belongs_to_them():
    """Masks and cotangents a row; weights of classes stay, those of the binary loss are a row's."""
    rows = np.array([2, 0])
    options = {"weight": np.array([5.0, 6.0, 7.0]), "where": np.array([True, False, True]), "axis": 1}
    call = Call("cross_entropy", np.arange(9.0).reshape(3, 3), np.array([0, 1, 2]), options, np.arange(3.0))
    taken = call.take(rows)
    assert taken.x.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert taken.target.tolist() == [2, 0]
    assert taken.grad_output.tolist() == [2, 0]
    assert taken.options["where"].tolist() == [True, True]
    assert taken.options["weight"].tolist() == [5, 6, 7]
    assert taken.options["axis"] == 1
    assert call.options["where"].tolist() == [True, False, True]
    binary = {name: np.array([1.0, 2.0, 3.0]) for name in ("weight", "pos_weight")}
    call = Call(BINARY, np.arange(3.0), np.array([0, 0.5, 1]), binary, np.array(2.0))
    taken = call.take(rows)
    assert [taken.options[name].tolist() for name in binary] == [[3, 1], [3, 1]]
    assert (taken.target.tolist(), float(taken.grad_output)) == ([1, 0], 2)
    bare = Call("softmax", np.eye(3)).take(slice(None, 1))
    assert (bare.x.tolist(), bare.target, bare.grad_output) == ([[1, 0, 0]], None, None)


@pytest.mark.parametrize(
    ("v", "text"),
    [
        (np.float32, "np.float32"),
        ("mean", "'mean'"),
        (None, "None"),
        (-1, "-1"),
        ((0, 1), "(0, 1)"),
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (np.float64(-0.0), "-0.0"),
        (np.int8(3), "3"),
        (np.bool_(True), "True"),
        (np.inf, "np.inf"),
        (-np.inf, "-np.inf"),
        (np.nan, "np.nan"),
        (np.zeros(0), "np.array([]).reshape(0,)"),
        (np.zeros(0, int), "np.array([], dtype='int64').reshape(0,)"),
        (np.zeros(0, bool), "np.array([], dtype='bool').reshape(0,)"),
        (np.zeros((2, 0), ">f4"), "np.array([], dtype='>f4').reshape(2, 0)"),
        (np.array([[1], [2]], np.uint8), "np.array([[1], [2]], dtype='uint8')"),
        (np.array([True, False]), "np.array([True, False])"),
        (np.zeros(48), f"np.array([{', '.join(['0.0'] * 48)}])"),
        (np.zeros(49), "np.full((49,), 0.0, dtype='float64')"),
        (np.full(49, True), "np.full((49,), True, dtype='bool')"),
        (np.full((7, 8), np.nan, ">f4"), "np.full((7, 8), np.nan, dtype='>f4')"),
        (np.arange(60) % 30, f"np.array({list(range(30))})[np.arange(60) % 30]"),
        (np.arange(60) // 30, "np.array([0, 1])[np.arange(60) * 2 // 60]"),
        (np.maximum(np.arange(60) - 58, 0), "np.array([0, 1])[np.maximum(np.arange(60) - 58, 0)]"),
        (np.tile([[1.0, 2]], (30, 1)), "np.array([[1.0, 2.0]])[np.arange(60) % 1]"),
        (
            np.repeat([[np.nan, 1], [np.inf, 2]], 30, axis=0),
            "np.array([[np.nan, 1.0], [np.inf, 2.0]])[np.arange(60) * 2 // 60]",
        ),
        (
            np.tile(np.arange(4).reshape(2, 2), (1, 25)),
            "np.array([[0, 1], [2, 3]])[..., np.arange(50) % 2]",
        ),
    ],
)
def test_kit_calls__values_are_written_so_that_they_can_be_pasted(v, text):
    """The shortest text that gives the same numbers; 48 of them are written out."""
    if text.endswith("[np.arange(60) % 1]"):
        v = np.tile(v, (2, 1))
    assert literal(v) == text
    again = eval(text, {"np": np})
    if isinstance(v, np.ndarray):
        assert (again.dtype, again.shape) == (v.dtype, v.shape)
        assert np.array_equal(again, v, equal_nan=v.dtype.kind == "f")


@pytest.mark.parametrize("x", [np.arange(50.0), np.where(np.arange(50) == 25, np.nan, 1.0), np.eye(8)])
def test_kit_calls__numbers_without_a_pattern_are_written_out(x):
    """All of them: also where a NaN stands among equal ones."""
    text = literal(x)
    assert "arange" not in text
    assert np.array_equal(eval(text, {"np": np}), x, equal_nan=True)


# -- smaller calls -------------------------------------------------------------------------------------


def law(check):
    return Law("a_law", "Why.", "a = b", check, SPECS, {})


def made_small(call, check, quantity="value", **fields):
    """The smallest call that breaks the law, and what is told of it."""
    made = subject(getattr(crossent, call.function), call.function)
    return _smallest.smallest(law(check), made, call, Broken(call, quantity, "found", **fields))


def test_smaller__the_same_quantity_stays_broken():
    """A wrong gradient must not become a wrong value; what is told is told of the smallest call."""

    def check(made, call):
        if call.x.size == 1:
            raise Broken(call, "value", "other")
        raise Broken(call, "gradient", f"{call.x.size} numbers", raised=call.x.size == 2)

    small, broken = made_small(Call("softplus", np.arange(5.0) + 1), check, "gradient")
    assert small.x.tolist() == [0, 0, 0]
    assert (broken.problem, broken.call) == ("3 numbers", small)
    small, broken = made_small(Call("softplus", np.arange(5.0) + 1), check, "gradient", raised=True)
    assert (small.x.tolist(), broken.problem) == ([0, 0], "2 numbers")


def test_smaller__cost_orders_options_numbers_rows_zeros_and_text():
    """Each before the next."""
    x = np.zeros((2, 3))
    ordered = [
        Call("softmax", x[:1]),
        Call("softmax", np.zeros(3)),
        Call("softmax", x),
        Call("softmax", x + 1),
        Call("softmax", x + 1.5e-7),
        Call("softmax", np.zeros((3, 1, 2))),
        Call("softmax", x, None, {"axis": 1}),
        Call("softmax", x.T, None, {"axis": 0}),
        Call("softmax", x[:1], None, {"axis": 1}, x[:1]),
        Call("softmax", x[:1], None, {"axis": 1, "dtype": "float32"}, x[:1]),
    ]
    costs = [_smallest._cost(call) for call in ordered]
    assert all(a < b for a, b in pairwise(costs)), costs


@pytest.mark.parametrize(
    ("call", "is_so"),
    [
        (Call("softmax", np.zeros((2, 3))), True),
        (Call("softmax", np.zeros((2, 3)), None, {"axis": 0}), False),
        (Call("softmax", np.zeros(3)), False),
        (Call("cross_entropy", np.zeros((2, 3, 1)), np.zeros((2, 1), int)), False),
        (Call("softplus", np.zeros(3)), True),
        (Call("softplus", np.zeros((3, 1))), False),
    ],
)
def test_smaller__calls_in_rows(call, is_so):
    """The form that rows and classes are taken from; another is brought to it first."""
    assert _smallest._in_rows(call) == is_so
    forms = [_smallest._in_rows(each) for each in _smallest._smaller(call) if not each.options]
    assert all(forms[:1]) if call.x.ndim < 3 else forms


def options(candidates):
    return [(set(c.options), c.grad_output is not None) for c in candidates]


def test_smaller__options_are_taken_away_one_by_one():
    """But for a reduction that the cotangent has the shape of, and an axis that is not the usual one."""
    x, y = np.zeros((2, 3)), np.zeros(2, int)
    call = Call("cross_entropy", x, y, {"reduction": "none", "axis": 1}, np.zeros(2))
    assert options(_smallest._with_fewer_options(call)) == [
        ({"reduction", "axis"}, False),
        ({"reduction"}, True),
    ]
    call = Call("cross_entropy", x, y, {"reduction": "sum", "axis": -1}, np.array(1.0))
    assert options(_smallest._with_fewer_options(call)) == [
        ({"reduction", "axis"}, False),
        ({"axis"}, True),
        ({"reduction"}, True),
    ]
    call = Call("cross_entropy", x.T, y, {"reduction": "none", "axis": 0})
    assert options(_smallest._with_fewer_options(call)) == [({"axis"}, False)]


def rows_of(candidates):
    return [c.x.tolist() for c in candidates]


def test_smaller__halves_first_and_then_single_rows():
    """Of many rows only the first eight are taken away one by one."""
    assert rows_of(_smallest._with_fewer_rows(Call("softplus", np.arange(3)))) == [
        [0], [1, 2], [1, 2], [0, 2], [0, 1],
    ]  # fmt: skip
    assert rows_of(_smallest._with_fewer_rows(Call("softplus", np.arange(2)))) == [[1], [0]]
    assert rows_of(_smallest._with_fewer_rows(Call("softplus", np.arange(1)))) == []
    many = rows_of(_smallest._with_fewer_rows(Call("softplus", np.arange(20))))
    assert [len(x) for x in many] == [10, 10] + [19] * 8
    assert [set(range(20)) - set(x) for x in many[2:]] == [{k} for k in range(8)]


def test_smaller__classes_are_taken_with_their_weights_and_targets():
    """Labels above the class move down; a class that is somebody's label stays."""
    x, w = np.arange(6.0).reshape(2, 3), np.array([5.0, 6.0, 7.0])
    call = Call("cross_entropy", x, np.array([2, 2]), {"weight": w, "where": np.array([True, False])})
    found = list(_smallest._with_fewer_classes(call))
    assert rows_of(found) == [[[1, 2], [4, 5]], [[0, 2], [3, 5]]]
    assert [c.target.tolist() for c in found] == [[1, 1], [1, 1]]
    assert [c.options["weight"].tolist() for c in found] == [[6, 7], [5, 7]]
    assert [c.options["where"].tolist() for c in found] == [[True, False]] * 2
    assert call.options["weight"].tolist() == [5, 6, 7]
    q = np.array([[0.5, 0.25, 0.25], [0, 0, 1]])
    found = list(_smallest._with_fewer_classes(Call("cross_entropy", x, q, {}, np.array(2.0))))
    assert [c.target.tolist() for c in found] == [q[:, keep].tolist() for keep in ([1, 2], [0, 2], [0, 1])]
    assert [c.grad_output for c in found] == [2, 2, 2]
    found = list(_smallest._with_fewer_classes(Call("logsumexp", x, None, {}, np.array([3.0, 4.0]))))
    assert [c.grad_output.tolist() for c in found] == [[3, 4]] * 3
    assert not list(_smallest._with_fewer_classes(Call("softmax", x[:, :1])))
    assert not list(_smallest._with_fewer_classes(Call("softplus", x[0])))
    assert len(list(_smallest._with_fewer_classes(Call("softmax", np.zeros((1, 12)))))) == 8
    many = Call("nll_loss", np.zeros((1, 150)), np.array([140]))
    assert [c.target.tolist() for c in _smallest._with_fewer_classes(many)] == [[139]] * 8


@pytest.mark.parametrize(("ignore", "count"), [(-100, 2), (-1, 2), (0, 0), (2, 0), (3, 2)])
def test_smaller__a_class_that_is_ignored_keeps_its_number(ignore, count):
    """If a class were taken away, another one would be ignored."""
    call = Call("nll_loss", np.zeros((1, 3)), np.array([1]), {"ignore_index": ignore})
    assert len(list(_smallest._with_fewer_classes(call))) == count


def test_smaller__numbers_are_rounded_all_at_once_and_one_by_one():
    """To 0, and to 1, 2 and 4 digits."""
    x = np.array([1.23456, -98765.0], np.float32)
    rounder = [v.tolist() for v in _smallest._rounder(x)]
    assert all(v.dtype == np.float32 for v in _smallest._rounder(x))
    single = np.float32([1, 1.2, 1.235]).tolist()
    rest = [-1e5, -99000, -98760]
    a, b = x.tolist()
    assert rounder == [
        [0, 0], *([p, q] for p, q in zip(single, rest, strict=True)),
        *([p, b] for p in (0, *single)), *([a, q] for q in (0, *rest)),
    ]  # fmt: skip
    assert len(list(_smallest._rounder(np.ones(12)))) == 4 + 48
    assert len(list(_smallest._rounder(np.ones(13)))) == 4
    assert [v.shape for v in _smallest._rounder(np.ones((2, 1)))] == [(2, 1)] * 12
    special = [v.tolist() for v in _smallest._rounder(np.array(np.inf))]
    assert special == [0, np.inf, np.inf, np.inf, 0, np.inf, np.inf, np.inf]
    with np.errstate(all="raise"):
        assert list(_smallest._rounder(np.array(6e4, np.float16)))[1] == 6e4
        assert np.isinf(list(_smallest._rounder(np.array(65500, np.float16)))[1])


def rounder(call):
    """What differs from the call, in order and once."""
    found = []
    for each in _smallest._with_rounder_numbers(call):
        fields = {"x": each.x, "target": each.target, "grad_output": each.grad_output, **each.options}
        was = {"x": call.x, "target": call.target, "grad_output": call.grad_output, **call.options}
        found += [
            (name, v.tolist())
            for name, v in fields.items()
            if v is not None and not np.array_equal(v, was[name])
        ]
    return found


def test_smaller__numbers_of_targets_options_and_cotangents_are_rounded():
    """Weights of 1, labels of 0, masks that say it of every row, cotangents of 1."""
    x = np.zeros((2, 1))
    call = Call("cross_entropy", x, np.array([0, 0]), {"weight": np.array([0.36])}, np.array(0.25))
    assert rounder(call) == [
        ("weight", [1]), ("weight", [0]), ("weight", [0.4]), ("weight", [0]), ("weight", [0.4]),
        ("grad_output", 1), ("grad_output", 0), ("grad_output", 0.2), ("grad_output", 0),
        ("grad_output", 0.2),
    ]  # fmt: skip
    mask = Call("cross_entropy", x, np.array([1, 0]), {"where": np.array([True]), "reduction": "sum"})
    assert rounder(mask) == [("target", [0, 0]), ("where", [True, True])]
    made = [each.options["where"] for each in _smallest._with_rounder_numbers(mask)][-1]
    assert made.flags.writeable
    soft = Call(BINARY, np.zeros(1), np.array([0.97]), {"weight": np.array([2])})
    assert rounder(soft) == [("target", [0]), ("target", [1]), ("target", [0])] + [("target", [1])]
    over = Call(BINARY, np.zeros(1), np.array([1.25]))
    assert rounder(over) == [("target", [0]), ("target", [1]), ("target", [0]), ("target", [1])]
    zeros = Call("softplus", np.zeros(2), None, {}, np.array([0.25, 1.0]))
    assert rounder(zeros)[:2] == [("grad_output", [1, 1]), ("grad_output", [0, 0])]
    assert {name for name, _ in rounder(zeros)} == {"grad_output"}
    assert rounder(Call("nll_loss", x, np.array([1, 1]))) == [("target", [0, 0])]


def test_smaller__of_maps_cut_the_cotangent_too():
    """A cotangent has the classes of the logits where the value has."""
    call = Call("softmax", np.ones((2, 3)), None, {}, np.arange(6.0).reshape(2, 3))
    smaller = list(_smallest._with_fewer_classes(call))
    assert [each.grad_output.tolist() for each in smaller] == [
        [[1.0, 2.0], [4.0, 5.0]],
        [[0.0, 2.0], [3.0, 5.0]],
        [[0.0, 1.0], [3.0, 4.0]],
    ]


def test_smaller__keep_targets_that_are_probabilities():
    """A rounder target may be none: 2 and -1 are left as they are, and only their neighbours tried."""
    call = Call(BINARY, np.zeros(2), np.array([0.7, 1.6]), {"where": np.array([True])})
    for each in _smallest._with_rounder_numbers(call):
        assert np.array_equal(each.target, call.target) or np.all((each.target >= 0) & (each.target <= 1))


def test_smaller__know_options_that_are_no_arrays():
    """They are what they are."""
    call = Call("cross_entropy", np.zeros((1, 2)), np.array([0]), {"reduction": "sum"})
    smaller = list(_smallest._with_rounder_numbers(call))
    assert smaller
    assert all(each.options == {"reduction": "sum"} for each in smaller)
