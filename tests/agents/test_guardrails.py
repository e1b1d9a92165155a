"""The actor of guardrails: who is stopped, once, after which news, and what an operator's resume changes."""

import pytest

from stream_coupons.agents import guardrails
from stream_coupons.agents.guardrails import Action, Guard
from stream_coupons.core.messages.campaign_changes import CampaignChange, CampaignVerb
from stream_coupons.core.messages.catalogue import Campaign, Guardrail
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.rules import ShopRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.testing import campaign

DAY_S = 86400.0
RATIO, SPEND = (
    Guardrail(metric="redemption_ratio", limit=0.2),
    Guardrail(metric="spend_a_day", limit=1e3, action="pause"),
)
SPRING = campaign("spring", guardrails=[RATIO, SPEND])


def report(version: int, at: float = 0.0, coupon_id: str = "tea", partition: int = 0, **about: int) -> ResultTotals:
    known = {"day": 0, "given": 100} | about
    return ResultTotals(
        coupon_id=coupon_id, partition=partition, at=at, version=version, domain="shop", campaign_id="spring", **known
    )  # type: ignore[arg-type]


class Log:
    """Both topics, and a guard that follows them."""

    def __init__(self, *changes: CampaignChange, record: Campaign | None = SPRING) -> None:
        self.guard = Guard(ShopRules())
        self.guard.knows_all = lambda: True
        self.changes: list[CampaignChange] = []
        for change in changes:
            self.take(change)
        if record is not None:
            self.write(record)

    def write(self, record: Campaign) -> None:
        self.record = record
        read = self.guard.read_campaign(record.campaign_id.encode(), encode(record))
        assert read is not None
        self.guard.take_campaign(read)

    def take(self, change: CampaignChange) -> None:
        self.changes.append(change)
        read = self.guard.read_change(b"spring", encode(change))
        assert read == change
        self.guard.take_change(read)

    def operate(self, verb: CampaignVerb, after: Campaign) -> None:
        self.take(CampaignChange(campaign_id="spring", at=1.0, by="ann", verb=verb, before=self.record, after=after))
        self.write(after)

    def deliver(self, action: Action) -> None:
        """Append both records of an action, and read them back after it is settled."""
        self.guard.settle(action)
        assert self.guard.due() == []
        self.take(action.change)
        self.write(Decoder(topics.CAMPAIGNS)(action.record().value))


def held(log: Log) -> Campaign:
    [action] = log.guard.due()
    log.deliver(action)
    return log.record


def test_a_campaign_beyond_a_limit_is_held_once_with_the_reason() -> None:
    log = Log()
    log.guard.take_results(report(1, used=20))
    assert log.guard.due() == []
    log.guard.take_results(report(2, used=40))
    [action] = log.guard.due()
    assert (action.change.verb, action.change.by, action.change.guardrail) == ("hold", "guardrail", RATIO)
    assert action.change.reason.startswith("redemption_ratio in shop is 40.0 %, at least ")
    log.deliver(action)
    assert log.record == campaign("spring", guardrails=[RATIO, SPEND], state="held")
    log.guard.take_results(report(3, used=50))
    log.guard.read_all_again()
    assert log.guard.due() == []


def test_fields_of_a_later_version_stay_in_the_record() -> None:
    log = Log()
    value = encode(SPRING)[:-1] + b',"new_limit":5}'
    read = log.guard.read_campaign(b"spring", value)
    assert read is not None
    log.guard.take_campaign(read)
    log.guard.take_results(report(1, used=90))
    [action] = log.guard.due()
    assert action.record().value == encode(SPRING)[:-1] + b',"new_limit":5,"state":"held"}'


@pytest.mark.parametrize("state", ["draft", "staged", "approved", "paused", "held", "ended", "archived"])
def test_a_campaign_that_gives_nothing_is_left_alone(state: str) -> None:
    log = Log(record=campaign("spring", guardrails=[RATIO], state=state))  # type: ignore[arg-type]
    log.guard.take_results(report(1, used=90))
    assert log.guard.due() == []


def test_a_ramp_goes_on_as_a_ramp_when_it_is_resumed() -> None:
    log = Log(record=campaign("spring", guardrails=[SPEND], state="ramp", ramp_ratio=0.3))
    log.guard.take_results(report(1, discount_minor=2000, recent_minor=2000))
    assert held(log) == campaign("spring", guardrails=[SPEND], state="paused", ramp_ratio=0.3)


def test_reports_of_partitions_add_up_and_repeated_ones_change_nothing() -> None:
    log = Log()
    for one in (report(1, used=11), report(2, used=15), report(2, used=15), report(1, used=11)):
        log.guard.take_results(one)
    log.guard.take_results(report(1, partition=1, used=15))
    log.guard.take_results(report(1, coupon_id="salt", used=15))
    assert log.guard._results["spring"]["shop"].used == 45
    assert log.guard._results["spring"]["shop"].given == 300


def test_the_spend_of_a_day_ends_with_the_day() -> None:
    log = Log(record=campaign("spring", guardrails=[SPEND]))
    log.guard.take_results(report(1, DAY_S, discount_minor=900, recent_minor=900))
    log.guard.take_results(report(1, 2 * DAY_S, day=1, discount_minor=600, recent_minor=600))
    assert log.guard.due() == []
    log.guard.take_results(report(2, 2 * DAY_S + 9, discount_minor=1200, recent_minor=300))
    assert log.guard.due() == [], "900 of them were reported the day before"
    log.guard.take_results(report(3, 2 * DAY_S + 9, discount_minor=1400, recent_minor=500))
    [action] = log.guard.due()
    assert action.change.reason == "spend_a_day in shop is 1,100, above the limit of 1,000"


def test_a_resume_is_respected_until_the_campaign_is_pushed_or_launched() -> None:
    for verb in ("push", "launch"):
        log = Log()
        log.guard.take_results(report(1, used=50))
        assert held(log).state == "held"
        log.operate("resume", SPRING)
        log.guard.take_results(report(2, used=60))
        assert log.guard.due() == []
        again = Log(*log.changes)
        again.guard.take_results(report(2, used=60))
        assert again.guard.due() == [], "nor after a restart"
        again.guard.take_results(report(1, coupon_id="salt", discount_minor=2000, recent_minor=2000))
        [other] = again.guard.due()
        assert other.change.guardrail == SPEND, "another guardrail may act"
        log.operate(verb, SPRING)  # type: ignore[arg-type]
        assert held(log).state == "held"


def test_a_change_without_its_record_is_made_again_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    log.guard.take_results(report(1, used=50))
    [action] = log.guard.due()
    again = Log(action.change)
    again.guard.take_results(report(1, used=50))
    assert again.guard.due() == [], "its record may be on the way"
    monkeypatch.setattr(guardrails, "IN_FLIGHT_S", 0.0)
    assert held(again).state == "held"


def test_a_push_that_is_on_its_way_is_not_overwritten() -> None:
    log = Log()
    log.guard.take_results(report(1, used=50))
    news = campaign("spring", guardrails=[RATIO], budget_minor=5)
    log.take(CampaignChange(campaign_id="spring", at=1.0, by="ann", verb="push", before=SPRING, after=news))
    assert log.guard.due() == []
    log.write(news)
    assert held(log) == campaign("spring", guardrails=[RATIO], budget_minor=5, state="held")


def test_nothing_is_due_before_all_is_known_and_what_was_not_delivered_is_due_again() -> None:
    log = Log()
    log.guard.take_results(report(1, used=50))
    log.guard.knows_all = lambda: False
    assert log.guard.due() == []
    log.guard.knows_all = lambda: True
    first = log.guard.due()
    assert log.guard.due() == []
    log.guard.read_all_again()
    assert [one.before for one in log.guard.due()] == [one.before for one in first]


def test_an_operator_s_record_that_was_read_during_the_delivery_counts() -> None:
    log = Log()
    log.guard.take_results(report(1, used=50))
    [action] = log.guard.due()
    log.write(campaign("spring", guardrails=[RATIO], state="ended"))
    log.guard.settle(action)
    log.guard.read_all_again()
    assert log.guard.due() == []


def test_a_record_that_is_removed_or_unreadable_is_left_alone() -> None:
    for value in (None, b"{", b'{"campaign_id":"other"}'):
        log = Log()
        log.guard.take_results(report(1, used=50))
        read = log.guard.read_campaign(b"spring", value)
        assert read is not None
        log.guard.take_campaign(read)
        assert log.guard.due() == []
    assert log.guard.read_change(b"spring", b"{") is None
