"""The Kustomize tree: built, validated by the schemas of its kinds, and consistent; no cluster runs it here."""

import json
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_coupons import __version__
from stream_coupons.ops.deployment import write
from stream_coupons.settings import Settings, load

from .conftest import ROOT, TOOLS, checked, missing
from .test_compose import COMPOSE, FOLDER, missing_options, verb_of
from .test_units import UNITS, service

pytestmark = [pytest.mark.process, pytest.mark.deploy]

TREE = FOLDER / "kubernetes"
OVERLAYS = sorted(path.name for path in (TREE / "overlays").iterdir())
KINDS = ("worker", "learner")
MODELS = {"keda.sh": "keda", "monitoring.coreos.com": "prometheus-operator"}
"""Packages of npm with the types of a group of custom resources."""
Object = dict[str, Any]


@cache
def built(overlay: str) -> str:
    """The manifests of an overlay."""
    code, output = checked("kubectl", "kustomize", TREE / "overlays" / overlay)
    assert code == 0, output
    return output


def objects(overlay: str, kind: str) -> dict[str, Object]:
    """The objects of a kind by name."""
    found: list[Object] = [one for one in yaml.safe_load_all(built(overlay)) if one["kind"] == kind]
    return {one["metadata"]["name"]: one for one in found}


def workloads(overlay: str) -> dict[str, Object]:
    """Return the manifests that run workers and learners, by name."""
    return objects(overlay, "StatefulSet") | objects(overlay, "Deployment")


def pod(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def settings(overlay: str) -> Settings:
    [data] = [one["data"] for one in objects(overlay, "ConfigMap").values()]
    return load(None, data)


# ------------------------------------------------------------ tools accept it, and refuse misspelt fields


def kubernetes_errors(text: str, folder: Path) -> str:
    """Return what `kubernetes-validate` finds wrong with objects of Kubernetes itself; empty if nothing."""
    path = folder / "manifests.yml"
    path.write_text(text, encoding="utf-8")
    code, output = checked("kubernetes-validate", "--strict", path)
    unknown = [line for line in output.splitlines() if "Couldn't find schema" in line]
    assert all(any(f"api version {group}/" in line for group in MODELS) for line in unknown), unknown
    return output if code else ""


def custom_resource_errors(text: str, folder: Path) -> str:
    """Return what the TypeScript compiler finds wrong with custom resources; empty if nothing."""
    modules = Path(os.environ.get("NODE_PATH", TOOLS / "node_modules"))
    for package in ("typescript", *(f"@kubernetes-models/{name}" for name in MODELS.values())):
        if not (modules / package).is_dir():
            missing(f"the npm package {package}", "make deploy-tools")
    lines = []
    for number, one in enumerate(yaml.safe_load_all(text)):
        api, kind = one["apiVersion"], one["kind"]
        if package := MODELS.get(api.partition("/")[0]):
            lines.append(f'import {{ I{kind} as T{number} }} from "@kubernetes-models/{package}/{api}/{kind}";')
            lines.append(f"export const o{number}: T{number} = {json.dumps(one)};")
    assert lines
    (folder / "resources.ts").write_text("\n".join(lines), encoding="utf-8")
    (folder / "node_modules").symlink_to(modules)
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "esnext"]
    code, output = checked("node", modules / "typescript" / "bin" / "tsc", *options, folder / "resources.ts")
    return output if code else ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_accepts_an_overlay(overlay: str, tmp_path: Path) -> None:
    assert kubernetes_errors(built(overlay), tmp_path) == ""


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "small"])
def test_operators_accept_the_custom_resources_of_an_overlay(overlay: str, tmp_path: Path) -> None:
    assert custom_resource_errors(built(overlay), tmp_path) == ""


def test_the_small_overlay_needs_no_operator() -> None:
    assert not any(f"apiVersion: {group}/" in built("small") for group in MODELS)


def test_kustomize_refuses_a_misspelt_field(tmp_path: Path) -> None:
    shutil.copytree(TREE, tmp_path / "tree")
    path = tmp_path / "tree" / "overlays" / "ha" / "kustomization.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("components:", "componentz:"), encoding="utf-8")
    code, output = checked("kubectl", "kustomize", path.parent)
    assert code == 1
    assert "unknown field" in output
    assert "componentz" in output


@pytest.mark.parametrize(
    ("overlay", "errors", "before", "after", "named"),
    [
        ("small", kubernetes_errors, "serviceName:", "serviceNmae:", "serviceNmae"),
        ("small", kubernetes_errors, "failureThreshold: 6", "failureThreshold: six", "'six'"),
        ("ha", kubernetes_errors, "maxUnavailable:", "maxUnavailble:", "maxUnavailble"),
        ("ha", custom_resource_errors, "scrapeTimeout:", "scrapeTimeuot:", "scrapeTimeuot"),
        ("ha", custom_resource_errors, "for: 2m", "four: 2m", "'\"four\"'"),
        ("autoscaled", custom_resource_errors, "minReplicaCount:", "minReplicaCuont:", "minReplicaCuont"),
        ("autoscaled", custom_resource_errors, "currentReplicasIfHigher", "whatever", '"whatever"'),
    ],
)
def test_a_misspelt_field_or_value_of_a_manifest_is_refused(
    overlay: str, errors: Callable[[str, Path], str], before: str, after: str, named: str, tmp_path: Path
) -> None:
    assert before in built(overlay)
    assert named in errors(built(overlay).replace(before, after), tmp_path)


def test_the_folder_of_the_page_builds_on_the_tree_that_deploy_write_writes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "run-in-production.md").read_text(encoding="utf-8")
    own = page.partition("```yaml\n# kustomization.yml\n")[2].partition("```")[0]
    (tmp_path / "kustomization.yml").write_text(own, encoding="utf-8")
    write(tmp_path, ["kubernetes"], overwrites=False)
    code, output = checked("kubectl", "kustomize", tmp_path)
    assert code == 0, output
    found = list(yaml.safe_load_all(output))
    assert {one["metadata"]["namespace"] for one in found} == {"coupons"}
    images = {pod(one)["containers"][0]["image"] for one in found if one["kind"] in ("StatefulSet", "Deployment")}
    assert images == {f"registry.example/stream-coupons:{__version__}"}
    [data] = [one["data"] for one in found if one["kind"] == "ConfigMap"]
    assert load(None, data).kafka.bootstrap == "kafka-1:9092,kafka-2:9092"
    assert load(None, data).kafka.partitions == settings("ha").kafka.partitions


# ------------------------------------------------------------ it fits the program, and itself


@pytest.mark.parametrize(("overlay", "counts"), [("small", (1, 1)), ("ha", (3, 2)), ("autoscaled", (None, 2))])
def test_an_overlay_has_its_numbers_of_workers_and_learners(overlay: str, counts: tuple[int | None, int]) -> None:
    found = [workloads(overlay)[f"stream-coupons-{kind}"]["spec"].get("replicas") for kind in KINDS]
    assert tuple(found) == counts
    assert (counts[0] or 0) <= settings(overlay).kafka.partitions


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_runs_a_verb_with_options_that_it_has(kind: str) -> None:
    [container] = pod(workloads("ha")[f"stream-coupons-{kind}"])["containers"]
    assert verb_of(container["args"]) == [kind]
    assert missing_options(container["args"]) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_exist_and_point_to_what_is_mounted(overlay: str) -> None:
    found = settings(overlay)
    assert found.worker.metrics_host == "0.0.0.0", "a probe comes from outside of the pod"
    for workload in workloads(overlay).values():
        [container] = pod(workload)["containers"]
        [source] = container["envFrom"]
        assert source["configMapRef"]["name"] in objects(overlay, "ConfigMap")
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
        assert set(mounts.values()) == volumes.keys()
        assert "secret" in volumes[mounts[str(Path(found.secret_file).parent)]]


def test_the_lines_in_comments_name_each_worker_in_its_group(tmp_path: Path) -> None:
    shutil.copytree(TREE, tmp_path / "tree")
    path = tmp_path / "tree" / "base" / "worker.yml"
    text = re.sub(
        r"^( +)# ( *(?:env|- name|valueFrom):)", r"\1\2", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    path.write_text(text, encoding="utf-8")
    code, output = checked("kubectl", "kustomize", tmp_path / "tree" / "overlays" / "small")
    assert code == 0, output
    assert kubernetes_errors(output, tmp_path) == ""
    [worker] = [one for one in yaml.safe_load_all(output) if one["kind"] == "StatefulSet"]
    [variable] = pod(worker)["containers"][0]["env"]
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert load(None, {variable["name"]: "worker-0"}).kafka.instance_id == "worker-0"


@pytest.mark.parametrize("kind", KINDS)
def test_probes_ask_the_port_of_the_metrics_for_paths_that_are_served(kind: str) -> None:
    [container] = pod(workloads("ha")[f"stream-coupons-{kind}"])["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": Settings().worker.metrics_port}]
    probes = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    live, ready = ({"path": path, "port": "metrics"} for path in ("/live", "/ready"))
    expected = {"startupProbe": live, "livenessProbe": live} | ({"readinessProbe": ready} if kind == "worker" else {})
    assert probes == expected, "no traffic waits for a learner"


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_meets_the_restricted_standard_of_kubernetes(kind: str) -> None:
    spec = pod(workloads("small")[f"stream-coupons-{kind}"])
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not spec["automountServiceAccountToken"]
    assert {"requests", "limits"} == container["resources"].keys()


def test_selectors_find_the_pods_of_one_kind() -> None:
    labels = {
        kind: workloads("ha")[f"stream-coupons-{kind}"]["spec"]["template"]["metadata"]["labels"] for kind in KINDS
    }

    def selected(selector: dict[str, str]) -> list[str]:
        return [kind for kind in KINDS if selector.items() <= labels[kind].items()]

    for kind in KINDS:
        name = f"stream-coupons-{kind}"
        spread = pod(workloads("ha")[name])["topologySpreadConstraints"]
        services = objects("ha", "Service")
        assert selected(workloads("ha")[name]["spec"]["selector"]["matchLabels"]) == [kind]
        assert selected(services[name]["spec"]["selector"]) == [kind]
        assert selected(objects("ha", "PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"]) == [kind]
        monitored = objects("ha", "ServiceMonitor")[name]["spec"]["selector"]["matchLabels"]
        assert [each for each, one in services.items() if monitored.items() <= one["metadata"]["labels"].items()] == [
            name
        ]
        assert all(selected(one["labelSelector"]["matchLabels"]) == list(KINDS) for one in spread)
        assert all(one["matchLabelKeys"][0] in labels[kind] for one in spread), "each kind is spread by itself"
        assert {one["nodeTaintsPolicy"] for one in spread} == {"Honor"}, "a tainted node would always have the fewest"
    [policy] = objects("small", "NetworkPolicy").values()
    assert selected(policy["spec"]["podSelector"]["matchLabels"]) == list(KINDS)


def test_metrics_arrive_under_the_jobs_that_the_alerts_name() -> None:
    scraped = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    monitors = objects("ha", "ServiceMonitor").values()
    jobs = {rule["replacement"] for one in monitors for rule in one["spec"]["endpoints"][0]["relabelings"]}
    assert jobs == {one["job_name"] for one in scraped} - {"prometheus"}


def test_the_number_of_workers_follows_the_lag_of_their_group() -> None:
    [scaled] = objects("autoscaled", "ScaledObject").values()
    found, spec = settings("autoscaled").kafka, scaled["spec"]
    [trigger] = [one["metadata"] for one in spec["triggers"]]
    assert trigger["bootstrapServers"] == found.bootstrap
    assert trigger["consumerGroup"] == found.namespace + found.group_id
    assert spec["minReplicaCount"] <= spec["maxReplicaCount"] <= found.partitions
    target = spec["scaleTargetRef"]
    assert target["name"] in objects("autoscaled", target["kind"])


def test_every_supervisor_gives_the_same_time_to_end() -> None:
    graces = {pod(one)["terminationGracePeriodSeconds"] for one in workloads("small").values()}
    graces |= {int(COMPOSE["services"][kind]["stop_grace_period"].removesuffix("s")) for kind in KINDS}
    graces |= {int(service(unit)["TimeoutStopSec"]) for unit in UNITS}
    assert graces == {30}
