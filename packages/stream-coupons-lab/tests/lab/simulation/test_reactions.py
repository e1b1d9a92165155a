"""What shoppers answer, when and in which order."""

from collections import defaultdict

import pytest

from stream_coupons.core.messages.inputs import FeedbackEvent, OrderEvent

from .policy_runs import Run

pytestmark = pytest.mark.long


def by_issue(given: Run) -> dict[str, dict[str, FeedbackEvent]]:
    answers: dict[str, dict[str, FeedbackEvent]] = defaultdict(dict)
    for event in given.feedback():
        assert event.kind not in answers[event.issue_id]
        answers[event.issue_id][event.kind] = event
    return answers


def test_feedback_follows_its_issue_and_keeps_its_order(truth_run: Run) -> None:
    for issue_id, answers in by_issue(truth_run).items():
        issue = truth_run.issues[issue_id]
        assert "impression" in answers
        times = [answers[kind].occurred_at for kind in ("impression", "click", "purchase") if kind in answers]
        assert times == sorted(times)
        assert issue.issued_at < times[0]
        assert times[-1] <= issue.expires_at
        for event in answers.values():
            assert (event.user_id, event.coupon_id) == (issue.user_id, issue.coupon_id)


def test_some_click_and_do_not_buy_most_who_buy_have_clicked(random_run: Run) -> None:
    answers = by_issue(random_run).values()
    clicked = [kinds for kinds in answers if "click" in kinds]
    bought = [kinds for kinds in answers if "purchase" in kinds]
    assert sum("purchase" not in kinds for kinds in clicked) > 0.2 * len(clicked)
    assert sum("click" in kinds for kinds in bought) > 0.6 * len(bought)


def test_an_order_goes_with_every_purchase_and_no_order_takes_two_coupons(truth_run: Run) -> None:
    orders = {(event.user_id, event.occurred_at) for _, event in truth_run.events if isinstance(event, OrderEvent)}
    purchases = [(event.user_id, event.occurred_at) for event in truth_run.feedback() if event.kind == "purchase"]
    assert len(purchases) > 100
    assert set(purchases) <= orders
    assert len(set(purchases)) == len(purchases)


def test_discounts_keep_to_the_coupon_and_statistics_add_up(truth_run: Run) -> None:
    coupons = {coupon.coupon_id: coupon for coupon in truth_run.world.catalogue()}
    purchases = [event for event in truth_run.feedback() if event.kind == "purchase"]
    for event in purchases:
        assert event.discount_minor is not None
        assert event.order_value_minor is not None
        most = coupons[event.coupon_id or ""].max_discount_minor
        assert 0 < event.discount_minor <= min(most, event.order_value_minor)
    statistics = truth_run.world.statistics
    assert statistics.redemptions == len(purchases)
    assert statistics.clicks == truth_run.count("click")
    assert statistics.impressions == truth_run.count("impression")
    assert statistics.discount_minor == sum(event.discount_minor or 0 for event in purchases)


def test_answers_take_minutes_to_days(random_run: Run) -> None:
    delays = sorted(
        event.occurred_at - random_run.issues[event.issue_id].issued_at
        for event in random_run.feedback()
        if event.kind == "purchase"
    )
    assert delays[0] < 3600.0
    assert delays[-1] > 86400.0
    assert 3600.0 < delays[len(delays) // 2] < 86400.0
