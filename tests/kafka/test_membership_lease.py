"""A membership lease ends before the group can go on without the member, and not while it cannot."""

from typing import Any

import pytest
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    IllegalGenerationError,
    NoError,
    NotCoordinatorError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.kafka.membership_lease import MembershipLease

SESSION_S, REBALANCE_S = 6.0, 20.0


def lease() -> MembershipLease:
    return MembershipLease(SESSION_S, REBALANCE_S)


def test_nothing_is_held_before_the_first_answer() -> None:
    assert not lease().is_held(0.0)


def test_it_ends_a_session_after_the_last_answer_was_asked_for() -> None:
    held = lease()
    held.note(10.0, NoError)
    held.note(12.0, NoError)
    assert held.is_held(17.9)
    assert not held.is_held(18.0)


def test_answers_amid_a_rebalance_extend_the_session_but_not_the_rebalance() -> None:
    held = lease()
    held.note(10.0, NoError)
    for at in range(11, 40):
        held.note(float(at), RebalanceInProgressError)
    assert held.is_held(29.9)
    assert not held.is_held(30.0), "the rebalance may have begun at 10, and the group gone on without it 20 s later"
    held.note(40.0, NoError)
    assert held.is_held(45.9)


@pytest.mark.parametrize("error", [UnknownMemberIdError, IllegalGenerationError])
def test_it_ends_at_once_when_the_coordinator_does_not_know_the_member(error: Any) -> None:
    held = lease()
    held.note(10.0, NoError)
    held.note(11.0, error)
    assert not held.is_held(11.0)
    held.note(12.0, NoError)
    assert held.is_held(12.0)


@pytest.mark.parametrize("error", [NotCoordinatorError, CoordinatorLoadInProgressError])
def test_an_error_that_says_nothing_of_the_membership_changes_nothing(error: Any) -> None:
    held = lease()
    held.note(10.0, NoError)
    held.note(11.0, error)
    assert held.is_held(15.9)
    assert not held.is_held(16.0)


@given(
    began_at=st.floats(0.0, 60.0),
    heartbeats=st.lists(st.tuples(st.floats(0.01, 4.0), st.floats(0.0, 2.0), st.floats(0.0, 2.0)), max_size=60),
    gap_s=st.floats(0.0, 30.0),
)
def test_a_member_that_cannot_join_again_holds_nothing_once_the_group_goes_on(
    began_at: float, heartbeats: list[tuple[float, float, float]], gap_s: float
) -> None:
    """Whatever the pauses between heartbeats, and the ways there and back: a rebalance begins and ends without it."""
    held, goes_on_at, now = lease(), began_at + REBALANCE_S, 0.0
    held.note(0.0, NoError)
    for pause_s, way_there_s, way_back_s in heartbeats:
        sent_at = now + pause_s
        arrived_at = sent_at + way_there_s
        if arrived_at > goes_on_at:
            break
        held.note(sent_at, NoError if arrived_at < began_at else RebalanceInProgressError)
        now = arrived_at + way_back_s
    assert not held.is_held(max(goes_on_at, now) + gap_s)
