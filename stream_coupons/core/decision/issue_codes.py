"""The code that an issue carries."""

from msgspec.structs import replace

from stream_coupons.core import codes
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue


def with_code(issue: CouponIssue, coupon: Coupon, known: Knowledge) -> CouponIssue:
    """Return an issue with the code of its coupon, if the coupon has codes.

    Parameters
    ----------
    issue : CouponIssue
        The issue, without a code.
    coupon : Coupon
        Its coupon.
    known : Knowledge
        The key that codes are derived from.
    """
    if coupon.codes == "none":
        return issue
    key = codes.coupon_key(codes.codes_key(known.rules.key), coupon.coupon_id)
    return replace(issue, code=codes.generate(key, issue.issue_id, issue.expires_at, coupon.code_prefix))
