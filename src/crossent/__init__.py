"""Cross-entropy losses and their gradients in pure NumPy, right to the last digits."""

from crossent import exact
from crossent._threads import get_num_threads, set_num_threads
from crossent.binary import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_grad,
    binary_cross_entropy_with_logits_value_and_grad,
)
from crossent.categorical import (
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_value_and_grad,
)
from crossent.findings import Finding
from crossent.information import entropy, kl_divergence, perplexity
from crossent.lse import (
    log_softmax,
    log_softmax_grad,
    logsumexp,
    logsumexp_grad,
    softmax,
    softmax_grad,
)
from crossent.mistakes import diagnose
from crossent.nll import nll_loss, nll_loss_grad, nll_loss_value_and_grad
from crossent.objects import BCEWithLogitsLoss, CrossEntropyLoss, LogSoftmax, NLLLoss
from crossent.sigmoids import (
    log_sigmoid,
    log_sigmoid_grad,
    sigmoid,
    sigmoid_grad,
    softplus,
    softplus_grad,
)
from crossent.targets import one_hot, smooth_labels

__all__ = [
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Finding",
    "LogSoftmax",
    "NLLLoss",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_grad",
    "binary_cross_entropy_with_logits_value_and_grad",
    "cross_entropy",
    "cross_entropy_grad",
    "cross_entropy_value_and_grad",
    "diagnose",
    "entropy",
    "exact",
    "get_num_threads",
    "kl_divergence",
    "log_sigmoid",
    "log_sigmoid_grad",
    "log_softmax",
    "log_softmax_grad",
    "logsumexp",
    "logsumexp_grad",
    "nll_loss",
    "nll_loss_grad",
    "nll_loss_value_and_grad",
    "one_hot",
    "perplexity",
    "set_num_threads",
    "sigmoid",
    "sigmoid_grad",
    "smooth_labels",
    "softmax",
    "softmax_grad",
    "softplus",
    "softplus_grad",
]
__version__ = "0.1.0"
