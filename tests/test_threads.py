"""Threads: the same bits for any number of them, settings that say no, and no way to hang or to lose work."""

import gc
import importlib.util
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import crossent
from crossent import _blocks, _threads
from crossent._blocks import Operand, sweep
from crossent._sums import ExactSum
from outcomes import assert_same_outcomes, inputs, outcomes
from strategies import in_layout

PATIENCE = 60  # seconds: nothing here takes so long unless it hangs
F64 = np.dtype(np.float64)
SHAPES = [((40, 7), 1), ((3, 20, 6), 1), ((4, 5, 33), -1), ((37, 11), 0), ((2, 3, 0), 1)]


@pytest.fixture
def many_blocks(monkeypatch):
    """Blocks so small that a few numbers are work for several threads."""
    monkeypatch.setattr(_blocks, "THREAD_BYTES", 0)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 200)
    monkeypatch.setattr(_blocks, "ELEMENT_BYTES", 100)


@pytest.fixture
def unset(monkeypatch):
    """A process in which nobody has set a number."""
    monkeypatch.setattr(_threads._state, "number", None)
    monkeypatch.delenv("CROSSENT_NUM_THREADS", raising=False)


@pytest.fixture
def own_pool(monkeypatch):
    """A pool of this test's own, which does not exist yet."""
    state = _threads._State()
    monkeypatch.setattr(_threads, "_state", state)
    yield state
    if state.pool is not None:
        state.pool.shutdown(wait=True)


def all_begin(work, helpers):
    """A stand-in for `_threads.share` in which each helper begins before anybody works."""
    together = threading.Barrier(helpers + 1)

    def begin():
        together.wait(PATIENCE)
        work()

    with ThreadPoolExecutor(helpers) as pool:
        futures = [pool.submit(begin) for _ in range(helpers)]
        begin()
        for future in futures:
            future.result()


def wait_for_two():
    """A function that returns when a second thread calls it, and at once from then on."""
    together, arrived = threading.Barrier(2), set()

    def wait():
        me = threading.get_ident()
        if me not in arrived and len(arrived) < 2:
            arrived.add(me)
            together.wait(PATIENCE)

    return wait


# ---------------------------------------------------------------------------------------
# the same bits


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_threads__same_bits_for_any_number(monkeypatch, many_blocks, shape, axis, dtype):
    """A result must not tell on how many processors it was made."""
    z, y = inputs(shape, axis, dtype)
    with crossent.set_num_threads(1):
        alone = outcomes(z, y, axis)
    for number in (2, 3, 8):
        with crossent.set_num_threads(number):
            assert_same_outcomes(outcomes(z, y, axis), alone)
    monkeypatch.setattr(_threads, "share", all_begin)
    with crossent.set_num_threads(3):
        assert_same_outcomes(outcomes(z, y, axis), alone)


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "byte-swapped", "unaligned"])
def test_threads__same_bits_in_any_layout(monkeypatch, many_blocks, layout):
    """Threads copy what is not contiguous, each into memory of its own."""
    z, y = inputs((5, 9, 4), 1)
    with crossent.set_num_threads(1):
        alone = outcomes(z, y, 1)
    monkeypatch.setattr(_threads, "share", all_begin)
    with crossent.set_num_threads(2):
        assert_same_outcomes(outcomes(z, y, 1, lambda a: in_layout(a, layout)), alone)


def test_threads__share_large_inputs_and_leave_small_ones_to_the_caller(monkeypatch):
    """Without this the tests of equal bits would prove nothing."""
    helpers = []
    monkeypatch.setattr(_threads, "share", lambda work, count: (helpers.append(count), work()))
    rows = _blocks.THREAD_BYTES // 4 // 100
    with crossent.set_num_threads(4):
        crossent.cross_entropy(np.zeros((rows // 2, 100), np.float32), np.zeros(rows // 2, int))
        assert helpers == []
        crossent.cross_entropy(np.zeros((4 * rows, 100), np.float32), np.zeros(4 * rows, int))
        assert helpers == [3]
        crossent.logsumexp(np.zeros(8 * rows * 100), None)  # one position: nothing to share
        assert helpers == [3]


def test_threads__out_in_place_of_the_logits(monkeypatch, many_blocks):
    """Each position is read before it is written, whoever takes it."""
    z, y = inputs((50, 7), 1)
    due = crossent.cross_entropy_value_and_grad(z, y)
    monkeypatch.setattr(_threads, "share", all_begin)
    with crossent.set_num_threads(4):
        value, grad = crossent.cross_entropy_value_and_grad(z, y, out=z)
    assert grad is z
    assert value == due[0]
    np.testing.assert_array_equal(z, due[1])


# ---------------------------------------------------------------------------------------
# the number


def test_set_num_threads__as_a_call_and_for_a_block(unset):
    """As a context manager it must leave no trace, also after an exception and inside another."""
    crossent.set_num_threads(5)
    assert crossent.get_num_threads() == 5
    with crossent.set_num_threads(2):
        assert crossent.get_num_threads() == 2
        with crossent.set_num_threads(np.int8(7)):
            assert crossent.get_num_threads() == 7
        assert crossent.get_num_threads() == 2
    assert crossent.get_num_threads() == 5
    with pytest.raises(ZeroDivisionError), crossent.set_num_threads(3):
        1 / 0  # noqa: B018
    assert crossent.get_num_threads() == 5


def test_set_num_threads__a_block_before_anybody_asked_leaves_the_default(unset, monkeypatch):
    """Undoing must give back what the environment says, not what it said."""
    with crossent.set_num_threads(2):
        pass
    monkeypatch.setenv("CROSSENT_NUM_THREADS", "6")
    assert crossent.get_num_threads() == 6


@pytest.mark.parametrize("wrong", [1.0, "2", None, [1], np.float64(3)])
def test_set_num_threads__refuses_what_is_no_integer(unset, wrong):
    """A number of threads from a division is a bug of the caller's, and must not become the setting."""
    crossent.set_num_threads(3)
    with pytest.raises(TypeError, match="n must be an integer"):
        crossent.set_num_threads(wrong)
    assert crossent.get_num_threads() == 3


@pytest.mark.parametrize("wrong", [0, -1, False, np.int64(-8)])
def test_set_num_threads__refuses_less_than_one(unset, wrong):
    """0 means "all" in some libraries and "none" in others: neither is guessed."""
    crossent.set_num_threads(3)
    with pytest.raises(ValueError, match=f"at least 1, got {int(wrong)}"):
        crossent.set_num_threads(wrong)
    assert crossent.get_num_threads() == 3


@pytest.mark.parametrize(("word", "due"), [("3", 3), (" 12\n", 12), ("1", 1)])
def test_variable__sets_the_number(unset, monkeypatch, word, due):
    """Who runs a program is not always who wrote it."""
    monkeypatch.setenv("CROSSENT_NUM_THREADS", word)
    assert crossent.get_num_threads() == due
    crossent.set_num_threads(2)
    assert crossent.get_num_threads() == 2


@pytest.mark.parametrize("word", ["", "   "])
def test_variable__blank_is_unset(unset, monkeypatch, word):
    """As `CROSSENT_NUM_THREADS= python ...` leaves it."""
    monkeypatch.setenv("CROSSENT_NUM_THREADS", word)
    monkeypatch.setattr(_threads, "_processors", lambda: 11)
    monkeypatch.setattr(_threads, "_quota", lambda root: 1 << 20)
    assert crossent.get_num_threads() == 11


@pytest.mark.parametrize("word", ["0", "-2", "two", "1.5", "2,3"])
def test_variable__wrong_is_refused_when_it_is_needed(unset, monkeypatch, word):
    """The message names the variable, small inputs do not need it, and nothing is written."""
    monkeypatch.setenv("CROSSENT_NUM_THREADS", word)
    message = f"CROSSENT_NUM_THREADS must be a positive integer, not {word!r}"
    with pytest.raises(ValueError, match=message):
        crossent.get_num_threads()
    assert crossent.softmax([0.0, 0.0]).tolist() == [0.5, 0.5]
    monkeypatch.setattr(_blocks, "THREAD_BYTES", 0)
    out = np.full((2, 2), 7.0)
    with pytest.raises(ValueError, match=message):
        crossent.cross_entropy_grad(np.zeros((2, 2)), [0, 1], out=out)
    assert (out == 7).all()


def test_default__is_the_lesser_of_affinity_and_quota(unset, monkeypatch):
    """More threads than processors stop each other in the middle of their blocks."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5, 7}, raising=False)
    for quota, due in ((1 << 20, 4), (3, 3), (0, 1)):
        monkeypatch.setattr(_threads, "_quota", {Path("/"): quota}.get)
        monkeypatch.setattr(_threads._state, "number", None)
        assert crossent.get_num_threads() == due


@pytest.mark.parametrize(("count", "due"), [(6, 6), (None, 1)])
def test_default__without_affinity_is_the_number_of_processors(unset, monkeypatch, count, due):
    """Systems without affinity, and one that does not know how many processors it has."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(_threads, "_quota", lambda root: 1 << 20)
    assert crossent.get_num_threads() == due


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"
UNLIMITED = 1 << 20


def v1(folder, quota, period="100000"):
    return {f"{V1}/{folder}cpu.cfs_quota_us": f"{quota}\n", f"{V1}/{folder}cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("groups", "files", "due"),
    [
        pytest.param("0::/\n", {f"{V2}/cpu.max": "200000 100000\n"}, 2, id="a container's root"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, UNLIMITED, id="max"),
        pytest.param("0::/a/b\n", {f"{V2}/a/b/cpu.max": "150000 100000\n"}, 2, id="rounded up"),
        pytest.param("0::/a/b\n", {f"{V2}/a/b/cpu.max": "1000 100000\n"}, 1, id="less than one"),
        pytest.param(
            "0::/a/b\n",
            {f"{V2}/a/b/cpu.max": "800000 100000\n", f"{V2}/a/cpu.max": "300000 100000\n"},
            3,
            id="a parent grants less",
        ),
        pytest.param(
            "0::/a/b\n",
            {f"{V2}/a/b/cpu.max": "max 100000\n", f"{V2}/cpu.max": "500000 100000\n"},
            5,
            id="the grandparent alone limits",
        ),
        pytest.param("5:cpuset:/\n4:cpu,cpuacct:/\n", v1("", 400000), 4, id="version 1"),
        pytest.param("4:cpu:/docker/1\n", v1("docker/1/", 50000, "25000"), 2, id="version 1, nested"),
        pytest.param("4:cpu:/docker/1\n", v1("", 300000), 3, id="version 1, of another namespace"),
        pytest.param("4:cpu:/\n", v1("", -1), UNLIMITED, id="version 1, no limit"),
        pytest.param("4:cpuset:/\n", v1("", 100000), UNLIMITED, id="version 1, another controller"),
        pytest.param(
            "4:cpu:/x\n0::/x\n",
            {**v1("x/", 600000), f"{V2}/x/cpu.max": "200000 100000\n"},
            2,
            id="both",
        ),
        pytest.param("0::/a\n", {}, UNLIMITED, id="no limits' files"),
        pytest.param(None, {f"{V2}/cpu.max": "100000 100000\n"}, UNLIMITED, id="no control groups"),
        pytest.param("", {}, UNLIMITED, id="an empty list, as some sandboxes show"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": ""}, UNLIMITED, id="an empty limit"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "100000 0\n"}, UNLIMITED, id="no period"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "100000 x\n"}, UNLIMITED, id="a period that is no number"),
        pytest.param("nonsense\n", {}, UNLIMITED, id="a line that is none"),
        pytest.param(
            "0::/Xorg 1\n", {f"{V2}/Xorg 1/cpu.max": "200000 100000\n"}, 2, id="a name with a space"
        ),
        pytest.param("0::/a\udcff:b\n", {f"{V2}/cpu.max": "200000 100000\n"}, 2, id="a name of any bytes"),
    ],
)
def test_quota__is_what_all_groups_grant(tmp_path, groups, files, due):
    """Containers show all processors of their host; and what the files hold must not stop a loss."""
    if groups is not None:
        files = {"proc/self/cgroup": groups, **files}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert _threads._quota(tmp_path) == due


# ---------------------------------------------------------------------------------------
# many callers


def test_threads__eight_callers_at_once(many_blocks):
    """A server's requests: each gets what it would get alone."""
    calls = [
        (*inputs(SHAPES[i % 4][0], SHAPES[i % 4][1], ["float32", "float64"][i % 2], i), SHAPES[i % 4][1])
        for i in range(8)
    ]
    with crossent.set_num_threads(1):
        due = [outcomes(*call) for call in calls]
    together = threading.Barrier(8)

    def request(call):
        together.wait(PATIENCE)
        return [outcomes(*call) for _ in range(3)]

    with crossent.set_num_threads(3), ThreadPoolExecutor(8) as pool:
        for alone, rounds in zip(due, pool.map(request, calls), strict=True):
            for one in rounds:
                assert_same_outcomes(one, alone)


def test_threads__callers_that_outnumber_the_pool_do_not_wait_for_it(many_blocks, own_pool):
    """A helper that is busy elsewhere costs speed: here all are, and for as long as the call takes."""
    busy, done = threading.Barrier(3), threading.Event()

    def occupy():
        busy.wait(PATIENCE)
        done.wait(PATIENCE)

    own_pool.submit(occupy, 2)
    busy.wait(PATIENCE)
    z, y = inputs((40, 7), 1)
    try:
        with crossent.set_num_threads(3):
            value = crossent.cross_entropy(z, y)
    finally:
        done.set()
    assert value == crossent.cross_entropy(z, y)


def test_share__does_not_wait_for_a_pool_that_grows(own_pool):
    """The old pool's thread ends when it is done; and callers beside it start no more than they asked for."""
    busy, done, over = threading.Event(), threading.Event(), threading.Event()
    elsewhere = set(threading.enumerate())

    def occupy():
        busy.set()
        done.wait(5)  # so long if somebody waits for it
        over.set()

    def alone():
        found.append(threading.current_thread())

    found = []
    try:
        own_pool.submit(occupy, 1)
        busy.wait(PATIENCE)
        for _ in range(3):
            _threads.share(alone, 1)
        assert set(found) == {threading.current_thread()}
        assert len(set(threading.enumerate()) - elsewhere) == 1
        _threads.share(alone, 2)
        assert not over.is_set()
    finally:
        done.set()


def test_share__who_comes_late_finds_nothing_to_do():
    """The pool may come to a task long after its call: its arrays are the caller's again."""
    worked = []
    crew = _threads._Crew(lambda: worked.append(True))
    crew.join()
    crew.dismiss()
    crew.join()
    assert worked == [True]
    assert crew.errors == []


def test_threads__calls_from_the_inside_of_calls(many_blocks):
    """A row function, or what a helper runs, may need the library: nobody waits in a circle."""
    z, y = inputs((40, 7), 1)
    due = crossent.cross_entropy(z, y)
    found = []

    def inside():
        found.append(crossent.cross_entropy(z, y))

    def rows(x):
        inside()
        return x

    with crossent.set_num_threads(3):
        for _ in range(20):
            _threads.share(inside, 2)
        value = np.empty(100)
        sweep(rows, [Operand(np.arange(100.0), F64)], (100,), sink=Operand(value, F64))
    assert len(found) >= 20 + 100 // 12
    assert set(found) == {due}
    np.testing.assert_array_equal(value, np.arange(100.0))


# ---------------------------------------------------------------------------------------
# errors, and the pool


@pytest.mark.parametrize("where", ["caller", "helper", "both"])
def test_share__an_error_reaches_the_caller_and_the_pool_lives_on(many_blocks, where):
    """A lost error would be a wrong result; one thread's error must not leave the other at work."""
    wait, caller = wait_for_two(), threading.current_thread()
    seen = []

    def rows(x):
        wait()
        here = "caller" if threading.current_thread() is caller else "helper"
        if where in (here, "both"):
            raise KeyError(here)
        threading.Event().wait(0.001)  # 800 times, if nobody says stop
        seen.append(len(x))
        return x

    x = np.arange(10_000.0)
    with crossent.set_num_threads(2):
        error = "helper" if where == "helper" else "caller"
        with pytest.raises(KeyError, match=error):
            sweep(rows, [Operand(x, F64)], x.shape, sink=ExactSum(F64))
        assert sum(seen) < len(x) / 2  # the other thread has stopped, too
        before = len(seen)
        assert crossent.softplus(x)[-1] == x[-1]
        assert len(seen) == before


def test_share__waits_for_helpers_also_when_the_caller_fails(own_pool):
    """A helper that went on would write into an array that the caller has back."""
    begun, over = threading.Event(), threading.Event()
    caller = threading.current_thread()

    def work():
        if threading.current_thread() is caller:
            begun.wait(PATIENCE)
            raise KeyError
        begun.set()
        threading.Event().wait(0.05)
        over.set()

    with pytest.raises(KeyError):
        _threads.share(work, 1)
    assert over.is_set()


def test_share__a_thread_that_cannot_start_loses_no_work(monkeypatch, many_blocks, own_pool):
    """Under a limit on processes the second helper fails; the first one has a part of the sum."""
    start, started = threading.Thread.start, []

    def limited(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    wait, caller = wait_for_two(), threading.current_thread()

    def rows(x):
        wait()
        if threading.current_thread() is not caller:
            threading.Event().wait(0.2)  # the caller takes all other blocks, and is done first
        return x

    total = ExactSum(F64)
    x = np.arange(200.0)
    monkeypatch.setattr(threading.Thread, "start", limited)
    with crossent.set_num_threads(3):
        sweep(rows, [Operand(x, F64)], x.shape, sink=total)
    assert len(started) == 1
    assert total.total() == x.sum()


def test_share__what_the_pool_failed_to_refuse_loses_no_work(monkeypatch, many_blocks, own_pool):
    """The pool queues a task before it finds that no thread starts for it; one that gets free takes it."""
    occupied, free, helped = threading.Event(), threading.Event(), threading.Event()

    def occupy():
        occupied.set()
        free.wait(PATIENCE)

    own_pool.pool, own_pool.size = ThreadPoolExecutor(2, "crossent"), 2
    own_pool.pool.submit(occupy)
    occupied.wait(PATIENCE)

    def none(thread):
        raise RuntimeError("can't start new thread")

    caller = threading.current_thread()

    def rows(x):
        if threading.current_thread() is caller:
            free.set()
            helped.wait(0.5)  # it may also never come
        else:
            helped.set()
            threading.Event().wait(0.2)
        return x

    total = ExactSum(F64)
    x = np.arange(40.0)
    monkeypatch.setattr(threading.Thread, "start", none)
    with crossent.set_num_threads(2):
        sweep(rows, [Operand(x, F64)], x.shape, sink=total)
    monkeypatch.undo()
    assert total.total() == x.sum()


def test_share__a_call_in_the_middle_of_asking_for_helpers_gets_none(monkeypatch, many_blocks, own_pool):
    """A finalizer or a signal's handler that calls the package must not wait for what it interrupted."""
    z, y = np.random.default_rng(0).standard_normal((40, 30)), np.arange(40) % 30
    with crossent.set_num_threads(1):
        due = crossent.cross_entropy(z, y)
    within, asked = [], []

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *arguments):
            asked.append(len(within))
            if not within:
                within.append(None)
                within.append(crossent.cross_entropy(z, y))
            return super().submit(*arguments)

    monkeypatch.setattr(_threads, "ThreadPoolExecutor", Interrupted)
    with crossent.set_num_threads(2):
        assert crossent.cross_entropy(z, y) == due
        assert within == [None, due]
        assert asked == [0]  # the pool's own locks may be held: who interrupts it must not ask it
        assert crossent.cross_entropy(z, y) == due
        assert asked == [0, 2]  # and later calls do


def test_share__without_any_thread_the_caller_works_alone(monkeypatch, many_blocks, own_pool):
    """A system out of threads is no reason not to have a loss."""

    def none(thread):
        raise RuntimeError("can't start new thread")

    z, y = inputs((40, 7), 1)
    due = crossent.cross_entropy(z, y)
    monkeypatch.setattr(threading.Thread, "start", none)
    with crossent.set_num_threads(3):
        assert crossent.cross_entropy(z, y) == due
    held = weakref.ref(z)
    del z
    gc.collect()
    assert held() is None  # tasks that wait for a thread for ever must not keep the arrays


def test_pool__grows_with_the_number_and_its_old_threads_end(own_pool):
    """One pool: not one more for each number that was ever set."""

    def together(n):
        barrier, names = threading.Barrier(n), set()

        def work():
            barrier.wait(PATIENCE)
            names.add(threading.current_thread().name)

        _threads.share(work, n - 1)
        return names

    def helpers():
        return [t for t in threading.enumerate() if t.name.startswith("crossent")]

    elsewhere = helpers()
    assert len(together(2)) == 2
    old = [t for t in helpers() if t not in elsewhere]
    assert own_pool.size == len(old) == 1
    assert len(together(5)) == 5
    for thread in old:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    pool = own_pool.pool
    assert len(together(5)) == 5  # as many, or fewer: the same pool
    assert len(together(3)) == 3
    assert own_pool.pool is pool
    assert own_pool.size == 4


# ---------------------------------------------------------------------------------------
# processes and their end

PREAMBLE = """
import atexit, os, sys, threading, time
import numpy as np
import crossent
from crossent import _blocks, _threads
_blocks.THREAD_BYTES, _blocks.BLOCK_BYTES = 0, 2000
z = np.random.default_rng(0).standard_normal((400, 50))
y = np.arange(400) % 50
crossent.set_num_threads(1)
due = crossent.cross_entropy(z, y)
crossent.set_num_threads(3)
def make_pool():
    together = threading.Barrier(3)
    _threads.share(lambda: together.wait(60), 2)
    assert _threads._state.pool is not None
"""


def run(code):
    """Output of a process, which ends by itself."""
    path = str(Path(crossent.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split(), found.stderr


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@needs_fork
def test_fork__the_child_makes_a_pool_of_its_own():
    """Data loaders fork; the child has the parent's pool without its threads."""
    out, _ = run("""
make_pool()
parent = _threads._state.pool
child = os.fork()
if child == 0:
    good = crossent.cross_entropy(z, y) == due
    make_pool()
    os._exit(0 if good and _threads._state.pool is not parent else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), crossent.cross_entropy(z, y) == due)
assert _threads._state.pool is parent
""")
    assert out == ["0", "True"]


@needs_fork
def test_fork__in_the_middle_of_another_threads_call():
    """The lock may be held, and the pool half made, when the process is copied."""
    out, _ = run("""
stop = threading.Event()
def call():
    while not stop.is_set():
        crossent.cross_entropy(z, y)
        _threads._state.forget()
threads = [threading.Thread(target=call) for _ in range(2)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if crossent.cross_entropy(z, y) == due else 1)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    with _threads._state.lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if crossent.cross_entropy(z, y) == due else 1)
        codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
print(codes)
""")
    assert out == ["{0}"]


@needs_fork
def test_fork__workers_of_multiprocessing():
    """The usual way to fork: a pool of processes, made after the parent has used threads."""
    out, _ = run("""
import multiprocessing
def loss(_):
    return crossent.cross_entropy(z, y) == due
make_pool()
with multiprocessing.get_context("fork").Pool(2) as workers:
    print(*set(workers.map(loss, range(8))))
""")
    assert out == ["True"]


def test_fork__systems_without_it_can_import_the_module(monkeypatch):
    """Windows has no fork to prepare for."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    spec = importlib.util.spec_from_file_location("threads_without_fork", _threads.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.get_num_threads() >= 1


def test_exit__an_idle_pool_keeps_nobody_waiting():
    """A script that is done must end."""
    out, err = run("""
make_pool()
print(crossent.cross_entropy(z, y) == due)
""")
    assert (out, err) == (["True"], "")


def test_exit__while_a_daemon_thread_is_calling():
    """Its calls must neither hold the exit up nor put an error on the screen."""
    out, err = run("""
def call():
    while True:
        assert crossent.cross_entropy(z, y) == due
        begun.set()
begun = threading.Event()
threading.Thread(target=call, daemon=True).start()
begun.wait(60)
print("bye")
""")
    assert (out, err) == (["bye"], "")


@pytest.mark.parametrize("before", ["make_pool()", "pass"])
def test_exit__calls_from_the_last_functions_of_a_process_still_work(before):
    """A final report at exit comes when no thread can be had any more."""
    out, err = run(f"""
atexit.register(lambda: print("atexit", crossent.cross_entropy(z, y) == due))
class Last:
    def __del__(self):
        print("del", crossent.cross_entropy(z, y) == due)
{before}
def after():
    threading.main_thread().join()
    for _ in range(3):
        print("thread", crossent.cross_entropy(z, y) == due)
threading.Thread(target=after).start()
last = Last()
last.itself = last
del last
import gc
gc.set_debug(0)
atexit.register(gc.collect)
""")
    assert err == ""
    assert out.count("True") == 5, out
    assert "False" not in out


def test_variable__is_read_when_it_is_needed_and_not_before():
    """A wrong variable must not break an import, and a right one counts in a new process."""
    path = str(Path(crossent.__file__).parents[1])
    code = "import crossent; print(crossent.get_num_threads())"
    for word, due in (("7", "7"), ("many", "ValueError")):
        env = {**os.environ, "PYTHONPATH": path, "CROSSENT_NUM_THREADS": word}
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, env=env
        )
        assert due in (found.stdout or found.stderr)
