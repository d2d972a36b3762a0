"""The real data of the examples, as arrays. Where they come from: data/README.md."""

import gzip
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent / "data"


def load_digits():
    """Return the images, (1797, 64) with pixels in [0, 1], and their labels, (1797,)."""
    with gzip.open(DATA / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1] / 16, table[:, -1].astype(int)


def load_tumours():
    """Return the measurements, (569, 30), and which tumours are malignant, (569,) of booleans."""
    with open(DATA / "breast_cancer.csv") as file:
        file.readline()
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1] == 0


def split(rows, held_out, seed=0):
    """Shuffle the numbers of `rows` rows. Return those to train on, and a share that is held out."""
    order = np.random.default_rng(seed).permutation(rows)
    test, training = np.split(order, [int(rows * held_out)])
    return training, test
