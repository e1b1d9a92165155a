"""A quiet worker notices that its broker is gone, logs it in few lines, and goes on when it is back."""

import re
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from stream_coupons.settings import Settings
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import coupon, messages, settings, total, wait_until

pytestmark = pytest.mark.kafka

WITHIN_S = 30.0


def quiet(tick_every_s: float, stalled_after_s: float) -> Settings:
    """Nobody but the clock sends, if that."""
    usual = settings()
    kafka = msgspec.structs.replace(usual.kafka, produce_timeout_s=3)
    worker = msgspec.structs.replace(usual.worker, tick_every_s=tick_every_s, stalled_after_s=stalled_after_s)
    return msgspec.structs.replace(usual, kafka=kafka, worker=worker)


def is_not_ready(system: LocalSystem) -> bool:
    return system.workers[0].scrape().get(("stream_coupons_ready", ())) == 0.0


def test_a_quiet_worker_is_not_ready_while_its_broker_is_gone_and_says_so_in_few_lines(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    with LocalSystem(empty_broker, quiet(tick_every_s=0.5, stalled_after_s=300), tmp_path, workers=1) as system:
        system.prepare([])
        system.wait_ready()
        # One that is still starting when the broker goes ends, and is started again: that is another log.
        wait_until(lambda: total(system, "learner_ready") == 1, "a learner that is ready", within_s=WITHIN_S)
        log = system.workers[0].log
        before = len(log.read_text().splitlines())
        empty_broker.kill()
        wait_until(lambda: is_not_ready(system), "a worker that is not ready", within_s=WITHIN_S)
        port = system.workers[0].port.number
        with pytest.raises(HTTPError, match="503"):
            urlopen(f"http://127.0.0.1:{port}/ready", timeout=10)
        with urlopen(f"http://127.0.0.1:{port}/live", timeout=10) as answer:
            assert answer.status == 200
        wait_until(lambda: total(system, "batch_failures_total") > 1, "failures that are counted", within_s=WITHIN_S)
        system.check()
        repeated = log.read_text().splitlines()[before:]
        assert len(repeated) < 40, "each place in aiokafka speaks once a minute"
        empty_broker.start()
        system.wait_ready()


@pytest.mark.slow
def test_a_quiet_worker_whose_broker_is_away_for_longer_than_a_stall_waits_and_goes_on(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    with LocalSystem(empty_broker, quiet(tick_every_s=0, stalled_after_s=10), tmp_path, workers=1) as system:
        system.prepare([coupon("c1")])
        system.wait_ready()
        [worker] = system.workers
        before, pid = len(worker.log.read_text().splitlines()), worker.process.pid
        empty_broker.kill()
        waits = r"worker: Kafka has not answered for 3\d s; waiting \(.+\)"
        wait_until(lambda: re.search(waits, worker.log.read_text()) is not None, "a line that it waits", within_s=90)
        empty_broker.start()
        system.wait_ready()
        with system.publisher() as publisher:
            publisher.send(topics.BROWSE, browse("ann", item("A"), at=time.time()))
        wait_until(lambda: len(messages(system, topics.ISSUES)) == 1, "a coupon", within_s=WITHIN_S)
        assert worker.process.poll() is None
        assert worker.process.pid == pid
        lines = worker.log.read_text().splitlines()[before:]
        assert len(lines) <= 20
        assert not [line for line in lines if "CRITICAL" in line]
