"""``python -m crossent.testing``: what can be run from a shell.

* ``python -m crossent.testing``: hold this package against every law, and measure its digits, on this machine
* ``python -m crossent.testing module:function --spec cross_entropy ...``: hold a function against the laws
* ``python -m crossent.testing measure ...``: measure this package's digits at length
* ``python -m crossent.testing vectors ...``: write the test vectors, or compare them
"""

import sys
from collections.abc import Callable, Sequence

from crossent.testing import _command, _vector_files, measure

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"measure": measure.main, "vectors": _vector_files.main}


def main(argv: Sequence[str]) -> int:
    """Run what the first argument asks for."""
    if not argv:
        try:
            return _command.check_crossent()
        except ImportError as error:  # of Hypothesis
            print(error, file=sys.stderr)
            return 2
    if argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    return _command.check(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
