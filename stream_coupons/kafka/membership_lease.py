"""The time for which a group cannot have given a member's partitions away, by the answers of its coordinator."""

import math
from typing import Any

from aiokafka.errors import (
    IllegalGenerationError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

NO_MEMBER = frozenset({UnknownMemberIdError, IllegalGenerationError})
"""Errors that state that the group goes on without the sender."""


class MembershipLease:
    """A lease on the partitions of a member of a group; whoever writes for them checks it right before.

    A coordinator removes a member that it does not hear from for a session, and a member that has not joined again
    within the rebalance timeout after a rebalance began. The session counts from the last request that was answered.
    The rebalance counts from the last request that was answered without an error: the rebalance began after that. Both
    are times of sending, so the lease ends before the group can go on without the member.

    Parameters
    ----------
    session_s, rebalance_s : float
        Timeouts of the group, in seconds.

    Attributes
    ----------
    is_lost : bool
        True if the coordinator has stated that the group goes on without the member. Silence states nothing.

    Examples
    --------
    >>> lease = MembershipLease(session_s=6.0, rebalance_s=20.0)
    >>> lease.note(100.0, NoError)
    >>> lease.is_held(105.9), lease.is_held(106.0)
    (True, False)
    >>> for at in range(101, 125):
    ...     lease.note(float(at), RebalanceInProgressError)
    >>> lease.is_held(119.9), lease.is_held(120.0)
    (True, False)
    """

    def __init__(self, session_s: float, rebalance_s: float) -> None:
        self._session_s, self._rebalance_s = session_s, rebalance_s
        self._ends_at = (-math.inf, -math.inf)
        self.is_lost = False

    def note(self, sent_at: float, error: Any) -> None:
        """Take in the answer to a heartbeat, or to the request for an assignment.

        Parameters
        ----------
        sent_at : float
            Monotonic time at which the request was sent.
        error : type
            Error of the answer, one of `aiokafka.errors`. One that says nothing of the membership is ignored.
        """
        session_ends_at = sent_at + self._session_s
        if error is NoError:
            self.is_lost = False
            self._ends_at = session_ends_at, sent_at + self._rebalance_s
        elif error is RebalanceInProgressError:
            self._ends_at = session_ends_at, self._ends_at[1]
        elif error in NO_MEMBER:
            self._ends_at = -math.inf, -math.inf
            self.is_lost = True

    def is_held(self, at: float) -> bool:
        """Return whether the group cannot have gone on without the member yet, at a monotonic time."""
        return at < min(self._ends_at)
