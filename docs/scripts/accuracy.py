"""How exact the libraries are, side by side: writes docs/accuracy.md and its picture.

    python -m pip install ".[peers,docs]"
    python docs/scripts/accuracy.py            # a few minutes
    python docs/scripts/accuracy.py --bounds   # a second: only the two tables of docs/numerics.md

Every figure comes from the run. A library that is not installed is left out, and the page says so.
The second form, which is part of the first, writes the tables of error bounds in docs/numerics.md: the
roundings of each function are counted below, and what was measured comes from the table of limits.
"""

import importlib
import os
import platform
import re
import sys
import textwrap
import warnings
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from page_parts import GREY, between_marks, plotting, save

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
        key = f, pull, tuple(sorted(options.items()))
        if key not in compiled:

            def value(x, *rest):
                return f(x, *rest, **options)

            def gradient(g, x, *rest):
                result, back = jax.vjp(lambda x: value(x, *rest), x)
                return back(jnp.broadcast_to(g, result.shape))[0]

            compiled[key] = jax.jit(gradient if pull else value)
        if pull and g is None:
            one = options.get("reduction") in ("mean", "sum")
            shape = () if one else inputs[0].shape[: -1 if f in over_classes else None]
            g = np.ones(shape, inputs[0].dtype)
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
    over_classes = (functions["logsumexp"], cross_entropy)
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
        labels = np.arange(x.shape[1])
        if weight is None or target.dtype.kind == "f":
            return log_loss_of(target, softmax(x), labels, reduction)
        return log_loss_of(target, softmax(x), labels, reduction, weight[target])

    def bce(x, target, reduction="mean", **options):
        offered(options)
        labels = target.astype(int) if np.isin(target, (0, 1)).all() else target
        return log_loss_of(labels, expit(x), [0, 1], reduction)

    return {"cross_entropy": cross_entropy, "binary_cross_entropy_with_logits": bce}


# Name in the tables, what makes its functions, and the packages that it needs: a module, a spoken name.
LIBRARIES = {
    "crossent": (with_crossent, {"crossent": "crossent"}),
    "usual NumPy": (with_numpy, {"numpy": "NumPy"}),
    "SciPy": (with_scipy, {"scipy": "SciPy"}),
    "PyTorch": (with_torch, {"torch": "PyTorch"}),
    "JAX/Optax": (with_jax, {"jax": "JAX", "optax": "Optax"}),
    "scikit-learn": (with_sklearn, {"sklearn": "scikit-learn"}),
}


# -- the run: each dtype in a process of its own ----------------------------------------------------


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


def installed():
    """Functions and versions of each library that can be imported."""
    result = {}
    for name, (make, packages) in LIBRARIES.items():
        try:
            modules = {spoken: importlib.import_module(module) for module, spoken in packages.items()}
            numbers = [getattr(m, "__version__", None) or version(m.__name__) for m in modules.values()]
            spoken = [f"{n} {number}" for n, number in zip(modules, numbers, strict=True)]
            result[name] = make(), spoken
        except ImportError:
            pass
    return result


@np.errstate(all="ignore")
def run(dtype):
    """Measure all libraries in one dtype on the same inputs: versions, cells, curves.

    The meter by itself measures one library after the other. The exact answers take most of the time,
    so here each of them is worked out once.
    """
    libraries = installed()
    cells = {name: {} for name in libraries}
    for family, _ in meter._FAMILIES:
        for regime in meter.REGIMES:
            for call, _ in meter._calls(family, regime, np.dtype(dtype), SEED, SIZE):
                truth = call.truth()
                for name, (functions, _) in libraries.items():
                    try:
                        f = functions[call.function]
                        actual = f(*call.inputs.values(), **call.options)
                    except (KeyError, NotImplementedError):  # has no such function, or option
                        continue
                    found = meter.distances(actual, truth, dtype)
                    if not np.isnan(found).all():
                        key = call.function, call.variant, regime, dtype
                        cells[name][key] = max(cells[name].get(key, 0.0), float(np.nanmax(found)))
    exact = exact_curves(dtype)
    curves = {
        name: [
            None if actual is None else worst_in_units(actual, exact[i])
            for i, actual in enumerate(confident(functions, dtype))
        ]
        for name, (functions, _) in libraries.items()
    }
    found = {name: [(*key, ulp) for key, ulp in of.items()] for name, of in cells.items()}
    return {name: versions for name, (_, versions) in libraries.items()}, found, curves


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

STYLES = {  # colour, width, dashes: curves that coincide show through each other
    "scikit-learn": ("#a1743f", 5.0, "solid"),
    "SciPy": ("#b06ae0", 3.6, "solid"),
    "usual NumPy": ("#d99a00", 2.2, "solid"),
    "PyTorch": ("#e5484d", 1.6, (0, (4, 3))),
    "JAX/Optax": ("#12a594", 1.6, (4, (3, 4))),
    "crossent": ("#2f86eb", 2.0, "solid"),
}
FLOOR = 1e-17


def draw(curves, path):
    """Draw ``curves[library][dtype] = (loss, gradient)``, relative errors for each unit of the margin."""
    plt = plotting()
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 7.4), sharey=True, sharex="col", facecolor="none")
    lines = {}
    for column, dtype in enumerate(DTYPES):
        eps = float(np.finfo(dtype).eps)
        for row, (what, limit) in enumerate((("loss", 4), ("gradient of the label's logit", 6))):
            ax = axes[row, column]
            ax.set_facecolor("none")
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
        ax.set_xlabel("margin of the right class (nats)")
    for ax in axes[:, 0]:
        ax.set_ylabel("relative error (1: every digit lost)")
    order = [name for name in LIBRARIES if name in lines]
    figure.legend(
        [lines[name] for name in order], order, loc="upper center", ncols=len(order), frameon=False,
        handlelength=2.2, columnspacing=1.6,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.945), h_pad=1.6, w_pad=1.4)
    path.parent.mkdir(exist_ok=True)
    save(figure, path)
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
    """Cells of function x regime x dtype, the worst of all variants: ``{key: ulp}``."""
    result = {}
    for function, _, regime, dtype, ulp in cells:
        key = function, regime, dtype
        result[key] = max(result.get(key, 0.0), ulp)
    return result


def over(cells, function=None):
    """How many of the coarse cells are over the limit, have no right digit, and there are."""
    found = [(*k, ulp) for k, ulp in coarse(cells).items() if function in (None, k[0])]
    beyond = sum(not ulp <= LIMITS[name][dtype] for name, _, dtype, ulp in found)
    return beyond, sum(lost(ulp, dtype) for *_, dtype, ulp in found), len(found)


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
        total.append(f"**{beyond:,} of {count:,}**")
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


def measured(function, dtype):
    """What the table of limits says was measured; nothing while it only repeats the limits."""
    return "–" if MEASURED == LIMITS else f"{MEASURED[function][dtype]:g}"


def limits_table():
    rows = []
    for function in LIMITS:
        row = [f"`{function}`"]
        for dtype in ("float16", *DTYPES):
            row += [f"{LIMITS[function][dtype]:g}", measured(function, dtype)]
        rows.append(row)
    head = ["function"]
    for dtype in ("float16", *DTYPES):
        head += [f"{dtype} limit", f"{dtype} measured"]
    return table(head, rows, 1)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def lost_from(curve):
    """First unit of the margin from which on no digit of a curve is right."""
    good = np.flatnonzero(curve < 0.999)
    start = int(good[-1]) + 1 if good.size else 0
    return start if start < len(curve) else "never"


def meaning(cells, curves):
    """Three paragraphs, whose figures and names come from the run."""
    ours, ours_all, ours_count = over(cells["crossent"])
    entries = [name for name in cells if name != "crossent"]
    counted = {name: over(cells[name]) for name in entries}
    rest = ", ".join(f"{name} {b:,} of {n:,} ({b / n:.0%})" for name, (b, _, n) in counted.items())
    gone = ", ".join(f"{name} {a}" for name, (_, a, _) in counted.items())
    where = ", ".join(
        f"{name} " + " and ".join(f"{m}" for m in (lost_from(curves[name][d][0]) for d in DTYPES))
        for name in entries
        if curves[name]["float64"][0] is not None
    )
    usual = cells["usual NumPy"]
    soft = {d: text_of(worst(usual, function="softmax", dtype=d), d) for d in DTYPES}
    keeps = {d: text_of(worst(cells["crossent"], function="softmax", dtype=d), d) for d in DTYPES}
    return f"""\
**A few ulp are nothing to worry about.** An ulp is the step from one float to the next; an error of 4
spoils the last three bits of a result. `crossent` is over its limit in {ours or "none"} of
{ours_count:,} cells, and has lost every digit in {ours_all or "none"}. The others, each counted over what
it offers, are over the same limits here: {rest}. None of them promises 4 ulp, and for training a network
it seldom matters. It matters for a reference: a kernel cannot be judged by a ruler that is coarser than
the kernel.

**"All" is another kind of error.** There the result is 0, infinite, NaN or far off where the true one
is an ordinary number. Cells of that kind: {gone}. The picture shows the most common one, the confident
prediction: `1 + exp(-margin)` rounds to 1, and `p - 1` to 0. No digit
of the loss is right from these margins on, in float32 and float64: {where}.
The mean over many rows hides it behind the hard ones. Whatever looks at single rows sees it.

**Errors of tens to hundreds of ulp** come from `exp(z - m)`: the difference is rounded, and `exp` turns
half an ulp of a large difference into many ulp of the result. In the worst case found, softmax in the usual
form is off by {soft["float32"]} ulp in float32 and {soft["float64"]} in float64; that of `crossent` by
{keeps["float32"]} and {keeps["float64"]}.
[Numerics](numerics.md) explains both kinds, and how they are avoided."""


def filled(block):
    """Break the lines of a paragraph anew, now that it has its figures."""
    if re.match(r"[|#`-]", block) and not re.match(r"`[^`]", block):
        return block
    end = block[len(block.rstrip()) :]
    whole = re.sub("`[^`]*`", lambda code: "\0".join(code[0].split()), block)  # code stays on a line
    lines = textwrap.wrap(" ".join(whole.split()), 100, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ") + end


def page(cells, versions, curves, missing):
    features = " ".join(meter.dispatched_features()) or "none beside the baseline"
    used = ", ".join(one for of in versions.values() for one in of)
    left_out = "".join(f"\n{name} is not installed here and was left out.\n" for name in missing)
    limits = LIMITS["cross_entropy"]["float64"], LIMITS["cross_entropy_grad"]["float64"]
    text = f"""\
# Accuracy

How far the results of `crossent` and of five others are from the exact ones, in units in the last
place. This page and its picture are generated by `python docs/scripts/accuracy.py`; every figure comes
from one run:

- {used}, Python {platform.python_version()}
- {processor()}, {platform.machine()}; NumPy uses {features}
- seed {SEED}, {SIZE:,} logits for each regime and class count
{left_out}
## A confident prediction

Logits `[0, margin]`, target 1. The true loss is `log(1 + exp(-margin))`, and the gradient of the
label's logit `-1 / (1 + exp(margin))`: ordinary numbers, all digits of which a float can hold. Each
point is the worst of {PER_UNIT} margins. The grey band is the limit, {limits[0]:g} ulp of the loss and
{limits[1]:g} of the gradient: an ulp is between half an eps and
an eps of the number. An error of exactly 0 would lie on the bottom edge. SciPy's loss is
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
magnitudes, as [Conventions](conventions.md#accuracy) says: the same for all. Entries that are not
normal numbers are left out, for all.

"usual NumPy" is NumPy as it is usually written, in its stable form: the maximum is subtracted before
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

{meaning(cells, curves)}

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

It returns 1 if a cell is over its limit, and prints the call to paste.
`crossent.testing.measure.measure` takes the functions of another library,
or yours, and measures them the same way. The whole page, with all
libraries:

```sh
python -m pip install ".[peers,docs]"
python docs/scripts/accuracy.py
```
"""
    return "\n\n".join(map(filled, text.split("\n\n")))


# -- error bounds: the tables of docs/numerics.md -----------------------------------------------------
# Largest errors of NumPy's functions in ulp, the worst of three settings: AVX-512, without it, and without
# AVX2. Found by docs/scripts/functions.py, not proved.

NUMPY = {
    "float32": {"exp": 2.55, "log1p": 1.96, "log": 3.84},
    "float64": {"exp": 0.73, "log1p": 0.86, "log": 0.63},
}
HALF = 0.5  # one rounding
FOLDS = 2 * HALF  # two plain halvings, of more than 128 classes


def parts(dtype):
    """Errors of what all rows are made of: exp(z - c), r, s and log1p(r / own), see docs/numerics.md."""
    n = NUMPY[dtype]
    if dtype == "float32":  # own, r, s and the logarithm are float64
        e, r = n["exp"], n["exp"] + FOLDS
        return {"e": e, "r": r, "s": r, "L": r}
    shifted = n["exp"] + HALF
    r, plain = shifted + FOLDS + HALF, n["exp"] + FOLDS + HALF
    # Without a shift own has an error; with one own is 1 where r / own is small.
    return {"e": shifted, "r": r, "s": r + HALF, "L": plain + n["exp"] + HALF + n["log1p"]}


def roundings(dtype):
    """Functions by name, and the errors that meet in their results, the last rounding last."""
    single = dtype == "float32"
    n, own = NUMPY[dtype], parts(dtype)
    e, s, L = ("exp", own["e"]), ("s", own["s"]), ("log1p(r / own)", own["L"])
    last = ("result", HALF)
    wide = [last]  # computed in float64, rounded once
    index = (
        "log1p(r / own) * w",
        own["L"],
    )  # the rounding of r / own is put back: one less, and w's one more
    sigmoid = [("exp", n["exp"]), ("1 + t", HALF), ("quotient", HALF)]
    mean = [("sum", HALF), ("mean", HALF)]
    coefficient = [e, ("s", own["s"] if single else own["r"]), ("coefficient", HALF)]
    t = 3 * HALF  # w (1 - s), its product with q, + w s / K
    sum_t = FOLDS if single else FOLDS + HALF
    pull = [*coefficient, ("sum of t", sum_t if single else sum_t + HALF), ("product", HALF)]
    log = [("log1p", n["log1p"])]
    log_term = wide if single else [*log, ("product", HALF), ("folds", FOLDS), last]
    return {
        "logsumexp": ("", [L, last]),
        "softmax": ("", [e, s, last]),
        "log_softmax": ("", [L, *([("log1p to float32", HALF)] if single else []), last]),
        "softplus": ("also `log_sigmoid`", [("exp", n["exp"]), *log, last]),
        "sigmoid": ("", sigmoid),
        "nll_loss": ("mean, weights", wide if single else [("weight", HALF), *mean]),
        "cross_entropy": ("index, mean, weights", [L, last] if single else [index, *mean]),
        "cross_entropy ": (
            "soft targets, smoothing, mean, weights",
            [("t", t), ("sum of t", sum_t), L, last]
            if single
            else [("t", t), ("sum of t", sum_t), L, ("product", HALF), ("terms", HALF), *mean],
        ),
        "binary_cross_entropy_with_logits": (
            "mean; with weights float32 is computed in float64",
            [("1 - y", HALF), ("softplus", n["exp"] + n["log1p"] + HALF), ("terms", HALF), last]
            if single
            else [
                ("1 - y", HALF), ("softplus", n["exp"] + n["log1p"] + HALF), ("product", HALF),
                ("terms", HALF), ("weight", HALF), *mean,
            ],
        ),
        "entropy": ("", wide if single else [("log", n["log"]), *log_term[1:]]),
        "kl_divergence": ("", wide if single else [("p / q", 1.44 * HALF), *log_term]),
        "logsumexp_grad": ("", [*coefficient, last]),
        "softmax_grad": (
            "",
            [e, ("e of the sum", own["e"]), ("s, twice", 2 * own["s"]), last]
            if single
            else [
                e, ("e of the sum", own["e"]), ("e g", HALF), ("sum", FOLDS + HALF), ("g s - sum", 2 * HALF),
                ("1 / s**2", 2 * own["r"] + 3 * HALF), ("product", HALF), last,
            ],
        ),
        "log_softmax_grad": ("", [*pull, last]),
        "softplus_grad": ("also `log_sigmoid_grad`", [*sigmoid, last]),
        "sigmoid_grad": ("", [sigmoid[0], ("1 + t (2 + t)", 3 * HALF), sigmoid[2], last]),
        "nll_loss_grad": ("mean, weights", wide if single else [("weight", HALF), last]),
        "cross_entropy_grad": ("index, mean, weights", [*coefficient, last]),
        "cross_entropy_grad ": (
            "soft targets, smoothing, mean, weights",
            [*pull, ("t, twice", 2 * t), ("g / N", HALF), ("t g / N", HALF), last],
        ),
        "binary_cross_entropy_with_logits_grad": (
            "mean; with weights float32 is computed in float64",
            [
                ("1 - y", 2 * HALF), ("exp, twice", 2 * n["exp"]), ("product", HALF), ("difference", HALF),
                ("1 + t", HALF), ("quotient", HALF), ("g / N", HALF), last,
            ]
            if single
            else [
                ("two terms: pos_weight, sigmoid, product", 2 * (n["exp"] + 4 * HALF)),
                ("difference", HALF), ("g / N", HALF), ("weight", HALF), last,
            ],
        ),
    }  # fmt: skip


def bounds_table():
    rows = []
    counted = {dtype: roundings(dtype) for dtype in DTYPES}
    for name in counted["float64"]:
        function = name.strip()
        for dtype in DTYPES:
            what, terms = counted[dtype][name]
            count, last = sum(term for _, term in terms), terms[-1][1]
            limit = LIMITS[function][dtype]
            strict = 2 * (count - last) + last
            shown = [f"**{x:.2f}**" if x > limit else f"{x:.2f}" for x in (count, strict)]
            first = f"`{function}`" + (f", {what}" if what else "") if dtype == "float32" else ""
            text = ", ".join(f"{label} {term:.2f}" for label, term in terms)
            rows.append([first, dtype, text, *shown, f"{limit:g}", measured(function, dtype)])
    head = ["function", "dtype", "errors that meet, in ulp", "count", "strict", "limit", "measured"]
    return table(head, rows, 3)


def parts_table():
    """What the rows are made of, written out: the sums of `parts`."""
    single, double = parts("float32"), parts("float64")
    exp32, exp, log1p = NUMPY["float32"]["exp"], NUMPY["float64"]["exp"], NUMPY["float64"]["log1p"]
    plain = exp + FOLDS + HALF
    rows = [
        ["`e`", f"`exp` {exp32}", f"`exp` {exp}", f"`exp` {exp}, `e * low` {HALF}: {double['e']:.2f}"],
        [
            "`r`", f"`e` {exp32}, two folds {FOLDS}: {single['r']:.2f}",
            f"`e` {exp}, folds {FOLDS}, result {HALF}: {plain:.2f}",
            f"{double['e']:.2f} + {FOLDS + HALF}: {double['r']:.2f}",
        ],
        ["`own`", "float64: 0", f"{exp}", f"0 at the maximum, else {double['e']:.2f}"],
        ["`s`", f"{single['s']:.2f}", f"{plain:.2f} + {HALF}: {plain + HALF:.2f}", f"{double['s']:.2f}"],
        [
            "`L`", f"{single['L']:.2f}",
            f"`r` {plain:.2f}, `own` {exp}, quotient {HALF}, `log1p` {log1p}: {double['L']:.2f}", "not more",
        ],
    ]  # fmt: skip
    return table(["", "float32, no shift", "float64, no shift", "float64, shifted"], rows, 1)


def write_bounds():
    """Put the two tables between their marks in docs/numerics.md."""
    path = DOCS / "numerics.md"
    text = path.read_text(encoding="utf-8")
    parts = {"parts": parts_table(), "bounds": bounds_table()}
    text = between_marks(text, parts, "numerics.md", "accuracy.py")
    path.write_text(text, encoding="utf-8")


def main():
    """Write everything."""
    write_bounds()
    if "--bounds" in sys.argv[1:]:
        return
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        versions, cells, curves = zip(*pool.map(run, DTYPES), strict=True)
    names = [name for name in LIBRARIES if name in versions[0]]
    cells = {name: [cell for found in cells for cell in found[name]] for name in names}
    curves = {name: dict(zip(DTYPES, (found[name] for found in curves), strict=True)) for name in names}
    missing = [name for name in LIBRARIES if name not in names]
    draw(curves, DOCS / "pictures" / "accuracy.svg")
    text = page(cells, {name: versions[0][name] for name in names}, curves, missing)
    (DOCS / "accuracy.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
