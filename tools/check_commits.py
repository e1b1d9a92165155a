"""Check subjects of commits: `python tools/check_commits.py [FILE]`.

With a file, which holds a commit message, that one is checked: so it serves as a commit-msg hook. Without, the commits
that the branch of the remote `origin` lacks are checked, or the last 20 where there is no such remote.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_SUBJECT = 72
LAST = 20
REMOTE = "refs/remotes/origin/HEAD"
MADE_BY_GIT = re.compile(r"(Merge|Revert|fixup!|squash!|amend!) ")


def problem(subject: str) -> str | None:
    """Return what is wrong with a subject, or None."""
    if not subject:
        return "the message is empty, expected a subject"
    if MADE_BY_GIT.match(subject):
        return None
    if len(subject) > MAX_SUBJECT:
        return f"{len(subject)} characters, expected at most {MAX_SUBJECT}: {subject}"
    if subject.endswith("."):
        return f"ends with a full stop, expected none: {subject}"
    return None


def subject_of(message: str) -> str:
    """Return the first line of a message that is neither empty nor a comment of git."""
    lines = (line.strip() for line in message.splitlines() if not line.startswith("#"))
    return next((line for line in lines if line), "")


def commits(root: Path) -> list[str]:
    """Return hash and subject of the commits to check; none outside of a clone."""
    if not (root / ".git").exists():  # an unpacked archive
        return []
    known = subprocess.run(["git", "rev-parse", "--verify", "--quiet", REMOTE], cwd=root, stdout=subprocess.DEVNULL)
    since = [f"{REMOTE}..HEAD"] if known.returncode == 0 else [f"--max-count={LAST}"]
    log = ["git", "log", "--no-merges", "--format=%h %s", *since]
    listed = subprocess.run(log, cwd=root, stdout=subprocess.PIPE, text=True)
    if listed.returncode:  # git printed the reason
        raise SystemExit(f"{' '.join(log)} failed with exit code {listed.returncode}")
    return listed.stdout.splitlines()


def main() -> int:
    """Check one message, or the commits of the branch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="a file with the message of a commit")
    file = parser.parse_args().file
    if file is not None:
        subjects = [("", subject_of(file.read_text(encoding="utf-8")))]
    else:
        subjects = [(line.partition(" ")[0] + ": ", line.partition(" ")[2]) for line in commits(ROOT)]
    found = [f"{commit}{text}" for commit, subject in subjects if (text := problem(subject))]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
