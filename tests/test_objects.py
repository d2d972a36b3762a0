"""CrossEntropyLoss, NLLLoss, BCEWithLogitsLoss, LogSoftmax."""

import warnings

import numpy as np
import pytest

import crossent
from crossent import BCEWithLogitsLoss, CrossEntropyLoss, LogSoftmax, NLLLoss
from laws import assert_bitwise, silence

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(4, 3))
Y = np.array([0, 1, -1, 2])
Q = RNG.random((4, 3))
W = np.array([0.5, 1.0, 2.0])
MASK = np.array([True, True, False, True])
CLASSES = {
    CrossEntropyLoss: "cross_entropy",
    NLLLoss: "nll_loss",
    BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
}
SETTINGS = [
    (CrossEntropyLoss, {}, Z, np.abs(Y)),
    (
        CrossEntropyLoss,
        {"weight": W, "ignore_index": -1, "label_smoothing": 0.1, "reduction": "sum"},
        Z,
        Y,
    ),
    (CrossEntropyLoss, {"reduction": "none"}, Z, Q),
    (CrossEntropyLoss, {"axis": 0, "ignore_index": -1}, Z.T, Y),
    (NLLLoss, {}, Z, np.abs(Y)),
    (NLLLoss, {"weight": W, "ignore_index": -1, "reduction": "none"}, Z, Y),
    (NLLLoss, {"axis": 0, "ignore_index": -1}, Z.T, Y),
    (BCEWithLogitsLoss, {}, Z, Q),
    (BCEWithLogitsLoss, {"weight": W, "pos_weight": W[::-1], "reduction": "sum"}, Z, Q),
    (BCEWithLogitsLoss, {"reduction": "none"}, Z, Q > 0.5),
]
each = pytest.mark.parametrize(("cls", "settings", "x", "target"), SETTINGS)
classes = pytest.mark.parametrize("cls", list(CLASSES))

# ---------------------------------------------------------------------------------------
# values and gradients


@each
def test_objects__are_their_functions(cls, settings, x, target):
    """A shell: the same bits as the function with the same settings."""
    name = CLASSES[cls]
    f, g = getattr(crossent, name), getattr(crossent, f"{name}_grad")
    both = getattr(crossent, f"{name}_value_and_grad")
    loss = cls(**settings)
    for where in (None, MASK if settings.get("axis") == 0 or x.ndim == 1 else MASK[:, None]):
        if cls is not BCEWithLogitsLoss and where is not None:
            where = MASK
        with silence():
            assert_bitwise(loss(x, target, where=where), f(x, target, where=where, **settings))
            due = g(x, target, where=where, **settings)
            assert_bitwise(loss.grad(x, target, where=where), due)
            out = np.empty_like(x)
            loss.grad(x, target, where=where, out=out)
            assert_bitwise(out, due)
            value, grad = loss.value_and_grad(x, target, where=where, grad_output=2.0)
            pair = both(x, target, where=where, grad_output=2.0, **settings)
            assert_bitwise(value, pair[0])
            assert_bitwise(grad, pair[1])
            out = np.empty_like(x)
            value, _ = loss.value_and_grad(x, target, where=where, out=out)
            assert_bitwise(out, due)
            got = loss.grad(x, target, grad_output=-3.0, where=where)
            assert_bitwise(got, g(x, target, where=where, grad_output=-3.0, **settings))


def test_log_softmax_object__is_its_function():
    """LogSoftmax(axis)(x) and its gradient."""
    g = RNG.normal(size=Z.shape)
    for axis in (-1, 0, 1):
        layer = LogSoftmax(axis)
        assert_bitwise(layer(Z), crossent.log_softmax(Z, axis))
        assert_bitwise(layer.grad(Z), crossent.log_softmax_grad(Z, axis))
        assert_bitwise(layer.grad(Z, grad_output=g), crossent.log_softmax_grad(Z, axis, grad_output=g))
    assert LogSoftmax().axis == -1
    assert LogSoftmax(axis=0).axis == 0


def test_objects__take_pytorchs_positional_order():
    """Ported code passes settings by position."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CrossEntropyLoss(W, None, -1, None, "sum", 0.1) == CrossEntropyLoss(
            weight=W, ignore_index=-1, reduction="sum", label_smoothing=0.1
        )
        assert NLLLoss(W, None, -1, None, "sum") == NLLLoss(weight=W, ignore_index=-1, reduction="sum")
        assert BCEWithLogitsLoss(W, None, None, "none", W) == BCEWithLogitsLoss(
            weight=W, reduction="none", pos_weight=W
        )
    with pytest.raises(TypeError):
        CrossEntropyLoss(W, None, -1, None, "sum", 0.1, 1)
    with pytest.raises(TypeError):
        NLLLoss(W, None, -1, None, "sum", 1)


# ---------------------------------------------------------------------------------------
# settings


def test_objects__defaults_are_pytorchs():
    """What an object does without a word."""
    loss = CrossEntropyLoss()
    assert loss.weight is None
    assert (loss.ignore_index, loss.reduction, loss.label_smoothing, loss.axis) == (
        -100,
        "mean",
        0.0,
        None,
    )
    loss = NLLLoss()
    assert (loss.weight, loss.ignore_index, loss.reduction, loss.axis) == (None, -100, "mean", None)
    loss = BCEWithLogitsLoss()
    assert (loss.weight, loss.pos_weight, loss.reduction) == (None, None, "mean")


@pytest.mark.parametrize(
    ("size_average", "reduce", "reduction"),
    [
        (None, True, "mean"),
        (None, False, "none"),
        (True, None, "mean"),
        (True, True, "mean"),
        (True, False, "none"),
        (False, None, "sum"),
        (False, True, "sum"),
        (False, False, "none"),
    ],
)
@classes
def test_objects__map_the_deprecated_settings_as_pytorch_does(cls, size_average, reduce, reduction):
    """Old code keeps its meaning, and is told what to write: size_average and reduce win."""
    for given in ("mean", "sum", "none"):
        with pytest.warns(DeprecationWarning, match=f"reduction='{reduction}'|{reduction}") as seen:
            loss = cls(size_average=size_average, reduce=reduce, reduction=given)
        assert len(seen) == 1
        assert loss.reduction == reduction
        assert loss == cls(reduction=reduction)


@classes
def test_objects__do_not_warn_of_settings_that_are_not_used(cls):
    """None is not a setting."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cls(size_average=None, reduce=None)


@classes
def test_objects__are_immutable(cls):
    """A loss shared between two models does not change under one of them."""
    loss = cls(weight=W)
    for name in ("weight", "reduction", "ignore_index", "anything"):
        with pytest.raises(AttributeError):
            setattr(loss, name, None)
    with pytest.raises(AttributeError):
        del loss.reduction
    with pytest.raises(ValueError, match="read-only"):
        loss.weight[0] = 9
    assert_bitwise(np.asarray(loss.weight), W)
    with pytest.raises(AttributeError):
        LogSoftmax().axis = 3


@classes
def test_objects__copy_their_settings(cls):
    """The caller's array stays the caller's: later writes to it change nothing."""
    w = W.copy()
    loss = cls(weight=w)
    target = np.abs(Y) if cls is not BCEWithLogitsLoss else Q
    before = loss(Z, target)
    w[:] = 100
    assert_bitwise(loss(Z, target), before)
    assert w.flags.writeable
    if cls is BCEWithLogitsLoss:
        p = W.copy()
        loss = cls(pos_weight=p)
        before = loss(Z, target)
        p[:] = 100
        assert_bitwise(loss(Z, target), before)
        with pytest.raises(ValueError, match="read-only"):
            loss.pos_weight[0] = 9
    view = np.broadcast_to(np.float64(2.0), 3)
    assert_bitwise(np.asarray(cls(weight=view).weight), view.copy())


@each
def test_objects__show_their_settings(cls, settings, x, target):
    """A repr that can be read in a log: the name and every setting that was given."""
    text = repr(cls(**settings))
    assert text.startswith(cls.__name__ + "(")
    assert text.endswith(")")
    for name, value in settings.items():
        assert name in text
        if isinstance(value, (str, int, float)):
            assert repr(value) in text
        else:
            assert f"{value[0]:g}" in text
    assert "axis=1" in repr(LogSoftmax(1))
    assert repr(LogSoftmax(1)).startswith("LogSoftmax(")


@each
def test_objects__are_equal_and_hashable_by_value(cls, settings, x, target):
    """Two losses with the same settings are one key of a dict."""
    a = cls(**settings)
    b = cls(**{k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()})
    assert a == b
    assert (a != b) is False
    assert hash(a) == hash(b)
    assert len({a, b}) == 1
    assert a != cls(**{**settings, "reduction": "mean" if a.reduction != "mean" else "sum"})
    assert a != cls(**{**settings, "weight": np.array([9.0, 9.0, 9.0])})
    assert a != 3
    assert a != "loss"
    assert a is not None


def test_objects__of_different_classes_are_different():
    """The same settings mean another loss."""
    assert CrossEntropyLoss() != NLLLoss()
    assert CrossEntropyLoss() != BCEWithLogitsLoss()
    assert CrossEntropyLoss(weight=W) != CrossEntropyLoss(weight=W[:2])
    assert CrossEntropyLoss(weight=W) != CrossEntropyLoss()
    assert BCEWithLogitsLoss(weight=W) != BCEWithLogitsLoss(pos_weight=W)
    assert CrossEntropyLoss(axis=1) != CrossEntropyLoss()
    assert LogSoftmax(0) != LogSoftmax(1)
    assert LogSoftmax(0) == LogSoftmax(0)
    assert hash(LogSoftmax(0)) == hash(LogSoftmax(0))


def test_objects__accept_lists_as_weights():
    """Anything NumPy can view."""
    assert CrossEntropyLoss(weight=[0.5, 1.0, 2.0]) == CrossEntropyLoss(weight=W)
    assert_bitwise(CrossEntropyLoss([0.5, 1, 2])(Z, np.abs(Y)), CrossEntropyLoss(W)(Z, np.abs(Y)))


def test_objects__have_no_hidden_state():
    """Calls leave nothing behind: the same object, the same answer."""
    loss = CrossEntropyLoss(ignore_index=-1)
    first = loss.value_and_grad(Z, Y)
    loss(Z * 3, np.abs(Y))
    loss.grad(Z[:2], Y[:2])
    again = loss.value_and_grad(Z, Y)
    assert_bitwise(first[0], again[0])
    assert_bitwise(first[1], again[1])


# ---------------------------------------------------------------------------------------
# errors


@pytest.mark.parametrize(
    ("cls", "settings", "error", "match"),
    [
        (CrossEntropyLoss, {"reduction": "average"}, ValueError, "reduction"),
        (NLLLoss, {"reduction": "average"}, ValueError, "reduction"),
        (BCEWithLogitsLoss, {"reduction": "average"}, ValueError, "reduction"),
        (CrossEntropyLoss, {"label_smoothing": 1.5}, ValueError, "label_smoothing"),
        (CrossEntropyLoss, {"weight": np.ones(3, complex)}, TypeError, "weight"),
        (CrossEntropyLoss, {"weight": np.ones(2)}, ValueError, "weight"),
        (NLLLoss, {"weight": ["a", "b", "c"]}, TypeError, "weight"),
        (BCEWithLogitsLoss, {"pos_weight": np.ones(2)}, ValueError, "pos_weight"),
        (CrossEntropyLoss, {"axis": 7}, np.exceptions.AxisError, "axis"),
    ],
)
def test_objects__refuse_wrong_settings(cls, settings, error, match):
    """When made or when called: never silently."""
    target = Q if cls is BCEWithLogitsLoss else np.abs(Y)
    with pytest.raises(error, match=match):
        cls(**settings)(Z, target)


def test_objects__take_no_options_in_calls():
    """Settings belong to the object."""
    with pytest.raises(TypeError):
        CrossEntropyLoss()(Z, np.abs(Y), weight=W)
    with pytest.raises(TypeError):
        CrossEntropyLoss()(Z, np.abs(Y), MASK)


# ---------------------------------------------------------------------------------------
# what mutants of the module showed to be untested


@classes
def test_objects__a_warning_points_at_the_callers_line(cls):
    """That is where the old word has to go."""
    with pytest.warns(DeprecationWarning, match="reduction='sum'") as seen:
        cls(size_average=False)
    assert seen[0].filename == __file__


def test_objects__show_what_made_them():
    """A repr is a call."""
    assert repr(NLLLoss()) == "NLLLoss(weight=None, ignore_index=-100, reduction='mean', axis=None)"
    assert repr(LogSoftmax()) == "LogSoftmax(axis=-1)"


def test_objects__of_a_subclass_are_different():
    """It may mean another loss by the same settings."""

    class Mine(NLLLoss):
        pass

    assert Mine() == Mine()
    assert Mine() != NLLLoss()


def test_objects__have_hashes_of_their_own():
    """One for all would do for a dict, but slowly."""
    assert len({hash(CrossEntropyLoss(ignore_index=i)) for i in range(9)}) == 9


@pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for cls in (*CLASSES, LogSoftmax) for name in vars(cls()) if name != "reduction"],
)
def test_objects__a_refused_setting_is_named(cls, name):
    """When the object is made, and by its own name."""
    with pytest.raises(TypeError, match=rf"^{name} must be"):
        cls(**{name: "x"})


def test_objects__say_why_a_setting_stays():
    """The class and the setting."""
    loss = NLLLoss()
    with pytest.raises(AttributeError, match=r"^NLLLoss is immutable: reduction cannot be deleted$"):
        del loss.reduction
    with pytest.raises(AttributeError, match=r"^NLLLoss is immutable: make a new one to set reduction$"):
        loss.reduction = "sum"
