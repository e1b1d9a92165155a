"""The systemd units and the Kubernetes manifests, as far as they can be checked without either running them."""

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_coupons.settings import Settings, load

from .test_compose import FOLDER, missing_options, verb_of

UNITS = sorted((FOLDER / "systemd").glob("*.service"))
DEPLOYMENTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((FOLDER / "kubernetes" / "stream-coupons.yml").read_text(encoding="utf-8"))
)
CONTAINERS = {each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0] for each in DEPLOYMENTS}
PORT = Settings().worker.metrics_port


def service(unit: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are as systemd spells them
    parser.read_string(unit.read_text(encoding="utf-8"))
    return parser["Service"]


@pytest.mark.process
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_a_verb_with_options_that_it_has(unit: Path) -> None:
    _, *command = shlex.split(service(unit)["ExecStart"])
    assert unit.name == f"stream-coupons-{verb_of(command)[0]}@.service"
    assert missing_options(command) == []


@pytest.mark.process
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_a_unit_valid(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text, program = unit.read_text(encoding="utf-8"), shlex.split(service(unit)["ExecStart"])[0]
    installed = tmp_path / unit.name
    installed.write_text(text.replace(program, sys.executable), encoding="utf-8")  # one that is there
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_always_restarted_and_its_secret_read_by_systemd(unit: Path) -> None:
    given = service(unit)
    assert (given["Restart"], given["LoadCredential"].split(":")[0]) == ("always", "secret.key")
    name, _, path = given["Environment"].partition("=")
    assert load(None, {name: path}).secret_file == "%d/secret.key"


@pytest.mark.process
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_runs_a_verb_with_options_that_it_has(name: str) -> None:
    assert name == f"stream-coupons-{verb_of(CONTAINERS[name]['args'])[0]}"
    assert missing_options(CONTAINERS[name]["args"]) == []


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=CONTAINERS)
def test_a_deployment_selects_its_pods_and_mounts_what_it_has(deployment: dict[str, Any]) -> None:
    spec = deployment["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_settings_that_exist_and_probes_on_the_port_of_its_metrics(name: str) -> None:
    container = CONTAINERS[name]
    settings = load(FOLDER / "settings.toml", {one["name"]: one["value"] for one in container["env"]})
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(Path(settings.secret_file).parent) in mounts
    assert settings.worker.metrics_host == "0.0.0.0", "a probe comes from outside of the pod"
    assert container["ports"] == [{"name": "metrics", "containerPort": PORT}]
    probes = {kind: probe["httpGet"] for kind, probe in container.items() if kind.endswith("Probe")}
    assert probes["livenessProbe"] == {"path": "/live", "port": "metrics"}
    assert probes.get("readinessProbe") in (None, {"path": "/ready", "port": "metrics"})
    assert ("readinessProbe" in probes) == (name == "stream-coupons-worker"), "no traffic waits for a learner"
