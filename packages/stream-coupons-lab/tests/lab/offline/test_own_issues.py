"""A recording of the engine's own topics, evaluated: every issue gets the probabilities that it recorded."""

import json

import msgspec
import pytest

from lab.own_recording import SETTINGS, Recording, Records
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.models.rules import LearningRules
from stream_coupons_lab.offline.own_issues import OwnEvaluation, OwnIssues


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording(SETTINGS).live(days=7)


def evaluation_of(records: Records) -> tuple[OwnEvaluation, dict[str, tuple[float, float, float]]]:
    own = OwnIssues(LearningRules(), PUBLIC_KEY)
    for topic, value in records:
        own.take(topic, value)
    scored = own.scored()
    return own.evaluation(scored), {one.issue_id: (one.p_click, one.p_redeem, one.p_order) for one in scored}


def test_every_issue_gets_the_probabilities_that_it_recorded(recording: Recording) -> None:
    found, again = evaluation_of(recording.records)
    recorded = {one.issue_id: (one.p_click, one.p_redeem, one.p_order) for one in recording.issues}
    assert len({one.model_version for one in recording.issues}) > 3
    assert found.different == found.without_snapshot == found.other_schema == found.unreadable == 0
    assert found.controls > 0
    closed = [issue_id for issue_id in recorded if issue_id in again]
    assert len(closed) == found.issues - found.without_features > 20
    for issue_id in closed:
        assert again[issue_id] == pytest.approx(recorded[issue_id], rel=0, abs=1e-9)
    assert found.reproduced == len(closed) + found.controls
    assert [head.head for head in found.heads] == ["click", "redeem", "order"]
    assert all(head.examples for head in found.heads)


def test_the_order_of_records_does_not_matter_and_copies_count_once(recording: Recording) -> None:
    found, _ = evaluation_of(recording.records)
    again, _ = evaluation_of([*recording.records[::-1], *recording.records])
    assert encode(again) == encode(found)


def test_issues_whose_snapshot_was_compacted_are_counted(recording: Recording) -> None:
    last = {json.loads(value)["domain"]: value for topic, value in recording.records if topic == topics.SNAPSHOTS.name}
    compacted = [one for one in recording.records if one[0] != topics.SNAPSHOTS.name]
    found, _ = evaluation_of([*compacted, *((topics.SNAPSHOTS.name, value) for value in last.values())])
    whole, _ = evaluation_of(recording.records)
    assert found.without_snapshot > 0 == found.different
    assert found.reproduced + found.without_snapshot == whole.reproduced


def test_another_prediction_than_the_recorded_one_is_reported(recording: Recording) -> None:
    first = recording.issues[0]
    changed = msgspec.structs.replace(first, p_redeem=first.p_redeem + 1e-6)
    records = [
        (topic, encode(changed) if topic == topics.ISSUES.name and first.issue_id.encode() in value else value)
        for topic, value in recording.records
    ]
    found, _ = evaluation_of(records)
    assert found.different == 1
    assert first.issue_id in found.differences[0]


def test_a_domain_without_a_model_names_the_snapshot_of_its_source() -> None:
    learning = LearningRules(transfer={"travel": "grocery"})
    made = Recording(msgspec.structs.replace(SETTINGS, learning=learning)).live(days=5)
    own = OwnIssues(learning, PUBLIC_KEY)
    for topic, value in made.records:
        own.take(topic, value)
    found = own.evaluation(own.scored())
    assert found.different == found.without_snapshot == 0 < found.reproduced
