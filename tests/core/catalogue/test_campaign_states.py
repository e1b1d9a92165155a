"""A campaign's state decides who gets its coupons: none, some, or all, each with its own reason."""

from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.catalogue.campaign_states import BEFORE_LAUNCH, ISSUING, is_outside_ramp
from stream_coupons.core.catalogue.catalogue import Catalogue, eligible, objection
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.messages.catalogue import Campaign, CampaignState
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.ops.explain.candidate_verdicts import WORDS
from stream_coupons.testing import campaign
from tests.core.builders import AT, browse, rules
from tests.core.builders import repeatable as coupon

STATES: tuple[CampaignState, ...] = get_args(CampaignState)
ratios, names = st.floats(0, 1), st.text(min_size=1, max_size=20)


def catalogue(state: CampaignState, **fields: Any) -> Catalogue:
    """One coupon of a campaign in a state, and one without a campaign."""
    of = campaign("spring", state=state, **fields)
    return Catalogue([coupon("own"), coupon("shared", campaign_id="spring")], campaigns=[of])


@pytest.mark.parametrize("state", STATES)
def test_each_state_issues_or_has_a_reason_of_its_own(state: CampaignState) -> None:
    known = catalogue(state)
    coupons = known.set_of("shared")
    reason = objection(Shopper(), coupons, coupons.position["shared"], AT, rules(), browse("t", AT))
    live = known.domains["ecommerce"]
    ids = [live.coupons[one].coupon_id for one in eligible(Shopper(), live, AT, rules(), trigger=browse("t", AT))]
    assert ids == (["own", "shared"] if state in ISSUING else ["own"])
    assert reason == (None if state in ISSUING else Ineligible(state))
    assert reason is None or WORDS[reason]


@pytest.mark.parametrize("state", STATES)
def test_only_coupons_of_launched_campaigns_are_compiled_with_the_others(state: CampaignState) -> None:
    known = catalogue(state)
    assert ("shared" in known.domains["ecommerce"].position) == (state not in BEFORE_LAUNCH)
    assert known.set_of("own") is known.domains["ecommerce"]
    shadow = known.shadows.get("ecommerce")
    assert (shadow is None) == (state not in BEFORE_LAUNCH)
    if shadow is not None:
        found = [shadow.coupons[one].coupon_id for one in eligible(Shopper(), shadow, AT, rules())]
        assert found == (["shared"] if state == "staged" else [])


def test_a_domain_of_staged_coupons_alone_is_known() -> None:
    known = Catalogue([coupon("c", campaign_id="spring")], campaigns=[campaign("spring", state="staged")])
    assert (known.domains, known.names, known.set_of("c")) == ({}, {"ecommerce"}, known.shadows["ecommerce"])


@given(st.binary(min_size=1, max_size=64), names, names, st.lists(ratios, min_size=2, max_size=5))
def test_ramps_are_nested(secret: bytes, campaign_id: str, user_id: str, steps: list[float]) -> None:
    inside = [
        not is_outside_ramp(Campaign(campaign_id=campaign_id, state="ramp", ramp_ratio=ratio), user_id, DrawKey(secret))
        for ratio in sorted(steps)
    ]
    assert inside == sorted(inside), "who is within a ratio is within each greater one"


def test_a_ramp_has_its_share_of_the_shoppers_and_campaigns_draw_apart() -> None:
    users = [f"u{number}" for number in range(4000)]

    def within(ratio: float) -> set[str]:
        known = catalogue("ramp", ramp_ratio=ratio)
        coupons = known.domains["ecommerce"]
        triggers = {user: browse("t", AT, user=user) for user in users}
        at = coupons.position["shared"]
        found = {
            user for user, event in triggers.items() if at in eligible(Shopper(), coupons, AT, rules(), trigger=event)
        }
        reasons = {user: objection(Shopper(), coupons, at, AT, rules(), event) for user, event in triggers.items()}
        assert reasons == {user: None if user in found else Ineligible.OUTSIDE_RAMP for user in users}
        return found

    sizes = [within(ratio) for ratio in (0.0, 0.05, 0.25, 1.0)]
    assert all(less <= more for less, more in pairwise(sizes))
    assert [len(one) for one in sizes] == [0, pytest.approx(200, abs=60), pytest.approx(1000, abs=120), 4000]
    draws = [
        {user for user in users if not is_outside_ramp(campaign(name, state="ramp", ramp_ratio=0.25), user, PUBLIC_KEY)}
        for name in ("spring", "summer")
    ]
    assert len(draws[0] & draws[1]) == pytest.approx(250, abs=75), "independent"
