"""The front desk by itself: what its mutants showed that the pages' tests leave open."""

import re

import numpy as np
import pytest

from crossent import _arguments as desk
from crossent import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_grad,
    logsumexp,
    nll_loss,
    one_hot,
    smooth_labels,
)
from crossent._blocks import Operand
from laws import assert_bitwise

F64 = np.dtype(np.float64)

# ---------------------------------------------------------------------------------------
# where results go


def taken(out, x):
    """Whether `out` is taken as the place of a gradient for an elementwise function of `x`."""
    try:
        result, _ = desk.gradient_array(out, x, F64, (), [Operand(x, F64)])
    except ValueError:
        return False
    return result is out


def test_gradient_array__takes_the_input_itself_and_nothing_that_reads_it_in_another_order():
    """Each position is written after it was read, and before the next is."""
    x = np.arange(9.0).reshape(3, 3)
    assert taken(x, x)
    assert taken(x[:], x)
    for other in (x.T, x[::-1], x[:, ::-1]):
        assert not taken(other, x)
    assert taken(x.T.copy(), x)
    column = np.arange(3.0).reshape(3, 1)
    assert taken(column[:, ::-1], column), "an axis of length 1 has no order"
    pair = np.arange(6.0).reshape(3, 2)
    assert not taken(pair[:, ::-1], pair)
    assert not taken(x, x.view(np.int64)), "numbers of one dtype where another was read"


# ---------------------------------------------------------------------------------------
# axes


@pytest.mark.parametrize("axis", [0, -1, (0,), (-1,), None, ()])
def test_logsumexp__of_a_number_is_the_number(axis):
    """As NumPy and PyTorch reduce one."""
    assert logsumexp(5.0, axis) == 5


@pytest.mark.parametrize("axis", [1, -2, (0, 0)])
def test_logsumexp__of_a_number_has_no_other_axis(axis):
    """Nor the same one twice."""
    with pytest.raises(np.exceptions.AxisError, match=r"^axis: axis -?\d is out of bounds"):
        logsumexp(5.0, axis)


# ---------------------------------------------------------------------------------------
# messages, from their first word on


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: logsumexp([1.0, 2.0], "a"), TypeError, r"^axis must be an integer, not 'a'$"),
        (lambda: one_hot([1], 3, axis=1.5), TypeError, r"^axis must be an integer, not 1.5$"),
        (lambda: one_hot([1], 1.5), TypeError, r"^num_classes must be an integer, not 1.5$"),
        (lambda: one_hot([1], 0), ValueError, r"^num_classes must be at least 1, got 0$"),
        (lambda: one_hot(7, 3), IndexError, r"^target is 7, outside \[0, 3\) for K = 3 classes$"),
        (lambda: one_hot([0, 7], 3), IndexError, r"^target\[1\] is 7, outside"),
        (
            lambda: cross_entropy([1.0, 2.0], 7),
            IndexError,
            r"^target is 7, outside \[0, 2\) for K = 2 classes",
        ),
        (
            lambda: smooth_labels([0], 1, 0.1, spread="others"),
            ValueError,
            r"^spread='others' needs other classes, but num_classes is 1$",
        ),
        (
            lambda: binary_cross_entropy_with_logits([1.0], [1.0], pos_weight=[1.0, 2.0]),
            ValueError,
            r"^pos_weight of shape \(2,\) does not broadcast to \(1,\), the shape of logits$",
        ),
        (
            lambda: binary_cross_entropy_with_logits([1.0], [1.0], where=[True, True]),
            ValueError,
            r"^where of shape \(2,\) does not broadcast to \(1,\), the shape of the losses of",
        ),
    ],
)
def test_messages__say_who_what_and_why(call, error, match):
    """The argument's own name, what came, what was due."""
    with pytest.raises(error, match=match):
        call()


# ---------------------------------------------------------------------------------------
# class indices


def test_labels__small_integers_do_not_wrap_into_classes():
    """-100 of int8 has the bits of 156, which is a class of 200."""
    z = np.zeros((2, 200))
    y = np.array([-100, 3], np.int8)
    assert cross_entropy(z, y, reduction="none")[0] == 0
    with pytest.raises(IndexError, match=r"^target\[0\] is -100, outside \[0, 200\)"):
        cross_entropy(z, y, ignore_index=-1)


@pytest.mark.parametrize("bad", [2**56, -5, 3])
def test_labels__of_the_other_byte_order_are_read_in_it(bad):
    """2**56 has the bits of 1 in the other order."""
    z = np.zeros((2, 3))
    assert cross_entropy(z, np.array([-100, 1], ">i8"), reduction="none")[0] == 0
    with pytest.raises(IndexError, match=rf"^target\[0\] is {bad}, outside"):
        cross_entropy(z, np.array([bad, 1], ">i8"))


def test_labels__that_are_left_out_need_no_second_class():
    """What is picked in their place must be there."""
    assert cross_entropy([[1.0], [2.0]], [-100, 0]) == 0


@pytest.mark.parametrize(
    ("y", "options", "match"),
    [
        ([9, 0, 7], {"where": [False, True, True]}, r"^target\[2\] is 7, .* and not ignore_index=-100$"),
        ([1, 3, 2], {}, r"not ignore_index=-100: are labels counted from 1\? Subtract 1$"),
        ([0, 3, 2], {}, r"not ignore_index=-100$"),
        ([1, 4, 3], {}, r"not ignore_index=-100$"),
        ([1, 4, 4], {}, r"not ignore_index=-100$"),
        ([1, -1, -1], {}, r"-100: if -1 marks positions to leave out, pass ignore_index=-1$"),
        ([1, -1, -2], {}, r"not ignore_index=-100$"),
        ([1, -1, 3], {}, r"not ignore_index=-100$"),
    ],
)
def test_labels__a_message_tells_the_likely_cause_or_none(y, options, match):
    """A wrong guess is worse than none."""
    with pytest.raises(IndexError, match=match):
        cross_entropy(np.zeros((3, 3)), y, **options)


Z = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "due"),
    [
        (
            lambda: cross_entropy(Z, [True, False]),
            "target is boolean; class indices must be integers: write target.astype(int) for two classes, "
            "or binary_cross_entropy_with_logits for yes-or-no labels",
        ),
        (
            lambda: cross_entropy(Z, [0.0, 1.0]),
            "class indices must be integers, but target is float64 of shape (2,): write target.astype(int), "
            "or pass probabilities of the shape (2, 3) of logits",
        ),
        (
            lambda: nll_loss(Z, Z),
            "class indices must be integers, but target is float64 of shape (2, 3): write "
            "target.astype(int), or pass probabilities of the shape (2, 3) of log_probs "
            "(cross_entropy takes class probabilities, nll_loss does not)",
        ),
        (
            lambda: cross_entropy(Z, Z.astype(np.int64)),
            "class probabilities must be floating, but target is int64 of the shape (2, 3) of logits: "
            "write target.astype(float) for one-hot or probability rows of cross_entropy, "
            "or target.argmax(axis=1) for class indices",
        ),
        (
            lambda: cross_entropy(Z, 0, ignore_index=1.5),
            "ignore_index must be an integer, not 1.5",
        ),
    ],
)
def test_targets__that_are_refused(call, due):
    """What to write instead, to the letter: these are the mistakes that everybody makes."""
    with pytest.raises(TypeError, match=f"^{re.escape(due)}$"):
        call()


@pytest.mark.parametrize(
    ("call", "error", "due"),
    [
        (
            lambda: cross_entropy(Z.astype("V8"), [0, 1]),
            TypeError,
            "logits must be an array of real numbers, not an array of dtype |V8",
        ),
        (
            lambda: cross_entropy(["a"], 0),
            TypeError,
            "logits must be an array of real numbers, not a list (as an array: dtype <U1)",
        ),
        (
            lambda: cross_entropy(np.ma.masked_array(Z), [0, 1]),
            TypeError,
            "logits is a numpy.ma.MaskedArray, whose mask would be lost: pass logits.data and "
            "where=~mask (True where a position counts)",
        ),
        (lambda: cross_entropy(Z, [0, 1], axis=1.5), TypeError, "axis must be an integer, not 1.5"),
        (
            lambda: cross_entropy_grad(Z, [0, 1], out=[]),
            ValueError,
            "out must be a NumPy array, not a list",
        ),
        (
            lambda: cross_entropy(Z, Z, ignore_index=1),
            ValueError,
            "ignore_index=1 means nothing for class probabilities; leave positions out with where=",
        ),
        (
            lambda: cross_entropy(Z, [0, 1], label_smoothing=2),
            ValueError,
            "label_smoothing must lie in [0, 1], got 2",
        ),
        (
            lambda: cross_entropy(Z, [0, 1], dtype=int),
            TypeError,
            "dtype must be a floating dtype, not int64; logits are real numbers",
        ),
    ],
)
def test_arguments__that_are_refused(call, error, due):
    """To the letter."""
    with pytest.raises(error, match=f"^{re.escape(due)}$"):
        call()


@pytest.mark.parametrize(
    ("target", "smoothing"), [([0, 2, 1, 1], 0.25), (np.full((4, 3), 1 / 3, np.float32), 0.0)]
)
def test_weights__of_whole_rows_widen_the_work(target, smoothing):
    """Float64 weights of float32 logits: the float64 answer, rounded once."""
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(4, 3)).astype(np.float32), rng.random(3)
    options = {"weight": w, "label_smoothing": smoothing, "reduction": "none"}
    for f in (cross_entropy, cross_entropy_grad):
        due = f(z.astype(np.float64), target, **options)
        assert_bitwise(f(z, target, **options), due.astype(np.float32))
