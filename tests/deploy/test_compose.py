"""The compose file and the Dockerfile, as far as they can be checked without an engine: neither is built or run."""

import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from loopback_kafka.kafka_jars import KAFKA_VERSION
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.topics import CATALOG
from stream_coupons.settings import load

from .exporter import running_exporter

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service["image"].startswith("stream-coupons:") and service.get("command")
}

DIGEST = "@sha256:[0-9a-f]{64}"
STRINGS = {"type": "array", "items": {"type": "string"}}
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
SERVICE = {
    "type": "object",
    "required": ["image", "mem_limit", "pids_limit", "ulimits"],
    "additionalProperties": False,
    "properties": {
        "image": {"type": "string"},
        "command": STRINGS,
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "volumes": STRINGS,
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:[0-9]+:[0-9]+$"}},
        "expose": STRINGS,
        "profiles": STRINGS,
        "secrets": STRINGS,
        "init": {"type": "boolean"},
        "read_only": {"type": "boolean"},
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
        "tmpfs": STRINGS,
        "mem_limit": {"type": "string", "pattern": "^[1-9][0-9]*[mg]$"},
        "pids_limit": {"type": "integer", "minimum": 1},
        "ulimits": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"nofile": {"type": "integer", "minimum": 1024}},
        },
        "stop_grace_period": DURATION,
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "deploy": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"replicas": {"type": "integer", "minimum": 0}},
        },
        "depends_on": {
            "anyOf": [
                STRINGS,
                {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["condition"],
                        "properties": {
                            "condition": {
                                "enum": ["service_started", "service_healthy", "service_completed_successfully"]
                            }
                        },
                    },
                },
            ]
        },
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "disable": {"type": "boolean"},
                "test": STRINGS,
                "interval": DURATION,
                "timeout": DURATION,
                "start_period": DURATION,
                "retries": {"type": "integer"},
            },
        },
    },
}
SHAPE = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "secrets": {"type": "object", "additionalProperties": {"required": ["file"]}},
    },
}


def verb_of(command: list[str]) -> list[str]:
    """The words of a command before its first argument that is an option or a path."""
    words = []
    for word in command:
        if word.startswith("-") or "/" in word:
            break
        words.append(word)
    return words


def missing_options(command: list[str]) -> list[str]:
    """Return the options of a command that the help of its verb does not have."""
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "stream_coupons", *verb_of(command), "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [word for word in command if word.startswith("--") and word not in done.stdout]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, without comments, continued lines joined."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    split = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in split]


def locked(path: Path) -> dict[str, set[str]]:
    """Requirement with its version, and its hashes."""
    found: dict[str, set[str]] = {}
    current = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        pinned = re.match(r"^([A-Za-z0-9._-]+==\S+)", line)
        if pinned:
            current = pinned[1]
            found[current] = set()
        found.get(current, set()).update(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))
    return found


def test_the_file_has_the_shape_of_compose() -> None:
    jsonschema.validate(COMPOSE, SHAPE)


def test_the_file_of_the_clone_includes_it() -> None:
    included = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert included == {"include": ["deploy/docker-compose.yml"]}


def test_every_service_that_is_waited_for_exists_and_can_be_waited_for() -> None:
    for service in COMPOSE["services"].values():
        needed = service.get("depends_on", {})
        assert set(needed) <= COMPOSE["services"].keys()
        for name, how in needed.items() if isinstance(needed, dict) else []:
            target = COMPOSE["services"][name]
            if how["condition"] == "service_healthy":
                assert target["healthcheck"]["test"]
            if how["condition"] == "service_completed_successfully":
                assert target["restart"] in {"no", "on-failure"}


def test_everything_mounted_exists() -> None:
    used = set()
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
                assert volume.endswith(":ro"), volume
            else:
                used.add(source)
    assert used == COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_image_is_pinned(name: str) -> None:
    image, _, tag = COMPOSE["services"][name]["image"].partition(":")
    if name in OURS:
        assert (image, tag) == ("stream-coupons", "dev")
    else:
        assert re.fullmatch(rf"v?\d+\.\d+\.\d+{DIGEST}", tag), f"{image}: {tag or 'no tag'}"


def test_the_broker_is_the_version_that_is_tested() -> None:
    assert COMPOSE["services"]["kafka"]["image"].partition("@")[0] == f"apache/kafka:{KAFKA_VERSION}"


@pytest.mark.parametrize(("name", "job"), [("worker", "stream-coupons"), ("learner", "stream-coupons-learner")])
def test_there_are_two_of_each_that_prometheus_finds(name: str, job: str) -> None:
    service = COMPOSE["services"][name]
    assert service["deploy"]["replicas"] == 2
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    found = {each["job_name"]: each for each in scraped["scrape_configs"]}[job]["dns_sd_configs"][0]
    assert found["names"] == [name]
    assert [str(found["port"])] == service["expose"] == [str(load(None, {}).worker.metrics_port)]
    assert name == "worker" or ["--metrics-port", *service["expose"]] == service["command"][1:3]
    listens = next(rest for name, rest in instructions() if name == "ENV" and "METRICS_HOST" in rest)
    assert "STREAM_COUPONS_WORKER__METRICS_HOST=0.0.0.0" in listens


@pytest.mark.parametrize("name", OURS)
def test_every_setting_in_the_environment_exists(name: str) -> None:
    # What the machine's own environment may override is written ${NAME:-default}, as in a shell.
    environment = {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", text) for key, text in OURS[name]["environment"].items()}
    settings = load(ROOT / "deploy" / "settings.toml", environment)
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.kafka.partitions >= COMPOSE["services"]["worker"]["deploy"]["replicas"]


@pytest.mark.process
@pytest.mark.parametrize("name", OURS)
def test_the_program_has_every_verb_and_option_that_is_used(name: str) -> None:
    assert missing_options(OURS[name]["command"]) == []


def test_the_verbs_are_those_that_a_whole_system_needs() -> None:
    verbs = {" ".join(verb_of(service["command"])) for service in OURS.values()}
    assert verbs == {"topics apply", "secret adopt", "worker", "learner", "catalog push"}


def test_the_first_catalogue_can_be_read() -> None:
    coupons = json.loads((ROOT / "deploy" / "catalog.json").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "schemas" / "coupon-catalog.v1.schema.json").read_text(encoding="utf-8"))
    decode = Decoder(CATALOG)
    for coupon in coupons:
        jsonschema.validate(coupon, schema)
        decode(json.dumps(coupon).encode())
    assert len({coupon["coupon_id"] for coupon in coupons}) == len(coupons)


def test_the_image_runs_the_program_as_nobody_in_particular() -> None:
    stages = [rest for name, rest in instructions() if name == "FROM"]
    last = [name for name, _ in instructions()].index("FROM", 2)
    final = dict(instructions()[last:])
    assert len(stages) == 2
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", final["USER"])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert json.loads(final["ENTRYPOINT"]) == [next(iter(scripts))]
    assert verb_of(json.loads(final["CMD"])) == ["worker"]


def test_the_base_image_is_pinned() -> None:
    argument = next(rest for name, rest in instructions() if name == "ARG")
    assert re.fullmatch(rf"PYTHON_IMAGE=python:3\.11\.\d+-slim-[a-z]+{DIGEST}", argument)


def test_everything_copied_exists_and_is_let_through() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            copied.update(rest.split()[:-1])
    assert "*" in lines
    assert lines.index("**/*.key") > lines.index("!deploy"), (
        "the secret that lies beside docker-compose.yml stays there"
    )
    assert copied == let_through
    assert [source for source in sorted(copied) if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("path", ["requirements-runtime.lock", "deploy/requirements-build.lock"])
def test_what_the_image_installs_is_what_was_tested(path: str) -> None:
    tested, installed = locked(ROOT / "requirements.lock"), locked(ROOT / path)
    assert len(installed) > 4
    assert {name: tested.get(name) for name in installed} == installed
    assert all(installed.values())
    assert "://" not in (ROOT / path).read_text(encoding="utf-8")


def test_the_image_has_everything_that_the_program_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    of_workers = [*project["dependencies"], *project["optional-dependencies"]["rocksdb"]]
    needed = {re.split(r"[=<>!~;\[ ]", requirement)[0] for requirement in of_workers}
    installed = {name.split("==")[0] for name in locked(ROOT / "requirements-runtime.lock")}
    assert needed <= installed


def health_check(exporter: str) -> int:
    """Exit code of the image's health check against an exporter."""
    rest = next(rest for name, rest in instructions() if name == "HEALTHCHECK")
    words = json.loads(rest[rest.index("[") :])
    port = exporter.rpartition(":")[2]
    return subprocess.run(
        [sys.executable, *words[1:]],
        env={**os.environ, "STREAM_COUPONS_WORKER__METRICS_PORT": port},
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


@pytest.mark.parametrize("service", ["worker", "learner"])
def test_those_that_run_have_a_secret_that_is_not_in_the_repository(service: str) -> None:
    worker, [(name, source)] = COMPOSE["services"][service], COMPOSE["secrets"].items()
    assert worker["secrets"] == [name]
    assert worker["environment"]["STREAM_COUPONS_SECRET_FILE"] == f"/run/secrets/{name}"
    patterns = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert any(fnmatch(Path(source["file"]).name, pattern) for pattern in patterns)


@pytest.mark.process
def test_the_health_check_says_whether_a_worker_is_ready(exporter: str) -> None:
    assert health_check(exporter) == 0
    with running_exporter("a broker") as not_ready:
        assert health_check(not_ready) == 1
    assert health_check("127.0.0.1:1") == 1
