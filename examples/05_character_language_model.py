"""A language model, character by character, trained on the help texts that come with Python.

    python examples/05_character_language_model.py [--picture PATH]

Every line of the text is one sequence. The model sees the last five characters and says what comes
next: its logits are [B, T, V], batch, time and vocabulary, so the class axis is the last one:
`axis=-1`. Lines differ in length; the rest of a row is padding, with the target -100, the default of
`ignore_index`. The perplexity is compared with that of three tables: all characters equally likely
(V), their frequencies, and their frequencies after each character (bigrams).
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread is the fastest for matrices this small

from functools import partial
from pydoc_data.topics import topics

import numpy as np
from networks import train
from pictures import path_of_picture, save

import crossent

CONTEXT = 5  # characters that the model sees
T = 72  # characters of a line that are used
END = 0  # the class that ends a line; what comes before a line is END too
IGNORED = -100


def load_lines():
    """Return different lines of Python's help texts, shuffled."""
    lines = {line.strip() for topic in topics.values() for line in topic.splitlines()}
    return np.random.default_rng(0).permutation(sorted(lines - {""})).tolist()


def encode(lines, alphabet):
    """Return contexts, (B, T, CONTEXT), and targets, (B, T): the next character, END or IGNORED."""
    code = {character: i for i, character in enumerate(alphabet)}
    padded = np.full((len(lines), CONTEXT + T), END)
    target = np.full((len(lines), T), IGNORED)
    for row, line in enumerate(lines):
        ids = [code[character] for character in line[: T - 1]]
        padded[row, CONTEXT : CONTEXT + len(ids)] = ids
        target[row, : len(ids) + 1] = [*ids, END]
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT, axis=1)
    return windows[:, :T], target


class CharacterModel:
    """Embedding, Linear, ReLU, Linear: Bengio et al., "A Neural Probabilistic Language Model" (2003)."""

    def __init__(self, characters, embedding, hidden, rng):
        inputs = CONTEXT * embedding
        parameters = [
            rng.normal(0, 0.5, (characters, embedding)),
            rng.normal(0, np.sqrt(2 / inputs), (inputs, hidden)),
            np.zeros(hidden),
            np.zeros((hidden, characters)),  # so all logits start at 0: the uniform model
            np.zeros(characters),
        ]
        self.parameters = [parameter.astype(np.float32) for parameter in parameters]

    def forward(self, contexts):
        E, W1, b1, W2, b2 = self.parameters
        x = E[contexts].reshape(-1, len(W1))  # (B T, CONTEXT embedding)
        before = x @ W1 + b1
        hidden = np.maximum(before, 0)
        logits = (hidden @ W2 + b2).reshape(*contexts.shape[:2], -1)  # (B, T, V)

        def backward(d_logits):
            d = d_logits.reshape(-1, len(E))
            d_before = (d @ W2.T) * (before > 0)
            d_x = (d_before @ W1.T).reshape(-1, E.shape[1])  # one row a character of a context
            # A character's embedding gets the sum over the places where it occurs.
            d_E = np.stack([np.bincount(contexts.ravel(), column, len(E)) for column in d_x.T], axis=1)
            return [d_E, x.T @ d_before, d_before.sum(axis=0), hidden.T @ d, d.sum(axis=0)]

        return logits, backward

    def logits(self, contexts):
        return self.forward(contexts)[0]


def tables(contexts, target, characters):
    """Return the logits of two tables of counts; perplexity's softmax normalises them."""
    counted = target != IGNORED
    previous, following = contexts[counted][:, -1], target[counted]
    bigrams = np.full((characters, characters), 0.1)  # no probability is 0
    np.add.at(bigrams, (previous, following), 1)
    return np.log(bigrams.sum(axis=0)), np.log(bigrams)


def sample(model, alphabet, rng):
    """Let the model write a line."""
    line = [END] * CONTEXT
    while len(line) < CONTEXT + T and (len(line) == CONTEXT or line[-1] != END):
        p = crossent.softmax(model.logits(np.array([[line[-CONTEXT:]]]))[0, 0], dtype=np.float64)
        line.append(int(rng.choice(len(alphabet), p=p)))
    return "".join(alphabet[i] for i in line[CONTEXT:] if i != END)


def draw(plt, curve, levels, lines, losses):
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8), width_ratios=[1, 1.7], layout="constrained")
    left.semilogy(curve, color="tab:blue", linewidth=1)
    for name, level in levels.items():
        left.axhline(level, color="0.6", linestyle=":", linewidth=1)
        left.annotate(f"{name}: {level:.1f}", (len(curve), level), (0, 3), ha="right",
                      textcoords="offset points", color="0.4", fontsize=9)  # fmt: skip
    ticks = [5, 10, 20, 50, 100]
    left.set(xlabel="batch", ylabel="perplexity", title="Perplexity while it learns")
    left.set_yticks(ticks, ticks)

    shown = [n for n, line in enumerate(lines) if 45 <= len(line) < T - 1][:14]
    for row, n in enumerate(shown):
        for t, character in enumerate(lines[n]):
            color = "white" if losses[n, t] > 4 else "black"
            right.text(t + 0.5, row, character, ha="center", va="center", fontsize=9, family="monospace",
                       color=color)  # fmt: skip
    heat = right.imshow(
        np.ma.masked_equal(losses[shown], 0), cmap="OrRd", vmin=0, vmax=6, aspect="auto",
        extent=(0, T, len(shown) - 0.5, -0.5),
    )  # fmt: skip
    figure.colorbar(heat, ax=right, label="loss of each character (nats)")
    right.set(xticks=[], yticks=[], title="Held-out lines")
    right.spines[:].set_visible(False)
    return figure


def main():
    picture = path_of_picture(__doc__, __file__)
    lines = load_lines()
    alphabet = ["\n", *sorted(set("".join(lines)))]
    V = len(alphabet)
    test_lines = lines[:300]
    contexts, target = encode(lines[300:4300], alphabet)
    test_contexts, test_target = encode(test_lines, alphabet)
    perplexity = partial(crossent.perplexity, target=test_target, axis=-1)
    padding = test_target == IGNORED
    print(f"{len(lines)} lines, {V} characters; {padding.mean():.0%} of the held-out [B, T] is padding")

    model = CharacterModel(V, 16, 128, np.random.default_rng(0))
    frequencies, bigrams = tables(contexts, target, V)
    uniform = perplexity(model.logits(test_contexts))
    levels = {
        "uniform": uniform,
        "frequencies": perplexity(np.broadcast_to(frequencies, (*test_target.shape, V))),
        "bigrams": perplexity(bigrams[test_contexts[..., -1]]),
    }
    curve = []

    def loss(logits, target):
        value, gradient = crossent.cross_entropy_value_and_grad(logits, target, axis=-1)
        curve.append(np.exp(value))
        return value, gradient

    train(model, contexts, target, loss, epochs=3, rate=1.0)
    logits = model.logits(test_contexts)
    trained = perplexity(logits)
    for name, level in {**levels, "this model": trained}.items():
        print(f"perplexity, {name:12} {level:7.2f}")
    rng = np.random.default_rng(0)
    print("it writes:", *(sample(model, alphabet, rng) for _ in range(4)), sep="\n  ")

    # Whatever stands in the padding, the loss and its gradient do not see it.
    value, gradient = crossent.cross_entropy_value_and_grad(logits, test_target, axis=-1)
    spoilt = np.where(padding[..., None], np.float32(np.nan), logits)
    spoilt_value, spoilt_gradient = crossent.cross_entropy_value_and_grad(spoilt, test_target, axis=-1)
    print(f"\nmean loss {value:.6f}, with NaN logits in all of the padding {spoilt_value:.6f}")

    # The mean goes over characters. The mean of the lines' means counts short lines for more.
    losses = crossent.cross_entropy(logits, test_target, axis=-1, reduction="none")
    of_lines = np.mean(losses.sum(axis=1) / np.sum(~padding, axis=1))
    print(f"mean of the lines' means {of_lines:.6f}: not the same")
    save(picture, draw, curve, levels, test_lines, losses)

    assert abs(uniform / V - 1) < 1e-5
    assert trained < 0.8 * levels["bigrams"] < 0.8 * levels["frequencies"] < 0.8 * V
    assert trained < V / 8
    assert spoilt_value == value
    assert np.array_equal(spoilt_gradient, gradient)
    assert not gradient[padding].any()
    assert abs(of_lines - value) > 0.01


if __name__ == "__main__":
    main()
