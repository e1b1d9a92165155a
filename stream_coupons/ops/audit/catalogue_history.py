"""Times and states of coupons and campaigns, version by version, as far as their compacted topics have them.

Compaction keeps the latest version of a key, and every version behind it in the log. So only versions before the oldest
one that is there are lost, and what was decided since then can be judged.
"""

import math
from collections import defaultdict
from typing import NamedTuple

from stream_coupons.core.catalogue.campaign_states import ISSUING
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import CATALOG

LAG_MS = 300_000
"""Longest time that a worker may take to follow a change, or that clocks of operator and broker may differ."""


class Version(NamedTuple):
    """Terms of a coupon or a campaign from a time on.

    Attributes
    ----------
    since_ms : float
        Timestamp of its record, epoch milliseconds.
    start, end : float
        Times between which coupons may be issued, UTC epoch seconds.
    stop : str
        The state in which none may be issued, such as `paused` or `withdrawn`; empty if some may.
    campaign_id : str or None
        Of a coupon.
    ramped : Campaign or None
        The campaign, if only some shoppers may get its coupons.
    holdout_ratio : float
        Share of shoppers whom the campaign leaves out.
    """

    since_ms: float
    start: float = -math.inf
    end: float = math.inf
    stop: str = ""
    campaign_id: str | None = None
    ramped: Campaign | None = None
    holdout_ratio: float = 0.0


class CatalogueHistory:
    """The versions of all coupons and campaigns; take in both topics, then ask.

    Attributes
    ----------
    is_whole : bool
        True if compaction has dropped no version: then the oldest one that is there is the first one ever.
    """

    def __init__(self) -> None:
        self.is_whole = False
        self._coupons: defaultdict[str, list[Version]] = defaultdict(list)
        self._campaigns: defaultdict[str, list[Version]] = defaultdict(list)

    def take(self, record: Record, entry: Coupon | Campaign | None) -> None:
        """Take in a version; None if the coupon or campaign of the record's key was withdrawn."""
        versions = self._coupons if record.topic == CATALOG.name else self._campaigns
        version, since_ms = Version(record.timestamp_ms, stop="withdrawn"), record.timestamp_ms
        if isinstance(entry, Coupon):
            stop = "paused" if entry.paused else ""
            version = Version(since_ms, entry.valid_from, entry.valid_until, stop, entry.campaign_id)
        elif entry is not None:
            stop, ramped = "" if entry.state in ISSUING else entry.state, entry if entry.state == "ramp" else None
            span = entry.starts_at, entry.ends_at
            version = Version(since_ms, *span, stop, ramped=ramped, holdout_ratio=entry.holdout_ratio)
        versions[(record.key or b"").decode(errors="replace")].append(version)

    def at(self, coupon_id: str, began_ms: int, appended_ms: int) -> list[Version]:
        """Return the terms that a coupon and its campaign may have had when an issue was decided; none if unknown.

        Parameters
        ----------
        coupon_id : str
            Coupon of the issue.
        began_ms, appended_ms : int
            Append times of its trigger and of the issue, epoch milliseconds: it was decided between them.
        """
        found = []
        for own in self._between(self._coupons.get(coupon_id, []), began_ms, appended_ms):
            if own.campaign_id is None:
                found.append(own)
                continue
            shared = self._between(self._campaigns.get(own.campaign_id, []), began_ms, appended_ms)
            if not shared:
                return []
            for each in shared:
                start, end = max(own.start, each.start), min(own.end, each.end)
                stop, ratio = own.stop or each.stop, each.holdout_ratio
                found.append(Version(own.since_ms, start, end, stop, ramped=each.ramped, holdout_ratio=ratio))
        return found

    def _between(self, versions: list[Version], began_ms: int, appended_ms: int) -> list[Version]:
        """Return the versions that a worker may have known at some moment of a time; none if it may be a lost one."""
        if not versions or began_ms < versions[0].since_ms + (0 if self.is_whole else LAG_MS):
            return []
        ends = [*(one.since_ms for one in versions[1:]), math.inf]
        return [
            one
            for one, end in zip(versions, ends, strict=True)
            if one.since_ms <= appended_ms + LAG_MS and began_ms <= end + LAG_MS
        ]
