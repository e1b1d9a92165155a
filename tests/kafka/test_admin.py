"""Requests to the coordinator of a consumer group that is away for a moment."""

from typing import Any

import pytest
from kafka.errors import CoordinatorNotAvailableError, GroupAuthorizationFailedError, KafkaError, NotCoordinatorError

from stream_coupons.kafka import admin


class _Groups:
    """The part of an administrator's client that asks for groups; its first requests fail."""

    def __init__(self, *errors: type[KafkaError]) -> None:
        self.errors = list(errors)

    def describe_groups(self, groups: list[str]) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return {group: {"members": ["one", "other"]} for group in groups}


def test_a_request_is_sent_again_until_the_group_has_a_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "COORDINATOR_PAUSE_S", 0.0)
    groups: Any = _Groups(NotCoordinatorError, CoordinatorNotAvailableError)
    assert admin.count_members(groups, "shop") == 2


def test_a_coordinator_that_stays_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "COORDINATOR_PAUSE_S", 0.0)
    monkeypatch.setattr(admin, "COORDINATOR_WAIT_S", -1.0)
    groups: Any = _Groups(NotCoordinatorError)
    with pytest.raises(NotCoordinatorError):
        admin.count_members(groups, "shop")


def test_other_errors_are_reported_at_once() -> None:
    groups: Any = _Groups(GroupAuthorizationFailedError, NotCoordinatorError)
    with pytest.raises(GroupAuthorizationFailedError):
        admin.count_members(groups, "shop")
    assert groups.errors == [NotCoordinatorError]
