"""Check, describe and build a release: `python tools/release.py check [TAG]`, `notes`, or `build FOLDER`.

The version is `__version__` of stream_coupons: all four distributions take it from there. `check` compares the tag, the
heading of CHANGELOG.md and the distributions' requirements of each other with it. `notes` prints its section of
CHANGELOG.md. `build` builds each wheel twice, in this folder and in a copy of what git has, and compares their bytes.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECTS = (".", "packages/loopback-kafka", "packages/stream-coupons-console", "packages/stream-coupons-lab")
"""Folders of the distributions."""
OWNER_ONLY = 0o077
"""A umask unlike the usual one."""


def version(root: Path) -> str:
    """Return the version of the package."""
    text = (root / "stream_coupons" / "__init__.py").read_text(encoding="utf-8")
    return str(ast.literal_eval(text.partition("__version__ = ")[2].partition("\n")[0]))


def section(root: Path) -> tuple[str, str]:
    """Return date and text of the version in CHANGELOG.md; both empty if there is no section."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## \[{re.escape(version(root))}\] - (.+)\n((?:(?!## \[).*\n?)*)", text, re.MULTILINE)
    return (found[1], found[2].strip()) if found else ("", "")


def problems(root: Path, tag: str = "") -> list[str]:
    """Return what keeps a clone from being released; with a tag, also what keeps it from being released under it."""
    current = version(root)
    date, text = section(root)
    found = []
    if not text:
        found.append(f"CHANGELOG.md has no section `## [{current}] - DATE`: write what users get")
    if tag and tag != f"v{current}":
        found.append(f"the tag is {tag}, stream_coupons/__init__.py states {current}: expected the tag v{current}")
    if tag and text and not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        found.append(f"CHANGELOG.md dates {current} {date!r}, expected a day such as 2026-12-01")
    projects = {path: tomllib.loads((root / path / "pyproject.toml").read_text(encoding="utf-8")) for path in PROJECTS}
    names = {each["project"]["name"] for each in projects.values()}
    for path, each in projects.items():
        for requirement in each["project"]["dependencies"]:
            name, _, number = requirement.partition("==")
            if re.split(r"[^\w-]", name)[0] in names and number != current:
                found.append(f"{path}/pyproject.toml requires {requirement}, expected {name}=={current}")
    return found


def build(source: Path, folder: Path) -> dict[str, str]:
    """Build the wheels of a source tree into a folder; return the SHA-256 of each by name.

    The time in them is that of `SOURCE_DATE_EPOCH`, or one that hatchling has for all.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), *(str(source / path) for path in PROJECTS)]
    subprocess.run(command, check=True)
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.whl"))}


def copy(source: Path, target: Path) -> None:
    """Copy the files of a clone that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def build_twice(root: Path, folder: Path) -> list[str]:
    """Build the wheels into a folder, and again elsewhere; return the names of those that differ."""
    with tempfile.TemporaryDirectory() as other:
        first = build(root, folder)
        before = os.umask(OWNER_ONLY)
        try:
            copy(root, Path(other, "clone"))
            second = build(Path(other, "clone"), Path(other, "wheels"))
        finally:
            os.umask(before)
    lines = [f"{digest}  {name}\n" for name, digest in first.items()]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    sys.stdout.writelines(lines)
    return [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]


def main() -> int:
    """Run the command; return 1 if the release is not sound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0] + ".")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("tag", nargs="?", default="", help="such as v0.1.0")
    commands.add_parser("notes")
    commands.add_parser("build").add_argument("folder", type=Path, help="new or empty")
    given = parser.parse_args()
    if given.command == "notes":
        print(section(ROOT)[1])
        return 0
    if given.command == "check":
        found = problems(ROOT, given.tag)
    else:
        found = [f"{name}: two builds differ" for name in build_twice(ROOT, given.folder)]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
