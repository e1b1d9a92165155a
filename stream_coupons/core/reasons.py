"""Closed sets of reason codes: metric labels, dead-letter headers and answers to "why not?"."""

from enum import StrEnum


class Rejection(StrEnum):
    """Why a record went to dead-letters."""

    NOT_JSON = "not_json"  # truncated, not UTF-8, NaN, nested too deep, empty
    INVALID = "invalid"  # JSON, but a field is missing, of the wrong type or range, or against what is known
    UNKNOWN_VERSION = "unknown_version"
    TOO_LARGE = "too_large"  # the message, or what would be kept of its key
    FROM_THE_FUTURE = "from_the_future"  # occurred_at lies far behind the time of its arrival
    NO_KEY = "no_key"
    WRONG_KEY = "wrong_key"  # the record's key is not the id inside the message
    WRONG_PARTITION = "wrong_partition"  # the sender's partitioner is not murmur2
    UNKNOWN_ISSUE = "unknown_issue"  # feedback on a coupon this shopper was never issued
    WRONG_COUPON = "wrong_coupon"  # feedback whose coupon_id is not the issue's
    LATE = "late"  # feedback after the issue's window closed
    STEP_FAILED = "step_failed"  # a bug of ours: the step raised


class Ineligible(StrEnum):
    """Why a coupon was no candidate for a shopper at a moment."""

    OTHER_DOMAIN = "other_domain"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    SHOPPER_CAP = "shopper_cap"  # this coupon's max_per_user
    ALREADY_ORDERED = "already_ordered"  # every item it is for was ordered a moment ago


class NoCoupon(StrEnum):
    """Why a trigger led to no coupon-issue."""

    COOLDOWN = "cooldown"  # this shopper was considered a moment ago
    REPEATED = "repeated"  # longer ago than event ids are remembered it led to a coupon, or to a question still open
    PENDING = "pending"  # a proposal for this shopper is still on its way
    FREQUENCY_CAP = "frequency_cap"  # this shopper had enough coupons lately
    QUIET_HOURS = "quiet_hours"
    NO_CANDIDATE = "no_candidate"
    NOT_FINITE = "not_finite"  # a feature or a prediction is no finite number
    HOLDOUT = "holdout"  # withheld from the permanent control group
    NOT_WORTH_IT = "not_worth_it"  # NO_COUPON had the highest value
    SOLD_OUT = "sold_out"  # no stock or budget in any alternative
    TIMED_OUT = "timed_out"  # the reservation came too late


class Shortage(StrEnum):
    """What a coupon lacks when no more of it can be reserved."""

    STOCK = "stock"
    BUDGET = "budget"
    PACING = "pacing"  # the budget has some left, but not for this early


class Passed(StrEnum):
    """Why a coupon that a shopper may get was not the one given; for explanations."""

    NOT_SHORTLISTED = "not_shortlisted"  # max_candidates others were nearer to the shopper, so it was not scored
    OUTRANKED = "outranked"  # another one was worth more
    EXPLORED = "explored"  # another one was drawn by chance, to learn
    NOT_KNOWN = "not_known"  # by what is still known it would have been given
