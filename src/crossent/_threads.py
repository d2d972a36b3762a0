"""Threads: how many there are, and who shares the work with the caller.

NumPy lets go of the interpreter inside each of its loops, so that threads run beside each other as
long as the blocks they work on are large. There is one pool, made when it is first needed. The
caller works too and never waits for a helper that has not begun: nested calls, calls from many
threads and a pool that is busy elsewhere cost speed, not a deadlock.
"""

import math
import operator
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import SupportsIndex

_VARIABLE = "CROSSENT_NUM_THREADS"


class set_num_threads:  # a function to its users, which `with` can undo
    """Set how many threads work on one large input, at once or for the length of a ``with`` block.

    Parameters
    ----------
    n : int
        At least 1, the caller's own thread included. It holds for all threads of the process.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is less than 1.

    Notes
    -----
    The results are the same bits for any number. Small inputs are left to one thread. The variable
    ``CROSSENT_NUM_THREADS`` sets the number from outside.

    Examples
    --------
    >>> with set_num_threads(1):
    ...     get_num_threads()
    1
    """

    def __init__(self, n: SupportsIndex) -> None:
        number = _at_least_one("n", n)
        self._before = _state.number
        _state.number = number

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.number = self._before


def get_num_threads() -> int:
    """Return how many threads work on one large input.

    Returns
    -------
    int
        What `set_num_threads` set last, else the variable ``CROSSENT_NUM_THREADS``, else the number of
        processors that this process may use, by its affinity and its control group's quota.

    Raises
    ------
    ValueError
        If ``CROSSENT_NUM_THREADS`` is needed and is not a positive integer.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    if _state.number is None:
        _state.number = _default()
    return _state.number


def _at_least_one(name: str, n: SupportsIndex) -> int:
    try:
        number = operator.index(n)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {n!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def _default() -> int:
    word = os.environ.get(_VARIABLE, "").strip()
    if not word:
        return max(1, min(_processors(), _quota(Path("/"))))
    try:
        return _at_least_one(_VARIABLE, int(word))
    except ValueError:
        raise ValueError(f"the variable {_VARIABLE} must be a positive integer, not {word!r}") from None


def _processors() -> int:
    """Return how many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(root: Path) -> int:
    """Return how many processors Linux's control groups grant, rounded up; where they don't, a large number.

    Containers see all processors of their host but may use only part of their time; more threads
    than that are stopped in the middle of their blocks.
    """
    granted = math.inf
    for line in _words(root / "proc/self/cgroup", "\n"):
        controllers, _, path = line.partition(":")[2].partition(":")
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            if controllers == "":  # version 2
                limits = _words(root / "sys/fs/cgroup" / folder / "cpu.max")
            elif "cpu" in controllers.split(","):
                base = root / "sys/fs/cgroup/cpu" / folder
                limits = _words(base / "cpu.cfs_quota_us") + _words(base / "cpu.cfs_period_us")
            else:
                continue
            if len(limits) == 2 and all(
                word.isdecimal() and int(word) for word in limits
            ):  # else "max" or -1
                granted = min(granted, int(limits[0]) / int(limits[1]))
    return math.ceil(min(granted, 1 << 20))


def _words(path: Path, separator: str | None = None) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").strip().split(separator)
    except OSError:
        return []


class _State:
    """What the process shares: the number of threads, and the pool, which a forked child must not use."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.forget()

    def forget(self) -> None:
        self.lock = threading.RLock()
        self.asking = False  # for helpers: the thread that holds the lock
        self.pool: ThreadPoolExecutor | None = None
        self.size = 0

    def submit(self, work: Callable[[], None], count: int) -> None:
        """Ask for up to `count` helpers; fewer where no thread can start, none at the interpreter's end."""
        with self.lock:
            if self.asking:  # a signal's handler or a finalizer, in the middle of what follows
                return
            try:
                self.asking = True
                if self.pool is None or self.size < count:
                    if self.pool is not None:  # its threads end when they are done
                        self.pool.shutdown(wait=False)
                    self.pool, self.size = ThreadPoolExecutor(count, "crossent"), count
                for _ in range(count):
                    self.pool.submit(work)
            except RuntimeError:
                pass
            finally:
                self.asking = False


_state = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.forget)


class _Crew:
    """The helpers of one call, which they join and leave by themselves.

    Not the pool's futures: where a thread cannot start, the pool raises and keeps the task, which a
    thread that gets free may take up all the same.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._busy = 0
        self._over = False
        self.errors: list[BaseException] = []

    def join(self) -> None:
        with self._changed:
            if self._over:
                return
            self._busy += 1
        try:
            self._work()
        except BaseException as error:
            self.errors.append(error)
        with self._changed:
            self._busy -= 1
            self._changed.notify()

    def dismiss(self) -> None:
        """Let nobody join any more, and wait for those who have."""
        with self._changed:
            self._over = True
            self._changed.wait_for(lambda: not self._busy)
        del self._work  # and with it the arrays: the pool may never come to those who did not join


def share(work: Callable[[], None], helpers: int) -> None:
    """Run `work` here and in up to `helpers` other threads; return when all that began are done."""
    crew = _Crew(work)
    _state.submit(crew.join, helpers)
    try:
        work()
    finally:
        crew.dismiss()
    if crew.errors:
        raise crew.errors[0]
