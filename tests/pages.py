"""Reads and runs the Markdown pages: fences, blocks, headings, includes. Needs neither Sphinx nor MyST.

Every checker takes a text and returns what is wrong with it, so that it can be tried on planted bugs.
"""

import ast
import doctest
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import crossent

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *(p for p in sorted(DOCS.rglob("*.md")) if "_build" not in p.parts)]
MARKDOWN = [*PAGES, *sorted((ROOT / "examples").rglob("*.md"))]
FUNCTION_PAGES = sorted((DOCS / "functions").glob("*.md"))

FUNCTIONS = [
    name
    for name in crossent.__all__
    if inspect.isfunction(getattr(crossent, name))
    and not name.endswith("_grad")
    and name not in {"get_num_threads", "set_num_threads", "diagnose"}
]
HEADINGS = [
    "The question it answers",
    "Definition",
    "Why the obvious code fails",
    "The identity that mends it",
    "The code, line by line",
    "The gradient",
    "How it is checked",
    "Options",
    "Special values",
    "Accuracy",
    "Compared with other libraries",
    "Exercises",
    "References",
]

RUN, PEERS = "python", "python peers"
SHOWN = {"", "c", "console", "json", "sh", "text"}
DIRECTIVES = {"literalinclude", "toctree", "eval-rst"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Fence(NamedTuple):
    """A fenced block: what follows its opening marks, its text, the number of lines up to its text."""

    info: str
    text: str
    line: int


class Heading(NamedTuple):
    level: int
    title: str


def fences(page: str) -> list[Fence]:
    """Return the fenced blocks in order. Directives such as toctrees are fences, too."""
    found: list[Fence] = []
    mark, indent, info, start, body = "", 0, "", 0, list[str]()
    for number, line in enumerate(page.splitlines(), start=1):
        edge = re.match(r"( *)(`{3,}|~{3,})(.*)", line)
        if not mark:
            if edge:
                mark, indent, info, start, body = edge[2], len(edge[1]), edge[3].strip(), number, []
        elif edge and edge[2].startswith(mark) and not edge[3].strip():
            found.append(Fence(info, "".join(f"{text}\n" for text in body), start))
            mark = ""
        else:
            body.append(line[min(indent, len(line) - len(line.lstrip())) :])
    if mark:
        raise ValueError(f"the fence of line {start} is never closed")
    return found


def prose(page: str) -> str:
    """Return the page without its fenced blocks; line breaks stay."""
    lines = page.splitlines()
    for fence in fences(page):
        end = fence.line + fence.text.count("\n")
        lines[fence.line - 1 : end + 1] = [""] * (end - fence.line + 2)
    return "\n".join(lines)


def odd_fences(page: str) -> list[str]:
    """Fences that nothing runs and nobody knows: `pyhton` or `python peer` would pass in silence."""
    known = {RUN, PEERS, *SHOWN}
    return [
        f"line {line}: {info}"
        for info, text, line in fences(page)
        if (
            info not in known
            and not ((directive := re.match(r"\{([\w-]+)\}", info)) and directive[1] in DIRECTIVES)
        )
        or (info in SHOWN and ">>> " in text)
    ]


# -- running -----------------------------------------------------------------------------------------


class Ran(NamedTuple):
    """How many blocks were run, in how many places their output was compared, and what failed."""

    blocks: int
    outputs: int
    failures: list[str]


def examples(code: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(code)


def unseen(code: str) -> list[str]:
    """Lines of a block with prompts that doctest would take for prose, and settings that blunt it."""
    paragraphs = re.split(r"\n\s*\n", code.strip("\n"))
    wrong = [text for text in paragraphs if not text.startswith(">>> ")]
    return wrong + re.findall(r"#\s*doctest:.*", code)


def run_block(code: str, namespace: dict[str, object], path: Path, line: int) -> Ran:
    """Run a block, as a doctest when it has prompts."""
    if ">>> " not in code:
        # Newlines bring the line numbers of a traceback to those of the page.
        exec(compile("\n" * line + code, str(path), "exec"), namespace)
        return Ran(1, 0, [])
    test = doctest.DocTestParser().get_doctest(code, {}, relative(path), str(path), line)
    test.globs = namespace
    failures = [f"{relative(path)}:{line}: not run, or blunted: {text}\n" for text in unseen(code)]
    doctest.DocTestRunner(verbose=False).run(test, out=failures.append, clear_globs=False)
    return Ran(1, sum(bool(example.want) for example in test.examples), failures)


def run_page(page: str, path: Path, infos: set[str]) -> Ran:
    """Run the blocks that have one of the infos, top to bottom in one namespace, as a reader pastes them."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks, outputs, failures = 0, 0, list[str]()
    for info, code, line in fences(page):
        if info in infos:
            ran = run_block(code, namespace, path, line)
            blocks, outputs, failures = blocks + ran.blocks, outputs + ran.outputs, failures + ran.failures
    return Ran(blocks, outputs, failures)


def imported(page: str, info: str) -> set[str]:
    """Return the packages that the blocks of one kind import."""
    names: set[str] = set()
    for fence in fences(page):
        if fence.info == info:
            shown = ">>> " in fence.text
            code = "".join(e.source for e in examples(fence.text)) if shown else fence.text
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module.partition(".")[0])
    return names


# -- headings and links ------------------------------------------------------------------------------


def headings(page: str) -> list[Heading]:
    return [
        Heading(len(m[1]), m[2].strip()) for m in re.finditer(r"^(#{1,6}) +(.*)$", prose(page), re.MULTILINE)
    ]


def anchors(page: str) -> set[str]:
    """Return what `#...` may name: the headings of three levels, as code hosts and MyST write them."""
    slugs: set[str] = set()
    for level, title in headings(page):
        if level <= 3:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            again = (f"{slug}-{n}" for n in range(1, 1000))
            slugs.add(slug if slug not in slugs else next(s for s in again if s not in slugs))
    return slugs


def links(page: str) -> list[str]:
    """Return every address: of links, of pictures, of reference definitions, in angle brackets."""
    text = re.sub(r"`[^`]*`", "`", prose(page))
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "$", text, flags=re.DOTALL)  # $p[k](z)$ is no link
    inline = re.findall(r"\]\(((?:[^()]|\([^()]*\))*)\)", text)
    defined = re.findall(r"^ {0,3}\[[^\]^]+\]:[ \t]*(\S+)[ \t]*$", text, re.MULTILINE)
    return [*inline, *defined, *re.findall(r"<([a-z]+:[^>]*)>", text)]


def broken_links(page: str, path: Path) -> list[str]:
    """Links to files or headings that are not there, and addresses that can't be ones.

    Whether a server answers is not asked: tests run without a network.
    """
    wrong = []
    for link in links(page):
        file, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            if not re.fullmatch(r"https://([\w-]+\.)+[a-z]{2,}(/[^\s<>\"]*)?", link):
                wrong.append(link)
            continue
        target = path.parent / file if file else path
        if (
            not target.exists()
            or re.search(r"\s", link)
            or (
                anchor
                and (
                    target.suffix != ".md"
                    or anchor not in anchors(page if target == path else target.read_text("utf-8"))
                )
            )
        ):
            wrong.append(link)
    return wrong


def pictures(page: str) -> list[tuple[str, str]]:
    """Return the alternative text and the address of every picture."""
    return re.findall(r"!\[([^\]]*)\]\(([^)\s]*)\)", prose(page))


def torn_maths(page: str) -> list[str]:
    """Formulas that Markdown tears: a line inside begins like an item of a list, a heading, a quotation.

    So does one that is left open: each paragraph, item or row has an even number of dollars.
    """
    text = re.sub(r"`[^`]*`|\\\$", "", prose(page))
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    parts = re.split(r"\n(?=\s*\n|\s*(?:[-+*]|\d+[.)]|#+|>)\s|\|)", text)
    return [part.strip() for part in parts if part.count("$") % 2]


# -- included code -----------------------------------------------------------------------------------


def definition(source: str, name: str) -> list[str]:
    """Return the lines of a function, class or method; "" is the whole file."""
    lines = source.splitlines()
    if not name:
        return lines
    nodes: list[ast.stmt] = ast.parse(source).body
    node: ast.stmt | None = None
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.ClassDef)
        node = next((n for n in nodes if isinstance(n, kinds) and n.name == part), None)
        if node is None:
            raise LookupError(f"there is no {name}")
        nodes = node.body
    assert node is not None
    assert node.end_lineno is not None
    return lines[node.lineno - 1 : node.end_lineno]


def included(fence: Fence, path: Path) -> list[str]:
    """Return the lines that a literalinclude shows, found as Sphinx finds them; raise LookupError."""
    file = path.parent / fence.info.partition("}")[2].strip()
    if not file.is_file():
        raise LookupError(f"there is no {file}")
    options = dict(re.findall(r"^:([\w-]+):[ \t]*(.*?)[ \t]*$", fence.text, re.MULTILINE))
    if odd := set(options) - {"pyobject", "start-at", "start-after", "end-before", "end-at", "language"}:
        raise LookupError(f"{', '.join(odd)}: lines are named by what they say, numbers rot")
    lines = definition(file.read_text("utf-8"), options.get("pyobject", ""))
    for option, marker in options.items():
        edge, _, kind = option.partition("-")
        if edge == "start":
            at = next((n for n, line in enumerate(lines) if marker in line), None)
            if at is None:
                raise LookupError(f"no line holds {marker}")
            lines = lines[at + (kind == "after") :]
    for option, marker in options.items():
        edge, _, kind = option.partition("-")
        if edge == "end":
            first = 0 if kind == "at" else 1
            at = next((n for n, line in enumerate(lines) if n >= first and marker in line), None)
            if at is None:
                raise LookupError(f"no line holds {marker}")
            lines = lines[: at + (kind == "at")]
    if not any(line.strip() for line in lines):
        raise LookupError("it shows nothing")
    return lines


def broken_includes(page: str, path: Path) -> list[str]:
    """Includes whose file, object or marker has gone."""
    wrong = []
    for fence in fences(page):
        if fence.info.startswith("{literalinclude}"):
            try:
                included(fence, path)
            except LookupError as error:
                wrong.append(f"line {fence.line}: {error}")
    return wrong


def code_lines(source: str) -> Iterator[str]:
    """Yield the lines of code of a file, without docstrings, comments, imports and very short lines."""
    tree = ast.parse(source)
    quiet: set[int] = set()
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if text or isinstance(node, ast.Import | ast.ImportFrom):
            assert node.end_lineno is not None
            quiet |= set(range(node.lineno, node.end_lineno + 1))
    for number, line in enumerate(source.splitlines(), start=1):
        if number not in quiet and len(bare := line.partition("  #")[0].strip()) > 8 and bare[0] != "#":
            yield bare


def triples(source: str) -> set[tuple[str, ...]]:
    lines = list(code_lines(source))
    return set(zip(lines, lines[1:], lines[2:], strict=False))


def pasted(page: str, sources: set[tuple[str, ...]]) -> list[str]:
    """Three lines in a row that are also in the source: a copy, that grows old."""
    wrong = []
    for info, text, line in fences(page):
        if info.startswith("{"):
            continue
        bare = re.sub(r"^(>>> |\.\.\. )", "", text, flags=re.MULTILINE)
        lines = [b for row in bare.splitlines() if len(b := row.partition("  #")[0].strip()) > 8]
        copies = [t for t in zip(lines, lines[1:], lines[2:], strict=False) if t in sources]
        wrong += [f"line {line}: {' / '.join(copy)}" for copy in copies[:1]]
    return wrong


# -- pages of functions --------------------------------------------------------------------------------


def section(page: str, title: str) -> str:
    """Return what stands below a level-2 heading; "" if there is none."""
    lines, bare = page.splitlines(), prose(page).splitlines()
    starts = [n for n, line in enumerate(bare) if line.startswith("## ")] + [len(bare)]
    for start, end in pairwise(starts):
        if bare[start].removeprefix("## ").strip() == title:
            return "\n".join(lines[start + 1 : end]) + "\n"
    return ""


def wrong_outline(page: str, name: str) -> list[str]:
    """How the headings differ from the fixed ones."""
    top = [title for level, title in headings(page) if level == 1]
    second = [title for level, title in headings(page) if level == 2]
    wrong = [] if top == [f"`{name}`"] else [f"title {top}"]
    wrong += [f"missing: {title}" for title in HEADINGS if title not in second]
    wrong += [f"not one of the fixed: {title}" for title in second if title not in HEADINGS]
    if not wrong and second != HEADINGS:
        wrong.append("order")
    return wrong + [f"empty: {title}" for title in second if not section(page, title).strip()]


def unchecked_gradient(page: str, name: str) -> list[str]:
    """Whether the gradient's section holds it against differences of the exact definition."""
    text = section(page, "The gradient")
    full = rf"{name}(?:_value_and)?_grad"
    short = re.findall(rf"(\w+) = crossent\.{full}$|\b{full} as (\w+)", page, re.MULTILINE)
    if not re.search(rf"\b({'|'.join([full, *filter(None, sum(short, ()))])})\b", text):
        return [f"{name}_grad does not occur"]
    blocks = [code for info, code, _ in fences(text) if info == RUN]
    code = "".join("".join(e.source for e in examples(b)) if ">>> " in b else b for b in blocks)
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    names = [(call, ast.unparse(call.func).rpartition(".")[2]) for call in calls]
    checks = [call for call, called in names if called in {"check_grad", "numerical_grad"}]
    if not checks:
        return ["no block compares it with differences"]
    if "exact" not in code and not any(k.arg == "digits" for call in checks for k in call.keywords):
        return ["differences of floats see too few digits: take the definition of crossent.exact"]
    return []
