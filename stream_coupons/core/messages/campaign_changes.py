"""The message about a change of a campaign, by an operator or a guardrail."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stream_coupons.core.messages.catalogue import Campaign, Guardrail
from stream_coupons.core.messages.fields import EpochSeconds, Id, Label

CampaignVerb = Literal["push", "remove", "stage", "approve", "launch", "pause", "hold", "resume", "end", "archive"]


class CampaignChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of a campaign, written before the campaign's record.

    A change is in effect if the next one of its campaign begins with its `after`, or if it is the last and the record
    is its `after`. An operator who was interrupted between the two records left a change that is not in effect.
    """

    campaign_id: Id
    """The campaign, and the key of the record."""
    at: EpochSeconds
    """Time of the change by the operator's clock."""
    by: Label
    """Name of the operator: the setting `approval.operator`, or the user of the machine. A guardrail is `guardrail`."""
    guardrail: Guardrail | None = None
    """The guardrail that made the change, if one did."""
    key_name: Label = ""
    """Name in `approval.keys` of the key that signed, if one did."""
    verb: CampaignVerb
    """The command."""
    reason: Annotated[str, Meta(max_length=1000)] = ""
    """The reason, in the operator's words; of a guardrail, its metric, interval and limit."""
    before: Campaign | None = None
    """The campaign before the change; absent if it was not published, or not readable."""
    after: Campaign | None = None
    """The campaign after the change; absent if it was removed."""
