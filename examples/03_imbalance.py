"""Class weights on tumours, few of which are malignant: what they do to the optimum.

    python examples/03_imbalance.py [--picture PATH]

Two of the 30 measurements (texture and smoothness, which leave a doubt), every benign tumour and every
third malignant one. A logistic regression is fitted to its optimum, with and without `pos_weight`, and
judged on tumours that it has not seen (five folds). With `pos_weight = c` a malignant one counts c times:

1. Where the odds in the data are p / (1 - p), the optimum says c p / (1 - p), as far as the model can:
   each logit moves up by log c. So the recall rises; but so would it with a lower threshold on the
   model without weights.
2. The probabilities are no longer those of the data. Subtracting log c from the logits gives them back.
3. `cross_entropy` with class weights n / (K n_k) and the logits [0, z] is the same loss, but for a factor.
"""

import numpy as np
from calibration import expected_calibration_error, show_reliability
from data_sets import load_tumours
from pictures import path_of_picture, save

import crossent
from crossent import binary_cross_entropy_with_logits as bce

TEXTURE, SMOOTHNESS = 1, 4
FOLDS = 5


def load():
    """Return the inputs with a column of ones, and the targets: 1 where malignant."""
    measurements, malignant = load_tumours()
    rare = np.flatnonzero(malignant)[::3]
    rows = np.sort(np.concatenate([rare, np.flatnonzero(~malignant)]))
    x = measurements[np.ix_(rows, [TEXTURE, SMOOTHNESS])]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return np.column_stack([x, np.ones(len(rows))]), malignant[rows].astype(float)


def fit(x, y, pos_weight):
    """Newton's method: the optimum to all digits in a few steps."""
    w = np.zeros(x.shape[1])
    for _ in range(12):
        z = x @ w
        d_z = crossent.binary_cross_entropy_with_logits_grad(z, y, pos_weight=pos_weight, reduction="sum")
        curvature = (pos_weight * y + 1 - y) * crossent.sigmoid_grad(z)  # p (1 - p), weighted
        w -= np.linalg.solve(x.T @ (curvature[:, None] * x), x.T @ d_z)
    return w


def logits_of_unseen(x, y, pos_weight):
    """Each tumour's logit, from a model that was fitted to the other folds."""
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    z = np.empty(len(y))
    for k in range(FOLDS):
        z[fold == k] = x[fold == k] @ fit(x[fold != k], y[fold != k], pos_weight)
    return z


def draw(plt, logits, y, shift):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for kind, name, color in ((0, "benign", "tab:green"), (1, "malignant", "tab:red")):
        rows = y == kind
        left.scatter(logits["plain"][rows], logits["weighted"][rows], s=9, color=color, label=name, alpha=0.7)
    ends = np.array([logits["plain"].min(), logits["plain"].max()])
    left.plot(ends, ends + shift, color="0.3", linewidth=1, label="plain + log c")
    left.plot(ends, ends, color="0.7", linewidth=1, linestyle=":", label="plain")
    left.axhline(0, color="0.85", linewidth=1, zorder=0)
    left.set(xlabel="logit without weights", ylabel="logit with pos_weight = c")
    left.set_title("Every logit moves up by log c")
    left.legend(loc="upper left")

    colors = ["tab:blue", "tab:orange", "tab:purple"]
    for (name, z), color in zip(logits.items(), colors, strict=True):
        show_reliability(right, crossent.sigmoid(z), y, name, color)
    right.set(xlabel="probability of malignant, as said", ylabel="share that is malignant", aspect="equal")
    right.set_title("Weighted probabilities are too high")
    right.legend(loc="upper left")
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)
    x, y = load()
    c = np.sum(y == 0) / np.sum(y == 1)
    shift = np.log(c)
    print(f"{np.sum(y == 0)} benign, {np.sum(y == 1)} malignant: pos_weight c = {c:.3f}, log c = {shift:.3f}")

    plain, weighted = logits_of_unseen(x, y, 1.0), logits_of_unseen(x, y, c)
    logits = {"plain": plain, "weighted": weighted, "corrected": weighted - shift}
    heads = ["recall", "precision", "says on average", "calibration error", "loss"]
    print(f"\n{'':10}" + "".join(f"{head:>19}" for head in heads))
    recall, said, error, loss = {}, {}, {}, {}
    for name, z in logits.items():
        p = crossent.sigmoid(z)
        recall[name], precision = np.mean(z[y == 1] > 0), np.mean(y[z > 0])
        said[name], error[name], loss[name] = p.mean(), expected_calibration_error(p, y), bce(z, y)
        row = [recall[name], precision, said[name], error[name], loss[name]]
        print(f"{name:10}" + "".join(f"{number:19.3f}" for number in row))
    print(f"{y.mean():.3f} of them are malignant")

    moved = np.mean(weighted - plain)
    agree = np.mean((weighted > 0) == (plain > -shift))
    print(f"\nlogits moved by {moved:.3f} on average, log c is {shift:.3f}")
    print(f"same verdict as the plain model with threshold {1 / (1 + c):.3f}: {agree:.1%} of the tumours")

    # At the optimum the bias's gradient is 0: what is said adds up to what there is, each times its weight.
    p = crossent.sigmoid(x @ fit(x, y, c))
    weight = np.where(y == 1, c, 1.0)
    gap = np.sum(weight * p) - np.sum(weight * y)
    print(f"sum of weights times p, minus sum of weights times y, at the optimum: {gap:.1e}")

    class_weight = len(y) / (2 * np.array([np.sum(y == 0), np.sum(y == 1)]))  # n / (K n_k)
    pairs = np.stack([np.zeros(len(y)), weighted], axis=1)
    categorical = crossent.cross_entropy(pairs, y.astype(int), weight=class_weight)
    binary = class_weight[0] * bce(weighted, y, pos_weight=c)
    print(f"cross_entropy with class weights {categorical:.15f}, {class_weight[0]:.3f} bce {binary:.15f}")
    save(picture, draw, logits, y, shift)

    assert abs(moved - shift) < 0.1
    assert agree > 0.97
    assert recall["weighted"] > recall["plain"] + 0.2
    assert error["weighted"] > error["plain"] + 0.1
    assert error["corrected"] < error["weighted"] - 0.1
    assert abs(loss["corrected"] - loss["plain"]) < 0.02 < loss["weighted"] - loss["plain"]
    assert abs(said["corrected"] - y.mean()) < 0.02
    assert abs(gap) < 1e-9
    assert abs(categorical / binary - 1) < 1e-14


if __name__ == "__main__":
    main()
