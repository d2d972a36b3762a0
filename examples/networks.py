"""Two classifiers with every gradient written out, and the loop that trains them.

`forward` returns the logits, and the function that takes their gradient back to the parameters. The
loss is between the two: any `*_value_and_grad` of crossent gives the gradient of the logits, and all
below them is the chain rule, one line a parameter.
"""

import numpy as np

import crossent


class Linear:
    """Each class has one weight an input: its logit is high where the input looks like them."""

    def __init__(self, inputs, classes):
        self.parameters = [np.zeros((inputs, classes)), np.zeros(classes)]

    def forward(self, x):
        W, b = self.parameters

        def backward(d_logits):
            d_W = x.T @ d_logits  # (inputs, N) @ (N, classes)
            d_b = d_logits.sum(axis=0)
            return [d_W, d_b]

        return x @ W + b, backward

    def logits(self, x):
        return self.forward(x)[0]


class OneHiddenLayer:
    """Linear, ReLU, Linear."""

    def __init__(self, inputs, hidden, classes, rng):
        self.parameters = [
            rng.normal(0, np.sqrt(2 / inputs), (inputs, hidden)),  # He: keeps the variance
            np.zeros(hidden),
            rng.normal(0, np.sqrt(2 / hidden), (hidden, classes)),
            np.zeros(classes),
        ]

    def forward(self, x):
        W1, b1, W2, b2 = self.parameters
        before = x @ W1 + b1  # (N, hidden)
        hidden = np.maximum(before, 0)  # ReLU

        def backward(d_logits):
            # The same lines from the bottom to the top, each one transposed.
            d_W2 = hidden.T @ d_logits
            d_b2 = d_logits.sum(axis=0)
            d_hidden = d_logits @ W2.T
            d_before = d_hidden * (before > 0)  # ReLU lets the gradient through where it was open
            d_W1 = x.T @ d_before
            d_b1 = d_before.sum(axis=0)
            return [d_W1, d_b1, d_W2, d_b2]

        return hidden @ W2 + b2, backward

    def logits(self, x):
        return self.forward(x)[0]


def train(
    model, x, target, loss=crossent.cross_entropy_value_and_grad,
    *, epochs=40, batch=32, rate=0.5, seed=0, after_epoch=None,
):  # fmt: skip
    """Mini-batch gradient descent. Return the mean training loss of each epoch.

    `loss(logits, target)` returns a batch's mean loss and its gradient. `after_epoch(epoch, loss)` is
    for showing progress.
    """
    rng = np.random.default_rng(seed)
    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        order = rng.permutation(len(x))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            logits, backward = model.forward(x[rows])
            value, d_logits = loss(logits, target[rows])
            for parameter, gradient in zip(model.parameters, backward(d_logits), strict=True):
                parameter -= rate * gradient
            total += value * len(rows)
        losses.append(total / len(order))
        if after_epoch is not None:
            after_epoch(epoch, losses[-1])
    return losses


def accuracy(model, x, labels):
    return np.mean(model.logits(x).argmax(axis=-1) == labels)
