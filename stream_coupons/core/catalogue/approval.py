"""Approval of campaigns: Ed25519 signatures of a campaign's terms and of those of its coupons."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from hashlib import blake2b

import msgspec

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.rules import ApprovalRules

CONTEXT = b"stream-coupons campaign approval 1"
"""Begins what is signed, so that no signature for another purpose counts."""
_encode = msgspec.json.Encoder(order="sorted").encode


def require_package() -> None:
    """See that signatures can be verified.

    Raises
    ------
    BadConfig
        If the package `cryptography` is not installed.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        text = "approval: needs the package cryptography: pip install -e '.[approval]' in the clone"
        raise BadConfig(text) from None


def signed_bytes(campaign: Campaign, coupons: Iterable[Coupon]) -> bytes:
    """Return the bytes that an approval signs: all terms that money depends on.

    They are the campaign without `state`, `ramp_ratio` and `signatures`, and a digest of each of its coupons, without
    `paused`, by id. So whatever an operator does to run the campaign leaves approvals valid.

    Parameters
    ----------
    campaign : Campaign
        The campaign.
    coupons : iterable of Coupon
        The coupons that name it, in any order.

    Examples
    --------
    >>> spring = Campaign(campaign_id="spring", budget_minor=500)
    >>> signed_bytes(spring, []) == signed_bytes(Campaign(campaign_id="spring", budget_minor=500, state="draft"), [])
    True
    """
    lines = [CONTEXT, _terms(campaign, {"state", "ramp_ratio", "signatures"})]
    for coupon in sorted(coupons, key=lambda one: one.coupon_id):
        own = blake2b(_terms(coupon, {"paused"}), digest_size=32).hexdigest()
        lines.append(own.encode() + _encode(coupon.coupon_id))
    return b"\n".join(lines)


def _terms(entry: Campaign | Coupon, left_out: Set[str]) -> bytes:
    """Return the fields that differ from their default: equal entries give equal bytes, and later fields void none."""
    found = {}
    for field in msgspec.structs.fields(entry):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        value = getattr(entry, field.name)
        if field.name not in left_out and value != default:
            found[field.name] = value
    return _encode(found)


def signers(campaign: Campaign, coupons: Iterable[Coupon], keys: Mapping[str, bytes]) -> set[str]:
    """Return the names of those who have validly signed a campaign as it is.

    Parameters
    ----------
    campaign, coupons
        As of `signed_bytes`.
    keys : mapping of str to bytes
        Public keys by name, as of `ApprovalRules.public_keys`.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    data, found = signed_bytes(campaign, coupons), set[str]()
    for one in campaign.signatures:
        try:
            Ed25519PublicKey.from_public_bytes(keys[one.name]).verify(bytes.fromhex(one.signature), data)
        except (KeyError, ValueError, InvalidSignature):
            continue
        found.add(one.name)
    return found


def approved_campaigns(
    coupons: Iterable[Coupon], campaigns: Sequence[Campaign], rules: ApprovalRules
) -> frozenset[str] | None:
    """Return the ids of the campaigns that enough operators have signed; None where no approval is asked for.

    Parameters
    ----------
    coupons, campaigns : iterable of Coupon, sequence of Campaign
        All that are known, as they were published.
    rules : ApprovalRules
        Keys, and the number of signatures asked for.

    Examples
    --------
    >>> approved_campaigns([], [Campaign(campaign_id="spring")], ApprovalRules()) is None
    True
    """
    if not rules.required:
        return None
    members, keys = defaultdict[str, list[Coupon]](list), rules.public_keys
    for coupon in coupons:
        if coupon.campaign_id is not None:
            members[coupon.campaign_id].append(coupon)
    named = ((one.campaign_id, signers(one, members[one.campaign_id], keys)) for one in campaigns if one.signatures)
    return frozenset(name for name, of_campaign in named if len(of_campaign) >= rules.required)
