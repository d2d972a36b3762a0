"""Write docs/conformance.md: what the laws find in released software.

    python docs/scripts/conformance.py
    python docs/scripts/conformance.py --laws    # the table of laws in docs/testing.md, in a second

Needs the extra `peers`. It takes some twenty minutes, half of them in JAX. Each framework is run in a
process of its own, and `--results FOLDER` goes on where it was ended. Nothing on the page is written by
hand but its text.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from crossent.testing import LAWS
from crossent.testing.adapters import FRAMEWORKS, adapt

PAGE = Path(__file__).resolve().parents[1] / "conformance.md"
SEED = 0
EXAMPLES = {"crossent": 50, "torch": 100, "jax": 25, "scipy": 100, "sklearn": 50, "onnx": 50}
SPOKEN = {
    "crossent": "crossent", "torch": "PyTorch", "jax": "JAX and Optax", "scipy": "SciPy", "sklearn":
    "scikit-learn", "onnx": "ONNX's reference evaluator",
}  # fmt: skip

HEAD = """\
# Conformance

What the property tests of [`crossent.testing`](testing.md) find in released software. Every line comes
from a run of `docs/scripts/conformance.py`; none is written by hand. The laws are explained in
[Test your own](testing.md).

A broken law is not always a defect: `crossent`'s contract asks for more than these projects promise.
"PyTorch breaks `value_is_the_definition`" says that a digit is missing,
"`labels_out_of_range_are_refused`" that a wrong label is used. Where an implementation does not keep the
contract's digits, laws about something else are held to half of the digits only, so that each says
something of its own.
"""


def run(framework, path):
    """Run the laws on every function of a framework; reports as JSON."""
    reports = []
    for spec in FRAMEWORKS[framework][1]:
        adapter = adapt(framework, spec)
        report = adapter.conforms(max_examples=EXAMPLES[framework], seed=SEED)
        print(f"{framework}: {report.summary}", flush=True)
        about = {"version": adapter.version, "original": adapter.original}
        reports.append({**json.loads(report.json()), **about})
    Path(path).write_text(json.dumps(reports))


def code(text):
    """Inline code in a table's cell."""
    return f"`{text}`".replace("|", "\\|")


def verdicts(reports):
    """Law by function, for one framework."""
    lines = ["| law | " + " | ".join(f"`{r['spec']}`" for r in reports) + " |"]
    lines.append("|---" * (len(reports) + 1) + "|")
    for law in LAWS:
        found = [{v["law"]: v["verdict"] for v in r["laws"]}.get(law.name, "") for r in reports]
        if any(word in ("holds", "broken") for word in found):
            words = [
                "**broken**" if word == "broken" else "" if word == "passed over" else word for word in found
            ]
            lines.append(f"| `{law.name}` | " + " | ".join(words) + " |")
    return "\n".join(lines)


def counterexamples(report):
    """The smallest call for each broken law of one function."""
    lines = ["| law | call | came | due | |", "|---|---|---|---|---|"]
    for v in report["laws"]:
        if v["verdict"] == "broken":
            call = v["call"] if len(v["call"]) < 400 else v["call"][:400] + " ..."
            cells = [code(v["law"]), code(call), code(v["came"]), code(v["due"]), v["problem"]]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(results):
    """The whole page."""
    rows = ["| | version | functions | laws tried | broken | calls a law |", "|---|---|---:|---:|---:|---:|"]
    for framework, reports in results.items():
        count = Counter(v["verdict"] for r in reports for v in r["laws"])
        tried = count["holds"] + count["broken"]
        rows.append(
            f"| {SPOKEN[framework]} | {reports[0]['version']} | {len(reports)} | {tried} | "
            f"{count['broken']} | "
            f"{EXAMPLES[framework]} |"
        )
    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}; seed {SEED}"
    )
    parts = [HEAD, "## Summary", "\n".join(rows), f"{versions}; float16, float32 and float64."]
    for framework, reports in results.items():
        parts += [f"## {SPOKEN[framework]} {reports[0]['version']}", verdicts(reports)]
        for report in reports:
            absent = [f"Refused, and so not tested: {what}." for what in report["not_tested"]]
            if not report["conforms"]:
                parts += [
                    f"### `{report['original']}` as `{report['spec']}`",
                    counterexamples(report),
                    *absent,
                ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def laws_table():
    """The laws for docs/testing.md."""
    lines = ["| law | why it matters | formula |", "|---|---|---|"]
    lines += [f"| `{law.name}` | {law.why} | {code(law.formula)} |" for law in LAWS]
    return "\n".join(lines)


def write_laws():
    """Put the laws between their marks in docs/testing.md."""
    page = PAGE.with_name("testing.md")
    head, start, rest = page.read_text(encoding="utf-8").partition("--laws -->\n")
    end = rest.index("<!-- end of laws -->")
    page.write_text(head + start + "\n" + laws_table() + "\n\n" + rest[end:], encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs=2, metavar=("FRAMEWORK", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--laws", action="store_true", help="write the table of laws in docs/testing.md, and no more"
    )
    parser.add_argument(
        "--results", type=Path, help="folder to keep each framework's results in, and to go on from"
    )
    options = parser.parse_args()
    if options.laws:
        return write_laws()
    if options.run:
        return run(*options.run)
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.results or Path(temporary)
        folder.mkdir(exist_ok=True)
        for framework in FRAMEWORKS:
            file = folder / f"{framework}.json"
            if not file.exists():
                subprocess.run([sys.executable, __file__, "--run", framework, str(file)], check=True)
            results[framework] = json.loads(file.read_text())
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"written to {PAGE}")
    return None


if __name__ == "__main__":
    main()
