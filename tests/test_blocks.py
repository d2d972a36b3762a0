"""The engine: the same bits for any block size, position order and layout."""

import numpy as np
import pytest

import crossent
from crossent import _blocks
from laws import assert_bitwise
from outcomes import assert_same_outcomes, inputs, outcomes
from strategies import LAYOUTS, in_layout

SHAPES = [
    ((7, 5), 1),
    ((3, 40, 6), 1),
    ((40, 7), 0),
    ((2, 3, 4, 20), -1),
    ((5,), 0),
    ((0, 3), 1),
    ((2, 3, 0, 4), 1),
]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("size", [1, 100, 1000])
def test_engine__same_bits_for_any_block_size(monkeypatch, shape, axis, size, dtype):
    """A block's size is a matter of speed alone."""
    whole = outcomes(*inputs(shape, axis, dtype), axis)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", size)
    monkeypatch.setattr(_blocks, "ELEMENT_BYTES", size)
    assert_same_outcomes(outcomes(*inputs(shape, axis, dtype), axis), whole)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("few", [0, 10**9])
def test_engine__same_bits_classes_first_or_last(monkeypatch, shape, axis, few):
    """Where the classes of a block lie in memory is a matter of speed alone, too."""
    whole = outcomes(*inputs(shape, axis), axis)
    monkeypatch.setattr(_blocks, "FEW_CLASSES", few)
    assert_same_outcomes(outcomes(*inputs(shape, axis), axis), whole)


@pytest.mark.parametrize("positions", [(), (0,), (1,), (7,), (3, 4), (2, 3, 5), (2, 0, 5), (1000, 2)])
@pytest.mark.parametrize("n", [1, 2, 5, 12, 10**6])
def test_blocks__cover_each_position_once_and_stay_small(positions, n):
    """A position left out or computed twice would be a wrong sum."""
    seen = np.zeros(positions, int)
    for block in _blocks._blocks(positions, n):
        view = seen[(*block, ...)]
        assert view.size <= n
        view += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("shape", "axis"), [((1500, 3), 1), ((3, 1500), 0), ((1500, 40), 1), ((40, 1500), 0)]
)
@pytest.mark.parametrize("padding", [0, 5])
def test_engine__many_positions_at_once_are_as_few(shape, axis, padding):
    """More than 1,024 labels are looked up by one index instead of two, where memory allows it."""
    z, y = inputs(tuple(np.add(shape, padding)), axis)
    inner = tuple(slice(0, n) for n in shape)
    z, y = z[inner], y[: shape[1 - axis]] % shape[axis]
    w = np.linspace(0.5, 2, shape[axis])
    options = {"weight": w, "label_smoothing": 0.1, "reduction": "none", "axis": axis}
    soft = np.abs(np.sin(z))
    whole = [
        *crossent.cross_entropy_value_and_grad(z, y, reduction="none", axis=axis),
        *crossent.cross_entropy_value_and_grad(z, y, **options),
        *crossent.cross_entropy_value_and_grad(z, soft, reduction="none", axis=axis),
    ]
    for start in range(0, 1500, 500):
        part = slice(start, start + 500)
        at = (part, slice(None)) if axis else (slice(None), part)
        parts = [
            *crossent.cross_entropy_value_and_grad(z[at], y[part], reduction="none", axis=axis),
            *crossent.cross_entropy_value_and_grad(z[at], y[part], **options),
            *crossent.cross_entropy_value_and_grad(z[at], soft[at], reduction="none", axis=axis),
        ]
        for a, b in zip(whole, parts, strict=True):
            assert_bitwise(a[part] if a.ndim == 1 else a[at], b)


@pytest.mark.parametrize("positions", [1, 7, 1025])
@pytest.mark.parametrize("classes", [1, 2, 3, 16, 255, 256, 300])
def test_argmax__is_numpys_for_ties_and_nan_in_both_orders(classes, positions):
    """Classes first it is made of a maximum and a comparison: the first of a tie, and the first NaN."""
    rng = np.random.default_rng([classes, positions])
    z = rng.integers(0, 4, (classes, positions)).astype(np.float32)
    z[rng.random(z.shape) < 0.5 / classes] = np.nan
    z[:, rng.random(positions) < 0.1] = -np.inf
    due = z.argmax(axis=0)
    np.testing.assert_array_equal(_blocks._argmax(z), due)
    np.testing.assert_array_equal(_blocks._argmax(np.asfortranarray(z)), due)


@pytest.mark.parametrize(
    ("shape", "axis"), [((1100, 3), 1), ((1100, 20), 1), ((20, 1100), 0), ((2, 3, 700), 1)]
)
@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"contiguous", "read-only"}))
def test_engine__same_bits_in_any_layout_of_many_positions(shape, axis, layout):
    """A few positions do not show it: the ways part above the length of NumPy's buffer."""
    z, y = inputs(shape, axis)
    assert_same_outcomes(outcomes(z, y, axis, lambda a: in_layout(a, layout)), outcomes(z, y, axis))


@pytest.mark.parametrize(("shape", "axis"), [((1100, 3), 1), ((30, 20), 1), ((20, 30), 0), ((2, 3, 40), 1)])
@pytest.mark.parametrize("repeated", [0, 1, (0, 1)])
def test_engine__numbers_that_stand_for_many_are_as_many(shape, axis, repeated):
    """A broadcast array is one row that is read again and again; classes as well as positions may be."""
    z, y = inputs(shape, axis)
    one = z
    for repeat in np.atleast_1d(repeated):
        one = np.take(one, [0], repeat)
    wide = np.broadcast_to(one, shape)
    assert 0 in wide.strides
    assert_same_outcomes(outcomes(wide, y, axis), outcomes(wide.copy(), y, axis))
    assert_same_outcomes(
        outcomes(wide[::-1, ::-1], y, axis), outcomes(np.array(wide[::-1, ::-1], order="C"), y, axis)
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("classes", [1, 2, 17, 40])
def test_engine__one_position_is_the_same_row_however_it_lies(dtype, layout, classes):
    """A column of length 1 has no order in memory: which strides NumPy shows must not matter."""
    z, y = inputs((classes,), 0, dtype)
    due = outcomes(z, y, 0)
    for shape, axis in (((classes, 1), 0), ((1, classes), 1), ((1, classes, 1), 1)):
        # as a batch: one number a row
        same = outcomes(
            z.reshape(shape), y.reshape([1] * (len(shape) - 1)), axis, lambda a: in_layout(a, layout)
        )
        for name, result in due.items():
            if not name.startswith("logsumexp axes"):  # other axes in another number of dimensions
                assert_bitwise(same[name].reshape(result.shape), result, name)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [1, 5, 1100])
def test_engine__one_class_is_certain(dtype, rows):
    """K = 1: nothing else can be, so that it costs exactly 0 and teaches nothing."""
    z = np.linspace(-1000, 1000, rows).astype(dtype)[:, np.newaxis]
    y = np.zeros(rows, int)
    for options in ({}, {"label_smoothing": 0.5}, {"weight": [3.0]}):
        loss, grad = crossent.cross_entropy_value_and_grad(z, y, reduction="none", **options)
        assert (loss == 0).all()
        assert (grad == 0).all()
    assert (crossent.softmax(z) == 1).all()
    assert (crossent.log_softmax(z) == 0).all()
    assert_bitwise(crossent.logsumexp(z), z[:, 0])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 4)])
def test_engine__logsumexp_of_no_class_is_the_logarithm_of_nothing(shape):
    """K = 0: the sum is 0, for as many positions as there are."""
    x = np.zeros(shape, np.float32)
    for axis in (None, *range(len(shape))):
        if axis is not None and shape[axis]:
            continue
        value = crossent.logsumexp(x, axis)
        assert value.shape == (() if axis is None else tuple(np.delete(shape, axis)))
        assert (value == -np.inf).all()
        assert crossent.logsumexp_grad(x, axis).shape == shape


def test_engine__leaves_numpys_settings_as_they_were():
    """The buffer's size and what floating-point errors do belong to the caller, also after an error."""

    def rows(x):
        assert np.getbufsize() != 8192 * 2
        raise KeyError

    with np.errstate(divide="raise", over="warn"):
        np.setbufsize(8192 * 2)
        before = np.geterr(), np.getbufsize()
        crossent.cross_entropy(np.array([[0.0, -np.inf]]), [1])
        assert (np.geterr(), np.getbufsize()) == before
        with pytest.raises(KeyError):
            _blocks.sweep(rows, [_blocks.Operand(np.zeros(9000), np.dtype(float))], (9000,))
        assert (np.geterr(), np.getbufsize()) == before
