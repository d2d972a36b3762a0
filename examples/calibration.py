"""How often what a model says happens: reliability, and the calibration error that sums it up."""

import numpy as np


def reliability(probability, happened, bins=10):
    """Sort predictions into bins by their probability.

    Return, for each bin that is not empty, the mean probability, how often it happened, and how many
    predictions there are.
    """
    place = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    said = np.bincount(place, probability, bins)[used] / count[used]
    seen = np.bincount(place, happened, bins)[used] / count[used]
    return said, seen, count[used]


def expected_calibration_error(probability, happened, bins=10):
    """Mean distance of what is said from what happens, over all predictions: 0 if they agree."""
    said, seen, count = reliability(probability, happened, bins)
    return np.average(np.abs(said - seen), weights=count)


def show_reliability(axes, probability, happened, label, color):
    """Draw what happens against what is said, larger dots for more predictions."""
    said, seen, count = reliability(probability, happened)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
    axes.plot(said, seen, color=color, linewidth=1, alpha=0.6)
    axes.scatter(said, seen, s=15 + 300 * count / count.sum(), color=color, alpha=0.8, label=label)
