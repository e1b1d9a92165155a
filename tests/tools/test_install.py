"""A lock file is installed with visible progress, and a failure of pip is one of tools/install.py."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.process

NAMES = ("first_part", "second_part")


def wheel_of(name: str, folder: Path) -> Path:
    """Write a wheel with one module."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def install(lock: Path, target: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(lock.parent), "PIP_TARGET": str(target)}
    command = [sys.executable, str(ROOT / "tools" / "install.py"), str(lock)]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    digests = {name: hashlib.sha256(wheel_of(name, tmp_path).read_bytes()).hexdigest() for name in NAMES}
    lines = [f"{name.replace('_', '-')}==1.0 --hash=sha256:{digest}" for name, digest in digests.items()]
    path = tmp_path / "requirements.lock"
    path.write_text("\n".join([*lines, "absent==1.0 ; sys_platform == 'none'"]), encoding="utf-8")
    return path


def test_all_packages_are_counted_and_installed(lock: Path, tmp_path: Path) -> None:
    result = install(lock, tmp_path / "target")
    assert result.returncode == 0, result.stderr
    counted = [line.split(":")[0].strip() for line in result.stdout.splitlines() if "packages:" in line]
    assert counted == ["1 of 3 packages", "2 of 3 packages", "3 of 3 packages"]
    assert {path.stem for path in (tmp_path / "target").glob("*.py")} == set(NAMES)


def test_a_package_with_another_hash_is_refused(lock: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "second_part-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("added.py", "")
    result = install(lock, tmp_path / "target")
    assert result.returncode != 0
    assert "second_part" in result.stderr.replace("-", "_")
    assert not (tmp_path / "target" / "first_part.py").exists()
