"""Train two classifiers on real handwritten digits, with every gradient written out.

    python examples/01_train_on_digits.py [--picture PATH]

1. Softmax regression: one linear layer and the cross-entropy of its logits.
2. A network with one hidden layer: Linear, ReLU, Linear.

`crossent.cross_entropy_value_and_grad` gives the loss of a batch and the gradient with respect to
its logits. Everything below the logits is the chain rule, one line a parameter: networks.py, beside
this script, is the next thing to read. Before it starts, the script compares both gradients with
finite differences. At the end it asserts what it claims.
"""

import sys
import time
from functools import partial

import numpy as np
from data_sets import load_digits, split
from networks import Linear, OneHiddenLayer, accuracy, train
from pictures import path_of_picture, save, show_digit

import crossent
from crossent import exact
from crossent.testing import numerical_grad, ulp_error

CLASSES = 10
SEED = 0


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
    model = OneHiddenLayer(images.shape[1], 4, CLASSES, rng)
    logits, backward = model.forward(images)
    gradients = backward(crossent.cross_entropy_grad(logits, labels))
    worst = 0.0
    for i, gradient in enumerate(gradients):

        def loss_of(parameter, i=i):
            trial = OneHiddenLayer(images.shape[1], 4, CLASSES, rng)
            trial.parameters = [*model.parameters[:i], parameter, *model.parameters[i + 1 :]]
            return crossent.cross_entropy(trial.logits(images), labels)

        differences = numerical_grad(loss_of, model.parameters[i])
        worst = max(worst, np.max(np.abs(gradient - differences.value)))
    entries = sum(gradient.size for gradient in gradients)
    print(f"gradient of the network, {entries} parameters: worst error {worst:.1e}")
    assert worst < 1e-8


def show(name, epoch, loss):
    """Print a line of progress: in place on a terminal, below the last one elsewhere."""
    line = f"{name}: epoch {epoch:2d}, training loss {loss:.4f}"
    print(f"\r{line}" if sys.stdout.isatty() else f"{line}\n", end="", flush=True)


def show_end():
    if sys.stdout.isatty():
        print()


def red_and_blue(limit):
    return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}


def draw(plt, linear, network, curves, images, labels):
    """Draw what was learned on one page: weights, loss curves and the mistakes that are left."""
    figure = plt.figure(figsize=(10, 8), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[1.3, 1.5, 3.6], hspace=0.03)

    top.suptitle("Softmax regression: the ten weight pictures (red for, blue against)")
    W = linear.parameters[0]
    for k, axes in enumerate(top.subplots(1, CLASSES)):
        show_digit(axes, W[:, k], str(k), **red_and_blue(np.abs(W).max()))

    middle.suptitle("One hidden layer: what each hidden unit looks for")
    W1 = network.parameters[0]
    largest_first = np.argsort(-np.linalg.norm(W1, axis=0))
    for j, axes in zip(largest_first, middle.subplots(2, 16).flat, strict=True):
        show_digit(axes, W1[:, j], **red_and_blue(np.quantile(np.abs(W1), 0.995)))

    left, right = bottom.subfigures(1, 2, width_ratios=[1.35, 1])
    axes = left.subplots()
    for (name, losses), color in zip(curves.items(), ["tab:orange", "tab:blue"], strict=True):
        epochs = np.arange(1, len(losses) + 1)
        axes.semilogy(epochs, losses, color=color, linewidth=2, label=name)
    axes.axhline(np.log(CLASSES), color="0.5", linestyle=":", linewidth=1)
    axes.annotate("guessing: log 10", (len(epochs), np.log(CLASSES)), (0, -4), ha="right",
                  va="top", textcoords="offset points", color="0.4", fontsize=9)  # fmt: skip
    axes.set(xlabel="epoch", ylabel="training loss (nats)", title="Loss curves")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left")

    logits = network.logits(images)
    losses = crossent.cross_entropy(logits, labels, reduction="none")
    right.suptitle("The network's costliest test images")
    for axes, n in zip(right.subplots(3, 4).flat, np.argsort(-losses), strict=False):
        guess = logits[n].argmax()
        said = f"{labels[n]}, said {guess}" if guess != labels[n] else f"{labels[n]}, right"
        show_digit(axes, images[n], f"{said}\n{losses[n]:.1f} nats")
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)
    started = time.perf_counter()

    images, labels = load_digits()
    training, test = split(len(labels), held_out=1 / 5)
    print(f"{len(training)} digits to train on, {len(test)} held out")
    check_gradients(images[training[:3]], labels[training[:3]])

    pixels = images.shape[1]
    models = {
        "softmax regression": (linear := Linear(pixels, CLASSES)),
        "one hidden layer": (network := OneHiddenLayer(pixels, 32, CLASSES, np.random.default_rng(SEED))),
    }
    untrained = crossent.perplexity(linear.logits(images[test]), labels[test])
    print(f"before training: perplexity {untrained:.2f}, a guess among {CLASSES} classes")

    curves = {}
    for name, model in models.items():
        progress = partial(show, name)
        curves[name] = train(model, images[training], labels[training], after_epoch=progress)
        show_end()

    print(f"\n{'':20}{'training loss':>15}{'test accuracy':>15}{'test perplexity':>17}")
    accuracies = {}
    for name, model in models.items():
        loss = crossent.cross_entropy(model.logits(images[training]), labels[training])
        accuracies[name] = accuracy(model, images[test], labels[test])
        perplexity = crossent.perplexity(model.logits(images[test]), labels[test])
        print(f"{name:20}{loss:15.4f}{accuracies[name]:15.4f}{perplexity:17.4f}")

    save(picture, draw, linear, network, curves, images[test], labels[test])
    print(f"done in {time.perf_counter() - started:.1f} s")

    assert min(accuracies.values()) >= 0.95
    assert abs(untrained - CLASSES) < 1e-12


if __name__ == "__main__":
    main()
