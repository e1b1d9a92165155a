"""The schema of catalogue files marks in an editor what a push would refuse."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stream_coupons.contracts.catalogue_schema import NAME, catalogue_schema
from stream_coupons.ops.entry_files import _composed
from tests.docs.pages import ROOT, block

VALIDATOR = Draft202012Validator(catalogue_schema())
COUPON: dict[str, Any] = {"coupon_id": "tea", "max_discount_minor": 500}
FILE: dict[str, Any] = {"$schema": NAME, "campaigns": [{"campaign_id": "spring"}], "coupons": [COUPON]}


@pytest.mark.parametrize("text", [block("catalogue"), (ROOT / "examples" / "catalog.yaml").read_text(encoding="utf-8")])
def test_the_examples_name_the_schema_and_are_valid(text: str) -> None:
    assert text.splitlines()[0].endswith(f"schemas/{NAME}")
    [(_, found)] = _composed(text.encode(), "catalog.yaml")
    assert [error.message for error in VALIDATOR.iter_errors(found)] == []


@pytest.mark.parametrize(
    "data",
    [FILE, [COUPON], [{"campaign_id": "spring", "ends_at": 1767348000}], {"coupons": [COUPON | {"valid_from": 0}]}]
    + [[COUPON | {"valid_until": text}] for text in ("2026-11-27", "2026-11-27T08:00", "2026-11-27 08:00:00+01:00")],
)
def test_what_push_takes_is_valid(data: Any) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(data)] == []


@pytest.mark.parametrize(
    "data",
    [
        FILE | {"coupon": []},
        [COUPON | {"bugdet_minor": 5}],
        [{"campaign_id": "spring", "end_at": "2026-11-27"}],
        {"coupons": [{"coupon_id": "tea"}]},
        {"coupons": [COUPON | {"categories": "tea"}]},
        {"coupons": [COUPON | {"valid_until": "27.11.2026"}]},
        {"coupons": [COUPON | {"valid_until": 1_767_348_000_000}]},
    ],
)
def test_what_push_refuses_is_not(data: Any) -> None:
    assert not VALIDATOR.is_valid(data)
