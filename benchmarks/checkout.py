"""The commit that is checked out, to record beside figures, and processes with the code of another checkout."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commit() -> str:
    """Return the commit that is checked out, with a plus sign if files were changed; empty where there is none."""
    try:
        said = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.strip()


class Checkout:
    """A process that runs a script of ours with the code of a checkout, and answers each line with a line.

    Parameters
    ----------
    root : Path
        Root of the checkout.
    script, arguments : str
        The script, which needs nothing of ours that the checkout does not have, and its arguments.
    """

    def __init__(self, root: Path, script: str, *arguments: str) -> None:
        packages = [root.resolve(), *root.resolve().glob("packages/*")]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, packages)), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", script, *arguments]
        self._process = subprocess.Popen(command, env=env, stdin=-1, stdout=-1, text=True, bufsize=1)

    def ask(self, line: str) -> str:
        """Return the answer to a line; empty if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        return self._process.stdout.readline().rstrip()
