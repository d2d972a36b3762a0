"""Evaluate a file of logits that may be larger than memory, and show how far it is.

    python examples/10_evaluate_a_file_of_logits.py [--rows N] [--classes K]

A language model's logits for a text: one row a token, one column a word of the vocabulary. The file is
memory-mapped. crossent takes it as it is, reads it block by block, and needs a few MiB besides. But a call
over all of it tells nothing before it is done; so this script makes one call a chunk, and shows progress.

1. The mean loss and the perplexity: chunk by chunk, with the same bits as one call over the whole file.
2. Why the mean of the chunks' means is another number.
3. The gradient of the mean, written into a second file; into a third by one call, to compare.

The files are made in a temporary directory, and removed. At the end the script asserts what it claims.
"""

import argparse
import math
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

import crossent

IGNORED = -100  # tokens that do not count, as at the end of a text
CHUNK_BYTES = 1 << 24  # of logits: long enough to be fast, short enough to show progress often


class Progress:
    """A line on stderr: often and in place on a terminal, every ten seconds and a new one in a log."""

    def __init__(self, what, rows, row_bytes):
        self.what, self.rows, self.row_bytes = what, rows, row_bytes
        self.terminal = sys.stderr.isatty()
        self.every = 0.1 if self.terminal else 10.0
        self.started = self.shown = time.monotonic()

    def at(self, row):
        now = time.monotonic()
        done = row == self.rows
        if now - self.shown < self.every and not done:
            return
        self.shown = now
        spent = max(now - self.started, 1e-9)
        rate = row * self.row_bytes / spent
        rest = (
            f"done in {spent:.1f} s" if done else f"{(self.rows - row) * self.row_bytes / rate:.0f} s to go"
        )
        line = f"{self.what}: {row:,} of {self.rows:,} rows, {rate / 1e6:,.0f} MB/s, {rest}"
        before, after = ("\r", "\033[K" + "\n" * done) if self.terminal else ("", "\n")
        print(f"{before}{line}{after}", end="", file=sys.stderr, flush=True)


def chunks_of(array, what):
    """Yield slices of about `CHUNK_BYTES` of rows, and show how far they are."""
    rows = len(array)
    row_bytes = array.nbytes // rows
    step = max(1, CHUNK_BYTES // row_bytes)
    progress = Progress(what, rows, row_bytes)
    for start in range(0, rows, step):
        chunk = slice(start, min(start + step, rows))
        yield chunk
        progress.at(chunk.stop)


def write_logits(path, rows, classes):
    """Make up a text and a model that is fairly good at its first half: return the target of each row."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, classes, rows)
    target[rng.random(rows) < np.linspace(0, 0.5, rows)] = IGNORED
    logits = np.lib.format.open_memmap(path, "w+", np.float32, (rows, classes))
    for chunk in chunks_of(logits, "writing"):
        part = logits[chunk]
        rng.standard_normal(part.shape, np.float32, out=part)
        counted = np.flatnonzero(target[chunk] != IGNORED)
        skill = np.linspace(12, 0, rows)[chunk]
        part[counted, target[chunk][counted]] += skill[counted]
    logits.flush()
    return target


def evaluate(logits, target):
    """Return the exact sum of all losses, how many count, and each chunk's mean.

    `fsum` adds without error, and rounds once. Losses go to it one by one: sums of chunks would be rounded
    each. With `dtype=np.float64` the losses have double precision, and no copy of the logits is made.
    """
    means = []

    def losses():
        for chunk in chunks_of(logits, "evaluating"):
            part = crossent.cross_entropy(
                logits[chunk], target[chunk], ignore_index=IGNORED, reduction="none", dtype=np.float64
            )  # 0 where the target is ignored
            counted = np.count_nonzero(target[chunk] != IGNORED)
            means.append(math.fsum(part) / counted if counted else math.nan)
            yield from part.tolist()

    total = math.fsum(losses())
    return total, np.count_nonzero(target != IGNORED), means


def write_gradient(path, logits, target, count):
    """Write the gradient of the mean over all counted rows: that of the sum, divided by their number."""
    gradient = np.lib.format.open_memmap(path, "w+", logits.dtype, logits.shape)
    for chunk in chunks_of(logits, "gradient"):
        crossent.cross_entropy_grad(
            logits[chunk], target[chunk], ignore_index=IGNORED, reduction="sum",
            grad_output=1 / count, out=gradient[chunk],
        )  # fmt: skip
    gradient.flush()
    return gradient


def main():
    parser = argparse.ArgumentParser(description="Evaluate a memory-mapped file of logits, chunk by chunk.")
    parser.add_argument("--rows", type=int, default=2_000, help="tokens (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=16_000, help="words (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where there is room for three files of that size")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=options.directory, ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "logits.npy"
        target = write_logits(path, options.rows, options.classes)
        logits = np.load(path, mmap_mode="r")
        print(
            f"a file of {logits.nbytes / 2**20:,.0f} MiB: {options.rows:,} rows, {options.classes:,} classes"
        )

        tracemalloc.start()
        total, count, means = evaluate(logits, target)
        gradient = write_gradient(Path(folder) / "gradient.npy", logits, target, count)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        mean = total / count
        mean_of_means = np.nanmean(means)
        print(f"counted rows                {count:,}")
        print(f"mean loss                   {mean:.12f} nats")
        print(f"perplexity                  {math.exp(mean):.6g}")
        print(f"mean of the chunks' means   {mean_of_means:.12f}, of {len(means)} chunks: not the same")
        print(f"memory beside the files     {peak / 2**20:.1f} MiB")

        # One call over the whole file, without progress: the same bits.
        settings = {"ignore_index": IGNORED, "dtype": np.float64}
        assert total == crossent.cross_entropy(logits, target, reduction="sum", **settings)
        assert mean == crossent.cross_entropy(logits, target, **settings)
        assert abs(crossent.perplexity(logits, target) / math.exp(mean) - 1) < 1e-5  # in the logits' float32
        assert len(means) == 1 or abs(mean_of_means - mean) > 1e-6 * mean

        # The gradient too, but for the rounding of 1 / count: at most one float32 further.
        whole = np.lib.format.open_memmap(Path(folder) / "whole.npy", "w+", logits.dtype, logits.shape)
        crossent.cross_entropy_grad(logits, target, ignore_index=IGNORED, out=whole)
        for chunk in chunks_of(whole, "comparing"):
            assert np.all(np.abs(gradient[chunk] - whole[chunk]) <= np.spacing(np.abs(whole[chunk])))
        assert peak < 64 << 20, "it grows with a vector or two of the rows' length, not with the logits"
        del logits, gradient, whole  # Windows does not remove what is mapped


if __name__ == "__main__":
    main()
