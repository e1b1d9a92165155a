"""Draws are even, fixed by key and parts, and no use to those who know the fingerprint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.draws import PUBLIC_KEY, DrawKey

KEY, OTHER = DrawKey(bytes(32)), DrawKey(bytes(31) + b"\x01")


def test_draws_are_the_same_on_every_machine() -> None:
    # A changed draw moves shoppers in and out of every holdout.
    assert PUBLIC_KEY.uniform("holdout", "u1") == 0.53924526608875
    assert PUBLIC_KEY.fingerprint == "f626c1ddd786dd21"


def test_draws_are_even() -> None:
    draws = [KEY.uniform("explore", str(n)) for n in range(4000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert sum(draw < 0.05 for draw in draws) == pytest.approx(200, abs=60)
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.02)


def test_who_is_drawn_by_one_key_is_not_more_likely_drawn_by_another() -> None:
    drawn = [f"t{n}" for n in range(40_000) if KEY.uniform("explore", f"t{n}") < 0.05]
    both = sum(OTHER.uniform("explore", trigger) < 0.05 for trigger in drawn)
    assert both / len(drawn) == pytest.approx(0.05, abs=0.02)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4), st.lists(st.text(max_size=4), min_size=1, max_size=4))
def test_other_parts_are_another_draw(one: list[str], other: list[str]) -> None:
    assert (KEY.uniform(*one) == KEY.uniform(*other)) is (one == other)


def test_a_key_does_not_show() -> None:
    key = DrawKey(b"no one may read this")
    assert str(key) == repr(key) == f"DrawKey(fingerprint={key.fingerprint!r})"
    assert key.fingerprint != DrawKey(b"no one may read that").fingerprint
    assert len(key.fingerprint) == 16


@pytest.mark.parametrize("secret", [b"", bytes(65)])
def test_a_key_that_does_not_fit_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(secret)} bytes, expected 1 to 64"):
        DrawKey(secret)
