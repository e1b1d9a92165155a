"""Install a lock file by pip and show the progress: `python tools/install.py requirements.lock`."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

PIP_INSTALL = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes")
LOCKED = re.compile(r"^[\w.-]+(?:\[[^]]*\])?==", re.MULTILINE)
RESOLVED = re.compile(
    r"(?:Ignoring (\S+):|(?:Collecting|Requirement already satisfied:) (\S+) .*\(from -r |Processing (?:\S*/)?(\S+))"
)
"""Lines of pip that name a package of the lock file."""


def main() -> int:
    """Install the lock file into the environment of this Python; return pip's exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0] + ".")
    parser.add_argument("lock", type=Path, help="file of requirements with hashes")
    lock: Path = parser.parse_args().lock
    total = len(LOCKED.findall(lock.read_text(encoding="utf-8")))
    resolved = 0
    end = "\r" if sys.stdout.isatty() else "\n"
    with subprocess.Popen([*PIP_INSTALL, "--requirement", lock], stdout=subprocess.PIPE, text=True) as pip:
        for line in pip.stdout or ():
            if named := RESOLVED.match(line):
                resolved += 1
                print(f"  {resolved} of {total} packages: {named[named.lastindex or 0]:<40}", end=end, flush=True)
            elif line.startswith("Installing collected packages"):
                print(f"  {'unpacking them: pip reports nothing until it has finished':<60}", flush=True)
    return pip.wait()


if __name__ == "__main__":
    sys.exit(main())
