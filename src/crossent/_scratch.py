"""Memory for the temporaries of a block, kept from one block and one call to the next.

Handing a megabyte back to the system and asking for it again costs more than the arithmetic on it:
each page has to be found and cleared anew. What is kept is a few blocks a thread.
"""

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_SMALL = 1 << 15  # bytes: the allocator has these at hand
_LARGE = 1 << 22  # bytes: not worth keeping


class _Rooms(threading.local):
    """What a thread has. Inside ``with``, a call that comes in between, from a signal say, has its own."""

    def __init__(self) -> None:
        self.used: dict[str, Array] = {}
        self.spare: dict[str, Array] = {}
        self.outside: list[dict[str, Array]] = []

    def __enter__(self) -> None:
        self.outside.append(self.used)
        self.used, self.spare = self.spare, {}

    def __exit__(self, *_: object) -> None:
        self.spare, self.used = self.used, self.outside.pop()


rooms = _Rooms()


def room(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of any content; the last one of this name and thread is lost."""
    size = math.prod(shape) * dtype.itemsize
    if not (_SMALL < size <= _LARGE and rooms.outside):  # nothing is kept of what is not in ``with``
        return np.empty(shape, dtype)
    memory = rooms.used.get(name)
    if memory is None or memory.nbytes < size:
        memory = rooms.used[name] = np.empty(size, np.uint8)
    return memory[:size].view(dtype).reshape(shape)


def room_like(name: str, a: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """Return a `room` of the shape of ``a (K, n)`` or ``(n,)``, and with its order of axes in memory."""
    dtype = a.dtype if dtype is None else dtype
    if a.ndim == 2 and a.strides[0] < a.strides[1]:
        return room(name, a.shape[::-1], dtype).T
    return room(name, a.shape, dtype)
