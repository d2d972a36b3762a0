"""Losses that should not be zero: what three common formulas keep of a confident prediction.

    python examples/02_numerics.py [--picture PATH]

All of them in float32, beside the exact value from `crossent.exact`:

1. `log(sum(exp(z))) - z[y]`, as the definition is written.
2. `-log(softmax(z)[y])`, the softmax with the maximum subtracted.
3. `-log_softmax(z)[y]`, the usual stable form: `log(sum(exp(z - m))) - (z[y] - m)`.

First on one logit that is ahead of another by a margin, right and wrong; then on the digits that a
trained network has learned best: in the usual form their losses are 0, and cannot be told apart.
"""

import numpy as np
from data_sets import load_digits, split
from networks import OneHiddenLayer, train
from pictures import path_of_picture, save

import crossent
from crossent import exact
from crossent.testing import ulp_error


def naive_definition(z, y):
    with np.errstate(over="ignore"):  # exp is inf from 88.7 on
        return np.log(np.exp(z).sum(axis=1)) - picked(z, y)


def naive_log_of_softmax(z, y):
    with np.errstate(divide="ignore"):  # log(0)
        return -np.log(picked(naive_softmax(z), y))


def usual_log_softmax(z, y):
    shifted = z - z.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - picked(shifted, y)


def naive_softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def picked(table, y):
    return table[np.arange(len(y)), y]


def fused(z, y):
    return crossent.cross_entropy(z, y, reduction="none")


FORMULAS = {
    "definition": naive_definition,
    "log of softmax": naive_log_of_softmax,
    "usual log_softmax": usual_log_softmax,
    "crossent": fused,
}


def margins(ahead):
    """Return float32 logits 10 and 10 + `ahead`, the label of the second, and the exact losses."""
    z = np.stack([np.full(len(ahead), 10), 10 + ahead], axis=1).astype(np.float32)
    y = np.ones(len(ahead), int)
    return z, y, exact.cross_entropy(z, y, reduction="none")


def relative_error(got, truth):
    """Return how far off each is, as a part of the truth. A loss of inf or 0 has lost everything: 1."""
    truth = truth.astype(float)
    return np.where(np.isfinite(got), np.minimum(np.abs(got - truth) / truth, 1), 1)


def show_table(ahead):
    print(f"{'margin':>7}{'exact':>12}" + "".join(f"{name:>19}" for name in FORMULAS))
    z, y, truth = margins(ahead)
    columns = [f(z, y) for f in FORMULAS.values()]
    for i, margin in enumerate(ahead):
        print(f"{margin:7.0f}{truth[i]:12.4e}" + "".join(f"{column[i]:19.4e}" for column in columns))
    return dict(zip(FORMULAS, columns, strict=True)), truth


def learned_digits():
    """Return float32 logits of the digits that a network was trained on, and their labels."""
    images, labels = load_digits()
    rows, _ = split(len(labels), held_out=1 / 5)
    network = OneHiddenLayer(images.shape[1], 32, 10, np.random.default_rng(0))
    train(network, images[rows], labels[rows])
    return network.logits(images[rows]).astype(np.float32), labels[rows]


def draw(plt, losses, truth):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    colors = dict(zip(FORMULAS, ["tab:red", "tab:orange", "tab:purple", "tab:blue"], strict=True))

    ahead = np.arange(-120, 86.0)
    z, y, exact_losses = margins(ahead)
    for name, formula in FORMULAS.items():
        error = np.maximum(relative_error(formula(z, y), exact_losses), 1e-9)
        left.semilogy(ahead, error, color=colors[name], label=name, linewidth=1.5)
    left.set(xlabel="how far the right class is ahead", ylabel="relative error of the loss (1: all is lost)")
    left.set_title("Two classes, float32")
    left.legend(loc="center", bbox_to_anchor=(0.4, 0.65))

    order = np.argsort(truth.astype(float))[:250]
    floor = 1e-11  # where a loss of 0 is drawn
    for name in ("crossent", "usual log_softmax"):
        drawn = np.maximum(losses[name][order], floor)
        right.semilogy(drawn, ".", color=colors[name], label=name, markersize=4)
    zeros = np.count_nonzero(losses["usual log_softmax"] == 0)
    right.annotate(f"{zeros} losses are 0", (zeros, floor), (24, -3), textcoords="offset points")
    right.set(xlabel="digits, the best learned first", ylabel="loss (nats)", title="Digits, float32")
    right.legend(loc="center right")
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)

    print("float32 logits 10 and 10 + margin, the loss of the second")
    table, truth = show_table(np.array([-120.0, -20.0, 0.0, 5.0, 10.0, 16.0, 17.0, 30.0, 80.0]))
    z, y, _ = margins(np.array([17.0]))
    usual_gradient = naive_softmax(z)[0, 1] - 1
    gradient = crossent.cross_entropy_grad(z, y)[0, 1]
    exact_gradient = -exact.softmax(z)[0, 0]  # p[1] - 1 of two classes
    print(f"gradient at 17: exact {exact_gradient:.4e}, softmax(z)[y] - 1 {usual_gradient:.4e}", end="")
    print(f", crossent {gradient:.4e}")

    z, y = learned_digits()
    losses = {name: formula(z, y) for name, formula in FORMULAS.items()}
    exact_losses = exact.cross_entropy(z, y, reduction="none")
    print(f"\n{len(y)} digits after training, float32 logits: what each formula keeps of their losses")
    print(f"{'':19}{'zeros':>8}{'different':>11}{'half the bits lost':>20}{'worst, ulp':>12}")
    zeros, half, worst = {}, {}, {}
    for name, got in losses.items():
        zeros[name] = np.count_nonzero(got == 0)
        half[name] = np.count_nonzero(relative_error(got, exact_losses) > 2**-12)
        worst[name] = np.max(ulp_error(got, exact_losses))
        print(f"{name:19}{zeros[name]:8}{len(np.unique(got)):11}{half[name]:20}{worst[name]:12.3g}")
    save(picture, draw, losses, exact_losses)

    assert table["definition"][-1] == np.inf  # its exp leaves float32
    assert table["log of softmax"][0] == np.inf  # its probability is 0
    assert table["usual log_softmax"][-1] == 0  # 1 + exp(-80) is 1
    assert ulp_error(table["crossent"], truth).max() <= 4
    assert usual_gradient == 0
    assert ulp_error(gradient, exact_gradient) <= 6
    assert zeros["usual log_softmax"] >= 10
    assert half["usual log_softmax"] >= 200
    assert zeros["crossent"] == half["crossent"] == 0
    assert worst["crossent"] <= 4


if __name__ == "__main__":
    main()
