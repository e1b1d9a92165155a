"""Codes from the decision to the feedback: an issue carries its code, and feedback with another one is refused."""

from typing import Any

import pytest

from stream_coupons.core import codes
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.testing import START, LocalPipeline, browse, coupon, feedback, plain_settings


def given(at: float = START, **terms: Any) -> tuple[LocalPipeline, CouponIssue]:
    """A shop that has given one coupon, and its issue."""
    shop = LocalPipeline(plain_settings(), [coupon("tea", **terms)])
    shop.publish(browse("ann", at=at))
    [issue] = shop.issues
    return shop, issue


def test_an_issue_of_a_coupon_without_codes_has_none() -> None:
    _, issue = given()
    assert issue.code is None


def test_a_till_with_the_key_of_the_coupon_reads_when_the_issue_expires() -> None:
    _, issue = given(codes.EPOCH + 1234.0, codes="generated", code_prefix="TEA")
    key = codes.coupon_key(codes.codes_key(PUBLIC_KEY), "tea")
    assert issue.code is not None
    assert issue.code.startswith("TEA-")
    assert issue.expires_at <= (codes.expiry(key, issue.code) or 0.0) < issue.expires_at + codes.STEP_S


def test_the_same_events_give_the_same_codes() -> None:
    assert given(codes="generated")[1].code == given(codes="generated")[1].code


def test_feedback_with_the_code_counts_however_it_was_typed() -> None:
    shop, issue = given(codes="generated")
    shop.publish(feedback(issue, "purchase", at=START + 60.0, code=(issue.code or "").lower().replace("-", " ")))
    assert (shop.facts["feedback", "purchase"], shop.dead_letters) == (1, [])


@pytest.mark.parametrize("kind", ["click", "purchase"])
def test_feedback_with_another_code_is_refused_and_changes_nothing(kind: Any) -> None:
    shop, issue = given(codes="generated")
    shop.publish(feedback(issue, kind, at=START + 60.0, code="0000000-0000000-0000000"))
    assert [letter["reason"] for letter in shop.dead_letters] == ["wrong_code"]
    assert shop.facts["feedback", kind] == 0


def test_feedback_with_a_code_on_an_issue_without_one_counts() -> None:
    shop, issue = given()
    shop.publish(feedback(issue, "purchase", at=START + 60.0, code="ANY"))
    assert shop.facts["feedback", "purchase"] == 1
