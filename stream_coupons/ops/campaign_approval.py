"""Approval of campaigns by operators: their keys, and the signature that is added to a campaign."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream_coupons import secret
from stream_coupons.core.catalogue.approval import require_package, signed_bytes, signers
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Campaign, Coupon, Signature
from stream_coupons.core.rules import ApprovalRules

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEYGEN = "make one with `stream-coupons campaigns keygen FILE`"


def make_key(path: Path) -> str:
    """Write a private key to a new file that only its owner can read; return the public one in hexadecimal digits.

    Raises
    ------
    BadConfig
        If the file exists or cannot be written, or a package is missing.
    """
    require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _public(Ed25519PrivateKey.from_private_bytes(secret.make_bytes(path)))


def _public(key: Ed25519PrivateKey) -> str:
    found: bytes = key.public_key().public_bytes_raw()
    return found.hex()


class Approver:
    """The holder of a private key.

    Parameters
    ----------
    path : Path
        File of the key.
    rules : ApprovalRules
        They name its public key.

    Attributes
    ----------
    name : str
        Name of the key.

    Raises
    ------
    BadConfig
        If the file holds no key, or `approval.keys` does not have its public key.
    """

    def __init__(self, path: Path, rules: ApprovalRules) -> None:
        require_package()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._rules = rules
        self._key = Ed25519PrivateKey.from_private_bytes(secret.read_bytes(path, "--key", KEYGEN))
        public = _public(self._key)
        names = [name for name, key in rules.public_keys.items() if key.hex() == public]
        if not names:
            known = ", ".join(sorted(rules.keys)) or "nobody"
            raise BadConfig(
                f"--key: {path} has the public key {public}, expected one of approval.keys, which has those of "
                f"{known}; add it there, for the workers too"
            )
        self.name = names[0]

    def sign(self, campaign: Campaign, coupons: Sequence[Coupon]) -> Campaign:
        """Return a campaign with this approval; parameters as of `signed`."""
        if self.name in signers(campaign, coupons, self._rules.public_keys):
            return campaign
        signature = self._key.sign(signed_bytes(campaign, coupons)).hex()
        return signed(campaign, coupons, Signature(name=self.name, signature=signature), self._rules)


def signed(campaign: Campaign, coupons: Sequence[Coupon], own: Signature, rules: ApprovalRules) -> Campaign:
    """Return a campaign with an approval, and without those that no longer hold.

    Parameters
    ----------
    campaign : Campaign
        As it is published.
    coupons : sequence of Coupon
        All coupons that name it, as they are published.
    own : Signature
        A valid one.
    """
    valid = signers(campaign, coupons, rules.public_keys) - {own.name}
    kept = [one for one in campaign.signatures if one.name in valid]
    return msgspec.structs.replace(campaign, signatures=[*kept, own])


def signature_of(campaign: Campaign, coupons: Sequence[Coupon], text: str, rules: ApprovalRules) -> Signature:
    """Return a signature that was made elsewhere, with the name of its key.

    Parameters
    ----------
    text : str
        128 hexadecimal digits.

    Raises
    ------
    BadConfig
        If none of `approval.keys` has signed the campaign as it is.
    """
    require_package()
    for name in rules.keys if re.fullmatch("[0-9a-f]{128}", text) else ():
        own = Signature(name=name, signature=text)
        alone = msgspec.structs.replace(campaign, signatures=[own])
        if signers(alone, coupons, rules.public_keys):
            return own
    known = ", ".join(sorted(rules.keys)) or "nobody"
    raise BadConfig(
        f"the signature is of no key of approval.keys ({known}), or of other terms than are published now: read the "
        "terms again, and sign with the file that `campaigns keygen` wrote"
    )
