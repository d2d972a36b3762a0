"""Train two classifiers on real handwritten digits, with every gradient written out.

    python examples/01_train_on_digits.py [--picture PATH]

1. Softmax regression: one linear layer and the cross-entropy of its logits.
2. A network with one hidden layer: Linear, ReLU, Linear.

`crossent.cross_entropy_value_and_grad` gives the loss of a batch and the gradient with respect to
its logits. Everything below the logits is the chain rule, one line a parameter. Before it starts,
the script compares both gradients with finite differences. At the end it asserts what it claims.
"""

import argparse
import gzip
import importlib.util
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import crossent
from crossent import exact
from crossent.testing import numerical_grad, ulp_error

HERE = Path(__file__).resolve().parent
CLASSES = 10
SEED = 0


def load_digits():
    """Return the images, (1797, 64) with pixels in [0, 1], and their labels, (1797,)."""
    with gzip.open(HERE / "data" / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1] / 16, table[:, -1].astype(int)


class SoftmaxRegression:
    """Each class has one weight a pixel: its logit is high where the image looks like them."""

    name = "softmax regression"

    def __init__(self, pixels):
        self.parameters = [np.zeros((pixels, CLASSES)), np.zeros(CLASSES)]

    def logits(self, images):
        W, b = self.parameters
        return images @ W + b

    def loss_and_gradients(self, images, labels):
        loss, d_logits = crossent.cross_entropy_value_and_grad(self.logits(images), labels)
        d_W = images.T @ d_logits  # (pixels, N) @ (N, classes)
        d_b = d_logits.sum(axis=0)
        return loss, [d_W, d_b]


class OneHiddenLayer:
    """Linear, ReLU, Linear."""

    name = "one hidden layer"

    def __init__(self, pixels, hidden, rng):
        self.parameters = [
            rng.normal(0, np.sqrt(2 / pixels), (pixels, hidden)),  # He: keeps the variance
            np.zeros(hidden),
            rng.normal(0, np.sqrt(2 / hidden), (hidden, CLASSES)),
            np.zeros(CLASSES),
        ]

    def logits(self, images):
        W1, b1, W2, b2 = self.parameters
        return np.maximum(images @ W1 + b1, 0) @ W2 + b2

    def loss_and_gradients(self, images, labels):
        W1, b1, W2, b2 = self.parameters

        # Forward: keep what the backward pass needs.
        before = images @ W1 + b1  # (N, hidden)
        hidden = np.maximum(before, 0)  # ReLU
        logits = hidden @ W2 + b2  # (N, classes)
        loss, d_logits = crossent.cross_entropy_value_and_grad(logits, labels)

        # Backward: the same lines from the bottom to the top, each one transposed.
        d_W2 = hidden.T @ d_logits
        d_b2 = d_logits.sum(axis=0)
        d_hidden = d_logits @ W2.T
        d_before = d_hidden * (before > 0)  # ReLU lets the gradient through where it was open
        d_W1 = images.T @ d_before
        d_b1 = d_before.sum(axis=0)
        return loss, [d_W1, d_b1, d_W2, d_b2]


def check_gradients(images, labels):
    """Compare gradients with finite differences: of the loss, then of the whole network."""
    rng = np.random.default_rng(SEED)

    # The loss: differences of the 50-digit definition, so all of the float's digits are checked.
    logits = rng.normal(0, 5, (len(labels), CLASSES))
    _, gradient = crossent.cross_entropy_value_and_grad(logits, labels)
    differences = numerical_grad(partial(exact.cross_entropy, target=labels), logits)
    worst = np.max(ulp_error(gradient, differences.value))
    print(f"gradient of the loss, {gradient.size} entries: worst error {worst:.2f} ulp")
    assert worst <= 6

    # The backward pass: differences of the loss in floats, which see about ten digits.
    model = OneHiddenLayer(images.shape[1], 4, rng)
    _, gradients = model.loss_and_gradients(images, labels)
    worst = 0.0
    for i, gradient in enumerate(gradients):

        def loss_of(parameter, i=i):
            trial = OneHiddenLayer(images.shape[1], 4, rng)
            trial.parameters = [*model.parameters[:i], parameter, *model.parameters[i + 1 :]]
            return crossent.cross_entropy(trial.logits(images), labels)

        differences = numerical_grad(loss_of, model.parameters[i])
        worst = max(worst, np.max(np.abs(gradient - differences.value)))
    entries = sum(gradient.size for gradient in gradients)
    print(f"gradient of the network, {entries} parameters: worst error {worst:.1e}")
    assert worst < 1e-8


def train(model, images, labels, *, epochs=40, batch=32, rate=0.5):
    """Mini-batch gradient descent. Return the mean training loss of each epoch."""
    rng = np.random.default_rng(SEED)
    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        order = rng.permutation(len(labels))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            loss, gradients = model.loss_and_gradients(images[rows], labels[rows])
            for parameter, gradient in zip(model.parameters, gradients, strict=True):
                parameter -= rate * gradient
            total += loss * len(rows)
        losses.append(total / len(order))
        show(f"{model.name}: epoch {epoch:2d} of {epochs}, training loss {losses[-1]:.4f}")
    show_end()
    return losses


def show(line):
    """Print a line of progress: in place on a terminal, below the last one elsewhere."""
    print(f"\r{line}" if sys.stdout.isatty() else f"{line}\n", end="", flush=True)


def show_end():
    if sys.stdout.isatty():
        print()


def accuracy(model, images, labels):
    return np.mean(model.logits(images).argmax(axis=1) == labels)


def draw(path, linear, network, curves, images, labels):
    """Draw what was learned on one page: weights, loss curves and the mistakes that are left."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def picture(axes, pixels, limit=None, title=None, **options):
        if limit is not None:
            options = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        axes.imshow(pixels.reshape(8, 8), **options)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
        if title is not None:
            axes.set_title(title, fontsize=10, pad=3)

    figure = plt.figure(figsize=(10, 8), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[1.3, 1.5, 3.6], hspace=0.03)

    top.suptitle("Softmax regression: the ten weight pictures (red for, blue against)")
    W = linear.parameters[0]
    for k, axes in enumerate(top.subplots(1, CLASSES)):
        picture(axes, W[:, k], np.abs(W).max(), title=str(k))

    middle.suptitle("One hidden layer: what each hidden unit looks for")
    W1 = network.parameters[0]
    largest_first = np.argsort(-np.linalg.norm(W1, axis=0))
    for j, axes in zip(largest_first, middle.subplots(2, 16).flat, strict=True):
        picture(axes, W1[:, j], np.quantile(np.abs(W1), 0.995))

    left, right = bottom.subfigures(1, 2, width_ratios=[1.35, 1])
    axes = left.subplots()
    for (name, losses), color in zip(curves.items(), ["tab:orange", "tab:blue"], strict=True):
        epochs = np.arange(1, len(losses) + 1)
        axes.semilogy(epochs, losses, color=color, linewidth=2, label=name)
    axes.axhline(np.log(CLASSES), color="0.5", linestyle=":", linewidth=1)
    axes.annotate("guessing: log 10", (len(epochs), np.log(CLASSES)), (0, -4), ha="right",
                  va="top", textcoords="offset points", color="0.4", fontsize=9)  # fmt: skip
    axes.set(xlabel="epoch", ylabel="training loss (nats)", title="Loss curves")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")

    logits = network.logits(images)
    losses = crossent.cross_entropy(logits, labels, reduction="none")
    right.suptitle("The network's costliest test images")
    for axes, n in zip(right.subplots(3, 4).flat, np.argsort(-losses), strict=False):
        guess = logits[n].argmax()
        said = f"{labels[n]}, said {guess}" if guess != labels[n] else f"{labels[n]}, right"
        picture(axes, images[n], cmap="Greys", title=f"{said}\n{losses[n]:.1f} nats")

    figure.savefig(path, dpi=130)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Train two classifiers on handwritten digits.")
    parser.add_argument(
        "--picture",
        type=Path,
        default=Path(__file__).with_suffix(".png"),
        help="where to draw weights and loss curves (default: beside this script)",
    )
    options = parser.parse_args()
    started = time.perf_counter()

    images, labels = load_digits()
    order = np.random.default_rng(SEED).permutation(len(labels))
    test, training = np.split(order, [len(order) // 5])  # a fifth is held out
    print(f"{len(training)} digits to train on, {len(test)} held out")
    check_gradients(images[training[:3]], labels[training[:3]])

    linear = SoftmaxRegression(images.shape[1])
    network = OneHiddenLayer(images.shape[1], 32, np.random.default_rng(SEED))
    untrained = crossent.perplexity(linear.logits(images[test]), labels[test])
    print(f"before training: perplexity {untrained:.2f}, a guess among {CLASSES} classes")

    curves = {}
    for model in (linear, network):
        curves[model.name] = train(model, images[training], labels[training])

    print(f"\n{'':20}{'training loss':>15}{'test accuracy':>15}{'test perplexity':>17}")
    accuracies = {}
    for model in (linear, network):
        loss = crossent.cross_entropy(model.logits(images[training]), labels[training])
        accuracies[model.name] = accuracy(model, images[test], labels[test])
        perplexity = crossent.perplexity(model.logits(images[test]), labels[test])
        print(f"{model.name:20}{loss:15.4f}{accuracies[model.name]:15.4f}{perplexity:17.4f}")

    if importlib.util.find_spec("matplotlib"):
        draw(options.picture, linear, network, curves, images[test], labels[test])
        print(f"\npicture: {options.picture}")
    else:
        print("\nno picture: matplotlib is not installed (python -m pip install matplotlib)")
    print(f"done in {time.perf_counter() - started:.1f} s")

    assert accuracies[network.name] >= 0.95
    assert accuracies[linear.name] >= 0.95
    assert abs(untrained - CLASSES) < 1e-12


if __name__ == "__main__":
    main()
