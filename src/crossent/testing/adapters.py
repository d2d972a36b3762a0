"""Other people's functions, wrapped to be called like those of the contract.

``adapt("torch", "cross_entropy")`` returns an `Adapter` for `conforms`: torch, jax (with optax), scipy,
sklearn, onnx, or crossent itself. A framework is imported when it is asked for. Wrapping means to
convert arrays and to name options, nothing else: what a framework gets wrong stays wrong.

Examples
--------
>>> from crossent.testing.adapters import adapt
>>> adapter = adapt("crossent", "softplus")
>>> adapter.conforms(max_examples=5, seed=1).ok
True
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossent.testing._calls import BINARY, CLASS_LOSSES, OPTIONS, REDUCTIONS, ROWS, SPECS
from crossent.testing.conformance import conformance_report

__all__ = ["FRAMEWORKS", "Adapter", "adapt"]


@dataclass(frozen=True)
class Adapter:
    """A framework's function in the form that `assert_conforms` takes.

    Parameters
    ----------
    framework, version : str
        Whose it is.
    original : str
        What it is called there.
    spec : str
        The contract's name.
    implementation, grad : callable
        The function and, if the framework differentiates, its gradient.
    supports : tuple of str
        The options that it has.
    dtypes : tuple of str
        The dtypes that it has.
    """

    framework: str
    version: str
    original: str
    spec: str
    implementation: Callable[..., Any]
    grad: Callable[..., Any] | None
    supports: tuple[str, ...]
    dtypes: tuple[str, ...] = ("float16", "float32", "float64")

    def conforms(self, **settings: Any) -> Any:
        """Return the report of ``conformance_report`` with these settings."""
        given = {"grad": self.grad, "supports": self.supports, "dtypes": self.dtypes, **settings}
        return conformance_report(self.implementation, self.spec, **given)


def adapt(framework: str, spec: str) -> Adapter:
    """Wrap a framework's function.

    Parameters
    ----------
    framework : str
        ``"torch"``, ``"jax"``, ``"scipy"``, ``"sklearn"``, ``"onnx"`` or ``"crossent"``.
    spec : str
        The contract's name of the function.

    Returns
    -------
    Adapter

    Raises
    ------
    ValueError
        If there is no such framework, or it has no such function.
    ImportError
        If it is not installed.
    """
    if framework not in FRAMEWORKS:
        raise ValueError(f"framework must be one of {', '.join(FRAMEWORKS)}, got {framework!r}")
    make, specs, distribution = FRAMEWORKS[framework]
    if spec not in specs:
        raise ValueError(f"{framework} has {', '.join(specs)}, not {spec!r}")
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"{distribution} is not installed: pip install {distribution}") from error
    return make(spec, version)


def _named(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    f.__name__ = name
    return f


def _crossent(spec: str, version: str) -> Adapter:
    package: Any = importlib.import_module("crossent")

    def loud(f: Callable[..., Any]) -> Callable[..., Any]:
        """No input raises a floating-point warning: here one is an exception, and breaks the law it
        came in.
        """

        def call(*arguments: Any, **options: Any) -> Any:
            with np.errstate(all="raise"):
                return f(*arguments, **options)

        return _named(call, f.__name__)

    f, grad = getattr(package, spec), getattr(package, f"{spec}_grad")
    supports = (*OPTIONS[spec], "grad_output")
    return Adapter("crossent", version, f"crossent.{spec}", spec, loud(f), loud(grad), supports)


# -- torch -----------------------------------------------------------------------------------------


def _torch(spec: str, version: str) -> Adapter:
    torch: Any = importlib.import_module("torch")
    functional = torch.nn.functional
    f, original, supports = {
        "logsumexp": (
            lambda x, axis=-1, keepdims=False: torch.logsumexp(x, _axes(x, axis), keepdims),
            "torch.logsumexp",
            ("axis", "keepdims"),
        ),
        "log_softmax": (lambda x, axis=-1: torch.log_softmax(x, axis), "torch.log_softmax", ("axis",)),
        "softmax": (lambda x, axis=-1: torch.softmax(x, axis), "torch.softmax", ("axis",)),
        "softplus": (functional.softplus, "torch.nn.functional.softplus", ()),
        "log_sigmoid": (functional.logsigmoid, "torch.nn.functional.logsigmoid", ()),
        "sigmoid": (torch.sigmoid, "torch.sigmoid", ()),
        "nll_loss": (
            functional.nll_loss,
            "torch.nn.functional.nll_loss",
            ("weight", "ignore_index", "reduction"),
        ),
        "cross_entropy": (
            functional.cross_entropy,
            "torch.nn.functional.cross_entropy",
            ("weight", "ignore_index", "reduction", "label_smoothing", "probabilities", "indices"),
        ),
        BINARY: (
            functional.binary_cross_entropy_with_logits,
            f"torch.nn.functional.{BINARY}",
            ("weight", "pos_weight", "reduction"),
        ),
    }[spec]

    def tensor(a: Any, like: Any = None) -> Any:
        a = np.asarray(a)
        a = np.array(a, a.dtype.newbyteorder("="))
        if like is not None and a.dtype.kind in "biu":  # classes are int64 in torch, answers are floats
            a = a.astype(np.int64 if spec != BINARY else like.dtype)
        return torch.from_numpy(a)

    def parts(x: Any, rest: tuple[Any, ...], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        arrays = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return [tensor(a, np.asarray(x)) for a in rest], arrays

    def value(x: Any, *rest: Any, **options: Any) -> Any:
        others, options = parts(x, rest, options)
        return f(tensor(x), *others, **options).numpy()

    def grad(x: Any, *rest: Any, grad_output: Any = None, **options: Any) -> Any:
        others, options = parts(x, rest, options)
        z = tensor(x).requires_grad_()
        result = f(z, *others, **options)
        g = torch.ones_like(result) if grad_output is None else tensor(grad_output)
        result.backward(g)
        return z.grad.numpy()

    name = original.rpartition(".")[2]
    return Adapter(
        "torch",
        version,
        original,
        spec,
        _named(value, name),
        _named(grad, f"{name}_grad"),
        (*supports, "grad_output"),
    )


def _axes(x: Any, axis: Any) -> Any:
    return tuple(range(x.ndim)) if axis is None else axis


# -- jax and optax -----------------------------------------------------------------------------------


def _jax(spec: str, version: str) -> Adapter:
    jax: Any = importlib.import_module("jax")
    optax: Any = importlib.import_module("optax")
    jnp, nn = jax.numpy, jax.nn

    def reduced(losses: Any, reduction: str) -> Any:
        return {"none": lambda a: a, "mean": jnp.mean, "sum": jnp.sum}[reduction](losses)

    def cross_entropy(x: Any, y: Any, reduction: str = "mean", axis: Any = None) -> Any:
        at = (0 if x.ndim == 1 else 1) if axis is None else axis
        if jnp.issubdtype(y.dtype, jnp.floating):
            losses = optax.softmax_cross_entropy(x, y, axis=at)
        else:
            losses = optax.softmax_cross_entropy_with_integer_labels(x, y, axis=at)
        return reduced(losses, reduction)

    def binary(x: Any, y: Any, reduction: str = "mean") -> Any:
        return reduced(optax.sigmoid_binary_cross_entropy(x, y), reduction)

    f, original, supports = {
        "logsumexp": (
            lambda x, axis=-1, keepdims=False: nn.logsumexp(x, axis=axis, keepdims=keepdims),
            "jax.nn.logsumexp",
            ("axis", "keepdims"),
        ),
        "log_softmax": (nn.log_softmax, "jax.nn.log_softmax", ("axis",)),
        "softmax": (nn.softmax, "jax.nn.softmax", ("axis",)),
        "softplus": (nn.softplus, "jax.nn.softplus", ()),
        "log_sigmoid": (nn.log_sigmoid, "jax.nn.log_sigmoid", ()),
        "sigmoid": (nn.sigmoid, "jax.nn.sigmoid", ()),
        "cross_entropy": (
            cross_entropy,
            "optax.softmax_cross_entropy_with_integer_labels",
            ("reduction", "axis", "probabilities", "indices"),
        ),
        BINARY: (binary, "optax.sigmoid_binary_cross_entropy", ("reduction",)),
    }[spec]

    def array(a: Any) -> Any:
        a = np.asarray(a)
        return jnp.asarray(a.astype(a.dtype.newbyteorder("=")))

    compiled: dict[Any, Any] = {}

    def run(pull: str, arrays: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compile a function once for its options, as it is used."""
        key = pull, *sorted(options.items())
        if key not in compiled:

            def forward(x: Any, *rest: Any) -> Any:
                return f(x, *rest, **options)

            def backward(g: Any, x: Any, *rest: Any) -> Any:
                result, back = jax.vjp(lambda z: forward(z, *rest), x)
                return back(jnp.ones_like(result) if pull == "ones" else g)[0]

            compiled[key] = jax.jit(backward if pull else forward)
        with jax.enable_x64(True):
            return np.asarray(compiled[key](*map(array, arrays)))

    def value(*arrays: Any, **options: Any) -> Any:
        return run("", arrays, options)

    def grad(*arrays: Any, grad_output: Any = None, **options: Any) -> Any:
        if grad_output is None:
            return run("ones", (0.0, *arrays), options)
        return run("given", (grad_output, *arrays), options)

    name = original.rpartition(".")[2]
    versions = f"{version}, optax {importlib.metadata.version('optax')}"
    return Adapter(
        "jax",
        versions,
        original,
        spec,
        _named(value, name),
        _named(grad, f"{name}_grad"),
        (*supports, "grad_output"),
    )


# -- scipy, scikit-learn: values alone -----------------------------------------------------------------


def _scipy(spec: str, version: str) -> Adapter:
    special: Any = importlib.import_module("scipy.special")
    name, supports = {
        "logsumexp": ("logsumexp", ("axis", "keepdims")),
        "log_softmax": ("log_softmax", ("axis",)),
        "softmax": ("softmax", ("axis",)),
        "log_sigmoid": ("log_expit", ()),
        "sigmoid": ("expit", ()),
    }[spec]
    f = getattr(special, name)

    def call(x: Any, **options: Any) -> Any:
        if spec in ROWS:  # whose own default is all axes
            options.setdefault("axis", -1)
        return f(x, **options)

    return Adapter("scipy", version, f"scipy.special.{name}", spec, _named(call, name), None, supports)


def _sklearn(spec: str, version: str) -> Adapter:
    metrics: Any = importlib.import_module("sklearn.metrics")
    extmath: Any = importlib.import_module("sklearn.utils.extmath")
    special: Any = importlib.import_module("scipy.special")

    def reduced(reduction: str) -> bool:
        if reduction not in REDUCTIONS[1:]:
            raise ValueError("log_loss has means and sums")
        return reduction == "mean"

    def cross_entropy(x: Any, target: Any, *, reduction: str = "mean") -> Any:
        """log_loss of what scikit-learn's own softmax makes of the logits."""
        if np.ndim(x) != 2 or np.asarray(target).dtype.kind == "f":
            raise ValueError("log_loss takes (N, K) probabilities and class indices")
        p, labels = extmath.softmax(np.array(x)), np.arange(x.shape[1])
        return metrics.log_loss(target, p, normalize=reduced(reduction), labels=labels)

    def binary(x: Any, target: Any, *, reduction: str = "mean") -> Any:
        """log_loss of the sigmoid."""
        if np.ndim(x) != 1 or np.any((target != 0) & (target != 1)):
            raise ValueError("log_loss takes (N,) probabilities and answers of 0 and 1")
        return metrics.log_loss(
            np.asarray(target, int), special.expit(x), normalize=reduced(reduction), labels=[0, 1]
        )

    f = {"cross_entropy": cross_entropy, BINARY: binary}[spec]
    supports = ("reduction=mean", "indices")
    return Adapter(
        "sklearn", version, "sklearn.metrics.log_loss", spec, _named(f, "log_loss"), None, supports
    )


# -- onnx ----------------------------------------------------------------------------------------------


def _onnx(spec: str, version: str) -> Adapter:
    onnx: Any = importlib.import_module("onnx")
    reference: Any = importlib.import_module("onnx.reference")
    helper = onnx.helper
    operator, supports = {
        "logsumexp": ("ReduceLogSumExp", ("axis", "keepdims")),
        "log_softmax": ("LogSoftmax", ("axis",)),
        "softmax": ("Softmax", ("axis",)),
        "softplus": ("Softplus", ()),
        "sigmoid": ("Sigmoid", ()),
        "nll_loss": ("NegativeLogLikelihoodLoss", ("weight", "ignore_index", "reduction")),
        "cross_entropy": ("SoftmaxCrossEntropyLoss", ("weight", "ignore_index", "reduction", "indices")),
    }[spec]

    def call(x: Any, *rest: Any, **options: Any) -> Any:
        weight = options.pop("weight", None)
        if spec in CLASS_LOSSES:  # in ONNX nothing is ignored by default
            options.setdefault("ignore_index", -100)
        arrays = [np.asarray(a).astype(np.asarray(a).dtype.newbyteorder("=")) for a in (x, *rest)]
        arrays += [] if weight is None else [np.asarray(weight).astype(arrays[0].dtype)]
        if spec == "logsumexp":
            axis = options.pop("axis", -1)
            axes = range(arrays[0].ndim) if axis is None else np.atleast_1d(axis)
            arrays.append(np.asarray(list(axes), np.int64))
            options["keepdims"] = int(options.get("keepdims", False))
        names = [f"i{n}" for n in range(len(arrays))]
        types = [helper.np_dtype_to_tensor_dtype(a.dtype) for a in arrays]
        inputs = [helper.make_tensor_value_info(n, t, None) for n, t in zip(names, types, strict=True)]
        output = helper.make_tensor_value_info("o", types[0], None)
        node = helper.make_node(operator, names, ["o"], **options)
        graph = helper.make_graph([node], "one", inputs, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        return reference.ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))[0]

    original = f"onnx.reference {operator}"
    return Adapter("onnx", version, original, spec, _named(call, operator), None, supports)


_Make = Callable[[str, str], Adapter]

FRAMEWORKS: dict[str, tuple[_Make, tuple[str, ...], str]] = {
    "crossent": (_crossent, SPECS, "crossent"),
    "torch": (_torch, SPECS, "torch"),
    "jax": (_jax, tuple(s for s in SPECS if s != "nll_loss"), "jax"),
    "scipy": (_scipy, ("logsumexp", "log_softmax", "softmax", "log_sigmoid", "sigmoid"), "scipy"),
    "sklearn": (_sklearn, ("cross_entropy", BINARY), "scikit-learn"),
    "onnx": (_onnx, tuple(s for s in SPECS if s not in ("log_sigmoid", BINARY)), "onnx"),
}
