"""Scratch memory: kept between calls, and never given to two at once."""

import itertools
import signal
import threading

import numpy as np
import pytest

import crossent
from crossent import _exponentials, _scratch, categorical, lse
from crossent._scratch import room, room_like, rooms
from outcomes import assert_same_outcomes, inputs, outcomes

F32 = np.dtype(np.float32)
SIZE = _scratch._SMALL  # numbers of four bytes: large enough to be kept


def test_rooms__of_two_names_never_share_memory():
    """An operand must not be overwritten by a temporary."""
    with rooms:
        for size in (SIZE, 2 * SIZE, SIZE // 2, 10):
            arrays = [room(name, (size,), F32) for name in "abcd"]
            arrays += [room_like(f"like {i}", a) for i, a in enumerate(arrays)]
            for a, b in itertools.combinations(arrays, 2):
                assert not np.shares_memory(a, b)


def test_rooms__of_one_name_are_the_same_memory():
    """This is what they are for: also the next call gets it, and another dtype and shape."""
    rooms.spare.clear()  # as in a new thread
    with rooms:
        first = room("again", (SIZE,), F32)
        assert np.shares_memory(first, room("again", (SIZE // 4, 2), np.dtype(np.float64)))
    with rooms:
        assert np.shares_memory(first, room("again", (SIZE,), F32))
        assert not np.shares_memory(first, room("again", (2 * SIZE,), F32))  # too small


@pytest.mark.parametrize("size", [_scratch._SMALL, _scratch._LARGE + 1])
def test_rooms__of_small_and_very_large_size_are_not_kept(size):
    """The allocator has small ones at hand; a very large one would never be given back."""
    with rooms:
        first = room("a", (size,), np.dtype(np.uint8))
        assert not np.shares_memory(first, room("a", (size,), np.dtype(np.uint8)))


@pytest.mark.parametrize("n", [3, SIZE])
@pytest.mark.parametrize("dtype", [None, np.dtype(np.float16), np.dtype(np.float64)])
def test_room_like__has_the_shape_and_the_order_of_axes(n, dtype):
    """Kept or not. In another order than its operand's, each pass would stride through memory."""
    with rooms:
        for a in (np.empty((2, n), F32), np.empty((n, 2), F32).T, np.empty(n, F32)):
            like = room_like("a", a, dtype)
            assert like.shape == a.shape
            assert like.dtype == (F32 if dtype is None else dtype)
            assert like.flags.c_contiguous == a.flags.c_contiguous
            assert like.flags.f_contiguous == a.flags.f_contiguous


def test_rooms__outside_of_a_call_are_nobodys():
    """What a call makes before its sweep could be a handler's in the middle of it."""
    first = room("a", (SIZE,), F32)
    assert not np.shares_memory(first, room("a", (SIZE,), F32))
    crossent.cross_entropy(np.zeros((2, 50_000)), [0, 1], label_smoothing=0.1)
    assert rooms.used == {}


def test_rooms__of_a_call_inside_a_call_are_other_ones():
    """The outer call's array holds what it held, and is still the one of its name."""
    with rooms:
        outer = room("a", (SIZE,), F32)
        outer[...] = 1
        for _ in range(2):
            with rooms:
                inner = room("a", (SIZE,), F32)
                assert not np.shares_memory(inner, outer)
                inner[...] = 2
        assert (outer == 1).all()
        assert np.shares_memory(outer, room("a", (SIZE,), F32))


def test_rooms__are_given_back_after_an_error():
    """Or every failed call would leave its memory behind."""
    depth = len(rooms.outside)
    found = []

    def fail():
        with rooms:
            found.append(room("a", (SIZE,), F32))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(rooms.outside) == depth
    with rooms:
        assert np.shares_memory(found[0], room("a", (SIZE,), F32))


def test_rooms__of_two_threads_are_different():
    """Threads work on blocks of the same names at the same time."""
    arrays, both = [], threading.Barrier(2)

    def work():
        with rooms:
            arrays.append(room("a", (SIZE,), F32))
            both.wait(60)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not np.shares_memory(*arrays)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_calls__inside_of_calls_do_not_disturb_them(monkeypatch, dtype):
    """As from `__del__` or a callback, in the middle of a block's arithmetic: the same bits."""
    z, y = inputs((300, 90), 1, dtype)
    other, labels = inputs((90, 300), 1, dtype, seed=1)
    due = outcomes(z, y, 1)
    inside = []

    def between(function):
        def changed(*arguments, **options):
            result = function(*arguments, **options)
            if not inside:
                inside.append(True)
                crossent.cross_entropy_value_and_grad(other, labels, label_smoothing=0.1)
                crossent.softmax_grad(other, grad_output=other)
                inside.clear()
                calls.append(function)
            return result

        return changed

    calls = []
    for module, name in (
        (_exponentials, "_terms"),
        (lse, "scale"),
        (lse, "exponentials"),
        (categorical, "double_sum"),
    ):
        changed = between(getattr(module, name))
        monkeypatch.setattr(module, name, changed)
        if hasattr(categorical, name):
            monkeypatch.setattr(categorical, name, changed)
    monkeypatch.setattr("crossent.sigmoids.exp_minus_size", between(crossent.sigmoids.exp_minus_size))
    monkeypatch.setattr("crossent.binary.exp_minus_size", crossent.sigmoids.exp_minus_size)
    monkeypatch.setattr("crossent._sums._halve", between(crossent._sums._halve))
    assert_same_outcomes(outcomes(z, y, 1), due)
    assert len(set(calls)) == 6


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timer signals")
def test_calls__from_a_signal_handler_do_not_disturb_the_call_they_interrupt():
    """It comes between any two lines of the library, those of the scratch memory included."""
    z, y = inputs((300, 90), 1, "float16")
    other, labels = inputs((90, 300), 1, "float16", seed=1)
    due = outcomes(z, y, 1)
    due_inside = crossent.cross_entropy(other, labels, label_smoothing=0.1)
    found = []

    def handler(number, frame):
        found.append(crossent.cross_entropy(other, labels, label_smoothing=0.1))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        while len(found) < 30:
            signal.setitimer(signal.ITIMER_REAL, 0.0007 + len(found) * 0.0003)
            assert_same_outcomes(outcomes(z, y, 1), due)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(found) == {due_inside}
