"""Two plays of the same events differ by their catalogues alone; money is measured where the arms had a chance."""

from collections.abc import Mapping

import msgspec
import pytest

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.settings import Settings
from stream_coupons.testing import START, LocalPipeline, browse, campaign, coupon, item, order, plain_settings
from stream_coupons_lab.offline.what_if import Entries, Event, WhatIf, compared, measured
from stream_coupons_lab.ope.own_log import OwnLog
from tests.core.builders import DAY_S

HOUR_S = 3600.0
WINDOW = {"redeem_within_s": DAY_S}
TEA = coupon("tea", categories=["tea"], **WINDOW)
HAM = coupon("ham", categories=["ham"], margin_ratio=0.5, **WINDOW)
RICH = coupon("rich", categories=["tea"], margin_ratio=0.9, campaign_id="spring", **WINDOW)
SETTINGS = plain_settings(exploration_ratio=0.0, max_issues_per_window=50)


def entries(*coupons: Coupon, campaigns: tuple[Campaign, ...] = ()) -> Entries:
    return Entries({one.coupon_id: one for one in coupons}, {one.campaign_id: one for one in campaigns})


def events() -> list[Event]:
    """Thirty shoppers: a third looks at tea, another at ham, and some buy."""
    found: list[Event] = []
    for number in range(30):
        category = ("tea", "ham", "ink")[number % 3]
        what = item(f"{category}-1", category=category, price_minor=2000)
        found.append(browse(f"u{number}", what, at=START + number * HOUR_S, event_id=f"b{number}"))
        if number % 2:
            found.append(order(f"u{number}", what, at=START + (number + 0.5) * HOUR_S, event_id=f"o{number}"))
    return found


def log_of(settings: Settings, *coupons: Coupon) -> OwnLog:
    """The records of a shop that decided on these events."""
    shop, log = LocalPipeline(settings, coupons), OwnLog(settings.policy)
    for event in events():
        shop.publish(event)
    for one in coupons:
        log.take(topics.CATALOG.name, encode(one))
    for output in shop.outputs:
        log.take(output.topic, output.value)
    log.saw(START + 90 * DAY_S)
    return log


def play(present: Entries, new: Entries, log: OwnLog | None = None, settings: Settings = SETTINGS) -> WhatIf:
    return compared(settings, events(), (present, new), {}, log or OwnLog(settings.policy))


def test_the_same_catalogue_changes_nothing_and_has_no_gain() -> None:
    log = log_of(SETTINGS, TEA, HAM)
    found = play(entries(TEA, HAM), entries(TEA, HAM), log)
    assert (found.changed, found.events) == (0, 45)
    assert found.present == found.new
    [margin] = found.new.margin
    assert margin.gain_minor is not None
    assert margin.gain_minor.value == pytest.approx(0.0, abs=1e-9)
    assert (margin.decisions, margin.left_out) == (len(log.decisions), 0)


def test_a_new_coupon_is_given_where_it_is_worth_more() -> None:
    found = play(entries(TEA, HAM), entries(TEA, HAM, RICH, campaigns=(campaign("spring", budget_minor=10**6),)))
    assert set(found.present.coupons) <= {"tea", "ham"}
    rich = found.new.coupons["rich"]
    assert rich.given == rich.shoppers > 0
    assert found.changed >= rich.given
    assert found.new.value_minor > found.present.value_minor
    assert found.new.spend_minor == pytest.approx(sum(one.spend_minor for one in found.new.coupons.values()))


@pytest.mark.parametrize("state", ["draft", "staged", "held"])
def test_a_campaign_is_played_in_its_state(state: str) -> None:
    spring = msgspec.structs.replace(campaign("spring", budget_minor=10**6), state=state)
    assert play(entries(TEA, HAM), entries(TEA, HAM, RICH, campaigns=(spring,))).changed == 0


def test_what_had_no_chance_is_not_measured() -> None:
    log = log_of(SETTINGS, TEA, HAM)
    found = play(entries(TEA, HAM), entries(TEA, HAM, RICH, campaigns=(campaign("spring", budget_minor=10**6),)), log)
    [margin] = found.new.margin
    assert margin.left_out >= found.new.coupons["rich"].given
    assert margin.decisions + margin.left_out == len(log.decisions)


def test_the_measured_gain_is_what_the_log_shows() -> None:
    """Half of the decisions gave nothing, by chance: these brought an order of 1000 margin, the others none."""
    log = OwnLog(SETTINGS.policy)
    log.take(topics.CATALOG.name, encode(TEA))
    played: dict[str, LoggedDecision] = {}
    for number in range(200):
        gave, user, at = number % 2 == 0, f"u{number}", START + number
        made = decision(f"d{number}", user, at, control_ratio=0.5, gave=gave)
        log.take(topics.DECISIONS.name, encode(made))
        played[made.decision_id] = msgspec.structs.replace(made, best=None)
        if not gave:
            bought = item("tea-1", category="tea", price_minor=2000, margin_ratio=0.5)
            log.take(topics.ORDER.name, encode(order(user, bought, at=at + 60, event_id=f"o{number}")))
    log.saw(START + 90 * DAY_S)
    found = measured(log, played, "ecommerce", SETTINGS.policy)
    assert found is not None
    assert (found.decisions, found.left_out) == (200, 0)
    sending = SETTINGS.policy.cost_weight * SETTINGS.policy.cost_minor
    assert found.gain_minor is not None
    assert found.gain_minor.low < 500.0 + sending / 2 < found.gain_minor.high


def decision(decision_id: str, user: str, at: float, *, control_ratio: float, gave: bool) -> LoggedDecision:
    return LoggedDecision(
        decision_id=decision_id, user_id=user, domain="ecommerce", at=at, trigger_id="t", model_version=1,
        result="given" if gave else "control", coupon_id="tea" if gave else NO_COUPON, propensity=0.5,
        arms=["tea"], values_minor=[5.0], best=0, control_ratio=control_ratio,
    )  # fmt: skip


def test_a_play_ignores_approvals() -> None:
    approval: Mapping[str, object] = {"required": 1, "keys": {"ann": "5e" * 32}}
    asked = msgspec.structs.replace(SETTINGS, approval=msgspec.convert(approval, type(SETTINGS.approval)))
    found = play(entries(TEA), entries(TEA, RICH, campaigns=(campaign("spring", budget_minor=10**6),)), settings=asked)
    assert found.new.coupons["rich"].given
