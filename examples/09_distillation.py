"""Distillation: a linear model learns from a network's probabilities; they say more than labels.

    python examples/09_distillation.py [--picture PATH]

The teacher, a network with one hidden layer, has seen half of the digits. The student, a linear
model, gets 50 of them: with their labels, or with the teacher's probabilities as the target of
`cross_entropy`, both logits divided by a temperature T (Hinton, Vinyals and Dean, "Distilling the
Knowledge in a Neural Network", 2015).

1. A sure teacher's probabilities are nearly labels. T makes the rest visible: the entropy rises.
2. The cross-entropy with soft targets does not fall to 0, but to their entropy. The rest is the
   Kullback-Leibler divergence: what the student has not learned yet.
3. The gradient shrinks like 1 / T^2. Times T^2 it keeps its size, and tends to the difference of the
   centred logits, divided by K: at high temperature the student copies logits.
4. With few digits the student gains much from a high temperature. With all the digits that the
   teacher saw, less than half of that gain is left, or none.
"""

from functools import partial

import numpy as np
from data_sets import load_digits, split
from networks import Linear, OneHiddenLayer, accuracy, train
from pictures import path_of_picture, save, show_digit

import crossent

K = 10
TEMPERATURES = (1, 2, 4, 8)
FEW = 50
DRAWS = 3


def distillation_loss(z, q, T):
    """T^2 times the cross-entropy of z / T, and its gradient by z, to which z / T adds a factor 1 / T."""
    loss, d_scaled = crossent.cross_entropy_value_and_grad(z / T, q)
    return T**2 * loss, T * d_scaled


def student(images, target, loss, epochs):
    model = Linear(images.shape[1], K)
    train(model, images, target, loss, epochs=epochs)
    return model


def show_temperature(z_student, z_teacher):
    """Print what T does to the gradient. Return how near it is to that of copied logits."""
    centred = [z - z.mean(axis=1, keepdims=True) for z in (z_student, z_teacher)]
    limit = (centred[0] - centred[1]) / K / len(z_student)
    print(f"{'T':>6}{'gradient':>12}{'times T^2':>12}{'from its limit':>16}")
    distance, sizes = {}, {}
    for T in (1, 8, 64, 512):
        _, scaled = distillation_loss(z_student, crossent.softmax(z_teacher / T), T)
        distance[T] = np.linalg.norm(scaled - limit) / np.linalg.norm(limit)
        sizes[T] = np.linalg.norm(scaled)
        print(f"{T:6}{sizes[T] / T**2:12.2e}{sizes[T]:12.2e}{distance[T]:15.1%}")
    return distance, sizes


def name_of(T):
    return T if T == "labels" else f"T = {T}"


def draw(plt, images, z_teacher, scores):
    figure = plt.figure(figsize=(12, 4.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.3])

    axes = left.subplots()
    axes.plot([name_of(T) for T in scores], list(scores.values()), "o-", color="tab:blue", alpha=0.6)
    axes.set(xlabel="target", ylabel="student's test accuracy", title=f"{FEW} digits, drawn {DRAWS} times")
    axes.grid(axis="y", alpha=0.25)

    right.suptitle("What the teacher says of four of them: T = 1 (grey), T = 8 (blue)")
    panels = right.subplots(2, 4, height_ratios=[1, 1.4])
    for n, (picture, bars) in enumerate(panels.T):
        show_digit(picture, images[n])
        bars.bar(np.arange(K), crossent.softmax(z_teacher[n]), color="0.8")
        bars.bar(np.arange(K), crossent.softmax(z_teacher[n] / 8), color="tab:blue", width=0.5)
        bars.set(xticks=range(K), ylim=(0, 1), yticks=[0, 0.5, 1] if n == 0 else [])
        bars.tick_params(axis="x", labelsize=8)
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)
    images, labels = load_digits()
    training, test = split(len(labels), held_out=1 / 2)
    teacher = OneHiddenLayer(images.shape[1], 64, K, np.random.default_rng(0))
    train(teacher, images[training], labels[training])
    z_teacher = teacher.logits(images)
    taught = accuracy(teacher, images[test], labels[test])
    print(f"the teacher saw {len(training)} digits: test accuracy {taught:.3f}")

    def score(rows, T, epochs):
        """Test accuracy of a student of the labels, or of the teacher at temperature T."""
        if T == "labels":
            model = student(images[rows], labels[rows], crossent.cross_entropy_value_and_grad, epochs)
        else:
            soft = crossent.softmax(z_teacher[rows] / T)
            model = student(images[rows], soft, partial(distillation_loss, T=T), epochs)
        return accuracy(model, images[test], labels[test])

    draws = [np.random.default_rng(n).permutation(training)[:FEW] for n in range(DRAWS)]
    print(f"\n{'':10}{'entropy of the':>16}{'student,':>12}{'student,':>12}")
    print(f"{'target':10}{'target (nats)':>16}{f'{FEW} digits':>12}{f'{len(training)} digits':>12}")
    entropies, scores, with_all = {}, {}, {}
    for T in ("labels", *TEMPERATURES):
        q = np.eye(K)[labels[training]] if T == "labels" else crossent.softmax(z_teacher[training] / T)
        entropies[T] = crossent.entropy(q).mean()
        scores[T] = [score(rows, T, epochs=100) for rows in draws]
        with_all[T] = score(training, T, epochs=20)
        print(f"{name_of(T):10}{entropies[T]:16.4f}{np.mean(scores[T]):12.3f}{with_all[T]:12.3f}")
    gain = np.mean(scores[8]) - np.mean(scores["labels"])
    gain_with_all = with_all[8] - with_all["labels"]
    print(f"gained by T = 8: {gain:+.3f} with {FEW} digits, {gain_with_all:+.3f} with {len(training)}")

    model = student(images[draws[0]], labels[draws[0]], crossent.cross_entropy_value_and_grad, 10)
    z_student = model.logits(images[test])
    p, q = crossent.softmax(z_student / 8), crossent.softmax(z_teacher[test] / 8)
    loss, entropy = crossent.cross_entropy(z_student / 8, q), crossent.entropy(q).mean()
    divergence = crossent.kl_divergence(q, p).mean()
    print(f"\nT = 8: loss {loss:.6f} = entropy {entropy:.6f} + divergence {divergence:.6f}\n")
    distance, sizes = show_temperature(z_student, z_teacher[test])
    save(picture, draw, images[draws[0]], z_teacher[draws[0]], scores)

    assert entropies["labels"] == 0
    assert entropies[1] < 0.2 < 1 < entropies[8]
    assert gain > 0.03
    assert min(np.subtract(scores[8], scores["labels"])) > 0
    assert gain_with_all < gain / 2
    assert abs(loss - entropy - divergence) < 1e-12
    assert distance[512] < 0.02 < 0.2 < distance[1]
    assert 0.8 < sizes[512] / sizes[64] < 1.25


if __name__ == "__main__":
    main()
