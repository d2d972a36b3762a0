"""What `benchmark.py` measures: the same call with the same arrays, in crossent and in other libraries.

A `Case` names a call. `CALLS[library](case, data)` returns a function without arguments that makes it: for a
loss, the value or (value, gradient); for softmax, the array. None stands for a call that a library has not
got. Arrays of the library's own kind are made beforehand; compiled forms are used where there are some.
"""

import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import crossent

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's remarks about slow compilation

Call = Callable[[], Any]
NEEDS = {
    "torch": ["torch"],
    "torch-compile": ["torch"],
    "jax": ["jax", "optax"],
    "scipy": ["scipy"],
}  # the modules of a peer
BLOCK_BYTES = 1 << 21  # of the blocks in which floors are measured


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, ...]
    function: str = "cross_entropy"  # or "bce", "softmax", "log_softmax"
    target: str = "index"  # or "soft", "binary"
    dtype: str = "float32"
    axis: int = 1
    options: tuple[str, ...] = ()  # of "weight", "ignore_index", "label_smoothing", "pos_weight"
    grad: bool = False  # value and gradient
    inplace: bool = False  # crossent only: out=logits
    offset: float = 0.0  # of the logits

    @property
    def title(self) -> str:
        shape = "×".join(map(str, self.shape))
        more = [self.dtype] * (self.dtype != "float32") + [f"axis={self.axis}"] * (self.axis != 1)
        more += [f"around {self.offset:g}"] * (self.offset != 0)
        kind = "" if self.function.endswith("softmax") else ", value+grad" if self.grad else ", value"
        return f"{self.name} {' '.join([shape, *more])}{kind}{' out=logits' if self.inplace else ''}"

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def smallest(self) -> "Case":
        """The same call on one position of two classes."""
        shape = [1] * len(self.shape)
        shape[self.axis] = 2
        return replace(self, shape=tuple(shape))

    @property
    def writes(self) -> bool:
        """Whether the result is as large as the logits."""
        return self.grad or self.function.endswith("softmax")

    @property
    def result_bytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize * (self.writes and not self.inplace)


def case_of(settings: dict[str, Any]) -> Case:
    return Case(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    )


def both(*args: Any, **settings: Any) -> list[Case]:
    case = Case(*args, **settings)
    return [case, replace(case, grad=True)]


CASES = [
    *both("tiny", (256, 10)),
    *both("imagenet", (256, 1000)),
    *both("lm-small", (1024, 50257)),
    *both("lm-llama", (256, 128256)),
    *both("lm-last-axis", (8, 128, 50257), axis=-1),
    *both("lm-offset", (256, 50257), offset=-80.0),
    *both("segmentation", (4, 21, 256, 256)),
    *both("two-classes", (262144, 2)),
    *both("options", (1024, 32000), options=("weight", "ignore_index", "label_smoothing")),
    *both("soft-targets", (1024, 1000), target="soft"),
    *both("bce", (4096, 1000), "bce", "binary"),
    Case("bce-pos-weight", (4096, 1000), "bce", "binary", options=("pos_weight",), grad=True),
    Case("softmax", (1024, 50257), "softmax"),
    Case("log-softmax", (1024, 50257), "log_softmax"),
    *both("double", (1024, 10000), dtype="float64"),
    *both("half", (1024, 50257), dtype="float16"),
    Case("in-place", (1024, 50257), grad=True, inplace=True),
]


@dataclass
class Data:
    logits: np.ndarray
    target: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)


def make_data(case: Case) -> Data:
    rng = np.random.default_rng(0)
    logits = (case.offset + 3 * rng.standard_normal(case.shape, np.float32)).astype(case.dtype)
    positions = list(case.shape)
    classes = positions.pop(case.axis)
    target: Any = rng.integers(0, classes, positions)
    if case.target == "soft":
        target = rng.random(case.shape, np.float32).astype(case.dtype)
        target /= target.sum(case.axis, keepdims=True)
    if case.target == "binary":
        target = (rng.random(case.shape, np.float32) < 0.5).astype(case.dtype)
    data = Data(logits, target)
    for name in {"weight", "pos_weight"} & set(case.options):
        data.options[name] = rng.uniform(0.5, 2, classes).astype(case.dtype)
    if "label_smoothing" in case.options:
        data.options["label_smoothing"] = 0.1
    if "ignore_index" in case.options:
        data.options["ignore_index"] = -100
        target[rng.random(target.shape) < 0.1] = -100
    return data


def missing(peer: str) -> list[str]:
    """Return the modules that a peer needs and that are not installed."""
    return [module for module in NEEDS[peer] if importlib.util.find_spec(module) is None]


def crossent_call(case: Case, data: Data) -> Call:
    if case.function.endswith("softmax"):
        function = getattr(crossent, case.function)
        return lambda: function(data.logits, axis=case.axis)
    name = "binary_cross_entropy_with_logits" if case.function == "bce" else case.function
    function = getattr(crossent, name + "_value_and_grad" * case.grad)
    settings = dict(data.options)
    if case.axis != 1:
        settings["axis"] = case.axis
    if case.inplace:
        settings["out"] = data.logits
    return lambda: function(data.logits, data.target, **settings)


def torch_call(case: Case, data: Data, compiled: bool = False) -> Call:
    import torch
    import torch.nn.functional as F

    options = {k: torch.from_numpy(a) if isinstance(a, np.ndarray) else a for k, a in data.options.items()}
    x, y = torch.from_numpy(data.logits), torch.from_numpy(data.target)
    if case.axis == -1:  # PyTorch takes classes at axis 1; flat views cost nothing
        x, y = x.flatten(0, -2), y.flatten()

    def call(x: Any, y: Any) -> Any:
        if case.function.endswith("softmax"):
            return getattr(torch, case.function)(x, dim=1)
        if case.function == "bce":
            return F.binary_cross_entropy_with_logits(x, y, **options)
        return F.cross_entropy(x, y, **options)

    if compiled:
        torch._dynamo.reset()  # else the shapes of earlier cases make this one dynamic
        call = torch.compile(call, dynamic=False)
    if not case.grad:
        return lambda: call(x, y)

    def value_and_grad() -> Any:
        leaf = x.detach().requires_grad_()
        value = call(leaf, y)
        value.backward()
        return value.detach(), leaf.grad

    return value_and_grad


def jax_call(case: Case, data: Data) -> Call:
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    x, y = jnp.asarray(data.logits), jnp.asarray(data.target)
    options = {k: jnp.asarray(a) for k, a in data.options.items()}
    axis = case.axis

    def cross_entropy(x: Any, y: Any) -> Any:
        if case.dtype == "float16":
            x = x.astype(jnp.float32)
        if case.target == "soft":
            return optax.softmax_cross_entropy(x, y, axis=axis).mean()
        if not options:
            return optax.softmax_cross_entropy_with_integer_labels(x, y, axis=axis).mean()
        weight, smoothing = options["weight"], options["label_smoothing"]
        kept = y != options["ignore_index"]
        y = jnp.where(kept, y, 0)
        lp = jax.nn.log_softmax(x, axis)
        hard = -weight[y] * jnp.take_along_axis(lp, y[:, None], axis)[:, 0]
        losses = (1 - smoothing) * hard - smoothing / lp.shape[axis] * (lp @ weight)
        return jnp.where(kept, losses, 0).sum() / jnp.where(kept, weight[y], 0).sum()

    def bce(x: Any, y: Any) -> Any:
        return (options.get("pos_weight", 1) * y * jax.nn.softplus(-x) + (1 - y) * jax.nn.softplus(x)).mean()

    functions = {
        "cross_entropy": cross_entropy,
        "bce": bce,
        "softmax": lambda x, y: jax.nn.softmax(x, axis),
        "log_softmax": lambda x, y: jax.nn.log_softmax(x, axis),
    }
    function = functions[case.function]
    call = jax.jit(jax.value_and_grad(function) if case.grad else function)
    return lambda: jax.block_until_ready(call(x, y))


def scipy_call(case: Case, data: Data) -> Call | None:
    from scipy import special

    x, y, axis = data.logits, data.target, case.axis
    if case.grad or data.options or case.dtype == "float16":
        return None
    if case.function == "bce":
        return lambda: -(y * special.log_expit(x) + (1 - y) * special.log_expit(-x)).mean()
    if case.function.endswith("softmax"):
        return lambda: getattr(special, case.function)(x, axis)
    if case.target == "soft":
        return lambda: -(y * special.log_softmax(x, axis)).sum(axis).mean()
    index = np.expand_dims(y, axis)
    return lambda: -np.take_along_axis(special.log_softmax(x, axis), index, axis).mean()


CALLS: dict[str, Callable[[Case, Data], Call | None]] = {
    "crossent": crossent_call,
    "torch": torch_call,
    "torch-compile": lambda case, data: torch_call(case, data, compiled=True),
    "jax": jax_call,
    "scipy": scipy_call,
}


# -- floors: what no program that is made of NumPy calls can be faster than ------------------------------


def in_pieces(work: Any, arrays: list[np.ndarray], threads: int, block: int) -> Call:
    """Return a call of ``work(scratch, *pieces)`` over flat arrays, cut into equal parts for the threads."""
    size = arrays[0].size
    if arrays[0].nbytes < BLOCK_BYTES:
        threads = 1  # waking another one takes longer
    block = max(1, min(block, -(-size // threads)))
    pieces = [[a[i : i + block] for a in arrays] for i in range(0, size, block)]
    scratch = np.empty((threads, block), arrays[0].dtype)

    def part(thread: int) -> None:
        for piece in pieces[thread::threads]:
            work(scratch[thread, : piece[0].size], *piece)

    if threads == 1:
        return lambda: part(0)
    pool = ThreadPoolExecutor(threads - 1)

    def call() -> None:
        helpers = [pool.submit(part, thread) for thread in range(1, threads)]
        part(0)
        for helper in helpers:
            helper.result()

    return call


def floor_calls(case: Case, data: Data) -> dict[str, Call]:
    """Return calls that do a part of the work, by what they show.

    memory  reads the logits and, where the result is as large, writes as many bytes
    exp     exponentiates the logits, block by block into the same memory (binary: and takes `log1p`)
    exp, one thread
    bare    exp, and a sum of them; a product written to the result, where it is as large
    call    the whole call, on one position of two classes
    """
    threads = crossent.get_num_threads()
    half = case.dtype == "float16"
    z = data.logits.reshape(-1)
    bits = z.view(f"u{z.itemsize}")
    z = z.astype(np.float32) if half else z
    results = [np.zeros(case.size, case.dtype)] if case.writes else []
    block = BLOCK_BYTES // z.itemsize

    def memory(scratch: np.ndarray, bits: np.ndarray, *result: np.ndarray) -> None:
        if result:
            np.copyto(result[0], bits)
        else:
            bits.max()

    def exp(scratch: np.ndarray, z: np.ndarray) -> None:
        np.exp(z, out=scratch)
        if case.function == "bce":
            np.log1p(scratch, out=scratch)

    def bare(scratch: np.ndarray, z: np.ndarray, *result: np.ndarray) -> None:
        exp(scratch, z)
        scratch.sum()
        if case.writes:  # NumPy's own rounding to float16 is no floor: that is left out
            np.multiply(scratch, scratch.dtype.type(0.5), out=scratch if half else result[0])

    small = case.smallest
    return {
        "memory": in_pieces(memory, [bits, *(a.view(bits.dtype) for a in results)], threads, bits.size),
        "exp": in_pieces(exp, [z], threads, block),
        "exp, one thread": in_pieces(exp, [z], 1, block),
        "bare": in_pieces(bare, [z] if half else [z, *results], threads, block),
        "call": CALLS["crossent"](small, make_data(small)),
    }
