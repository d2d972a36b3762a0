"""The engine: the same bits for any block size, position order and layout."""

import itertools

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


CLASSES_FIRST = [
    ((5,), 0), ((5,), 1), ((1,), 1), ((), 0), ((4, 3), 1), ((1, 3), 1), ((4, 1), 1), ((4, 3), 0), ((4, 3), 2),
    ((4, 2, 3), 1), ((4, 2, 3), 2), ((4, 2, 3), 0), ((4, 1, 3), 1), ((1, 2, 3), 1), ((2, 2, 3, 2), 1),
    ((2, 2, 3, 2), 3), ((2, 0, 3), 1), ((0, 3), 1),
]  # fmt: skip


def test_sweep__blocks_fill_what_they_may_and_no_more(monkeypatch):
    """What `bulk` counts, and copies of half precision, share the cache; small blocks would be many calls."""
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(_blocks, "ELEMENT_BYTES", 1 << 12)
    monkeypatch.setattr(_blocks, "CUT_BYTES", 1 << 12)
    seen = []

    def rows(x, *_):
        seen.append(np.shape(x[x.cuts[0]] if isinstance(x, _blocks.Block) else x))

    for dtype, work, bulk in ((8, 8, None), (4, 4, 1), (8, 8, 3), (2, 4, 1), (2, 4, 3)):
        x = _blocks.Operand(np.zeros((100, 1000), f"f{dtype}"), np.dtype(f"f{work}"), 1)
        _blocks.sweep(rows, [x], (1000,), **({} if bulk is None else {"bulk": bulk}))
        each = 100 * work * ((bulk or 1) + 0.75 * (dtype == 2))
        assert sum(n for _, n in seen) == 1000
        assert all(0.7 * (1 << 14) <= n * each <= 1 << 14 for _, n in seen[:-1]), (dtype, bulk)
        seen.clear()
    small, large = (_blocks.Operand(np.zeros(2000, dtype), np.dtype(dtype)) for dtype in ("f4", "f8"))
    for operands in ([small, large], [small, None, large], [large, small]):
        _blocks.sweep(rows, operands, (2000,))
        assert seen == [(512,), (512,), (512,), (464,)]
        seen.clear()
    long = _blocks.Operand(np.zeros((1000, 3)), np.dtype(np.float64), 1)
    _blocks.sweep(rows, [long], (3,))
    assert seen == [(512, 1)] * 3


@pytest.mark.parametrize(
    ("positions", "threads", "helpers"), [(100, 3, 2), (100, 2, 1), (100, 1, None), (2, 3, 1), (1, 3, None)]
)
def test_sweep__asks_for_as_many_helpers_as_have_work(monkeypatch, positions, threads, helpers):
    """The caller is one of the threads; each has a few blocks, and what is too small for two is one's own."""
    seen, asked = [], []
    monkeypatch.setattr(_blocks, "THREAD_BYTES", 0)
    monkeypatch.setattr(
        _blocks._threads, "share", lambda work, count: (asked.append(len(range(count))), work())
    )
    with crossent.set_num_threads(threads):
        _blocks.sweep(
            lambda x: seen.append(len(x)),
            [_blocks.Operand(np.zeros(positions), np.dtype(float))],
            (positions,),
        )
    assert asked == ([] if helpers is None else [helpers])
    assert sum(seen) == positions
    assert helpers is None or min(positions, 2 * threads) <= len(seen) <= 2 * threads + 1


def test_sweep__an_error_leaves_nothing_to_the_other_threads(monkeypatch):
    """They stop at once: nobody will read what they would compute."""
    seen = []

    def rows(x):
        seen.append(len(x))
        raise KeyError

    def share(work, count):
        with pytest.raises(KeyError):
            work()
        work()

    monkeypatch.setattr(_blocks, "THREAD_BYTES", 0)
    monkeypatch.setattr(_blocks._threads, "share", share)
    with crossent.set_num_threads(3):
        _blocks.sweep(rows, [_blocks.Operand(np.zeros(100), np.dtype(float))], (100,))
    assert len(seen) == 1


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("cut", [1 << 16, 1 << 20])
def test_sweep__copies_of_operands_do_not_share_memory(monkeypatch, first, cut):
    """Each has memory of its own that is kept from block to block: one in the place of another is lost."""
    monkeypatch.setattr(_blocks, "CUT_BYTES", cut)
    monkeypatch.setattr(_blocks, "ELEMENT_BYTES", 1 << 17)
    x = np.arange(60_000, dtype=">f4").reshape((-1, 1) if first else -1)
    result = np.empty_like(x)
    operands = [_blocks.Operand((x + i).astype(x.dtype), np.dtype(np.float32), first) for i in range(3)]

    def rows(*blocks):
        *blocks, target = blocks

        def fill(cut, out):
            a, b, c = (block[cut] if first else block for block in blocks)
            out[...] = 0
            np.testing.assert_array_equal(a + 1, b)
            np.testing.assert_array_equal(a + 2, c)
            out[...] = a

        target.write(fill)

    sweep_to = _blocks.Operand(result, np.dtype(np.float32), first)
    _blocks.sweep(rows, operands, x.shape[first:], target=sweep_to)
    np.testing.assert_array_equal(result, x)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("first", [0, 1])
def test_sweep__reads_memory_in_its_own_order(monkeypatch, axes, first):
    """Neighbours share cache lines, however the axes are named; results go where they belong."""
    monkeypatch.setattr(_blocks, "ELEMENT_BYTES", 5 * 4)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 5 * (4 + 64))
    memory = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    x = memory.transpose(axes)
    second, value, grad = x.copy(), np.empty_like(x), np.empty(x.shape, np.float32)
    if first:
        x, second, value, grad = x[np.newaxis], second[np.newaxis], value, grad[np.newaxis]
    seen = []

    def rows(a, b, target):
        if first:
            a, b = a[a.cuts[0]][0], b[b.cuts[0]][0]
        assert np.shares_memory(a, memory)
        seen.append(a)
        np.testing.assert_array_equal(a, b)
        target.write(lambda cut, out: np.negative(a, out=out[0] if first else out))
        return 2 * a

    x, second, sink, target = (
        _blocks.Operand(a, a.dtype, 0 if a is value else first) for a in (x, second, value, grad)
    )
    _blocks.sweep(rows, [x, second], value.shape, sink=sink, target=target)
    assert [len(a) for a in seen] == [5] * 12
    np.testing.assert_array_equal(np.concatenate(seen), memory.ravel())
    np.testing.assert_array_equal(value, 2 * memory.transpose(axes))
    np.testing.assert_array_equal(grad, -x.array)


@pytest.mark.parametrize("layout", [*sorted(LAYOUTS), "padded", "broadcast"])
@pytest.mark.parametrize(("shape", "first"), CLASSES_FIRST)
def test_load__copies_only_what_does_not_lie_like_that(shape, first, layout):
    """Rows, or columns, of neighbours: in the caller's memory where they are there, in a copy elsewhere."""
    x = np.arange(float(np.prod(shape))).reshape(shape)
    if layout == "padded":
        view = np.zeros([n + 2 for n in shape])[(*(slice(1, n + 1) for n in shape), ...)]
        view[...] = x
    elif layout == "broadcast":
        view = np.broadcast_to(x[..., :1] if shape else x, shape)
    else:
        view = in_layout(x, layout)
    flat = (int(np.prod(shape[:first])), int(np.prod(shape[first:])))[not first :]
    as_one = view.reshape(flat)  # NumPy copies only where it must
    for class_last in (False, True):
        for dtype in (np.dtype(np.float64), np.dtype(np.float32)):
            found = _blocks._load("a test", view, dtype, first, class_last)
            assert found.dtype == dtype
            assert found.dtype.isnative
            assert found.flags.aligned
            np.testing.assert_array_equal(found, as_one)
            inner = 0 if class_last and first else len(flat) - 1
            if found.shape[inner] == 1:
                inner = len(flat) - 1 - inner
            near = dtype.itemsize
            assert not found.size or found.shape[inner] == 1 or found.strides[inner] == near
            lies_there = (
                view.dtype == dtype
                and view.dtype.isnative
                and view.flags.aligned
                and np.shares_memory(as_one, view)
                and (as_one.shape[inner] == 1 or as_one.strides[inner] == near)
            )
            assert np.shares_memory(found, view) == lies_there


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"read-only"}))
@pytest.mark.parametrize(
    ("shape", "axis", "in_place"),
    [
        ((5, 3), 1, {"fortran", "transposed"}),  # few classes are taken one after the other
        ((5, 40), 1, {"contiguous"}),
        ((40, 5), 0, {"contiguous"}),
        ((4, 3), None, {"contiguous"}),
        ((2, 3, 4), 1, set()),  # the positions before and after the classes are not one axis
        ((), None, set(LAYOUTS) - {"byte-swapped"}),
    ],
)
def test_target__is_written_in_place_where_it_can_be(shape, axis, in_place, layout):
    """A copy of the result takes time and memory that nobody asked for; elsewhere it is copied back."""
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    first = 0 if axis is None else 1
    x, result = (np.moveaxis(a, axis, 0) if first else a for a in (x, in_layout(np.empty_like(x), layout)))
    seen = []

    def rows(x, target):
        def fill(cut, out):
            seen.append(np.shares_memory(out, result))
            np.negative(x[cut] if first else x, out=out)

        target.write(fill)

    operands = [_blocks.Operand(a, x.dtype, first) for a in (x, result)]
    _blocks.sweep(rows, operands[:1], x.shape[first:], target=operands[1])
    np.testing.assert_array_equal(result, -x)
    assert seen == [layout in in_place]


@pytest.mark.parametrize(
    ("shape", "axis", "inner"),
    [((5, 40), 1, 0), ((5, 3), 1, 1), ((40, 5), 0, 1), ((2, 3, 40), 2, 0), ((2, 40, 3), 1, 1)],
)
def test_block__a_copy_has_neighbours_where_memory_has_them(shape, axis, inner):
    """Memory is read in its own order; only a few classes are worth another one."""
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    x = np.moveaxis(x, axis, 0)
    seen = []

    def rows(z):
        copy = z[z.cuts[0]]
        assert z[z.cuts[0]] is copy  # made once
        np.testing.assert_array_equal(copy, x.reshape(len(x), -1))
        seen.append(copy.strides[inner])

    _blocks.sweep(rows, [_blocks.Operand(x, np.dtype(np.float32), 1)], x.shape[1:])
    assert seen == [4]


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


@pytest.mark.parametrize("classes", [1, 3])
def test_blocks__labels_are_picked_from_classes_in_any_memory(classes):
    """Thousands of positions of few classes: forwards, backwards, with gaps between rows, and all alike."""
    n = 50_000  # more than one block
    base = np.random.default_rng(0).standard_normal((classes, 2 * n)).astype(np.float32)
    y = np.arange(n) % classes
    for memory in (base[:, :n], base[::-1, :n], base[:, n:], np.broadcast_to(base[:1, :n], (classes, n))):
        z = memory.T
        due = crossent.cross_entropy_value_and_grad(np.ascontiguousarray(z), y, reduction="none")
        assert_bitwise(crossent.nll_loss(z, y, reduction="none"), -z[np.arange(n), y])
        for came, expected in zip(
            crossent.cross_entropy_value_and_grad(z, y, reduction="none"), due, strict=True
        ):
            assert_bitwise(came, expected)


@pytest.mark.parametrize("shape", [(2, 9001, 1), (2, 1, 9001), (2, 1, 9001, 1), (2, 3001, 3)])
def test_blocks__labels_are_picked_at_many_positions_of_any_shape(shape):
    """NumPy 2.3 and 2.4 count wrong in a long array of shape (n, 1)."""
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    y = np.arange(np.prod(shape[1:])).reshape(shape[1:]) % 2
    picked = crossent.nll_loss(x, y, axis=0, reduction="none")
    assert np.array_equal(picked, np.where(y == 0, -x[0], -x[1]))
