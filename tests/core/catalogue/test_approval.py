"""Coupons are given only within campaigns that enough people have signed, as they are."""

import base64
from typing import Any

import msgspec
import pytest

from stream_coupons.core.caps import Cap
from stream_coupons.core.catalogue.approval import approved_campaigns, signed_bytes
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.catalogue import Campaign, Coupon, Signature
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import ApprovalRules, Rules
from stream_coupons.testing import LocalPipeline, browse, campaign, coupon, plain_settings

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
KEYS = {
    name: ed25519.Ed25519PrivateKey.from_private_bytes(name.encode() * 8) for name in ("anna", "ben.", "carl", "eve.")
}
PUBLIC = {name: key.public_key().public_bytes_raw().hex() for name, key in KEYS.items() if name != "eve."}
RULES = ApprovalRules(required=2, keys=PUBLIC)
SPRING = campaign("spring", budget_minor=9000, caps=[Cap(per="week", n=2)])
TEA = coupon("tea", campaign_id="spring", stock=5)
HAM = coupon("ham", campaign_id="spring")


def signature(name: str, of: Campaign, *coupons: Coupon, by: str = "") -> Signature:
    return Signature(name=name, signature=KEYS[by or name].sign(signed_bytes(of, coupons)).hex())


def signed(*names: str, of: Campaign = SPRING, coupons: tuple[Coupon, ...] = (TEA, HAM)) -> Campaign:
    return msgspec.structs.replace(of, signatures=[signature(name, of, *coupons) for name in names])


def is_approved(of: Campaign, *coupons: Coupon, rules: ApprovalRules = RULES) -> bool:
    return "spring" in (approved_campaigns(coupons or (TEA, HAM), [of], rules) or ())


def test_two_of_three_people_approve() -> None:
    assert [is_approved(signed(*names)) for names in ((), ("anna",), ("anna", "carl"), ("ben.", "carl", "anna"))] == [
        False, False, True, True,
    ]  # fmt: skip
    assert approved_campaigns([TEA], [SPRING], ApprovalRules(keys=PUBLIC)) is None, "nobody asks"
    assert is_approved(signed("anna", "carl"), HAM, TEA), "in any order"


def test_one_person_is_not_two() -> None:
    twice = msgspec.structs.replace(SPRING, signatures=[signature("anna", SPRING, TEA, HAM)] * 2)
    assert not is_approved(twice)
    renamed = [signature("anna", SPRING, TEA, HAM), signature("ben.", SPRING, TEA, HAM, by="anna")]
    assert not is_approved(msgspec.structs.replace(SPRING, signatures=renamed)), "under another's name"
    with pytest.raises(msgspec.ValidationError, match="'anna' and 'other' have the same key, expected one a person"):
        msgspec.convert({"required": 2, "keys": {"anna": PUBLIC["anna"], "other": PUBLIC["anna"]}}, ApprovalRules)


def test_strangers_and_forged_signatures_do_not_count() -> None:
    good, stranger = signature("anna", SPRING, TEA, HAM), signature("eve.", SPRING, TEA, HAM)
    assert not is_approved(msgspec.structs.replace(SPRING, signatures=[good, stranger]))
    taken = signature("ben.", campaign("spring", budget_minor=1), TEA, HAM)
    assert not is_approved(msgspec.structs.replace(SPRING, signatures=[good, taken])), "of other terms"
    flipped = f"{int(taken.signature[0], 16) ^ 1:x}{taken.signature[1:]}"
    assert not is_approved(
        msgspec.structs.replace(SPRING, signatures=[good, Signature(name="ben.", signature=flipped)])
    )
    other = campaign("summer", signatures=signed("anna", "ben.").signatures)
    assert not approved_campaigns([TEA, HAM], [other], RULES), "of another campaign"


CHANGES: dict[str, tuple[dict[str, Any], bool]] = {
    "its state": ({"state": "ramp", "ramp_ratio": 0.05}, True),
    "its money": ({"budget_minor": 9001}, False),
    "its caps": ({"caps": []}, False),
    "its time": ({"ends_at": 4_000_000_000.0}, False),
    "a default that is written": ({"starts_at": float("0")}, True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_campaign_voids_approval(change: str) -> None:
    fields, holds = CHANGES[change]
    assert is_approved(msgspec.structs.replace(signed("anna", "carl"), **fields)) is holds


def test_a_change_of_its_coupons_voids_approval() -> None:
    of, replaced = signed("anna", "carl"), msgspec.structs.replace
    assert not is_approved(of, replaced(TEA, max_discount_minor=TEA.max_discount_minor + 1), HAM)
    assert not is_approved(of, TEA), "one is gone"
    assert not is_approved(of, TEA, HAM, coupon("ink", campaign_id="spring")), "one came"
    assert is_approved(of, TEA, HAM, coupon("ink", campaign_id="other"), coupon("own"))
    assert is_approved(of, replaced(TEA, paused=True), HAM), "a pause spends nothing"


def test_what_is_signed_survives_the_wire() -> None:
    read = msgspec.json.decode(msgspec.json.encode(SPRING), type=Campaign)
    tea = msgspec.json.decode(msgspec.json.encode(TEA), type=Coupon)
    assert signed_bytes(read, [HAM, tea]) == signed_bytes(SPRING, [TEA, HAM])


def test_coupons_that_are_not_approved_have_a_reason_and_are_not_given() -> None:
    rules = Rules(key=PUBLIC_KEY, approval=RULES)
    own = coupon("own")
    for of, reason in ((signed("anna"), Ineligible.NOT_APPROVED), (signed("anna", "carl"), None)):
        found = Catalogue.under(rules, [TEA, HAM, own], [of]).domains["ecommerce"]
        reasons = dict(zip(found.position, found.stops, strict=True))
        assert reasons == {"tea": reason, "ham": reason, "own": Ineligible.NOT_APPROVED}, "a campaign is needed"
        shop = LocalPipeline(
            msgspec.structs.replace(plain_settings(exploration_ratio=0.0), approval=RULES), [TEA, HAM, own],
            campaigns=[of],
        )  # fmt: skip
        shop.publish(browse("ann"))
        assert len(shop.messages(CouponIssue)) == (reason is None)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"required": 1}, "required is 1, expected at most the number of keys, 0"),
        ({"keys": {"ann": "00"}}, "keys: that of 'ann' is no Ed25519 public key, expected 64 hexadecimal digits or 44"),
        ({"keys": {"ann": "x" * 64}}, "keys: that of 'ann' is no Ed25519 public key"),
        ({"required": -1}, "required"),
    ],
)
def test_bad_settings_are_named(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=fault):
        msgspec.convert(fields, ApprovalRules)


def test_keys_are_read_in_base64_too() -> None:
    keys = {name: base64.b64encode(bytes.fromhex(key)).decode() for name, key in PUBLIC.items()}
    assert ApprovalRules(required=2, keys=keys).public_keys == RULES.public_keys
