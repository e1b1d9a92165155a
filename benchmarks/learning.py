"""How fast it learns: training examples a second, and how long after its label an answer has changed decisions.

`python -m benchmarks.learning`. The first is measured in process. For the second a shopper of a running system on
Apache Kafka uses a coupon; its window closes, which makes a label of that; other shoppers come all the while, until one
of them is given a coupon by a model that has learnt from it. Prints JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from stream_coupons.broker import open_broker
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, HASHED, SCHEMA
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.lab.demo.system import LocalSystem
from stream_coupons.models.learner import Trainer
from stream_coupons.settings import LearningSettings
from tests.integration.builders import AT, DAY_S, browse, coupon, send_ticks, settings

BETWEEN_S = 0.05
WITHIN_S = 60.0


def examples_per_s(count: int, seed: int = 1) -> float:
    """Examples that one process scores and learns, a second of its CPU."""
    chance = np.random.default_rng(seed)
    trainer = Trainer(LearningSettings())
    examples = [
        TrainingExample(
            example_id=f"e{number}:redeem",
            domain="ecommerce",
            head="redeem",
            label=bool(chance.random() < 0.05),
            decided_at=AT,
            at=AT,
            feature_schema=SCHEMA,
            numeric=chance.random(len(NUMERIC)).round(4).tolist(),
            hashed=chance.integers(1, DIMENSIONS, len(HASHED)).tolist(),
            predicted=0.05,
            propensity=0.5,
            model_version=1,
            coupon_id="c",
            user_id="u",
            issue_id=f"e{number}",
            observed=False,
            withheld=False,
        )
        for number in range(count)
    ]
    began = time.process_time()
    for number, example in enumerate(examples):
        trainer.learn(example, number, None)
    return count / (time.process_time() - began)


def seconds_to_a_decision() -> float:
    """From the moment that an answer becomes a label to the first coupon that a model gave which had learnt it."""
    with tempfile.TemporaryDirectory() as folder, open_broker("kafka", Path(folder) / "broker") as broker:
        system = LocalSystem(broker, settings(), Path(folder) / "workers", 1)
        system.prepare([coupon("c", redeem_within_s=DAY_S)])
        with (
            system,
            system.publisher() as publisher,
            Reader(system.connection, [topics.ISSUES.name], from_beginning=True) as reader,
        ):
            system.wait_ready()
            used = _issues(publisher, reader, "first", AT)
            for issue in used:
                about = {"event_id": f"f-{issue.issue_id}", "user_id": issue.user_id, "occurred_at": AT + 1}
                publisher.send(topics.FEEDBACK, FeedbackEvent(issue_id=issue.issue_id, kind="purchase", **about))
            publisher.flush()
            began = time.perf_counter()
            send_ticks(system, publisher, AT + 2 * DAY_S)
            number = 0
            while time.perf_counter() < began + WITHIN_S:
                number += 1
                if any(issue.model_version for issue in _issues(publisher, reader, f"u{number}", AT + 2 * DAY_S)):
                    return time.perf_counter() - began
    raise SystemExit(f"no decision was made with what was taught within {WITHIN_S:.0f} s")


def _issues(publisher: Publisher, reader: Reader, user_id: str, at: float) -> list[CouponIssue]:
    """Let a shopper browse; the coupons that have come."""
    publisher.send(topics.BROWSE, browse(f"b-{user_id}", user_id, "i", at))
    publisher.flush()
    decode = Decoder(topics.ISSUES)
    deadline = time.perf_counter() + WITHIN_S
    while time.perf_counter() < deadline:
        if issues := [decode(record.value) for record in reader.poll(BETWEEN_S)]:
            return issues
    raise SystemExit(f"{user_id} got no coupon within {WITHIN_S:.0f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000, help="for the rate (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of both (default: %(default)s)")
    options = parser.parse_args()
    rates = [examples_per_s(options.examples) for _ in range(options.repeats)]
    delays = [seconds_to_a_decision() for _ in range(options.repeats)]
    print(
        json.dumps(
            {
                "examples_per_s": round(statistics.median(rates)),
                "seconds_to_a_decision": round(statistics.median(delays), 2),
                "rates": [round(rate) for rate in rates],
                "delays": [round(delay, 2) for delay in delays],
            }
        )
    )


if __name__ == "__main__":
    main()
