"""SciPy, scikit-learn and Optax: the same numbers where they offer the same function."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from nearness import PEER, Expected, assert_near

import crossent
from crossent.testing._limits import LIMITS

pytestmark = pytest.mark.peers

INF = math.inf
X = np.random.default_rng(0).normal(0, 4, (5, 4, 3))


def near(function: str, actual: Any, peer: Any, reach: Any, what: str = "") -> None:
    """float64 against float64."""
    peer = np.asarray(peer, np.float64)
    reach = np.broadcast_to(np.asarray(reach, np.float64), peer.shape)
    assert_near(function, np.asarray(actual), Expected(peer, reach, reach), np.float64, what)


@pytest.fixture
def special() -> Any:
    return pytest.importorskip("scipy.special", reason="SciPy is not installed")


@pytest.fixture
def optax() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside JAX and Optax, at import
        jax = pytest.importorskip("jax", reason="JAX is not installed")
        optax = pytest.importorskip("optax", reason="Optax is not installed")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield optax
    jax.config.update("jax_enable_x64", before)


# SciPy


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (-1, 0), (2, 1, 0), None])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp__is_scipys(special: Any, axis: Any, keepdims: bool) -> None:
    ours = crossent.logsumexp(X, axis=axis, keepdims=keepdims)
    near("logsumexp", ours, special.logsumexp(X, axis=axis, keepdims=keepdims), np.abs(X).max() + 5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "row",
    [[-INF, -INF], [-INF, 0.0], [INF, 0.0], [INF, -INF], [INF, INF], [math.nan, 0.0],
     [math.nan, INF], [math.nan, -INF], [1e300, -1e300], [1000.0, 1000.0], [], [5.0], [0.0, -40.0]],
)  # fmt: skip
def test_logsumexp__is_scipys_at_the_edges(special: Any, row: list[float], dtype: str) -> None:
    with np.errstate(over="ignore"):
        x = np.array(row).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy's, where inf - inf passes through it
        peer = special.logsumexp(x)
    ours = crossent.logsumexp(x)
    assert ours.dtype == dtype
    if math.isnan(peer) and not np.isnan(x).any():  # SciPy loses some of several infinities
        peer = np.max(x)
    limit = (LIMITS["logsumexp"][dtype] + 1) * np.finfo(dtype).eps  # SciPy's own, within one
    np.testing.assert_allclose(ours, peer, rtol=limit, atol=0)


def test_logsumexp__of_a_scalar_is_the_scalar_as_in_scipy(special: Any) -> None:
    for axis in (None, 0, -1):
        assert special.logsumexp(3.0, axis=axis) == 3.0
        assert crossent.logsumexp(3.0, axis=axis) == 3.0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_log_softmax__are_scipys(special: Any, axis: int) -> None:
    near("softmax", crossent.softmax(X, axis), special.softmax(X, axis), 30 * crossent.softmax(X, axis))
    near("log_softmax", crossent.log_softmax(X, axis), special.log_softmax(X, axis), 30)


def test_sigmoid_and_log_sigmoid__are_scipys(special: Any) -> None:
    near("sigmoid", crossent.sigmoid(X), special.expit(X), np.abs(special.expit(X)))
    near("log_sigmoid", crossent.log_sigmoid(X), special.log_expit(X), np.abs(special.log_expit(X)))
    edges = np.array([-INF, -800.0, -0.0, 0.0, 40.0, 800.0, INF, math.nan])
    np.testing.assert_allclose(crossent.sigmoid(edges), special.expit(edges), rtol=PEER, atol=0)
    np.testing.assert_allclose(crossent.log_sigmoid(edges), special.log_expit(edges), rtol=PEER, atol=0)


def test_entropy_and_kl_divergence__are_scipys(special: Any) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(6), (4, 3)), rng.dirichlet(np.ones(6), (4, 3))
    p[0, 0], q[0, 1, 2], p[0, 1, 2] = np.eye(6)[2], 0.0, 0.0  # 0 * log 0 = 0, 0 * log(0 / 0) = 0
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    for axis in (0, 1, -1):
        # scipy.stats.entropy divides by the sum first: only rows along the last axis sum to 1
        entropy, divergence = special.entr(p).sum(axis), special.rel_entr(p, q).sum(axis)
        near("entropy", crossent.entropy(p, axis=axis), entropy, 6.0)
        near("kl_divergence", crossent.kl_divergence(p, q, axis=axis), divergence, 60.0)
    near("entropy", crossent.entropy(p), stats.entropy(p, axis=-1), 6.0)
    q = rng.dirichlet(np.ones(6), (4, 3))
    near("kl_divergence", crossent.kl_divergence(p, q), stats.entropy(p, q, axis=-1), 60.0)
    assert crossent.kl_divergence([0.5, 0.5], [1.0, 0.0]) == INF
    assert special.rel_entr([0.5, 0.5], [1.0, 0.0]).sum() == INF


def test_cross_entropy__is_entropy_and_divergence(special: Any) -> None:
    """H(q, p) = H(q) + D(q || p): two functions of SciPy's give the soft-target loss."""
    rng = np.random.default_rng(2)
    z, q = rng.normal(0, 3, (7, 5)), rng.dirichlet(np.ones(5), 7)
    peer = special.entr(q).sum(-1) + special.rel_entr(q, special.softmax(z, -1)).sum(-1)
    near("cross_entropy", crossent.cross_entropy(z, q, reduction="none"), peer, 60.0)


# scikit-learn


def test_cross_entropy__is_sklearns_log_loss(special: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(3)
    z, y = rng.normal(0, 2, (50, 4)), rng.integers(0, 4, 50)
    p, labels = special.softmax(z, -1), [0, 1, 2, 3]
    near("cross_entropy", crossent.cross_entropy(z, y), metrics.log_loss(y, p, labels=labels), 30.0)
    total = metrics.log_loss(y, p, labels=labels, normalize=False)
    near("cross_entropy", crossent.cross_entropy(z, y, reduction="sum"), total, 30.0 * 50)

    # sample weights by class are class weights: both divide by the sum of the weights
    w = rng.uniform(0.1, 2, 4)
    weighted = metrics.log_loss(y, p, labels=labels, sample_weight=w[y])
    near("cross_entropy", crossent.cross_entropy(z, y, weight=w), weighted, 30.0)

    where = rng.random(50) < 0.5
    kept = metrics.log_loss(y, p, labels=labels, sample_weight=where.astype(float))
    near("cross_entropy", crossent.cross_entropy(z, y, where=where), kept, 30.0)


def test_binary_cross_entropy__is_sklearns_log_loss(special: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(4)
    z, y = rng.normal(0, 2, 50), rng.integers(0, 2, 50)
    # scikit-learn takes p, and so loses the digits of 1 - p near p = 1
    peer = metrics.log_loss(y, special.expit(z))
    reach = float(np.exp(np.abs(z).max()))
    near("binary_cross_entropy_with_logits", crossent.binary_cross_entropy_with_logits(z, y), peer, reach)


# Optax


def test_cross_entropy__is_optaxs(optax: Any) -> None:
    import jax

    rng = np.random.default_rng(5)
    z, q, y = rng.normal(0, 3, (4, 6, 5)), rng.dirichlet(np.ones(5), (4, 6)), rng.integers(0, 5, (4, 6))
    g = rng.normal(size=(4, 6))
    for target, f in (
        (q, optax.softmax_cross_entropy),
        (y, optax.softmax_cross_entropy_with_integer_labels),
    ):
        peer, back = jax.vjp(lambda x, f=f, target=target: f(x, target), z)
        value, grad = crossent.cross_entropy_value_and_grad(
            z, target, reduction="none", axis=-1, grad_output=g
        )
        near("cross_entropy", value, peer, 30.0)
        near("cross_entropy_grad", grad, back(g)[0], 30.0 * np.abs(g)[..., None] + 0 * z)


def test_cross_entropy__masked_is_optaxs(optax: Any) -> None:
    rng = np.random.default_rng(6)
    z, y = rng.normal(0, 3, (6, 5)), rng.integers(0, 5, 6)
    where = rng.random((6, 1)) < 0.6
    peer = optax.softmax_cross_entropy_with_integer_labels(z, y)
    ours = crossent.cross_entropy(z, y, reduction="none", where=where[:, 0])
    near("cross_entropy", ours, np.where(where[:, 0], peer, 0), 30.0)


def test_binary_cross_entropy__is_optaxs(optax: Any) -> None:
    import jax

    rng = np.random.default_rng(7)
    z, y = rng.normal(0, 4, (6, 5)), rng.uniform(0, 1, (6, 5))
    peer, back = jax.vjp(lambda x: optax.sigmoid_binary_cross_entropy(x, y), z)
    value, grad = crossent.binary_cross_entropy_with_logits_value_and_grad(z, y, reduction="none")
    near("binary_cross_entropy_with_logits", value, peer, 30.0)
    near("binary_cross_entropy_with_logits_grad", grad, back(np.ones_like(z))[0], 2.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9, 1.0])
def test_smooth_labels__spread_over_all_is_optaxs(optax: Any, smoothing: float) -> None:
    y = np.random.default_rng(8).integers(0, 7, (3, 4))
    onehot = crossent.one_hot(y, 7)
    ours = crossent.smooth_labels(y, 7, smoothing, spread="all")
    near("smooth_labels", ours, optax.smooth_labels(onehot, smoothing), 1.0)
    assert abs(ours.sum(-1) - 1).max() <= PEER
