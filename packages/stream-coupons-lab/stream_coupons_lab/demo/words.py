"""Outcomes of decisions in the words of a shop."""

from collections.abc import Mapping

from stream_coupons.core.reasons import NoCoupon

GIVEN = "given"
REASONS: Mapping[str, str] = {
    NoCoupon.COOLDOWN: "was considered in the last six hours",
    NoCoupon.REPEATED: "was considered in the last six hours",
    NoCoupon.FREQUENCY_CAP: "has had three coupons within a week",
    NoCoupon.QUIET_HOURS: "is not to be disturbed at this hour",
    NoCoupon.NO_CANDIDATE: "may get none of the coupons",
    NoCoupon.NOT_FINITE: "a figure was no number",
    NoCoupon.POLICY_FAILED: "the policy failed",
    NoCoupon.HOLDOUT: "is in the control group, which never gets a coupon",
    NoCoupon.LIFT_BELOW_ZERO: "gets none while coupons lose money",
    NoCoupon.CONTROL: "got nothing by chance, to see what shoppers do without a coupon",
    NoCoupon.NOT_WORTH_IT: "no coupon is worth its discount",
    NoCoupon.SOLD_OUT: "everything suitable was sold out",
    NoCoupon.NEW_SHOPPERS: "new shoppers had drawn their share of the hour",
    NoCoupon.TIMED_OUT: "what the shopper did was decided on too late",
}
"""Reason in words why a shopper got no coupon, by outcome of the decision."""


def reasons(decisions: Mapping[str, float]) -> dict[str, int]:
    """Return how often shoppers got no coupon for what they did, by reason in words, most frequent first.

    >>> reasons({"given": 5, "cooldown": 2, "repeated": 3, "sold_out": 1, "holdout": 0})
    {'was considered in the last six hours': 5, 'everything suitable was sold out': 1}
    """
    found: dict[str, int] = {}
    for outcome, count in decisions.items():
        if outcome != GIVEN and count:
            text = REASONS.get(outcome, outcome)
            found[text] = found.get(text, 0) + int(count)
    return dict(sorted(found.items(), key=lambda entry: -entry[1]))


def worth(minor: float) -> str:
    """Return what the product expects of a coupon.

    >>> worth(31.4), worth(-3), worth(1234)
    ('worth +31 c', 'worth -3 c', 'worth +12.34')
    """
    return f"worth {minor / 100:+,.2f}" if abs(minor) >= 1000 else f"worth {minor:+.0f} c"
