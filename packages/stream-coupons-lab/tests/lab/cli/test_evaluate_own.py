"""A recording of the engine's own topics, evaluated: the predictions that were served, with their outcomes."""

import json
from pathlib import Path

import msgspec
import pytest

from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, browse, coupon, feedback, item, order
from stream_coupons_lab.offline.own_examples import OwnExamples
from stream_coupons_lab.offline.quality import HeadMetrics, judged, quality
from tests.cli.conftest import Run

AT, DAY_S = 1_767_348_000.0, 86400.0
COUPONS = [coupon(f"{name}-10", categories=[name], redeem_within_s=DAY_S) for name in ("tea", "coffee")]
Records = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def shop() -> LocalPipeline:
    policy = msgspec.structs.replace(
        Settings().policy, cooldown_s=0.0, max_issues_per_window=50, holdout_ratio=0.2, exploration_ratio=0.5
    )
    shop = LocalPipeline(msgspec.structs.replace(Settings(), policy=policy), COUPONS, serves_at_once=False)
    at = AT
    for day in range(7):
        shop.serve_models()
        for shopper in range(12):
            at += 600.0
            event, look = f"{day}-{shopper}", item(f"{shopper}", category="tea" if shopper % 2 else "coffee")
            before = len(shop.issues)
            shop.publish(browse(f"u{shopper}", look, event_id=event, at=at))
            if shopper % 4 == 0:
                shop.publish(order(f"u{shopper}", look, event_id=f"o{event}", at=at + 60))
            for issue in shop.issues[before:]:
                for kind in ("click", "purchase") if shopper % 2 else ("click",):
                    shop.publish(feedback(issue, kind, at=at + 90))
        at += DAY_S / 2
        shop.tick(at)
    return shop


def records_of(shop: LocalPipeline) -> Records:
    return [(one.topic, one.value) for one in shop.outputs if one.value is not None]


def heads_of(records: Records) -> list[HeadMetrics]:
    own = OwnExamples()
    for topic, value in records:
        own.take(topic, value)
    return [quality(one) for one in judged(own.scored())]


def test_each_head_has_the_quality_that_the_learner_measured(shop: LocalPipeline) -> None:
    snapshot: ModelSnapshot = shop.trainer.snapshots()[0]
    found = {one.head: one for one in heads_of(records_of(shop))}
    assert set(found) == {"click", "redeem", "order"}
    for head, metrics in found.items():
        measured = snapshot.quality[head]
        assert metrics.examples == measured.examples > 10
        assert metrics.positives == measured.positives
        assert metrics.log_loss.value == pytest.approx(measured.log_loss)


def test_the_order_of_records_does_not_matter_and_copies_count_once(shop: LocalPipeline) -> None:
    records = records_of(shop)
    again = heads_of([*records[::-1], *records])
    assert [one.examples for one in again] == [one.examples for one in heads_of(records)]
    assert [one.log_loss.value for one in again] == pytest.approx([one.log_loss.value for one in heads_of(records)])


def test_the_command_evaluates_a_recording(shop: LocalPipeline, tmp_path: Path, run: Run) -> None:
    lines = [encode({"topic": topic, "value": msgspec.Raw(value)}) for topic, value in records_of(shop)]
    log, predictions = tmp_path / "own.jsonl", tmp_path / "scored.jsonl"
    log.write_bytes(b"\n".join(lines))
    result = run("evaluate", log, "--json", "--predictions", predictions)
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert len(predictions.read_text().splitlines()) == found["issues"] > 20
    assert "ROC AUC" in run("evaluate", log).stdout
    assert run("evaluate", log, "--baselines").exit_code == 2


def test_records_that_cannot_be_read_are_counted(shop: LocalPipeline, tmp_path: Path, run: Run) -> None:
    log = tmp_path / "own.jsonl"
    lines = [encode({"topic": topic, "value": msgspec.Raw(value)}) for topic, value in records_of(shop)]
    log.write_bytes(b"\n".join([*lines, encode({"topic": topics.EXAMPLES.name, "value": {}})]))
    result = run("evaluate", log, "--json")
    assert (result.exit_code, json.loads(result.stdout)["unreadable"]) == (1, 1)


def test_a_recording_without_examples_is_refused(tmp_path: Path, run: Run) -> None:
    log = tmp_path / "own.jsonl"
    log.write_text('{"topic": "decisions", "value": {}}\n')
    result = run("evaluate", log)
    assert result.exit_code == 2
    assert "training-examples" in result.stderr
