"""diagnose: each mistake is found by its name and its figures, and right calls find nothing."""

import contextlib
import copy
import doctest
import inspect
import itertools
import pickle
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given

import crossent
from crossent import _arguments as desk
from crossent import _evidence as evidence
from crossent import diagnose, log_softmax, softmax
from crossent.findings import LOSSES, Evidence
from laws import BINARY, silence
from strategies import calls

MEMORY = 16 << 20  # bytes beside the input


def rng(seed=0):
    return np.random.default_rng(seed)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def trained(z, y, margin=4.0):
    """Logits that know their labels, classes last."""
    z = np.array(z, float)
    at = np.expand_dims(y, -1)
    np.put_along_axis(z, at, np.take_along_axis(z, at, -1) + margin, -1)
    return z


Z = 2 * rng(1).normal(size=(8, 5))  # eight rows, five classes
Y = rng(2).integers(0, 5, 8)
TOKENS = rng(3).integers(0, 6, (8, 6))  # as many places as classes
TEXT = trained(rng(4).normal(size=(8, 6, 6)), TOKENS)
MANY = rng(5).integers(1, 11, 20_000)  # no class 0
ZB = 4 * rng(6).normal(size=(40, 3))
YB = (rng(7).random((40, 3)) < 0.5).astype(float)
NAN, INF = np.nan, np.inf


def changed(array, **places):
    """A copy with some entries changed: `_0_1=x` is ``[0, 1] = x``."""
    array = np.array(array)
    for place, value in places.items():
        array[tuple(int(i) for i in place[1:].split("_"))] = value
    return array


def case(code, *arguments, figures=None, advice=None, says="", **options):
    """A mistake, figures of its evidence, its advice, and a piece of what is printed."""
    return pytest.param(code, arguments, options, (figures or {}, advice, says), id=code)


NLL, BCE = {"loss": "nll_loss"}, {"loss": BINARY}

LOST = "  # z: what softmax was given; np.log(logits) if that is lost"
RESHAPED = f"{BINARY}(logits, target.reshape(logits.shape))"
MASKED = np.where(np.arange(5) == Y[:, None], -INF, Z)  # the label is
P = softmax(Z)

# What the losses refuse.
REFUSED = [
    case("arguments-swapped", Y, Z, advice="cross_entropy(target, logits)", figures={"axis": 0}),
    case("arguments-swapped", Y, Z.T, axis=0, advice="cross_entropy(target, logits, axis=0)"),
    case("arguments-swapped", changed(Y, _0=-1), Z, ignore_index=-1),
    case("class-axis", np.zeros((2, 6, 5)), np.zeros((2, 6), int), figures={"axis": 1, "other_axis": 2},
         advice="cross_entropy(logits, target, axis=-1)"),
    case("class-axis", np.zeros((5, 2, 6)), np.zeros((2, 6), int), figures={"other_axis": 0},
         advice="cross_entropy(logits, target, axis=0)"),
    case("class-axis", np.zeros((5, 8)), Y, **NLL, advice="nll_loss(log_probs, target, axis=0)"),
    case("target-shape", Z, Y[:, None], advice="cross_entropy(logits, target.reshape((8,)))"),
    case("target-shape", Z, Y[:, None] / 2, advice="cross_entropy(logits, target.reshape((8,)).astype(int))"),
    case("target-shape", Z, Y[:7], figures={"target": (7,), "logits": (8, 5)}, advice="target.shape == (8,)"),
    case("target-shape", Z, 7 * np.ones((8, 5), int), advice="logits.ndim == target.ndim + 1",
         figures={"logits": (8, 5), "target": (8, 5), "axis": 1}),
    case("target-shape", ZB[:, :1], YB[:, 0], **BCE, advice=RESHAPED),
    case("target-shape", ZB, YB[:7], **BCE, figures={"logits": (40, 3), "target": (7, 3)},
         advice="target.shape == logits.shape"),
    case("target-shape", ZB, YB[:, 0], **BCE, advice="target.shape == logits.shape"),
    case("target-shape", ZB, YB[:7].astype(int), **BCE, advice="target.shape == logits.shape"),
    case("target-shape", ZB, YB[:, 0].astype(int), **BCE,
         advice="cross_entropy(logits, target, axis=-1)  # one class a row"),
    case("target-shape", TEXT, TOKENS, **BCE,
         advice="cross_entropy(logits, target, axis=-1)  # one class a row"),
    case("one-hot-integers", Z, np.eye(5, dtype=int)[Y], figures={"rows": 8},
         advice="cross_entropy(logits, target.argmax(axis=1))"),
    case("one-hot-integers", Z, np.eye(5, dtype=bool)[Y], figures={"rows": 8}),
    case("multi-label-target", ZB, YB.astype(int), advice=f"{BINARY}(logits, target)",
         figures={"rows": 40, "several": int(sum(YB.sum(1) > 1))}),
    case("multi-label-target", ZB[:, 0], YB[:, 0].astype(int), advice=f"{BINARY}(logits, target)"),
    case("float-indices", Z, Y.astype(float), figures={"dtype": "float64", "whole": True},
         advice="cross_entropy(logits, target.astype(int))"),
    case("float-indices", Z, Y + 0.5, figures={"whole": False},
         advice="np.mean((x - target) ** 2)  # regression?"),
    case("float-indices", TEXT, TOKENS.astype(float), figures={"whole": True}),
    case("boolean-target", Z[:, :2], Y > 2, figures={"true": int(sum(Y > 2))},
         advice="cross_entropy(logits, target.astype(int))"),
    case("soft-target", Z, P, **NLL, figures={"dtype": "float64"}, advice="cross_entropy(logits, target)"),
    case("labels-from-one", Z, Y + 1, figures={"low": 1, "high": 5, "classes": 5},
         advice="cross_entropy(logits, target - 1)"),
    case("labels-from-one", Z, Y + 1, weight=np.ones(5), **NLL, advice="nll_loss(log_probs, target - 1)"),
    case("label-out-of-range", Z, changed(Y, _3=-1), figures={"low": -1, "high": int(Y.max())},
         advice="cross_entropy(logits, target, ignore_index=-1)"),
    case("label-out-of-range", Z, changed(Y, _3=255),
         advice="cross_entropy(logits, target, ignore_index=255)"),
    case("label-out-of-range", Z, changed(Y, _3=9), advice="logits.shape  # 10 classes at least"),
    case("label-out-of-range", Z, changed(Y, _3=-1), where=Y >= 0, figures={"low": -1}),
    case("label-out-of-range", Z, [-100, 0, 3, 3, 9, 50, 1, 2], where=np.arange(8) != 5,
         figures={"low": 0, "high": 9}, advice="logits.shape  # 10 classes at least"),  # those that count
    case("label-out-of-range", Z, [1, 1, 2, 3, 4, 5, 6, 5], advice="logits.shape  # 7 classes at least"),
    case("label-out-of-range", Z, [1, 0, 2, 3, 4, 5, 4, 5], ignore_index=0,  # 0 is taken, for padding
         advice="logits.shape  # 6 classes at least"),
    case("label-out-of-range", Z, changed(Y, _3=-1, _4=5), advice="logits.shape  # 6 classes at least"),
    case("label-out-of-range", Z, changed(Y, _3=5, _4=255), advice="logits.shape  # 256 classes at least"),
    case("label-out-of-range", Z[:, :2], changed(Y % 2, _3=-1, _4=1), figures={"high": 1},
         advice="cross_entropy(logits, target, ignore_index=-1)"),
    case("label-out-of-range", Z[:, :1], Y, advice=f"logits.shape  # {Y.max() + 1} classes at least"),
    case("one-class", ZB[:, :1], YB[:, 0].astype(int),
         advice=f"{BINARY}(logits.reshape(target.shape), target)"),
    case("one-class", ZB[:, :1], YB[:, 0], figures={"classes": 1},
         advice=f"{BINARY}(logits.reshape(target.shape), target)"),
    case("one-class", ZB[:, :1], YB[:, 0] > 0, figures={"error": "TypeError"}),
    case("weight-shape", Z, Y, weight=np.ones(4), advice="weight.shape == (5,)"),
    case("weight-shape", Z, P, weight=np.ones(4),
         figures={"argument": "weight", "shape": (4,), "classes": 5}),
    case("weight-shape", Z, Y, weight=2.0, advice="cross_entropy(logits, target, weight=np.full(5, weight))"),
    case("weight-shape", Z, Y, weight=np.ones(8),
         advice="np.average(cross_entropy(logits, target, reduction='none'), weights=weight)"),
    case("weight-shape", ZB, YB, **BCE, weight=np.ones(40),
         advice=f"{BINARY}(logits, target, weight=weight[:, None])"),
    case("weight-shape", ZB, YB, **BCE, pos_weight=np.ones(4),
         figures={"argument": "pos_weight", "shape": (4,), "logits": (40, 3)}),
    case("weight-shape", ZB, YB, **BCE, weight=np.ones(3), pos_weight=np.ones((40, 3, 1)),
         figures={"argument": "pos_weight"}),
    case("refused", np.ma.array(Z), Y, figures={"error": "TypeError"}, advice="help(crossent.cross_entropy)"),
    case("refused", None, None),
    case("refused", Z, Y, axis=2, figures={"error": "AxisError"}),
    case("refused", Z, Y, axis="last"),
    case("refused", Z, Y, ignore_index="pad"),
    case("refused", Z, Y, weight="balanced"),
    case("refused", Z, Y, where=np.ones(8)),
    case("refused", Z, P, ignore_index=0, weight=np.ones(4)),
    case("refused", ZB, YB, **BCE, where=np.ones(8, bool)),
    case("refused", ZB, YB, **BCE, pos_weight="balanced"),
    case("refused", Z + 0j, Y),
    case("refused", 1.0, 0, figures={"error": "ValueError"}),
]  # fmt: skip

# What they compute without a word.
SILENT = [
    case("arguments-swapped", np.eye(5)[Y], Z, advice="cross_entropy(target, logits)", figures={"wrong": 8},
         says="all rows of logits are probabilities, and those of target are not (first target[0, :]): did "
              "target come first?\n"),
    case("arguments-swapped", P, Z, figures={
        "rows": 8, "first": (0,), "low": Z.min(), "sum_low": pytest.approx(Z.sum(axis=1).min()),
        "sum_high": pytest.approx(Z.sum(axis=1).max())}),
    case("arguments-swapped", YB, ZB, **BCE, advice=f"{BINARY}(target, logits)",
         figures={"count": int(((ZB < 0) | (ZB > 1)).sum()), "rows": 120, "low": ZB.min(), "high": ZB.max(),
                  "first": (0, 0)},
         says="logits are all 0 or 1, and target is not (first target[0, 0]): did target come first?\n"),
    case("class-axis", TEXT, TOKENS, advice="cross_entropy(logits, target, axis=-1)",
         figures={"axis": 1, "other_axis": 2, "chance": pytest.approx(6e-22, rel=1)},
         says="the class axis is 1, and looks wrong: the largest entry is the label's 98% of the time along "
              "axis 2, and 24% along axis 1 (17% would be chance)\n"),
    case("class-axis", log_softmax(TEXT), TOKENS, **NLL, advice="nll_loss(log_probs, target, axis=-1)"),
    case("class-axis", TEXT, softmax(TEXT), advice="cross_entropy(logits, target, axis=-1)",
         figures={"rows": 48}, says="looks wrong: the rows of target sum to 1 along axis 2 instead\n"),
    case("class-axis", TEXT[:, :4], softmax(TEXT[:, :4]), figures={
        "other_axis": 2, "wrong": int((abs(softmax(TEXT[:, :4]).sum(axis=1) - 1) > 1 / 64).sum())}),
    case("class-axis", np.moveaxis(TEXT[:6, :5], 2, 0), TOKENS[:6, :5], figures={"other_axis": 0},
         advice="cross_entropy(logits, target, axis=0)"),
    case("softmax-axis", log_softmax(rng(8).normal(size=(6, 6, 5)), axis=0), TOKENS[:6, :5], **NLL,
         advice="nll_loss(log_probs, target, axis=0)  # or nll_loss(log_softmax(z, axis=1), target)"),
    case("softmax-axis", softmax(Z, axis=0), Y, advice="cross_entropy(z, target)",
         figures={"axis": 1, "other_axis": 0, "normalised": "probabilities"},
         says="logits are probabilities along axis 0, but the class axis is 1: which of the two is wrong?\n"),
    case("softmax-axis", log_softmax(Z, axis=0), Y, **NLL, advice="nll_loss(log_softmax(z, axis=1), target)",
         figures={"normalised": "log-probabilities"}),
    case("softmax-axis", softmax(Z[:2], axis=0), Y[:2]),
    case("softmax-axis", softmax(Z, axis=0), P, figures={"other_axis": 0}),
    case("softmax-axis", log_softmax(rng(8).normal(size=(8, 6, 6))), TOKENS, **NLL,
         advice="nll_loss(log_probs, target, axis=-1)  # or nll_loss(log_softmax(z, axis=1), target)"),
    case("probabilities-as-logits", P, Y, advice="cross_entropy(z, target)" + LOST, figures={
        "rows": 8, "low": P.min(), "high": P.max(), "sum_off": abs(P.sum(axis=1) - 1).max()}),
    case("probabilities-as-logits", P.astype(np.float16), Y,
         says="logits look like probabilities: all 8 rows lie in [0, 1] and sum to 1 within 0.0002; "
              "cross_entropy takes the softmax itself: of probabilities it is nearly flat, and the loss "
              "stays far from 0\n"),
    case("probabilities-as-logits", softmax(np.float32([[0.3, 0.1, 2.0]])), [2], figures={"rows": 1}),
    case("probabilities-as-logits", [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 0.1, 0.9], [0.6, 0.4, 0]],
         [0, 2, 2, 0]),
    case("probabilities-as-logits", P, P),
    case("probabilities-as-logits", [np.roll(P[0], i) for i in range(5)], Y[:5]),  # along both axes
    case("probabilities-as-logits", softmax(TEXT), TOKENS, axis=-1, figures={"rows": 48},
         advice="cross_entropy(z, target, axis=-1)" + LOST),
    case("probabilities-as-logits", sigmoid(ZB), YB, **BCE,
         advice=f"{BINARY}(z, target)  # z: what sigmoid was given",
         says=f"logits look like probabilities: all 120 lie in [0, 1], and crowd at its ends; {BINARY} takes "
              "the sigmoid itself: of probabilities it is nearly flat, and the loss stays far from 0\n",
         figures={"rows": 120, "ones": 0, "near_0": int((sigmoid(ZB) <= 0.05).sum()),
                  "near_1": int((sigmoid(ZB) >= 0.95).sum())}),
    case("probabilities-as-logits", (ZB > 0).astype(float), YB, **BCE, figures={"ones": int((ZB > 0).sum())}),
    case("probabilities-as-logits", softmax(ZB / 8), YB, **BCE, figures={"rows": 40},
         says=f"{BINARY} takes the sigmoid itself:"),
    case("probabilities-as-logits", softmax(ZB[:, :2]), YB[:, :2], **BCE),
    case("probabilities-as-logits", softmax(TEXT / 8, axis=1), (TEXT > 0).astype(float), **BCE,
         figures={"rows": 48}),
    case("log-probabilities-as-logits", log_softmax(Z).astype(np.float16), Y,
         advice="nll_loss(logits, target)  # or pass what log_softmax was given",
         says="logits look like log-probabilities: the logsumexp of all 8 rows is 0 within 0.0002; harmless "
              "but redundant: cross_entropy normalises again, which changes nothing\n"),
    case("log-probabilities-as-logits", log_softmax(ZB), YB, **BCE,
         figures={"rows": 40, "low": log_softmax(ZB).min(), "high": log_softmax(ZB).max(),
                  "lse_off": pytest.approx(0, abs=1e-15)},
         advice=f"{BINARY}(z, target)  # z: what log_softmax was given",
         says=f"; {BINARY} takes the sigmoid of each, which is for logits\n"),
    case("probabilities-as-log-probabilities", P.astype(np.float16), Y, **NLL, figures={"rows": 8},
         advice="nll_loss(log_softmax(z), target)" + LOST.replace("logits", "log_probs"),
         says="log_probs look like probabilities: all 8 rows lie in [0, 1] and sum to 1 within 0.0002; "
              "nll_loss takes their logarithms\n"),
    case("logits-as-log-probabilities", Z, Y, **NLL, advice="cross_entropy(logits, target)",
         figures={"rows": 8, "above": int((crossent.logsumexp(Z) > 1 / 64).sum()),
                  "lse_high": pytest.approx(crossent.logsumexp(Z).max())},
         says="log_probs are no log-probabilities: exp(log_probs) totals more than 1 in 8 of 8 rows (the "
              "largest logsumexp is 4.89, expected 0); are they logits?\n"),
    case("multi-label-target", ZB, YB, advice=f"{BINARY}(logits, target)",
         figures={"rows": 40, "several": int((YB.sum(1) > 1).sum()), "sum_high": 3.0},
         says="target has several classes in 19 of 40 rows of 0 and 1, first target[1, :]: cross_entropy is "
              "for one class a row; yes-or-no labels have a loss of their own\n"),
    case("multi-label-target", Z[:1], np.ones((1, 5)), figures={"rows": 1, "several": 1}),
    case("target-rows", Z, 2 * P, figures={"wrong": 8, "sum_low": pytest.approx(2), "first": (0,)},
         advice="cross_entropy(logits, target / target.sum(axis=1, keepdims=True))",
         says="class probabilities must be at least 0 and sum to 1, but 8 of 8 rows of target do not, first "
              "target[0, :] (smallest entry 0.000395, sums from 2 to 2)\n"),
    case("target-rows", Z, changed(P, _4_1=-0.5, _4_0=NAN), figures={"wrong": 1, "first": (4,)}),
    case("target-rows", Z, np.eye(5)[Y] * (np.arange(8) < 6)[:, None], figures={"wrong": 2, "first": (6,)},
         advice="cross_entropy(logits, target, where=target.any(axis=1))",
         says="(smallest entry 0, sums from 0 to 1); they hold zeros: padding?\n"),
    case("target-rows", Z, np.eye(5)[Y] * [[1], [1], [1], [1], [1], [0.5], [0], [0]],
         advice="cross_entropy(logits, target / target.sum(axis=1, keepdims=True))", figures={"wrong": 3}),
    case("target-rows", ZB[:, :1], YB[:, :1], advice=f"{BINARY}(logits, target)",
         says="; one logit a row: is it a yes-or-no question?\n"),
    case("target-rows", TEXT, 2 * softmax(TEXT), where=TOKENS > 0, figures={"rows": int((TOKENS > 0).sum())},
         says="first target[0, :, 0] ("),
    case("target-outside-0-1", ZB, 2 * YB - 1, **BCE, advice=f"{BINARY}(logits, (target + 1) / 2)",
         figures={"count": int((YB == 0).sum()), "rows": 120, "low": -1, "high": 1, "first": (0, 0)},
         says="target must hold probabilities in [0, 1], but 63 of 120 elements do not, first target[0, 0] = "
              "-1 (smallest -1, largest 1); are the labels -1 and 1?\n"),
    case("target-outside-0-1", ZB, YB + 1, **BCE, advice=f"{BINARY}(logits, target - 1)",
         says="; are labels counted from 1?\n"),
    case("target-outside-0-1", ZB, changed(YB, _7_1=-100), **BCE, figures={"count": 1, "first": (7, 1)},
         advice=f"{BINARY}(logits, target, where=target != -100)",
         says="; does -100 mark elements to leave out?\n"),
    case("target-outside-0-1", ZB, changed(YB, _7_1=2, _9_1=-1), **BCE,
         advice="cross_entropy(logits, target)"),
    case("target-outside-0-1", ZB, changed(YB, _7_1=2), **BCE, advice="cross_entropy(logits, target)"),
    case("target-outside-0-1", ZB, np.maximum(2 * YB, 0.5), **BCE, advice="cross_entropy(logits, target)"),
    case("target-outside-0-1", 0 * ZB, 2 * YB, **BCE, advice="cross_entropy(logits, target)"),
    case("target-outside-0-1", ZB, YB + 0.5, **BCE, advice="cross_entropy(logits, target)"),
    case("target-outside-0-1", ZB, YB - 1, **BCE, advice=f"{BINARY}(logits, target, where=target != -1)"),
    case("target-outside-0-1", ZB, 100 * YB, **BCE, figures={"high": 100},
         says="first target[1, 0] = 100 (smallest 0, largest 100); are they class indices, or percent?\n"),
    case("target-outside-0-1", ZB, changed(YB, _7_1=NAN), **BCE,
         figures={"count": 1, "rows": 120, "first": (7, 1)},
         advice=f"{BINARY}(logits, target, where=~np.isnan(target))",
         says="target must hold probabilities in [0, 1], but 1 of 120 elements are NaN, first target[7, 1]: "
              "the loss is NaN there; are labels missing?\n"),
    case("target-outside-0-1", 0.5, 3, **BCE, figures={"first": ()}, says="first target = 3 (smallest 3,"),
    case("nothing-counts", Z, np.full(8, -100), figures={"positions": 8, "rows": 0},
         advice="if (target != -100).any(): cross_entropy(logits, target)",
         says="all 8 positions are left out, by ignore_index=-100 or where: the mean is 0 / 0, NaN\n"),
    case("nothing-counts", Z, P, where=False, advice="if target.size: cross_entropy(logits, target)"),
    case("nothing-counts", Z[:0], Y[:0], figures={"positions": 0, "rows": 0},
         advice="if target.size: cross_entropy(logits, target)",
         says="there are no positions: logits without classes have the shape (0,): the mean is 0 / 0, NaN\n"),
    case("nothing-counts", Z, 0 * Y, weight=[0, 1, 1, 1, 1], figures={"positions": 8, "rows": 8},
         advice="cross_entropy(logits, target)",
         says="the labels of all 8 positions have weight 0: the mean is 0 / 0, NaN\n"),
    case("nothing-counts", np.zeros((2, 0)), np.zeros((2, 0)), **BCE, figures={"positions": 0, "rows": 0},
         advice=f"if target.size: {BINARY}(logits, target)",
         says="logits of shape (2, 0) are empty: the mean is 0 / 0, NaN\n"),
    case("nothing-counts", ZB, YB, **BCE, where=False, figures={"positions": 120, "rows": 0},
         says="all 120 elements are left out by where: the mean is 0 / 0, NaN\n"),
    case("non-finite-logits", changed(Z, _3_1=NAN, _5_0=INF), Y,
         figures={"count": 2, "rows": 8, "first": (3,)},
         advice="np.argwhere(~np.isfinite(logits))  # where they are: mend what made them",
         says="logits hold NaN, inf, or nothing but -inf in 2 of 8 rows, first logits[3, :]: the loss is NaN "
              "there (-inf in part of a row is fine, a masked class)\n"),
    case("non-finite-logits", np.moveaxis(changed(TEXT, _7_2_1=NAN), -1, 1), TOKENS,
         figures={"first": (7, 2)}, says="first logits[7, :, 2]: the loss"),
    case("non-finite-logits", changed(ZB, _9_2=NAN), YB, **BCE,
         figures={"count": 1, "rows": 120, "first": (9, 2)},
         advice="np.argwhere(np.isnan(logits))  # where they are: mend what made them",
         says="logits are NaN in 1 of 120 elements, first logits[9, 2]: the loss is NaN there\n"),
    case("infinite-loss", MASKED, Y, figures={"count": 8, "rows": 8, "first": (0,)},
         advice="cross_entropy(logits, target, where=...)  # or do not mask the label",
         says="logits are -inf at the label in 8 of 8 rows, first logits[0, :]: the loss is inf; was the "
              "label masked, or a logarithm of 0 taken?\n"),
    case("infinite-loss", log_softmax(MASKED), Y, **NLL, figures={"count": 8},
         advice="nll_loss(log_softmax(logits), target)"),
    case("infinite-loss", changed(Z, _3_1=-INF), P, weight=[1, 2, 1, 1, 1], figures={"first": (3,)},
         says="logits are -inf at a class that the target wants in 1 of 8 rows,"),
    case("infinite-loss", changed(ZB, _0_0=INF), changed(YB, _0_0=0), **BCE,
         figures={"count": 1, "rows": 120, "first": (0, 0)},
         advice=f"{BINARY}(logits, target, where=np.isfinite(logits))",
         says="logits are infinite and wrong in 1 of 120 elements, first logits[0, 0]: the loss is inf; was "
              "a wanted element masked?\n"),
    case("infinite-loss", changed(ZB, _0_0=-INF), changed(YB, _0_0=1), **BCE, figures={"count": 1}),
    case("saturated-logits", 1e4 * Z, Y, advice="cross_entropy(logits / temperature, target)",
         figures={"rows": 8, "saturated": 7, "low": (1e4 * Z).min(), "high": (1e4 * Z).max()},
         says="logits saturate: in 7 of 8 rows the largest leads the next by more than 104, and exp(-104) is "
              "0 in float32: nothing is learned there; are they raw scores?\n"),
    case("saturated-logits", 100 * ZB, YB, **BCE, advice=f"{BINARY}(logits / temperature, target)",
         figures={"rows": 120, "saturated": int((abs(100 * ZB) > 104).sum())},
         says="logits saturate: 98 of 120 lie beyond 104 or -104, and exp(-104) is 0 in float32: nothing is "
              "learned there; are they raw scores?\n"),
    case("weight-values", Z, Y, weight=[1, INF, 1, -1, NAN], advice="weight = n / np.maximum(counts, 1)",
         figures={"argument": "weight", "count": 3, "first": (1,)},
         says="weights must be finite and at least 0, but 3 of 5 in weight are not, first weight[1] = inf; "
              "were they divided by a count of 0?\n"),
    case("weight-values", ZB, YB, **BCE, pos_weight=-1.0, figures={"argument": "pos_weight", "first": ()},
         advice="pos_weight = n / np.maximum(counts, 1)",
         says="but 1 of 1 in pos_weight are not, first pos_weight = -1\n"),
    case("weight-fits-two-axes", ZB[:3], YB[:3], **BCE, pos_weight=np.ones(3),
         figures={"argument": "pos_weight", "length": 3, "axes": (0, 1)},
         says="pos_weight of shape (3,) fits the axes 0, 1 of logits of shape (3, 3), and is used along the "
              "last; 2 axes of its own would say which one is meant\n",
         advice=f"{BINARY}(logits, target, pos_weight=pos_weight[None, :])"
                "  # axis 1; pos_weight[:, None] for axis 0"),
    case("weight-fits-two-axes", ZB[:2, :2], YB[:2, :2], **BCE, weight=np.ones(2)),
    case("weight-fits-two-axes", np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), **BCE, weight=1.0,
         pos_weight=np.ones(3), figures={"axes": (0, 1, 2)},
         advice=f"{BINARY}(logits, target, pos_weight=pos_weight[None, None, :])"
                "  # axis 2; pos_weight[:, None] for axis 1"),
    case("weight-fits-two-axes", np.zeros((2, 4, 3, 4)), np.zeros((2, 4, 3, 4)), **BCE, weight=np.ones(4),
         figures={"argument": "weight", "axes": (1, 3)},
         advice=f"{BINARY}(logits, target, weight=weight[None, None, None, :])"
                "  # axis 3; weight[:, None, None] for axis 1"),
    case("no-such-option", Z, Y, pos_weight=2.0, figures={"option": "pos_weight"},
         advice="cross_entropy(logits, target, weight=weight)",
         says="cross_entropy has no option pos_weight; it was not looked at\n"),
    case("no-such-option", ZB, YB, **BCE, axis=-1, figures={"option": "axis"},
         advice=f"{BINARY}(logits, target)"),
    case("no-such-option", ZB, YB, **BCE, ignore_index=0, figures={"option": "ignore_index"},
         advice=f"{BINARY}(logits, target, where=target != ignore_index)"),
    case("no-such-option", ZB, YB, **BCE, ignore_index=[1, 2]),
    case("absent-classes", np.zeros((20_000, 11)), MANY, advice="cross_entropy(logits, target - 1)",
         figures={"labels": 20_000, "classes": 11, "absent": 1, "first": 0,
         "rarest": np.bincount(MANY)[1:].min()},
         says="1 of 11 classes never appear among 20000 labels (0), but all others at least 1948 times; are "
              "labels counted from 1?\n"),
    case("absent-classes", np.zeros((20_000, 13)), MANY, ignore_index=0, figures={"absent": 2, "first": 11},
         advice="np.bincount(np.ravel(target))", says="labels (11, 12), but all others"),
    case("absent-classes", np.zeros((20_000, 15)), MANY, says="labels (0, 11, 12, 13, 14), but"),
    case("absent-classes", np.zeros((20_000, 16)), MANY, figures={"absent": 6},
         says="labels (0, 11, 12, 13, 14, ...), but all others at least 1948 times; is K right?\n"),
    case("absent-classes", np.zeros((20_000, 11, 2)), np.stack([MANY, MANY], 1), figures={"labels": 40_000}),
    case("absent-classes", np.zeros((20_000, 3)), MANY % 2 + 1, says="; are labels counted from 1?\n"),
    case("absent-classes", np.zeros((20_000, 2)), 0 * MANY + 1, figures={"absent": 1, "first": 0},
         says="; is K right?\n"),
]  # fmt: skip


def only(findings, code):
    """The finding of a code; a mistake is not reported under several names."""
    assert [finding.code for finding in findings] == [code], findings
    return findings[0]


@pytest.mark.parametrize(("code", "arguments", "options", "expected"), [*REFUSED, *SILENT])
def test_diagnose__finds_the_mistake_and_nothing_else(code, arguments, options, expected):
    """One mistake, one finding, with the figures that it was judged by and the code that mends it."""
    figures, advice, says = expected
    with silence():
        finding = only(diagnose(*arguments, **options), code)
    assert says in str(finding)
    assert {name: finding.evidence[name] for name in figures} == figures
    if advice is not None:
        assert finding.advice == advice
    assert "\n" not in finding.advice


@pytest.mark.parametrize(("code", "arguments", "options", "expected"), REFUSED)
def test_diagnose__says_of_refused_calls_what_the_loss_says(code, arguments, options, expected):
    """Two messages for one mistake would drift apart."""
    finding = only(diagnose(*arguments, **options), code)
    loss = getattr(crossent, options.get("loss", "cross_entropy"))
    with pytest.raises((TypeError, ValueError, IndexError)) as error:
        loss(*arguments, **{name: value for name, value in options.items() if name != "loss"})
    assert finding.message == str(error.value)
    assert finding.evidence["error"] == type(error.value).__name__


@pytest.mark.parametrize(
    ("code", "arguments", "options", "expected"),
    [parameters for parameters in SILENT if parameters.values[0] != "no-such-option"],  # Python refuses it
)
def test_diagnose__names_silent_what_the_loss_computes(code, arguments, options, expected):
    """What the loss would refuse belongs to the other table."""
    loss = getattr(crossent, options.get("loss", "cross_entropy"))
    loss(*arguments, **{name: value for name, value in options.items() if name != "loss"})


def test_diagnose__documents_every_code_and_finds_each():
    """The table of the docstring is the list of codes; each is made by a mistake above."""
    table = set(re.findall(r"^    ``([a-z0-9-]+)``", inspect.getsource(diagnose), re.MULTILINE))
    assert table == {parameters.values[0] for parameters in [*REFUSED, *SILENT]}


def test_diagnose__names_two_mistakes():
    """Softmax twice, and NaN, or a target that is none, beside it."""
    p = changed(softmax(Z), _0_0=NAN)
    assert [finding.code for finding in diagnose(p, Y)] == ["non-finite-logits", "probabilities-as-logits"]
    codes = [finding.code for finding in diagnose(P, np.eye(5)[Y] / 2)]
    assert codes == ["target-rows", "probabilities-as-logits"]
    for value in (NAN, INF):
        codes = [finding.code for finding in diagnose(changed(softmax(Z, axis=0), _3_1=value), Y)]
        assert codes == ["non-finite-logits", "softmax-axis"]


def test_diagnose__rows_that_are_left_out_say_nothing():
    """Nor do rows of the binary loss of which elements are left out."""
    assert only(diagnose(changed(P, _3_0=7), Z, where=np.arange(8) != 3), "arguments-swapped")
    assert diagnose(softmax(ZB / 8), YB, loss=BINARY, where=YB >= 0) == ()


# ---------------------------------------------------------------------------------------
# silence


def logits_of(kind, shape, rng):
    """Logits that somebody rightly has."""
    return {
        "normal": lambda: rng.normal(size=shape),
        "untrained": lambda: 0.01 * rng.normal(size=shape),
        "nearly constant": lambda: rng.normal() + 1e-4 * rng.normal(size=shape),
        "confident": lambda: 20 * rng.normal(size=shape),
        "relu": lambda: np.maximum(0.3 * rng.normal(size=shape), 0),
        "uniform": lambda: rng.random(shape),
        "about 1 / K": lambda: 2 / shape[-1] * rng.random(shape),
        "typed": lambda: rng.normal(size=shape).round(1),
        "integers": lambda: rng.integers(-3, 4, shape),
        "zeros": lambda: np.zeros(shape),
        "equal": lambda: np.full(shape, 1 / shape[-1]),
        "equal rows": lambda: np.broadcast_to(rng.normal(size=shape[-1:]), shape),
        "cosines": lambda: np.tanh(rng.normal(size=shape)),
        "less the maximum": lambda: (lambda z: z - z.max(axis=-1, keepdims=True))(9 * rng.normal(size=shape)),
        "one-hot": lambda: np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])],
    }[kind]()


KINDS = ["normal", "untrained", "nearly constant", "confident", "relu", "uniform", "about 1 / K", "typed",
         "integers", "zeros", "equal", "equal rows", "cosines", "less the maximum", "one-hot"]  # fmt: skip
SHAPES = [(), (1,), (2,), (3,), (4,), (40,), (2, 3), (3, 2, 4)]


def right_calls(kind, positions, k, rng):
    """All right ways to use such logits, classes last."""
    z = np.asarray(logits_of(kind, (*positions, k), rng))
    z = z.astype(rng.choice(["f4", "f8"]))
    y = rng.integers(0, k, positions)
    last = {"axis": -1}
    yield "labels", z, y, last
    yield "trained", trained(z, y, rng.choice([1, 5, 30])), y, last
    yield "teacher", z, softmax(rng.normal(size=z.shape)).astype(z.dtype), last
    yield "smoothed", z, crossent.smooth_labels(y, k, 0.1), last
    yield "log-probabilities", log_softmax(z), y, {**last, **NLL}
    kept = rng.random(positions) < 0.7
    if kept.any():
        dirty = np.where(kept[..., None], z, NAN)
        yield "ignored", dirty, np.where(kept, y, -100), last
        yield "where", dirty, np.where(kept, y, k + 1), {**last, "where": kept}
    if k > 2:
        masked = rng.random(z.shape) < 0.3
        np.put_along_axis(masked, np.expand_dims(y, -1), False, -1)
        for low in (-INF, -1e9, -1e4):
            yield f"masked with {low}", np.where(masked, low, z), y, last
    if positions:
        yield "classes second", np.moveaxis(trained(z, y), -1, 1), y, {}
        if kind not in ("one-hot", "zeros"):
            yield "yes or no", z, rng.integers(0, 2, z.shape), BCE
            yield "soft yes or no", z, rng.random(z.shape), {**BCE, "pos_weight": np.full((1, k), 2.0)}


@pytest.mark.parametrize("kind", KINDS)
def test_diagnose__right_calls_find_nothing(kind):
    """A false alarm costs more than a missed mistake: who heard two does not listen to the third."""
    for positions, k in itertools.product(SHAPES, (1, 2, 3, 10, 40)):
        for name, z, target, options in right_calls(kind, positions, k, rng(k)):
            with silence():
                assert diagnose(z, target, **options) == (), (name, z.shape)


@pytest.mark.parametrize("function", LOSSES)
@given(data=pytest.importorskip("hypothesis.strategies").data())
def test_diagnose__generated_calls_find_a_mean_over_nothing_only(function, data):
    """All options of the losses: what they compute from plain logits is right, unless the mean is NaN."""
    # Ties may be zeros and ones alone, which for the binary loss look like probabilities, and are told.
    regimes = ["plain"] if function == BINARY else ["plain", "ties"]
    call = data.draw(calls(function, regimes=regimes, reductions=("mean",)))
    options = {
        name: call.options[name] for name in call.options if name not in ("reduction", "label_smoothing")
    }
    x = call.x
    if function == "nll_loss":
        x = log_softmax(
            x, call.options.get("axis") if call.options.get("axis") is not None else min(1, x.ndim - 1)
        )
    codes = {finding.code for finding in diagnose(x, call.target, loss=function, **options)}
    loss = getattr(crossent, function)(x, call.target, **options)
    due = {"nothing-counts"} if np.isnan(loss) else set()
    if any(
        np.ndim(options.get(name)) == 1 and x.ndim == 2 and 1 < x.shape[0] == x.shape[1]
        for name in ("weight", "pos_weight")
    ):
        due |= {"weight-fits-two-axes"} if function == BINARY else set()
    assert codes == due


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("suffix", ["", "_grad", "_value_and_grad"])
def test_diagnose__examples_of_the_docstrings_find_nothing(function, suffix):
    """Nobody should be warned of a call that the documentation shows."""
    seen = []

    def record(logits, target, **options):
        ours = {
            n: v for n, v in options.items() if n in ("weight", "pos_weight", "ignore_index", "axis", "where")
        }
        seen.append(diagnose(logits, target, loss=function, **ours))

    source = getattr(crossent, function + suffix).__doc__
    names = {"np": np, function + suffix: record}
    for example in doctest.DocTestParser().get_examples(source):
        with contextlib.suppress(AttributeError):  # .round() of what would be a loss
            exec(example.source, names)
    assert seen
    assert set(seen) == {()}


@pytest.mark.parametrize("seed", range(8))
def test_diagnose__two_class_axes_of_one_length_find_nothing_where_both_or_neither_know(seed):
    """Pairs are scored both ways; and what has not learned anything agrees with nothing."""
    r = rng(seed)
    n = int(r.choice([4, 8, 32]))
    a = r.normal(size=(n, 16))
    scores = a @ (a + 0.5 * r.normal(size=(n, 16))).T
    popular = scores + 20 * r.normal(size=n)
    for z in (scores, 0.1 * scores, popular):
        assert diagnose(z, np.arange(n)) == ()
        assert diagnose(z, np.arange(n), axis=0) == ()
    untrained = r.normal(size=(n, n)) + 0.01 * r.normal(size=(16, n, n))  # knows the place alone
    usual = np.where(r.random((16, n)) < 0.8, r.integers(0, n, n), r.integers(0, n, (16, n)))
    sink = untrained + 5 * np.eye(n)[0][:, None]
    for z, y in ((untrained, usual), (untrained, np.repeat(usual[:1], 16, 0)), (sink, 0 * usual)):
        assert diagnose(z, y) == ()
        assert diagnose(z, y, axis=-1) == ()


@pytest.mark.parametrize("seed", range(5))
def test_diagnose__an_axis_that_agrees_by_accident_is_still_the_wrong_one(seed):
    """Many places, a good model: the largest of a row is often the largest of its column."""
    r = rng(seed)
    y = r.integers(0, 50, (8, 50))
    z = trained(r.normal(size=(8, 50, 50)), y)
    evidence = only(diagnose(z, y), "class-axis").evidence
    assert evidence["other_share"] == pytest.approx((z.argmax(axis=-1) == y).mean(), abs=0.05)
    assert diagnose(z, y, axis=-1) == ()


def test_diagnose__few_or_unbalanced_labels_miss_no_class():
    """Small batches, long tails, one frequent class, images of few things."""
    r = rng(0)
    tail = 1 / np.arange(1, 65) ** 2
    for k, y in (
        (10, r.integers(0, 9, 1000)),
        (2, np.zeros(1500, int)),
        (64, r.choice(64, 80_000, p=tail / tail.sum())),
        (21, np.zeros((2, 64, 64), int)),
    ):
        z = np.broadcast_to(np.float16(0), (*y.shape, k))
        assert diagnose(z, y, axis=-1) == ()


@pytest.mark.parametrize(
    ("z", "y"),
    [
        ([[0.3, 0.7]], [1]),
        ([0.3, 0.7], 1),
        ([[0.3, 0.7], [0.7, 0.3], [0.3, 0.7], [0.7, 0.3]], [0, 1, 0, 1]),
        ([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 0.1, 0.9]], [0, 2, 2]),
        ([[0.0, 0.00906104, 0.9905933]], [0]),
        ([[0.5, 0.5]] * 9, [0] * 9),
        ([[1.0]], [0]),
        ([[0.0, -50.0], [-40.0, 0.0]], [0, 1]),
        ([[25.0, -25.0]] * 3, [0] * 3),
        (np.zeros((4, 3)), [1, 1, 2, 2]),
        (np.zeros((1, 5000)), [3]),
        (np.where(np.arange(2000) < 1500, -np.inf, 0.5), 1700),
    ],
)
def test_diagnose__little_evidence_is_none(z, y):
    """One row, few digits, equal rows."""
    assert diagnose(z, y) == ()


def test_diagnose__infinite_and_right_is_fine():
    """Elements that are certain, or masked, where the target agrees."""
    assert diagnose([INF, -INF, -INF], [1.0, 0.0, 0.0], loss=BINARY) == ()


def test_diagnose__teachers_in_few_digits_are_fine():
    """Rows that sum to 1 as well as bfloat16, float16 or two decimals can."""
    q = softmax(Z.astype(np.float32))
    cut = (q.view(np.uint32) & 0xFFFF0000).view(np.float32)
    for target in (cut, q.astype(np.float16), np.tile([0.33, 0.33, 0.33, 0.0, 0.0], (8, 1)), q - 1e-9):
        assert diagnose(Z, target) == ()


# ---------------------------------------------------------------------------------------
# thresholds, on both sides


@pytest.mark.parametrize(
    ("numbers", "crowd"),
    [
        ({0.05: 10, 0.95: 11, 0.5: 79}, True),
        ({0.05: 10, 0.95: 10, 0.5: 80}, False),  # a fifth
        ({0.05: 9, 0.95: 20, 0.5: 9}, False),
        ({0.05: 20, 0.95: 9, 0.5: 9}, False),
        ({0.05: 10, 0.95: 11, 1.001: 1}, False),
        ({0.05: 10, 0.95: 11, -0.001: 1}, False),
        ({0.051: 10, 0.95: 11}, False),
        ({0.05: 10, 0.949: 11}, False),
        ({0.0: 10, 0.95: 11}, False),  # a relu
        ({0.05: 10, 1.0: 11}, False),
        ({0.05: 10, 0.95: 11, 0.0: 1, 1.0: 1}, True),
        ({0.0: 10, 1.0: 10}, True),
        ({0.0: 9, 1.0: 11}, False),
        ({0.0: 11, 1.0: 9}, False),
        ({0.0: 10, 1.0: 10, 0.5: 1}, False),
    ],
)
def test_diagnose__outputs_of_a_sigmoid_crowd_at_both_ends(numbers, crowd):
    """Ten near each end, or exactly at each, more than a fifth of all, and none beyond."""
    z = np.repeat([*numbers], [*numbers.values()])
    codes = [finding.code for finding in diagnose(z, np.arange(z.size) % 2, loss=BINARY)]
    assert codes == ["probabilities-as-logits"] * crowd


@pytest.mark.parametrize(
    ("row", "saturates"),
    [
        ([0, -104, -104], False),
        ([0, -104.001, -200], True),
        ([0, -104, -1e4], False),
        ([0, -8999, -1e4], True),
        ([0, -9000, -1e4], False),  # the one class that is not masked
        ([0, -INF, -INF], False),
    ],
)
def test_diagnose__half_of_the_rows_saturate(row, saturates):
    """A winner by more than 104 over a class that is not masked, in half of the rows."""
    for others, found in ((1, saturates), (2, False)):
        z = np.array([row] + [[2, 1, 0.5]] * others)
        assert [finding.code for finding in diagnose(z, [0] * len(z))] == ["saturated-logits"] * found
        z = z[:, 1]
        codes = [finding.code for finding in diagnose(z, [0] * len(z), loss=BINARY)]
        assert codes == ["saturated-logits"] * found
    assert diagnose([104.0, 104.0], [1, 1], loss=BINARY) == ()
    assert only(diagnose([104.001, 0.5], [1, 1], loss=BINARY), "saturated-logits")


@pytest.mark.parametrize(
    ("here", "there", "wrong"),
    [
        ((0.25, 0.125, 1.0), (0.75, 0.125, 1e-6), True),
        ((0.25, 0.125, 1.0), (0.75, 0.125, 1.01e-6), False),
        ((0.25, 0.125, 1e-2), (0.375, 0.125, 1e-6), True),  # nothing learned along the class axis
        ((0.25, 0.125, 0.99e-2), (0.375, 0.125, 1e-6), False),
        ((0.25, 0.125, 0.99e-2), (0.625, 0.125, 1e-6), True),  # four times as far beyond chance
        ((0.25, 0.125, 0.99e-2), (0.624, 0.125, 1e-6), False),
    ],
)
def test_diagnose__another_axis_agrees_far_better_with_the_labels(monkeypatch, here, there, wrong):
    """Beyond chance, and four times as far as the class axis if that is beyond it, too."""
    by_axis = {1: evidence.Agreement(*here), 2: evidence.Agreement(*there)}
    monkeypatch.setattr(evidence, "agreement", lambda x, axis, problem: by_axis[axis])
    findings = diagnose(rng().normal(size=(8, 6, 6)), TOKENS)
    assert [finding.code for finding in findings] == ["class-axis"] * wrong
    for finding in findings:
        assert finding.evidence["share"] == here[0]
        assert finding.evidence["other_share"] == there[0]
        assert finding.evidence["chance"] == there[2]


def test_diagnose__six_columns_of_one_decimal_are_little_evidence():
    """Another axis needs more than the class axis, for which four rows would do."""
    columns = np.array([[7, 2, 1], [3, 3, 4], [0, 1, 9], [6, 4, 0], [5, 3, 2], [8, 2, 0], [8, 1, 1]]).T / 10
    assert diagnose(columns[:, :5], [0, 1, 2]) == ()
    assert diagnose(columns[:, :5].astype(np.float32), [0, 1, 2]) == ()
    assert diagnose(columns, [0, 1, 2])[0].code == "softmax-axis"


def test_diagnose__an_axis_longer_than_a_box_is_not_suspected(monkeypatch):
    """It would take memory, and is no class axis that is mistaken for another."""
    z = softmax(Z, axis=0)
    monkeypatch.setattr(evidence, "BOX", 8)
    assert only(diagnose(z, Y), "softmax-axis")
    monkeypatch.setattr(evidence, "BOX", 7)
    assert diagnose(z, Y) == ()


@pytest.mark.parametrize(("rarest", "absent"), [(100, True), (99, False), (1, False)])
def test_diagnose__a_class_is_absent_if_all_others_are_frequent(monkeypatch, rarest, absent):
    """If the rarest stands there 100 times, one ten times rarer would have been seen."""
    monkeypatch.setattr(evidence, "BOX", 1000)
    y = np.repeat([0, 1], [3000, rarest])
    findings = diagnose(np.zeros((y.size, 3)), y)
    assert [finding.evidence["first"] for finding in findings] == [2] * absent


def test_diagnose__what_looks_like_a_mistake_and_is_none():
    """No other loss takes log-probabilities and probability targets; weights may be 0, and any number."""
    assert diagnose(log_softmax(Z), P) == ()
    assert diagnose(Z, Y, weight=[0, 1, 1, 1, 1]) == ()
    most = np.finfo("longdouble").max
    assert diagnose(Z, Y, weight=np.full(5, most)) == ()
    assert diagnose(changed(np.zeros((4, 3), "longdouble"), _0_0=most), [0, 0, 0, 0]) == ()


def test_diagnose__two_kinds_of_wrong_targets_are_two_findings():
    """NaN, and what is outside [0, 1] beside it."""
    findings = diagnose(ZB, changed(YB, _7_1=NAN, _9_2=-1), loss=BINARY)
    assert [finding.evidence["first"] for finding in findings] == [(7, 1), (9, 2)]


# ---------------------------------------------------------------------------------------
# never an exception


class Hostile:
    """As an array of another library that does not want to be one."""

    def __array__(self, *_, **__):
        raise RuntimeError("detach it first")


GARBAGE = [
    None, "text", b"bytes", 3, -1.5, True, 1j, NAN, [], [[]], [[1], [1, 2]], {}, {"a": 1}, object(),
         Hostile(),
    int, ..., 10**400, np.array(["a"]), np.array(5), np.zeros((2, 0)), np.zeros((0, 3)), np.ones((2, 2, 2)),
    np.full((3, 3), NAN), np.array([1, 2], "M8[s]"), np.array([1.5, -2]), np.array([2**63], "u8"),
    np.array([True, False]), np.eye(3, dtype=int), np.ma.array([1.0, 2.0]), np.array([-INF, INF]),
    np.full((3, 3), 1e308), np.array([-(2**63)]),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_diagnose__garbage_is_found_and_nothing_is_raised(loss):
    """Who asks what is wrong gets an answer: that of the loss, if it has one, and no other."""
    good = {"cross_entropy": (Z, Y), "nll_loss": (log_softmax(Z), Y), BINARY: (ZB, YB)}[loss]
    tried = [(x, t, {}) for x, t in itertools.product(GARBAGE, repeat=2)]
    tried += [(good[0], t, {}) for t in GARBAGE] + [(x, good[1], {}) for x in GARBAGE]
    names = ("weight", "pos_weight", "ignore_index", "axis", "where")
    tried += [(*good, {name: value}) for name, value in itertools.product(names, GARBAGE)]
    for x, target, options in tried:
        with np.errstate(all="raise"):
            findings = diagnose(x, target, loss=loss, **options)
        for finding in findings:
            assert str(finding)
            hash(finding)
        function = getattr(crossent, loss)
        if not set(options) <= set(inspect.signature(function).parameters):
            continue
        said = []
        try:
            function(x, target, **options)
        except (TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
            said = [str(error)]
        assert [finding.message for finding in findings if "error" in finding.evidence] == said
        assert not said or len(findings) == 1


def test_diagnose__an_array_that_refuses_says_why():
    """The words of the other library are the best there are."""
    finding = only(diagnose(Hostile(), Y), "refused")
    assert finding.message == "detach it first"
    assert finding.evidence == {"error": "RuntimeError"}


@pytest.mark.parametrize("loss", ["", "mse_loss", None, [], crossent.cross_entropy])
def test_diagnose__unknown_loss_is_an_error(loss):
    """The one mistake that is about diagnose itself."""
    with pytest.raises(ValueError, match="loss must be one of 'cross_entropy', 'nll_loss', 'binary_"):
        diagnose(Z, Y, loss=loss)


# ---------------------------------------------------------------------------------------
# what is returned


def test_finding__is_a_value():
    """Compared, hashed, copied, pickled, never changed."""
    finding = only(diagnose(softmax(Z), Y), "probabilities-as-logits")
    same = only(diagnose(softmax(Z), Y), "probabilities-as-logits")
    assert finding == same
    assert {finding: 1}[same] == 1
    assert pickle.loads(pickle.dumps(finding)) == copy.deepcopy(finding) == finding
    with pytest.raises(AttributeError):
        finding.code = "fine"
    with pytest.raises(TypeError):
        finding.evidence["rows"] = 0
    with pytest.raises(KeyError):
        finding.evidence["missing"]


def test_finding__reads_well():
    """Code, message, advice and evidence in three lines."""
    finding = only(diagnose([[0.5, 2.0]], [2]), "labels-from-one")
    assert str(finding).splitlines() == [
        "labels-from-one: target[0] is 2, outside [0, 2) for K = 2 classes on the class axis 1, and not "
        "ignore_index=-100: are labels counted from 1? Subtract 1",
        "  write: cross_entropy(logits, target - 1)",
        "  evidence: error='IndexError', low=2, high=2, classes=2",
    ]
    assert repr(finding.evidence) == "Evidence(error='IndexError', low=2, high=2, classes=2)"
    assert dict(finding.evidence) == {"error": "IndexError", "low": 2, "high": 2, "classes": 2}
    assert len(finding.evidence) == 4


def test_evidence__is_hashed_by_its_figures():
    """Equal in any order, and of other hashes where they differ: sets of findings stay fast."""
    one, same, other = Evidence(rows=8, first=3), Evidence(first=3, rows=8), Evidence(rows=9, first=3)
    assert one == same != other
    assert hash(one) == hash(same) != hash(other)


# ---------------------------------------------------------------------------------------
# figures


@pytest.mark.parametrize(
    ("norms", "fits"),
    [
        ({"low": 0, "sum_off": 1 / 64, "lse_off": 1}, ("probabilities", 1 / 64)),
        ({"low": 0, "sum_off": 0.0157, "lse_off": 1e-3}, ("log-probabilities", 1e-3)),
        ({"low": -1e-9, "sum_off": 0, "lse_off": 1.01e-3}, (None, INF)),
    ],
)
def test_evidence__rows_are_normalised_within_a_limit(norms, fits):
    """Sums to 1 as two decimals give them, logsumexps to 0 as float16 gives them."""
    assert evidence.Norms(**norms).fits() == fits


@pytest.mark.parametrize(
    ("row", "d", "kind", "chance"),
    [
        ([0.1, 0.9], 1e-4, "probabilities", 0.1),
        ([-3.123456789, 0.7], 1e-3, "log-probabilities", 2e-3),
        ([0.2512345, 0.7512345], 1e-3, "probabilities", 4e-3),
        ([-INF, -1.2512345, -0.7512345, -INF], 1e-3, "log-probabilities", 4e-3),
        ([0.5, 0.75], 0.125, "probabilities", 1),  # entries as close together as the sum is to 1
        ([0.5, 0.75], 0.1249, "probabilities", 0.5),
        ([0.0, 1.0], 0, "probabilities", 0.5),
        ([0.0, -5.1234567], 1e-3, "log-probabilities", 1),  # less the maximum
        ([0.0, -5.1234567], 1e-3, "probabilities", 2e-3),
        ([-INF, -INF], 1e-3, "log-probabilities", 1),
    ],
)
def test_evidence__chance_of_a_row_of_logits(row, d, kind, chance):
    """The density of sums times the width, but no less than the grid that the entries stand on."""
    assert evidence._chance(np.array(row), d, kind) == pytest.approx(chance)


@pytest.mark.parametrize(
    ("row", "step"),
    [
        ([1, -3], 1.0), ([0.125, 2], 0.125), ([0.1, 0.7], 0.1), ([0.01, 0.33], 0.01), ([0.001, 0.7], 0.001),
        ([0.0005, 0.7], 0.0), (np.float32([0.1, 0.7]), 0.1), (np.float64(np.float32([0.1, 0.7])), 0.0),
        ([1000.1, -0.3], 0.1), ([4 * 2.0**-52], 1.0), ([4.5 * 2.0**-52], 0.0),
    ],
)  # fmt: skip
def test_evidence__grid_of_numbers_typed_by_hand(row, step):
    """The coarsest step, to within a few roundings of the dtype that the numbers came in."""
    row = np.asarray(row, getattr(row, "dtype", float))
    assert evidence._grid(row.astype(float), row.dtype) == step


@pytest.mark.parametrize(
    ("heads", "off", "kind"),
    [
        ([[0.2312, 0.7689], [0.2313, 0.7689]], 1e-3, None),  # the same to within 2e-3
        ([[0.2312, 0.7689], [0.7689, 0.2313]], 1e-3, None),
        ([[0.2334, 0.7689], [0.2354, 0.7689]], 1e-3, "probabilities"),
        ([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 0.1, 0.9], [0.6, 0.4, 0]], 0, "probabilities"),
        ([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 0.1, 0.9]], 0, None),
        ([], 0, None),
    ],
)
def test_evidence__rows_are_normalised_by_more_than_chance(heads, off, kind):
    """Ten thousand to one, rows with the same entries counting once."""
    heads = [np.array(head) for head in heads]
    assert evidence.Norms(low=0.0, sum_off=off, heads=heads).kind() == kind
    norms = evidence.Norms(low=0.0, heads=[np.array([0.0, 1.0])])
    assert (norms.kind(0.5), norms.kind(0.49)) == ("probabilities", None)


def test_evidence__heads_are_spread_over_the_first_rows():
    """64 rows, the first and the last of the first box among them."""
    norms = evidence.Norms()
    for n in (40, 100, 7):
        z = rng(n).normal(size=(3, n))
        norms.add(evidence.figures([z.copy()], n, z.dtype), z[:2], 1 / 64)
        if n == 40:
            assert np.array_equal(norms.heads, z[:2].T)
        if n == 100:
            assert np.array_equal(norms.heads[40:], z[:2, np.linspace(0, 99, 24).astype(int)].T)
    assert len(norms.heads) == 64
    norms = evidence.Norms()
    norms.add(evidence.Rows(*np.full((5, 1), 1 / 64)), np.ones((1, 1)), 1 / 64)
    assert norms.above == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])  # each is sorted in its own way
def test_evidence__figures_of_rows_that_come_in_parts(dtype):
    """Of one class, of two thousand and of five."""
    z = rng(9).normal(size=(2006, 50)).astype(dtype)
    rows = evidence.figures(np.split(z.copy(), [1, 2001]), 50, np.dtype(dtype))
    for came, expected in zip(rows, (
        z.min(axis=0), z.max(axis=0), np.sort(z, axis=0)[-2], z.sum(axis=0), crossent.logsumexp(z, axis=0),
    ), strict=True):  # fmt: skip
        assert came.dtype == dtype
        np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-4)


def test_diagnose__longdouble_keeps_its_range():
    """Where it has more than float64."""
    findings = diagnose(np.array([[5000, 0]], "longdouble"), [0], loss="nll_loss")
    finding = only(findings, "logits-as-log-probabilities")
    with silence():
        assert finding.evidence["lse_high"] == pytest.approx(float(np.log(np.exp(np.longdouble(5000)))))


def test_evidence__normalised_logits_total_1_within_the_digits_of_their_dtype():
    """bfloat16 comes as a dtype of kind V."""
    assert evidence.lse_off(np.dtype("V2")) == 1 / 16
    for dtype in ("float16", "float32", "float64", "int8", "bool"):
        assert evidence.lse_off(np.dtype(dtype)) == 1 / 64


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [("bool", "f8"), ("i1", "f8"), ("u8", "f8"), ("V2", "f8"), ("f2", "f8"), (">f4", "f8"), ("f8", "f8"),
     ("longdouble", "longdouble")],
)  # fmt: skip
def test_evidence__sums_have_digits_to_spare(dtype, wide):
    """And the byte order of the machine."""
    assert evidence.wide_dtype(np.empty(0, dtype)) == np.dtype(wide)


@pytest.mark.parametrize(
    ("row", "wrong", "several"),
    [
        ([1 / 64, 63 / 64, 0], 0, 0),
        ([-1 / 64, 1, 1 / 64], 0, 0),
        ([-0.0157, 1, 0.0157], 1, 0),
        ([1, 1 / 64, 0], 0, 0),
        ([1, 0.0157, 0], 1, 0),
        ([63 / 64, 0, 0], 0, 0),
        ([0.9843, 0, 0], 1, 0),
        ([1, 0.5, 0], 1, 0),
        ([1, 0.5001, 0], 1, 1),
        ([0, 0, NAN], 1, 0),
    ],
)
def test_evidence__distributions_within_a_limit(row, wrong, several):
    """1/64 off, below 0 or of the sum; several classes from sums beyond 1.5 on."""
    target = evidence.of_target(np.array([row, [0, 1, 0]]).T)
    assert (target.rows, target.wrong.count, target.several.count) == (2, wrong, several)


@pytest.mark.parametrize(
    ("n", "size", "all_of_them"), [(10, 10, True), (11, 10, False), (1000, 10, False), (5, 0, False)]
)
def test_evidence__sample_is_the_same_each_time(n, size, all_of_them):
    """All, or at most so many at random, in order."""
    sample = evidence._sample(n, size)
    assert np.array_equal(sample, evidence._sample(n, size))
    assert np.array_equal(sample, np.arange(n)) == all_of_them
    assert size // 2 < len(sample) <= max(1, size) <= 10
    assert (np.diff(sample) > 0).all()
    assert set(sample) <= set(range(n))
    assert {0, 15} <= set(evidence._sample(16, 15))  # neither end is left out


@pytest.mark.parametrize("axis", [1, 2])
def test_evidence__agreement_counts_a_label_at_a_place_once(axis):
    """Against loops: the mean vote of each label at each place, and Chernoff's bound."""
    x = rng(10).normal(size=(9, 4, 4))
    y = np.where(rng(11).random((9, 4)) < 0.6, x.argmax(axis=axis), rng(12).integers(0, 4, (9, 4)))
    y[2, 1] = -100
    where = rng(13).random((9, 4)) < 0.8
    where[2, 1] = True
    problem = desk.categories("logits", x, y, weight=None, ignore_index=-100, axis=1, where=where)
    votes, largest = {}, []
    for i, j in np.ndindex(9, 4):
        if where[i, j] and y[i, j] != -100:
            largest.append(np.argmax(x[i, :, j] if axis == 1 else x[i, j]))
            votes.setdefault((j, y[i, j]), []).append(largest[-1] == y[i, j])
    share = np.mean([np.mean(vote) for vote in votes.values()])
    expected = np.mean([largest.count(label) / len(largest) for _, label in votes])
    kl = share * np.log(share / expected) + (1 - share) * np.log((1 - share) / (1 - expected))
    found = evidence.agreement(x, axis, problem)
    assert found == pytest.approx((share, expected, np.exp(-len(votes) * kl)))
    assert found.beyond == pytest.approx(share - expected)
    worst = evidence.agreement(-x, axis, problem)
    assert worst.beyond < 0
    assert worst.chance == 1
    problem = desk.categories(
        "logits", x, 0 * y - 100, weight=None, ignore_index=-100, axis=1, where=None
    )  # fmt: skip
    assert evidence.agreement(x, axis, problem) == (0, 1, 1)


@pytest.mark.parametrize("box", [1, 7, 100])
def test_evidence__target_rows_are_counted(monkeypatch, box):
    """Empty ones, soft ones, those of several classes, in boxes of any size."""
    monkeypatch.setattr(evidence, "BOX", box)
    q = np.array([[0, 0, 0], [0.5, 0.5, 0], [1, 1, 0], [0, 0, 0], [-1, 2, 0], [0, 1, 0]]).T
    seen = evidence.of_target(q)
    assert (seen.rows, seen.low, seen.sum_low, seen.sum_high, seen.empty, seen.hard) == (
        6,
        -1,
        0,
        2,
        2,
        False,
    )
    assert (seen.wrong.count, seen.wrong.place, seen.several.count, seen.several.place) == (4, (0,), 1, (2,))


@pytest.mark.parametrize("box", [1, 3, 100])
def test_evidence__elements_are_counted(monkeypatch, box):
    """Everything at once, with a mask and without, in boxes of any size."""
    monkeypatch.setattr(evidence, "BOX", box)
    z = np.array([NAN, INF, -INF, INF, -INF, 0, 1, 0.05, 0.95, -0.1, 1.1, 105, -105, -9e3, -1e4, 0.5, 0])
    y = np.array([0, 0.9, 0.1, 1, 0, -0.5, 1.5, NAN, 0, 1, 1, 1, 0, 0, 0, 7, 0])
    seen = evidence.of_elements(z, y, None)
    counts = {name: getattr(seen, name) for name in ("count", "low", "high", "saturated", "beyond")}
    assert counts == {"count": 17, "low": -0.5, "high": 7, "saturated": 2, "beyond": 11}
    assert (seen.near_0, seen.near_1, seen.ones, seen.hard) == (1, 1, 1, False)
    places = {name: getattr(seen, name) for name in ("nan", "impossible", "outside", "missing")}
    assert {name: (found.count, found.place) for name, found in places.items()} == {
        "nan": (1, (0,)), "impossible": (2, (1,)), "outside": (3, (5,)), "missing": (1, (7,)),
    }  # fmt: skip
    seen = evidence.of_elements(z, y, np.isin(np.arange(17), (5, 6)))
    assert (seen.count, seen.hard, seen.ones, seen.outside.place) == (2, True, 1, (5,))
    large = np.full(2, np.finfo("longdouble").max)
    assert evidence.of_elements(large, np.zeros(2), None).impossible.count == 0
    assert (evidence.some_rows(large[:, np.newaxis], 1, np.arange(2)) == large).all()


def test_diagnose__a_class_of_weight_0_may_be_masked():
    """Nothing is multiplied by its inf."""
    z, weight = changed(Z, _3_1=-INF), [1, 0, 1, 1, 1]
    assert diagnose(z, changed(Y, _3=1), weight=weight) == ()
    assert diagnose(z, P, weight=weight) == ()
    assert diagnose(z, P * (np.arange(5) != 1) / (1 - P[:, 1:2])) == ()


@pytest.mark.parametrize(("n", "absent"), [(1517, True), (1516, False)])
def test_diagnose__classes_are_missed_among_many_labels_only(n, absent):
    """If one a hundred times rarer than 1 / K would still be expected."""
    codes = [finding.code for finding in diagnose(np.zeros((n, 2)), np.zeros(n, int))]
    assert codes == ["absent-classes"] * absent


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [
        ((3, 4), (), [(0, 3, 0, 4)]),
        ((3, 5), (), [(0, 2, 0, 5), (2, 3, 0, 5)]),
        ((3, 4), (3,), [(0, 1, 0, 4), (1, 2, 0, 4), (2, 3, 0, 4)]),
        ((2, 4), (4,), [(0, 1, 0, 3), (0, 1, 3, 4), (1, 2, 0, 3), (1, 2, 3, 4)]),
        ((1, 2), (13,), [(0, 1, 0, 1), (0, 1, 1, 2)]),
    ],
)
def test_evidence__boxes_are_as_large_as_may_be(monkeypatch, shape, classes, expected):
    """As many rows of classes as 12 entries hold, one at least."""
    monkeypatch.setattr(evidence, "BOX", 12)
    assert [(a.start, a.stop, b.start, b.stop) for a, b in evidence.boxes(shape, *classes)] == expected


# ---------------------------------------------------------------------------------------
# large inputs


@pytest.mark.parametrize("box", [1, 7, 64])
def test_evidence__does_not_depend_on_the_boxes(monkeypatch, box):
    """Counts, extremes and first places are those of the whole input."""
    z = changed(TEXT, _7_5_1=NAN, _2_1_0=-INF, _2_1_1=1e4, _6_0_2=-INF)
    y = changed(TOKENS, _6_0=2, _1_1=-100)
    q = changed(softmax(TEXT), _3_3_3=7.0, _5_0_0=-1.0)
    where = np.arange(8)[:, None] > 2

    def all_of_them():
        yield diagnose(np.moveaxis(z, -1, 1), y)
        yield diagnose(z, q, axis=-1)
        yield diagnose(z, q, loss=BINARY)
        yield diagnose(z, q, axis=-1, where=where)
        yield diagnose(z, q, loss=BINARY, where=where[..., None])
        yield diagnose(np.where(z > 0, 200, 0.0), y, axis=-1)
        yield diagnose(TEXT, TOKENS, axis=-1, loss="nll_loss")
        yield diagnose(log_softmax(TEXT), TOKENS, axis=-1, weight=[0, 1, 1, 1, 1, 1])
        yield diagnose(TEXT, 0 * TOKENS, axis=-1, weight=[0, 1, 1, 1, 1, 1])

    whole = [*all_of_them()]
    monkeypatch.setattr(evidence, "BOX", box)
    assert [*all_of_them()] == whole
    assert [finding.code for finding in whole[0]] == ["non-finite-logits", "infinite-loss"]
    assert whole[0][0].evidence["first"] == (7, 5)
    assert whole[0][1].evidence["first"] == (6, 0)
    assert whole[0][1].evidence["rows"] == 47


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3, 5), (3, 1, 4), (0,), (2, 0, 3)])
@pytest.mark.parametrize("box", [1, 2, 6, 15, 100])
def test_evidence__boxes_hold_each_entry_once_and_in_order(monkeypatch, shape, box):
    """The first place found is the first there is."""
    monkeypatch.setattr(evidence, "BOX", box)
    array = np.arange(int(np.prod(shape))).reshape(shape)
    pieces = [array[part].reshape(-1) for part in evidence.boxes(shape)]
    assert [*itertools.chain.from_iterable(pieces)] == [*range(array.size)]
    assert all(0 < piece.size <= box for piece in pieces)


@pytest.mark.parametrize("shape", [(300, 20_000), (1, 4_000_000), (2_000_000, 3), (2_000, 2_000)])
def test_diagnose__memory_does_not_grow_with_the_input(shape):
    """Rows, long rows, and rows that need a second look: their second half is wrong."""
    z = np.zeros(shape, np.float32)
    z[shape[0] // 2 :, 0] = 200
    y = np.zeros(shape[0], np.int32)
    tracemalloc.start()
    try:
        findings = diagnose(z, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert findings[0].code == "saturated-logits"
    assert findings[0].evidence["rows"] == shape[0]
    assert peak < MEMORY


def test_diagnose__memory_does_not_grow_with_probability_targets():
    """Rows of both are looked at in boxes."""
    z = np.broadcast_to(np.float16(0), (2_000, 2_000))
    tracemalloc.start()
    try:
        assert diagnose(z, np.broadcast_to(np.float32(1 / 2_000), z.shape)) == ()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY


def test_diagnose__a_sample_without_labels_has_no_opinion():
    """Two axes of one length, large, and one label that counts."""
    z = np.broadcast_to(np.float16(0), (1000, 1000))
    y = np.full(1000, -100)
    y[1] = 1
    assert diagnose(z, y) == ()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f4", "int32", "bool"])
def test_diagnose__every_dtype_is_looked_at(dtype):
    """Values, layout and byte order aside, a mistake stays one."""
    y = Y + 1
    assert only(diagnose(Z.astype(dtype), y), "labels-from-one").evidence["high"] == 5
    if np.dtype(dtype).kind == "f":
        assert only(diagnose(softmax(Z).astype(dtype), Y), "probabilities-as-logits")


@pytest.mark.peers
def test_diagnose__bfloat16_is_looked_at():
    """The eight bits that bfloat16 has are enough for eight rows."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    assert diagnose(Z.astype(bfloat16), Y) == ()
    assert only(diagnose(softmax(Z).astype(bfloat16), Y), "probabilities-as-logits")
    assert diagnose(log_softmax(Z.astype(bfloat16)), Y, loss="nll_loss") == ()
