"""The worlds by name, in two halves: those to develop with, and those that are played for the last figures only.

    python -m benchmarks.worlds.registry

writes the checksums of the final half.
"""

import hashlib
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .world import World

HERE = Path(__file__).parent
CHECKSUMS = HERE / "final.sha256"
DEVELOPMENT = ("outlet", "apothecary", "bazaar")
"""Modules of the worlds that policies are developed with."""
FINAL = ("journeys", "reminders", "rivals", "voyages", "households", "idle")
"""Modules of the worlds that nothing is fitted to."""
FINAL_HELPERS = ("_three", "_four", "_four_households")
HALVES = {"development": DEVELOPMENT, "final": FINAL}
DRIVER = {
    "__init__",
    "__main__",
    "chart",
    "compared",
    "play",
    "policies",
    "pooled",
    "registry",
    "runs",
    "tables",
    "world",
}
"""Modules of this package that are no worlds; names of helpers begin with an underscore."""


def all_names() -> list[str]:
    """Return the modules of all worlds."""
    found = {path.stem for path in HERE.glob("*.py")} - DRIVER
    return sorted(name for name in found if not name.startswith("_"))


def names_of(asked: Sequence[str]) -> list[str]:
    """Return the modules of these worlds and halves, each once.

    Raises
    ------
    ValueError
        If there is no such world.
    """
    known = all_names()
    names = [name for each in asked for name in HALVES.get(each, (each,))]
    for name in names:
        if name not in known:
            raise ValueError(f"no world {name}: expected development, final or one of {', '.join(known)}")
    return list(dict.fromkeys(names))


def world_class(name: str) -> type[World]:
    """Return the class of a world by the name of its module."""
    module = import_module(f"{__package__}.{name}")
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, World) and found.__module__ == module.__name__:
            return found
    raise ValueError(f"{name}.py has no subclass of World")


def checksums() -> str:
    """Return the SHA-256 of each file of the final half, helpers included, as `sha256sum` writes them."""
    files = sorted(f"{name}.py" for name in (*FINAL, *FINAL_HELPERS, "world"))
    return "".join(f"{hashlib.sha256((HERE / file).read_bytes()).hexdigest()}  {file}\n" for file in files)


def main() -> int:
    """Write the checksums of the final half."""
    CHECKSUMS.write_text(checksums())
    return 0


if __name__ == "__main__":
    sys.exit(main())
