"""Closed sets of reason codes: metric labels, dead-letter headers and answers to "why not?"."""

from enum import StrEnum


class Rejection(StrEnum):
    """Reasons why a record goes to dead-letters."""

    NOT_JSON = "not_json"
    """The value is truncated, not UTF-8, contains NaN, is nested too deep, or is empty. Fix: the producer."""
    INVALID = "invalid"
    """The value is JSON, but a field is missing, of the wrong type or range, or contradicts the state: see `detail`.
    Fix: the producer; nothing to fix where it is a `feature_schema` of an earlier release."""
    UNKNOWN_VERSION = "unknown_version"
    """The `schema_version` is not 1. Fix: the producer, or update the workers."""
    TOO_LARGE = "too_large"
    """The record exceeds 1 MiB, its batch unpacks to more than 64 MiB, a number exceeds 64 bits, or the state of its
    key would outgrow a record: see `detail`. Fix: the producer."""
    FROM_THE_FUTURE = "from_the_future"
    """`occurred_at` is more than `profile.max_ahead_s` after the arrival; of feedback, more than
    `attribution.max_ahead_s`. Fix: the producer's clock."""
    NO_KEY = "no_key"
    """The record has no key. Fix: the producer."""
    WRONG_KEY = "wrong_key"
    """The record's key is not the id inside the message. Fix: the producer."""
    WRONG_PARTITION = "wrong_partition"
    """The record is not in the partition of its key by murmur2. Fix: the producer's partitioner."""
    NOT_SIGNED = "not_signed"
    """A lease or a lease report without a signature by the group's secret: no agent sent it, or one before the secret
    was changed. Fix: take the right to write to `coupon-leases` and `lease-reports` from its producer."""
    UNKNOWN_ISSUE = "unknown_issue"
    """Feedback on a coupon that this shopper was never issued. Fix: the producer of feedback."""
    WRONG_COUPON = "wrong_coupon"
    """Feedback whose `coupon_id` is not that of the issue. Fix: the producer of feedback."""
    WRONG_CODE = "wrong_code"
    """Feedback whose `code` is not that of the issue: mistyped, or another shopper's. Fix: the producer of feedback."""
    WRONG_CURRENCY = "wrong_currency"
    """The event's `currency` is not that of its domain by `shop.currencies`. Fix: the producer, or the setting."""
    LATE = "late"
    """Feedback after the coupon's window and grace. Reports of money are booked for `attribution.late_s` more, on the
    last 32 coupons of a shopper; a later one is money that is not booked. Fix: the producer of feedback, or raise
    `attribution.grace_s` or `attribution.late_s`."""
    STEP_FAILED = "step_failed"
    """The engine's code raised on this record; nothing of it was applied. Fix: stream_coupons, this is a bug: keep the
    record and report it."""


class Ineligible(StrEnum):
    """Reasons why a coupon is no candidate for a shopper at a moment."""

    NOT_YET_VALID = "not_yet_valid"
    """The coupon's `valid_from` is later."""
    PAUSED = "paused"
    """The coupon or its campaign is paused."""
    DRAFT = "draft"
    """The campaign is a draft."""
    STAGED = "staged"
    """The campaign is staged: decisions only record which of its coupons they would have given."""
    APPROVED = "approved"
    """The campaign is approved, but not launched."""
    HELD = "held"
    """The campaign is held."""
    ENDED = "ended"
    """The campaign was ended."""
    ARCHIVED = "archived"
    """The campaign is archived."""
    NOT_APPROVED = "not_approved"
    """The campaign lacks valid signatures of `approval.required` operators: nobody gave them, or the campaign or one of
    its coupons was changed afterwards. Or the coupon has no campaign."""
    OUTSIDE_RAMP = "outside_ramp"
    """The campaign is ramped up, and the shopper is not among its `ramp_ratio` of the shoppers yet."""
    EXPIRED = "expired"
    """The coupon's `valid_until` has passed."""
    NOT_AT_THIS_HOUR = "not_at_this_hour"
    """The shopper's clock shows none of the coupon's `weekdays` and hours, or of its campaign's."""
    OTHER_CHANNEL = "other_channel"
    """The trigger's `channel` is none of the coupon's `channels`."""
    SHOPPER_CAP = "shopper_cap"
    """The shopper got this coupon as often as its `caps` allow for now."""
    CAMPAIGN_CAP = "campaign_cap"
    """The shopper got as many coupons of the campaign as its `caps` allow for now."""
    ALREADY_HELD = "already_held"
    """The shopper holds this coupon, or one of an overlapping scope: see the coupon's `not_while_held`."""
    EXCLUSION_GROUP = "exclusion_group"
    """The shopper holds another coupon of its `exclusion_group`."""
    ALREADY_ORDERED = "already_ordered"
    """Every item that the coupon is for was ordered within `policy.reorder_suppress_s`."""
    CAMPAIGN_HOLDOUT = "campaign_holdout"
    """The shopper is in the campaign's holdout (`holdout_ratio`), which gets none of its coupons."""
    RULE = "rule"
    """A clause of the `eligible_if` of the coupon, or of its campaign, is not true for this shopper and trigger."""


class NoCoupon(StrEnum):
    """Reasons why a trigger leads to no coupon-issue."""

    COOLDOWN = "cooldown"
    """The shopper was considered less than `policy.cooldown_s` ago."""
    REPEATED = "repeated"
    """The trigger led to a coupon already, longer ago than event ids are remembered."""
    FREQUENCY_CAP = "frequency_cap"
    """The shopper got `policy.max_issues_per_window` coupons within `policy.issue_window_s`, or as many as
    `policy.caps` allow for now."""
    QUIET_HOURS = "quiet_hours"
    """The hour is quiet."""
    NO_CANDIDATE = "no_candidate"
    """No coupon is valid and allowed for this shopper."""
    NOT_FINITE = "not_finite"
    """A feature or a prediction is not a finite number: a bug, or a forged message between agents."""
    POLICY_FAILED = "policy_failed"
    """The policy of another package (`policy.strategy`) raised, or returned no probabilities: see the worker's log."""
    HOLDOUT = "holdout"
    """A coupon was worth giving, but the shopper belongs to the permanent control group."""
    CONTROL = "control"
    """Chance withheld the coupon that was chosen, to observe shoppers without it (`policy.control_ratio`)."""
    LIFT_BELOW_ZERO = "lift_below_zero"
    """Coupons lose money by the measured lift of the domain, and the shopper is not among the few who go on getting
    some to show a recovery (`policy.brake_probe_ratio`)."""
    NOT_WORTH_IT = "not_worth_it"
    """No coupon was worth more than giving none."""
    SOLD_OUT = "sold_out"
    """No coupon that the shopper may get had stock and budget left in the shopper's partition."""
    NEW_SHOPPERS = "new_shoppers"
    """Stock and budget were left, but new shoppers had drawn their share of the hour (`policy.new_shopper_ratio`)."""
    TIMED_OUT = "timed_out"
    """The trigger was older than `policy.trigger_timeout_s` at decision time."""


class Shortage(StrEnum):
    """Resources whose lack ends the issues of a coupon."""

    STOCK = "stock"
    """All units, or all imported codes, are given or held."""
    BUDGET = "budget"
    """All money is spent or held."""
    NEW_SHOPPERS = "new_shoppers"
    """The shopper is new, and new shoppers have drawn their share of this hour."""
    SPENT = "spent"
    """The whole budget is spent. It pauses by itself until it is raised, or money comes back."""


class Passed(StrEnum):
    """Reasons why a coupon that a shopper may get was not the one given; for explanations."""

    NOT_SHORTLISTED = "not_shortlisted"
    """`policy.max_candidates` other coupons are closer to the shopper's interests, so it was not scored."""
    HARDLY_KNOWN = "hardly_known"
    """The shopper is hardly known and did not turn to what the coupon is for, so that its value was cut."""
    PRICED_OUT = "priced_out"
    """The coupon was worth more than giving none, but not more than the price of its budgets."""
    OUTRANKED = "outranked"
    """Another coupon was worth more, less the price of its budgets."""
    PRIORITY = "priority"
    """A coupon of a higher `priority` was worth giving."""
    EXPLORED = "explored"
    """Another coupon was drawn by chance, to learn."""
