"""Wheels of a release, built twice and read by the tools that a release asks; and the workflows."""

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.docs.pages import ROOT, script

from .conftest import checked, program
from .test_compose import locked

pytestmark = [pytest.mark.process, pytest.mark.deploy]

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.argv[1]) or "valid")
"""


@pytest.fixture(scope="module")
def release() -> ModuleType:
    return script("release", ROOT / "tools")


@pytest.fixture(scope="module")
def wheels(release: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheels; two builds of them are equal."""
    folder = tmp_path_factory.mktemp("wheels")
    assert release.build_twice(ROOT, folder) == []
    return folder


def wheel_of(folder: Path, name: str) -> Path:
    return next(folder.glob(f"{name}-*.whl"))


def rewritten(wheel: Path, folder: Path, name: str, text: bytes) -> Path:
    """Return a copy of a wheel in which one file, given by its end, has another text, or is added and recorded."""
    target = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as copy:
        files = {each: source.read(each) for each in source.namelist()}
        [record] = [each for each in files if each.endswith(".dist-info/RECORD")]
        known = [each for each in files if each.endswith(name)]
        files[known[0] if known else name] = text
        if not known:
            files[record] += f"{name},,\n".encode()
        for each, data in files.items():
            copy.writestr(each, data)
    return target


def test_what_git_does_not_know_makes_two_builds_differ(release: ModuleType, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    release.copy(ROOT, clone)
    subprocess.run(["git", "init", "--quiet", clone], check=True)
    shutil.copy(ROOT / "LICENSE", clone / "deploy" / "secret.key")  # git ignores it, the wheel takes the folder
    [differs] = release.build_twice(clone, tmp_path / "wheels")
    assert differs == wheel_of(tmp_path / "wheels", "stream_coupons").name


def test_the_sums_name_every_wheel(release: ModuleType, wheels: Path) -> None:
    lines = (wheels / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(release.PROJECTS)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=wheels, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_twine_accepts_the_wheels_and_refuses_one_without_a_description(wheels: Path, tmp_path: Path) -> None:
    code, output = checked("twine", "check", "--strict", *wheels.glob("*.whl"))
    assert code == 0, output
    wheel = wheel_of(wheels, "stream_coupons")
    with zipfile.ZipFile(wheel) as source:
        [name] = [each for each in source.namelist() if each.endswith("METADATA")]
        head = source.read(name).partition(b"\n\n")[0]
    code, output = checked("twine", "check", "--strict", rewritten(wheel, tmp_path, "METADATA", head + b"\n\n"))
    assert code == 1
    assert "description" in output


def test_check_wheel_contents_accepts_the_wheels_and_refuses_one_with_tests(wheels: Path, tmp_path: Path) -> None:
    code, output = checked("check-wheel-contents", wheels)
    assert code == 0, output
    spoilt = rewritten(wheel_of(wheels, "loopback_kafka"), tmp_path, "tests/test_broker.py", b"assert True\n")
    code, output = checked("check-wheel-contents", spoilt)
    assert code == 1
    assert "tests" in output


def sbom(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as source:
        [name] = [
            each for each in source.namelist() if re.fullmatch(r"[^/]+\.dist-info/sboms/[\w.-]+\.cdx\.json", each)
        ]
        return source.read(name).decode()


def test_every_wheel_has_an_sbom_that_cyclonedx_accepts(release: ModuleType, wheels: Path) -> None:
    python = Path(program("twine", "make deploy-tools")).with_name("python")
    found = sorted(wheels.glob("*.whl"))
    assert len(found) == len(release.PROJECTS)
    for wheel in found:
        assert checked(str(python), "-c", VALIDATE, sbom(wheel)) == (0, "valid\n")
    _, output = checked(str(python), "-c", VALIDATE, sbom(found[0]).replace('"purl"', '"prul"'))
    assert "prul" in output


def test_the_sbom_of_the_engine_names_what_its_lock_pins(wheels: Path) -> None:
    components = json.loads(sbom(wheel_of(wheels, "stream_coupons")))["components"]
    pinned = locked(ROOT / "requirements-runtime.lock")
    assert {f"{one['name']}=={one['version']}" for one in components} == set(pinned)


def test_the_sbom_of_another_distribution_names_the_engine_and_no_tool_of_development(wheels: Path) -> None:
    components = json.loads(sbom(wheel_of(wheels, "stream_coupons_lab")))["components"]
    names = {one["name"] for one in components}
    assert {"stream-coupons", "loopback-kafka", "scikit-learn", "optuna", "faust-streaming"} <= names
    assert not names & {"pytest", "ruff", "mypy", "confluent-kafka"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_zizmor_accepts_a_workflow_and_refuses_an_action_by_its_tag(workflow: Path, tmp_path: Path) -> None:
    code, output = checked("zizmor", "--offline", "--quiet", workflow)
    assert code == 0, output
    text = workflow.read_text(encoding="utf-8")
    spoilt = tmp_path / "workflow.yml"
    spoilt.write_text(re.sub(r"(actions/checkout)@\w+ # (v[\d.]+)", r"\1@\2", text), encoding="utf-8")
    code, output = checked("zizmor", "--offline", "--quiet", spoilt)
    assert code != 0
    assert "unpinned-uses" in output


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_the_version_of_each_action(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used), used


def test_every_wheel_is_published(wheels: Path) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    published = workflow["jobs"]["wheels"]["strategy"]["matrix"]["project"]
    assert sorted(published) == sorted(wheel.name.partition("-")[0] for wheel in wheels.glob("*.whl"))
