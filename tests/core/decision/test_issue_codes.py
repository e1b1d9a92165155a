"""Codes from the decision to the feedback: an issue carries its code, and feedback with another one is refused."""

from typing import Any

import pytest

from stream_coupons.core import codes
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.code_pools import CodePools
from stream_coupons.core.decision import attribution
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.catalogue import CodeBlock
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import START, LocalPipeline, browse, coupon, feedback, plain_settings
from tests.core.builders import feedback as event
from tests.core.builders import opened, rules


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


def pool_of(count: int, **terms: Any) -> LocalPipeline:
    """A shop of three partitions and a coupon with so many imported codes."""
    codes = {"tea": [f"TEA-{number:04}" for number in range(count)]}
    return LocalPipeline(plain_settings(), [coupon("tea", codes="pool", **terms)], codes=codes, partitions=3)


def serve(shop: LocalPipeline, shoppers: int, step_s: float = 6.0) -> None:
    """Let shoppers come, one after the other."""
    for number in range(shoppers):
        at = START + number * step_s
        shop.publish(browse(f"s{number}", at=at))
        shop.tick(at)


def test_each_imported_code_is_given_once_and_then_the_coupon_is_sold_out() -> None:
    shop = pool_of(40)
    serve(shop, 150)
    assert sorted(issue.code or "" for issue in shop.issues) == [f"TEA-{number:04}" for number in range(40)]
    assert shop.facts["decision", "sold_out"] == 110


def test_the_same_events_give_the_same_imported_codes() -> None:
    one, other = pool_of(40), pool_of(40)
    serve(one, 30)
    serve(other, 30)
    assert [issue.code for issue in one.issues] == [issue.code for issue in other.issues]


def test_stock_ends_before_the_codes_do() -> None:
    shop = pool_of(40, stock=10)
    serve(shop, 60)
    assert len({issue.code for issue in shop.issues}) == len(shop.issues) == 10


def test_a_coupon_without_imported_codes_is_not_given() -> None:
    shop = LocalPipeline(plain_settings(), [coupon("tea", codes="pool")])
    shop.publish(browse("ann"))
    assert shop.issues == []
    assert shop.facts["decision", "sold_out"] == 1


def test_a_purchase_with_a_revoked_code_is_booked_and_counted() -> None:
    pools = CodePools()
    pools.take(CodeBlock(coupon_id="tea", codes=["TEA-1"], revoked=True))
    shopper, catalogue = Shopper(), Catalogue([coupon("tea")], pools=pools)
    shopper.open_issue(opened("tea", code="TEA-1"), catalogue.by_id)
    effects = attribution.join(shopper, event("purchase", "i1", code="tea 1"), catalogue, rules())
    assert effects.facts[0] == ("feedback", "revoked")
    assert [one.after.spent_minor for one in effects.bookings] == [100]


def test_a_purchase_with_a_revoked_code_after_the_window_is_counted_as_well() -> None:
    pools = CodePools()
    pools.take(CodeBlock(coupon_id="tea", codes=["TEA-1"], revoked=True))
    shopper, catalogue, every = Shopper(), Catalogue([coupon("tea")], pools=pools), rules()
    issue = opened("tea", code="TEA-1")
    shopper.open_issue(issue, catalogue.by_id)
    attribution.close_windows("ann", shopper, issue.expires_at, catalogue, every)
    reports = [event("purchase", "i1", event_id=code, code=code) for code in ("X", "TEA-1")]
    other, its = (attribution.join(shopper, report, catalogue, every) for report in reports)
    assert [one.reason for one in other.refused] == ["wrong_code"]
    assert its.facts == [("feedback", "revoked"), ("feedback", "used_late")]
    assert [one.after.spent_minor for one in its.bookings] == [100]
