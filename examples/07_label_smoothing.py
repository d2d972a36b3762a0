"""Label smoothing: where it puts the optimum, and what it does to calibration.

    python examples/07_label_smoothing.py [--picture PATH]

A network with one hidden layer learns 300 digits and is tested on the others: clean ones, where it is
right to be confident, and noisy ones, where it learns the noise and becomes confident without reason.

1. Without smoothing the loss has no minimum: logits grow as long as one trains. With smoothing s the
   target's probability is 1 - s + s / K, and the optimum is a finite lead of the right logit over the
   others, log(1 + K (1 - s) / s). The loss there is the entropy of the target, not 0; what is above it
   is the Kullback-Leibler divergence.
2. The expected calibration error is the distance of confidence from accuracy. Smoothing lowers the
   confidence, whether there is too much of it or not: it mends the noisy case, and spoils the clean one.
"""

from functools import partial

import numpy as np
from calibration import expected_calibration_error, show_reliability
from data_sets import load_digits, split
from networks import OneHiddenLayer, train
from pictures import path_of_picture, save

import crossent

K = 10
SMOOTHINGS = (0.0, 0.05, 0.1, 0.2)
NOISE = 0.4  # standard deviation; paper is 0, ink is 1


def best_lead(smoothing):
    """How far the optimum's right logit is ahead: the log of the ratio of the target's probabilities."""
    q = crossent.smooth_labels(0, K, smoothing)
    return np.log(q[0] / q[1])


def check_optimum(smoothing):
    """Return loss minus entropy, and the largest gradient, of logits with that lead."""
    logits = np.zeros(K)
    logits[0] = best_lead(smoothing)
    loss, gradient = crossent.cross_entropy_value_and_grad(logits, 0, label_smoothing=smoothing)
    return loss - crossent.entropy(crossent.smooth_labels(0, K, smoothing)), np.abs(gradient).max()


def learn(images, labels, smoothing):
    network = OneHiddenLayer(images.shape[1], 32, K, np.random.default_rng(0))
    loss = partial(crossent.cross_entropy_value_and_grad, label_smoothing=smoothing)
    train(network, images, labels, loss, epochs=40)
    return network


def excess(logits, labels, smoothing):
    """Return the training loss, what of it is the target's entropy, and the mean divergence."""
    q = crossent.smooth_labels(labels, K, smoothing)
    loss = crossent.cross_entropy(logits, labels, label_smoothing=smoothing)
    return loss, crossent.entropy(q).mean(), crossent.kl_divergence(q, crossent.softmax(logits)).mean()


def judge(logits, labels):
    """Return each confidence, and whether the verdict is right."""
    p = crossent.softmax(logits)
    return p.max(axis=1), p.argmax(axis=1) == labels


def draw(plt, verdicts, errors):
    figure, panels = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    for axes, case in zip(panels, verdicts, strict=False):
        for s, color in ((0.0, "tab:blue"), (0.1, "tab:orange")):
            confidence, right = verdicts[case][s]
            show_reliability(axes, confidence, right, f"smoothing {s}", color)
        axes.set(xlabel="confidence", ylabel="share that is right", title=f"{case} digits", aspect="equal")
        axes.legend(loc="upper left")
    for (case, error), color in zip(errors.items(), ["tab:green", "tab:red"], strict=True):
        panels[2].plot(list(error), list(error.values()), "o-", color=color, label=f"{case} digits")
    panels[2].set(xlabel="label smoothing", ylabel="expected calibration error", ylim=(0, None))
    panels[2].set_title("It helps where confidence is too high")
    panels[2].legend()
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)

    print("logits with the best lead: loss minus the target's entropy, largest entry of the gradient")
    optima = {s: check_optimum(s) for s in SMOOTHINGS[1:]}
    for s, (above, slope) in optima.items():
        print(f"  smoothing {s:4}: lead {best_lead(s):.4f}, {above:8.1e}, {slope:.1e}")

    images, labels = load_digits()
    training, test = split(len(labels), held_out=1 - 300 / len(labels))
    noise = np.random.default_rng(0).normal(0, NOISE, images.shape)
    cases = {"clean": images, "noisy": images + noise}

    heads = ["smoothing", "lead", "loss", "entropy", "divergence", "accuracy", "confidence", "ECE"]
    print(f"\n{len(training)} digits to train on, {len(test)} held out")
    print("      " + "".join(f"{head:>12}" for head in heads))
    leads, parts, verdicts, errors = ({case: {} for case in cases} for _ in range(4))
    for case, x in cases.items():
        for s in SMOOTHINGS:
            network = learn(x[training], labels[training], s)
            z = network.logits(x[training])
            own = z[np.arange(len(z)), labels[training]]
            leads[case][s] = np.mean(own - (z.sum(axis=1) - own) / (K - 1))
            parts[case][s] = excess(z, labels[training], s)
            confidence, right = verdicts[case][s] = judge(network.logits(x[test]), labels[test])
            errors[case][s] = expected_calibration_error(confidence, right)
            row = [leads[case][s], *parts[case][s], right.mean(), confidence.mean(), errors[case][s]]
            print(f"{case:6}{s:12}" + "".join(f"{number:12.4f}" for number in row))
    save(picture, draw, verdicts, errors)

    for above, slope in optima.values():
        assert abs(above) < 2e-15
        assert slope < 1e-15
    for case in cases:
        assert leads[case][0.0] > 10
        for s in SMOOTHINGS[1:]:
            loss, entropy, divergence = parts[case][s]
            assert abs(loss - entropy - divergence) < 1e-12
            assert 0 < divergence < 0.15
            assert abs(leads[case][s] / best_lead(s) - 1) < 0.3
    assert errors["noisy"][0.1] < errors["noisy"][0.0] - 0.08
    assert errors["clean"][0.1] > errors["clean"][0.0] + 0.05


if __name__ == "__main__":
    main()
