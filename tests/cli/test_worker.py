"""A worker that cannot work as it was called says so in one line, and has not joined anything by then."""

import socket
import subprocess
import sys

from stream_coupons import admin
from stream_coupons.settings import KafkaSettings


def run_worker(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stream_coupons", "worker", *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)


def test_a_metrics_port_that_is_taken_is_an_error_before_the_group_is_joined(bootstrap: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_worker("--bootstrap", bootstrap, "--metrics-port", port)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: worker.metrics_port: {port} is in use: ")
    assert len(done.stderr.splitlines()) == 1
    with admin.admin_client(bootstrap) as client:
        groups = client.list_groups()
    assert KafkaSettings().group_id not in str(groups)
