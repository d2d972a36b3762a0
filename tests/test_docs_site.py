"""The documentation hangs together: links, includes, pictures, the fixed headings, a page a function."""

import ast
import importlib.util
import re

import pytest

import crossent
import crossent.testing
from pages import (
    DOCS,
    FUNCTION_PAGES,
    FUNCTIONS,
    HEADINGS,
    MARKDOWN,
    PAGES,
    ROOT,
    Heading,
    anchors,
    broken_includes,
    broken_links,
    fences,
    headings,
    links,
    pasted,
    pictures,
    prose,
    relative,
    section,
    torn_maths,
    triples,
    unchecked_gradient,
    wrong_outline,
)

SOURCES = sorted((ROOT / "src").rglob("*.py"))
CODE = set().union(*(triples(p.read_text("utf-8")) for p in SOURCES))
INDEX = DOCS / "index.md"


# -- links and pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MARKDOWN, ids=relative)
def test_pages__links_lead_to_files_and_headings(path):
    """Files move and headings change; links stay behind. Of addresses outside only the form is checked."""
    wrong = broken_links(path.read_text("utf-8"), path)
    assert not wrong


@pytest.mark.parametrize(
    "link",
    [
        "[x](missing.md)",
        "[`x`](missing.md)",
        "[x](conventions.md#no-such-heading)",
        "[x](#no-such-heading)",
        "[x](../src/crossent/lse.py#anchor)",
        "[x](http://example.org)",
        "[x](https://example.org/a b)",
        "[x](https://example)",
        "[x](htps://example.org)",
        "[x][1]\n\n[1]: missing.md",
        "<http://example.org>",
        "![a picture](pictures/missing.svg)",
        "- a\n  [x](missing.md)",
    ],
)
def test_broken_links__catches_planted_ones(link):
    """The checker itself is tried."""
    assert broken_links(f"# A page\n\n{link}\n", INDEX)


def test_broken_links__lets_right_ones_pass():
    """Code and maths hold brackets that are no links."""
    page = """# A `page`, of *two* kinds

[a](conventions.md) [b](#a-page-of-two-kinds) [c](https://doi.org/10.1000/a(1)b) `[x](y)` $p[k](z)$
<https://arxiv.org/abs/1512.00567>

```python
z[k](missing)
```
"""
    assert len(links(page)) == 4
    assert not broken_links(page, INDEX)


def test_anchors__are_those_of_code_hosts_and_myst():
    """Punctuation goes, spaces become hyphens, and what comes twice is numbered."""
    page = (
        "# The `log1p`\n## Why `p - y`?\n## Why `p - y`?\n### H(q, p) and D\n#### too deep\n## [a](b.md) c\n"
    )
    assert anchors(page) == {"the-log1p", "why-p---y", "why-p---y-1", "hq-p-and-d", "a-c"}


@pytest.mark.parametrize("path", MARKDOWN, ids=relative)
def test_pages__formulas_are_whole(path):
    """A torn formula shows its source, and nothing else would notice."""
    torn = torn_maths(path.read_text("utf-8"))
    assert not torn


@pytest.mark.parametrize(
    "page",
    [
        "4. $J + \n   1) p$ is\n",
        "$a\n- b$\n",
        "$a\n\nb$\n",
        "costs $x\n",
        "| $a | b$ |\n| c$ |\n",
        "$$\na\n$$ and $b\n",
    ],
)
def test_torn_maths__catches_planted_ones(page):
    """The checker itself is tried."""
    assert torn_maths(page)


def test_torn_maths__lets_whole_ones_pass():
    """Formulas may go over lines; dollars in code and escaped ones are none."""
    page = "- $a\n  + b$ and `$` and \\$5\n\n$$\na\n- b\n$$\n\n```sh\necho $x\n```\n"
    assert not torn_maths(page.replace("  + b", "  \\cdot b"))


@pytest.mark.parametrize("path", MARKDOWN, ids=relative)
def test_pages__pictures_say_what_they_show(path):
    """For those who can't see them."""
    assert [target for text, target in pictures(path.read_text("utf-8")) if len(text.split()) < 3] == []


def test_pictures__are_shown_and_drawn_by_a_script():
    """A picture that no page shows is forgotten; one that no script draws can't be drawn again."""
    shown = {(p.parent / t).resolve() for p in MARKDOWN for _, t in pictures(p.read_text("utf-8"))}
    scripts = "".join(p.read_text("utf-8") for p in (DOCS / "scripts").glob("*.py"))
    drawn = sorted((DOCS / "pictures").iterdir())
    assert drawn
    assert [p.name for p in drawn if p not in shown] == []
    assert [p.name for p in drawn if p.stem not in scripts] == []


def test_pages__index_lists_every_page_once():
    """What is not in a table of contents is not found."""
    listed: list[str] = []
    for fence in fences(INDEX.read_text("utf-8")):
        if fence.info == "{toctree}":
            listed += [line for line in fence.text.splitlines() if line and not line.startswith(":")]
    pages = [p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES if p.is_relative_to(DOCS)]
    assert sorted(listed) == sorted(set(pages) - {"index"})


def test_api__lists_every_public_name_once():
    """What the reference leaves out does not exist for those who look things up."""
    text = "".join(f.text for f in fences((DOCS / "api.md").read_text("utf-8")))
    listed: dict[str, list[str]] = {}
    module, modules = "", list[str]()
    for directive, name in re.findall(r"^\.\. (\w+):: ([\w.]+)$", text, re.MULTILINE):
        if directive == "currentmodule":
            module = name
        elif directive == "automodule":
            modules.append(name)
        else:
            listed.setdefault(module, []).append(name)
    assert "crossent.exact" in modules
    for package in (crossent, crossent.testing):
        public = [name for name in package.__all__ if f"{package.__name__}.{name}" not in modules]
        assert sorted(listed[package.__name__]) == sorted(public)


def test_testing_page__tells_every_law_as_the_code_does():
    """The table is written by a script: a law that changes, changes it."""
    lines = (DOCS / "testing.md").read_text("utf-8").splitlines()
    told = [line for line in lines if re.match(r"\| `\w+` \|", line)]
    laws = [(law.name, law.why, law.formula.replace("|", "\\|")) for law in crossent.testing.LAWS]
    assert told == [f"| `{name}` | {why} | `{formula}` |" for name, why, formula in laws]


def test_picture_of_functions__is_what_its_script_draws():
    """The script checks every sentence of the picture on numbers, and needs nothing but NumPy."""
    path = DOCS / "scripts" / "picture_of_functions.py"
    spec = importlib.util.spec_from_file_location("picture_of_functions", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.check()
    assert script.PICTURE.read_text("utf-8") == script.drawing()


# -- included code -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_pages__included_code_is_there(path):
    """A page that explains code shows the code that runs."""
    wrong = broken_includes(path.read_text("utf-8"), path)
    assert not wrong


def include(*options, file="../src/crossent/lse.py"):
    return f"```{{literalinclude}} {file}\n" + "".join(f":{option}\n" for option in options) + "```\n"


@pytest.mark.parametrize(
    "page",
    [
        include("pyobject: softmax", file="../src/crossent/missing.py"),
        include("pyobject: sofmax"),
        include("pyobject: softmax", "start-at: no such line"),
        include("pyobject: softmax", "end-before: no such line"),
        include("pyobject: softmax", "end-before: def softmax"),  # Sphinx passes over the first line
        include("pyobject: softmax", "start-at: def softmax", "end-before: def log_softmax"),
        include("lines: 1-10"),
    ],
)
def test_broken_includes__catches_planted_ones(page):
    """The checker itself is tried."""
    assert broken_includes(page, INDEX)


def test_broken_includes__lets_right_ones_pass():
    """Objects, methods and markers are found."""
    good = include("pyobject: softmax", "start-at: def softmax(", "end-before: return")
    assert not broken_includes(good, INDEX)
    method = include("pyobject: _Loss.grad", file="../src/crossent/objects.py")
    assert not broken_includes(method, INDEX)


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_pages__source_code_is_included_never_pasted(path):
    """A copy would stay what it was when the code changes."""
    copies = pasted(path.read_text("utf-8"), CODE)
    assert not copies


def test_pasted__catches_a_copy():
    """The checker itself is tried, with prompts, other indents and comments."""
    source = "def f(x):\n    total = x + 1\n    # why\n    doubled = total * 2\n    return doubled\n"
    copy = ">>> def f(x):\n...   total = x + 1  # one more\n...   doubled = total * 2\n...   return doubled\n"
    assert pasted(f"```python\n{copy}```\n", triples(source))
    assert not pasted(f"```python\n{copy}```\n".replace("doubled", "twice"), triples(source))


# -- pages of functions --------------------------------------------------------------------------------


def test_functions__each_has_a_page():
    """And no page is of a function that is gone."""
    assert [p.stem for p in FUNCTION_PAGES] == sorted(FUNCTIONS)


@pytest.mark.parametrize("path", FUNCTION_PAGES, ids=relative)
def test_functions__pages_have_the_fixed_headings(path):
    """Who has read one page finds things on all of them."""
    wrong = wrong_outline(path.read_text("utf-8"), path.stem)
    assert not wrong


@pytest.mark.parametrize("path", FUNCTION_PAGES, ids=relative)
def test_functions__gradients_are_compared_with_differences_of_the_definition(path):
    """A derivation is checked where it stands; floats alone would not see the last digits."""
    page = path.read_text("utf-8")
    if f"{path.stem}_grad" in crossent.__all__:
        wrong = unchecked_gradient(page, path.stem)
        assert not wrong
    else:
        assert section(page, "The gradient").strip()


OUTLINE = "# `softmax`\n" + "".join(f"\n## {title}\n\nText.\n" for title in HEADINGS)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("# `softmax`", "# softmax"),
        ("# `softmax`", "# `log_softmax`"),
        ("## Accuracy\n\nText.\n", ""),
        ("## Accuracy\n\nText.\n", "## Accuracy\n"),
        ("## Accuracy", "### Accuracy"),
        ("## Accuracy", "## Accuracy and speed"),
        ("## Accuracy", "## Speed\n\nFast.\n\n## Accuracy"),
        ("## Accuracy", "## Options\n\nText.\n\n## Accuracy"),
    ],
)
def test_wrong_outline__catches_planted_slips(was, now):
    """The checker itself is tried."""
    assert not wrong_outline(OUTLINE, "softmax")
    assert wrong_outline(OUTLINE.replace(was, now), "softmax")


def test_wrong_outline__catches_another_order():
    """The fixed headings have a fixed order."""
    parts = OUTLINE.partition("## Options")
    moved = (
        parts[0]
        + "## Special values\n\nText.\n\n"
        + parts[1]
        + parts[2].replace("## Special values\n\nText.\n", "", 1)
    )
    assert wrong_outline(moved, "softmax") == ["order"]


def gradient(block):
    other = "## Options\n\n```python\ncheck_grad(exact.softmax)\n```\n"
    return f"# `softmax`\n\n## The gradient\n\n```python\n{block}```\n\n{other}"


def test_unchecked_gradient__catches_sections_without_a_check():
    """The checker itself is tried; a check in another section does not count."""
    assert not unchecked_gradient(gradient("check_grad(exact.softmax, softmax_grad, z)\n"), "softmax")
    assert not unchecked_gradient(gradient(">>> numerical_grad(f, softmax_grad, digits=50)\n1\n"), "softmax")
    alias = "short = crossent.softmax_grad\ncheck_grad(exact.softmax, short, z)\n"
    assert not unchecked_gradient(gradient(alias), "softmax")
    for block in (
        "check_grad(softmax, softmax_grad, z)\n",
        "check_grad(exact.log_softmax, log_softmax_grad, z)\n",
        "softmax_grad(exact.softmax)  # check_grad\n",
        "",
    ):
        assert unchecked_gradient(gradient(block), "softmax")


def test_headings__of_fences_do_not_count():
    """A comment in a block of Python begins with a hash, too."""
    page = "# A\n\n```python\n# no heading\n```\n\n## B\n"
    assert headings(page) == [Heading(1, "A"), Heading(2, "B")]
    assert prose(page).count("\n") == page.count("\n") - 1
    assert not re.search("no heading", prose(page))


def test_sources__parse():
    """What is compared with the pages is not an empty set."""
    assert all(ast.parse(p.read_text("utf-8")) for p in SOURCES)
    assert CODE
