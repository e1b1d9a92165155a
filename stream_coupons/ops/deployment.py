"""The files of deploy/ that a shop runs the engine with: a wheel has them within the package, a clone beside it."""

from collections.abc import Sequence
from pathlib import Path

from stream_coupons.core.errors import BadConfig

PACKAGE = Path(__file__).parents[1]
FOLDER = PACKAGE / "deploy" if (PACKAGE / "deploy").is_dir() else PACKAGE.parent / "deploy"
OF_DEVELOPERS = {
    "Dockerfile",
    "requirements-build.lock",
    "prometheus/alerts_test.yml",
    "prometheus/alerts_days_test.yml",
}
"""Files in that folder that build the image or test the others."""
FILES = sorted({str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.*") if path.is_file()} - OF_DEVELOPERS)
"""Paths of the others below the folder."""
REFERENCE = FOLDER / "settings.toml"
"""The commented settings file with every default."""


def write(folder: Path, parts: Sequence[str], *, overwrites: bool) -> dict[str, list[str]]:
    """Write files into a folder, and return the paths of those `written`, `unchanged`, and `kept` as they differ.

    Parameters
    ----------
    folder : Path
        It is made if needed.
    parts : sequence of str
        Files and folders of `FILES` to write; all if empty.
    overwrites : bool
        Whether files that differ are written.

    Raises
    ------
    BadConfig
        If there is no such part, or a file cannot be written.
    """
    found = {part: {name for name in FILES if f"{name}/".startswith(f"{part.rstrip('/')}/")} for part in parts}
    if unknown := [part for part, names in found.items() if not names]:
        expected = ", ".join(sorted({name.partition("/")[0] for name in FILES}))
        raise BadConfig(f"{unknown[0]!r} is no file that is written, expected {expected}")
    outcomes: dict[str, list[str]] = {"written": [], "unchanged": [], "kept": []}
    for name in sorted(set().union(*found.values())) or FILES:
        path, data = folder / name, (FOLDER / name).read_bytes()
        try:
            before = path.read_bytes() if path.exists() else None
            if is_written := before is None or (before != data and overwrites):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        except OSError as error:
            raise BadConfig(f"{error.filename or path} cannot be written: {error.strerror}") from None
        outcomes["written" if is_written else "unchanged" if before == data else "kept"].append(str(path))
    return outcomes
