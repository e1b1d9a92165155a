"""Build hook that adds an SBOM to a wheel: CycloneDX JSON in `.dist-info/sboms` (PEP 770).

It names every package that the distribution and its extras install, in the locked version, and which needs which. The
lock file of uv names the parents of each package.
"""

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LOCKED = re.compile(r"^([\w.-]+)==([^\s;]+)(.*(?:\n .*)*)", re.MULTILINE)
PARENT = re.compile(r"^ +#(?: via|  ) ([\w.-]+)$", re.MULTILINE)
"""A package that needs the one above; groups of development have their name behind it, and are none."""
Locked = dict[str, tuple[str, frozenset[str]]]


def read(lock: str) -> Locked:
    """Return version and parents of each package of a lock file."""
    return {name: (version, frozenset(PARENT.findall(rest))) for name, version, rest in LOCKED.findall(lock)}


def needed(packages: Locked, roots: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that some others need, directly or not."""
    found = set(roots)
    while more := {name for name, (_, parents) in packages.items() if parents & found} - found:
        found |= more
    return {name: version for name, (version, _) in sorted(packages.items()) if name in found}


def bill(name: str, version: str, siblings: Iterable[str], packages: Locked) -> dict[str, Any]:
    """Return the SBOM of a distribution.

    Parameters
    ----------
    siblings : iterable of str
        Distributions of this repository that it needs; they have its version.
    """
    versions = dict.fromkeys(siblings, version) | needed(packages, {name, *siblings})
    urls = {each: f"pkg:pypi/{each}@{number}" for each, number in {name: version, **versions}.items()}
    children: dict[str, list[str]] = {each: [] for each in urls}
    children[name] += [urls[each] for each in siblings]
    for each in versions.keys() & packages.keys():
        for parent in packages[each][1] & urls.keys():
            children[parent].append(urls[each])

    def component(each: str) -> dict[str, str]:
        number = urls[each].rpartition("@")[2]
        return {"type": "library", "bom-ref": urls[each], "name": each, "version": number, "purl": urls[each]}

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(name)},
        "components": [component(each) for each in sorted(versions)],
        "dependencies": [{"ref": urls[each], "dependsOn": sorted(children[each])} for each in sorted(urls)],
    }


class SbomHook(BuildHookInterface[Any]):
    """Adds the SBOM while a wheel is built; its option `lock` is the path of a lock file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Write the SBOM to a temporary file, which `finalize` removes, and name it to hatchling."""
        core = self.metadata.core
        packages = read(Path(self.root, self.config["lock"]).read_text(encoding="utf-8"))
        direct = {re.split(r"[^\w.-]", requirement)[0] for requirement in core.dependencies}
        found = bill(core.name, self.metadata.version, sorted(direct - packages.keys()), packages)
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name, f"{core.name}.cdx.json")
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        build_data["sbom_files"].append(str(path))

    def finalize(self, *_: Any) -> None:
        """Remove the temporary file."""
        self._folder.cleanup()
