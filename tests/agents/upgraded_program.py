"""A release in one process: takes in snapshots and examples, serves and learns. Run with and without a plug-in.

Reads and prints JSON, see `release`.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry

from stream_coupons.agents.keyed import output
from stream_coupons.agents.learner import Learner
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import HASHED, SCHEMA, FeatureRows
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import ORIGIN_HEADER, Record
from stream_coupons.observability.metrics import Metrics
from stream_coupons.settings import Settings
from stream_coupons.worker.knowledge import CurrentKnowledge
from tests.models.builders import examples

DOMAIN = "ecommerce"
SEED = 1


def release(snapshots: dict[str, str], records: Sequence[Any], rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return what a release serves for rows and learns of records.

    Parameters
    ----------
    snapshots : dict
        The topic of snapshots: values by key, in base 64.
    records : list
        Offsets of examples of this release, and examples that another release made, as (offset, example).
    rows : list of dict
        Numeric features by name.
    """
    metrics, nothing = Metrics(CollectorRegistry()), Any
    known = CurrentKnowledge(Settings().rules(PUBLIC_KEY), metrics)
    for key, value in snapshots.items():
        if (read := known.read_snapshot(key.encode(), base64.b64decode(value))) is not None:
            known.take_snapshot(read)

    async def latest() -> tuple[dict[str, ModelSnapshot], dict[str, str]]:
        return known.snapshots, {}

    learner = Learner(Settings(), nothing, metrics, latest, nothing)  # type: ignore[arg-type]
    trainer = asyncio.run(learner._resume())
    for offset, made in records:
        value = msgspec.json.encode(made or example_at(offset))
        headers = ((ORIGIN_HEADER, b"ticks:0:%d:0" % offset),)
        learner._learn(trainer, Record(topics.EXAMPLES.name, 0, offset, 0, DOMAIN.encode(), value, headers))
    hashed = np.random.default_rng(SEED).integers(0, 6, (len(rows), len(HASHED)), dtype=np.uint32)
    numeric = np.array([[row.get(name, 0.0) for name in NUMERIC] for row in rows]).reshape(-1, len(NUMERIC))
    scorer: Any = known.now().scorer(DOMAIN)
    served = FeatureRows(numeric, hashed)
    sent = [output(each, 1) for each in trainer.snapshots()]
    model = trainer.models.get(DOMAIN)
    return {
        "numeric": NUMERIC,
        "schema": SCHEMA,
        "version": scorer.version,
        "log_odds": scorer.log_odds(served).tolist(),
        "refused": len(learner._letters),
        "duplicates": metrics.duplicates.labels(topics.EXAMPLES.name)._value.get(),
        "examples": model.examples if model else 0,
        "origins": model.origins if model else {},
        "snapshots": {str(each.key, "utf8"): base64.b64encode(each.value or b"").decode() for each in sent},
    }


def example_at(offset: int) -> Any:
    """Return the example of this release at an offset, as data."""
    return msgspec.to_builtins(examples(offset + 10, 1)[0])


if __name__ == "__main__":
    print(json.dumps(release(**json.loads(sys.stdin.read()))))
