"""What the digits cost: crossent beside the usual stable algorithm, in blocks of the same size.

    python docs/scripts/cost.py

Prints Markdown: the time of crossent divided by that of the usual algorithm, fastest of many
interleaved rounds in one process, one thread. Single times say little on a shared machine.
"""

import time

import numpy as np

import crossent
from crossent import _blocks

SHAPES = [(256, 1000), (256, 50257)]
SECONDS = 4.0


def usual(z, y, gradient):
    """Shift by the maximum, exp, sum, log: block by block, as it is usually written."""
    n = max(1, _blocks.BLOCK_BYTES // (z.itemsize * z.shape[1]))
    grad = np.empty_like(z) if gradient else None
    total = 0.0
    for i in range(0, len(z), n):
        block, labels = z[i : i + n], y[i : i + n]
        rows = np.arange(len(block))
        d = block - block.max(axis=1, keepdims=True)
        picked = d[rows, labels]
        e = np.exp(d, out=d)
        s = e.sum(axis=1, keepdims=True)
        total += (np.log(s[:, 0]) - picked).sum()
        if grad is not None:
            np.multiply(e, 1 / (len(z) * s), out=grad[i : i + n])
            grad[i + rows, labels] -= 1 / len(z)
    return total / len(z), grad


def fastest(calls):
    """Seconds of the fastest call of each, taking turns."""
    taken = [[] for _ in calls]
    stop = time.perf_counter() + SECONDS
    while time.perf_counter() < stop or len(taken[0]) < 5:
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [min(times) for times in taken]


def main():
    """Print the table."""
    print("| time of crossent / usual algorithm | value | value and gradient |")
    print("|---|---:|---:|")
    rng = np.random.default_rng(0)
    crossent.set_num_threads(1)
    for dtype in ("float32", "float64"):
        for shape in SHAPES:
            z = (3 * rng.standard_normal(shape)).astype(dtype)
            y = rng.integers(0, shape[1], shape[0])
            cells = []
            for gradient in (False, True):
                function = crossent.cross_entropy_value_and_grad if gradient else crossent.cross_entropy
                ours, theirs = fastest(
                    [
                        lambda function=function, z=z, y=y: function(z, y),
                        lambda gradient=gradient, z=z, y=y: usual(z, y, gradient),
                    ]
                )
                cells.append(f"{ours / theirs:.2f} ({ours * 1e3:.2f} / {theirs * 1e3:.2f} ms)")
            print(f"| {shape[0]} x {shape[1]}, {dtype} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
