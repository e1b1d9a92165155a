"""The learner goes on from its snapshots, whatever lies in their topic."""

import asyncio
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from stream_coupons.agents.learner import Learner
from stream_coupons.core.events import ModelSnapshot
from stream_coupons.metrics import Metrics
from stream_coupons.models.learner import Trainer
from stream_coupons.settings import LearningSettings
from tests.models.builders import examples


def trained(*domains: str) -> Trainer:
    trainer = Trainer(LearningSettings())
    for offset, domain in enumerate(domains):
        trainer.learn(examples(1, 1, domain)[0], offset, None)
    return trainer


def test_a_domain_whose_snapshot_does_not_fit_starts_anew_and_the_others_go_on() -> None:
    latest = {snapshot.domain: snapshot for snapshot in trained("good", "spoilt").snapshots()}
    latest["spoilt"] = msgspec.structs.replace(latest["spoilt"], checksum=0)
    metrics, nothing = Metrics(CollectorRegistry()), Any

    async def resume() -> Trainer:
        async def ask() -> dict[str, ModelSnapshot]:
            return latest

        return await Learner(LearningSettings(), nothing, metrics, ask, nothing)._resume()  # type: ignore[arg-type]

    trainer = asyncio.run(resume())
    assert {domain: model.offset for domain, model in trainer.models.items()} == {"good": 0}
    assert metrics.snapshots_refused._value.get() == 1
    assert trainer.learn(examples(2, 1, "spoilt")[0], 2, None)
