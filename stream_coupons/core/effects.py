"""Effects of a step besides the new state."""

from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct

from stream_coupons.core.measurement.totals import TotalChange
from stream_coupons.core.reasons import Rejection


class Refused(Struct, frozen=True):
    """A refused message; `message` is None for the message that the step processes."""

    reason: Rejection
    detail: str
    message: Struct | None = None


class Stake(NamedTuple):
    """Money of one coupon in each of its budgets, minor units: held while it is open, spent once it is used.

    Attributes
    ----------
    expected_minor, variance : float
        Mean and variance of the cost to come.
    rest_minor : int
        The most that the coupon may still take beyond `spent_minor`; 0 once it is over.
    """

    held_minor: int = 0
    expected_minor: float = 0.0
    variance: float = 0.0
    spent_minor: int = 0
    rest_minor: int = 0


class Booking(NamedTuple):
    """A change of the money of one coupon in its budgets.

    Attributes
    ----------
    at, issued_at, ends_at : float
        UTC epoch seconds; `at` is no later than now.
    is_falling : bool
        True if its hold falls linearly to 0 between `issued_at` and `ends_at`.
    final_expected_minor : float or None
        Its expected cost at decision time, once it is over; None before.
    """

    coupon_id: str
    campaign_id: str | None
    before: Stake
    after: Stake
    at: float
    issued_at: float
    ends_at: float
    is_falling: bool
    final_expected_minor: float | None = None


@dataclass(slots=True)
class Effects:
    """Effects of a step, each kind in order of occurrence.

    Attributes
    ----------
    messages : list of Struct
        Messages to send, each to the topic of its type.
    facts : list of (noun, kind)
        Facts to count, from closed sets: the adapter turns them into metrics and their labels.
    refused : list of Refused
        Messages for dead-letters.
    bookings : list of Booking
        Changes of the money that coupons hold and have spent.
    totals : list of TotalChange
        Changes of the totals that the partition reports.
    is_over : bool
        True if the state is no longer needed: the next message of its key finds a new one.
    """

    messages: list[Struct] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)
    totals: list[TotalChange] = field(default_factory=list)
    is_over: bool = False

    def refuse(self, reason: Rejection, detail: str, message: Struct | None = None) -> None:
        """Send a message to dead-letters.

        Parameters
        ----------
        reason : Rejection
            The fault, as a metric label.
        detail : str
            The fault, for people.
        message : Struct or None
            The message to refuse; None for the message that the step processes.

        Examples
        --------
        >>> effects = Effects()
        >>> effects.refuse(Rejection.LATE, "its window has closed")
        >>> [(one.reason.value, one.detail) for one in effects.refused]
        [('late', 'its window has closed')]
        """
        self.refused.append(Refused(reason, detail, message))
