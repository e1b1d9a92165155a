"""`what-if` reads what a broker has, publishes nothing, and is a gate."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.testing import START, browse, campaign, coupon, item

pytestmark = pytest.mark.kafka


def test_a_new_campaign_is_played_and_not_published(
    run_broker: Callable[[], AbstractContextManager[BrokerProcess]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new.json"
    rich = msgspec.to_builtins(coupon("rich", categories=["tea"], margin_ratio=0.9, campaign_id="spring"))
    file.write_text(json.dumps({"campaigns": [{"campaign_id": "spring", "budget_minor": 100000}], "coupons": [rich]}))
    with run_broker() as broker:
        connection = Connection(broker.bootstrap)
        with admin.admin_client(connection) as client:
            admin.apply(client, KafkaSettings())
        with Publisher(connection, KafkaSettings().partitions) as publisher:
            publisher.send(topics.CATALOG, coupon("tea", categories=["tea"]))
            publisher.send(topics.CAMPAIGNS, campaign("spring", state="draft"))
            for number in range(20):
                what = item("green", category="tea", price_minor=2000)
                publisher.send(topics.BROWSE, browse(f"u{number}", what, at=START + number, event_id=f"b{number}"))

        def what_if(*options: str, code: int = 0) -> str:
            result = CliRunner().invoke(app, ["what-if", str(file), *options, "-b", broker.bootstrap])
            assert result.exit_code == code, result.output
            return result.output

        found: dict[str, Any] = json.loads(what_if("--since", str(START), "--json"))
        assert (found["events"], found["decisions"]) == (20, 20)
        assert set(found["present"]["coupons"]) <= {"tea"}
        given = found["new"]["coupons"]["rich"]
        assert given["given"] == given["shoppers"] > 10
        assert found["changed"] >= given["given"]
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        shown = what_if("--since", str(START))
        assert "decisions change, on 20 events" in shown
        assert "deciding with the change" in shown
        assert "expected at most --max-spend 1" in what_if("--since", str(START), "--max-spend", "1", code=1)
        what_if("--since", str(START), "--max-spend", "1000000")
        assert "no event since then" in what_if("--since", "1d", code=2)
        with Reader(connection, [topics.CATALOG.name], from_beginning=True) as reader:
            assert [record.key for record in reader.read_to_end()] == [b"tea"]
