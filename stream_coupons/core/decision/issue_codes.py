"""The code that an issue carries."""

from collections.abc import Iterable

from msgspec.structs import replace

from stream_coupons.core import codes
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.wallet import Wallet


def with_code(
    issue: CouponIssue, coupon: Coupon, wallet: Wallet, limits: Iterable[Limit], known: Knowledge
) -> CouponIssue:
    """Return an issue with the code of its coupon, if the coupon has codes.

    Parameters
    ----------
    issue : CouponIssue
        The issue, without a code.
    coupon : Coupon
        Its coupon.
    wallet, limits : Wallet, iterable of Limit
        Purses that the issue is about to be drawn from, and its accounts.
    known : Knowledge
        The key that codes are derived from, and the pools.
    """
    if coupon.codes == "none":
        return issue
    if coupon.codes == "pool":
        number = wallet.next_code(limits)
        code = None if number is None else known.catalogue.pools.code(coupon.coupon_id, number)
        if code is None:
            raise ValueError(f"coupon {coupon.coupon_id} has no code number {number}: it was sold out")
        return replace(issue, code=code)
    key = codes.coupon_key(codes.codes_key(known.rules.key), coupon.coupon_id)
    return replace(issue, code=codes.generate(key, issue.issue_id, issue.expires_at, coupon.code_prefix))
