"""Hypothesis, imported when it is used."""

from __future__ import annotations

import importlib
from types import ModuleType

MESSAGE = 'property tests need Hypothesis, which is not installed: pip install "crossent[testing]"'


def hypothesis(module: str = "hypothesis") -> ModuleType:
    """Import Hypothesis or one of its modules, or say what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(MESSAGE) from error
