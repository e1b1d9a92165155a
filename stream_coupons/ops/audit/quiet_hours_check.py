"""Quiet hours, checked on the clock of each shopper: a trigger may name their time zone."""

from typing import NamedTuple

from stream_coupons.core.catalogue.occasions import zone_of
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.pipeline import KINDS, issue_id
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.profile import DAY_S, HOUR_S
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Record
from stream_coupons.ops.audit.findings import Check, Findings
from stream_coupons.ops.audit.offsets import Retained
from stream_coupons.ops.audit.promise_check import when
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.ops.audit.terms import began_ms

TRIGGERS = (topics.BROWSE, topics.CART, topics.ORDER)


class _Open(NamedTuple):
    """An issue whose trigger was not read yet."""

    record: Record
    issued_at: float
    about: str


class QuietHoursCheck:
    """Checks that no coupon is issued within quiet hours; read all issues, then all triggers."""

    def __init__(self, promised: PromisedRules, retained: Retained, findings: Findings) -> None:
        self._promised = promised
        self._retained = retained
        self._findings = findings
        self._open: dict[str, _Open] = {}
        """By id of the issue."""
        self._decoders = {topic.name: Decoder(topic) for topic in TRIGGERS}

    def issue(self, record: Record, issue: CouponIssue) -> None:
        """Take in an issue that is no copy."""
        rules = self._promised.rules.policy
        if began_ms(record) < self._promised.since_ms:
            self._findings.skip(Check.QUIET_HOURS)
        elif rules.quiet_from_hour == rules.quiet_until_hour:
            self._findings.passed(Check.QUIET_HOURS)
        else:
            about = f"issue {issue.issue_id} of coupon {issue.coupon_id} to {issue.user_id} at {when(issue.issued_at)}"
            self._open[issue.issue_id] = _Open(record._replace(value=b""), issue.issued_at, about)

    def trigger(self, record: Record) -> None:
        """Check the issue of an event, if it led to one."""
        if not self._open or record.topic not in self._decoders:
            return
        try:
            event: ShopEvent = self._decoders[record.topic](record.value)
        except BadMessage:
            return
        if record.key != event.user_id.encode():
            return
        found = self._open.pop(issue_id(event.user_id, KINDS[type(event)], event.event_id), None)
        if found is None:
            return
        is_imputed = "time_zone" in self._promised.rules.profile.context_policies
        if is_imputed and event.context.get("time_zone") is None:
            self._findings.skip(Check.QUIET_HOURS)
        else:
            self._judge(found, zone_of(event.context, self._promised.rules.shop.time_zone))

    def end(self) -> None:
        """Check the issues whose triggers are not there; those of which retention has dropped them are skipped."""
        for found in self._open.values():
            record, began = found.record, began_ms(found.record)
            if any(self._retained.may_have_lost(topic.name, record.partition, began) for topic in TRIGGERS):
                self._findings.skip(Check.QUIET_HOURS)
            else:
                self._judge(found, self._promised.rules.shop.time_zone)
        self._open.clear()

    def _judge(self, found: _Open, zone: str) -> None:
        rules, record = self._promised.rules.policy, found.record
        is_quiet = policy.is_quiet(found.issued_at, rules, zone)
        is_quiet |= _is_all_quiet(began_ms(record), record.timestamp_ms, rules, zone)
        hours = f"{rules.quiet_from_hour:g} and {rules.quiet_until_hour:g} in {zone}"
        fault = f"{found.about}: expected none between the hours {hours}" if is_quiet else None
        self._findings.judge(Check.QUIET_HOURS, record, fault)


def _is_all_quiet(began_ms_: int, appended_ms: int, rules: PolicyRules, zone: str) -> bool:
    """Return True if all of the time in which an issue was decided is within quiet hours.

    Clocks that are put forward shorten the hours that are not quiet by one.
    """
    loud_s = (rules.quiet_from_hour - rules.quiet_until_hour) * HOUR_S % DAY_S
    loud_s -= 0.0 if zone == "UTC" else HOUR_S
    began, appended = began_ms_ / 1000, appended_ms / 1000
    return policy.is_quiet(began, rules, zone) and policy.is_quiet(appended, rules, zone) and appended - began < loud_s
