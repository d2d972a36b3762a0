"""`diagnose`: what looks wrong with the arguments of a loss, and what to write instead.

A wrong call may raise, or silently compute another loss. What raises is named in the front desk's own
words (`_refusals.py`); what does not is judged by evidence (`_suspicions.py`, with figures from
`_evidence.py`). Each criterion is one that right calls never meet, or by chance less than once in a
thousand, and stands beside the reason for it.
"""

import numpy as np
from numpy.typing import ArrayLike

from crossent._suspicions import foreign_options, judge_binary, judge_classes
from crossent.findings import BINARY, LOSSES, Call, Finding


def diagnose(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    loss: str = "cross_entropy",
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    ignore_index: int = -100,
    axis: int | None = None,
    where: ArrayLike | None = None,
) -> tuple[Finding, ...]:
    """Say what looks wrong with the arguments of a loss.

    Use it when a loss does not fall, is NaN or inf, or raises; or once before a long training. It never
    raises for anything in the arguments of the loss.

    Parameters
    ----------
    logits, target, weight, pos_weight, ignore_index, axis, where
        What the loss was given; with ``loss="nll_loss"`` `logits` are its `log_probs`.
    loss : {"cross_entropy", "nll_loss", "binary_cross_entropy_with_logits"}
        The loss.

    Returns
    -------
    tuple of Finding
        Empty when nothing looks wrong. What the loss would refuse is found first and alone, with the
        message of the error that it raises.

    Raises
    ------
    ValueError
        If `loss` is unknown.

    Notes
    -----
    Every entry is looked at, in boxes: some MiB are used beside the input, whatever its size, and the
    figures are those of all of it. Only two questions are put to a sample, the same each time: how many
    digits entries have (64 rows), and whether another axis agrees with the labels, or is normalised (rows of
    131,072 entries together, if the axis is not longer). Rows that are left out are not looked at. Only
    labels that are refused take some bytes each, as they do in the loss that refuses them.

    ======================================  ==============================================================
    code                                    what was found
    ======================================  ==============================================================
    ``arguments-swapped``                   `target` came first
    ``class-axis``                          the labels fit another axis; or the class axis as well, but agree
                                            with the largest entries along the other one
    ``softmax-axis``                        rows are normalised along another axis than that of the classes
    ``target-shape``                        the shape of `target` fits no axis
    ``one-hot-integers``                    rows of integers with one 1 each
    ``multi-label-target``                  rows of 0 and 1 that are not one-hot, several 1 in some
    ``float-indices``                       floats in the place of class indices
    ``boolean-target``                      booleans in the place of class indices
    ``soft-target``                         probabilities as target of `nll_loss`
    ``labels-from-one``                     labels from 1 to K
    ``label-out-of-range``                  other labels outside [0, K)
    ``one-class``                           labels 0 and 1 for one logit
    ``weight-shape``                        `weight` or `pos_weight` does not fit
    ``weight-fits-two-axes``                `weight` or `pos_weight` of the binary loss is used along the
                                            last axis and is as long as another one
    ``weight-values``                       a weight is negative, NaN or inf
    ``no-such-option``                      an option of another loss
    ``refused``                             anything else that the loss refuses
    ``nothing-counts``                      no positions, or all ignored, or all of weight 0: a mean of NaN
    ``non-finite-logits``                   NaN; also inf, or a row of -inf alone, where there are classes
    ``infinite-loss``                       the label's logit is -inf: a loss of inf
    ``probabilities-as-logits``             rows in [0, 1] that sum to 1; for the binary loss also logits that
                                            crowd at 0 and 1 and never leave [0, 1]
    ``log-probabilities-as-logits``         rows whose logsumexp is 0: harmless for `cross_entropy`
    ``probabilities-as-log-probabilities``  rows in [0, 1] that sum to 1, for `nll_loss`
    ``logits-as-log-probabilities``         rows for `nll_loss` whose probabilities total more than 1
    ``saturated-logits``                    half of the rows or more have a winner by more than 104
    ``target-rows``                         target rows that are negative or do not sum to 1
    ``target-outside-0-1``                  binary targets outside [0, 1]
    ``absent-classes``                      classes that never appear among very many labels
    ======================================  ==============================================================

    Silence proves nothing. Not found, because right calls look the same: probabilities in one row of few
    digits, outputs of a sigmoid near 1/2 or as logits of `cross_entropy`, the wrong one of two axes of
    one length while the model has learned nothing.

    Examples
    --------
    >>> logits = np.array([[2.0, 1.0, -1.0], [0.5, 3.0, 0.0]])
    >>> diagnose(logits, [0, 2])
    ()
    >>> p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    >>> (finding,) = diagnose(p, [0, 2])
    >>> finding.code
    'probabilities-as-logits'
    >>> finding.advice
    'cross_entropy(z, target)  # z: what softmax was given; np.log(logits) if that is lost'
    >>> [finding.code for finding in diagnose(logits, [1.0, 2.0])]
    ['float-indices']
    >>> [finding.code for finding in diagnose([0.5, 2.0], [0, 7], loss="binary_cross_entropy_with_logits")]
    ['target-outside-0-1']
    """
    if not (isinstance(loss, str) and loss in LOSSES):
        raise ValueError(f"loss must be one of {', '.join(map(repr, LOSSES))}, not {loss!r}")
    call = Call(loss, logits, target, weight, pos_weight, ignore_index, axis, where)
    judge = judge_binary if loss == BINARY else judge_classes
    with np.errstate(all="ignore"):
        return (*foreign_options(call), *judge(call))
