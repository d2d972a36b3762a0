"""The examples run and keep what they claim; the benchmark's answers and its page are of one piece."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crossent
from pages import ROOT, relative

EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


def run_program(folder, *command):
    """Run a program as a user does, with the package that is tested, and return what it printed."""
    package = str(Path(crossent.__file__).parents[1])
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=relative)
def test_examples__run_and_keep_their_claims(path, tmp_path):
    """Each example ends by asserting what it claims."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # it may draw beside itself
    run_program(tmp_path, "-W", "error::RuntimeWarning", tmp_path / relative(path))


def run_benchmark(tmp_path, *options):
    """Return what the benchmark printed."""
    return run_program(tmp_path, ROOT / "examples" / "benchmark.py", *options)


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
