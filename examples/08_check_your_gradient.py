"""Check a gradient of your own with `crossent.testing`: right ones pass, planted bugs are caught.

    python examples/08_check_your_gradient.py [--picture PATH]

Four digits are judged by a trained network: one learned very well, one in the middle, the worst one,
and one whose label is ignored. Their mean loss has a gradient of 4 x 10 entries. A right formula for
it and five with a bug go through two tests:

1. Finite differences of the loss in floats, and `allclose` with a usual tolerance. They see about ten
   digits, and nothing of an entry that is smaller than the tolerance.
2. `check_grad` with the definition in `crossent.exact`: differences in 60-digit decimals, entry by
   entry in units in the last place. There is no tolerance for small entries to hide in.

Then a loss that crossent does not have, the focal loss: its definition in decimals is all that
`check_grad` needs.
"""

from decimal import localcontext
from functools import partial

import numpy as np
from data_sets import load_digits, split
from networks import OneHiddenLayer, train
from pictures import path_of_picture, save

import crossent
from crossent import exact
from crossent.testing import check_grad, numerical_grad, ulp_error

IGNORED = -100
ROWS = ["learned well", "in the middle", "worst", "ignored"]
LIMIT = 64  # ulp: exp(z - m) alone costs up to 32 where z - m is below 64, see docs/numerics.md


def four_digits():
    """Return logits, (4, 10), and labels of four digits that a network was trained on."""
    images, labels = load_digits()
    training, _ = split(len(labels), held_out=1 / 5)
    images, labels = images[training], labels[training]
    network = OneHiddenLayer(images.shape[1], 32, 10, np.random.default_rng(0))
    train(network, images, labels, epochs=20)
    logits = network.logits(images)
    order = np.argsort(crossent.cross_entropy(logits, labels, reduction="none"))
    rows = order[[0, len(order) // 2, -1, 1]]
    target = labels[rows]
    target[3] = IGNORED
    return logits[rows], target


# -- gradients of the mean loss: a right one, and bugs that people write ---------------------------


def right(z, y):
    counted = np.flatnonzero(y != IGNORED)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    gradient = np.zeros_like(z)
    for n in counted:
        own, others = e[n, y[n]], np.delete(e[n], y[n]).sum()
        gradient[n] = e[n] / (own + others)
        gradient[n, y[n]] = -others / (own + others)  # p - 1, without the subtraction
    return gradient / len(counted)


def p_minus_1(z, y):
    counted = y != IGNORED
    gradient = crossent.softmax(z)
    gradient[counted, y[counted]] -= 1
    gradient[~counted] = 0
    return gradient / counted.sum()


def of_log_p_plus_eps(z, y, eps=1e-12):
    p = np.exp(-crossent.cross_entropy(z, y, reduction="none"))
    return right(z, y) * (p / (p + eps))[:, None]


def sum_not_mean(z, y):
    return right(z, y) * np.sum(y != IGNORED)


def ignored_is_counted(z, y):
    return right(z, y) * np.mean(y != IGNORED)


def label_not_subtracted(z, y):
    counted = y != IGNORED
    return crossent.softmax(z) * counted[:, None] / counted.sum()


GRADIENTS = {
    "right": right,
    "the sum's, not the mean's": sum_not_mean,
    "label not subtracted": label_not_subtracted,
    "mean counts ignored rows": ignored_is_counted,
    "p - 1 cancels": p_minus_1,
    "of -log(p + 1e-12)": of_log_p_plus_eps,
}


# -- a loss of one's own: Lin et al., "Focal Loss for Dense Object Detection" (2017), gamma = 2 ----


def focal_definition(z, y, digits):
    """(1 - p)^2 times the loss -log p, summed over the rows, in decimals."""
    losses = exact.cross_entropy(z, y, reduction="none", digits=digits + 30)
    with localcontext(prec=digits + 30):  # 1 - p cancels some of them
        return sum((1 - (-loss).exp()) ** 2 * loss for loss in losses)


def focal_grad(z, y, weight_is_constant=False):
    """Take the chain rule down to the logits: `grad_output` is the derivative by the loss."""
    loss = crossent.cross_entropy(z, y, reduction="none")
    p, q = np.exp(-loss), -np.expm1(-loss)  # q is 1 - p, with all of its digits
    d_loss = q**2 + (0 if weight_is_constant else 2 * q * p * loss)
    return crossent.cross_entropy_grad(z, y, reduction="none", grad_output=d_loss)


def report(definition, gradient, z):
    """Return what `check_grad` has to say, or None."""
    try:
        check_grad(definition, gradient, z, ulp=LIMIT)
    except AssertionError as error:
        return str(error)
    return None


def draw(plt, errors):
    from matplotlib.colors import LogNorm

    figure, panels = plt.subplots(2, 3, figsize=(12, 4.6), sharex=True, sharey=True, layout="constrained")
    for axes, (name, error) in zip(panels.flat, errors.items(), strict=True):
        heat = axes.imshow(np.maximum(error, 1), cmap="magma_r", norm=LogNorm(1, 1e16), aspect="auto")
        axes.set_title(name, fontsize=11)
        axes.set(xticks=range(10), yticks=range(4), yticklabels=ROWS)
    figure.colorbar(heat, ax=panels, label="error of each entry (ulp)")
    figure.supxlabel("class")
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)
    z, y = four_digits()
    losses = crossent.cross_entropy(z, y, reduction="none")
    print("losses:", ", ".join(f"{name} {loss:.1e}" for name, loss in zip(ROWS, losses, strict=True)))

    definition = partial(exact.cross_entropy, target=y)
    in_floats = numerical_grad(partial(crossent.cross_entropy, target=y), z).value
    in_decimals = numerical_grad(definition, z).value
    print(f"\n{'gradient':27}{'allclose':>9}{'check_grad':>12}{'worst entry':>17}")
    near, reports, errors = {}, {}, {}
    for name, gradient in GRADIENTS.items():
        near[name] = np.allclose(gradient(z, y), in_floats, rtol=1e-5, atol=1e-8)
        reports[name] = report(definition, partial(gradient, y=y), z)
        errors[name] = ulp_error(gradient(z, y), in_decimals)
        verdicts = ["passes" if near[name] else "fails", "fails" if reports[name] else "passes"]
        print(f"{name:27}{verdicts[0]:>9}{verdicts[1]:>12}{errors[name].max():13.3g} ulp")
    print("\nwhat check_grad says of 'p - 1 cancels':")
    print(reports["p - 1 cancels"])

    # In floats, check_grad says that it cannot see well enough, rather than pass.
    try:
        check_grad(partial(crossent.cross_entropy, target=y), partial(right, y=y), z, ulp=LIMIT)
    except ValueError as error:
        too_coarse = str(error)
    print(f"\nand with differences of floats: {too_coarse[:75]}...")

    focal = partial(focal_definition, y=y)
    focal_report = report(focal, partial(focal_grad, y=y), z)
    constant_report = report(focal, partial(focal_grad, y=y, weight_is_constant=True), z)
    print(f"\nfocal loss: {focal_report or 'passes'}")
    print(f"focal loss, its weight taken for a constant: {constant_report}")
    save(picture, draw, errors)

    assert near.pop("right")
    assert reports.pop("right") is None
    assert all(reports.values()), "every bug is caught"
    assert [name for name in near if near[name]] == ["p - 1 cancels", "of -log(p + 1e-12)"]
    assert "too coarsely" in too_coarse
    assert focal_report is None
    assert "entries of the gradient are wrong" in constant_report


if __name__ == "__main__":
    main()
