"""The test vectors: they are as generated, right, and find what their flags say."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import crossent
import laws
from crossent import exact
from crossent.testing import __main__ as command
from crossent.testing import _vector_files, load_vectors, numerical_grad
from crossent.testing._exact_gradients import answer
from crossent.testing._limits import limit
from crossent.testing._vector_bugs import BUGS
from crossent.testing._vector_cases import FUNCTIONS, cases
from crossent.testing._vectors import Due
from json_schema import violations
from truth import ZERO_OR_NAN

FOLDER = Path(crossent.__file__).parent / "testing" / "vectors"
PAGE = Path(__file__).parents[1] / "docs" / "vectors.md"
GENERATED = _vector_files.files()
VECTORS = {function: load_vectors(function) for function in FUNCTIONS}
EVERY = [v for each in VECTORS.values() for v in each]
ANSWERED = [v for v in EVERY if v.refused is None]
DIFFERENTIABLE = [*laws.LOSSES, *laws.ROWS, *laws.ELEMENTWISE]
FORMATS = {"float16": (11, -14), "float32": (24, -126), "float64": (53, -1022)}


# Scales where a factor is below the normal numbers: their ulp is the smallest normal number.
FLUSHED = {"float16": Decimal("1e-30"), "float32": Decimal("9.9e-32"), "float64": Decimal("1.01e-292")}


# -- the files -------------------------------------------------------------------------------------


def test_files__are_what_the_generator_writes():
    """Byte for byte, on any machine: a number in a file can be traced to the code that made it."""
    names = {path.name for path in FOLDER.iterdir() if path.suffix == ".json"}
    assert names == {*GENERATED, "schema.json"}
    for name, text in GENERATED.items():
        assert (FOLDER / name).read_bytes() == text.encode(), name


def test_files__follow_the_schema():
    """A reader in another language is written from the schema."""
    schema = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    for name, text in GENERATED.items():
        assert not list(violations(json.loads(text), schema)), name


BROKEN = {
    "an unknown name": lambda c: c.update(extra=1),
    "no value": lambda c: c.pop("value"),
    "a value and a refusal": lambda c: c.update(refused="IndexError"),
    "a gradient without a value": lambda c: c.update(refused="IndexError", value=c.pop("value"), gradient={}),
    "decimal inputs": lambda c: c["arguments"]["logits"].update(data=["0.5"]),
    "inputs that are numbers": lambda c: c["arguments"]["logits"].update(data=[0.5]),
    "an unknown dtype": lambda c: c["value"].update(dtype="float8"),
    "a negative length": lambda c: c["value"].update(shape=[-1]),
    "no limit": lambda c: c["value"].pop("ulp"),
    "a limit of 0": lambda c: c["value"].update(ulp=0),
    "a boolean length": lambda c: c["value"].update(shape=[True]),
    "an unknown option": lambda c: c["options"].update(smoothing=1),
    "a flag twice": lambda c: c.update(flags=["tied-maximum", "tied-maximum"]),
    "a flag that is no word": lambda c: c.update(wrong={"Tied Maximum": {"value": []}}),
    "an empty comment": lambda c: c.update(comment=""),
    "no arguments": lambda c: c.update(arguments={}),
    "no cases": None,
}


@pytest.mark.parametrize("name", BROKEN)
def test_schema__refuses_other_files(name):
    """The checker and the schema themselves are tried on planted mistakes."""
    schema = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    contents = json.loads(GENERATED["cross_entropy.json"])
    contents["cases"] = contents["cases"][:1]
    assert not list(violations(contents, schema))
    if BROKEN[name] is None:
        contents["cases"] = []
    else:
        BROKEN[name](contents["cases"][0])
    assert list(violations(contents, schema))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_files__arrays_are_as_long_as_their_shapes_say(function):
    """What a schema cannot say."""
    for case in json.loads(GENERATED[f"{function}.json"])["cases"]:
        parts = [case.get(name) for name in ("grad_output", "value", "gradient")]
        parts += [*case["arguments"].values(), *case["options"].values()]
        for part in parts:
            if isinstance(part, dict):
                size = int(np.prod(part["shape"]))
                assert len(part["data"]) == size, case["id"]
                assert len(part.get("scale", part["data"])) == size, case["id"]
        for wrong in case.get("wrong", {}).values():
            for part, data in wrong.items():
                assert part not in case or len(data) == len(case[part]["data"]), case["id"]


def test_files__are_small_enough_to_read():
    """A case fits on a screen, the folder into a repository."""
    for name in GENERATED.keys() - {"flags.json"}:
        cases_of = re.split(r'^    \{\n(?=      "id")', GENERATED[name], flags=re.MULTILINE)[1:]
        assert max(text.count("\n") for text in cases_of) <= 50, name
    assert sum(len(text) for text in GENERATED.values()) < 1_000_000


def test_files__are_well_spread():
    """Enough of everything: an implementer should not have to think of cases."""
    assert len(EVERY) >= 300
    assert {*DIFFERENTIABLE} <= {*FUNCTIONS}
    assert len({v.id for v in EVERY}) == len(EVERY)
    for function in FUNCTIONS:
        dtypes = {v.value.dtype.name for v in VECTORS[function] if v.value is not None}
        assert dtypes == set(FORMATS), function
    for function in laws.LOSSES:
        seen = {
            (v.options.get("reduction", "mean"), v.value.dtype.name)
            for v in ANSWERED
            if v.function == function
        }
        assert len(seen) == 9, function
    used = {name for v in VECTORS["cross_entropy"] for name in v.options}
    assert used == {
        *("axis", "dtype", "ignore_index", "label_smoothing", "reduction", "weight", "where"),
    }
    assert {"weight", "pos_weight", "where", "dtype"} <= {n for v in VECTORS[laws.BINARY] for n in v.options}
    assert {v.arguments["target"].dtype.kind for v in VECTORS["cross_entropy"]} == {"i", "u", "f"}
    assert all(any(v.grad_output is not None for v in VECTORS[f]) for f in DIFFERENTIABLE)


# -- what they say ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_crossent__passes(function):
    """Values and gradients, also from one pass, in the right dtype, without a warning."""
    failed = []
    for v in VECTORS[function]:
        arguments, upstream = tuple(v.arguments.values()), {"grad_output": v.grad_output}
        call = partial(getattr(crossent, function), *arguments, **v.options)
        if v.refused is not None:
            with pytest.raises(Exception, match=r"target|label_smoothing") as caught:
                call()
            assert type(caught.value).__name__ == v.refused, v.id
            continue
        results = [(call(), v.value)]
        if v.gradient is not None:
            results += [
                (getattr(crossent, f"{function}_grad")(*arguments, **v.options, **upstream), v.gradient)
            ]
        if function in laws.LOSSES:
            both = getattr(crossent, f"{function}_value_and_grad")(*arguments, **v.options, **upstream)
            results += zip(both, (v.value, v.gradient), strict=True)
        for got, due in results:
            if got.dtype != due.dtype or not due.accepts(got):
                failed.append((v.id, v.comment, got, due))
    assert not failed


def _call(v):
    """A vector as the call that the tests' own derivation takes."""
    x, *target = v.arguments.values()
    if x.dtype.kind in "iu":
        x = x.astype(np.float64)
    g = v.grad_output
    if g is not None and v.function not in laws.LOSSES:
        g = np.broadcast_to(g, v.value.exact.shape)
    return laws.Call(v.function, x, *target, options=dict(v.options), grad_output=g)


def _near(a, b, size):
    """To 38 digits; what the tests' derivation takes as a plain difference has 58 of the size."""
    if not (a.is_finite() and b.is_finite()):
        return str(a) == str(b)
    return abs(a - b) <= max(abs(b) * Decimal("1e-38"), abs(size) * Decimal("1e-58"))


PLAIN_AXES = [
    v for v in ANSWERED if v.function in DIFFERENTIABLE and isinstance(v.options.get("axis", -1), int)
]


@laws.in_context
@pytest.mark.parametrize("function", DIFFERENTIABLE)
def test_expected__agrees_with_the_tests_own_derivation(function):
    """Two derivations of every gradient, written independently, to 38 digits."""
    seen = 0
    for v in PLAIN_AXES:
        if v.function != function or "keepdims" in v.options or v.gradient.exact.size == 0:
            continue
        due = laws.exact(_call(v))
        for ours, theirs, scale, own in (
            (v.value.exact, due.value, due.value_scale, v.value.scale),
            (v.gradient.exact, due.grad, due.grad_scale, v.gradient.scale),
        ):
            for a, b, size, s in zip(ours.flat, theirs.flat, scale.flat, own.flat, strict=True):
                if b.compare_total(ZERO_OR_NAN) == 0:
                    assert a == 0 or a.is_nan(), v.id
                    continue
                assert _near(a, b, size), (v.id, a, b)
                if s and s > FLUSHED[v.value.dtype.name]:
                    assert size <= s <= size * Decimal("1.00002"), (v.id, s, size)
                elif b.is_finite():
                    assert size <= max(abs(b), s) * Decimal("1.00002"), (v.id, s, size)
                seen += 1
    assert seen > 40


EASY = [
    v
    for v in PLAIN_AXES
    if v.function in dir(exact)
    and v.value.dtype == np.float64
    and v.value.exact.size
    and all(n.is_finite() for due in (v.value, v.gradient) for n in due.exact.flat)
    and v.gradient.exact.size <= 6
][::6]


def test_expected__gradients_are_differences_of_the_definition():
    """The formula itself is on trial here: no derivation at all."""
    assert len(EASY) > 20
    for v in EASY:
        x, *target = v.arguments.values()
        options = {name: value for name, value in v.options.items() if name != "dtype"}
        g = v.grad_output

        def f(z, digits, v=v, target=target, options=options):
            return getattr(exact, v.function)(z, *target, **options, digits=digits)

        due = numerical_grad(f, x, grad_output=g)
        for a, b, error in zip(v.gradient.exact.flat, due.value.flat, due.error.flat, strict=True):
            assert abs(a - b) <= error + abs(a) * Decimal("1e-25"), v.id


def test_expected__limits_are_the_table_s():
    """One table of limits for tests, docs and vectors."""
    for v in ANSWERED:
        assert v.value.ulp == limit(v.function, v.value.dtype)
        assert v.gradient is None or v.gradient.ulp == limit(f"{v.function}_grad", v.gradient.dtype)


# -- flags -----------------------------------------------------------------------------------------


def test_flags__are_explained_once_and_used():
    """Every bug has its cases, every case's bug its explanation, and every explanation its function."""
    explained = json.loads(GENERATED["flags.json"])["flags"]
    used = {flag for v in EVERY for flag in v.flags}
    assert set(explained) == used == set(BUGS)
    for flag, text in explained.items():
        case = next(v for v in EVERY if v.id == text["example"]["case"])
        assert flag in case.flags
        assert text["example"]["due"] != text["example"]["wrong"]


def test_flags__wrong_answers_are_wrong():
    """The answer of the bug is outside the limit, so a case that passes shows that the bug is not there."""
    for v in EVERY:
        assert set(v.wrong) == set(v.flags), v.id
        for flag, parts in v.wrong.items():
            assert parts, (v.id, flag)
            for part, got in parts.items():
                due = getattr(v, part)
                if due is not None:
                    assert not due.accepts(got), (v.id, flag)
                else:
                    assert v.refused is not None, (v.id, flag)


def test_flags__a_bug_is_outside_ten_times_the_limit():
    """Who promises fewer digits than crossent still finds it, in float32 and float64."""
    for flag in BUGS:
        errors = [
            np.max(getattr(v, part).error(got) / getattr(v, part).ulp)
            for v in ANSWERED
            for part, got in v.wrong.get(flag, {}).items()
        ]
        assert flag == "label-wraps" or max(errors) > 10, flag


def test_generator__refuses_a_flag_that_finds_nothing():
    """A flag that does not find its bug would be a promise that is not kept."""
    case = replace(cases("cross_entropy")[0], flags=("all-ignored",))
    with pytest.raises(ValueError, match="does not find the bug 'all-ignored'"):
        _vector_files._case("cross_entropy-001", case, {})


@pytest.mark.parametrize("function", ["cross_entropy", "nll_loss", "logsumexp", "entropy"])
def test_generator__makes_each_case_of_a_file(function):
    """One case after the other; the first of each flag is its example."""
    contents, examples = json.loads(GENERATED[f"{function}.json"])["cases"], {}
    for case, due in list(zip(cases(function), contents, strict=True))[::3]:
        assert _vector_files._case(due["id"], case, examples) == due
    assert all(example["case"].startswith(function) for example in examples.values())


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0x1.999999999999ap-4"), (1.0, "0x1p+0"), (-0.0, "-0x0p+0"), (2.0**70, "0x1p+70"),
        (np.float32(1.5), "0x1.8p+0"), (np.inf, "inf"), (-np.inf, "-inf"), (np.nan, "nan"),
        (5e-324, "0x0.0000000000001p-1022"),
    ],
)  # fmt: skip
def test_generator__writes_floats_in_hexadecimal(number, text):
    """Exactly, without zeros at the end."""
    assert _vector_files._hexadecimal(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("-0", "0"), ("1.500", "1.5"),
        ("100", "100"),
        ("0.0001", "0.0001"), ("0.00001", "1e-5"), ("1e19", "1" + 19 * "0"), ("1e20", "1e+20"),
        (f"1.{'0' * 39}6", f"1.{'0' * 38}1"), (f"1.{'0' * 40}6", "1"),
    ],
)  # fmt: skip
def test_generator__writes_40_digits(number, text):
    """As C reads them, with an exponent where zeros would hide the digits."""
    assert _vector_files._decimal(Decimal(number)) == text


def test_generator__writes_arrays_and_options():
    """Floats in hexadecimal, integers and booleans as they are, a float as an array without axes."""
    array, option = _vector_files._array, _vector_files._option
    assert array(np.float32([[0.5, 1]])) == {
        "dtype": "float32",
        "shape": [1, 2],
        "data": ["0x1p-1", "0x1p+0"],
    }
    assert array(np.array([True, False])) == {"dtype": "bool", "shape": [2], "data": [True, False]}
    assert option(0.5) == {"dtype": "float64", "shape": [], "data": ["0x1p-1"]}
    assert option(np.int8([3])) == {"dtype": "int8", "shape": [1], "data": [3]}
    assert [option((1, 2)), option("mean"), option(-1)] == [[1, 2], "mean", -1]


@pytest.mark.parametrize(
    ("value", "scale", "least", "dtype", "due"),
    [
        ("1.5", "0", "1", "float64", "0"),
        ("-1.5", "1.5", "1", "float64", "0"),
        ("1", "1.0000001", "1", "float64", "1.00001"),  # rounded upwards
        ("-3", "2", "1", "float64", "0"),
        ("NaN", "2", "1", "float64", "0"),
        ("Infinity", "2", "1", "float64", "0"),
        ("1e-3", "2", "1", "float16", "2"),
        ("1e-3", "0", "1e-40", "float16", "0"),
        ("1e-3", "0", "2e-38", "float32", "0"),
        ("1e-40", "0", "1e-40", "float32", "9.86077E-32"),
        ("1e-31", "0", "1e-40", "float32", "0"),
        ("1e-40", "1", "1e-40", "float32", "1"),
    ],
)
def test_generator__scales(value, scale, least, dtype, due):
    """0 where the number's own ulps count; of a factor below the normal numbers, the smallest normal's."""
    got = _vector_files._scale(Decimal(value), Decimal(scale), Decimal(least), np.dtype(dtype))
    assert got == Decimal(due)


def test_generator__a_number_at_its_limit_is_right():
    """What a bug returns is wrong beyond the limit alone, and each part for itself."""
    due = {"dtype": "float64", "shape": [2], "ulp": 4.0, "data": ["1", "2"]}
    contents = {"value": due, "gradient": due}
    at, beyond = np.array([1 + 4 * 2.0**-52, 2.0]), np.array([1.0, 3.0])
    assert _vector_files._wrong(contents, {"value": at, "gradient": at})[0] == {}
    wrong, example = _vector_files._wrong(contents, {"value": at, "gradient": beyond})
    assert wrong == {"gradient": ["0x1p+0", "0x1.8p+1"]}
    assert example == {"of": "gradient", "due": "2", "wrong": "3.0"}
    least = Decimal(2.0**-126)  # the smallest normal number itself keeps its digits
    assert _vector_files._scale(Decimal("1e-39"), Decimal(0), least, np.dtype("float32")) == 0


def test_generator__fills_lines():
    """What fits on a line stands on one; objects in a list have lines of their own."""
    text, numbers = _vector_files._text, [10**10, *(10**9 + i for i in range(1, 30))]
    assert text({"a": 1, "b": []}) == '{\n  "a": 1,\n  "b": []\n}'
    assert text([{"a": 1}, {"b": "é"}]) == '[\n  {\n    "a": 1\n  },\n  {\n    "b": "é"\n  }\n]'
    lines = text(numbers).splitlines()
    assert [lines[0], lines[-1]] == ["[", "]"]
    assert lines[1:-1] == [
        "  " + ", ".join(map(str, numbers[i : i + 9])) + ("," if i < 27 else "") for i in (0, 9, 18, 27)
    ]
    assert len(lines[1]) == 110
    nested = text({"x": {"dtype": "int64", "data": numbers}}).splitlines()
    assert nested[1].startswith('  "x": {"dtype": "int64", "data": [')
    assert json.loads(text({"x": {"dtype": "int64", "data": numbers}})) == {
        "x": {"dtype": "int64", "data": numbers}
    }
    for width in range(60, 100):
        line = text({"a": {"b": {"c": "x" * width}}})
        assert ('"b": {"c"' in line) == (width <= 73), width


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["cross_entropy", "logsumexp", "softplus", "nll_loss", "perplexity"])
def test_load_vectors__holds_what_the_file_says(function):
    """Everything, exactly: written again, it is the file's."""
    array, option = _vector_files._array, _vector_files._option
    for v, case in zip(
        load_vectors(function), json.loads(GENERATED[f"{function}.json"])["cases"], strict=True
    ):
        assert (v.id, v.function, v.comment, list(v.flags)) == (
            case["id"],
            function,
            case["comment"],
            case["flags"],
        )
        assert {name: array(a) for name, a in v.arguments.items()} == case["arguments"]
        assert {name: option(a) for name, a in v.options.items()} == case["options"]
        assert list(v.arguments) == list(case["arguments"])
        assert not any(isinstance(a, list) for a in v.options.values())
        assert (None if v.grad_output is None else array(v.grad_output)) == case.get("grad_output")
        assert v.refused == case.get("refused")
        assert isinstance(v.options.get("label_smoothing", 0.0), float)
        for name in ("value", "gradient"):
            due = getattr(v, name)
            assert (due is None) == (name not in case)
            if due is not None:
                texts = [_vector_files._decimal(number) for number in due.exact.flat]
                assert (texts, list(due.exact.shape)) == (case[name]["data"], case[name]["shape"])
                assert (due.dtype.name, due.ulp) == (case[name]["dtype"], case[name]["ulp"])
                scales = [_vector_files._decimal(number) for number in due.scale.flat]
                assert scales == case[name].get("scale", ["0"] * len(texts))
        for flag, parts in v.wrong.items():
            for part, got in parts.items():
                assert array(got)["data"] == case["wrong"][flag][part]
                due = getattr(v, part)
                assert due is None or (got.dtype, got.shape) == (due.dtype, due.exact.shape)
        assert v.wrong.keys() == case.get("wrong", {}).keys()


def test_load_vectors__reads_the_files_of_cases_alone():
    """Every function's, in the order of their names; `flags.json` and the schema hold none."""
    assert sorted({v.function for v in load_vectors()}) == sorted(FUNCTIONS)
    with pytest.raises(ValueError, match="no vectors for 'flags'") as caught:
        load_vectors("flags")
    assert str(caught.value).partition("for ")[2].split("for ")[1].split(", ") == sorted(FUNCTIONS)


def test_load_vectors__names_what_there_is():
    """A slip in a name would test nothing."""
    with pytest.raises(ValueError, match=r"no vectors for 'softmaxx'; there are some for .*, softmax"):
        load_vectors("softmaxx")
    assert [v.id for v in load_vectors()] == sorted(v.id for v in EVERY)


def test_due__refuses_wrong_results():
    """The judge itself is tried on planted mistakes."""
    v = next(v for v in VECTORS["cross_entropy"] if v.comment == "one ignored position")
    good = crossent.cross_entropy_grad(*v.arguments.values(), **v.options)
    assert v.gradient.accepts(good)
    assert v.gradient.accepts(good * (1 + 2e-16))
    ignored = good.copy()
    ignored[1, 0] = 5e-324
    for bad in (-good, good * (1 + 4e-15), good[:2], good[0, 0], good + np.nan, good + np.inf, ignored):
        assert not v.gradient.accepts(bad)
    assert np.all(np.isinf(v.gradient.error(good[:2])))


def test_due__counts_in_ulps_of_its_own_dtype():
    """A result in another is rounded to it first; a scale widens the ulp; the limit itself is allowed."""
    third, one = np.array([Decimal(1) / 3]), np.array([Decimal(1)])
    due = Due(np.dtype("float32"), third, 4.0, np.array([Decimal(0)]))
    assert 0 < due.error([(1 + 2.0**-30) / 3])[0] <= 0.5
    assert due.error([1e300])[0] == np.inf  # without a warning
    due = Due(np.dtype("float64"), one, 4.0, np.array([Decimal(0)]))
    assert due.accepts([1 + 4 * 2.0**-52])
    assert not due.accepts([1 + 5 * 2.0**-52])
    assert Due(np.dtype("float64"), one - 1, 4.0, one).error([2.0**-51])[0] == 2


def test_definition__takes_what_the_package_takes():
    """The gradients' own code has no cases of its own to be wrong in: integers, numbers, 0-d masks."""
    due = answer("softmax", {"x": np.array([[1, 2]])}, {}, np.array(2.0))
    assert [float(v) for v in due.gradient.value.flat] == [0, 0]


# -- the command, the page, and C ------------------------------------------------------------------


def test_command__writes_and_checks(tmp_path, capsys):
    """The way in which a case is added."""
    assert command.main(["vectors", "--write", str(tmp_path / "new")]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(GENERATED)
    assert (tmp_path / "new" / "flags.json").read_bytes() == GENERATED["flags.json"].encode()
    assert command.main(["vectors", "--check"]) == 0
    assert f"{len(EVERY)} cases" in capsys.readouterr().out


def test_command__says_what_differs(monkeypatch, capsys):
    """A file that was edited by hand, and one that is missing."""
    changed = {**GENERATED, "softplus.json": "{}\n", "new.json": "{}\n"}
    monkeypatch.setattr(_vector_files, "files", lambda: changed)
    assert command.main(["vectors", "--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{name} is not what the generator writes" for name in ("softplus.json", "new.json")
    ]


def test_command__tells_what_it_does(monkeypatch, capsys, tmp_path):
    """Its help, where it writes, and how many files and cases there are."""
    texts = {"softplus.json": '{"cases": [1, 2]}\n', "é.json": '{"cases": ["é"]}\n'}
    monkeypatch.setattr(_vector_files, "files", lambda: texts)
    folder = tmp_path / "some" / "where"
    for _ in range(2):  # also over what is there
        assert _vector_files.main(["--write", str(folder)]) == 0
    assert capsys.readouterr().out == 2 * f"wrote 2 files, 3 cases, into {folder}\n"
    assert (folder / "é.json").read_bytes() == texts["é.json"].encode()
    assert _vector_files.main(["--check"]) == 1
    assert capsys.readouterr().out == "0 of 2 files are as generated, 3 cases\n"
    for arguments, status in (([], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as end:
            _vector_files.main(arguments)
        assert end.value.code == status
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: python -m crossent.testing vectors")
    for words in (
        " Test vectors for other languages. ",
        "--write DIR write the files into this folder",
        "--check compare the package's files with the generator",
    ):
        assert words in text


def _blocks(language):
    return re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_page__shows_a_case_as_it_is():
    """The case of the page is one of the file."""
    (shown,) = map(json.loads, _blocks("json"))
    assert shown in json.loads(GENERATED["cross_entropy.json"])["cases"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_page__the_c_program_measures_the_same(tmp_path):
    """The wrong answers, measured from the files' own texts as another language would."""
    (source,) = _blocks("c")
    (tmp_path / "apart.c").write_text(source, encoding="utf-8")
    program = tmp_path / "apart"
    subprocess.run(["cc", "-o", program, tmp_path / "apart.c", "-lm"], check=True)
    lines, expected = [], []
    for function in FUNCTIONS:
        raw = json.loads(GENERATED[f"{function}.json"])["cases"]
        for v, case in zip(VECTORS[function], raw, strict=True):
            for wrong in case.get("wrong", {}).values() if v.refused is None else ():
                for part, got in wrong.items():
                    due, p_emin = getattr(v, part), FORMATS[getattr(v, part).dtype.name]
                    scale = case[part].get("scale", ["0"] * len(got))
                    lines += [
                        " ".join(map(str, (*e, *p_emin)))
                        for e in zip(got, case[part]["data"], scale, strict=True)
                    ]
                    values = np.array([float.fromhex(g) for g in got]).reshape(due.exact.shape)
                    expected += due.error(values).ravel().tolist()
    run = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=True)
    got = np.array(run.stdout.split(), dtype=float)
    assert len(got) == len(expected) > 300
    # Reading a decimal as a double moves it by half an ulp, and all is rounded once more.
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0.5)
