"""A broker that is killed under load and comes back."""

from pathlib import Path

import pytest

from stream_coupons.broker import BrokerProcess

from .test_workers import wait_for_issues
from .trial import trial

pytestmark = pytest.mark.kafka


def test_a_broker_killed_under_load_and_started_again_loses_nothing(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    with trial(empty_broker, tmp_path, 5) as running:
        running.play(0.4)
        wait_for_issues(running)
        empty_broker.kill()
        empty_broker.start()
        running.play(1.0)
        running.check()
