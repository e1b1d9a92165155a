"""Ports that are kept for a child process."""

import gc
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from loopback_kafka import BrokerFailed, BrokerProcess, ports
from loopback_kafka.ports import HOST, ClaimedPort

pytestmark = pytest.mark.process

ELSEWHERE = """
from loopback_kafka import ports
ports._PORTS = range({0}, {0} + 1)
ports.ClaimedPort()
"""


def only(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(ports, "_PORTS", range(port, port + 1))


def test_a_claimed_port_is_nobody_elses_before_while_and_after_a_server_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claimed = ClaimedPort()
    only(monkeypatch, claimed.number)
    for _ in range(2):
        with pytest.raises(BrokerFailed, match="no free port"):
            ClaimedPort()
        with socket.create_server((HOST, claimed.number)), pytest.raises(BrokerFailed, match="no free port"):
            ClaimedPort()


def test_a_claim_holds_against_other_processes() -> None:
    claimed = ClaimedPort()
    program = ELSEWHERE.format(claimed.number)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "no free port" in done.stderr


def test_a_port_is_free_again_when_its_claim_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = ClaimedPort()
    only(monkeypatch, claimed.number)
    del claimed
    gc.collect()
    ClaimedPort()


@pytest.mark.kafka
def test_a_broker_that_is_down_keeps_its_port(
    run_broker: Callable[..., AbstractContextManager[BrokerProcess]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_broker() as broker:
        address = broker.bootstrap
        broker.kill()
        assert broker.port is not None
        only(monkeypatch, broker.port)
        with pytest.raises(BrokerFailed, match="no free port"):
            ClaimedPort()
        assert broker.start().bootstrap == address
