"""The engine: the same bits for any block size, position order and layout, in a fixed memory."""

import tracemalloc

import numpy as np
import pytest

import crossent
from crossent import _blocks

SHAPES = [
    ((7, 5), 1),
    ((3, 40, 6), 1),
    ((40, 7), 0),
    ((2, 3, 4, 20), -1),
    ((5,), 0),
    ((0, 3), 1),
    ((2, 3, 0, 4), 1),
]


def data(shape, axis, dtype=np.float32):
    rng = np.random.default_rng(0)
    z = (3 * rng.standard_normal(shape)).astype(dtype)
    positions = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    return z, rng.integers(0, shape[axis], positions)


def outcomes(z, y, axis):
    """Everything that runs through the engine, as bytes."""
    q = np.abs(np.sin(z))
    results = [
        *crossent.cross_entropy_value_and_grad(z, y, axis=axis, ignore_index=1),
        *crossent.cross_entropy_value_and_grad(z, y, axis=axis, label_smoothing=0.1, reduction="none"),
        *crossent.cross_entropy_value_and_grad(z, q, axis=axis, reduction="sum"),
        *crossent.nll_loss_value_and_grad(z, y, axis=axis, weight=np.arange(z.shape[axis]) + 1.0),
        *crossent.binary_cross_entropy_with_logits_value_and_grad(z, q, pos_weight=2.0),
        crossent.logsumexp(z, axis),
        crossent.logsumexp(z, None),
        crossent.softmax_grad(z, axis, grad_output=q),
        crossent.log_softmax(z, axis),
        crossent.sigmoid_grad(z),
        crossent.entropy(q, axis),
    ]
    return [np.ascontiguousarray(result).tobytes() for result in results]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("size", [1, 100, 1000])
def test_engine__same_bits_for_any_block_size(monkeypatch, shape, axis, size):
    """A block's size is a matter of speed alone."""
    whole = outcomes(*data(shape, axis), axis)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", size)
    assert outcomes(*data(shape, axis), axis) == whole


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("few", [0, 10**9])
def test_engine__same_bits_classes_first_or_last(monkeypatch, shape, axis, few):
    """Where the classes of a block lie in memory is a matter of speed alone, too."""
    whole = outcomes(*data(shape, axis), axis)
    monkeypatch.setattr(_blocks, "FEW_CLASSES", few)
    assert outcomes(*data(shape, axis), axis) == whole


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


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_engine__memory_does_not_grow_with_the_input(monkeypatch, reduction):
    """The contract: a fixed number of blocks beside inputs and result, and nothing with out=logits."""
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1 << 17)
    z = np.zeros((4000, 1000), np.float32)
    y = np.zeros(4000, np.int64)

    def peak(call):
        call()
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    few_blocks = 16 * _blocks.BLOCK_BYTES
    assert z.nbytes > 3 * few_blocks
    assert peak(lambda: crossent.cross_entropy(z, y, reduction=reduction)) < few_blocks
    assert peak(lambda: crossent.cross_entropy(z, y, dtype=np.float64)) < few_blocks
    assert peak(lambda: crossent.cross_entropy_value_and_grad(z, y, out=z)) < few_blocks
    assert peak(lambda: crossent.binary_cross_entropy_with_logits_value_and_grad(z, z, out=z)) < few_blocks
