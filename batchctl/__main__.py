"""The entry. What needs no command answers before Typer is imported."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the program with the arguments of this process and exit with the contract's code."""
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        from batchctl import __version__

        sys.stdout.write(f"batchctl {__version__}\n")
        return
    if "check" in sys.argv[1:4]:
        from batchctl.idle import answer

        if sys.stdout is not None and answer(sys.argv[1:], os.environ):
            return
    from batchctl.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
