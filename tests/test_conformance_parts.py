"""The kit's strategies, calls as text, command line and adapters."""

import importlib
import json
import subprocess
import sys
import types
import warnings
from typing import ClassVar

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import crossent
from crossent.testing import LAWS, Call, _command, _hypothesis, adapters, measure, strategies
from crossent.testing import __main__ as command_line
from crossent.testing._calls import BINARY, CLASS_LOSSES, LOSSES, OPTIONS, SPECS
from crossent.testing._trials import subject
from crossent.testing._truth import exact

NAMES = {"np": np}


# ---------------------------------------------------------------------------------------
# calls as text


def same(a, b):
    """The same numbers in the same dtype and shape."""
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@pytest.mark.parametrize("spec", SPECS)
@given(data=st.data())
def test_call__prints_as_python_that_gives_the_same_call(spec, data):
    """A counter-example is pasted, and is the same in every bit."""
    call = data.draw(strategies.loss_calls(spec, dtypes=("float16", "float32", "float64")))

    def f(x, target=None, *, grad_output=None, **options):
        return Call(spec, x, target, options, grad_output)

    again = eval(call.text("f"), {**NAMES, "f": f})
    assert same(again.x, call.x)
    assert same(again.target, call.target)
    assert same(again.grad_output, call.grad_output)
    assert list(again.options) == list(call.options)
    assert all(same(again.options[k], v) for k, v in call.options.items())
    namespace = {**NAMES, "crossent": types.SimpleNamespace(**{spec: f, f"{spec}_grad": f})}
    assert repr(eval(repr(call), namespace)) == repr(call)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([0.1], np.float32), "np.array([0.1], dtype='float32')"),
        (np.array([[np.nan, -np.inf], [1e30, -0.0]]), "np.array([[np.nan, -np.inf], [1e+30, -0.0]])"),
        (np.array(3), "np.array(3)"),
        (np.array([True]), "np.array([True])"),
        (np.array([1], ">i4"), "np.array([1], dtype='>i4')"),
        (np.zeros((2, 0)), "np.array([]).reshape(2, 0)"),
        (np.zeros((0,), np.int8), "np.array([], dtype='int8').reshape(0,)"),
        (np.full((100, 2), 0.5), "np.full((100, 2), 0.5, dtype='float64')"),
        (np.full(100, np.nan), "np.full((100,), np.nan, dtype='float64')"),
        (np.arange(100) % 3, "np.array([0, 1, 2])[np.arange(100) % 3]"),
        (np.tile([[0.0, 1.0]], (1, 50)), "np.array([[0.0, 1.0]])[..., np.arange(100) % 2]"),
    ],
)
def test_call__arrays_as_text(array, text):
    """Short, and the same again."""
    from crossent.testing._calls import literal

    assert literal(array) == text
    assert same(eval(text, NAMES), array)


def test_call__long_arrays_without_a_pattern_are_written_out():
    """Nothing is left out: it could not be pasted."""
    from crossent.testing._calls import literal

    x = np.random.default_rng(0).normal(size=(7, 9))
    assert same(eval(literal(x), NAMES), x)
    assert literal(np.float64) == "np.float64"


def test_call__is_what_hypothesis_prints():
    """In the message of a failing test of the user's own."""

    @settings(max_examples=5, database=None)
    @given(strategies.loss_calls("softplus", regimes=["ties"]))
    def fails(call):
        raise ValueError

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        fails()
    assert "call=crossent.softplus" in "\n".join(caught.value.__notes__)


# ---------------------------------------------------------------------------------------
# strategies


@pytest.mark.parametrize("regime", strategies.REGIMES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(data=st.data())
def test_logits__are_what_the_regime_says(regime, dtype, data):
    """Edge values where they are asked for, and only there."""
    shape = data.draw(st.sampled_from([(2, 3), (), (5, 7)]))
    z = data.draw(strategies.logits(shape, dtype, regimes=[regime]))
    assert z.shape == shape
    assert z.dtype == dtype
    if regime in strategies.FINITE:
        assert np.all(np.isfinite(z))
    if regime == "masked":
        assert not np.any(np.isposinf(z) | np.isnan(z))
    if regime == "infinite":
        assert not np.any(np.isnan(z))


def test_logits__have_every_edge_by_default():
    """Ties, infinities, NaN, subnormals, large offsets, confident margins."""
    seen = set()

    @settings(max_examples=400, database=None)
    @given(strategies.logits(st.sampled_from([(3, 4), (4,)]), "float64"))
    def look(z):
        finite = np.isfinite(z)
        marks = {
            "tie": len(np.unique(z)) < z.size,
            "nan": np.isnan(z).any(),
            "inf": np.isposinf(z).any(),
            "-inf": np.isneginf(z).any(),
            "large": (np.abs(z[finite]) > 1e20).any(),
            "tiny": ((z != 0) & (np.abs(z) < 1e-300)).any(),
            "margin": (np.abs(z[finite]) > 500).any(),
        }
        seen.update(mark for mark, there in marks.items() if there)

    look()
    assert seen == {"tie", "nan", "inf", "-inf", "large", "tiny", "margin"}


@given(data=st.data())
def test_targets_weights_and_masks__fit(data):
    """Each strategy by itself, as in a test of the user's own."""
    y = data.draw(strategies.class_targets((4,), 3, dtype="int8", ignore_index=-5))
    assert y.dtype == np.int8
    assert set(y.tolist()) <= {0, 1, 2, -5}
    q = data.draw(strategies.probability_targets((2, 5, 3), "float64", axis=1))
    assert q.shape == (2, 5, 3)
    assert np.allclose(q.sum(axis=1), 1)
    assert np.all(q >= 0)
    w = data.draw(strategies.class_weights(5, "float32", zeros=False))
    assert w.shape == (5,)
    assert np.all(w > 0)
    g = data.draw(strategies.cotangents((2,), "float64"))
    assert g.shape == (2,)
    m = data.draw(strategies.where_masks((3, 4)))
    assert np.broadcast_to(m, (3, 4)).dtype == bool
    assert data.draw(strategies.where_masks((3, 4), broadcast=False)).shape == (3, 4)


@pytest.mark.parametrize("spec", SPECS)
@given(data=st.data())
def test_loss_calls__are_calls_that_crossent_takes(spec, data):
    """All options combined, and nothing that the contract refuses."""
    call = data.draw(strategies.loss_calls(spec))
    assert set(call.options) <= set(OPTIONS[spec])
    value = np.asarray(getattr(crossent, spec)(*call.arguments, **call.options))
    grad = getattr(crossent, f"{spec}_grad")(*call.arguments, **call.options, grad_output=call.grad_output)
    e = exact(call)
    assert value.shape == e.value.shape
    assert grad.shape == e.grad.shape == call.x.shape
    assert value.dtype == call.result


@pytest.mark.parametrize("spec", SPECS)
@given(data=st.data())
def test_loss_calls__hold_only_what_is_supported(spec, data):
    """An option that a function does not have is never passed."""
    call = data.draw(strategies.loss_calls(spec, (), kinds=["index"], ndims=["2"], min_rows=2, min_classes=2))
    assert not call.options
    assert call.grad_output is None
    assert call.x.ndim == 2
    assert min(call.x.shape) >= 2
    if spec in CLASS_LOSSES:
        assert call.index
        assert call.target.min() >= 0


def test_strategies__refuse_what_there_is_not():
    """A typing mistake would draw something else."""
    with pytest.raises(ValueError, match=r"regimes must be among plain, .*, got wild"):
        strategies.logits((2,), regimes=["wild"])
    with pytest.raises(ValueError, match="regimes must be among"):
        strategies.logits((2,), regimes=[])
    with pytest.raises(ValueError, match="spec must be one of"):
        strategies.loss_calls("hinge")
    with pytest.raises(ValueError, match="dtype must be one of float16, float32, float64, got int8"):
        strategies.logits((2,), "int8")
    for wrong in (
        {"supports": ["wieght"]}, {"supports": ["pos_weight"]}, {"always": ["wieght"]}, {"without": ["x"]},
        {"ndims": [5]}, {"kinds": ["indices"]}, {"reductions": ["avg"]},
    ):  # fmt: skip
        ((name, (value,)),) = wrong.items()
        with pytest.raises(ValueError, match=f"^{name} must be among .*, got {value}$"):
            strategies.loss_calls("cross_entropy", **wrong)
    for label in ({"num_classes": 129}, {"num_classes": 3, "ignore_index": -129}):
        with pytest.raises(ValueError, match=r"asks for label -?12[89], which int8 does not hold"):
            strategies.class_targets((3,), dtype="int8", **label)


@pytest.mark.parametrize("spec", LOSSES)
def test_strategies__ask_for_labels_that_the_model_predicts(spec):
    """In a quarter of the calls: one wrong answer hides the digits of all right ones in a mean."""
    right = []
    supports = [] if spec == BINARY else ["ignore_index"]

    @settings(max_examples=60)
    @given(strategies.loss_calls(spec, supports, kinds=["index"], ndims=[2], min_classes=5, min_rows=3))
    def draws(call):
        likely = call.x > 0 if spec == BINARY else call.x.argmax(axis=1)
        ignored = call.target == call.options.get("ignore_index", -100)
        right.append(np.all(ignored | (call.target == likely)) and not np.all(ignored))

    draws()
    assert 5 <= sum(right) < 40


def test_strategies__say_what_to_install(monkeypatch):
    """Without Hypothesis: one sentence, not a traceback of somebody's import."""

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(_hypothesis.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r'pip install "crossent\[testing\]"'):
        _hypothesis.hypothesis()


def test_command__says_what_to_install(monkeypatch, capsys):
    """On a fresh install: one sentence, not a traceback."""

    def missing(*names):
        raise ImportError(_hypothesis.MESSAGE)

    monkeypatch.setattr(_command, "adapt", missing)
    assert command_line.main([]) == 2
    assert 'pip install "crossent[testing]"' in capsys.readouterr().err


def test_testing__imports_no_hypothesis():
    """It is imported when it is used: `check_grad` needs none."""
    import subprocess

    code = "import sys, crossent.testing, crossent.testing.adapters; print('hypothesis' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# ---------------------------------------------------------------------------------------
# laws as data


def test_laws__are_told_in_full():
    """A name, a sentence on why it matters, a formula: what a report prints."""
    assert len({law.name for law in LAWS}) == len(LAWS)
    for law in LAWS:
        assert law.why.endswith(".")
        assert law.formula
        assert set(law.specs) <= set(SPECS)
        assert law.mode in ("digits", "half", "structure")


# ---------------------------------------------------------------------------------------
# the command line


MODULE = """
import numpy as np

def softplus(x):
    with np.errstate(all="ignore"):
        return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)

def wrong(x):
    return np.maximum(x, 0)

def grad(x, grad_output=None):
    return np.where(x > 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))

class Namespace:
    f = staticmethod(softplus)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_losses", None)


def run(*arguments):
    return command_line.main(["--spec", "softplus", "--seed", "1", "--max-examples", "10", *arguments])


def test_command__passes_a_function_that_is_right(module, capsys):
    """Status 0, a line a law."""
    # a flag may come first: what is not a command of its own is a function to check
    assert (
        run("my_losses:softplus", "--laws", "confident_predictions_keep_their_digits", "--tolerance", "20")
        == 0
    )
    out = capsys.readouterr().out
    assert "confident_predictions_keep_their_digits    holds         10 examples" in out
    assert run(f"{module / 'my_losses.py'}:Namespace.f", "--laws", "nan_stays_in_its_position") == 0


@pytest.mark.parametrize(
    ("suffix", "start"), [("md", "# wrong as softplus"), ("json", "{"), ("txt", "wrong breaks")]
)
def test_command__tells_what_is_broken(module, capsys, suffix, start):
    """Status 1, a table at the end, a report in a file."""
    file = module / f"out.{suffix}"
    assert (
        run("my_losses:wrong", "--grad", "my_losses:grad", "--report", str(file), "--dtypes", "float64") == 1
    )
    out = capsys.readouterr().out
    assert "value_is_the_definition" in out
    assert "came:" in out
    assert "broken  value_is_the_definition" in out
    assert file.read_text().startswith(start)
    if suffix == "json":
        assert not json.loads(file.read_text())["conforms"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my_losses"], "expected module:function"),
        (["no_such_module:f"], "no_such_module"),
        (["my_losses:no_such_function"], "no_such_function"),
        (["my_losses:softplus", "--supports", "gravity"], "supports may hold"),
        (["no_such_file.py:f"], "no_such_file.py"),
    ],
)
def test_command__says_what_it_cannot_do(module, capsys, arguments, message):
    """Status 2: nothing was tested."""
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_command__checks_crossent_itself(monkeypatch, capsys):
    """Every function, every option, and the worst error of each; the large laws are tried elsewhere."""

    class Quick:
        def __init__(self, framework, spec):
            self.adapter = adapters.adapt(framework, spec)

        def conforms(self, **settings):
            return self.adapter.conforms(laws=[law for law in LAWS if law.most is None], **settings)

    monkeypatch.setattr(_command, "adapt", Quick)
    monkeypatch.setattr(_command, "_SELF_EXAMPLES", 1)
    monkeypatch.setattr(_command, "_SELF_SIZE", 5)
    monkeypatch.setattr(_command, "_SELF_REGIMES", ("scale 1",))
    assert command_line.main([]) == 0
    out = capsys.readouterr().out
    for name in measure.FUNCTIONS:
        assert name.removesuffix("_grad") in out
    assert "0 laws broken, 0 limits passed" in out


def test_command__fails_when_crossent_does(monkeypatch, capsys):
    """Status 1 for a broken law, and for a limit that is passed."""
    monkeypatch.setattr(_command, "_SELF_EXAMPLES", 1)
    monkeypatch.setattr(_command, "SPECS", ("sigmoid",))
    bad = measure.Cell("sigmoid", "", "scale 1", "float32", limit=4.0, ulp=9.0)
    monkeypatch.setattr(_command.measure, "measure", lambda **settings: [bad])
    assert command_line.main([]) == 1
    assert "over the limit: sigmoid float32" in capsys.readouterr().out
    monkeypatch.setattr(crossent, "sigmoid", lambda x: 0 * x)
    monkeypatch.setattr(_command.measure, "measure", lambda **settings: [])
    assert command_line.main([]) == 1
    assert "due:" in capsys.readouterr().out


def test_command__measures(capsys):
    """The meter is still there."""
    assert command_line.main(["measure", "--function", "sigmoid", "--dtype", "float16", "--quick"]) == 0
    assert "sigmoid" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------
# adapters, with stand-ins for the frameworks (tests/peers has the real ones)


class Tensor(np.ndarray):
    """An array that looks like a tensor of PyTorch."""

    def numpy(self):
        return np.asarray(self)

    def requires_grad_(self):
        return self

    def backward(self, g):
        Tensor.seen.append(np.asarray(g))

    @property
    def grad(self):
        return np.zeros_like(self)

    seen: ClassVar[list] = []


def _take(f):
    return lambda x, *a, **o: np.asarray(f(np.asarray(x), *a, **o)).view(Tensor)


@pytest.fixture
def stand_ins(monkeypatch):
    """Modules that do what the frameworks do, by crossent."""
    c = crossent
    functional = types.SimpleNamespace(
        softplus=_take(c.softplus),
        logsigmoid=_take(c.log_sigmoid),
        nll_loss=_take(c.nll_loss),
        cross_entropy=_take(c.cross_entropy),
        binary_cross_entropy_with_logits=_take(getattr(c, BINARY)),
    )
    torch = types.SimpleNamespace(
        nn=types.SimpleNamespace(functional=functional),
        from_numpy=lambda a: a.view(Tensor),
        ones_like=np.ones_like,
        logsumexp=_take(lambda x, axis, keepdims: c.logsumexp(x, axis, keepdims=keepdims)),
        log_softmax=_take(c.log_softmax),
        softmax=_take(c.softmax),
        sigmoid=_take(c.sigmoid),
    )
    nn = types.SimpleNamespace(
        logsumexp=c.logsumexp,
        log_softmax=c.log_softmax,
        softmax=c.softmax,
        softplus=c.softplus,
        log_sigmoid=c.log_sigmoid,
        sigmoid=c.sigmoid,
    )
    jax = types.SimpleNamespace(
        numpy=np,
        nn=nn,
        enable_x64=lambda on: np.errstate(),
        jit=lambda f: f,
        vjp=lambda f, x: (f(x), lambda g: (np.zeros_like(x),)),
    )

    def losses(x, y, axis):
        return c.cross_entropy(x, y, axis=axis, reduction="none")

    optax = types.SimpleNamespace(
        softmax_cross_entropy=losses,
        softmax_cross_entropy_with_integer_labels=losses,
        sigmoid_binary_cross_entropy=lambda x, y: getattr(c, BINARY)(x, y, reduction="none"),
    )
    special = types.SimpleNamespace(
        logsumexp=c.logsumexp,
        log_softmax=c.log_softmax,
        softmax=c.softmax,
        log_expit=c.log_sigmoid,
        expit=c.sigmoid,
    )

    def log_loss(y, p, normalize, labels):
        with np.errstate(all="ignore"):
            picked = np.where(y == 1, p, 1 - p) if np.ndim(p) == 1 else p[np.arange(len(y)), y]
            return (np.mean if normalize else np.sum)(-np.log(picked))

    class Evaluator:
        def __init__(self, model):
            self.model = model

        def run(self, _, feeds):
            operator, options = self.model
            x, *rest = feeds.values()
            if operator == "ReduceLogSumExp":
                return [c.logsumexp(x, tuple(rest[0].tolist()), keepdims=bool(options["keepdims"]))]
            if len(rest) == 2:
                options = {**options, "weight": rest.pop()}
            name = {
                "LogSoftmax": "log_softmax",
                "NegativeLogLikelihoodLoss": "nll_loss",
                "SoftmaxCrossEntropyLoss": "cross_entropy",
            }.get(operator, operator.lower())
            return [getattr(c, name)(x, *rest, **options)]

    helper = types.SimpleNamespace(
        np_dtype_to_tensor_dtype=lambda d: d,
        make_tensor_value_info=lambda *a: a,
        make_node=lambda operator, inputs, outputs, **options: (operator, options),
        make_graph=lambda nodes, *a: nodes[0],
        make_model=lambda graph, **o: graph,
        make_opsetid=lambda *a: a,
    )
    found = {
        "torch": torch,
        "jax": jax,
        "optax": optax,
        "scipy.special": special,
        "sklearn.metrics": types.SimpleNamespace(log_loss=log_loss),
        "sklearn.utils.extmath": types.SimpleNamespace(softmax=lambda x: c.softmax(x, axis=1)),
        "onnx": types.SimpleNamespace(helper=helper),
        "onnx.reference": types.SimpleNamespace(ReferenceEvaluator=Evaluator),
    }
    real = importlib.import_module
    monkeypatch.setattr(adapters.importlib, "import_module", lambda name: found.get(name) or real(name))
    monkeypatch.setattr(adapters.importlib.metadata, "version", lambda name: "0")


KINDS = [(framework, spec) for framework, (_, specs, _) in adapters.FRAMEWORKS.items() for spec in specs]


@pytest.mark.parametrize(("framework", "spec"), KINDS)
def test_adapters__convert_and_name_and_do_nothing_else(framework, spec, stand_ins):
    """A framework that is as good as crossent is found to be: the wrapping adds no error and hides none."""
    adapter = adapters.adapt(framework, spec)
    assert adapter.version.startswith("0")
    assert adapter.implementation.__name__ in adapter.original
    laws = [
        "value_is_the_definition",
        "ignored_is_dropped",
        "several_axes_are_one",
        "memory_does_not_matter",
        "labels_may_have_any_integer_dtype",
        "gradient_is_the_definition",
    ]
    grad = adapter.grad if framework == "crossent" else None
    tolerance = 1e300 if framework == "sklearn" else None  # of probabilities, whose logarithm it takes
    report = adapter.conforms(
        laws=laws, max_examples=6, seed=1, grad=grad, tolerance=tolerance, dtypes=["float64"]
    )
    if framework != "sklearn":
        assert report.ok, report.text()
    if framework in ("torch", "jax"):  # the stand-ins' gradients are 0
        Tensor.seen.clear()
        call = Call(spec, np.zeros((2, 3)))
        rest = [np.ones(2, int) if spec in CLASS_LOSSES else np.ones((2, 3), int)] if spec in LOSSES else []
        assert not adapter.grad(call.x, *rest).any()
        g = np.float64(2) if spec in LOSSES else np.full(2 if spec == "logsumexp" else (2, 3), 2.0)
        assert not adapter.grad(call.x, *rest, grad_output=g).any()
        assert framework == "jax" or [v.ravel()[0] for v in Tensor.seen] == [1, 2]


def test_adapters__log_loss_refuses_what_it_has_not(stand_ins):
    """So that the kit does not test it."""
    f = adapters.adapt("sklearn", "cross_entropy").implementation
    with pytest.raises(ValueError, match="class indices"):
        f(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="means and sums"):
        f(np.zeros((2, 3)), np.zeros(2, int), reduction="none")
    with pytest.raises(ValueError, match="answers of 0 and 1"):
        adapters.adapt("sklearn", BINARY).implementation(np.zeros(2), np.full(2, 0.5))


def test_adapters__say_what_there_is():
    """Unknown names, and what a framework lacks."""
    with pytest.raises(ValueError, match=r"framework must be one of crossent, torch, .*, got 'theano'"):
        adapters.adapt("theano", "softmax")
    with pytest.raises(ValueError, match=r"scipy has logsumexp, .*, not 'nll_loss'"):
        adapters.adapt("scipy", "nll_loss")


def test_adapters__say_what_to_install(monkeypatch):
    """A framework that is not there is no missing metadata."""
    monkeypatch.setitem(adapters.FRAMEWORKS, "scipy", (*adapters.FRAMEWORKS["scipy"][:2], "no-such-package"))
    with pytest.raises(ImportError, match="no-such-package is not installed: pip install no-such-package"):
        adapters.adapt("scipy", "softmax")


def test_testing__has_its_modules_when_they_are_asked_for():
    """Without an import of their own."""
    code = (
        "import sys; from crossent import testing; assert 'hypothesis' not in sys.modules; "
        "print(testing.strategies.logits.__name__, testing.adapters.adapt.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "logits adapt\n"
    assert crossent.testing.__getattr__("adapters") is adapters
    with pytest.raises(AttributeError, match=r"module 'crossent\.testing' has no attribute 'strategy'"):
        crossent.testing.strategy  # noqa: B018


def test_adapters__of_crossent_hear_warnings():
    """No input may raise a floating-point warning: a silent one would pass."""

    def noisy(x):
        return np.exp(x)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(crossent, "softplus", noisy)
        with pytest.raises(FloatingPointError):
            adapters.adapt("crossent", "softplus").implementation(np.array([1e5]))


# ---------------------------------------------------------------------------------------
# branches that few draws reach


def tried(law, spec, call, *, grad=True):
    """Hold `crossent` to a law on one call."""
    gradient = getattr(crossent, f"{spec}_grad") if grad else None
    made = subject(getattr(crossent, spec), spec, grad=gradient)
    next(each for each in LAWS if each.name == law).check(made, call)


def test_laws__of_split_batches_need_no_gradient():
    """Values alone can be held to it."""
    call = Call("cross_entropy", np.zeros((3, 2)), np.array([0, 1, 1]), {"reduction": "sum"})
    tried("split_batches_add_up", "cross_entropy", call, grad=False)


def test_laws__of_gradient_rows_leave_out_what_overflows():
    """The sum of entries near the largest float is not a float, whoever adds."""
    g = np.array([[1e308, 0.0], [1.0, 2.0]])
    tried("gradient_rows_sum_to_zero", "log_softmax", Call("log_softmax", np.zeros((2, 2)), None, {}, g))


def test_laws__of_weights_know_that_losses_may_cancel():
    """Log-probabilities above 0 make losses below 0; found by 1,000 examples with the seed 2."""
    x = np.array([[-98.0, 0.0, 0.0], [-20.0, 0.0, 0.0], [117.6, 0.0, 0.0]])
    options = {"reduction": "sum", "weight": np.array([3.5, 1.5, 3.5])}
    tried("the_loss_is_linear_in_the_weights", "nll_loss", Call("nll_loss", x, np.array([0, 0, 0]), options))
