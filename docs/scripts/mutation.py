"""Mutation testing: does a test fail when the code is changed? Writes the scores in docs/mutation.md.

    python -m pip install -e ".[test]" mutmut==3.8.1
    python docs/scripts/mutation.py nll            # a module or several; without a name all of them
    python docs/scripts/mutation.py testing/_ulp   # one of crossent.testing
    python docs/scripts/mutation.py nll --again    # only what survived last time, with the tests of now

Each module is mutated in a copy of its own, build/mutation/<module>, and tried by the test files that the
table below gives it, not by the whole suite: that would take hours, and what a page's own tests do not
see is what we want to know. Nothing in the checkout changes but the table of scores.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutation.md"
WORK = ROOT / "build" / "mutation"
QUICK = "-k not laws and not every and not random and not digits and not large and not callers_line"
SMALL = (
    "-k not law and not million and not real_pieces and not every_function "
    "and not float16 and not float64 and not longdouble"
)
TESTS = {
    "binary": ["binary"],
    "nll": ["nll"],
    "categorical": ["categorical"],
    "lse": ["lse", "row_maths", "shifts"],
    "_exponentials": ["shifts", "lse", "row_maths"],
    "sigmoids": ["sigmoids"],
    "information": ["information"],
    "targets": ["targets"],
    "_reduction": ["nll", "sums", "binary"],
    "_sums": ["sums"],
    "_arguments": ["arguments", "targets", "objects", "nll", "categorical", "binary", "row_maths", QUICK],
    "objects": ["objects", "row_maths", "-k not callers_line"],  # mutmut's frames move the place of a warning
    "_half": ["half"],
    "_blocks": ["blocks", "cuts", "nll", SMALL],
    "_scratch": ["scratch"],
    "_threads": ["threads", "-k not for_any_number and not eight_callers and not another_threads_call"],
    "exact": ["exact"],
    "mistakes": ["diagnose"],
    "findings": ["diagnose"],
    "_refusals": ["diagnose"],
    "_suspicions": ["diagnose"],
    "_evidence": ["diagnose"],
    "testing/_ulp": ["checkers", "-k ulp_error or ulp_size"],
    "testing/_limits": ["kit_compare", "-k limit"],
    "testing/_compare": ["kit_compare"],
    "testing/_report": ["kit_report"],
    "testing/_command": ["kit_command"],
    "testing/_calls": ["kit_calls"],
    "testing/_subject": ["kit_subject"],
    "testing/_trials": ["kit_subject"],
    "testing/_smallest": ["kit_calls", "conformance", "-k smallest or smaller"],
    "testing/conformance": ["kit_report"],
    "testing/_laws": ["kit_subject", "-k law_as_data"],
    "testing/_truth": ["truth_derivations"],
    "testing/_exact_gradients": ["truth_derivations"],
    "testing/_pairs": ["measure", "-k pairs__"],
    "testing/_reference": ["measure", "-k reference__"],
    "testing/_differences": ["checkers", "truth_differences", "-k numerical_grad or check_grad"],
    "testing/_vectors": ["vectors", "-k load_vectors or test_due"],
    "testing/_vector_files": ["vectors", "-k generator or test_command"],
    "testing/_regimes": ["strategies", "-k logits or thresholds or weights or seeds"],
    "testing/strategies": ["strategies", "conformance_parts", "-k test_strategies"],
}
STATUS = {
    None: "untried",
    0: "survived",
    1: "killed",
    3: "killed",
    24: "timeout",
    -24: "timeout",
    33: "no tests",
    36: "timeout",
}


def copy(module):
    """Copy the checkout to where `module` is mutated; what mutmut has left there stays."""
    place = WORK / module
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, place / name, dirs_exist_ok=True)
        if (place / "mutants").exists():
            for path in (ROOT / name).rglob("*.py") if name == "tests" else ():
                shutil.copy2(path, place / "mutants" / path.relative_to(ROOT))
    files = [name if name.startswith("-") else f"tests/test_{name}.py" for name in TESTS[module]]
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8").replace(
        "[tool.mutmut]\n",
        f"[tool.mutmut]\nonly_mutate = ['src/crossent/{module}.py']\n"
        f"pytest_add_cli_args_test_selection = {files}\n",
    )  # fmt: skip
    (place / "pyproject.toml").write_text(settings, encoding="utf-8")
    return place


MUTMUT = """\
from mutmut.mutation import file_mutation
file_mutation.NEVER_MUTATE_FUNCTION_CALLS |= {"room", "room_like"}
from mutmut.__main__ import cli
cli()
"""


def mutmut(place, *arguments):
    """Run mutmut in a copy; the names of rooms are not mutated: all that they change is the time."""
    environment = os.environ | {"HYPOTHESIS_PROFILE": "mutation", "PYTHONPATH": "src"}
    command = [sys.executable, "-c", MUTMUT, *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def results(place, module):
    """Return what became of each mutant."""
    meta = place / "mutants" / "src" / "crossent" / f"{module}.py.meta"
    codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    return {name: STATUS.get(code, f"exit {code}") for name, code in codes.items()}


def run(module, again, children):
    """Mutate a module, show what survived, and return the counts."""
    place = copy(module)
    before = results(place, module) if again else {}
    if again:  # tests that have changed may call other functions now
        (place / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    tried = mutmut(place, "run", "--max-children", str(children))  # what has no result yet
    left = [
        name
        for name, status in results(place, module).items()
        if before.get(name, "untried") not in ("killed", "untried") and status != "killed"
    ]
    if left and not tried.returncode:
        tried = mutmut(place, "run", "--max-children", str(children), *left)
    if tried.returncode:
        sys.exit(tried.stdout[-3000:] + tried.stderr[-3000:])
    became = results(place, module)
    for name, status in became.items():
        if status not in ("killed", "untried"):
            print(f"\n{status}:", mutmut(place, "show", name).stdout, flush=True)
    return Counter(became.values())


def write(scores):
    """Put the rows of the modules that were run into the page's table, in the order of the one above."""
    text = PAGE.read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in re.findall(r"^\| `.*\.py` \|.*$", text, re.MULTILINE)}
    start = text.index(next(iter(rows.values())))
    end = text.index("\n\n", start)
    for module, count in scores.items():
        caught, untried = count["killed"] + count["timeout"], count["untried"]
        tried = sum(count.values()) - untried
        tests = ", ".join(name for name in TESTS[module] if not name.startswith("-"))
        rows[f"{module}.py"] = (
            f"| `{module}.py` | {tests} | {tried}{f' of {tried + untried}' if untried else ''} | {caught} "
            f"| {tried - caught} | {caught / tried:.1%} | {date.today()} |"
        )
        print(rows[f"{module}.py"])
    table = "\n".join(rows[f"{module}.py"] for module in TESTS if f"{module}.py" in rows)
    PAGE.write_text(text[:start] + table + text[end:], encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="module", help=", ".join(TESTS))
    parser.add_argument("--again", action="store_true", help="only what survived last time")
    parser.add_argument("--children", type=int, default=2, help="processes at a time")
    options = parser.parse_args()
    for one in options.modules:
        write({one: run(one, options.again, options.children)})
