"""Fixtures of the tests of deploy/: its files, programs, a running exporter and a running Prometheus.

promtool and prometheus come with `apt-get install prometheus`, other programs by `make deploy-tools`. Without them the
tests that need them are skipped, or fail where CI=true.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from .exporter import running_exporter
from .server import Prometheus, running_prometheus

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv-deploy"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "stream-coupons.json"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="session")
def alerts() -> list[dict[str, Any]]:
    return [rule for rule in _rules() if "alert" in rule]


@pytest.fixture(scope="session")
def rules() -> list[dict[str, Any]]:
    return _rules()


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="session")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def missing(name: str, install: str) -> NoReturn:
    """Skip the test that needs a tool, or fail where CI=true, which installs all of them."""
    message = f"{name} is not installed: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def program(name: str, install: str = "apt-get install prometheus") -> str:
    """Path of a program; those of requirements-deploy.lock come first."""
    folders = f"{TOOLS / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return shutil.which(name, path=folders) or missing(name, install)


def checked(name: str, *arguments: str | Path, install: str = "make deploy-tools") -> tuple[int, str]:
    """Exit code and output of a program that checks files."""
    command = [program(name, install), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


@pytest.fixture(scope="session")
def exporter() -> Iterator[str]:
    with running_exporter() as address:
        yield address


@pytest.fixture(scope="session")
def prometheus(exporter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(program("prometheus"), exporter, RULES, folder) as client:
        yield client
