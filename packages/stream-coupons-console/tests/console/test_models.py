"""The page of models: what a snapshot states, in figures that follow from it."""

import msgspec
import pytest
from starlette.testclient import TestClient

from stream_coupons.core.messages.learning import LiftBrake, ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Record
from stream_coupons.models.learner import DomainModel
from stream_coupons.models.rules import LearningRules
from stream_coupons.settings import Settings
from stream_coupons_console.web.app import create_app
from stream_coupons_console.web.models import SHOWN_WEIGHTS, heads_of
from stream_coupons_console.web.security import Sessions
from tests.models.builders import examples


@pytest.fixture(scope="module")
def snapshot() -> ModelSnapshot:
    model = DomainModel("ecommerce", LearningRules())
    for offset, example in enumerate(examples(3, 400)):
        model.learn(example)
        model.offset = offset
    return model.snapshot()


def page_with(snapshot: ModelSnapshot) -> str:
    app = create_app(Settings(), Sessions(None), {"console.test"})
    record = Record(topics.SNAPSHOTS.name, 0, 0, 0, snapshot.series.encode(), encode(snapshot), ())
    app.state.index.take(record)
    assert not app.state.index.unread
    return TestClient(app, base_url="http://console.test").get("/models").text


def test_each_head_has_its_quality_and_the_features_that_weigh_most(snapshot: ModelSnapshot) -> None:
    heads = {head.label: head for head in heads_of(snapshot)}
    assert [*heads] == ["click", "redeem", "order", "visit"]
    assert heads["click"].quality is not None
    assert heads["click"].quality.examples > 0
    for head in heads.values():
        sizes = [abs(weight) for _, weight, _ in head.weights]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 0
    assert len(heads["click"].weights) == SHOWN_WEIGHTS
    assert heads["click"].level is None
    assert heads["redeem"].level is not None


def test_the_page_states_version_quality_and_brake(snapshot: ModelSnapshot) -> None:
    text = page_with(snapshot)
    assert f"{snapshot.quality['click'].log_loss:.4f}" in text
    assert "Braked" not in text
    braked = msgspec.structs.replace(snapshot, brake=LiftBrake(period=1, given_ratio=0.1))
    assert "10.0% of the shoppers go on getting coupons" in page_with(braked)


def test_a_snapshot_of_another_release_is_said_to_be_one(snapshot: ModelSnapshot) -> None:
    older = msgspec.structs.replace(snapshot, format_version=1)
    assert "it is of another release" in page_with(older)
