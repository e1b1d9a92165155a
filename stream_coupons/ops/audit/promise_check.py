"""Promises to shoppers and marketers on every issue: holdout, states, times, spacing, erasures."""

import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import msgpack

from stream_coupons.core.catalogue.campaign_states import is_outside_ramp
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.campaign_holdout import is_left_out
from stream_coupons.core.decision.erasure import STAYS_S
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import ErasureRequest
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka.records import Record
from stream_coupons.ops.audit.catalogue_history import CatalogueHistory, Version
from stream_coupons.ops.audit.coverage_check import ErasedCell
from stream_coupons.ops.audit.findings import NOT_JUDGED, Check, Findings
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.ops.audit.terms import began_ms

ERASURE_LAG_MS = 600_000
"""Longest time by which requests of erasure may be read later than events that were appended before them."""
CLOCKS_DIFFER_S = 60.0
"""Longest time by which the clocks of workers and brokers may differ."""
_shopper = msgpack.Decoder(Shopper)


def when(at: float) -> str:
    """Return a time in UTC epoch seconds as ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if math.isfinite(at) else "any time"


class PromiseCheck:
    """Checks issues against rules, catalogue and erasures; read these first, then issues, each once."""

    def __init__(self, promised: PromisedRules, history: CatalogueHistory, findings: Findings) -> None:
        self._promised = promised
        self._policy = promised.rules.policy
        self._history = history
        self._findings = findings
        self._erased: defaultdict[str, list[tuple[float, int, int]]] = defaultdict(list)
        """By shopper, requests of erasure: the time up to which all is forgotten, append time (ms), offset."""
        self._recent: dict[int, tuple[float, ...]] = {}
        self._counts: defaultdict[int, IssueCounts] = defaultdict(IssueCounts)
        """By shopper, if the shop has caps."""

    def erase(self, record: Record, request: ErasureRequest) -> None:
        """Take in a request of erasure that was not refused."""
        at = request.occurred_at if record.appended_at is None else min(request.occurred_at, record.appended_at)
        self._erased[request.user_id].append((at, record.timestamp_ms, record.offset))

    def issue(self, record: Record, issue: CouponIssue) -> None:
        """Check an issue."""
        began, shopper, rules = began_ms(record), hash(issue.user_id), self._policy
        known = self._history.at(issue.coupon_id, began, record.timestamp_ms)
        recent, key = self._recent.get(shopper, ()), self._promised.rules.key
        self._recent[shopper] = (*recent, issue.issued_at)[-rules.max_issues_per_window :]
        faults = {
            Check.STATES: _stop_fault(known, issue.user_id, None if began < self._promised.both_since_ms else key),
            Check.VALIDITY: _validity_fault(known, issue.issued_at),
            Check.ERASURES: self._erasure_fault(issue, began),
        }
        if began < self._promised.both_since_ms:
            faults |= dict.fromkeys((Check.HOLDOUT, Check.PROPENSITIES), NOT_JUDGED)
        else:
            faults |= self._secret_faults(issue, known)
        if began < self._promised.since_ms:
            faults |= dict.fromkeys((Check.COOLDOWN, Check.FREQUENCY), NOT_JUDGED)
        else:
            faults |= self._spacing_faults(issue, recent)
        for check, fault in faults.items():
            if fault and fault is not NOT_JUDGED:
                about = f"issue {issue.issue_id} of coupon {issue.coupon_id} to {issue.user_id}"
                fault = f"{about} at {when(issue.issued_at)}: {fault}"
            self._findings.judge(check, record, fault)

    def _erasure_fault(self, issue: CouponIssue, began: int) -> str | None:
        """Return a fault if an event of before an erasure that was appended after it led to an issue."""
        forgotten = [one for one in self._erased.get(issue.user_id, ()) if issue.issued_at <= one[0] and one[1] < began]
        if not forgotten:
            return None
        if began - min(one[1] for one in forgotten) <= ERASURE_LAG_MS:
            return NOT_JUDGED
        return f"the shopper was erased up to {when(forgotten[0][0])}, expected none"

    def _secret_faults(self, issue: CouponIssue, known: list[Version]) -> dict[Check, str | None]:
        """Return the faults by the draws of shopper and trigger, whether the decision is on record or not."""
        rules, key = self._policy, self._promised.rules.key
        is_holdout, draw = policy.is_holdout(issue.user_id, rules, key), policy.draw(issue.issue_id, rules, key)
        # How sure the value was is on record with the decision, if at all; it was withheld at least where it is sure.
        is_withheld = draw.control < policy.control_bounds(rules)[0]
        expected = "no coupon" if is_withheld else str(draw.is_explored)
        is_as_drawn = issue.is_explored == draw.is_explored and not is_withheld
        drawn = f"is_explored is {issue.is_explored}, expected {expected} by the secret"
        ratio, of_holdout = min((one.holdout_ratio for one in known), default=0.0), None
        if is_holdout:
            of_holdout = "the shopper is in the holdout, expected no coupon"
        elif ratio and is_left_out(issue.user_id, issue.campaign_id or "", ratio, key):
            of_holdout = (
                f"the shopper is in the holdout of campaign {issue.campaign_id}, expected another coupon or none"
            )
        return {
            Check.HOLDOUT: of_holdout,
            Check.PROPENSITIES: None if is_as_drawn else drawn,
        }

    def _spacing_faults(self, issue: CouponIssue, recent: tuple[float, ...]) -> dict[Check, str | None]:
        """Return the faults by cooldown and frequency cap; both are forgotten with a shopper's state."""
        rules, is_erased = self._policy, issue.user_id in self._erased
        remembered_s = STAYS_S if is_erased or self._promised.rules.profile.forget_after_s else math.inf
        cooldown = frequency = None
        if recent and issue.issued_at < recent[-1] + rules.cooldown_s:
            cooldown = f"expected {rules.cooldown_s:g} s after {when(recent[-1])}"
        zone, shopper = self._promised.rules.shop.time_zone, hash(issue.user_id)
        counts = IssueCounts() if math.isfinite(remembered_s) else self._counts[shopper]
        if policy.is_over_frequency_cap(recent, counts, issue.issued_at, rules, zone):
            most = f"{rules.max_issues_per_window} coupons in {rules.issue_window_s:g} s"
            most = " or ".join([most, *map(str, rules.caps)])
            frequency = f"the shopper had {most} before it, expected no more"
        if rules.caps:
            counts.note(issue.coupon_id, issue.campaign_id, local_time(issue.issued_at, zone))
        return {
            Check.COOLDOWN: NOT_JUDGED if is_erased or rules.cooldown_s > remembered_s else cooldown,
            Check.FREQUENCY: NOT_JUDGED if rules.issue_window_s > remembered_s else frequency,
        }

    def end(self, cells: Mapping[bytes, ErasedCell | None]) -> None:
        """Check the states of erased shoppers, by their latest state records by key."""
        for user_id, requests in self._erased.items():
            cell = cells.get(user_id.encode())
            applied = [at for at, _, offset in requests if cell is not None and offset <= cell.applied]
            if cell is None or not applied:
                self._findings.skip(Check.ERASURES)
                continue
            fault = _state_fault(_shopper.decode(cell.state), max(applied))
            self._findings.judge(Check.ERASURES, cell.record, fault and f"the state of {user_id} {fault}")


def _stop_fault(known: list[Version], user_id: str, key: DrawKey | None) -> str | None:
    """Return a fault if a coupon is kept from a shopper in each version that the worker may have known.

    Without the key of that time, a shopper counts as one within the ramp.
    """
    if not known:
        return NOT_JUDGED
    stops = {one.stop for one in known if one.stop}
    open_ = [one.ramped for one in known if not one.stop]
    if open_ and (key is None or any(one is None or not is_outside_ramp(one, user_id, key) for one in open_)):
        return None
    state = " or ".join(sorted(stops | {f"ramped up to {one.ramp_ratio:.0%} without them" for one in open_ if one}))
    return f"the coupon or its campaign is {state}, expected none"


def _validity_fault(known: list[Version], at: float) -> str | None:
    """Return a fault if a coupon is out of its time in each version that the worker may have known."""
    if not known:
        return NOT_JUDGED
    if any(terms.start <= at < terms.end for terms in known):
        return None
    return f"expected {when(known[-1].start)} <= time < {when(known[-1].end)}"


def _state_fault(shopper: Shopper, erased_at: float) -> str | None:
    """Return what the state of a shopper keeps of the time before an erasure, if anything."""
    profile = shopper.profile
    if shopper.erased_at is None or shopper.erased_at < erased_at:
        return f"does not say that they were erased up to {when(erased_at)}, expected that"
    kept = [at for at in (profile.last_event_at, *profile.ordered_at.values(), *profile.price_times[:1]) if at]
    if min(kept, default=math.inf) > shopper.erased_at:
        return None
    return f"has an event of {when(min(kept))}, expected none up to their erasure at {when(shopper.erased_at)}"
