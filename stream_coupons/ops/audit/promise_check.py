"""Promises to shoppers and marketers, checked on every issue: holdout, pauses, times, spacing, erasures."""

import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import msgpack

from stream_coupons.core.decision import policy
from stream_coupons.core.decision.erasure import STAYS_S
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import ErasureRequest
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka.records import Record
from stream_coupons.ops.audit.catalogue_history import CatalogueHistory
from stream_coupons.ops.audit.coverage_check import ErasedCell
from stream_coupons.ops.audit.findings import Check, Findings
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.ops.audit.terms import began_ms

ERASURE_LAG_MS = 600_000
"""Longest time by which requests of erasure may be read later than events that were appended before them."""
_shopper = msgpack.Decoder(Shopper)


def when(at: float) -> str:
    """Return a time in UTC epoch seconds as ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


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
        about = f"issue {issue.issue_id} of coupon {issue.coupon_id} to {issue.user_id} at {when(issue.issued_at)}"
        self._check_terms(record, issue, about)
        self._check_erasures(record, issue, about)
        self._check_holdout(record, issue, about)
        self._check_rules(record, issue, about)

    def _check_terms(self, record: Record, issue: CouponIssue, about: str) -> None:
        """Check pauses and times by each version of the catalogue that the worker may have known."""
        known = self._history.at(issue.coupon_id, began_ms(record), record.timestamp_ms)
        if not known:
            self._findings.skip(Check.PAUSES)
            self._findings.skip(Check.VALIDITY)
            return
        is_paused = all(terms.is_paused for terms in known)
        fault = f"{about}: the coupon or its campaign is paused or withdrawn, expected none" if is_paused else None
        self._findings.judge(Check.PAUSES, record, fault)
        fault = None
        if not any(terms.start <= issue.issued_at < terms.end for terms in known):
            fault = f"{about}: expected {_text(known[-1].start)} <= time < {_text(known[-1].end)}"
        self._findings.judge(Check.VALIDITY, record, fault)

    def _check_erasures(self, record: Record, issue: CouponIssue, about: str) -> None:
        """Check that no event of before an erasure that was appended after it led to an issue."""
        forgotten = [one for one in self._erased.get(issue.user_id, ()) if issue.issued_at <= one[0]]
        later_ms = max((began_ms(record) - appended_ms for _, appended_ms, _ in forgotten), default=-1)
        if 0 < later_ms <= ERASURE_LAG_MS:
            self._findings.skip(Check.ERASURES)
            return
        fault = (
            f"{about}: the shopper was erased up to {when(forgotten[0][0])}, expected none" if later_ms > 0 else None
        )
        self._findings.judge(Check.ERASURES, record, fault)

    def _check_holdout(self, record: Record, issue: CouponIssue, about: str) -> None:
        if began_ms(record) < self._promised.both_since_ms:
            self._findings.skip(Check.HOLDOUT)
            return
        is_holdout = policy.is_holdout(issue.user_id, self._policy, self._promised.rules.key)
        fault = f"{about}: the shopper is in the holdout, expected no coupon" if is_holdout else None
        self._findings.judge(Check.HOLDOUT, record, fault)

    def _check_rules(self, record: Record, issue: CouponIssue, about: str) -> None:
        """Check cooldown and frequency cap."""
        rules, at, shopper = self._policy, issue.issued_at, hash(issue.user_id)
        recent = self._recent.get(shopper, ())
        self._recent[shopper] = (*recent, at)[-rules.max_issues_per_window :]
        if began_ms(record) < self._promised.since_ms:
            for check in (Check.COOLDOWN, Check.FREQUENCY):
                self._findings.skip(check)
            return
        is_erased = issue.user_id in self._erased
        remembered_s = STAYS_S if is_erased or self._promised.rules.profile.forget_after_s else math.inf
        if is_erased or rules.cooldown_s > remembered_s:
            self._findings.skip(Check.COOLDOWN)
        else:
            is_early = bool(recent) and at < recent[-1] + rules.cooldown_s
            fault = f"{about}: expected {rules.cooldown_s:g} s after {when(recent[-1])}" if is_early else None
            self._findings.judge(Check.COOLDOWN, record, fault)
        zone = self._promised.rules.shop.time_zone
        if rules.issue_window_s > remembered_s:
            self._findings.skip(Check.FREQUENCY)
        else:
            counts = IssueCounts() if math.isfinite(remembered_s) else self._counts[shopper]
            is_over = policy.is_over_frequency_cap(recent, counts, at, rules, zone)
            most = f"{rules.max_issues_per_window} coupons in {rules.issue_window_s:g} s"
            most = " or ".join([most, *map(str, rules.caps)])
            self._findings.judge(
                Check.FREQUENCY,
                record,
                f"{about}: the shopper had {most} before it, expected no more" if is_over else None,
            )
        if rules.caps:
            self._counts[shopper].note(issue.coupon_id, issue.campaign_id, local_time(at, zone))

    def end(self, cells: Mapping[bytes, ErasedCell | None]) -> None:
        """Check the states of erased shoppers.

        Parameters
        ----------
        cells : mapping
            Their latest state records, by key.
        """
        for user_id, requests in self._erased.items():
            cell = cells.get(user_id.encode())
            applied = [at for at, _, offset in requests if cell is not None and offset <= cell.applied]
            if cell is None or not applied:
                self._findings.skip(Check.ERASURES)
                continue
            fault = _state_fault(_shopper.decode(cell.state), max(applied))
            if fault is None:
                self._findings.passed(Check.ERASURES)
            else:
                self._findings.violate(Check.ERASURES, cell.place, f"the state of {user_id} {fault}")


def _state_fault(shopper: Shopper, erased_at: float) -> str | None:
    """Return what the state of a shopper keeps of the time before an erasure, if anything."""
    profile = shopper.profile
    if shopper.erased_at is None or shopper.erased_at < erased_at:
        return f"does not say that they were erased up to {when(erased_at)}, expected that"
    kept = [at for at in (profile.last_event_at, *profile.ordered_at.values(), *profile.price_times[:1]) if at]
    if min(kept, default=math.inf) > shopper.erased_at:
        return None
    return f"has an event of {when(min(kept))}, expected none up to their erasure at {when(shopper.erased_at)}"


def _text(at: float) -> str:
    return when(at) if math.isfinite(at) else "any time"
