"""Find the strokes of noisy digits, pixel by pixel; pixels that nobody can label are ignored.

    python examples/06_segmentation.py [--picture PATH]

Logits are [B, K, H, W] = [B, 2, 8, 8], batch, classes, height and width: the class axis is axis 1,
where `cross_entropy` expects it. Targets are [B, H, W] bytes: 0 paper, 1 stroke. At the border of a
stroke the scan is grey, and neither is right: there the target is 255, which `ignore_index=255`
leaves out of the loss, the gradient and the mean, as the segmentation benchmarks do.

The network looks at the 5 x 5 pixels around the one that it judges. It is compared with the best
threshold on the pixel alone, and with the same network, taught that the border is paper.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread is the fastest for matrices this small

from functools import partial

import numpy as np
from data_sets import load_digits, split
from networks import OneHiddenLayer, train
from pictures import path_of_picture, save, show_digit

import crossent

SIDE = 8
REACH = 2  # pixels that the network sees in each direction
NOISE = 0.35  # standard deviation; paper is 0, ink is 1
PAPER, STROKE, BORDER = 0, 1, 255


def labelled(images):
    """Return the target of each pixel, (B, 8, 8) bytes, from the clean images."""
    target = np.full(images.shape, BORDER, np.uint8)
    target[images <= 3 / 16] = PAPER
    target[images >= 12 / 16] = STROKE
    return target


class PixelNetwork(OneHiddenLayer):
    """The same small network at every pixel, on the window around it: a convolution."""

    def __init__(self, hidden, rng):
        super().__init__((2 * REACH + 1) ** 2, hidden, 2, rng)

    def forward(self, images):
        padded = np.pad(images, [(0, 0), (REACH, REACH), (REACH, REACH)])
        size = 2 * REACH + 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        flat, backward_of_flat = super().forward(windows.reshape(-1, size**2))  # (B H W, K)
        logits = np.moveaxis(flat.reshape(*images.shape, 2), -1, 1)  # (B, K, H, W)

        def backward(d_logits):
            return backward_of_flat(np.moveaxis(d_logits, 1, -1).reshape(-1, 2))

        return logits, backward


def best_threshold(images, target):
    """The threshold on a noisy pixel that is right most often."""
    counted = target != BORDER
    pixels, stroke = images[counted], target[counted] == STROKE
    candidates = np.linspace(0, 1, 101)
    return max(candidates, key=lambda t: np.mean((pixels > t) == stroke))


def scores(said, target):
    """Return the share of right pixels, and the strokes' intersection over union."""
    counted = target != BORDER
    said, stroke = said[counted], target[counted] == STROKE
    return np.mean(said == stroke), np.sum(said & stroke) / np.sum(said | stroke)


def draw(plt, clean, noisy, target, thresholded, probability):
    from matplotlib.colors import ListedColormap

    figure, rows = plt.subplots(5, 10, figsize=(11, 6.4), layout="constrained")
    names = ["scan", "with noise", "target, border red", "threshold", "network"]
    colors = ListedColormap(["white", "black", "tab:red"])
    for row, name in zip(rows, names, strict=True):
        row[0].set_ylabel(name)
    for n, (scan, with_noise, labels, threshold, network) in enumerate(rows.T):
        show_digit(scan, clean[n], vmin=0, vmax=1)
        show_digit(with_noise, noisy[n])
        show_digit(labels, np.minimum(target[n], 2), cmap=colors, vmin=0, vmax=2)
        show_digit(threshold, thresholded[n], vmin=0, vmax=1)
        show_digit(network, probability[n], vmin=0, vmax=1)
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)
    clean = load_digits()[0].reshape(-1, SIDE, SIDE)
    noisy = clean + np.random.default_rng(0).normal(0, NOISE, clean.shape)
    target = labelled(clean)
    training, test = split(len(clean), held_out=1 / 2)
    shares = [np.mean(target == kind) for kind in (PAPER, STROKE, BORDER)]
    print("pixels: {:.0%} paper, {:.0%} stroke, {:.0%} border, ignored".format(*shares))

    loss = partial(crossent.cross_entropy_value_and_grad, ignore_index=BORDER)
    probability = {}
    for name, taught in {
        "border as paper": np.where(target == BORDER, PAPER, target),
        "network": target,
    }.items():
        network = PixelNetwork(24, np.random.default_rng(0))
        train(network, noisy[training], taught[training], loss, epochs=8)
        logits = network.logits(noisy[test])
        probability[name] = crossent.softmax(logits, axis=1)[:, STROKE]

    threshold = best_threshold(noisy[training], target[training])
    said = {"threshold": noisy[test] > threshold} | {name: p > 0.5 for name, p in probability.items()}
    print(f"\n{'held-out images':16}{'right pixels':>14}{'IoU of strokes':>16}")
    right, overlap = {}, {}
    for name, guess in said.items():
        right[name], overlap[name] = scores(guess, target[test])
        print(f"{name:16}{right[name]:14.3f}{overlap[name]:16.3f}")

    # The mean is over the pixels that count; an ignored one has no gradient, whatever its logits hold.
    ignored = target[test] == BORDER
    value, gradient = loss(logits, target[test])
    losses = crossent.cross_entropy(logits, target[test], ignore_index=BORDER, reduction="none")
    by_hand = losses.sum() / np.sum(~ignored)
    spoilt, _ = loss(np.where(ignored[:, None], np.inf, logits), target[test])
    print(f"\nmean loss {value:.6f}, sum over counted pixels {by_hand:.6f}, border logits inf {spoilt:.6f}")
    of_border = np.abs(gradient[np.broadcast_to(ignored[:, None], gradient.shape)]).max()
    print(f"largest gradient at the border {of_border}")
    save(picture, draw, clean[test], noisy[test], target[test], said["threshold"], probability["network"])

    assert right["network"] > right["threshold"] + 0.02
    assert overlap["network"] > overlap["threshold"] + 0.05
    assert overlap["network"] > overlap["border as paper"] + 0.04
    assert abs(by_hand / value - 1) < 1e-12
    assert spoilt == value
    assert of_border == 0


if __name__ == "__main__":
    main()
