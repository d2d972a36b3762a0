"""What users import: names, parameters, order, kinds, defaults. A change here is a release note."""

import inspect
import types

import pytest

import crossent

FUNCTIONS = {
    "logsumexp": "(x, axis=-1, *, keepdims=False)",
    "logsumexp_grad": "(x, axis=-1, *, keepdims=False, grad_output=None, out=None)",
    "log_softmax": "(x, axis=-1, *, dtype=None)",
    "log_softmax_grad": "(x, axis=-1, *, dtype=None, grad_output=None, out=None)",
    "softmax": "(x, axis=-1, *, dtype=None)",
    "softmax_grad": "(x, axis=-1, *, dtype=None, grad_output=None, out=None)",
    "softplus": "(x)",
    "softplus_grad": "(x, *, grad_output=None, out=None)",
    "log_sigmoid": "(x)",
    "log_sigmoid_grad": "(x, *, grad_output=None, out=None)",
    "sigmoid": "(x)",
    "sigmoid_grad": "(x, *, grad_output=None, out=None)",
    "one_hot": "(target, num_classes, *, axis=-1, dtype=<class 'float'>)",
    "smooth_labels": ("(target, num_classes, smoothing, *, spread='all', axis=-1, dtype=<class 'float'>)"),
    "entropy": "(p, axis=-1)",
    "kl_divergence": "(p, q, axis=-1)",
    "perplexity": "(logits, target, *, weight=None, ignore_index=-100, axis=None, where=None)",
    "diagnose": (
        "(logits, target, *, loss='cross_entropy', weight=None, pos_weight=None, ignore_index=-100, "
        "axis=None, where=None)"
    ),
    "set_num_threads": "(n)",
    "get_num_threads": "()",
}
_LOSSES = {
    "nll_loss": (
        "log_probs, target, *, weight=None, ignore_index=-100, reduction='mean', axis=None, where=None"
    ),
    "cross_entropy": (
        "logits, target, *, weight=None, ignore_index=-100, reduction='mean', "
        "label_smoothing=0.0, axis=None, where=None, dtype=None"
    ),
    "binary_cross_entropy_with_logits": (
        "logits, target, *, weight=None, pos_weight=None, reduction='mean', where=None, dtype=None"
    ),
}
for _name, _parameters in _LOSSES.items():
    FUNCTIONS[_name] = f"({_parameters})"
    FUNCTIONS[f"{_name}_grad"] = f"({_parameters}, grad_output=None, out=None)"
    FUNCTIONS[f"{_name}_value_and_grad"] = f"({_parameters}, grad_output=None, out=None)"

CLASSES = {
    "CrossEntropyLoss": (
        "(weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', "
        "label_smoothing=0.0, *, axis=None)"
    ),
    "NLLLoss": (
        "(weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', *, axis=None)"
    ),
    "BCEWithLogitsLoss": ("(weight=None, size_average=None, reduce=None, reduction='mean', pos_weight=None)"),
    "LogSoftmax": "(axis=-1)",
}
METHODS = {
    "__call__": "(self, x, target, *, where=None)",
    "grad": "(self, x, target, *, grad_output=None, where=None, out=None)",
    "value_and_grad": "(self, x, target, *, grad_output=None, where=None, out=None)",
}
RECORDS = {"Finding": "(code, message, advice, evidence)"}
MODULES = {"exact"}


def plain(signature):
    """A signature as text, without annotations."""
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_public_api__names():
    """Everything in __all__, and nothing else that is public."""
    assert set(crossent.__all__) == {*FUNCTIONS, *CLASSES, *RECORDS, *MODULES}
    assert len(set(crossent.__all__)) == len(crossent.__all__)
    public = {
        name
        for name, value in vars(crossent).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public <= set(crossent.__all__)


def test_public_api__star_import_gives_the_names():
    """`from crossent import *` in a notebook."""
    names = {}
    exec("from crossent import *", names)
    assert set(crossent.__all__) <= set(names)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_api__function(name):
    """Parameters, their order, kinds and defaults."""
    assert plain(inspect.signature(getattr(crossent, name))) == FUNCTIONS[name]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_public_api__class(name):
    """PyTorch's positional order."""
    cls = getattr(crossent, name)
    assert isinstance(cls, type)
    assert plain(inspect.signature(cls)) == CLASSES[name]
    if name != "LogSoftmax":
        for method, due in METHODS.items():
            assert plain(inspect.signature(getattr(cls, method))) == due
        return
    assert plain(inspect.signature(cls.__call__)) == "(self, x)"
    parameters = inspect.signature(cls.grad).parameters
    assert list(parameters)[:2] == ["self", "x"]
    assert parameters["grad_output"].default is None


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_public_api__record(name):
    """What a function returns: the fields and their order."""
    assert plain(inspect.signature(getattr(crossent, name))) == RECORDS[name]


@pytest.mark.parametrize("name", sorted(n for n in FUNCTIONS if f"{n}_grad" in FUNCTIONS))
def test_public_api__gradients_take_their_functions_parameters(name):
    """One rule for every function: f's parameters in f's order, then grad_output and out."""
    f = inspect.signature(getattr(crossent, name)).parameters
    g = inspect.signature(getattr(crossent, f"{name}_grad")).parameters
    assert [(p.name, p.default, p.kind) for p in g.values()][: len(f)] == [
        (p.name, p.default, p.kind) for p in f.values()
    ]
    assert list(g)[len(f) :] == ["grad_output", "out"]
    for extra in ("grad_output", "out"):
        assert g[extra].kind is inspect.Parameter.KEYWORD_ONLY
        assert g[extra].default is None


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *CLASSES, *RECORDS}))
def test_public_api__is_documented_and_at_home(name):
    """A docstring each, and a repr that says crossent."""
    value = getattr(crossent, name)
    assert inspect.getdoc(value)
    assert value.__name__ == name
    assert value.__module__.startswith("crossent")


def test_public_api__no_module_bears_a_functions_name():
    """`crossent.logsumexp` is one thing, whatever was imported before."""
    import pkgutil

    modules = {m.name for m in pkgutil.iter_modules(crossent.__path__)}
    assert not modules & {*FUNCTIONS, *CLASSES, *RECORDS}


TESTING = {
    "Broken": None,
    "Call": "(function, x, target=None, options=<factory>, grad_output=None)",
    "ConformanceError": "(report)",
    "ConformanceReport": None,
    "LAWS": None,
    "Law": None,
    "NumericalGrad": "(value, error)",
    "assert_conforms": (
        "(implementation, spec, *, grad=None, supports=None, dtypes=('float32', 'float64'), tolerance=None, "
        "laws=None, max_examples=100, seed=None)"
    ),
    "check_grad": (
        "(f, f_grad, x, *, grad_output=None, ulp=6.0, rtol=None, scale=None, where=True, digits=None)"
    ),
    "conformance_report": (
        "(implementation, spec, *, grad=None, supports=None, dtypes=('float32', 'float64'), tolerance=None, "
        "laws=None, max_examples=100, seed=None, progress=None)"
    ),
    "conformance_tests": (
        "(implementation, spec, *, grad=None, supports=None, dtypes=('float32', 'float64'), tolerance=None, "
        "laws=None, max_examples=100, seed=None)"
    ),
    "load_vectors": "(function=None)",
    "numerical_grad": "(f, x, *, grad_output=None, digits=None)",
    "ulp_error": "(actual, exact, *, scale=None)",
}
STRATEGIES = {
    "class_targets": "(shape=(3,), num_classes=4, *, dtype='int64', ignore_index=None)",
    "class_weights": "(num_classes=4, dtype='float32', *, zeros=True)",
    "cotangents": "(shape=(), dtype='float32')",
    "logits": None,
    "loss_calls": None,
    "probability_targets": "(shape=(3, 4), dtype='float32', *, axis=-1)",
    "where_masks": "(shape=(3,), *, broadcast=True)",
}


def test_public_api__testing():
    """What people build their own tests on."""
    from crossent import testing
    from crossent.testing import adapters, strategies

    assert set(testing.__all__) == set(TESTING)
    assert set(strategies.__all__) == {*STRATEGIES, "FINITE", "REGIMES"}
    assert plain(inspect.signature(adapters.adapt)) == "(framework, spec)"
    for module, names in ((testing, TESTING), (strategies, STRATEGIES)):
        for name, signature in names.items():
            assert name == "LAWS" or inspect.getdoc(getattr(module, name))
            if signature is not None:
                assert plain(inspect.signature(getattr(module, name))) == signature
    calls = inspect.signature(strategies.loss_calls).parameters
    assert list(calls)[:2] == ["spec", "supports"]


EXACT = [
    "logsumexp",
    "log_softmax",
    "softmax",
    "softplus",
    "log_sigmoid",
    "sigmoid",
    "nll_loss",
    "cross_entropy",
    "binary_cross_entropy_with_logits",
]


@pytest.mark.parametrize("name", EXACT)
def test_public_api__exact_takes_the_options_of_its_namesake(name):
    """The definition can be called like the function; `digits` is its own."""
    import crossent.exact as exact

    f = inspect.signature(getattr(crossent, name)).parameters
    e = inspect.signature(getattr(exact, name)).parameters
    assert set(f) - {"dtype"} <= set(e)
    assert e["digits"].default == 50


def test_public_api__needs_numpy_alone():
    """Importing the package imports no test library and no framework."""
    import subprocess
    import sys

    code = (
        "import sys, crossent; "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'hypothesis', 'pytest', 'scipy', 'torch', 'jax', 'ml_dtypes'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
