"""A console whose broker is killed says so, and goes on when it is back."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.browser import CHROMIUM, Browser
from benchmarks.console import reading_console
from benchmarks.live_shop import CAMPAIGNS
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.settings import Settings

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


def test_a_page_says_that_kafka_is_away_and_goes_on_afterwards(broker: BrokerProcess, tmp_path: Path) -> None:
    settings = Settings()
    kafka = replace(settings.kafka, bootstrap=broker.bootstrap)
    config = tmp_path / "settings.toml"
    config.write_text(f'[kafka]\nbootstrap = "{broker.bootstrap}"\n')
    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka)
    with reading_console(config) as (address, _), Browser() as browser:
        browser.open(address + "/")
        broker.kill()
        browser.until("document.body.innerText.includes('Kafka has not answered for')")
        broker.start()
        browser.until("!document.body.innerText.includes('Kafka has not answered for')")
        with Publisher(kafka, kafka.partitions) as publisher:
            publisher.send(topics.CAMPAIGNS, CAMPAIGNS[0])
        browser.until("document.body.innerText.includes('Spring')")
