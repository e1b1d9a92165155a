"""The three packages as they are installed: each wheel in a clean environment outside of the clone."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from stream_coupons.ops.deployment import FILES
from tests.docs.pages import ROOT
from tests.docs.test_tutorial import follow

pytestmark = [pytest.mark.process, pytest.mark.slow]

PACKAGES = {
    "stream_coupons": ROOT,
    "loopback_kafka": ROOT / "packages" / "loopback-kafka",
    "stream_coupons_console": ROOT / "packages" / "stream-coupons-console",
    "stream_coupons_lab": ROOT / "packages" / "stream-coupons-lab",
}
MAX_DISTRIBUTIONS = 55
"""Distributions of a clean installation of the engine, itself included."""
TO_START_WITH = {"pip", "setuptools"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each package."""
    folder = tmp_path_factory.mktemp("wheels")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
    ]
    subprocess.run([*build, *PACKAGES.values()], check=True, timeout=300)
    return {name: next(folder.glob(f"{name}-*.whl")) for name in PACKAGES}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_holds_its_package_and_nothing_else(wheels: dict[str, Path], name: str) -> None:
    files = zipfile.ZipFile(wheels[name]).namelist()
    assert {file.split("/")[0].partition("-")[0] for file in files} == {name}
    assert any(file.endswith(".dist-info/licenses/LICENSE") for file in files)
    assert f"{name}/py.typed" in files


def installed(folder: Path, *requirements: str | Path) -> Path:
    """Return the programs of a new environment that has the locked dependencies, and some wheels."""
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    install = [programs / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements], check=True, timeout=600, env=outside())
    return programs


def outside() -> dict[str, str]:
    """Return the environment of a process that does not see the clone."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_the_engine_alone_writes_the_files_of_a_deployment_and_runs_by_them(
    tmp_path: Path, wheels: dict[str, Path]
) -> None:
    engine = installed(tmp_path / "engine", wheels["stream_coupons"])

    def run(*args: str | Path) -> str:
        command = [engine / "stream-coupons", *args]
        done = subprocess.run(command, capture_output=True, text=True, env=outside(), cwd=tmp_path, check=True)
        return done.stdout

    folder = tmp_path / "deployment"
    run("deploy", "write", folder)
    assert {name: (folder / name).read_bytes() for name in FILES} == {
        name: (ROOT / "deploy" / name).read_bytes() for name in FILES
    }
    assert run("settings", "show", "--default") == (folder / "settings.toml").read_text(encoding="utf-8")
    assert f"partitions = 4  # file {folder / 'settings.toml'}" in run(
        "settings", "show", "--config", folder / "settings.toml"
    )


def test_engine_and_broker_follow_the_tutorial_each_installed_alone(tmp_path: Path, wheels: dict[str, Path]) -> None:
    clone = tmp_path / "shop"
    engine = installed(clone / ".venv", wheels["stream_coupons"])
    broker = installed(tmp_path / "broker", wheels["loopback_kafka"])
    listed = subprocess.run([engine / "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True)
    names = {line.partition("==")[0] for line in listed.stdout.split()} - TO_START_WITH
    assert "loopback-kafka" not in names
    assert len(names) <= MAX_DISTRIBUTIONS, sorted(names)
    (clone / "deploy").symlink_to(ROOT / "deploy")
    (clone / ".venv" / "bin" / "activate").write_text(f'PATH="{engine}:$PATH"\n', encoding="utf-8")
    follow(clone, {"PYTHONPATH": ""}, f"{broker / 'python'} -m loopback_kafka --data {tmp_path / 'data'}")


def test_a_verb_of_the_laboratory_states_what_to_install(tmp_path: Path, wheels: dict[str, Path]) -> None:
    engine = installed(tmp_path / "engine", wheels["stream_coupons"])
    alone = subprocess.run(
        [engine / "stream-coupons", "evaluate", "log.jsonl"],
        capture_output=True,
        text=True,
        env=outside(),
        cwd=tmp_path,
    )
    assert alone.returncode == 2
    assert "packages/stream-coupons-lab" in alone.stderr
    others = [wheels[name] for name in ("loopback_kafka", "stream_coupons_console", "stream_coupons_lab")]
    subprocess.run([engine / "pip", "install", "--quiet", *others], check=True, timeout=600, env=outside())
    served = [engine / "stream-coupons", "console", "--help"]
    assert subprocess.run(served, capture_output=True, env=outside(), cwd=tmp_path, check=True).stdout
    log = ROOT / "examples" / "travel" / "log.jsonl"
    found = subprocess.run(
        [engine / "stream-coupons", "evaluate", log, "--json"],
        capture_output=True,
        text=True,
        env=outside(),
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    assert '"heads"' in found.stdout
