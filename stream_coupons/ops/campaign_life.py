"""The life of a campaign: its transitions, what a verb changes, and which changes are in effect."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.campaign_changes import CampaignChange, CampaignVerb
from stream_coupons.core.messages.catalogue import Campaign, CampaignState
from stream_coupons.kafka import topics

if TYPE_CHECKING:  # it takes kafka-python, which no help needs
    from stream_coupons.kafka.clients import Publisher

TRANSITIONS: Mapping[CampaignVerb, Mapping[CampaignState, CampaignState]] = {
    "stage": {"draft": "staged", "approved": "staged"},
    "approve": {
        "draft": "approved",
        "staged": "approved",
        # Signed again after a change of its terms; its state stays.
        "approved": "approved",
        "ramp": "ramp",
        "running": "running",
        "paused": "paused",
        "held": "held",
    },
    "launch": {"approved": "running", "ramp": "running", "running": "running"},
    "pause": {"ramp": "paused", "running": "paused"},
    "hold": {"ramp": "held", "running": "held", "paused": "held"},
    "resume": {"paused": "running", "held": "running"},
    "end": dict.fromkeys(("staged", "approved", "ramp", "running", "paused", "held"), "ended"),
    "archive": {"draft": "archived", "ended": "archived"},
}
"""By verb, the state that it leads to from each state that allows it. `ramp` takes the place of `running` for
a campaign that is launched, or resumed, to a part of the shoppers."""


class ForbiddenTransition(StreamCouponsError):
    """A campaign's state does not allow a verb."""


def _ways(state: CampaignState, goals: Collection[CampaignState]) -> list[CampaignVerb]:
    """Return the shortest list of verbs that leads from a state to one of several; empty if none does."""
    found, latest = {state: list[CampaignVerb]()}, [state]
    while latest:
        following = []
        for one in latest:
            for verb, steps in TRANSITIONS.items():
                if (target := steps.get(one)) is not None and target not in found:
                    found[target] = [*found[one], verb]
                    following.append(target)
        if reached := [found[target] for target in following if target in goals]:
            return reached[0]
        latest = following
    return []


def _forbidden(campaign: Campaign, what: str, goals: Collection[CampaignState]) -> ForbiddenTransition:
    """Return the error that names the state, those that are allowed, and what leads there."""
    *others, last = goals
    allowed = f"{', '.join(others)} or {last}" if others else last
    ways = " and ".join(
        f"`stream-coupons campaigns {verb} {campaign.campaign_id}`" for verb in _ways(campaign.state, goals)
    )
    remedy = f"run {ways} first" if ways else "nothing leads back: push it under another id"
    return ForbiddenTransition(f"is {campaign.state}, {what} expected {allowed}; {remedy}")


def changed(campaign: Campaign, verb: CampaignVerb, ratio: float | None = None) -> Campaign:
    """Return a campaign after a verb; the same if it is there already.

    A launch without a ratio is for all shoppers. After a pause, a campaign that was ramped up goes on with its ratio.

    Raises
    ------
    ForbiddenTransition
        Naming the state, the allowed ones, and the verb to use.
    """
    steps, state = TRANSITIONS[verb], campaign.state
    if state not in steps:
        if state in steps.values() or (verb == "resume" and state == "ramp"):
            return campaign
        raise _forbidden(campaign, f"to {verb} it", steps)
    target, kept = steps[state], campaign.ramp_ratio
    if verb == "launch":
        kept = 1.0 if ratio is None else ratio
    if target == "running" and verb != "approve":
        target = "ramp" if kept < 1.0 else "running"
    return msgspec.structs.replace(campaign, state=target, ramp_ratio=kept)


def settled(entry: Campaign, before: Campaign | None, *, states: bool, needs_approval: bool) -> Campaign:
    """Return a pushed campaign with the state that it shall have.

    Parameters
    ----------
    entry : Campaign
        As a file has it.
    before : Campaign or None
        As it is published.
    states : bool
        True if the file names a state.
    needs_approval : bool
        True if a new campaign waits for approval.

    Raises
    ------
    ForbiddenTransition
        If no verb leads from the published state to the one that the file names.
    """
    if before is None:
        return entry if states or not needs_approval else msgspec.structs.replace(entry, state="draft")
    kept = entry.signatures or before.signatures
    if not states:
        return msgspec.structs.replace(entry, state=before.state, ramp_ratio=before.ramp_ratio, signatures=kept)
    goal = "running" if entry.state == "ramp" else entry.state
    if entry.state != before.state and goal not in {steps.get(before.state) for steps in TRANSITIONS.values()}:
        sources = {
            one: None for steps in TRANSITIONS.values() for one, target in steps.items() if target == goal != one
        }
        raise _forbidden(before, f"for the state {entry.state} of the file", sources or {"draft": None})
    return msgspec.structs.replace(entry, signatures=kept)


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """Writes changes to `campaign-changes`.

    Attributes
    ----------
    publisher : Publisher
        To the topics.
    verb, reason : str
        The command, and the operator's reason.
    operator : str
        Name of the operator; empty for the user of the machine.
    key_name : str
        Name of the key that signed.
    """

    publisher: Publisher
    verb: CampaignVerb
    reason: str
    operator: str
    key_name: str = ""

    def write(self, changes: Iterable[tuple[str, Campaign | None, Campaign | None]]) -> None:
        """Write changes as (id, before, after), and wait until the broker has them; write the records afterwards."""
        by, at = self.operator or _user(), time.time()
        for campaign_id, before, after in changes:
            if before != after or after is None:
                change = CampaignChange(
                    campaign_id=campaign_id,
                    at=at,
                    by=by,
                    key_name=self.key_name,
                    verb=self.verb,
                    reason=self.reason,
                    before=before,
                    after=after,
                )
                self.publisher.send(topics.CAMPAIGN_CHANGES, change)
        self.publisher.flush()


def _user() -> str:
    """Return the user of the machine: the number, where it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


class ListedChange(Struct, frozen=True, kw_only=True):
    """A change with its effect, as `campaigns history` lists it.

    Attributes
    ----------
    in_effect : bool
        False if the campaign's record was not written after the change: repeat the verb.
    fields : list of str
        Names of the fields that it changed.
    """

    change: CampaignChange
    in_effect: bool
    fields: list[str]


def history(changes: Iterable[CampaignChange], published: Mapping[str, Campaign]) -> Iterator[ListedChange]:
    """Yield changes in their order, each with its effect.

    Parameters
    ----------
    changes : iterable of CampaignChange
        In the order of their topic.
    published : mapping of str to Campaign
        The campaigns' records as they are now, by id.
    """
    following, listed = dict(published), list[ListedChange]()
    for change in reversed(list(changes)):
        is_applied = following.get(change.campaign_id) == change.after
        fields = [] if change.before is None or change.after is None else _fields(change.before, change.after)
        listed.append(ListedChange(change=change, in_effect=is_applied, fields=fields))
        if change.before is None:
            following.pop(change.campaign_id, None)
        else:
            following[change.campaign_id] = change.before
    yield from reversed(listed)


def _fields(before: Campaign, after: Campaign) -> list[str]:
    names = Campaign.__struct_fields__
    return [name for name in names if getattr(before, name) != getattr(after, name)]
