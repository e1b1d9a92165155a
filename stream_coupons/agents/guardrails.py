"""The actor of guardrails: follows campaigns, their changes and their results, and stops those beyond a limit.

It belongs to the learner, so one process of a system acts. An action is a change in `campaign-changes` and the
campaign's record. A crash between the two leaves a change that is not in effect; the campaign still runs then, so it is
stopped again.

**An operator has the last word.** A guardrail that acted, and whose campaign was resumed, does not act again until the
campaign is pushed or launched. That is derived from `campaign-changes`, so a restart does not forget it.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from stream_coupons.core.decision.guardrails import CampaignResults, first_breach
from stream_coupons.core.decision.live_lift import is_whole, measure
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.local_time import local_time
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.campaign_changes import CampaignChange
from stream_coupons.core.messages.catalogue import Campaign, CampaignState, Guardrail, GuardrailAction
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.rules import ShopRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, with_values
from stream_coupons.kafka.records import Output

log = logging.getLogger(__name__)

STATES: Mapping[GuardrailAction, CampaignState] = {"hold": "held", "pause": "paused"}
RUNS = ("ramp", "running")
"""States in which a guardrail may act."""
IN_FLIGHT_S = 5.0
"""Time for which a campaign is left alone whose record is not that of its last change: one of the two is on the way."""
NAME = "guardrail"
"""Operator of its changes."""


class FollowedCampaign(NamedTuple):
    """A campaign's record: its key, the campaign unless it is removed or unreadable, and the bytes."""

    campaign_id: str
    campaign: Campaign | None
    value: bytes


class Action(NamedTuple):
    """A change by a guardrail, and the record that it is based on."""

    change: CampaignChange
    before: FollowedCampaign
    after: Campaign

    @property
    def metric(self) -> str:
        """Metric of the guardrail."""
        return self.change.guardrail.metric if self.change.guardrail else ""

    def record(self) -> Output:
        """Return the campaign's record after the change: all fields but the state stay byte for byte."""
        value = with_values(self.before.value, self.after, ["state"])
        return Output(topics.CAMPAIGNS.name, 0, self.before.campaign_id.encode(), value)


class Guard:
    """Keeps what guardrails are read from; `due` returns the actions of campaigns with news.

    Parameters
    ----------
    shop : ShopRules
        Time zone and currencies.

    Attributes
    ----------
    knows_all : callable
        Returns True once all records that were there at the start are taken. Nothing is due before.
    """

    def __init__(self, shop: ShopRules) -> None:
        self.knows_all: Callable[[], bool] = lambda: False
        self._shop = shop
        self._campaigns: dict[str, FollowedCampaign] = {}
        self._lifts: LatestReports[LiftTotals] = LatestReports()
        self._reports: LatestReports[ResultTotals] = LatestReports()
        self._results: defaultdict[str, dict[str, CampaignResults]] = defaultdict(dict)
        self._today = 0
        self._acted: defaultdict[str, list[Guardrail]] = defaultdict(list)
        """Guardrails that acted since the campaign was pushed or launched."""
        self._overruled: defaultdict[str, list[Guardrail]] = defaultdict(list)
        """Guardrails after whose action the campaign was resumed."""
        self._last: dict[str, Campaign | None] = {}
        """The campaign after its last change."""
        self._read_at: dict[str, float] = {}
        """Monotonic time at which a record or a change of the campaign was read."""
        self._news: set[str] = set()
        self._decode_campaign, self._decode_change = Decoder(topics.CAMPAIGNS), Decoder(topics.CAMPAIGN_CHANGES)

    def read_campaign(self, key: bytes | None, value: bytes | None) -> FollowedCampaign | None:
        """Return the campaign in a record; one that is removed or cannot be read is not acted on."""
        name = (key or b"").decode(errors="replace")
        try:
            campaign: Campaign = self._decode_campaign(value)
        except BadMessage:
            return FollowedCampaign(name, None, b"")
        return FollowedCampaign(name, campaign if campaign.campaign_id == name else None, value or b"")

    def read_change(self, key: bytes | None, value: bytes | None) -> CampaignChange | None:
        """Return the change in a record; None if it is none."""
        try:
            change: CampaignChange = self._decode_change(value, topics.CAMPAIGN_CHANGES.max_message_bytes)
        except BadMessage as bad:
            log.error("%s: key %r is refused: %s", topics.CAMPAIGN_CHANGES.name, key, bad)
            return None
        return change

    def take_campaign(self, followed: FollowedCampaign) -> None:
        """Take in a campaign's record."""
        self._campaigns[followed.campaign_id] = followed
        self._read_at[followed.campaign_id] = time.monotonic()
        self._news.add(followed.campaign_id)

    def take_change(self, change: CampaignChange) -> None:
        """Take in a change: which guardrails acted, and which were overruled."""
        self._last[change.campaign_id] = change.after
        self._read_at[change.campaign_id] = time.monotonic()
        acted, overruled = self._acted[change.campaign_id], self._overruled[change.campaign_id]
        if change.verb in ("push", "launch", "remove"):
            acted.clear()
            overruled.clear()
            self._news.add(change.campaign_id)
        elif change.verb == "resume":
            overruled += acted
        elif change.guardrail is not None:
            acted.append(change.guardrail)

    def take_lift(self, totals: LiftTotals) -> None:
        """Take in a report on the lift of a campaign."""
        if totals.campaign_id is not None and is_whole(totals) and self._lifts.take(totals):
            self._news.add(totals.campaign_id)

    def take_results(self, report: ResultTotals) -> None:
        """Take in a report on the results of a coupon: add its difference to the last one to its campaign."""
        campaign_id, day = report.campaign_id, local_time(report.at, self._shop.time_zone).day
        before = self._reports.of[report.subject].get(report.partition) if campaign_id else None
        if campaign_id is None or not self._reports.take(report):
            return
        if day > self._today:
            self._today = day
            for of_campaign in self._results.values():
                for domain, one in of_campaign.items():
                    of_campaign[domain] = one._replace(recent_minor=0)
        sums = self._results[campaign_id].get(report.domain, CampaignResults())
        added = zip(sums, self._numbers(report), self._numbers(before), strict=True)
        self._results[campaign_id][report.domain] = CampaignResults(*(a + new - old for a, new, old in added))
        self._news.add(campaign_id)

    def _numbers(self, report: ResultTotals | None) -> CampaignResults:
        if report is None:
            return CampaignResults()
        is_recent = local_time(report.at, self._shop.time_zone).day == self._today
        return CampaignResults(report.given, report.used, report.discount_minor, report.recent_minor * is_recent)

    def read_all_again(self) -> None:
        """Let `due` evaluate every campaign: an action may not have been delivered."""
        self._news |= self._campaigns.keys()

    def due(self) -> list[Action]:
        """Return the actions of the campaigns that have news; call `settle` when they are delivered."""
        if not self.knows_all():
            return []
        news, self._news = sorted(self._news & self._campaigns.keys()), set()
        return [action for name in news if (action := self._action(self._campaigns[name])) is not None]

    def _action(self, followed: FollowedCampaign) -> Action | None:
        campaign = followed.campaign
        if campaign is None or campaign.state not in RUNS or not campaign.guardrails:
            return None
        name, overruled = campaign.campaign_id, self._overruled[campaign.campaign_id]
        if self._last.get(name, campaign) != campaign and time.monotonic() < self._read_at[name] + IN_FLIGHT_S:
            self._news.add(name)
            return None
        guardrails = [one for one in campaign.guardrails if one not in overruled]
        lifts = {
            domain: measure(self._lifts.parts((domain, name)), campaign.holdout_ratio)
            for domain, of in list(self._lifts.of)
            if of == name
        }
        breach = first_breach(guardrails, lifts, self._results[name], self._shop)
        if breach is None:
            return None
        action = breach.guardrail.action
        after = replace(campaign, state=STATES[action])
        change = CampaignChange(
            campaign_id=name,
            at=time.time(),
            by=NAME,
            guardrail=breach.guardrail,
            verb=action,
            reason=breach.text,
            before=campaign,
            after=after,
        )
        return Action(change, followed, after)

    def settle(self, action: Action) -> None:
        """Take a delivered action into effect, unless a later record of its campaign was read meanwhile."""
        change, before, after = action
        if self._campaigns.get(change.campaign_id) is before:
            self._campaigns[change.campaign_id] = before._replace(campaign=after)
            self.take_change(change)
        log.warning("campaign %s: %s by its guardrail: %s", change.campaign_id, change.verb, change.reason)
