"""The explanation is the decision, asked again: same candidates, same numbers, same outcome."""

import copy
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replaced

from stream_coupons.cli import explain_text
from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.catalogue import Catalogue, eligible
from stream_coupons.core.decision.incremental import DOUBTED, STRUCTURAL
from stream_coupons.core.decision.scoring import Knowledge, Scorer
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.catalogue import Campaign, CampaignState, Coupon
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.money.accounts import Accounts, Limit
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.reasons import Ineligible, NoCoupon, Passed, Shortage
from stream_coupons.core.rules import ProfileRules, Rules, ShopRules
from stream_coupons.core.shopper.profile import fold
from stream_coupons.core.shopper.state import History, Shopper
from stream_coupons.models.linear import prior
from stream_coupons.ops.explain.candidate_verdicts import WORDS, Lack
from stream_coupons.ops.explain.explanation import ShopperExplanation, explain_issue, explain_shopper
from stream_coupons.ops.explain.funds import Funds
from stream_coupons.testing import campaign, coupon, item
from tests.core.builders import (
    AT,
    DAY_S,
    HOUR_S,
    FixedScorer,
    browse,
    cart,
    counts_of,
    for_life,
    knowledge,
    of_type,
    opened,
    order,
    rules,
    see,
)

CATEGORIES = ("tea", "ham", "ink")
IDS = tuple("abcdefgh")

events = st.builds(
    lambda make, number, category, days: make(
        f"{category}{number}{days}", AT - days * DAY_S, item(f"{category}{number}", category=category, price_minor=400)
    ),
    st.sampled_from([browse, cart, order]),
    st.integers(0, 3),
    st.sampled_from(CATEGORIES),
    st.integers(0, 20),
)
coupons = st.builds(
    coupon,
    coupon_id=st.sampled_from(IDS),
    domain=st.sampled_from(["ecommerce", "travel"]),
    categories=st.lists(st.sampled_from(CATEGORIES), max_size=2),
    items=st.lists(st.sampled_from(["tea0", "ham1"]), max_size=2),
    valid_from=st.sampled_from([0.0, 0.0, AT - 5, AT + 5]),
    valid_until=st.sampled_from([AT + DAY_S, AT + DAY_S, AT + 5, AT - 5]),
    caps=st.sampled_from([None, 1, 2]).map(for_life),
    stock=st.sampled_from([None, None, 0]),
    paused=st.sampled_from([False, False, False, True]),
    exclusion_group=st.sampled_from(["", "", "g"]),
    not_while_held=st.sampled_from(["overlapping", "none"]),
    priority=st.sampled_from([0, 0, 1]),
    weekdays=st.sampled_from([[], [], ["mon", "tue"], ["fri"]]),
    channels=st.sampled_from([[], [], ["app"]]),
    campaign_id=st.sampled_from([None, None, "spring", "unknown"]),
    budget_minor=st.sampled_from([None, None, 100, 5000]),
    discount_minor=st.sampled_from([20, 100, 700]),
    max_discount_minor=st.just(700),
    eligible_if=st.sampled_from(["", "", "", "shopper.active_days > 1", "'tea' in coupon.categories", "1 / 0 > 0"]),
)
catalogues = st.lists(coupons, min_size=1, max_size=8, unique_by=lambda one: one.coupon_id)
some_rules = st.builds(
    lambda **policy: rules(min_value_minor=0.0, cooldown_s=HOUR_S, max_issues_per_window=2, **policy),
    holdout_ratio=st.sampled_from([0.0, 0.0, 1.0]),
    quiet_from_hour=st.sampled_from([0.0, 0.0, 1.0]),
    max_candidates=st.sampled_from([1, 2, 64]),
)
campaigns = st.builds(
    Campaign,
    campaign_id=st.just("spring"),
    budget_minor=st.sampled_from([None, 600, 5000]),
    starts_at=st.sampled_from([0.0, 0.0, AT + 5]),
    ends_at=st.just(AT + 2 * DAY_S),
    budget_hold=st.sampled_from(["quantile", "maximum"]),
    state=st.sampled_from(["running", "running", "paused"]),
    caps=st.sampled_from([[], [], [Cap(per="day", n=1)]]),
    from_hour=st.sampled_from([0.0, 0.0, 9.0]),
)
purses = st.dictionaries(
    st.sampled_from(["campaign:spring", *(f"money:{one}" for one in IDS)]),
    st.builds(
        Purse,
        granted=st.sampled_from([80, 5000]),
        price=st.sampled_from([0.0, 0.05, 0.5, 5.0]),
        risk=st.sampled_from([None, 0.01]),
    ),
    max_size=4,
)
NOTHING_GIVEN = Funds({}, partition=0, partitions=1)


@st.composite
def shoppers(draw: st.DrawFn) -> Shopper:
    """Someone with any past."""
    shopper = Shopper()
    for event in draw(st.lists(events, max_size=8)):
        fold(shopper.profile, event, ProfileRules())
    shopper.history = History(
        given=counts_of(draw(st.dictionaries(st.sampled_from(IDS), st.integers(0, 2)))),
        recent_issues=draw(st.lists(st.sampled_from([AT - 30 * DAY_S, AT - HOUR_S]), max_size=2)),
    )
    shopper.considered_at = draw(st.sampled_from([None, None, AT - DAY_S, AT - 60.0]))
    return shopper


def explain(shopper: Shopper, known: Knowledge, funds: Funds = NOTHING_GIVEN) -> ShopperExplanation:
    return explain_shopper("u", shopper, AT, known, funds)


def reasons(explanation: ShopperExplanation) -> dict[str, str | None]:
    return {verdict.coupon_id: verdict.reason for verdict in explanation.coupons}


@pytest.mark.long
@settings(max_examples=150, derandomize=True)
@given(shoppers(), catalogues, campaigns, some_rules)
def test_the_eligible_are_those_of_the_decision(
    shopper: Shopper, catalogue: list[Any], campaign: Campaign, some: Rules
) -> None:
    known = knowing(*catalogue, campaign=campaign, some=some, scorer=prior())
    found = explain(shopper, known)
    assert len(found.coupons) == len(catalogue)
    for domain, compiled in known.catalogue.domains.items():
        expected = np.zeros(len(compiled), dtype=bool)
        expected[eligible(shopper, compiled, AT, some)] = True
        said = [verdict.eligible for verdict in found.coupons if verdict.domain == domain]
        assert said == expected.tolist()
    for verdict in found.coupons:
        assert verdict.eligible == (verdict.reason not in set(Ineligible))


def test_the_clause_of_a_rule_that_is_not_true_is_part_of_the_verdict() -> None:
    rule = "shopper.orders == 0 && (shopper.active_days > 1 || shopper.coupons_received > 0)"
    found = explain(Shopper(), knowledge(coupon("a", eligible_if=rule), coupon("b")))
    assert reasons(found)["a"] is Ineligible.RULE
    clauses = {verdict.coupon_id: verdict.clause for verdict in found.coupons}
    assert clauses == {"a": "shopper.active_days > 1 || shopper.coupons_received > 0", "b": None}
    text = "\n".join(str(part) for part in explain_text.of_shopper(found, ShopRules()))
    assert "not true: shopper.active_days > 1 || shopper.coupons_received > 0" in text


@pytest.mark.long
@settings(max_examples=150, derandomize=True)
@given(shoppers(), catalogues, campaigns, purses, some_rules)
def test_what_it_says_is_what_is_decided(
    shopper: Shopper, catalogue: list[Any], campaign: Campaign, held: dict[str, Purse], some: Rules
) -> None:
    known, funds = knowing(*catalogue, campaign=campaign, some=some, scorer=prior()), Funds(held, 0, 1)
    event = browse("now", AT)
    before = copy.deepcopy(shopper)
    fold(before.profile, event, some.profile)
    found = explain(before, known, funds)

    effects = see(shopper, event, known, funds.wallet)
    [decision] = [kind for noun, kind in effects.facts if noun == "decision"]
    ours = [verdict for verdict in found.coupons if verdict.domain == "ecommerce"]
    given_now = [verdict for verdict in ours if verdict.reason is None]
    if decision == "given":
        [verdict] = given_now
        [issue] = of_type(effects.messages, CouponIssue)
        assert verdict.score is not None
        said = (verdict.score.p_click, verdict.score.p_redeem, verdict.score.p_order)
        assert (verdict.coupon_id, said) == (issue.coupon_id, (issue.p_click, issue.p_redeem, issue.p_order))
        assert (verdict.score.value_minor, verdict.score.propensity) == (issue.value_minor, issue.propensity)
        assert verdict.score.price_minor == issue.price_minor
        return
    assert not given_now
    candidates = [verdict for verdict in ours if verdict.score is not None]
    if decision in (NoCoupon.COOLDOWN, NoCoupon.FREQUENCY_CAP, NoCoupon.QUIET_HOURS, NoCoupon.HOLDOUT):
        assert found.objection == decision
    elif decision == NoCoupon.NO_CANDIDATE:
        assert not any(verdict.eligible for verdict in ours)
    else:
        why = {NoCoupon.NOT_WORTH_IT, NoCoupon.SOLD_OUT, Passed.PRICED_OUT}
        assert {verdict.reason for verdict in candidates} <= why
        is_left = any(verdict.lacks is None for verdict in candidates)
        assert decision == (NoCoupon.NOT_WORTH_IT if is_left else NoCoupon.SOLD_OUT)


CHEAP, DEAR, LOSS = (
    coupon("cheap", discount_minor=20),
    coupon("dear", discount_minor=60),
    coupon("loss", discount_minor=900, max_discount_minor=900, typical_price_minor=1000, margin_ratio=0.1),
)
WORTH = rules(min_value_minor=0.0)
SPRING = Campaign(campaign_id="spring", budget_minor=200, ends_at=AT + DAY_S)


def knowing(
    *coupons: Coupon, campaign: Campaign = SPRING, some: Rules = WORTH, scorer: Scorer | None = None
) -> Knowledge:
    """What is known with a campaign."""
    return Knowledge(some, Catalogue(coupons, campaigns=[campaign]), {}, scorer or FixedScorer())


def limits_of(one: Coupon) -> tuple[Limit, ...]:
    """The accounts that a coupon draws on."""
    return Accounts([one]).of(one)


def test_of_those_worth_it_one_is_given_and_the_others_know_why_not() -> None:
    found = explain(Shopper(), knowledge(CHEAP, DEAR, LOSS, rules=WORTH))
    assert reasons(found) == {"cheap": None, "dear": Passed.OUTRANKED, "loss": NoCoupon.NOT_WORTH_IT}
    assert (found.objection, found.is_holdout, found.model_versions) == (None, False, {"ecommerce": 7})


def test_the_doubt_about_a_worth_is_part_of_its_score() -> None:
    doubtful = replace(STRUCTURAL, spreads=np.full((1, len(DOUBTED)), 0.2))
    scorers = (FixedScorer(incremental=one) for one in (STRUCTURAL, doubtful))
    known, doubted = (explain(Shopper(), knowing(CHEAP, scorer=scorer)) for scorer in scorers)
    spreads_minor = [one.score.spread_minor for found in (known, doubted) for one in found.coupons if one.score]
    assert spreads_minor[0] == 0.0 < 10.0 < spreads_minor[1]


def test_the_winner_the_cap_and_the_coupon_that_is_held_are_named() -> None:
    shopper, caps = Shopper(), [Cap(per="week", n=2)]
    shopper.keep_issue(opened("held", until=AT + DAY_S))
    shopper.history.given = counts_of({"capped": 9}, {"spring": 9})
    for _ in range(2):
        shopper.history.given.note("capped", "spring", local_time(AT, "UTC"))
    coupons = (
        replaced(CHEAP, priority=0),
        replaced(DEAR, priority=1),
        coupon("capped", caps=[*for_life(11), *caps], not_while_held="none"),
        coupon("other", campaign_id="spring", not_while_held="none"),
        coupon("group", exclusion_group="tea", not_while_held="none"),
        coupon("held", exclusion_group="tea", domain="travel", not_while_held="none"),
    )
    found = explain(shopper, knowing(*coupons, campaign=replaced(SPRING, caps=caps)))
    assert {one.coupon_id: (one.reason, one.by) for one in found.coupons if one.domain == "ecommerce"} == {
        "dear": (None, None),
        "cheap": (Passed.PRIORITY, "dear"),
        "capped": (Ineligible.SHOPPER_CAP, "11 for life"),
        "other": (Ineligible.CAMPAIGN_CAP, "spring: 2 a week"),
        "group": (Ineligible.EXCLUSION_GROUP, "held"),
    }


def test_a_shopper_in_the_holdout_of_a_campaign_is_told_so() -> None:
    left_out, other = coupon("spring-1", campaign_id="spring"), replaced(CHEAP, not_while_held="none")
    found = explain(Shopper(), knowing(left_out, other, campaign=replaced(SPRING, holdout_ratio=0.9)))
    [verdict] = [one for one in found.coupons if one.coupon_id == "spring-1"]
    assert (verdict.reason, verdict.by, verdict.eligible) == (Ineligible.CAMPAIGN_HOLDOUT, "spring", False)
    assert reasons(found)["cheap"] is None


def test_a_shopper_whom_the_brake_leaves_out_is_told_so() -> None:
    known = replace(knowledge(CHEAP, LOSS, rules=WORTH), brakes={"ecommerce": LiftBrake(period=1, given_ratio=0.0)})
    assert reasons(explain(Shopper(), known)) == {"cheap": NoCoupon.LIFT_BELOW_ZERO, "loss": NoCoupon.NOT_WORTH_IT}


def test_a_coupon_for_nothing_that_a_hardly_known_shopper_turned_to_says_so() -> None:
    found = explain(Shopper(), knowledge(CHEAP, LOSS, rules=rules(min_value_minor=0.0, known_after=4.0)))
    assert reasons(found) == {"cheap": Passed.HARDLY_KNOWN, "loss": NoCoupon.NOT_WORTH_IT}


@pytest.mark.parametrize(
    ("account", "purse", "limits", "lack"),
    [
        ("units:cheap", Purse(granted=3, drawn=3), {"stock": 3}, (Shortage.STOCK, 1, 0)),
        ("money:cheap", Purse(granted=1000, drawn=950), {"budget_minor": 1000}, (Shortage.BUDGET, 100, 50)),
        (
            "campaign:spring",
            Purse(granted=200, drawn=190, freed=30),
            {"campaign_id": "spring"},
            (Shortage.BUDGET, 100, 40),
        ),
    ],
)
def test_what_is_sold_out_makes_way_for_the_next(
    account: str, purse: Purse, limits: dict[str, Any], lack: tuple[Shortage, int, int]
) -> None:
    known = knowing(coupon("cheap", discount_minor=20, **limits), DEAR)
    found = explain(Shopper(), known, Funds({account: purse}, partition=0, partitions=1))
    shortage, needed, left = lack
    lacks = Lack(shortage=shortage, account_id=account, needed=needed, here=left)
    assert reasons(found) == {"cheap": NoCoupon.SOLD_OUT, "dear": None}
    assert [verdict.lacks for verdict in found.coupons] == [lacks, None]
    assert [verdict.score and verdict.score.propensity for verdict in found.coupons] == [0.0, 1.0]
    assert reasons(explain(Shopper(), known)) == {"cheap": None, "dear": Passed.OUTRANKED}


def test_what_new_shoppers_have_drawn_their_share_of_makes_way_for_the_next() -> None:
    known = knowing(coupon("cheap", discount_minor=20, stock=30), DEAR)
    purse = Purse(granted=30, drawn=3, new_hour=int(AT // HOUR_S), new_drawn=3)
    funds = Funds({"units:cheap": purse}, partition=0, partitions=1, new_ratio=0.1)
    found = explain(Shopper(), known, funds)
    lacks = Lack(shortage=Shortage.NEW_SHOPPERS, account_id="units:cheap", needed=1, here=0)
    assert reasons(found) == {"cheap": NoCoupon.NEW_SHOPPERS, "dear": None}
    assert [verdict.lacks for verdict in found.coupons] == [lacks, None]
    assert reasons(explain(Shopper(new_until=AT), known, funds)) == {"cheap": None, "dear": Passed.OUTRANKED}


def priced(price: float) -> Funds:
    """The campaign has a price, and money enough."""
    return Funds({"campaign:spring": Purse(granted=200, price=price)}, partition=0, partitions=1)


SHARED = coupon("shared", discount_minor=20, campaign_id="spring")


def test_a_coupon_may_be_worth_less_than_its_budgets_charge() -> None:
    """With P(redeem) = 0.5, a price of 10 charges 100 for a discount of 20."""
    known = knowing(SHARED, DEAR)
    by_price = {price: explain(Shopper(), known, priced(price)) for price in (0.0, 10.0, 26.0)}
    assert {price: reasons(found) for price, found in by_price.items()} == {
        0.0: {"dear": Passed.OUTRANKED, "shared": None},
        10.0: {"dear": None, "shared": Passed.OUTRANKED},
        26.0: {"dear": None, "shared": Passed.PRICED_OUT},
    }
    scores = [found.coupons[1].score for found in by_price.values()]
    assert [score and (score.value_minor, score.price_minor, score.rank) for score in scores] == [
        (238.8, 0.0, 1),
        (238.8, 100.0, 2),
        (238.8, 260.0, 2),
    ]
    assert {tuple(score.charged_by) for score in scores if score is not None} == {("campaign:spring",)}


def test_a_paused_coupon_says_so() -> None:
    paused = Campaign(campaign_id="spring", state="paused")
    found = explain(Shopper(), knowing(SHARED, coupon("halted", paused=True), DEAR, campaign=paused))
    assert reasons(found) == {"dear": None, "halted": Ineligible.PAUSED, "shared": Ineligible.PAUSED}


def test_a_coupon_of_a_campaign_that_is_not_known_is_sold_out() -> None:
    found = explain(Shopper(), knowing(coupon("shared", campaign_id="winter"), DEAR))
    [_, verdict] = found.coupons
    assert (verdict.reason, verdict.lacks and verdict.lacks.account_id) == (NoCoupon.SOLD_OUT, "campaign:winter")


@pytest.mark.parametrize(("price", "why"), [(10.0, Passed.OUTRANKED), (26.0, Passed.PRICED_OUT)])
def test_the_price_of_then_is_on_record(price: float, why: Passed) -> None:
    effects = see(Shopper(), browse("now", AT), knowing(SHARED, DEAR), priced(price).wallet)
    [issue], [decision] = (of_type(effects.messages, kind) for kind in (CouponIssue, LoggedDecision))
    found = explain_issue(issue, decision, WORTH.policy)
    assert (issue.coupon_id, found.notes) == ("dear", [])
    [other] = found.others
    assert (other.coupon_id, other.reason, other.value_minor, other.price_minor) == ("shared", why, 238.8, 10.0 * price)


def test_a_coupon_that_was_not_worth_it_and_a_draw_by_a_random_strategy_are_told_apart() -> None:
    known = knowledge(CHEAP, LOSS, rules=WORTH)
    effects = see(Shopper(), browse("now", AT), known)
    [issue], [decision] = (of_type(effects.messages, kind) for kind in (CouponIssue, LoggedDecision))
    for some, why in ((WORTH, NoCoupon.NOT_WORTH_IT), (rules(strategy="random"), Passed.EXPLORED)):
        assert [one.reason for one in explain_issue(issue, decision, some.policy).others] == [why]


def test_the_last_unit_may_be_left_in_no_partition() -> None:
    found = Funds({}, partition=1, partitions=4).lack(limits_of(coupon("c", stock=1)), 100, 100)
    assert found == Lack(shortage=Shortage.STOCK, account_id="units:c", needed=1, here=0)


def test_a_coupon_that_was_not_scored_says_so() -> None:
    near, far = coupon("near", categories=["tea"]), coupon("far", categories=["soap"])
    shopper = Shopper()
    fold(shopper.profile, browse("b", AT, item("t", category="tea")), ProfileRules())
    found = explain(shopper, knowledge(near, far, rules=rules(max_candidates=1)))
    assert reasons(found) == {"far": Passed.NOT_SHORTLISTED, "near": None}
    assert [verdict.eligible for verdict in found.coupons] == [True, True]
    assert [verdict.score is None for verdict in found.coupons] == [True, False]
    assert [verdict.content for verdict in found.coupons] == [0.0, 1.0]


def test_a_random_strategy_may_give_any() -> None:
    found = explain(Shopper(), knowledge(CHEAP, LOSS, rules=rules(strategy="random", min_value_minor=0.0)))
    assert reasons(found) == {"cheap": None, "loss": None}
    assert [verdict.score and verdict.score.propensity for verdict in found.coupons] == [0.5, 0.5]


def test_every_code_has_words() -> None:
    never_said = {
        NoCoupon.REPEATED,
        NoCoupon.NO_CANDIDATE,
        NoCoupon.NOT_FINITE,
        NoCoupon.TIMED_OUT,
        NoCoupon.POLICY_FAILED,
    }
    assert set(WORDS) == {*Ineligible, *NoCoupon, *Passed} - never_said


@pytest.mark.parametrize("state", get_args(CampaignState))
def test_a_coupon_is_explained_by_the_state_of_its_campaign(state: CampaignState) -> None:
    spring = campaign("spring", state=state, ramp_ratio=0.0 if state == "ramp" else 1.0)
    each = [coupon("own", categories=["tea"]), coupon("shared", categories=["tea"], campaign_id="spring")]
    explanation = explain(Shopper(), knowledge(*each, campaigns=[spring], scorer=FixedScorer()))
    found = {verdict.coupon_id: verdict for verdict in explanation.coupons}
    assert [*found] == ["own", "shared"]
    assert found["own"].reason is None
    expected = {"running": Passed.OUTRANKED, "ramp": Ineligible.OUTSIDE_RAMP}
    assert found["shared"].reason == expected.get(state, state)
    assert (found["shared"].score is not None) == (state in ("running", "staged")), "the shadow has values, too"
