"""Answers to questions about a running system, as the HTTP API and the tools for MCP clients give them."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from stream_coupons.cli.dlq import row_of
from stream_coupons.cli.options import parse_time
from stream_coupons.core.errors import BadConfig, BrokerAway
from stream_coupons.core.messages.campaign_changes import CampaignChange, CampaignVerb
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka.records import Record
from stream_coupons.ops import campaign_verbs
from stream_coupons.ops.audit.audit_topics import read_records
from stream_coupons.ops.campaign_life import TRANSITIONS
from stream_coupons.ops.campaign_lift import campaign_lifts, verdict, with_lift
from stream_coupons.ops.campaign_states import CampaignState
from stream_coupons.ops.explain.explanation import IssueExplanation, ShopperExplanation, explain_issue
from stream_coupons.ops.explain.from_topics import Unknown, issue_explained, shopper_explained
from stream_coupons.ops.results import By, ResultFilter, ResultRow, rows_of
from stream_coupons.ops.status import SystemState
from stream_coupons.secret import require_workers_key
from stream_coupons.settings import Settings
from stream_coupons_console.api.past import kept_issues, newest_records, reading
from stream_coupons_console.api.problems import Conflict
from stream_coupons_console.index import Index
from stream_coupons_console.web import campaigns, money
from stream_coupons_console.web.now import StatusReader

ResultView = msgspec.defstruct(
    "ResultView",
    [*((one.name, one.type) for one in fields(ResultRow))]
    + [(f"over_control_{name}", float | None, None) for name in ("value", "low", "high")],
    namespace={"__doc__": "A row of `stream-coupons results --json`."},
    module="msgspec",  # it has no source from which docstrings of its fields are read
)


class ShopperCoupon(Struct, frozen=True):
    """A coupon of a shopper."""

    issue: CouponIssue
    """The issue, as it was sent."""
    is_open: bool
    """True if it can still be used, as far as the console has read feedback."""
    feedback: dict[str, float]
    """Time of the first feedback of each kind, UTC epoch seconds."""


class ShopperCoupons(Struct, frozen=True):
    """Coupons of a shopper, the newest first."""

    user_id: str
    """The shopper."""
    coupons: list[ShopperCoupon]
    """Open and recent ones."""


class CampaignDetails(Struct, frozen=True):
    """A campaign with what may be done with it, and what was."""

    state: CampaignState
    """The campaign, and what it has spent."""
    verbs: list[CampaignVerb]
    """Verbs that its state allows."""
    signers: list[str]
    """Names of those who have validly signed it as it is."""
    changes: list[CampaignChange]
    """Changes of it, the newest first."""


class CampaignChanged(Struct, frozen=True):
    """Effect of a verb on a campaign."""

    campaign_id: str
    """The campaign."""
    state: str
    """Its state after the verb, in words."""


class SystemView:
    """Answers to questions about a running system.

    Parameters
    ----------
    settings : Settings
        Of the workers.
    index : Index
        What is known of the system.
    status : StatusReader
        Reads what only the broker knows.
    """

    def __init__(self, settings: Settings, index: Index, status: StatusReader) -> None:
        self._settings, self._index, self._status = settings, index, status

    def campaigns(self) -> list[CampaignState]:
        """Return all campaigns with what they have spent, those that run first."""
        return [one.state for one in money.listed_campaigns(self._index, time.time())]

    def campaign(self, campaign_id: str) -> CampaignDetails:
        """Return a campaign.

        Raises
        ------
        Unknown
        """
        state = next((one for one in self.campaigns() if one.campaign.campaign_id == campaign_id), None)
        if state is None:
            raise Unknown(f"no campaign {campaign_id!r} is published")
        own = campaigns.members_of(campaign_id, self._index.coupons)
        return CampaignDetails(
            state=state,
            verbs=[verb for verb in campaigns.VERBS if state.campaign.state in TRANSITIONS[verb]],
            signers=sorted(campaign_verbs.signers_of(state.campaign, own, self._settings.approval)),
            changes=[one for one in self._index.changes if one.campaign_id == campaign_id][::-1],
        )

    async def change_campaign(
        self, campaign_id: str, verb: CampaignVerb, reason: str = "", ratio: float | None = None
    ) -> CampaignChanged:
        """Carry out a verb on a campaign, and return its state; reads that follow include it.

        Parameters
        ----------
        ratio : float or None
            Share of the shoppers to launch to; None for all.

        Raises
        ------
        Unknown, Conflict, BadConfig
        """
        if ratio is not None and verb != "launch":
            raise BadConfig(f"ratio is {ratio}: only launch has one")
        change = campaigns.change_of(verb, ratio, self._settings)
        report = await campaigns.carry_out(campaign_id, verb, change, reason, self._index)
        if campaign_id in report.states:
            return CampaignChanged(campaign_id, report.states[campaign_id])
        fault = f"{campaign_id} {report.faults[campaign_id]}"
        raise Conflict(fault) if campaign_id in self._index.campaigns.entries else Unknown(fault)

    def results(
        self, by: By = "coupon", since: str = "", until: str = "", campaign: str = "", coupon: str = ""
    ) -> list[ResultView]:  # type: ignore[valid-type]
        """Return the results of coupons by day, coupon or campaign.

        Parameters
        ----------
        since, until : str
            As of `stream-coupons results`: a time, or "7d" for a week ago.
        campaign, coupon : str
            Ids; empty for all.

        Raises
        ------
        BadConfig
        """
        begin = parse_time(since, self._settings) if since else -math.inf
        end = parse_time(until, self._settings) if until else math.inf
        if begin > end:
            raise BadConfig(f"since {since} is later than until {until}")
        shop, index = self._settings.shop, self._index
        published = index.campaigns.entries.keys() | index.coupons.entries.keys()
        rows = rows_of(index.result_reports(), by, ResultFilter(campaign, coupon, begin, end), shop, published)
        some = campaign_lifts(index.lifts, shop) if by == "campaign" else []
        lifts = {(one.campaign_id, one.domain): one for one in some}
        return [msgspec.convert(with_lift(row, lifts), ResultView) for row in rows]

    def lift(self) -> dict[str, list[Any]]:
        """Return what coupons add to the margin: of each domain over its control group, of each campaign's holdout."""
        domains = [
            one._asdict() | {"lift": one.lift._asdict(), "verdict": one.verdict}
            for one in money.domain_lifts(self._index)
        ]
        return {
            "domains": domains,
            "campaigns": [
                asdict(one) | {"verdict": verdict(one)}
                for one in campaign_lifts(self._index.lifts, self._settings.shop)
            ],
        }

    async def explain_issue(self, issue_id: str) -> IssueExplanation:
        """Return why a coupon was given and why the others were not: from the index, or else from the topics.

        Raises
        ------
        Unknown
        """
        shown = self._index.shown(issue_id)
        if shown is not None and shown.issue is not None and shown.decision is not None:
            return explain_issue(shown.issue, shown.decision, self._settings.policy)
        found = await reading(issue_explained, issue_id, self._settings, self._read)
        if found.issue.issued_at <= self._index.erased_at(found.issue.user_id):
            raise Unknown(f"issue {issue_id!r} is not known: its shopper asked to be forgotten")
        return found

    async def explain_shopper(self, user_id: str) -> ShopperExplanation:
        """Return what a shopper would get now, and why not the other coupons, by the topics.

        Raises
        ------
        Unknown, BadConfig
        """
        settings, at = self._settings, time.time()
        rules = settings.rules(await reading(require_workers_key, settings))
        return await reading(shopper_explained, user_id, at, settings, rules, None, self._read_all)

    async def coupons_of(self, user_id: str, *, older: bool = False) -> ShopperCoupons:
        """Return the open and recent coupons of a shopper.

        Parameters
        ----------
        older : bool
            True to read the topic, too, which keeps more than the index.
        """
        now, shown = time.time(), self._index.of_shopper(user_id)
        found = {one.decision_id: (one.issue, one.feedback) for one in shown if one.issue is not None}
        if older:
            for issue, _ in await kept_issues(self._settings, self._index, user_id):
                found.setdefault(issue.issue_id, (issue, {}))
        coupons = [
            ShopperCoupon(issue, now < issue.expires_at and "purchase" not in feedback, feedback)
            for issue, feedback in sorted(found.values(), key=lambda one: -one[0].issued_at)
        ]
        return ShopperCoupons(user_id, coupons)

    async def status(self) -> SystemState:
        """Return the state of the system, at most some seconds old.

        Raises
        ------
        BrokerAway
        """
        found = await self._status.read(self._index)
        if isinstance(found, str):
            raise BrokerAway(found)
        return found

    def dead_letters(self, limit: int = 50) -> list[dict[str, Any]]:
        """Return the newest dead letters, the newest first."""
        newest = islice(reversed(self._index.letters.values()), limit)
        return [row_of(one.letter, self._index.sendings.get(one.digest)) | {"bytes": one.value_bytes} for one in newest]

    def _read(self, _what: str, names: tuple[str, ...], key: bytes | None = None) -> Iterator[Record]:
        return newest_records(self._settings.kafka, names, key)

    def _read_all(self, _what: str, names: tuple[str, ...], key: bytes | None = None) -> Iterator[Record]:
        return read_records(self._settings.kafka, names, key)
