"""Memory: beside inputs and results a fixed number of blocks, whatever the size of the input.

Counted from nothing: no scratch memory is kept from an earlier call, and no pool of threads.
"""

import gc
import tracemalloc

import numpy as np
import pytest

import crossent
from crossent import _blocks, _scratch, _threads
from laws import assert_bitwise

pytestmark = pytest.mark.slow

MIB = 1 << 20
MOST = 16 * MIB  # beside inputs and results
THREADS = 2  # each has blocks of its own
SIZE = 33_000_000  # bytes of the logits, at least: what is of their size, or half of it, is seen


@pytest.fixture(autouse=True)
def from_nothing():
    """No thread of the pool, hence none of what these keep."""
    if _threads._state.pool is not None:
        _threads._state.pool.shutdown(wait=True)
    _threads._state.forget()
    with crossent.set_num_threads(THREADS):
        yield


@pytest.fixture(autouse=True)
def rooms(monkeypatch):
    """Scratch memory of this test's own."""
    own = _scratch._Rooms()
    monkeypatch.setattr(_scratch, "rooms", own)
    monkeypatch.setattr(_blocks, "rooms", own)
    return own


def extra(call):
    """Peak of what a call allocates, without its results."""
    gc.collect()
    tracemalloc.start()
    try:
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak - sum(np.asarray(a).nbytes for a in (result if isinstance(result, tuple) else (result,)))


def filled(shape, dtype=np.float32, offset=0.0):
    """Numbers of no special kind, cheaply."""
    a = np.empty(shape, dtype)
    flat = a.reshape(-1)
    piece = (np.sin(np.arange(100_003.0)) * 3 + offset).astype(dtype)
    for start in range(0, len(flat), len(piece)):
        part = flat[start : start + len(piece)]
        part[...] = piece[: len(part)]
    return a


def labels(shape, classes):
    return (np.arange(int(np.prod(shape))) * 7 % classes).reshape(shape)


SHAPES = {  # of 32 MiB in float32, those of long rows of 64
    "many classes": ((167, 50257), 1),
    "two classes": ((1 << 22, 2), 1),
    "ten classes": ((840_000, 10), 1),
    "a thousand classes": ((8_400, 1000), 1),
    "pictures": ((4, 21, 320, 320), 1),
    "time steps": ((4, 42, 50257), -1),
    "classes first": ((50257, 167), 0),
    "two long rows": ((2, 1 << 23), 1),
    "one row": ((1 << 24,), 0),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 500.0], ids=["", "shifted"])
def test_memory__of_a_loss_and_its_gradient(name, offset):
    """The promise, in every shape: with logits that `exp` takes as they are, and with others."""
    shape, axis = SHAPES[name]
    z = filled(shape, offset=offset)
    assert z.nbytes >= SIZE
    y = labels(tuple(np.delete(shape, axis)), shape[axis])
    assert extra(lambda: crossent.cross_entropy(z, y, axis=axis)) <= MOST
    before = z.copy()
    assert extra(lambda: crossent.cross_entropy_value_and_grad(z, y, axis=axis)) <= MOST
    assert_bitwise(z, before)
    assert extra(lambda: crossent.cross_entropy_value_and_grad(z, y, axis=axis, out=z)[:1]) <= MOST


OPTIONS = (  # of the last, weights are as many as the logits of a row
    "many classes",
    "two classes",
    "two long rows",
)


@pytest.mark.parametrize("name", OPTIONS)
def test_memory__of_options(name):
    """Each option takes arrays of its own on the way: none may be of the input's size."""
    shape, axis = SHAPES[name]
    z, K = filled(shape), shape[axis]
    y = labels(shape[:1], K)
    w = filled(K) + np.float32(4)
    loss = crossent.cross_entropy
    for options in (
        {"dtype": np.float64},
        {"ignore_index": 1, "where": y % 5 > 0},
        {"label_smoothing": 0.1, "weight": w, "ignore_index": 1},
    ):
        assert extra(lambda options=options: loss(z, y, **options)) <= MOST, options


@pytest.mark.parametrize("name", OPTIONS)
def test_memory__of_soft_targets(name):
    """A target of the logits' size is read in blocks like them, in float64 as well."""
    shape = SHAPES[name][0]
    z, q = filled(shape), np.abs(filled(shape))
    assert extra(lambda: crossent.cross_entropy(z, q)) <= MOST
    assert extra(lambda: crossent.cross_entropy(z, q, dtype=np.float64)) <= MOST
    assert extra(lambda: crossent.cross_entropy_value_and_grad(z, q, label_smoothing=0.1, out=z)[:1]) <= MOST


@pytest.mark.parametrize("name", OPTIONS)
def test_memory__of_half_precision(name):
    """Never converted as a whole, in either direction."""
    shape, axis = SHAPES[name]
    z = filled(shape, np.float16)
    y = labels(shape[:1], shape[axis])
    assert extra(lambda: crossent.cross_entropy_value_and_grad(z, y)) <= MOST
    assert extra(lambda: crossent.cross_entropy(z, y, dtype=np.float64)) <= MOST
    assert extra(lambda: crossent.cross_entropy_value_and_grad(z, y, out=z)[:1]) <= MOST


@pytest.mark.parametrize("name", ["many classes", "two classes", "two long rows"])
def test_memory__of_the_softmax_family(name):
    """Page 1: what has a gradient of the logits' size, and what has nothing but it."""
    shape, axis = SHAPES[name]
    z, g = filled(shape), filled(shape)
    for call in (
        lambda: crossent.logsumexp(z, axis),
        lambda: crossent.logsumexp(z, None),
        lambda: crossent.logsumexp_grad(z, None, out=z)[:0],
        lambda: crossent.softmax(z, axis),
        lambda: crossent.log_softmax(z, axis),
        lambda: crossent.softmax_grad(z, axis, grad_output=g),
        lambda: crossent.log_softmax_grad(z, axis, grad_output=g),
        lambda: crossent.kl_divergence(g, g, axis),
        lambda: crossent.entropy(g, axis),
    ):
        assert extra(call) <= MOST


def test_memory__of_binary_losses_and_elementwise_functions():
    """Up to five arrays of the logits' size come in; nothing of that size is made."""
    x, q = filled(1 << 23), np.abs(filled(1 << 23))
    where = x > 0
    bce = crossent.binary_cross_entropy_with_logits_value_and_grad
    everything = {"weight": q, "pos_weight": q, "where": where}
    for call in (
        lambda: bce(x, q),
        lambda: bce(x, where, dtype=np.float64),
        lambda: bce(x, q, **everything, reduction="none", grad_output=q, out=x)[:1],
        lambda: crossent.sigmoid_grad(x, grad_output=q),
        lambda: crossent.log_sigmoid(x),
    ):
        assert extra(call) <= MOST


@pytest.mark.parametrize("layout", ["fortran", "reversed", "strided"])
def test_memory__of_layouts(layout):
    """What is not contiguous is copied block by block."""
    z = filled((400, 40_000))
    z = {"fortran": np.asfortranarray(z), "reversed": z[::-1, ::-1], "strided": z[:, ::2]}[layout]
    y = labels((400,), 20_000)
    assert extra(lambda: crossent.cross_entropy(z, y)) <= MOST
    assert extra(lambda: crossent.cross_entropy_value_and_grad(z, y, label_smoothing=0.1, out=z)[:1]) <= MOST


def test_memory__of_a_file_that_is_mapped(tmp_path):
    """Logits and gradient on disk, never in memory, and the same bits as arrays."""
    shape = (1000, 33_000)
    names = [tmp_path / name for name in ("logits", "gradient")]
    z, out = (np.memmap(name, np.float32, "w+", shape=shape) for name in names)
    z[::100] = filled((10, shape[1]), offset=100.0)  # the rest of the file is a hole
    y = labels(shape[:1], shape[1])
    assert extra(lambda: crossent.cross_entropy(z, y)) <= MOST
    value, grad = crossent.cross_entropy_value_and_grad(z, y, reduction="sum", out=out)
    assert grad is out
    assert extra(lambda: crossent.cross_entropy_grad(z, y, reduction="sum", out=out)[:0]) <= MOST
    some = slice(None, None, 50)
    array = np.array(z[some])
    assert_bitwise(out[some], crossent.cross_entropy_grad(array, y[some], reduction="sum"))
    assert value == crossent.cross_entropy(np.array(z), y, reduction="sum")
    half = np.memmap(tmp_path / "half", np.float16, "w+", shape=shape)
    half[3] = filled(shape[1], np.float16)
    assert extra(lambda: crossent.cross_entropy_value_and_grad(half, y, out=half)[:1]) <= MOST


def test_memory__of_what_is_kept_between_calls(rooms):
    """Scratch memory is kept by name: after every function has been called it is still a few blocks."""
    z, q = filled((333, 50257)), np.abs(filled((333, 50257)))
    y = labels(333, 50257)
    with crossent.set_num_threads(1):
        for offset in (0, 500):
            z += np.float32(offset)
            for dtype in (np.float16, np.float32, np.float64):
                crossent.cross_entropy_value_and_grad(z[:99], y[:99], dtype=dtype, label_smoothing=0.1)
                crossent.cross_entropy_value_and_grad(z[:99], q[:99], dtype=dtype)
            crossent.softmax_grad(z[:99], grad_output=q[:99])
        crossent.entropy(q[:99])
        crossent.kl_divergence(q[:99], z[:99])
        crossent.cross_entropy(z.reshape(-1, 3), labels(z.size // 3, 3), label_smoothing=0.1)
        crossent.binary_cross_entropy_with_logits_value_and_grad(z, q, pos_weight=q, weight=q)
        crossent.softplus(z)
        crossent.sigmoid_grad(z)
    assert rooms.used == {}
    assert len(rooms.spare) > 5
    assert max(a.nbytes for a in rooms.spare.values()) <= _scratch._LARGE
    assert sum(a.nbytes for a in rooms.spare.values()) <= MOST
