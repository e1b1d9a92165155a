"""Generated codes: what a till can tell from a code and a key, and what nobody can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core import codes
from stream_coupons.core.draws import DrawKey

KEY = codes.coupon_key(codes.codes_key(DrawKey(b"shop")), "tea")
EXPIRES_AT = 1_767_225_600.0
CODE = codes.generate(KEY, "i1", EXPIRES_AT, "TEA")
times = st.floats(codes.EPOCH, 2_300_000_000.0)


@given(st.text(max_size=40), times, st.from_regex("[A-Z0-9]{0,12}", fullmatch=True))
def test_a_till_reads_an_expiry_that_is_at_most_ten_minutes_later(issue_id: str, at: float, prefix: str) -> None:
    read = codes.expiry(KEY, codes.generate(KEY, issue_id, at, prefix))
    assert read is not None
    assert at <= read < at + codes.STEP_S


@pytest.mark.parametrize(
    "typed", [CODE.lower(), CODE.replace("-", " "), CODE.replace("1", "i"), CODE.replace("0", "o")]
)
def test_people_may_type_it_as_they_read_it(typed: str) -> None:
    assert codes.expiry(KEY, typed) == EXPIRES_AT


@given(st.integers(0, 20), st.sampled_from(codes.DIGITS))
def test_one_wrong_character_is_noticed_without_the_key(place: int, digit: str) -> None:
    code = codes.canonical(codes.generate(KEY, "i1", EXPIRES_AT))
    mistyped = code[:place] + digit + code[place + 1 :]
    if mistyped != code:
        with pytest.raises(ValueError, match="mistyped"):
            codes.expiry(b"another key", mistyped)


@given(st.integers(0, 18))
def test_two_neighbours_in_the_wrong_order_are_noticed_without_the_key(place: int) -> None:
    code = codes.canonical(codes.generate(KEY, "i1", EXPIRES_AT))
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if swapped != code:
        with pytest.raises(ValueError, match="mistyped"):
            codes.expiry(KEY, swapped)


@pytest.mark.parametrize("typed", ["", "TEA", CODE[4:-2], "U" * 21])
def test_what_has_not_the_form_of_a_code_is_called_so(typed: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        codes.expiry(KEY, typed)


def with_check(digits: str) -> str:
    """The digits with a check character that fits."""
    number = sum(codes.DIGITS.index(digit) * 32**power for power, digit in enumerate(reversed(digits)))
    return digits + codes.CHECKS[number % 37]


@given(st.integers(0, 19), st.sampled_from(codes.DIGITS))
def test_a_forged_digit_with_its_check_character_is_no_code(place: int, digit: str) -> None:
    digits = codes.canonical(codes.generate(KEY, "i1", EXPIRES_AT))[:-1]
    forged = digits[:place] + digit + digits[place + 1 :]
    assert codes.expiry(KEY, with_check(forged)) == (EXPIRES_AT if forged == digits else None)


def test_codes_of_another_coupon_or_shop_are_none() -> None:
    of_milk = codes.coupon_key(codes.codes_key(DrawKey(b"shop")), "milk")
    elsewhere = codes.coupon_key(codes.codes_key(DrawKey(b"another shop")), "tea")
    assert codes.expiry(of_milk, CODE) is None
    assert codes.expiry(elsewhere, CODE) is None


def test_an_issue_has_one_code_and_no_two_issues_share_one() -> None:
    made = [codes.generate(KEY, f"i{number % 20_000}", EXPIRES_AT) for number in range(40_000)]
    assert len(set(made)) == 20_000


@pytest.mark.parametrize("expires_at", [0.0, 4_102_444_800.0])
def test_an_expiry_beyond_the_digits_counts_as_the_first_or_the_last_one(expires_at: float) -> None:
    last = codes.EPOCH + codes.STEP_S * codes.MAX_STEP
    assert codes.expiry(KEY, codes.generate(KEY, "i1", expires_at)) == min(max(expires_at, codes.EPOCH), last)
