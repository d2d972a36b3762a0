"""Several labels at once on the digits, and the two ways to write a binary loss.

    python examples/04_multilabel.py [--picture PATH]

Each digit has three yes-or-no labels: is it even, is it larger than 4, has it a closed loop? They do
not exclude each other, so each has a logit of its own: `binary_cross_entropy_with_logits` on [B, 3].

A binary question can also be put as two classes: logits [B, 2, 3], `cross_entropy` on axis 1. Softmax
sees differences only, so the pair [0, z] says what the one logit z says:

1. Loss and gradient are the same, to the last digits.
2. Training is not: two logits move apart, one up and one down, so their difference learns at twice the
   rate. With half the rate the two models stay the same for the whole training.
"""

from functools import partial

import numpy as np
from data_sets import load_digits, split
from networks import Linear, OneHiddenLayer, train
from pictures import path_of_picture, save, show_digit

import crossent
from crossent.testing import ulp_error

NAMES = ["even", "larger than 4", "closed loop"]
DIGIT = np.arange(10)
LABELS_OF = np.stack([DIGIT % 2 == 0, DIGIT > 4, np.isin(DIGIT, [0, 6, 8, 9])], axis=1)  # (10, 3)

multilabel_loss = crossent.binary_cross_entropy_with_logits_value_and_grad


def two_class_loss(logits, target):
    """Take [B, 2 * 3] logits as [B, 2, 3]: for each of three questions the classes no and yes."""
    pairs = logits.reshape(-1, 2, 3)
    loss, d_pairs = crossent.cross_entropy_value_and_grad(pairs, target.astype(int))
    return loss, d_pairs.reshape(logits.shape)


def difference(logits):
    no, yes = np.moveaxis(logits.reshape(-1, 2, 3), 1, 0)
    return yes - no


def compare_formulations(z, target):
    """Return how far apart loss and gradient of the two are at most, in units in the last place."""
    binary = partial(crossent.binary_cross_entropy_with_logits, reduction="none")
    categorical = partial(crossent.cross_entropy, reduction="none")
    pairs = np.stack([np.zeros_like(z), z], axis=1)
    losses = ulp_error(categorical(pairs, target.astype(int)), binary(z, target))

    d_z = crossent.binary_cross_entropy_with_logits_grad(z, target)
    d_no, d_yes = np.moveaxis(crossent.cross_entropy_grad(pairs, target.astype(int)), 1, 0)
    return losses.max(), max(ulp_error(d_yes, d_z).max(), ulp_error(d_no, -d_z).max())


def compare_training(images, target):
    """Return how far apart the logits are after training two linear models, for two rates."""
    one = Linear(images.shape[1], 3)
    train(one, images, target, multilabel_loss, epochs=5, rate=0.5)
    apart = {}
    for rate in (0.5, 0.25):
        two = Linear(images.shape[1], 2 * 3)
        train(two, images, target, two_class_loss, epochs=5, rate=rate)
        apart[rate] = np.abs(difference(two.logits(images)) - one.logits(images)).max()
    return apart


def draw(plt, images, digits, said):
    figure = plt.figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])

    axes = left.subplots()
    mean = np.stack([said[digits == digit].mean(axis=0) for digit in DIGIT])
    axes.imshow(mean, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for digit in DIGIT:
        for j in range(3):
            color = "white" if mean[digit, j] > 0.5 else "black"
            axes.text(j, digit, f"{mean[digit, j]:.2f}", ha="center", va="center", color=color)
    axes.set(xticks=range(3), xticklabels=NAMES, yticks=DIGIT, ylabel="digit")
    axes.set_title("Mean probability, held-out digits")

    doubt = np.argsort(np.abs(said - LABELS_OF[digits]).max(axis=1))[::-1]
    right.suptitle("The twelve most doubtful: even, > 4, loop")
    for axes, n in zip(right.subplots(3, 4).flat, doubt, strict=False):
        wrong = (said[n] > 0.5) != LABELS_OF[digits[n]]
        numbers = "  ".join(f"{p:.2f}" for p in said[n])
        show_digit(axes, images[n], f"{digits[n]}: {wrong.sum()} wrong\n{numbers}")
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)
    images, digits = load_digits()
    target = LABELS_OF[digits].astype(float)
    training, test = split(len(digits), held_out=1 / 5)

    network = OneHiddenLayer(images.shape[1], 32, 3, np.random.default_rng(0))
    train(network, images[training], target[training], multilabel_loss, epochs=30)
    z = network.logits(images[test])
    right = (z > 0) == LABELS_OF[digits[test]]
    print(f"{len(test)} held-out digits, three labels each")
    for name, share in zip(NAMES, right.mean(axis=0), strict=True):
        print(f"  {name:14} right {share:.3f}")
    print(f"  {'all three':14} right {right.all(axis=1).mean():.3f}")

    loss_ulp, gradient_ulp = compare_formulations(z, target[test])
    print("\none logit or two, the same numbers:", end=" ")
    print(f"losses {loss_ulp:.1f}, gradients {gradient_ulp:.1f} ulp apart")
    apart = compare_training(images[training], target[training])
    for rate, distance in apart.items():
        print(f"linear models after 5 epochs, one logit with rate 0.5, two with {rate}: {distance:.1e} apart")
    save(picture, draw, images[test], digits[test], crossent.sigmoid(z))

    assert right.mean(axis=0).min() > 0.93
    assert right.all(axis=1).mean() > 0.9
    assert loss_ulp <= 8  # each is within 4 of the exact one
    assert gradient_ulp <= 12  # each within 6
    assert apart[0.25] < 1e-9 < 0.1 < apart[0.5]


if __name__ == "__main__":
    main()
