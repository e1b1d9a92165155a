"""Stock, caps and holds of every issue, by the terms that were known when it was decided."""

from collections import Counter
from collections.abc import Callable

from stream_coupons.core.caps import Cap
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.money.accounts import budgets_of, campaign_of, units_of
from stream_coupons.core.shopper.issue_counts import numbers_of
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import CAMPAIGNS, CATALOG
from stream_coupons.ops.audit.findings import Check, Findings, place_of
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.ops.audit.terms import KnownTerms, began_ms


class IssueCheck:
    """Checks that an issue is within stock and caps, and holds what its budgets ask for.

    Parameters
    ----------
    promised : PromisedRules
        Has the time zone of the shop, in which the periods of caps begin.
    """

    def __init__(self, known: KnownTerms, findings: Findings, promised: PromisedRules) -> None:
        self._promised = promised
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
        self._check_caps(record, issue)
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

    def _check_caps(self, record: Record, issue: CouponIssue) -> None:
        """Check the caps of the coupon and of its campaign, by the calendar of the shop."""
        capped = {units_of(issue.coupon_id): f"coupon {issue.coupon_id}"}
        if issue.campaign_id is not None:
            capped[campaign_of(issue.campaign_id)] = f"coupons of campaign {issue.campaign_id}"
        known = [(one, self._known.caps.get(one)) for one in capped]
        if any(caps is None or began_ms(record) < caps.since_ms for _, caps in known):
            self._findings.skip(Check.CAPS)
            return
        numbers, is_fine = numbers_of(local_time(issue.issued_at, self._promised.rules.shop.time_zone)), True
        has_zone, is_known = began_ms(record) >= self._promised.since_ms, True
        for one, caps in known:
            for per, most in caps.most.items() if caps is not None else ():
                if most is None:
                    continue
                if per != "life" and not has_zone:
                    is_known = False
                    continue
                # Workers count what they gave under a cap: what came before there was one is not counted here either.
                key = hash((one, issue.user_id, per, numbers[per]))
                self._given[key] += 1
                if self._given[key] == most + 1:
                    is_fine = False
                    given = f"{capped[one]} {most + 1} times to {issue.user_id} with {issue.issue_id}"
                    detail = f"{given}, expected at most {Cap(per=per, n=most)}"
                    self._findings.violate(Check.CAPS, place_of(record), detail)
        if is_fine and is_known:
            self._findings.passed(Check.CAPS)
        elif is_fine:
            self._findings.skip(Check.CAPS)

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
