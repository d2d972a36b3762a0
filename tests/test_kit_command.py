"""The command line of the kit: what it passes on, prints, writes and returns."""

import io
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from crossent.testing import Broken, Call, Law, _command, measure
from crossent.testing import __main__ as command_line
from crossent.testing._calls import SPECS
from crossent.testing._report import ConformanceReport, Counterexample, Verdict

SETTINGS = {"dtypes": ["float64"], "seed": 7, "supports": []}


def law(name):
    return Law(name, f"Why {name}.", f"{name} = 0", lambda made, call: None, ("softplus",), {})


def report(spec="softplus", *, breaks=False):
    """Of three laws: one holds, one is passed over, one may be broken."""
    broken = Broken(Call(spec, np.array([1.0])), "value", "not 0", "1.0", "0")
    told = Counterexample("f(np.array([1.0]))", "value: not 0", "1.0", "0", broken)
    verdicts = (
        Verdict(law("one"), 12),
        Verdict(law("two"), 0, reason="needs where"),
        Verdict(law("three"), 3, told if breaks else None),
    )
    return ConformanceReport("f", spec, verdicts, SETTINGS)


@pytest.fixture
def asked(monkeypatch):
    """What `conformance_report` is called with; it finds nothing wrong unless told."""
    calls = []

    def conformance_report(function, spec, **given):
        calls.append((function, spec, given))
        return report(spec, breaks=function is len)

    monkeypatch.setattr(_command, "conformance_report", conformance_report)
    return calls


def test_command__help_says_what_can_be_given(capsys, monkeypatch):
    """Each argument, and its default where it has one."""
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as caught:
        command_line.main(["--help"])
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("usage: python -m crossent.testing [-h] --spec {" + ",".join(SPECS) + "}")
    about = "Hold a function against the laws of cross-entropy; without arguments, crossent itself."
    assert f" function {about} positional arguments" in out
    helps = {
        "function": "module:function, or path/to/file.py:function",
        "--grad": "module:function of its gradient",
        "--supports": "options that it has, with commas; by default its parameters'",
        "--dtypes": "dtypes of the logits (float32,float64)",
        "--tolerance": "ulps of values and gradients: 100, or 100,1000",
        "--laws": "names of laws, with commas; by default all",
        "--max-examples": "calls for each law (100)",
        "--seed": "the same seed draws the same calls",
        "--report": "file for the report: .md, .json, or text",
    }
    for name, text in helps.items():
        upper = f" {name[2:].upper().replace('-', '_')}" if name.startswith("--") else ""
        assert f"{name}{upper} {text}" in out
    assert out.endswith(helps["--report"])
    assert f"{{{','.join(SPECS)}}} which function it is" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["math:exp"], "the following arguments are required: --spec"),
        (["math:exp", "--spec", "hinge"], "argument --spec: invalid choice: 'hinge'"),
        (["math:exp", "--spec", "softplus", "--seed", "1.5"], "argument --seed: invalid int value: '1.5'"),
        (["--spec", "softplus"], "the following arguments are required: function"),
        (
            ["math:exp", "--spec", "softplus", "--max-examples", "x"],
            "argument --max-examples: invalid int value: 'x'",
        ),
    ],
)
def test_command__refuses_what_it_cannot_read(asked, capsys, arguments, message):
    """Status 2, like every command."""
    with pytest.raises(SystemExit) as caught:
        command_line.main(arguments)
    assert caught.value.code == 2
    assert f"python -m crossent.testing: error: {message}" in capsys.readouterr().err
    assert not asked


def test_command__passes_on_what_is_given(asked):
    """Everything, and nothing that is not."""
    import math

    assert command_line.main(["math:exp", "--spec", "softmax"]) == 0
    (function, spec, given) = asked.pop()
    assert (function, spec) == (math.exp, "softmax")
    assert callable(given.pop("progress"))
    assert given == {
        "grad": None, "supports": None, "dtypes": ["float32", "float64"], "tolerance": None, "laws": None,
        "max_examples": 100, "seed": None,
    }  # fmt: skip
    options = {
        "--grad": "os:path.join", "--supports": "axis, dtype", "--dtypes": "float16,", "--tolerance": "3",
        "--laws": "one,two", "--max-examples": "5", "--seed": "0",
    }  # fmt: skip
    words = [word for option in options.items() for word in option]
    assert command_line.main(["--spec", "softmax", *words, "math:log"]) == 0
    (function, spec, given) = asked.pop()
    assert (function, given.pop("grad").__name__) == (math.log, "join")
    del given["progress"]
    assert given == {
        "supports": ["axis", "dtype"], "dtypes": ["float16"], "tolerance": (3.0, 3.0), "laws": ["one", "two"],
        "max_examples": 5, "seed": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "due"), [(None, None), ("7", (7, 7)), ("7.5, 1e3", (7.5, 1000)), ("", 0), ("1,2,3", 0)]
)
def test_command__tolerance_is_one_number_or_two(text, due, asked, capsys):
    """Of three the middle one would be lost."""
    words = [] if text is None else ["--tolerance", text]
    status = command_line.main(["math:exp", "--spec", "softplus", *words])
    err = capsys.readouterr().err
    if due == 0:
        message = f"tolerance must be ulps, one number or two, got {text!r}\n"
        assert (status, err, asked) == (2, f"python -m crossent.testing: {message}", [])
    else:
        assert (status, err, asked[0][2]["tolerance"]) == (0, "", due)


@pytest.mark.parametrize(
    ("suffix", "form"), [(".md", "markdown"), (".json", "json"), (".txt", "text"), ("", "text")]
)
def test_command__writes_a_report(asked, capsys, tmp_path, suffix, form):
    """In the form of the file's name, and on the terminal as text."""
    file = tmp_path / f"µ{suffix}"
    assert command_line.main(["builtins:len", "--spec", "softplus", "--report", str(file)]) == 1
    due = report(breaks=True)
    assert file.read_bytes().decode("utf-8").replace("\r\n", "\n") == getattr(due, form)().rstrip() + "\n"
    assert capsys.readouterr().out == f"\n{due.text()}\n\nwritten to {file}\n"
    assert form != "json" or json.loads(file.read_text(encoding="utf-8"))["conforms"] is False


def test_command__prints_the_report_alone_without_a_file(asked, capsys):
    """After an empty line that ends the progress."""
    assert command_line.main(["math:exp", "--spec", "softplus"]) == 0
    assert capsys.readouterr() == (f"\n{report().text()}\n", "")


class Stream(io.StringIO):
    """Knows what was written when it was last asked to show it."""

    flushed = ""

    def flush(self):
        self.flushed = self.getvalue()


def test_command__prints_a_line_a_law_as_it_is_known(asked, capsys, monkeypatch):
    """Numbered, of as many as there are."""
    names = "value_is_the_definition, nan_stays_in_its_position, class_weights_are_per_class"
    assert command_line.main(["math:exp", "--spec", "softplus", "--laws", names]) == 0
    monkeypatch.setattr(sys, "stdout", Stream())
    for verdict in report(breaks=True).verdicts:
        asked[0][2]["progress"](verdict)
        assert sys.stdout.flushed == sys.stdout.getvalue()
    assert sys.stdout.flushed.splitlines() == [
        f"[ 1/2] {'one':42} holds         12 examples",
        f"[ 2/2] {'two':42} passed over",
        f"[ 3/2] {'three':42} broken         3 examples",
    ]
    command_line.main(["math:exp", "--spec", "softplus"])
    asked[1][2]["progress"](report().verdicts[0])
    every = sum("softplus" in each.specs for each in _command.LAWS)
    assert sys.stdout.flushed.splitlines()[-1].startswith(f"[ 1/{every}] one ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exp", "expected module:function, got 'exp'"),
        ("no:such_module_here:f", "No module named 'no:such_module_here'"),
        ("no_such_module_here:f", "No module named 'no_such_module_here'"),
        ("math:no_such_function", "module 'math' has no attribute 'no_such_function'"),
    ],
)
def test_command__says_which_function_there_is_not(asked, capsys, text, message):
    """Of the function and of its gradient."""
    for words in ([text], ["math:exp", "--grad", text]):
        assert command_line.main([*words, "--spec", "softplus"]) == 2
        assert capsys.readouterr() == ("", f"python -m crossent.testing: {message}\n")
    assert not asked


def test_command__loads_a_file_by_its_path(asked, tmp_path):
    """Under its own name, and attributes of attributes."""
    file = tmp_path / "my_file.py"
    file.write_text(
        "name = __name__\nclass Losses:\n    def __call__(self): return name\nlosses = Losses()\n"
    )
    assert command_line.main([f"{file}:Losses.__call__", "--spec", "softplus"]) == 0
    assert asked[0][0](None) == "my_file"
    assert "my_file" not in sys.modules


class Adapter:
    """Stands for crossent's own."""

    def __init__(self, spec, seen, breaks):
        self.spec, self.seen, self.breaks = spec, seen, breaks

    def conforms(self, **given):
        self.seen.append((self.spec, given))
        assert sys.stdout.flushed == sys.stdout.getvalue()  # it takes a while: what is known is shown
        return report(self.spec, breaks=self.spec == self.breaks)


def cell(function, dtype, ulp, limit=4.0):
    return measure.Cell(function, "mean", "scale 1", dtype, limit=limit, ulp=ulp)


CELLS = [
    cell("softplus", "float32", 1.25),
    cell("softplus", "float32", 2.5),
    cell("softplus", "float32", 0.5),
    cell("softplus", "float64", 3.0),
    cell("softplus_grad", "float16", 0.5),
    cell("entropy", "float64", 0.0),
]
TABLE = """\
worst error in ulp                 laws kept  value f16  value f32  value f64   grad f16   grad f32   grad f64
softplus                              2 of 3                  2.50       3.00       0.50
entropy                                                                  0.00"""


@pytest.mark.parametrize(
    ("breaks", "over"), [(None, False), ("softplus", False), (None, True), ("sigmoid", True)]
)
def test_command__holds_crossent_against_laws_and_limits(monkeypatch, breaks, over):
    """What it prints; status 1 for a broken law or for a limit that is passed."""
    seen = []
    worse = [cell("kl_divergence", "float64", np.inf), cell("perplexity", "float64", 9.876)]
    cells = [*CELLS, *worse] if over else CELLS
    lines_when_measured = []
    monkeypatch.setattr(_command, "SPECS", ("softplus", "sigmoid"))
    monkeypatch.setattr(
        _command, "adapt", lambda name, spec: Adapter(spec, seen, breaks) if name == "crossent" else None
    )

    def measured(**given):
        seen.append(given)
        lines_when_measured.extend(sys.stdout.flushed.splitlines())
        return cells

    monkeypatch.setattr(measure, "measure", measured)
    monkeypatch.setattr(_command, "time", SimpleNamespace(perf_counter=iter([100.0, 103.6]).__next__))
    monkeypatch.setattr(sys, "stdout", Stream())
    assert command_line.main([]) == int(over or breaks is not None)
    assert seen[:2] == [
        ("softplus", {"max_examples": 15, "seed": len("softplus")}),
        ("sigmoid", {"max_examples": 15, "seed": len("sigmoid")}),
    ]
    assert set(seen[2]) == {"dtypes", "size", "regimes"}
    assert (seen[2]["dtypes"], seen[2]["size"]) == (("float16", "float32", "float64"), 100)
    assert set(seen[2]["regimes"]) <= set(measure.REGIMES)
    out = sys.stdout.getvalue()
    lines = out.splitlines()
    assert lines_when_measured == lines[:4]
    assert re.fullmatch(r"crossent on NumPy \S+, Python \S+, \S+", lines[0])
    assert lines[1:4] == [
        "laws: 15 calls each, float16, float32, float64, every option",
        *(f"  {report(spec, breaks=spec == breaks).summary}" for spec in ("softplus", "sigmoid")),
    ]
    more = [f"{'kl_divergence':74}inf", f"{'perplexity':73}9.88"] if over else []
    kept = "1" if breaks == "softplus" else "2"
    table = "\n".join([TABLE.replace("2 of 3", f"{kept} of 3"), *(line.rstrip() for line in more)])
    told = [f"\n{table}\n"]
    if breaks:
        broken = _command.explained(report(breaks, breaks=True).broken[0])
        told.append(f"{broken}\n")
    if over:
        told.append("over the limit: kl_divergence float64 mean, scale 1: inf ulp\n")
        told.append("over the limit: perplexity float64 mean, scale 1: 9.88 ulp\n")
    told.append(f"{int(breaks is not None)} laws broken, {2 * over} limits passed, 4 seconds\n")
    assert out == "\n".join([*lines[:4], *told])
