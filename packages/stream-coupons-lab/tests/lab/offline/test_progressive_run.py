"""Another system's log, run record by record: nothing of the future is known, labels come when windows close."""

import math
import random
import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from lab.foreign_logs import AT, DAY_S, HOUR_S, Record, browse, declining, drawn, feedback, issue, read, settings
from lab.randomised_log import ARMS, RandomisedLog
from stream_coupons.core.rules import AttributionRules, PolicyRules
from stream_coupons.kafka.codec import encode
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.logged_shop import for_logs
from stream_coupons_lab.offline.metrics import log_loss, roc_auc
from stream_coupons_lab.offline.progressive_run import ProgressiveRun, run
from stream_coupons_lab.offline.quality import judged
from stream_coupons_lab.offline.scored import Scored

WINDOW_S = 12 * HOUR_S
PREDICTED = ("issue_id", "p_click", "p_redeem", "p_order", "model_version", "by_arm")


def scored(*records: Record, window_s: float = DAY_S, **options: Any) -> list[Scored]:
    return run(read(list(records), window_s), Settings(), **options)


def predictions(records: list[Record], until: float, **options: Any) -> list[bytes]:
    """What was predicted before a moment, as bytes."""
    found = run(read(records, WINDOW_S), Settings(), **options)
    return [encode([getattr(one, name) for name in PREDICTED]) for one in found if one.occurred_at < until]


def lessons(*records: Record) -> list[int]:
    """How many labels were learnt by the time that each record was done."""
    log = read(list(records), WINDOW_S)
    running, learnt = ProgressiveRun(log, Settings()), []
    for record in log.records():
        running.feed(record)
        running.queue.flush()
        learnt.append(sum(model.examples for model in running.queue.trainer.models.values()))
    return learnt


# ------------------------------------------------------------ nothing of the future


LOG = drawn(issues=110, seed=3)
MOMENTS = [AT + hours * HOUR_S for hours in (25, 60.5, 109)]


def changed(record: Record, rng: random.Random) -> list[Record]:
    """Something else in the place of a record: none, several, another outcome, another coupon, another context."""
    at = record["occurred_at"] + rng.uniform(0, 5 * HOUR_S)
    if record["type"] != "issue":
        return rng.choice([[], [{**record, "occurred_at": at}], [record, browse(at, f"u{rng.randrange(12)}", "milk")]])
    issue_id = record["issue_id"]
    wide = {"coupon_id": f"new-{issue_id}", "categories": [f"cat-{issue_id}-{n}" for n in range(rng.randrange(1, 40))]}
    wide |= {"domain": rng.choice(["ecommerce", "travel"])}
    wide |= {"kind": f"kind-{issue_id}", f"attribute-{rng.randrange(3)}": rng.random(), "colour": issue_id}
    wide |= {"vector": [rng.uniform(-1, 1) for _ in range(4)]}
    return [
        {**record, "occurred_at": at, "coupon": wide, "arms": [wide["coupon_id"], "none"], "context": {"moon": 1.0}},
        feedback(rng.choice(["click", "purchase", "expiry"]), issue_id, at + 1),
    ]


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("score_arms", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_whatever_comes_later_changes_no_prediction_by_a_bit(moment: float, score_arms: bool) -> None:
    past = [record for record in LOG if record["occurred_at"] < moment]
    # What an arm is may be told later than that it could be chosen; here all were told by the first moment.
    assert {record["coupon"]["coupon_id"] for record in past if record.get("coupon")} == {f"c{n}" for n in range(6)}
    future = [record for record in LOG if record["occurred_at"] >= moment]
    said = predictions(LOG, moment, score_arms=score_arms)
    assert said
    assert predictions(past, moment, score_arms=score_arms) == said
    rng = random.Random(moment)
    other = [each for record in future for each in changed(record, rng)]
    assert predictions(past + other, moment, score_arms=score_arms) == said


@pytest.mark.long
def test_what_comes_earlier_does_change_predictions() -> None:
    moment = MOMENTS[-1]
    without = [record for record in LOG if record["type"] != "feedback"]
    assert predictions(without, moment) != predictions(LOG, moment)


@pytest.mark.long
def test_the_order_of_the_lines_does_not_matter_beyond_ties() -> None:
    shuffled = list(LOG)
    random.Random(1).shuffle(shuffled)
    # Coupons are as first described, and this log describes each the same way everywhere.
    assert predictions(shuffled, math.inf) == predictions(LOG, math.inf)


def test_a_label_is_not_learnt_before_its_window_has_closed() -> None:
    after = AT + WINDOW_S
    first = [issue("i1", AT), feedback("click"), feedback("purchase", at=AT + 2 * HOUR_S)]
    assert lessons(*first, issue("i2", after), issue("i3", after + 1)) == [0, 0, 0, 0, 2]


def test_an_expiry_lets_no_label_be_learnt_before_its_window_has_closed() -> None:
    first = [issue("i1", AT), feedback("expiry", at=AT + 60)]
    found = scored(*first, browse(AT + WINDOW_S), window_s=WINDOW_S)
    assert [(one.redeemed, one.labelled_at) for one in found] == [(False, AT + WINDOW_S)]
    assert scored(*first, browse(AT + WINDOW_S - 1), window_s=WINDOW_S)[0].labelled_at is None
    used = [feedback(kind, "i2", AT + 62) for kind in ("click", "purchase")]
    assert lessons(*first, issue("i2", AT + 61), *used, browse(AT + WINDOW_S + 1)) == [0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize("coupon", [None, {"coupon_id": "c1"}])
def test_what_is_reported_after_an_expiry_is_refused_and_is_no_outcome(coupon: Record | None) -> None:
    late = [feedback(kind, at=AT + 61, order_value_minor=5) for kind in ("click", "purchase")]
    [one] = scored(issue(coupon=coupon), feedback("expiry", at=AT + 60), *late, browse(AT + 2 * DAY_S))
    assert (one.clicked, one.redeemed, one.value_minor) == (False, False, None)


@pytest.mark.long
def test_decliners_who_are_recorded_at_once_make_no_prediction_worse() -> None:
    """Half of the coupons are valid for four hours, half for a day, in a log of three days.

    If labels were learnt at the expiry, log loss would be 1.15 times as great, and greater than the base rate's.
    """
    gains = []
    for seed in range(3):
        plain, early = (run(read(declining(600, seed, expires=expires)), Settings()) for expires in (False, True))
        for name in (*PREDICTED, "clicked", "redeemed"):
            assert [getattr(one, name) for one in early] == [getattr(one, name) for one in plain]
        redeemed = np.array([one.redeemed for one in early], dtype=bool)
        of_base_rate = log_loss(np.full(600, redeemed.mean()), redeemed)
        gains.append(of_base_rate - log_loss([one.p_redeem for one in early], redeemed))
    assert min(gains) > 0.0


def test_a_head_of_which_the_log_has_no_positive_label_learns_nothing() -> None:
    """What the log does not report says nothing: that nobody clicked is not learnt from its silence."""
    log = [issue("i1", AT), issue("i2", AT + 1), feedback("purchase", "i2"), issue("i3", AT + DAY_S)]
    running = ProgressiveRun(read(log, WINDOW_S), Settings())
    for record in running.log.records():
        running.feed(record)
    first, _, last = running.finish()
    assert running.queue.heads == {"redeem", "order"}
    assert {
        name: head.examples for name, head in running.queue.trainer.models["ecommerce"].snapshot().quality.items()
    } == {"redeem": 2}
    assert last.p_click == pytest.approx(first.p_click, rel=0.5)
    assert [len(one) for one in judged(running.scored(), running.queue.heads)] == [0, 2, 0]


@pytest.mark.long
def test_the_model_learns_what_the_log_has_to_teach() -> None:
    found = [one for one in run(read(drawn(issues=900, seed=1), WINDOW_S), Settings()) if one.arm != "none"]
    late = [one for one in found[len(found) // 2 :] if one.clicked is not None]
    assert roc_auc([one.p_click for one in late], [one.clicked for one in late]) > 0.65


# ------------------------------------------------------------ labels


def test_labels_are_those_of_windows_that_closed_by_the_end() -> None:
    log = [
        issue("clicked"),
        feedback("click", "clicked"),
        issue("bought", AT + 1),
        feedback("click", "bought"),
        feedback("purchase", "bought", order_value_minor=900),
        issue("silent", AT + 2),
        issue("bought without a click", AT + 3),
        feedback("purchase", "bought without a click"),
        issue("open", AT + DAY_S),
        feedback("purchase", "open", AT + DAY_S + 3, order_value_minor=100),
    ]
    found = {one.issue_id: (one.clicked, one.redeemed, one.value_minor) for one in scored(*log)}
    assert found == {
        "clicked": (True, False, None),
        "bought": (True, True, 900),
        "silent": (False, False, None),
        "bought without a click": (False, True, None),
        "open": (None, None, None),
    }


def test_under_the_arm_none_labels_say_what_the_shopper_did_all_the_same() -> None:
    log = [
        issue("n1", coupon=None),
        feedback("click", "n1"),
        feedback("purchase", "n1", order_value_minor=700),
        issue("n2", AT + 1, coupon=None),
        browse(AT + 3 * DAY_S),
    ]
    found = [(one.arm, one.clicked, one.redeemed, one.value_minor) for one in scored(*log)]
    assert found == [("none", True, True, 700), ("none", False, False, None)]


def test_feedback_at_the_very_end_of_a_window_counts_and_later_is_refused() -> None:
    records = [
        issue("i1"),
        feedback("purchase", "i1", AT + DAY_S),
        issue("i2"),
        feedback("purchase", "i2", AT + DAY_S + 0.001, order_value_minor=5),
    ]
    running = ProgressiveRun(read(records, DAY_S), Settings())
    for record in running.log.records():
        running.feed(record)
    found = running.finish()
    assert [(one.redeemed, one.value_minor) for one in found] == [(True, None), (False, None)]
    assert running.shop.refused == {"late": 1}
    assert all(one.labelled_at is not None for one in found)


def test_feedback_may_have_the_id_of_the_order_it_tells_of() -> None:
    order = {"type": "order", "event_id": "o1", "user_id": "u1", "occurred_at": AT + 60, "items": [{"item_id": "tea"}]}
    found = scored(issue(), order, feedback("purchase", event_id="o1"), browse(AT + 2 * DAY_S))
    assert [one.redeemed for one in found] == [True]


def test_feedback_dated_before_its_issue_waits_for_it() -> None:
    found = scored(feedback("click", at=AT - 1), issue(), browse(AT + 2 * DAY_S))
    assert [(one.clicked, one.redeemed) for one in found] == [(True, False)]


# ------------------------------------------------------------ what is scored


@pytest.mark.long
def test_a_chosen_arm_is_scored_as_the_issue_is() -> None:
    found = run(read(LOG, WINDOW_S), Settings(), score_arms=True)
    assert {one.arm for one in found} == {*(f"c{n}" for n in range(6)), "none"}
    for one in found:
        assert set(one.by_arm) == set(one.arms)
        assert one.by_arm[one.arm] == (one.p_click, one.p_redeem, one.p_order)
        assert set(one.worth_by_arm) == set(one.arms)


@pytest.mark.slow
def test_what_draws_to_a_coupon_says_nothing_of_orders_without_it() -> None:
    """None was given in place of either coupon: whoever likes what it is for is no more likely to order without it."""
    log = RandomisedLog(1800, seed=4)
    found = run(read(log.lines(), HOUR_S), Settings())[900:]
    p_order = np.array([one.p_order for one in found])
    for taste in (0, 1):
        of_taste = log.taste[900:] == taste
        none, *given = (p_order[of_taste & (log.arm[900:] == arm)].mean() for arm in range(len(ARMS)))
        assert given == pytest.approx([none, none], rel=0.3)


@pytest.mark.long
def test_scoring_all_arms_changes_nothing_else() -> None:
    plain = run(read(LOG, WINDOW_S), Settings())
    arms = run(read(LOG, WINDOW_S), Settings(), score_arms=True)
    assert [msgspec.structs.replace(one, by_arm={}, worth_by_arm={}) for one in arms] == plain


def test_where_nothing_was_given_the_model_is_that_of_the_coupons_until_then() -> None:
    """Its label is learnt where the coupons are scored: the snapshot of the domain is new by then."""
    travel = {"coupon_id": "c1", "domain": "travel"}
    nothing = issue("i2", AT + 1, coupon=None, expires_at=AT + 1.5)
    expiry = feedback("expiry", "i2", AT + 2)
    bought = feedback("purchase", "i3", AT + 4)
    found = scored(issue("i1", coupon=travel), nothing, expiry, issue("i3", AT + 3, coupon=travel), bought)
    assert found[2].model_version > found[1].model_version == found[0].model_version == 0
    stays = issue("i1", coupon={"coupon_id": "c0"})
    other = scored(stays, nothing, expiry, issue("i3", AT + 3, coupon=travel), bought)
    assert other[2].model_version == 0


def test_what_is_known_of_an_issue_is_passed_on() -> None:
    [one] = scored(issue(user_id="u9", propensity=0.25, arms=["c1", "none"], context={"weather": "rain"}))
    assert (one.user_id, one.propensity, one.arms, one.context) == ("u9", 0.25, ("c1", "none"), {"weather": "rain"})
    assert 0 < one.p_order < 1


@pytest.mark.long
def test_two_runs_are_alike_to_the_last_bit() -> None:
    assert encode(run(read(LOG), Settings(), score_arms=True)) == encode(run(read(LOG), Settings(), score_arms=True))


def test_nothing_given_is_scored_before_any_coupon_and_in_a_domain_without_one() -> None:
    found = scored(
        issue("i1", AT, coupon=None),
        issue("i2", AT + 1, coupon=None, domain="stays"),
        issue("i3", AT + 2, coupon={"coupon_id": "c1", "domain": "travel"}),
        issue("i4", AT + 3, coupon=None),
        browse(AT + 2 * DAY_S),
    )
    assert [(one.issue_id, one.redeemed) for one in found] == [(f"i{n}", False) for n in (1, 2, 3, 4)]


def test_a_log_is_only_looked_at_and_has_no_grace_unless_one_is_set() -> None:
    assert for_logs(Settings(policy=PolicyRules(cooldown_s=5))).policy == PolicyRules(
        cooldown_s=5, triggers=frozenset()
    )
    assert for_logs(Settings()).attribution == AttributionRules(
        grace_s=0, max_open_observed=sys.maxsize, max_observed_bytes=sys.maxsize
    )
    assert for_logs(
        settings(grace_s=60, max_open_observed=9, max_observed_bytes=10_000)
    ).attribution == AttributionRules(grace_s=60, max_open_observed=9, max_observed_bytes=10_000)
