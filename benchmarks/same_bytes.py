"""One digest of all that the agents send and save for a stream of events: equal digests, equal decisions.

    python -m benchmarks.same_bytes
    python -m benchmarks.same_bytes --events 6500 --batch 1 --partitions 2

A change that is to alter no decision gives the digest of the commit before it: run both. Coupons have stocks, caps,
holds of both kinds, and budgets of their own and of campaigns. Shoppers click, buy, return and cancel, and time passes.
Chance explores, and some shoppers are left out. No model learns here.
"""

import argparse
import random
from hashlib import blake2b
from typing import Any

from benchmarks.load.workload import BEGIN_AT, Workload
from benchmarks.profile import Logs, Owner, drive, sources
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent, Tick
from stream_coupons.core.rules import PolicyRules, Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.records import Output, Record
from stream_coupons.models.linear import prior

ROUND = 500
"""Events between two ticks."""
RULES = Rules(
    policy=PolicyRules(
        cooldown_s=60.0,
        max_issues_per_window=5,
        control_ratio=0.05,
        exploration_ratio=0.1,
        min_value_minor=-200.0,
        trigger_timeout_s=1e9,
        known_after=0.0,
    ),
    key=PUBLIC_KEY,
)
_decode = Decoder(topics.ISSUES)


def limited(coupon: Coupon, number: int) -> dict[str, Any]:
    """Return the limits of the coupon of this number."""
    return {
        "stock": 40 if number % 3 == 0 else None,
        "budget_minor": 20_000 if number % 4 == 1 else None,
        "campaign_id": f"campaign-{number % 5}" if number % 2 else None,
        "budget_hold": "maximum" if number % 8 < 4 else "quantile",
        "caps": [Cap(per="life", n=1 + number % 3)],
        "valid_until": BEGIN_AT + 20 * 86400.0,
        "redeem_within_s": 86400.0 * (1 + number % 4),
        "not_while_held": ("overlapping", "same", "none")[number % 3],
        "max_discount_minor": coupon.max_discount_minor,
    }


def knowledge(workload: Workload) -> Knowledge:
    """Return rules, catalogue and prior models."""
    fields = [{name: getattr(each, name) for name in each.__struct_fields__} for each in workload.catalogue()]
    coupons = [
        Coupon(**(of_one | limited(each, number)))
        for number, (of_one, each) in enumerate(zip(fields, workload.catalogue(), strict=True))
    ]
    campaigns = [
        Campaign(
            campaign_id=f"campaign-{n}",
            budget_minor=60_000,
            ends_at=BEGIN_AT + 20 * 86400.0,
            holdout_ratio=0.1 * n,
        )
        for n in range(5)
    ]
    return Knowledge(RULES, Catalogue(coupons, 1000.0, campaigns=campaigns), {}, prior())


def answers(issue: CouponIssue, chance: random.Random) -> list[FeedbackEvent]:
    """Return what a shopper does with a coupon."""
    kinds = chance.choice([(), ("click",), ("click", "purchase"), ("purchase", "refund"), ("purchase", "cancel")])
    return [
        FeedbackEvent(
            event_id=f"{issue.issue_id}-{kind}",
            user_id=issue.user_id,
            occurred_at=issue.issued_at + 600.0 * (place + 1),
            domain=issue.domain,
            issue_id=issue.issue_id,
            kind=kind,
            order_id=None if kind == "click" else f"{issue.issue_id}-order",
            discount_minor=None if kind == "click" else 50 + len(issue.coupon_id) * 10,
        )
        for place, kind in enumerate(kinds)
    ]


def main() -> None:
    """Play the stream and print the digest of all outputs and of all states."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=6_500, help="source events (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="records in a batch (default: %(default)s)")
    parser.add_argument("--partitions", type=int, default=4, help="(default: %(default)s)")
    options = parser.parse_args()
    workload, logs = Workload(events=options.events, shoppers=300, at_a_time=100), Logs()
    known = knowledge(workload)
    agents = (Users, Budgets, Neighbours)
    owners = [Owner(agent(lambda: known, options.partitions), options.partitions) for agent in agents]
    records, chance, seen, issues = sources(workload, options.partitions, logs), random.Random(7), blake2b(), 0
    sent: list[Output] = []
    for first in range(0, len(records), ROUND):
        drive(owners, records[first : first + ROUND], logs, options.batch, sent.append)
        given = [_decode(one.value, 2**20) for one in sent if one.topic == topics.ISSUES.name]
        for one in sent:
            seen.update(repr((one.topic, one.partition, one.key, one.value, one.headers)).encode())
        issues += len(given)
        sent.clear()
        feedback: list[Record] = []
        for issue in sorted(given, key=lambda one: one.issue_id):
            for event in answers(issue, chance):
                key = event.user_id.encode()
                home = topics.partition_for(key, options.partitions)
                feedback.append(logs.append(topics.FEEDBACK.name, home, key, encode(event)))
        at = BEGIN_AT + (first + ROUND) / options.events * 20 * 86400.0
        ticks = [
            logs.append(topics.TICKS.name, home, str(home).encode(), encode(Tick(at=at)))
            for home in range(options.partitions)
        ]
        drive(owners, [*feedback, *ticks], logs, options.batch, sent.append)
    states = blake2b()
    for owner in owners:
        for partition in sorted(owner.batches.owned):
            for key, data in sorted(owner.batches.cells(partition).items()):
                states.update(repr((owner.name, partition, key, data)).encode())
    print(f"issues {issues}, outputs {seen.hexdigest()[:16]}, states {states.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
