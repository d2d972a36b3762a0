"""How exact the libraries are, side by side: writes docs/accuracy.md and its picture.

    python -m pip install ".[peers,docs]"
    python docs/scripts/accuracy.py            # a few minutes
    python docs/scripts/accuracy.py --bounds   # a second: only the table of docs/numerics.md

Every figure comes from the run. A library that is not installed is left out, and the page says so.
The second form, which is part of the first, writes the table of error bounds in docs/numerics.md: the
roundings of each function are counted below, and what was measured comes from the table of limits.
"""

import importlib
import os
import platform
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import crossent
from crossent.testing import measure as meter
from crossent.testing._limits import LIMITS, MEASURED

DOCS = Path(__file__).resolve().parents[1]
DTYPES = ("float32", "float64")
SEED, SIZE = 0, 1000
MARGINS = {"float32": 80, "float64": 100}
PER_UNIT = 16  # margins in each unit of the picture's axis, of which the worst is drawn

# -- libraries -------------------------------------------------------------------------------------
# Each returns functions by the names of crossent, called like them. Where a library has not got the
# option of a call, its function raises NotImplementedError, and the meter leaves the call out.


def offered(options, *names):
    """Refuse options that a library has not got."""
    if any(value is not None and name not in names for name, value in options.items()):
        raise NotImplementedError


def with_crossent():
    return {name: getattr(crossent, name) for name in meter.FUNCTIONS}


def with_numpy():
    """The usual formulas, those that do not overflow: what one finds in courses and repositories."""

    def naive_logsumexp(x):
        m = x.max(axis=-1, keepdims=True)
        return m[..., 0] + np.log(np.sum(np.exp(x - m), axis=-1))

    def naive_softmax(x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def naive_softmax_grad(x, grad_output=1):
        p = naive_softmax(x)
        return p * (grad_output - np.sum(p * grad_output, axis=-1, keepdims=True))

    def naive_log_softmax(x):
        return x - naive_logsumexp(x)[..., np.newaxis]

    def naive_log_softmax_grad(x, grad_output=None):
        g = np.ones_like(x) if grad_output is None else grad_output
        return g - naive_softmax(x) * g.sum(axis=-1, keepdims=True)

    def naive_softplus(x):
        return np.maximum(x, 0) + np.log(1 + np.exp(-np.abs(x)))

    def naive_sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def naive_sigmoid_grad(x, grad_output=1):
        p = naive_sigmoid(x)
        return p * (1 - p) * grad_output

    def reduce(losses, reduction, count):
        return losses if reduction == "none" else losses.sum() / (count if reduction == "mean" else 1)

    def spread(g, reduction, count):
        g = np.asarray(g)[..., np.newaxis] if np.ndim(g) else g
        return g / count if reduction == "mean" else g

    def pick(x, y):
        return x[np.arange(len(y)), y]

    def weights(x, target, weight, soft):
        w = np.ones(x.shape[1], x.dtype) if weight is None else weight
        return w, (len(x) if soft else w[target].sum())

    def distribution(x, target, weight, label_smoothing):
        """Target as probabilities times weights, (N, K), and the denominator of the mean."""
        soft = target.dtype.kind == "f"
        w, count = weights(x, target, weight, soft)
        q = target if soft else np.eye(x.shape[1], dtype=x.dtype)[target]
        smooth = (1 - label_smoothing) * q + label_smoothing / x.shape[1]
        t = w * smooth
        if not soft:  # of the label's own part the weight is that of the label all the same
            t = w * (smooth if label_smoothing else q)
        return t.astype(x.dtype), count

    def naive_cross_entropy(x, target, weight=None, reduction="mean", label_smoothing=0.0):
        if target.dtype.kind == "f" or label_smoothing:
            t, count = distribution(x, target, weight, label_smoothing)
            return reduce(-np.sum(t * naive_log_softmax(x), axis=-1), reduction, count)
        w, count = weights(x, target, weight, False)
        return reduce(w[target] * (naive_logsumexp(x) - pick(x, target)), reduction, count)

    def naive_cross_entropy_grad(
        x, target, weight=None, reduction="mean", label_smoothing=0.0, grad_output=1
    ):
        t, count = distribution(x, target, weight, label_smoothing)
        grad = naive_softmax(x) * t.sum(axis=-1, keepdims=True) - t
        return (grad * spread(grad_output, reduction, count)).astype(x.dtype)

    def naive_nll_loss(x, target, weight=None, reduction="mean"):
        w, count = weights(x, target, weight, False)
        return reduce(-w[target] * pick(x, target), reduction, count)

    def naive_nll_loss_grad(x, target, weight=None, reduction="mean", grad_output=1):
        w, count = weights(x, target, weight, False)
        grad = -np.eye(x.shape[1], dtype=x.dtype)[target] * w[target][:, np.newaxis]
        return (grad * spread(grad_output, reduction, count)).astype(x.dtype)

    def naive_bce(x, target, weight=1, pos_weight=1, reduction="mean"):
        log = np.log(1 + np.exp(-np.abs(x)))
        if np.ndim(pos_weight) == 0:
            losses = np.maximum(x, 0) - x * target + log
        else:
            losses = (1 - target) * x + (1 + (pos_weight - 1) * target) * (log + np.maximum(-x, 0))
        return reduce(weight * losses, reduction, x.size)

    def naive_bce_grad(x, target, weight=1, pos_weight=1, reduction="mean", grad_output=1):
        p = naive_sigmoid(x)
        both = p - target if np.ndim(pos_weight) == 0 else p * (1 - target + pos_weight * target)
        grad = both if np.ndim(pos_weight) == 0 else both - pos_weight * target
        return weight * grad * grad_output / (x.size if reduction == "mean" else 1)

    def naive_smooth_labels(target, num_classes, smoothing, spread, dtype):
        one_hot = np.eye(num_classes, dtype=dtype)[target]
        if spread == "all":
            return (1 - smoothing) * one_hot + smoothing / num_classes
        return (1 - smoothing) * one_hot + (1 - one_hot) * smoothing / (num_classes - 1)

    def tiny(p):
        return np.finfo(p.dtype).eps

    return {
        "logsumexp": naive_logsumexp,
        "logsumexp_grad": lambda x, grad_output=1: naive_softmax(x) * spread(grad_output, "sum", 1),
        "softmax": naive_softmax,
        "softmax_grad": naive_softmax_grad,
        "log_softmax": naive_log_softmax,
        "log_softmax_grad": naive_log_softmax_grad,
        "softplus": naive_softplus,
        "softplus_grad": lambda x, grad_output=1: naive_sigmoid(x) * grad_output,
        "log_sigmoid": lambda x: -naive_softplus(-x),
        "log_sigmoid_grad": lambda x, grad_output=1: (1 - naive_sigmoid(x)) * grad_output,
        "sigmoid": naive_sigmoid,
        "sigmoid_grad": naive_sigmoid_grad,
        "nll_loss": naive_nll_loss,
        "nll_loss_grad": naive_nll_loss_grad,
        "cross_entropy": naive_cross_entropy,
        "cross_entropy_grad": naive_cross_entropy_grad,
        "binary_cross_entropy_with_logits": naive_bce,
        "binary_cross_entropy_with_logits_grad": naive_bce_grad,
        "smooth_labels": naive_smooth_labels,
        "entropy": lambda p: -np.sum(p * np.log(p + tiny(p)), axis=-1),
        "kl_divergence": lambda p, q: np.sum(p * np.log((p + tiny(p)) / (q + tiny(p))), axis=-1),
        "perplexity": lambda x, target, weight=None: np.exp(naive_cross_entropy(x, target, weight)),
    }


def with_scipy():
    from scipy import special

    return {
        "logsumexp": lambda x: special.logsumexp(x, axis=-1),
        "softmax": lambda x: special.softmax(x, axis=-1),
        "log_softmax": lambda x: special.log_softmax(x, axis=-1),
        "softplus": special.softplus,
        "log_sigmoid": special.log_expit,
        "sigmoid": special.expit,
        "entropy": lambda p: special.entr(p).sum(axis=-1),
        "kl_divergence": lambda p, q: special.rel_entr(p, q).sum(axis=-1),
    }


def with_torch():
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)

    def tensors(arguments):
        return {k: torch.tensor(a) if isinstance(a, np.ndarray) else a for k, a in arguments.items()}

    def value(f):
        def call(*inputs, **options):
            options = tensors(options)
            return f(*(torch.tensor(a) for a in inputs), **options).numpy()

        return call

    def gradient(f):
        def call(x, *inputs, grad_output=None, **options):
            x = torch.tensor(x, requires_grad=True)
            result = f(x, *(torch.tensor(a) for a in inputs), **tensors(options))
            g = torch.ones_like(result) if grad_output is None else torch.tensor(grad_output)
            result.backward(g)
            return x.grad.numpy()

        return call

    functions = {
        "logsumexp": lambda x: torch.logsumexp(x, -1),
        "softmax": lambda x: torch.softmax(x, -1),
        "log_softmax": lambda x: torch.log_softmax(x, -1),
        "softplus": F.softplus,
        "log_sigmoid": F.logsigmoid,
        "sigmoid": torch.sigmoid,
        "nll_loss": F.nll_loss,
        "cross_entropy": F.cross_entropy,
        "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    }
    result = {name: value(f) for name, f in functions.items()}
    result |= {f"{name}_grad": gradient(f) for name, f in functions.items()}
    return result | {"entropy": value(lambda p: torch.special.entr(p).sum(-1))}


def with_jax():
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    reductions = {"none": lambda a: a, "mean": jnp.mean, "sum": jnp.sum}

    def cross_entropy(x, target, label_smoothing=0.0, reduction="mean"):
        if label_smoothing and target.dtype.kind != "f":
            target = jax.nn.one_hot(target, x.shape[-1], dtype=x.dtype)
        if label_smoothing:
            target = optax.smooth_labels(target, label_smoothing)
        if target.dtype.kind == "f":
            return reductions[reduction](optax.softmax_cross_entropy(x, target))
        return reductions[reduction](optax.softmax_cross_entropy_with_integer_labels(x, target))

    def bce(x, target, reduction="mean"):
        return reductions[reduction](optax.sigmoid_binary_cross_entropy(x, target))

    compiled = {}

    def run(f, pull, inputs, options):
        """Compile a function once for the options that are not arrays."""
        offered(options, "reduction", "label_smoothing", "grad_output")
        g = options.pop("grad_output", None)
        key = f, pull, g is None, tuple(sorted(options.items()))
        if key not in compiled:

            def value(x, *rest):
                return f(x, *rest, **options)

            def gradient(g, x, *rest):
                result, back = jax.vjp(lambda x: value(x, *rest), x)
                return back(jnp.ones_like(result) if g is None else g)[0]

            compiled[key] = jax.jit(gradient if pull else value)
        return np.asarray(compiled[key](*([g] if pull else []), *inputs))

    functions = {
        "logsumexp": lambda x: jax.nn.logsumexp(x, axis=-1),
        "softmax": jax.nn.softmax,
        "log_softmax": jax.nn.log_softmax,
        "softplus": jax.nn.softplus,
        "log_sigmoid": jax.nn.log_sigmoid,
        "sigmoid": jax.nn.sigmoid,
        "cross_entropy": cross_entropy,
        "binary_cross_entropy_with_logits": bce,
    }
    result = {}
    for name, f in functions.items():
        result[name] = lambda *inputs, f=f, **options: run(f, False, inputs, options)
        result[f"{name}_grad"] = lambda *inputs, f=f, **options: run(f, True, inputs, options)

    def smooth_labels(target, num_classes, smoothing, spread, dtype):
        if spread != "all":
            raise NotImplementedError
        return np.asarray(optax.smooth_labels(jax.nn.one_hot(target, num_classes, dtype=dtype), smoothing))

    def entropy(p):
        return jax.scipy.special.entr(p).sum(-1)

    def kl_divergence(p, q):
        return jax.scipy.special.rel_entr(p, q).sum(-1)

    result["entropy"] = lambda p: run(entropy, False, (p,), {})
    result["kl_divergence"] = lambda p, q: run(kl_divergence, False, (p, q), {})
    return result | {"smooth_labels": smooth_labels}


def with_sklearn():
    """log_loss of probabilities, which its own softmax makes; a mean or a sum of class indices."""
    from scipy.special import expit
    from sklearn.metrics import log_loss
    from sklearn.utils.extmath import softmax

    def log_loss_of(target, p, labels, reduction, sample_weight=None):
        if target.dtype.kind == "f" or reduction == "none":
            raise NotImplementedError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                mean = reduction == "mean"
                return log_loss(target, p, normalize=mean, sample_weight=sample_weight, labels=labels)
            except ValueError:  # refuses NaN
                return np.nan

    def cross_entropy(x, target, weight=None, reduction="mean", **options):
        offered(options)
        w = None if weight is None else weight[target]
        return log_loss_of(target, softmax(x), np.arange(x.shape[1]), reduction, w)

    def bce(x, target, reduction="mean", **options):
        offered(options)
        labels = target.astype(int) if np.isin(target, (0, 1)).all() else target
        return log_loss_of(labels, expit(x), [0, 1], reduction)

    return {"cross_entropy": cross_entropy, "binary_cross_entropy_with_logits": bce}


# Name in the tables, what makes its functions, and the packages that it needs, the first of each the
# name to import.
LIBRARIES = {
    "crossent": (with_crossent, ()),
    "NumPy, usual": (with_numpy, ()),
    "SciPy": (with_scipy, ("scipy",)),
    "PyTorch": (with_torch, ("torch",)),
    "JAX/Optax": (with_jax, ("jax", "optax")),
    "scikit-learn": (with_sklearn, ("sklearn",)),
}


# -- the run: each library in a process of its own --------------------------------------------------


def margins(dtype):
    """Margins (n,) of the picture, PER_UNIT to a unit."""
    return (np.arange(MARGINS[dtype] * PER_UNIT) / PER_UNIT).astype(dtype)


def confident(functions, dtype):
    """Loss and gradient of the label's entry for logits [0, margin] and target 1, or None."""
    x = margins(dtype)
    z, y = np.stack([np.zeros_like(x), x], axis=1), np.ones(len(x), np.int64)
    loss = grad = None
    if "cross_entropy" in functions:
        try:
            loss = functions["cross_entropy"](z, y, reduction="none")
        except NotImplementedError:  # means only: of one position at a time
            rows = range(len(x))
            loss = np.array([functions["cross_entropy"](z[i : i + 1], y[:1], reduction="mean") for i in rows])
    elif "log_softmax" in functions:
        loss = -functions["log_softmax"](z)[:, 1]
    if "cross_entropy_grad" in functions:
        grad = functions["cross_entropy_grad"](z, y, reduction="none")[:, 1]
    return loss, grad


def run(library):
    """Measure one library: its version, its cells, its curves."""
    make, packages = LIBRARIES[library]
    try:
        versions = [importlib.import_module(name).__version__ for name in packages]
        functions = make()
    except ImportError:
        return None
    with np.errstate(all="ignore"):
        cells = meter.measure(dtypes=DTYPES, seed=SEED, size=SIZE, implementation=functions)
        curves = {dtype: confident(functions, dtype) for dtype in DTYPES}
    found = [(c.function, c.variant, c.regime, c.dtype, c.ulp, c.limit) for c in cells if c.count]
    own = {"crossent": [crossent_version()], "NumPy, usual": [np.__version__]}
    return own.get(library, versions), found, curves


def crossent_version():
    from importlib.metadata import version

    return version("crossent")


def exact_curves(dtype):
    """The exact loss and gradient of `confident`, as decimals."""
    losses = [crossent.exact.softplus(Decimal(float(-x)), digits=30) for x in margins(dtype)]
    grads = [-crossent.exact.sigmoid(Decimal(float(-x)), digits=30) for x in margins(dtype)]
    return losses, grads


def worst_in_units(actual, exact):
    """Worst relative error in each unit of the margin."""
    error = [
        float(abs(Decimal(float(a)) - e) / abs(e)) if np.isfinite(a) else np.inf
        for a, e in zip(actual, exact, strict=True)
    ]
    return np.reshape(error, (-1, PER_UNIT)).max(axis=1)


# -- the picture -----------------------------------------------------------------------------------

GREY = "#808080"
STYLES = {  # colour, width, dashes: curves that coincide show through each other
    "scikit-learn": ("#a1743f", 5.0, "solid"),
    "SciPy": ("#b06ae0", 3.6, "solid"),
    "NumPy, usual": ("#d99a00", 2.2, "solid"),
    "PyTorch": ("#e5484d", 1.6, (0, (4, 3))),
    "JAX/Optax": ("#12a594", 1.6, (4, (3, 4))),
    "crossent": ("#2f86eb", 2.0, "solid"),
}
FLOOR = 1e-17


def draw(curves, path):
    """Draw ``curves[library][dtype] = (loss, gradient)``, relative errors for each unit of the margin."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "path", "svg.hashsalt": "crossent", "font.size": 10.5,
            "font.family": "DejaVu Sans", "text.color": GREY, "axes.labelcolor": GREY,
            "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
        }
    )  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 7.4), sharey=True, sharex="col")
    lines = {}
    for column, dtype in enumerate(DTYPES):
        eps = float(np.finfo(dtype).eps)
        for row, (what, limit) in enumerate((("loss", 4), ("gradient of the label's logit", 6))):
            ax = axes[row, column]
            ax.set_yscale("log")
            ax.set_ylim(FLOOR, 8)
            ax.set_xlim(0, MARGINS[dtype])
            ax.set_yticks([10.0**k for k in range(-16, 1, 4)])
            ax.minorticks_off()
            ax.grid(color=GREY, alpha=0.2, linewidth=0.7)
            ax.spines[["top", "right"]].set_visible(False)
            ax.axhspan(limit * eps / 2, limit * eps, color=GREY, alpha=0.35, linewidth=0)
            ax.text(
                MARGINS[dtype] * 0.99, limit * eps * 1.8, f"limit: {limit} ulp",
                ha="right", va="bottom", fontsize=9.5,
            )  # fmt: skip
            ax.set_title(f"{what}, {dtype}", fontsize=11, color=GREY)
            for library, (colour, width, dashes) in STYLES.items():
                error = curves.get(library, {}).get(dtype, (None, None))[row]
                if error is None:
                    continue
                x = np.arange(len(error)) + 0.5
                y = np.clip(error, FLOOR, 1)
                options = {"color": colour, "linewidth": width, "linestyle": dashes}
                (lines[library],) = ax.plot(x, y, **options, solid_capstyle="butt", clip_on=False)
    for ax in axes[1]:
        ax.set_xlabel("margin of the right class (difference of the two logits, nats)")
    for ax in axes[:, 0]:
        ax.set_ylabel("relative error (1: every digit lost)")
    order = [name for name in LIBRARIES if name in lines]
    figure.legend(
        [lines[name] for name in order], order, loc="upper center", ncols=len(order), frameon=False,
        handlelength=2.2, columnspacing=1.6,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.945), h_pad=1.6, w_pad=1.4)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    # Lines end in a space, which is nothing but noise in a diff.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return figure


# -- the page --------------------------------------------------------------------------------------


def lost(ulp, dtype):
    """Whether no digit is right: an error as large as the number itself."""
    return not ulp < 2.0 ** np.finfo(dtype).nmant


def text_of(ulp, dtype):
    if lost(ulp, dtype):
        return "all"
    if ulp < 9.95:
        return f"{ulp:.1f}"
    return f"{ulp:.0f}" if ulp < 9999.5 else f"{ulp:.0e}".replace("e+0", "e").replace("e+", "e")


def worst(cells, **where):
    """Largest distance of the cells that fit, NaN if there are none."""
    names = ("function", "variant", "regime", "dtype")
    at = {names.index(name): value for name, value in where.items()}
    fit = [cell[4] for cell in cells if all(cell[i] == v for i, v in at.items())]
    return max(fit, default=np.nan)


def coarse(cells):
    """Cells of function x regime x dtype, the worst of all variants: ``{key: (ulp, limit)}``."""
    result = {}
    for function, _, regime, dtype, ulp, limit in cells:
        key = function, regime, dtype
        result[key] = max(result.get(key, (0.0, limit)), (ulp, limit))
    return result


def over(cells, function=None):
    """How many of the coarse cells are over the limit, have no right digit, and there are."""
    found = [(k[2], *v) for k, v in coarse(cells).items() if function in (None, k[0])]
    beyond = sum(not ulp <= limit for _, ulp, limit in found)
    return beyond, sum(lost(ulp, dtype) for dtype, ulp, _ in found), len(found)


def pair(cells, **where):
    """``float32 / float64``, the worst of each."""
    ulps = [worst(cells, dtype=dtype, **where) for dtype in DTYPES]
    if all(np.isnan(ulp) for ulp in ulps):
        return "–"
    return " / ".join("–" if np.isnan(u) else text_of(u, d) for u, d in zip(ulps, DTYPES, strict=True))


def table(head, rows, right=0):
    """Markdown, with all columns from `right` on to the right."""
    line = ["---" if i < right else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, line, *rows))


def functions_table(cells):
    rows = []
    for function in meter.FUNCTIONS:
        row = [f"`{function}`", f"{LIMITS[function]['float32']:g}"]
        for found in cells.values():
            beyond, _, count = over(found, function)
            row.append(f"{pair(found, function=function)} ({beyond} of {count})" if count else "–")
        rows.append(row)
    total = ["**cells over the limit**", ""]
    for found in cells.values():
        beyond, _, count = over(found)
        total.append(f"**{beyond} of {count}**")
    return table(["function", "limit", *cells], [*rows, total], 1)


def regimes_table(cells, function):
    """Class indices without weights, the case that all libraries have."""
    rows = []
    for regime in meter.REGIMES:
        row = [regime]
        for found in cells.values():
            plain = [c for c in found if c[1].split(", ")[0] == "index"]
            row.append(pair(plain, function=function, regime=regime))
        rows.append(row)
    columns = [name for i, name in enumerate(cells, 1) if any(row[i] != "–" for row in rows)]
    keep = [0, *(i for i, name in enumerate(cells, 1) if name in columns)]
    return table(["regime", *columns], [[row[i] for i in keep] for row in rows], 1)


def limits_table():
    rows = []
    for function in LIMITS:
        row = [f"`{function}`"]
        for dtype in ("float16", *DTYPES):
            row += [f"{LIMITS[function][dtype]:g}", f"{MEASURED[function][dtype]:g}"]
        rows.append(row)
    head = ["function"]
    for dtype in ("float16", *DTYPES):
        head += [f"{dtype}: limit", "measured"]
    return table(head, rows, 1)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def confident_margin(curve, dtype):
    """First unit of the margin from which on no digit of a curve is right, or None."""
    bad = np.flatnonzero(curve >= 0.999)
    return None if not bad.size else int(bad[0])


def meaning(cells, curves):
    """Three paragraphs, whose figures and names come from the run."""
    ours, ours_all, ours_count = over(cells["crossent"])
    entries = [name for name in cells if name != "crossent"]
    counted = {name: over(cells[name]) for name in entries}
    rest = "; ".join(f"{name} {b} of {n} ({b / n:.0%})" for name, (b, _, n) in counted.items())
    gone = "; ".join(f"{name} in {a}" for name, (_, a, _) in counted.items())
    starts = {
        dtype: [m for n in entries if (m := confident_margin(curves[n][dtype][0], dtype)) is not None]
        for dtype in DTYPES
    }
    usual = cells["NumPy, usual"]
    soft = {d: text_of(worst(usual, function="softmax", dtype=d), d) for d in DTYPES}
    keeps = {d: text_of(worst(cells["crossent"], function="softmax", dtype=d), d) for d in DTYPES}
    where = ", ".join(
        f"from a margin of {min(found)} on in {dtype}" for dtype, found in starts.items() if found
    )
    return f"""\
**What is off by a few ulp is right.** An ulp is the step from one float to the next, so 4 of them
leave all but the last two or three bits of a result. `crossent` is over its limit in {ours} of {ours_count} cells,
and has lost every digit in {ours_all}. Of the others, each counted over what it offers, are over the same
limits: {rest}. That is no reproach: none of them promises 4 ulp, and for training a network
it seldom matters. It matters for a reference, since a kernel cannot be judged by a ruler that is coarser
than the kernel.

**"All" is another kind of error.** There the result is 0, infinite, NaN or far off where the true one is an
ordinary number: {gone}. Most of it is the confident prediction of the picture, where
`1 + exp(-margin)` rounds to 1 or `p - 1` to 0: the first library's loss has no right digit
{where}. Sums of losses over many rows hide it, because
the hard rows dominate them; gradients of single rows, and everything that compares small losses, do not.

**Errors of tens to hundreds of ulp** come from `exp(z - m)`: the difference is rounded, and `exp` makes
half an ulp of a large difference many ulp of the result. In the worst case softmax in the usual form is
off by {soft["float32"]} ulp in float32 and {soft["float64"]} in float64, here by {keeps["float32"]} and {keeps["float64"]}.
[Numerics](numerics.md) explains both kinds, and how they are avoided."""


def page(cells, versions, curves, missing):
    features = " ".join(meter.dispatched_features()) or "none beside the baseline"
    names = {"with": ", ".join(f"{n} {v}" for n, v in versions.items())}
    left_out = "".join(f"\n{name} is not installed here and was left out.\n" for name in missing)
    prose = meaning(cells, curves).splitlines()
    return f"""\
# Accuracy

How far the results of `crossent` and of five others are from the exact ones, in units in the last
place. This page and its picture are generated by `python docs/scripts/accuracy.py`; every figure comes
from one run:

- {names["with"]}, Python {platform.python_version()}
- {processor()}, {platform.machine()}; NumPy uses {features}
- seed {SEED}, {SIZE:,} logits for each regime and class count
{left_out}
## A confident prediction

Logits `[0, margin]`, target 1. The true loss is `log(1 + exp(-margin))`, and the gradient of the
label's logit `-1 / (1 + exp(margin))`: ordinary numbers, all digits of which a float can hold. Each point is the
worst of {PER_UNIT} margins. The grey band is the limit, {LIMITS["cross_entropy"]["float64"]:g} ulp of the loss and {LIMITS["cross_entropy_grad"]["float64"]:g} of the gradient: an ulp is between half an
eps and an eps of the number. An error of exactly 0 would lie on the bottom edge. SciPy's loss is
`-log_softmax(z)[1]`. SciPy and scikit-learn have no gradients.

![Relative error of loss and gradient over the margin: that of crossent stays below the limits, those of
the others grow until every digit is lost](pictures/accuracy.svg)

## Functions

The worst distance over all regimes of inputs, `float32 / float64`, in ulp. In brackets: the cells of
function, regime and dtype that are over the limit, of those that the library has; of several options
and reductions a cell counts the worst. "all" means that every digit is lost: an error as large as the number
itself, an infinity or NaN where there should be none. "–" is a function that a library has not got.

{functions_table(cells)}

Where a problem cancels, the distance is in ulps of the largest term, or of the sum of the terms'
magnitudes, as [Conventions](conventions.md#accuracy) says: the same for all. Entries that are not normal numbers
are left out, for all.

"NumPy, usual" is NumPy as it is usually written, in its stable form: the maximum is subtracted before
`exp`, `logsumexp` is `m + log(sum(exp(z - m)))`, the loss `logsumexp - z[y]`, its gradient `p - 1` at the
label, `sigmoid(z) - y` for two classes, `softplus` is `max(x, 0) + log(1 + exp(-|x|))`, and entropies have
`log(p + eps)`. The other libraries are called with their defaults; gradients are those of their own
automatic differentiation. Optax has no class weights; scikit-learn's `log_loss` gets what its own softmax
makes of the logits, and returns means and sums only.

## Regimes

`cross_entropy` with class indices and without weights, which all libraries but SciPy have:

{regimes_table(cells, "cross_entropy")}

Its gradient:

{regimes_table(cells, "cross_entropy_grad")}

## What the numbers mean

{chr(10).join(prose)}

## Limits

What the tests hold `crossent` to, and the worst that was ever measured on any processor setting
that was tried: with AVX-512, without it, and without AVX2. Tests and this page read the same table.

{limits_table()}

## Measure it yourself

The meter is part of the package. On your processor, with your NumPy:

```sh
python -m crossent.testing measure
python -m crossent.testing measure --full --without avx2
```

It returns 1 if a cell is over its limit, and prints the call to paste. `crossent.testing.measure.measure` takes
the functions of another library, or yours, and measures them the same way. The whole page, with all
libraries:

```sh
python -m pip install ".[peers,docs]"
python docs/scripts/accuracy.py
```
"""


#BOUNDS#


def main():
    """Write everything."""
    write_bounds()
    if "--bounds" in sys.argv[1:]:
        return
    pool = ProcessPoolExecutor(os.cpu_count(), get_context("spawn"))
    with pool:
        order = sorted(LIBRARIES, key=lambda name: name != "JAX/Optax")  # the slowest first
        jobs = {name: pool.submit(run, name) for name in order}
        exact = {dtype: exact_curves(dtype) for dtype in DTYPES}
        done = {name: jobs[name].result() for name in LIBRARIES}
    missing = [name for name, result in done.items() if result is None]
    done = {name: result for name, result in done.items() if result is not None}
    curves = {
        name: {
            dtype: tuple(
                None if actual is None else worst_in_units(actual, exact[dtype][i])
                for i, actual in enumerate(found[dtype])
            )
            for dtype in DTYPES
        }
        for name, (_, _, found) in done.items()
    }
    cells = {name: found for name, (_, found, _) in done.items()}
    versions = {name.replace(", usual", ""): "/".join(v) for name, (v, _, _) in done.items()}
    draw(curves, DOCS / "pictures" / "accuracy.svg")
    (DOCS / "accuracy.md").write_text(page(cells, versions, curves, missing), encoding="utf-8")


if __name__ == "__main__":
    main()
