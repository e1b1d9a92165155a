"""Guardrails: which limit counts as passed, in which domain, and how it is stated."""

import math

import numpy as np
import pytest

from stream_coupons.core.decision.guardrails import CampaignResults, first_breach
from stream_coupons.core.decision.live_lift import LiveLift
from stream_coupons.core.messages.catalogue import Guardrail, GuardrailMetric
from stream_coupons.core.rules import ShopRules

SHOP = ShopRules(currencies={"shop": "EUR"})
LOSES = LiveLift(900, 100, -200.0, -120.0, -40.0, 50.0, 0.0, 0.0, is_mismatch=False)
RESULTS = CampaignResults(given=400, used=200, discount_minor=90_000, recent_minor=5_000)


def text_of(
    metric: GuardrailMetric, limit: float, lift: LiveLift | None = LOSES, results: CampaignResults = RESULTS
) -> str | None:
    lifts = {} if lift is None else {"shop": lift}
    found = first_breach([Guardrail(metric=metric, limit=limit)], lifts, {"shop": results}, SHOP)
    return found and found.text


def test_a_limit_is_passed_once_the_whole_interval_is_beyond_it() -> None:
    assert text_of("lift", 0.0) == (
        "lift in shop is -1.20 EUR, -2.00 EUR to -0.40 EUR (95 %, at all looks), below the limit of 0.00 EUR"
    )
    assert text_of("lift", -40.0) is None
    assert text_of("roi", -0.3) == "roi in shop is -1.20, -2.00 to -0.40 (95 %, at all looks), below the limit of -0.30"
    assert text_of("roi", -0.4) is None
    assert text_of("redemption_ratio", 0.4) == (
        "redemption_ratio in shop is 50.0 %, at least 41.6 % (95 %, at all looks), above the limit of 40.0 %"
    )
    assert text_of("redemption_ratio", 0.45) is None
    assert text_of("spend_a_day", 4_999) == "spend_a_day in shop is 50.00 EUR, above the limit of 49.99 EUR"
    assert text_of("spend_a_day", 5_000) is None


@pytest.mark.parametrize("metric", ["lift", "roi"])
def test_a_lift_that_is_not_known_passes_no_limit(metric: GuardrailMetric) -> None:
    nothing = LOSES._replace(low=math.nan, high=math.nan)
    for lift in (None, nothing, LOSES._replace(is_mismatch=True)):
        assert text_of(metric, 1e9, lift) is None
    assert text_of("roi", 0.0, LOSES, CampaignResults(given=9)) is None, "no discount, no ratio"


def test_the_first_guardrail_that_is_passed_is_found_in_whichever_domain() -> None:
    guardrails = [Guardrail(metric=metric, limit=limit) for metric, limit in (("spend_a_day", 9e9), ("lift", 0.0))]  # type: ignore[arg-type]
    lifts = {"books": LOSES._replace(high=1.0), "shop": LOSES}
    found = first_breach(guardrails, lifts, {"books": RESULTS}, SHOP)
    assert found is not None
    assert (found.guardrail, found.domain, found.value, found.high) == (guardrails[1], "shop", -120.0, -40.0)
    assert first_breach(guardrails[:1], lifts, {"books": RESULTS}, SHOP) is None


def test_a_campaign_at_its_limit_is_stopped_in_at_most_one_of_twenty_streams() -> None:
    """Uses come late: each coupon is used, if at all, some coupons later. The results are read after each coupon."""
    guardrails, stopped, streams, coupons = [Guardrail(metric="redemption_ratio", limit=0.2)], 0, 100, 200
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        used_at = np.where(rng.random(coupons) < 0.2, np.arange(coupons) + rng.integers(0, 9, coupons), coupons)
        results = (CampaignResults(given=n + 1, used=int((used_at[: n + 1] <= n).sum())) for n in range(coupons))
        stopped += any(first_breach(guardrails, {}, {"shop": one}, SHOP) for one in results)
    assert stopped <= 5
