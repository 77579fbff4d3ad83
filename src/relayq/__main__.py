"""``python -m relayq`` and the console script. Layer 9."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from relayq.cli.main import main as run_command_line

    sys.exit(run_command_line())


if __name__ == "__main__":
    main()
