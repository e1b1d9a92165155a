"""Stock, caps and holds of every issue, by the terms that were known when it was decided."""

from collections import Counter
from collections.abc import Callable

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.money.accounts import budgets_of, units_of
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import CAMPAIGNS, CATALOG
from stream_coupons.ops.audit.findings import Check, Findings, place_of
from stream_coupons.ops.audit.terms import KnownTerms, began_ms


class IssueCheck:
    """Checks that an issue is within stock and cap, and holds what its budgets ask for."""

    def __init__(self, known: KnownTerms, findings: Findings) -> None:
        self._known = known
        self._findings = findings
        self._issued: Counter[str] = Counter()
        self._given: Counter[int] = Counter()
        self._coded: dict[str, str] = {}
        """Issue of each code."""
        self._sold_out: dict[str, tuple[str, str]] = {}

    def issue(self, record: Record, issue: CouponIssue, home: int) -> None:
        """Check an issue in its shopper's partition; every issue once."""
        self._issued[issue.coupon_id] += 1
        self._known.take_issue(issue, home)
        self._check_stock(record, issue, home)
        self._check_cap(record, issue)
        self._check_hold(record, issue, home)
        self._check_code(record, issue)

    def _check_stock(self, record: Record, issue: CouponIssue, home: int) -> None:
        coupon_id = issue.coupon_id
        terms = self._known.at(units_of(coupon_id), home, began_ms(record))
        if self._known.never_had(units_of(coupon_id), CATALOG.name):
            detail = f"coupon {coupon_id} of issue {issue.issue_id} was never in the catalogue"
            self._findings.violate(Check.STOCK, place_of(record), detail)
        if terms is None:
            self._findings.skip(Check.STOCK)
            return
        count = self._issued[coupon_id]
        if terms.most is None or count <= terms.most or coupon_id in self._sold_out:
            self._findings.passed(Check.STOCK)
        else:
            detail = f"coupon {coupon_id}: {count} issued with {issue.issue_id}, expected at most {terms.most}"
            self._sold_out[coupon_id] = place_of(record), detail

    def _check_cap(self, record: Record, issue: CouponIssue) -> None:
        coupon_id, cap = issue.coupon_id, self._known.caps.get(issue.coupon_id)
        if cap is None or began_ms(record) < cap.since_ms:
            self._findings.skip(Check.CAPS)
            return
        if cap.max_per_user is None:
            self._findings.passed(Check.CAPS)
            return
        # Workers count what they gave under a cap: what came before the coupon had one is not counted here either.
        pair = hash((coupon_id, issue.user_id))
        self._given[pair] += 1
        if self._given[pair] != cap.max_per_user + 1:
            self._findings.passed(Check.CAPS)
            return
        given = f"{self._given[pair]} times to {issue.user_id} with {issue.issue_id}"
        detail = f"coupon {coupon_id} {given}, expected at most {cap.max_per_user}"
        self._findings.violate(Check.CAPS, place_of(record), detail)

    def _check_code(self, record: Record, issue: CouponIssue) -> None:
        if issue.code is None:
            return
        other = self._coded.setdefault(issue.code, issue.issue_id)
        if other == issue.issue_id:
            self._findings.passed(Check.CODES)
        else:
            detail = f"issue {issue.issue_id} has the code of issue {other}, expected one of its own"
            self._findings.violate(Check.CODES, place_of(record), detail)

    def _check_hold(self, record: Record, issue: CouponIssue, home: int) -> None:
        """Check that an issue holds what its budgets ask for."""
        account_ids = budgets_of(issue.coupon_id, issue.campaign_id)
        known = [(one, self._known.at(one, home, began_ms(record))) for one in account_ids]
        if issue.campaign_id is not None and self._known.never_had(account_ids[-1], CAMPAIGNS.name):
            detail = f"campaign {issue.campaign_id} of issue {issue.issue_id} was never in {CAMPAIGNS.name}"
            self._findings.violate(Check.BUDGET, place_of(record), detail)
        held, most = issue.held_minor, issue.max_discount_minor
        asking = [account_id for account_id, terms in known if terms is not None and terms.holds_most]
        about = f"issue {issue.issue_id} of coupon {issue.coupon_id} holds {held}"
        if held > most:
            detail = f"{about}, expected at most the {most} that it can cost"
            self._findings.violate(Check.BUDGET, place_of(record), detail)
        elif held < most and asking:
            detail = f"{about}, expected the {most} that it can cost: {asking[0]} holds the maximum"
            self._findings.violate(Check.BUDGET, place_of(record), detail)
        elif any(terms is None for _, terms in known):
            self._findings.skip(Check.BUDGET)
        else:
            self._findings.passed(Check.BUDGET)

    def end(self, has_known_terms: Callable[[str], bool]) -> None:
        """Judge the coupons that were issued beyond their stock.

        Parameters
        ----------
        has_known_terms : callable
            Returns whether all that was ever leased and given of an account was so under known terms.
        """
        for coupon_id, (place, detail) in self._sold_out.items():
            if has_known_terms(units_of(coupon_id)):
                self._findings.violate(Check.STOCK, place, detail)
            else:
                self._findings.skip(Check.STOCK)
