"""Settings of the site: python -m sphinx -W --keep-going -b html docs docs/_build/html

The pages are Markdown that reads well without it. What it adds: formulas, navigation, search, and
the API reference from the docstrings.
"""

import os

from docutils import nodes

import crossent

project = "crossent"
author = copyright = "crossent contributors"
version = release = crossent.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
]
exclude_patterns = ["_build"]
nitpicky = True  # a reference that leads nowhere is a warning, and warnings are errors

# -- Markdown ----------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3  # tests/pages.py counts on it
myst_dmath_double_inline = True

# -- formulas ----------------------------------------------------------------------------------------

# The address of MathJax; one on this machine makes the site readable without a network.
mathjax_path = os.environ.get(
    "CROSSENT_MATHJAX", "https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-mml-chtml.js"
)
mathjax3_config = {"options": {"enableMenu": False}}

# -- docstrings --------------------------------------------------------------------------------------

default_role = "py:obj"  # `f` in a docstring is a link if this site has an f, else a parameter
autodoc_typehints = "none"  # the docstrings tell types and shapes
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False  # everything is on one page
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# -- HTML --------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"crossent {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def name_without_entry(app, env, node, contnode):
    """Leave a parameter, and anything else in single backticks that has no entry, without a link."""
    return contnode if node.get("reftype") == "obj" else None


def module_headings(app, what, name, obj, options, lines):
    """Make the headings of a module's docstring look like those of functions: numpydoc passes them over."""
    if what == "module":
        for number in range(len(lines) - 1):
            if lines[number] and set(lines[number + 1]) == {"-"}:
                lines[number : number + 2] = [f".. rubric:: {lines[number]}", ""]


def keep_punctuation_with_formulas(app, doctree, docname):
    """Keep the full stop after a formula from beginning the next line."""
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        if isinstance(after, nodes.Text) and after[:1] in set(".,;:?!)"):
            together = nodes.inline("", "", formula.deepcopy(), nodes.Text(after[0]), classes=["together"])
            after.parent.replace(after, nodes.Text(after[1:]))
            formula.parent.replace(formula, together)


def setup(app):
    app.connect("doctree-resolved", keep_punctuation_with_formulas)
    app.connect("missing-reference", name_without_entry)
    app.connect("autodoc-process-docstring", module_headings)
