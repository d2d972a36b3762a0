"""How far a result may be from the exact one, in units in the last place: the one table.

Tests and docs both read it. A value may be 4 ulp away and a gradient entry 6; half-precision
results are the exact ones, rounded, so half an ulp and the little that double rounding adds.
Where the problem itself cancels, the same numbers count in ulps of the largest term (or of the
sum of the terms' magnitudes): the caller of ``ulp_error`` passes that as ``scale``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LIMITS", "MEASURED", "limit"]

_VALUE = {"float16": 0.51, "float32": 4.0, "float64": 4.0}
_GRAD = {"float16": 0.51, "float32": 6.0, "float64": 6.0}

LIMITS: dict[str, dict[str, float]] = {
    "logsumexp": dict(_VALUE),
    "log_softmax": dict(_VALUE),
    "softmax": dict(_VALUE),
    "softplus": dict(_VALUE),
    "log_sigmoid": dict(_VALUE),
    "sigmoid": dict(_VALUE),
    "nll_loss": dict(_VALUE),
    "cross_entropy": dict(_VALUE),
    "binary_cross_entropy_with_logits": dict(_VALUE),
    "smooth_labels": dict(_VALUE),
    "entropy": dict(_VALUE),
    "kl_divergence": dict(_VALUE),
    "perplexity": dict(_VALUE),
    "logsumexp_grad": dict(_GRAD),
    "log_softmax_grad": dict(_GRAD),
    "softmax_grad": dict(_GRAD),
    "softplus_grad": dict(_GRAD),
    "log_sigmoid_grad": dict(_GRAD),
    "sigmoid_grad": dict(_GRAD),
    "nll_loss_grad": dict(_GRAD),
    "cross_entropy_grad": dict(_GRAD),
    "binary_cross_entropy_with_logits_grad": dict(_GRAD),
}


# The worst that was found of each in full runs of the meter, three seeds, with AVX-512, without it and
# without AVX2: rounded up, the largest of the three. What it means is that so much does occur.
MEASURED: dict[str, dict[str, float]] = {
    "logsumexp": {"float16": 0.5, "float32": 1.8, "float64": 2.5},
    "log_softmax": {"float16": 0.5, "float32": 3.1, "float64": 3.0},
    "softmax": {"float16": 0.5, "float32": 3.1, "float64": 3.3},
    "softplus": {"float16": 0.5, "float32": 2.9, "float64": 1.5},
    "log_sigmoid": {"float16": 0.5, "float32": 3.1, "float64": 1.5},
    "sigmoid": {"float16": 0.5, "float32": 3.3, "float64": 2.2},
    "nll_loss": {"float16": 0.5, "float32": 0.5, "float64": 2.0},
    "cross_entropy": {"float16": 0.5, "float32": 3.1, "float64": 3.8},
    "binary_cross_entropy_with_logits": {"float16": 0.5, "float32": 3.1, "float64": 3.3},
    "smooth_labels": {"float16": 0.5, "float32": 0.5, "float64": 0.6},
    "entropy": {"float16": 0.5, "float32": 0.5, "float64": 1.9},
    "kl_divergence": {"float16": 0.5, "float32": 0.5, "float64": 2.0},
    "perplexity": {"float16": 0.5, "float32": 0.7, "float64": 2.3},
    "logsumexp_grad": {"float16": 0.5, "float32": 3.8, "float64": 3.0},
    "log_softmax_grad": {"float16": 0.5, "float32": 3.5, "float64": 3.1},
    "softmax_grad": {"float16": 0.5, "float32": 5.6, "float64": 5.3},
    "softplus_grad": {"float16": 0.5, "float32": 4.2, "float64": 3.0},
    "log_sigmoid_grad": {"float16": 0.5, "float32": 3.9, "float64": 3.0},
    "sigmoid_grad": {"float16": 0.5, "float32": 3.9, "float64": 3.1},
    "nll_loss_grad": {"float16": 0.5, "float32": 0.5, "float64": 2.1},
    "cross_entropy_grad": {"float16": 0.5, "float32": 4.9, "float64": 5.0},
    "binary_cross_entropy_with_logits_grad": {"float16": 0.5, "float32": 4.5, "float64": 4.9},
}


def limit(function: str, dtype: npt.DTypeLike) -> float:
    """Largest distance from the exact result that `function` may show in `dtype`, in ulp.

    Parameters
    ----------
    function : str
        A public function's name; its gradient's name ends in ``_grad``.
    dtype : dtype-like
        The dtype of the result.

    Returns
    -------
    float
        The limit in ulp.

    Raises
    ------
    KeyError
        If the table has no entry: a function without a limit is not tested by accident.
    """
    name = np.dtype(dtype).name
    try:
        return LIMITS[function][name]
    except KeyError:
        raise KeyError(f"no limit for {function!r} in {name}: add one to LIMITS") from None
