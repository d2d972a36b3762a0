"""What `diagnose` judges by: figures from one look at each entry, in boxes of fixed size.

Figures are counts, minima and maxima, so the boxes may be of any size. These loops stand here and not
in the engine because a finding names the place where something is wrong, and a block of the engine
does not know where it stands.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from crossent._arguments import Categories, first
from crossent._scratch import Array
from crossent._sums import wide

BOX = 1 << 17  # entries: a box and its few temporaries take some MiB
SATURATED = 104.0  # exp(-104) is 0 in float32, whose smallest number is exp(-103.3)
MASKED = -9e3  # finite masks are -1e4 and below, so that float16 holds them
OFF = 1 / 64  # rows rounded to two decimals or to bfloat16 sum to 1 within this
LSE_OFF = 1e-3  # log-probabilities of float16 come about so near; logits of many classes come to 1 / 64
HEADS = 64  # rows that are looked at digit by digit
HEAD = 1024  # entries of each
GRIDS = (1.0, 0.125, 0.1, 0.01, 0.001)  # what numbers typed by hand are multiples of
EDGE = 0.05

Box = tuple[slice, ...]
Place = tuple[int, ...]


def boxes(shape: tuple[int, ...], classes: int = 1) -> Iterator[Box]:
    """Cut an array into boxes that follow each other in C order, of at most `BOX` entries.

    Where an entry of the shape is a row of `classes`, as many rows as have so many; at least one.
    """
    if 0 in shape:
        return
    size = max(1, BOX // classes)
    cut, inside = len(shape), 1  # axes from `cut` on are taken whole: `inside` entries
    while cut and inside * shape[cut - 1] <= size:
        cut -= 1
        inside *= shape[cut]
    whole = tuple(slice(0, n) for n in shape[cut:])
    if not cut:
        yield whole
        return
    n, step = shape[cut - 1], size // inside
    for outer in np.ndindex(shape[: cut - 1]):
        for start in range(0, n, step):
            yield (*(slice(i, i + 1) for i in outer), slice(start, min(start + step, n)), *whole)


def parts(z: Array, box: Box, kept: Array | slice) -> Iterator[tuple[int, Array]]:
    """Yield rows of ``z (K, *positions)`` a cut of classes at a time: the first class, ``(k, n)``."""
    for cut in boxes(z.shape[:1]):
        part = z[(*cut, *box)]
        yield cut[0].start, part.reshape(len(part), -1)[:, kept].astype(wide_dtype(z))


def wide_dtype(x: Array) -> np.dtype[Any]:
    """Return a dtype that holds every entry and adds them with digits to spare."""
    return np.dtype(np.float64) if x.dtype.kind == "V" else wide(x.dtype.newbyteorder("="))


@dataclass(slots=True)
class Found:
    """How many entries or rows have something, and where the first one stands."""

    count: int = 0
    place: Place = ()

    def add(self, box: Box, at: Array) -> None:
        """Take in the flat indices within a box."""
        if at.size and not self.count:
            inside = np.unravel_index(at[0], tuple(s.stop - s.start for s in box))
            self.place = tuple(s.start + int(i) for s, i in zip(box, inside, strict=True))
        self.count += at.size


# Logits and class indices


@dataclass(slots=True)
class Norms:
    """Whether rows are normalised: as probabilities, or as log-probabilities."""

    low: float = np.inf  # the smallest entry
    high: float = -np.inf  # the largest
    sum_off: float = 0  # the largest |sum - 1|
    lse_off: float = 0  # the largest |logsumexp|
    lse_high: float = -np.inf  # the largest logsumexp
    above: int = 0  # rows whose probabilities, if they are logarithms, total more than 1
    heads: list[Array] = field(default_factory=list)  # the first entries of some rows

    def add(self, rows: "Rows", head: Array, off: float) -> None:
        """Take in some rows without NaN; `head` has their first entries."""
        if not rows.low.size:
            return
        self.low = min(self.low, float(rows.low.min()))
        self.high = max(self.high, float(rows.high.max()))
        self.sum_off = max(self.sum_off, float(abs(rows.total - 1).max()))
        self.lse_off = max(self.lse_off, float(abs(rows.lse).max()))
        self.lse_high = max(self.lse_high, float(rows.lse.max()))
        self.above += int(np.count_nonzero(rows.lse > off))
        wanted = HEADS - len(self.heads)
        if wanted:
            some = np.linspace(0, head.shape[1] - 1, min(wanted, head.shape[1])).astype(int)
            self.heads.extend(head[:, some].T)

    def fits(self) -> tuple[str | None, float]:
        """Tell what all rows could be, and how near they come to it."""
        if self.low >= 0 and self.sum_off <= OFF:
            return "probabilities", self.sum_off
        if self.lse_off <= LSE_OFF:
            return "log-probabilities", self.lse_off
        return None, np.inf

    def kind(self, chance: float = 1.001e-4) -> str | None:
        """Tell what all rows are, if more than `chance` can be ruled out.

        Rows of real logits sum to 1 within d, and have a logsumexp of 0 within d, by chance: with a
        probability of about 2 d, the density of such a sum being 1 at most for logits of unit scale, and
        2 d / scale where they are closer together. Entries typed with one decimal have sums on a grid of
        0.1, so there it is 0.1; on coarser grids 1/2. A row whose entries are equal says nothing, nor does
        one of log-probabilities whose largest is exactly 0: who subtracts the maximum has those. Rows with
        the same entries in any order, to within 2 d, are one piece of evidence. Ten thousand to one is
        asked for: four rows typed with one decimal, two with two decimals or of float16, one of float32.
        """
        kind, d = self.fits()
        if kind is None:
            return None
        different = {
            np.round(np.sort(head.astype(float)) / (2 * d or 1e-16)).tobytes(): head for head in self.heads
        }
        return kind if math.prod(_chance(head, d, kind) for head in different.values()) <= chance else None


def _chance(head: Array, d: float, kind: str) -> float:
    """Return how likely a row of logits comes within `d` of being normalised."""
    numbers = head[np.isfinite(head)].astype(float)
    high, scale = numbers.max(initial=-np.inf), min(1, float(np.ptp(numbers)) if numbers.size else 0)
    if 2 * d >= scale or (kind == "log-probabilities" and high == 0):
        return 1
    return min(0.5, max(2 * d / scale, _grid(numbers, head.dtype)))


def _grid(numbers: Array, dtype: np.dtype[Any]) -> float:
    """Return the coarsest step of `GRIDS` that all numbers are multiples of, or 0."""
    for step in GRIDS:
        steps = numbers / step
        if (abs(steps - np.round(steps)) <= 4 * _eps(dtype) * np.maximum(1, abs(steps))).all():
            return step
    return 0.0


class Rows(NamedTuple):
    """Figures of rows, each an array ``(n,)``; NaN where the row has one."""

    low: Array
    high: Array
    second: Array  # the largest but one
    total: Array
    lse: Array


def figures(z: Iterable[Array], n: int, dtype: np.dtype[Any]) -> Rows:
    """Return the figures of rows whose classes come as arrays ``(k, n)``."""
    low = np.full(n, np.inf, dtype)
    top = np.full((2, n), -np.inf, dtype)
    total, mass = np.zeros((2, n), dtype)
    for part in z:
        low = np.minimum(low, part.min(axis=0))
        top = np.partition(np.concatenate([top, part]), -2, axis=0)[-2:]
        total += part.sum(axis=0)
        mass += np.exp(part, out=part).sum(axis=0)
    return Rows(low, top[1], top[0], total, np.log(mass))


def _eps(dtype: np.dtype[Any]) -> float:
    if dtype.kind not in "fV":
        return 0.0
    return 2.0**-7 if dtype.kind == "V" else float(np.finfo(dtype).eps)


def lse_off(dtype: np.dtype[Any]) -> float:
    """Return how far from 0 the logsumexp of log-probabilities stored in `dtype` may be.

    Half an ulp of each, weighted with its probability, is less than half an ulp of the entropy.
    """
    return max(OFF, 8 * _eps(dtype))


@dataclass(slots=True)
class Logits:
    """What the rows that count hold."""

    positions: int = 0
    rows: int = 0
    strange: Found = field(default_factory=Found)  # NaN, inf, or nothing but -inf
    impossible: Found = field(default_factory=Found)  # the label's logit is -inf
    saturated: int = 0  # rows with a winner by more than SATURATED over one that is not masked
    weightless: int = 0  # rows whose label has weight 0
    norms: Norms = field(default_factory=Norms)


def of_logits(problem: Categories) -> Logits:
    """Look at all rows."""
    z, y, q = problem.x, problem.index, problem.probability
    result = Logits(positions=math.prod(problem.positions))
    heavy = None if problem.weight is None else problem.weight != 0
    off = lse_off(z.dtype)
    for box in boxes(problem.positions, len(z)):
        at = counting(problem, box)
        if not at.size:
            continue
        seen = _Seen(None if y is None else y[box].reshape(-1)[at].astype(np.intp), heavy)
        target = None if q is None else (part for _, part in parts(q, box, at))
        rows = figures(seen.pass_on(parts(z, box, at), target), at.size, wide_dtype(z))
        strange = np.isnan(rows.low) | np.isinf(rows.high)
        result.rows += at.size
        result.strange.add(box, at[strange])
        result.impossible.add(box, at[seen.impossible & ~strange])
        result.weightless += int(np.count_nonzero(~seen.counts))
        lead = rows.high - rows.second
        result.saturated += int(np.count_nonzero((rows.second > MASKED) & (lead > SATURATED)))
        sound = ~strange
        result.norms.add(Rows(*(row[sound] for row in rows)), _head(z, box, at[sound]), off)
    return result


def counting(problem: Categories, box: Box) -> Array:
    """Return the positions of a box that are not left out, as flat indices."""
    kept: Any = True
    if problem.index is not None:
        kept = problem.index[box] != problem.ignore_index
    if problem.where is not None:
        kept = kept & problem.where[box]
    shape = tuple(s.stop - s.start for s in box)
    return np.flatnonzero(np.broadcast_to(kept, shape))


def _head(z: Array, box: Box, at: Array) -> Array:
    part = z[(slice(HEAD), *box)]
    return part.reshape(len(part), -1)[:, at]


class _Seen:
    """What is seen of labels while the classes of a box pass by."""

    def __init__(self, y: Array | None, heavy: Array | None) -> None:
        self._y = y
        self._heavy = heavy
        self.impossible: Any = False
        self.counts = np.ones(1, bool) if y is None or heavy is None else heavy[y]

    def pass_on(self, z: Iterable[tuple[int, Array]], q: Iterator[Array] | None) -> Iterator[Array]:
        for start, part in z:
            hidden = np.isneginf(part)
            if self._y is not None:
                here = np.flatnonzero((start <= self._y) & (self._y < start + len(part)))
                hit = np.zeros(part.shape[1], bool)
                hit[here] = hidden[self._y[here] - start, here]
                self.impossible = self.impossible | (hit & self.counts)
            elif q is not None:
                hidden &= next(q) > 0
                if self._heavy is not None:
                    hidden &= self._heavy[start : start + len(part), np.newaxis]
                self.impossible = self.impossible | hidden.any(axis=0)
            yield part


# Probability targets


@dataclass(slots=True)
class Target:
    """What the rows of a target shaped like the logits hold."""

    rows: int = 0
    low: float = np.inf
    sum_low: float = np.inf
    sum_high: float = -np.inf
    wrong: Found = field(default_factory=Found)  # rows that are no distribution
    empty: int = 0  # rows of zeros
    hard: bool = True  # nothing but 0 and 1
    several: Found = field(default_factory=Found)  # rows that sum to more than 1.5


def of_target(q: Array, problem: Categories | None = None) -> Target:
    """Look at the rows of ``q (K, *positions)`` that count."""
    result = Target()
    for box in boxes(q.shape[1:], len(q)):
        if problem is None:
            at = np.arange(math.prod(s.stop - s.start for s in box))
        else:
            at = counting(problem, box)
        if not at.size:
            continue
        low, total = np.full(at.size, np.inf), np.zeros(at.size)
        for _, part in parts(q, box, at):
            low = np.minimum(low, part.min(axis=0))
            total += part.sum(axis=0)
            result.hard &= bool(((part == 0) | (part == 1)).all())
        result.rows += at.size
        fine = (low >= -OFF) & (abs(total - 1) <= OFF)  # False for NaN
        result.wrong.add(box, at[~fine])
        result.low = float(np.minimum(result.low, low.min()))
        result.sum_low = float(np.minimum(result.sum_low, total.min()))
        result.sum_high = float(np.maximum(result.sum_high, total.max()))
        result.empty += int(np.count_nonzero(total == 0))
        result.several.add(box, at[total > 1.5])
    return result


# Classes that never appear


def label_counts(problem: Categories, rows: int) -> Array | None:
    """Return how often each class is a label, if there are labels enough to expect each of them.

    Enough means: if a class were a hundred times rarer than its fair share of 1 / K, the expected number
    of absent ones would still be below 1/1000. A fair share is not asked for because classes are
    rarely balanced. Pixels of an image and tokens of a text are no independent draws, so there are
    no more draws than the first axis is long.
    """
    y, classes = problem.index, len(problem.x)
    if y is None or not y.ndim:
        return None
    draws = min(rows, len(y))
    if classes * (1 - 0.01 / classes) ** draws > 1e-3:
        return None
    counts = np.zeros(classes, np.int64)
    for box in boxes(y.shape):
        labels = y[box].reshape(-1)[counting(problem, box)].astype(np.intp)
        counts += np.bincount(labels, minlength=classes)
    return counts


# Another class axis


def some_rows(x: Array, axis: int, at: Array) -> Array:
    """Return the rows at flat positions as ``(K, n)``."""
    z = first(x, (axis,))
    places: Any = np.unravel_index(at, z.shape[1:])
    part: Array = z[(slice(None), *places)]
    return part.astype(wide_dtype(x))


def other_norms(x: Array, axis: int) -> Norms:
    """Look at some rows along another axis."""
    z = first(x, (axis,))
    at = _sample(math.prod(z.shape[1:]), BOX // len(z))
    rows = some_rows(x, axis, at)
    rows = rows[:, ~(np.isnan(rows).any(axis=0) | np.isinf(rows.max(axis=0)))]
    norms = Norms()
    head = rows[:HEAD].astype(x.dtype)
    norms.add(figures([rows], rows.shape[1], rows.dtype), head, lse_off(x.dtype))
    return norms


def _sample(n: int, size: int) -> Array:
    """Return all of `n` numbers, or a random part, the same each time."""
    if n <= size:
        return np.arange(n)
    return np.unique(np.random.default_rng(0).integers(0, n, max(1, size)))


class Agreement(NamedTuple):
    """How often the largest logit along an axis is the label's."""

    share: float  # weighted as `chance` counts
    expected: float  # of labels and largest logits that have nothing to do with each other
    chance: float  # an upper limit for the probability of such a share, or a larger one

    @property
    def beyond(self) -> float:
        """How much more often than expected."""
        return self.share - self.expected


def agreement(x: Array, axis: int, problem: Categories) -> Agreement:
    """Compare labels with the largest logits along an axis.

    Labels that repeat are no independent evidence: the same text in every row of the batch, a first token
    that is always the same. So there is one vote for each label at each place of the axes after the
    first, the mean of its rows. If votes had nothing to do with the logits, the mean of n of them would be
    at least a with a probability of at most exp(-n KL(a, p)), Chernoff's bound, which holds for any votes
    in [0, 1]. Here p is how often a class is the largest, averaged over the labels: a model that
    always says the most frequent class agrees no more than that.
    """
    y = problem.index
    assert y is not None
    flat = _sample(y.size, BOX // x.shape[axis])
    places: Any = np.unravel_index(flat, y.shape)
    labels = y[places]
    kept = labels != problem.ignore_index
    if problem.where is not None:
        kept &= problem.where[places]
    flat, labels = flat[kept], labels[kept].astype(np.intp)
    if not flat.size:
        return Agreement(0, 1, 1)
    largest = some_rows(x, axis, flat).argmax(axis=0)
    after = flat % math.prod(y.shape[1:])
    voters, vote = np.unique(np.stack([after, labels]), axis=1, return_inverse=True)
    vote = vote.reshape(-1)
    n = voters.shape[1]
    mean = np.bincount(vote, largest == labels) / np.bincount(vote)
    p = float((np.bincount(largest, minlength=x.shape[axis]) / flat.size)[voters[1]].mean())
    a = float(mean.mean())
    return Agreement(a, p, 1.0 if a <= p else math.exp(-n * _divergence(a, p)))


def _divergence(a: float, p: float) -> float:
    """Return KL of two coins in nats, ``0 < p < a``."""
    return sum(u * math.log(u / v) for u, v in ((a, p), (1 - a, 1 - p)) if u > 0)


# Binary


@dataclass(slots=True)
class Elements:
    """What the elements that count hold."""

    count: int = 0
    nan: Found = field(default_factory=Found)
    impossible: Found = field(default_factory=Found)  # infinite and on the wrong side
    outside: Found = field(default_factory=Found)  # targets not in [0, 1]
    missing: Found = field(default_factory=Found)  # targets that are NaN
    low: float = np.inf  # of the others
    high: float = -np.inf
    saturated: int = 0  # beyond SATURATED and not masked
    beyond: int = 0  # logits not in [0, 1]
    near_0: int = 0
    near_1: int = 0
    ones: int = 0
    hard: bool = True  # logits are nothing but 0 and 1


def of_elements(z: Array, y: Array, where: Array | None) -> Elements:
    """Look at all elements of yes-or-no logits and targets."""
    result = Elements()
    for box in boxes(z.shape):
        at = np.arange(z[box].size) if where is None else np.flatnonzero(where[box])
        if not at.size:
            continue
        zs, ys = (a[box].reshape(-1)[at].astype(wide_dtype(a)) for a in (z, y))
        result.count += at.size
        result.nan.add(box, at[np.isnan(zs)])
        result.impossible.add(box, at[(np.isposinf(zs) & (ys < 1)) | (np.isneginf(zs) & (ys > 0))])
        result.outside.add(box, at[(ys < 0) | (ys > 1)])
        result.missing.add(box, at[np.isnan(ys)])
        result.low = float(np.fmin(result.low, np.fmin.reduce(ys)))
        result.high = float(np.fmax(result.high, np.fmax.reduce(ys)))
        result.saturated += int(np.count_nonzero((zs > MASKED) & (abs(zs) > SATURATED) & np.isfinite(zs)))
        result.beyond += int(np.count_nonzero(~((zs >= 0) & (zs <= 1))))
        result.near_0 += int(np.count_nonzero((zs > 0) & (zs <= EDGE)))
        result.near_1 += int(np.count_nonzero((zs < 1) & (zs >= 1 - EDGE)))
        result.ones += int(np.count_nonzero(zs == 1))
        result.hard &= bool(((zs == 0) | (zs == 1)).all())
    return result
