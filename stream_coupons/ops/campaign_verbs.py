"""Verbs of a campaign's life, carried out: the changes are written first, then the campaigns' records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.campaign_changes import CampaignVerb
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.rules import ApprovalRules
from stream_coupons.kafka.codec import with_values
from stream_coupons.ops.campaign_life import ChangeLog, ForbiddenTransition, changed
from stream_coupons.ops.catalogue_files import CAMPAIGNS
from stream_coupons.ops.published import Published

REASON_CHARACTERS = 1000
LIFE_FIELDS = ("state", "ramp_ratio", "signatures")
"""Fields of a record that verbs change; all others stay byte for byte."""

Change = Callable[[Campaign, Sequence[Coupon]], Campaign]
"""Return a campaign after a verb, from it and its coupons."""


class VerbReport(NamedTuple):
    """Effect of a verb, by campaign id.

    Attributes
    ----------
    states, faults : dict of str
        The state in words, or the reason why the verb was refused.
    changed : dict of Campaign
        Campaigns that were written.
    """

    states: dict[str, str]
    faults: dict[str, str]
    changed: dict[str, Campaign]


def plain(verb: CampaignVerb) -> Change:
    """Return the change of a verb without options."""
    return lambda campaign, _: changed(campaign, verb)


def approval(rules: ApprovalRules, sign: Change | None) -> Change:
    """Return the change of `approve`: the state changes with the last signature that is needed.

    Parameters
    ----------
    rules : ApprovalRules
        Keys, and the number of signatures asked for.
    sign : Change or None
        Adds a signature; None where none is asked for.

    Raises
    ------
    BadConfig
        If signatures are asked for, and there is none.
    """
    if sign is None and rules.required:
        raise BadConfig(f"approval.required is {rules.required}: sign with --key FILE; `campaigns keygen` makes a key")

    def approved(campaign: Campaign, coupons: Sequence[Coupon]) -> Campaign:
        after = changed(campaign, "approve")
        signed = after if sign is None else sign(after, coupons)
        is_enough = len(signers_of(signed, coupons, rules)) >= rules.required
        return signed if is_enough else msgspec.structs.replace(signed, state=campaign.state)

    return approved


def launch(rules: ApprovalRules, ratio: float | None) -> Change:
    """Return the change of `launch` to a share of the shoppers, None for all; it requires the signatures asked for."""

    def launched(campaign: Campaign, coupons: Sequence[Coupon]) -> Campaign:
        after, names = changed(campaign, "launch", ratio), signers_of(campaign, coupons, rules)
        if len(names) < rules.required:
            have = ", ".join(sorted(names)) or "nobody"
            raise ForbiddenTransition(
                f"is signed as it is by {have}, to launch it expected {rules.required} signatures; each of the others "
                f"runs `stream-coupons campaigns approve {campaign.campaign_id} --key FILE`"
            )
        return after

    return launched


def signers_of(campaign: Campaign, coupons: Sequence[Coupon], rules: ApprovalRules) -> set[str]:
    """Return the names of those who have validly signed a campaign as it is; none where no approval is asked for."""
    if not rules.required:
        return set()
    from stream_coupons.core.catalogue.approval import require_package, signers

    require_package()
    return signers(campaign, coupons, rules.public_keys)


def require_short(reason: str) -> None:
    """Refuse a reason that is too long.

    Raises
    ------
    BadConfig
    """
    if len(reason) > REASON_CHARACTERS:
        raise BadConfig(f"--reason has {len(reason)} characters, expected at most {REASON_CHARACTERS}")


def change_campaigns(
    ids: Sequence[str],
    change: Change,
    found: tuple[Published[Campaign], Published[Coupon]],
    rules: ApprovalRules,
    log: ChangeLog,
) -> VerbReport:
    """Carry out a verb on some campaigns: write the changes, then the records; return once the broker has both.

    A campaign that is there already stays untouched. If the process ends between both, the history marks the change as
    not in effect, and the same verb completes it.

    Parameters
    ----------
    change : Change
        Effect of the verb.
    found : tuple of Published
        Campaigns and coupons as they are published.
    log : ChangeLog
        Verb, reason and operator; its publisher writes the records, too.

    Raises
    ------
    BadConfig
        If the reason is too long.
    """
    require_short(log.reason)
    campaigns, coupons = found
    report = VerbReport({}, {}, {})
    for name in dict.fromkeys(ids):
        if (before := campaigns.entries.get(name)) is None:
            report.faults[name] = f"no such campaign in {CAMPAIGNS.topic.name}"
            continue
        own = [one for one in coupons.entries.values() if one.campaign_id == name]
        try:
            news = change(before, own)
        except ForbiddenTransition as error:
            report.faults[name] = str(error)
            continue
        report.states[name] = _words(news, signers_of(news, own, rules), rules.required)
        if news != before:
            report.changed[name] = news
    log.write((name, campaigns.entries[name], news) for name, news in report.changed.items())
    for name, news in report.changed.items():
        value = with_values(campaigns.records[name], news, LIFE_FIELDS)
        log.publisher.send_bytes(CAMPAIGNS.topic, name.encode(), value)
    log.publisher.flush()
    return report


def _words(campaign: Campaign, names: set[str], required: int) -> str:
    """Return the state of a campaign to read, with its approvals where some are asked for."""
    text = f"ramp {campaign.ramp_ratio:.4g}" if campaign.state == "ramp" else campaign.state
    return f"{text}, {len(names)} of {required} approvals" if required else text
