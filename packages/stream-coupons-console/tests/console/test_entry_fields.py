"""Inputs of the forms: what is published survives them, and what cannot be read names its field."""

from datetime import UTC

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.messages.catalogue import Campaign, Coupon, Guardrail
from stream_coupons.core.times import epoch_seconds
from stream_coupons_console.web.entry_fields import CAMPAIGN_SECTIONS, COUPON_SECTIONS, EXTRA, values_of, written_of

CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD", None])
AMOUNTS = st.integers(1, 2**53)
NAMES = st.text(min_size=1, max_size=20)


def entry_of(kind: type, values: dict[str, str], sections: tuple, currency: str | None) -> object:
    written, faults = written_of(values, sections, currency)
    assert faults == []
    times = {one.name for section in sections for one in section.fields if one.unit == "time"}
    written |= {name: epoch_seconds(at, UTC) for name, at in written.items() if name in times and isinstance(at, str)}
    return msgspec.convert(written, kind)


@given(
    st.fixed_dictionaries(
        {"coupon_id": NAMES.filter(lambda one: one != "none"), "max_discount_minor": AMOUNTS},
        optional={
            "title": NAMES,
            "discount_percent": st.floats(0.01, 100),
            "min_spend_minor": AMOUNTS,
            "categories": st.lists(NAMES, max_size=3),
            "margin_ratio": st.floats(0, 1),
            "redeem_within_s": st.floats(1, 1e6),
            "valid_until": st.floats(1e9, 2e9),
            "weekdays": st.lists(st.sampled_from(["mon", "tue", "sun"]), max_size=3),
            "caps": st.lists(
                st.fixed_dictionaries({"per": st.sampled_from(["day", "life"]), "n": st.integers(0, 99)}), max_size=3
            ),
            "eligible_if": NAMES,
            "paused": st.booleans(),
            "attributes": st.dictionaries(NAMES, NAMES, max_size=2),
        },
    ),
    CURRENCIES,
)
def test_a_coupon_that_is_shown_and_sent_back_is_the_same(fields: dict[str, object], currency: str | None) -> None:
    coupon = msgspec.convert(fields, Coupon)
    values = values_of(coupon, COUPON_SECTIONS, currency)
    assert entry_of(Coupon, values, COUPON_SECTIONS, currency) == coupon


def test_a_campaign_is_shown_in_units_of_its_currency_without_its_state() -> None:
    campaign = Campaign(
        campaign_id="spring", budget_minor=1_234_50, holdout_ratio=0.1, state="held", ramp_ratio=0.25,
        guardrails=[Guardrail(metric="spend_a_day", limit=5000), Guardrail(metric="roi")],
    )  # fmt: skip
    values = values_of(campaign, CAMPAIGN_SECTIONS, "EUR")
    assert values["budget_minor"] == "1234.5"
    assert values["holdout_ratio"] == "10"
    back = entry_of(Campaign, values, CAMPAIGN_SECTIONS, "EUR")
    # `roi` comes before `spend_a_day` among the inputs, so the list as it is is in the text area.
    assert back == msgspec.structs.replace(campaign, state="running", ramp_ratio=1.0)


@pytest.mark.parametrize("text", ["12,50", "1e9", "NaN", "1.005", "--1", "１２"])
def test_an_amount_that_could_be_misread_is_refused_at_its_field(text: str) -> None:
    _, [fault] = written_of({"budget_minor": text}, CAMPAIGN_SECTIONS, "EUR")
    assert (fault.field, text in fault.detail) == ("budget_minor", True)


@pytest.mark.parametrize(("text", "minor"), [("1,234,567.89", 123456789), ("12.5", 1250), ("0.10", 10), ("-3", -300)])
def test_an_amount_is_read_in_units_of_its_currency(text: str, minor: int) -> None:
    assert written_of({"budget_minor": text}, CAMPAIGN_SECTIONS, "EUR") == ({"budget_minor": minor}, [])


def test_the_text_area_counts_before_the_inputs_and_may_be_yaml() -> None:
    values = {"coupon_id": "tea", "stock": "5", EXTRA: "stock: 7\nattributes: {season: winter}"}
    written, _ = written_of(values, COUPON_SECTIONS, None)
    assert written == {"coupon_id": "tea", "stock": 7, "attributes": {"season": "winter"}}


@pytest.mark.parametrize("text", ["- 1\n- 2", "5", "{", "a: [", "coupons: 5"])
def test_a_text_area_that_holds_no_fields_is_refused(text: str) -> None:
    _, [fault] = written_of({EXTRA: text}, COUPON_SECTIONS, None)
    assert fault.field == EXTRA
