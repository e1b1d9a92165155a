"""A real Prometheus on a free port of the loopback, and what to ask it."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from loopback_kafka.ports import ClaimedPort

SCRAPE_EVERY = "1s"
SCRAPES_WANTED = 3
DEADLINE_S = 60.0


class Prometheus:
    """A client of a running Prometheus."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; an error or a warning fails the test."""
        url = f"{self._url}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                pytest.fail(f"{parameters or path}: {error.read().decode()}")
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer["warnings"]
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression finds now."""
        result: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return result

    def is_settled(self) -> bool:
        """Whether it answers and has scraped often enough for rates."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=1):
                pass
        except OSError:
            return False
        scrapes = self.query('sum_over_time(up{job="stream-coupons"}[1m])')
        return bool(scrapes) and float(scrapes[0]["value"][1]) >= SCRAPES_WANTED


@contextmanager
def running_prometheus(program: str, target: str, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus on an exporter with the rules, wait until it has scraped a few times, stop it at the end."""
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(_configuration(target, rules)), encoding="utf-8")
    port = ClaimedPort()
    address = f"127.0.0.1:{port.number}"
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        client = Prometheus(address)
        deadline = time.monotonic() + DEADLINE_S
        while not client.is_settled():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"prometheus did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield client
    finally:
        _stop(process)


def _configuration(target: str, rules: Path) -> dict[str, Any]:
    jobs = [
        {"job_name": name, "scrape_timeout": SCRAPE_EVERY, "static_configs": [{"targets": [target]}]}
        for name in ("stream-coupons", "stream-coupons-learner")
    ]
    return {
        "global": {"scrape_interval": SCRAPE_EVERY, "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": jobs,
    }


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
