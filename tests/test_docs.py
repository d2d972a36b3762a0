"""What the documentation says is run: blocks, docstrings, links, examples."""

import doctest
import importlib
import importlib.util
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import crossent

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts)]
MARKDOWN = [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
MODULES = ["crossent", *(m.name for m in pkgutil.walk_packages(crossent.__path__, "crossent."))]
PUBLIC = [name for name in crossent.__all__ if not isinstance(getattr(crossent, name), ModuleType)]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a language: the line before the first one of each, its text."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [(text[: m.start(1)].count("\n"), m[1]) for m in fence.finditer(text)]


def run_block(code: str, namespace: dict[str, object], path: Path, line: int) -> list[str]:
    """Run a block, as a doctest when it has prompts, and return what failed."""
    if ">>>" not in code:
        # Newlines bring the line numbers of a traceback to those of the page.
        exec(compile("\n" * line + code, str(path), "exec"), namespace)
        return []
    test = doctest.DocTestParser().get_doctest(code, {}, relative(path), str(path), line)
    test.globs = namespace
    failures: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=failures.append, clear_globs=False)
    return failures


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_pages__python_blocks_do_what_they_show(path):
    """A reader pastes a page from top to bottom: the blocks of one file share a namespace."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    failures = []
    for line, code in blocks(path.read_text(encoding="utf-8"), "python"):
        failures += run_block(code, namespace, path, line)
    assert not failures, "".join(failures)


def test_readme__has_python_blocks():
    """A slip in a fence would leave nothing to run, and everything green."""
    assert len(blocks(README.read_text(encoding="utf-8"), "python")) > 0


def test_run_block__catches_wrong_output():
    """The checker itself is tried on planted bugs."""
    assert run_block(">>> 1 + 1\n3\n", {}, README, 0)
    assert run_block(">>> [1, 2, 3]\n[...]\n", {}, README, 0), "ELLIPSIS must be off"
    with pytest.raises(NameError):
        run_block("missing\n", {}, README, 0)
    assert not run_block(">>> 1 + 1\n2\n", {}, README, 0)


def test_readme__first_two_sh_blocks_set_up_and_run():
    """Each of the two has to work by itself in a fresh clone, so each makes its environment."""
    (_, job), (_, tests) = blocks(README.read_text(encoding="utf-8"), "sh")[:2]
    for commands in (job, tests):
        assert "-m venv" in commands
        assert "-m pip install" in commands
    assert "examples/01_train_on_digits.py" in job
    assert "-m pytest" in tests


@pytest.mark.parametrize("name", MODULES)
def test_docstrings__examples_do_what_they_show(name):
    """Examples in docstrings are what most people read first; `...` stands for last digits."""
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    failures: list[str] = []
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings__every_public_name_has_an_example(name):
    """`help(crossent.f)` shows how to call it."""
    assert ">>>" in (getattr(crossent, name).__doc__ or "")


@pytest.mark.parametrize("path", MARKDOWN, ids=relative)
def test_pages__relative_links_lead_to_files(path):
    """Files move; links stay behind."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    missing = [link for link in local if not (path.parent / link).exists()]
    assert not missing


def test_testing_page__tells_every_law_as_the_code_does():
    """The table is written by a script: a law that changes, changes it."""
    from crossent.testing import LAWS

    lines = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if re.match(r"\| `\w+` \|", line)]
    formulas = [law.formula.replace("|", "\\|") for law in LAWS]
    assert told == [f"| `{law.name}` | {law.why} | `{f}` |" for law, f in zip(LAWS, formulas, strict=True)]


@pytest.mark.parametrize("path", EXAMPLES, ids=relative)
def test_examples__run_and_keep_their_claims(path, tmp_path):
    """Each example ends by asserting what it claims, in less than half a minute."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # it may draw beside itself
    package = str(Path(crossent.__file__).parents[1])  # the one that is tested
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", tmp_path / relative(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": search},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def run_benchmark(tmp_path, *options):
    """Run it as a user does, and return what it printed."""
    package = str(Path(crossent.__file__).parents[1])
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / "benchmark.py", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": search},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_benchmark__needs_no_other_library(tmp_path):
    """Whoever has only NumPy gets times, floors and a table to paste. How long a call takes is not tested."""
    raw = tmp_path / "raw.json"
    printed = run_benchmark(tmp_path, "--quick", "--peers", "", "--case", "tiny", "--json", raw)
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert re.fullmatch(r"\| --- \|( ---: \|)+", table[1])
    assert [line.split(",")[0] for line in table[2:]] == ["| tiny 256×10"] * 2
    kept = json.loads(raw.read_text(encoding="utf-8"))
    assert list(kept["results"]) == ["tiny 256×10, value", "tiny 256×10, value+grad"]


@pytest.mark.peers
def test_benchmark__answers_agree_with_those_of_other_libraries(tmp_path):
    """A comparison of times is worth nothing where the answers differ; then the run fails."""
    printed = run_benchmark(tmp_path, "--quick", "--peers", "torch,jax,scipy", "--case", "tiny")
    assert "DISAGREES" not in printed


def test_performance_page__holds_what_the_raw_results_say(monkeypatch):
    """No figure of the page is written by hand, and none stays behind when the results are new."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script adds to it
    path = ROOT / "docs" / "scripts" / "performance.py"
    spec = importlib.util.spec_from_file_location("performance", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    raw = json.loads(script.RAW.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert script.write(raw, page) == page


def test_examples__are_found():
    """An empty list of parameters would be skipped in silence."""
    assert EXAMPLES
