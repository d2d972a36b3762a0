"""``python -m crossent.testing COMMAND``: what can be run from a shell."""

import sys
from collections.abc import Callable, Sequence

from crossent.testing import _vector_files, measure

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"measure": measure.main, "vectors": _vector_files.main}


def main(argv: Sequence[str]) -> int:
    """Run the command that the first argument names with the others."""
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python -m crossent.testing {{{','.join(COMMANDS)}}} ...", file=sys.stderr)
        return 2
    return COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
