"""A campaign from draft to archive, with a worker that runs: each state is in effect, and `verify` finds nothing."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.core.catalogue.campaign_states import is_outside_ramp
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.decisions import StagedCoupon
from stream_coupons.kafka import topics
from stream_coupons.testing import browse, campaign, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import AT, IDLE_WITHIN_S, coupon, messages, settings, violations, wait_until

pytestmark = pytest.mark.kafka

SHOPPERS = [f"u{number}" for number in range(200)]
HALF = campaign("spring", state="ramp", ramp_ratio=0.5)
WITHIN = [user for user in SHOPPERS if not is_outside_ramp(HALF, user, PUBLIC_KEY)]
OUTSIDE = [user for user in SHOPPERS if user not in WITHIN]


class Shop:
    """A worker, its operator, and shoppers who come once each."""

    def __init__(self, system: LocalSystem, folder: Path) -> None:
        self.system, self.file = system, folder / "catalog.json"
        self.unseen = {True: iter(WITHIN), False: iter(OUTSIDE)}
        self.number = count()

    def operate(self, *args: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*args, "-b", self.system.settings.kafka.bootstrap])
        assert result.exit_code == code, result.output
        return result.output

    def see(self, *, within: bool = True) -> tuple[str, StagedCoupon | None]:
        """Return the coupon that a new shopper gets, and the staged one that they would have got."""
        user = next(self.unseen[within])
        with self.system.publisher() as publisher:
            publisher.send(topics.BROWSE, browse(user, item("A"), at=AT, event_id=f"t{next(self.number)}"))
        self.system.wait_idle(IDLE_WITHIN_S)
        [decision] = [one for one in messages(self.system, topics.DECISIONS) if one.user_id == user]
        return decision.coupon_id, decision.staged

    def see_after(self, expected: str, *, staged: bool = False) -> None:
        """Wait until the worker has read a change, and see that it stays in effect."""

        def is_in_effect() -> bool:
            given, shadow = self.see()
            return given == expected and (shadow is not None) == staged

        wait_until(is_in_effect, f"{expected} is given, staged: {staged}")
        assert all(is_in_effect() for _ in range(3))


@pytest.fixture
def shop(empty_broker: BrokerProcess, tmp_path: Path) -> Iterator[Shop]:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare([coupon("own", items=["A"], margin_ratio=0.2)])
    with system:
        system.wait_ready()
        yield Shop(system, tmp_path)


def test_a_campaign_lives_from_draft_to_archive(shop: Shop) -> None:
    best = {"coupon_id": "best", "campaign_id": "spring", "items": ["A"], "margin_ratio": 0.9, "stock": 1000}
    best |= {"discount_percent": 10.0, "max_discount_minor": 100}
    entries = {"campaigns": [{"campaign_id": "spring", "state": "draft"}], "coupons": [best]}
    shop.file.write_text(json.dumps(entries))
    shop.operate("catalog", "push", str(shop.file))
    shop.see_after("own")
    shop.operate("campaigns", "stage", "spring")
    shop.see_after("own", staged=True)
    shop.operate("campaigns", "approve", "spring")
    shop.see_after("own")
    shop.operate("campaigns", "launch", "spring", "--ratio", "50%")
    shop.see_after("best")
    assert [shop.see(within=False)[0] for _ in range(3)] == ["own"] * 3
    shop.operate("campaigns", "pause", "spring")
    shop.see_after("own")
    shop.operate("campaigns", "resume", "spring")
    shop.see_after("best")
    assert [shop.see(within=False)[0] for _ in range(3)] == ["own"] * 3, "as many shoppers as before"
    shop.operate("campaigns", "launch", "spring")
    wait_until(lambda: shop.see(within=False)[0] == "best", "all shoppers get it")
    shop.operate("campaigns", "hold", "spring", "--reason", "too many")
    shop.see_after("own")
    shop.operate("campaigns", "end", "spring")
    shop.operate("campaigns", "archive", "spring")
    shop.see_after("own")

    found = json.loads(shop.operate("campaigns", "history", "spring", "--json"))
    assert [one["change"]["verb"] for one in found] == [
        "push", "stage", "approve", "launch", "pause", "resume", "launch", "hold", "end", "archive",
    ]  # fmt: skip
    assert all(one["in_effect"] for one in found)
    assert violations(shop.system) == []
