"""Two hundred shoppers of every partition want the last of a coupon, amid other load, and a worker dies meanwhile."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.money.purses import ASK_AGAIN_S
from stream_coupons.kafka import topics
from stream_coupons.testing import browse
from tests.integration.builders import DAY_S, coupon, records, wait_until

from .trial import Trial, are_taken, settings_under_faults, trial, valid

pytestmark = pytest.mark.kafka

SHOPPERS = 200
WAVES = 8
DAYS = 40
LIMITS = ({"stock": 1}, {"stock": 3}, {"budget_minor": 2 * 100 + 99})
LEFT = (1, 3, 2)
"""How many coupons of 1.00 each of these limits allows."""


def last_of(number: int) -> tuple[Coupon, int]:
    """The coupon of a round, of a domain of its own, and how many of it there are."""
    kind = number % len(LIMITS)
    terms = {"caps": [Cap(per="week", n=1)], "exclusion_group": "last", "priority": 1}
    return coupon(f"last-{number}", domain=f"round-{number}", **terms, **LIMITS[kind]), LEFT[kind]


@pytest.mark.essential
def test_the_last_units_are_given_exactly_whoever_dies(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    with trial(empty_broker, tmp_path, seed, settings_under_faults(), days=DAYS) as running:
        count = rounds(4, 30)
        running.add_coupons([last_of(number)[0] for number in range(count)])
        with running.load(pause_s=0.5):
            for number in range(count):
                for wave in range(WAVES):
                    some_ask(running, number, wave)
                    if number % 2 and wave == number // 2 % WAVES:
                        running.kill(number // 2 % 2)
                        running.system.restart(number // 2 % 2)
                    wait_until(lambda number=number: is_answered(running, number), f"answers of round {number}")
        check_partitions(running)
        running.check()
        given = Counter(
            issue.coupon_id for issue in {one.issue_id: one for one in valid(running.system, topics.ISSUES)}.values()
        )
        assert {f"last-{number}": given[f"last-{number}"] for number in range(count)} == {
            f"last-{number}": last_of(number)[1] for number in range(count)
        }


def some_ask(running: Trial, number: int, wave: int) -> None:
    """Some shoppers of a round browse at once; the next ones come when a partition may ask for more again."""
    at = running.world.ends_at + DAY_S + wave * ASK_AGAIN_S
    for shopper in range(wave, SHOPPERS, WAVES):
        user_id = f"round-{number}-{shopper}"
        running.send(topics.BROWSE, browse(user_id, at=at, event_id=user_id, domain=f"round-{number}"))
    running.flush()


def is_answered(running: Trial, number: int) -> bool:
    """Whether all shoppers of a round who have asked are decided on."""
    running.system.check()
    return are_taken(running.system, topics.BROWSE, f"round-{number}-")


def check_partitions(running: Trial) -> None:
    """The shoppers of a round are of every partition."""
    asked = {
        record.partition for record in records(running.system, topics.BROWSE.name) if record.key.startswith(b"round-0-")
    }
    assert asked == set(range(running.system.settings.kafka.partitions))
