"""Entries that are pushed: compared with what is published, given their states, and written."""

from collections.abc import Mapping

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.ops.campaign_life import ChangeLog, ForbiddenTransition, settled
from stream_coupons.ops.catalogue_files import (
    CAMPAIGNS,
    COUPONS,
    EntryFault,
    ParsedFile,
    changed_holdouts,
    late_limits,
    overlooked,
    unissuable,
)
from stream_coupons.ops.published import published
from stream_coupons.settings import Settings


def compared(reading: ParsedFile, settings: Settings | None) -> list[str]:
    """Return warnings of a file's entries beside those that are published; without settings these are not known."""
    campaigns, others, changed = reading.campaigns, dict[str, Coupon](), list[str]()
    if settings is not None:
        known = published(settings, CAMPAIGNS).entries
        others = published(settings, COUPONS).entries
        changed = changed_holdouts(campaigns, known)
        changed += late_limits(reading.coupons, others) + late_limits(campaigns, known)
        campaigns = known | campaigns
    touched = {name: each for name, each in others.items() if each.campaign_id in reading.campaigns}
    touched |= {n: each for n, each in reading.coupons.items() if settings is not None or each.campaign_id in campaigns}
    return overlooked(reading.coupons.values(), others.values()) + unissuable(touched.values(), campaigns) + changed


def settle(reading: ParsedFile, before: Mapping[str, Campaign], settings: Settings) -> None:
    """Give the campaigns of a file the states that they shall have, and refuse those that cannot have theirs."""
    for campaign_id, entry in list(reading.campaigns.items()):
        states, needs_approval = campaign_id in reading.with_state, settings.approval.required > 0
        try:
            reading.campaigns[campaign_id] = settled(
                entry, before.get(campaign_id), states=states, needs_approval=needs_approval
            )
        except ForbiddenTransition as error:
            del reading.campaigns[campaign_id]
            reading.refused += 1
            reading.faults.append(EntryFault(0, "state", str(error), campaign=campaign_id))


def write(reading: ParsedFile, before: Mapping[str, Campaign], log: ChangeLog) -> None:
    """Write the changes of campaigns, then all entries; return once the broker has them.

    Parameters
    ----------
    before : mapping of str to Campaign
        Campaigns as they were published, by id.
    log : ChangeLog
        Verb, reason and operator; its publisher writes the entries, too.
    """
    log.write((name, before.get(name), entry) for name, entry in reading.campaigns.items())
    for topic, entry in reading.entries:
        log.publisher.send(topic, entry)
    log.publisher.flush()
