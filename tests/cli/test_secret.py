"""`secret`: make, show, adopt."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.system import LocalSystem

from .conftest import Run
from .test_worker import run_worker


def test_make_prints_the_fingerprint_and_never_the_secret(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    result = run("secret", "make", path)
    assert result.exit_code == 0
    assert result.stdout.strip() == secret.read(path).fingerprint
    assert path.read_text().strip() not in result.stdout
    again = run("secret", "make", path)
    assert (again.exit_code, "never overwritten" in again.stderr) == (2, True)


@pytest.mark.process
def test_a_worker_without_a_secret_says_how_to_make_one() -> None:
    done = run_worker("--bootstrap", "127.0.0.1:1", public=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: secret_file is not set: ")
    assert "`stream-coupons secret make FILE`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.kafka
def test_a_worker_with_another_key_than_its_group_ends_before_it_joins(bootstrap: str, tmp_path: Path) -> None:
    key = secret.make(tmp_path / "secret.key")
    secret.adopt(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), PUBLIC_KEY)
    config = tmp_path / "settings.toml"
    config.write_text(f'secret_file = "{tmp_path / "secret.key"}"\n')
    done = run_worker("--bootstrap", bootstrap, "--config", config, "--metrics-port", "0")
    assert done.returncode == 2
    assert f"has the fingerprint {key.fingerprint}, which the workers of these topics do not draw by" in done.stderr


@pytest.mark.kafka
def test_show_says_whether_the_workers_draw_by_the_same_key(run: Run, bootstrap: str, tmp_path: Path) -> None:
    secret.adopt(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), PUBLIC_KEY)
    same = run("secret", "show", "--json", "--bootstrap", bootstrap)
    assert (same.exit_code, json.loads(same.stdout)["workers"]) == (0, PUBLIC_KEY.fingerprint)
    config = tmp_path / "settings.toml"
    config.write_text(f'secret_file = "{tmp_path / "secret.key"}"\n')
    key = secret.make(tmp_path / "secret.key")
    other = run("secret", "show", "--bootstrap", bootstrap, "--config", config)
    assert (other.exit_code, key.fingerprint in other.stdout) == (1, True)


@pytest.mark.kafka
def test_a_secret_is_adopted_only_while_no_worker_runs(broker: BrokerProcess, unique: str, tmp_path: Path) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=broker.bootstrap, group_id=unique))
    key, config = secret.make(tmp_path / "secret.key"), tmp_path / "settings.toml"
    config.write_text(f'secret_file = "{tmp_path / "secret.key"}"\n[kafka]\ngroup_id = "{unique}"\n')

    def adopt() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "stream_coupons", "secret", "adopt", "--config", str(config)]
        command += ["--bootstrap", broker.bootstrap]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    system = LocalSystem(broker, settings, tmp_path / "workers", workers=1)
    system.prepare([])
    secret.adopt(settings, PUBLIC_KEY)
    with system:
        system.wait_ready()
        refused = adopt()
        assert (refused.returncode, "1 workers of the group" in refused.stderr) == (2, True), refused.stderr
        assert secret.adopted(settings.kafka, PUBLIC_KEY).is_own
    done = adopt()
    assert done.returncode == 0, done.stderr
    assert secret.adopted(settings.kafka, key).is_own
    secret.adopt(settings, PUBLIC_KEY)
