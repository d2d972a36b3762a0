"""The documentation's Python is run: blocks of the pages, docstrings, the README's commands."""

import doctest
import importlib
import pkgutil
import re
from importlib.util import find_spec
from types import ModuleType

import pytest

import crossent
from pages import (
    PAGES,
    PEERS,
    README,
    RUN,
    examples,
    fences,
    imported,
    odd_fences,
    relative,
    run_block,
    run_page,
)

MODULES = ["crossent", *(m.name for m in pkgutil.walk_packages(crossent.__path__, "crossent."))]
PUBLIC = [name for name in crossent.__all__ if not isinstance(getattr(crossent, name), ModuleType)]
BESIDE = [p for p in PAGES if any(f.info == PEERS for f in fences(p.read_text("utf-8")))]


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_pages__python_blocks_do_what_they_show(path, record_property):
    """A reader pastes a page from top to bottom: the blocks of one file share a namespace."""
    page = path.read_text("utf-8")
    ran = run_page(page, path, {RUN})
    assert not ran.failures, "".join(ran.failures)
    assert ran.blocks == len(re.findall(r"^ *```python$", page, re.MULTILINE))
    record_property("blocks run", ran.blocks)  # conftest.py prints the totals
    record_property("outputs compared", ran.outputs)


@pytest.mark.peers
@pytest.mark.parametrize("path", BESIDE, ids=relative)
def test_pages__blocks_with_other_libraries_do_what_they_show(path, record_property):
    """What a page says of another library is what that library did, in the version that is tested."""
    page = path.read_text("utf-8")
    missing = sorted(name for name in imported(page, PEERS) if find_spec(name) is None)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install '.[peers]')")
    ran = run_page(page, path, {RUN, PEERS})
    assert not ran.failures, "".join(ran.failures)
    extra = [f.text for f in fences(page) if f.info == PEERS]
    record_property("blocks with other libraries run", len(extra))
    record_property("outputs compared", sum(bool(e.want) for code in extra for e in examples(code)))


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_pages__fences_are_of_known_kinds(path):
    """A slip in a fence would leave nothing to run, and everything green."""
    odd = odd_fences(path.read_text("utf-8"))
    assert not odd


def test_pages__have_blocks_to_run_and_outputs_to_compare():
    """Nor may a slip in the reader of pages."""
    code = [f.text for page in PAGES for f in fences(page.read_text("utf-8")) if f.info == RUN]
    assert sum(">>> " in text for text in code) > 0
    assert sum(f.info == RUN for f in fences(README.read_text("utf-8"))) > 0


@pytest.mark.parametrize(
    ("block", "failures"),
    [
        (">>> 1 + 1\n2\n", 0),
        (">>> 1 + 1\n3\n", 1),
        (">>> [1, 2, 3]\n[...]\n", 1),  # ELLIPSIS is off
        (">>> [1, 2, 3]  # doctest: +ELLIPSIS\n[...]\n", 1),
        ("x = 1\n>>> 1 + 1\n2\n", 1),  # the first line would not be run
        (">>> 1 + 1\n2\n\n3\n", 1),  # nor the last be compared
        (">>> missing\n", 1),
        (">>> for i in range(2):\n...     print(i)\n0\n1\n\n>>> 1\n1\n", 0),
    ],
)
def test_run_block__catches_planted_slips(block, failures):
    """The checker itself is tried."""
    assert len(run_block(block, {}, README, 0).failures) == failures


def test_run_block__blocks_without_prompts_raise_where_they_stand():
    """A failing `assert` of an exercise is a failure, and its traceback names the line of the page."""
    assert run_block("x = 1\n", {}, README, 0) == (1, 0, [])
    with pytest.raises(NameError) as caught:
        run_block("x = 1\nmissing\n", {}, README, 40)
    assert caught.traceback[-1].lineno == 41


PAGE = """\
```python
>>> x = 1
```

- In a list:

  ```python peers
  import torch
  >>> from jax import numpy
  >>> x + 1
  2
  ```

````text
```python
never
```
````
"""


def test_run_page__runs_the_kinds_asked_for_in_order():
    """Blocks for peers see what the others have defined, and the others do without them."""
    assert [f.info for f in fences(PAGE)] == [RUN, PEERS, "text"]
    assert run_page(PAGE, README, {RUN}) == (1, 0, [])
    with_peers = PAGE.replace("  import torch\n", "").replace("from jax import numpy", "y = x")
    assert run_page(with_peers, README, {RUN, PEERS}) == (2, 1, [])
    assert imported(PAGE, PEERS) == {"jax"}
    assert imported("```python peers\nimport torch.nn, os\n```\n", PEERS) == {"torch", "os"}


@pytest.mark.parametrize(
    "page",
    [
        "```pyhton\n1\n```\n",
        "```python peer\n1\n```\n",
        "```\n>>> 1\n1\n```\n",
        "```text\n>>> 1\n1\n```\n",
        "~~~Python\n1\n~~~\n",
        "```{code-block} python\n>>> 1\n1\n```\n",
    ],
)
def test_odd_fences__catches_blocks_that_nothing_runs(page):
    """The checker itself is tried."""
    assert odd_fences(page)


def test_fences__one_that_is_never_closed_is_refused():
    """It would swallow the rest of the page."""
    with pytest.raises(ValueError, match="line 2 is never closed"):
        fences("text\n```python\n1\n")


def test_readme__first_two_sh_blocks_set_up_and_run():
    """Each of the two has to work by itself in a fresh clone, so each makes its environment."""
    job, tests = [f.text for f in fences(README.read_text("utf-8")) if f.info == "sh"][:2]
    for commands in (job, tests):
        assert "-m venv" in commands
        assert "-m pip install" in commands
    assert "examples/01_train_on_digits.py" in job
    assert "-m pytest" in tests


@pytest.mark.parametrize("name", MODULES)
def test_docstrings__examples_do_what_they_show(name, record_property):
    """Examples in docstrings are what most people read first; `...` stands for last digits."""
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    failures: list[str] = []
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)
    record_property("examples of docstrings", runner.tries)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings__every_public_name_has_an_example(name):
    """`help(crossent.f)` shows how to call it."""
    assert ">>>" in (getattr(crossent, name).__doc__ or "")
