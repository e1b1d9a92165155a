"""Effects of a step besides the new state."""

from typing import NamedTuple

from msgspec import Struct

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
    """

    held_minor: int = 0
    expected_minor: float = 0.0
    variance: float = 0.0
    spent_minor: int = 0


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


class Effects:
    """Messages to send, facts to count, money to book and messages refused, each in order of occurrence.

    A fact is a pair (noun, kind) from closed sets; the adapter turns facts into metrics.
    """

    __slots__ = ("bookings", "facts", "is_over", "messages", "refused")

    def __init__(self) -> None:
        self.messages: list[Struct] = []
        self.facts: list[tuple[str, str]] = []
        self.refused: list[Refused] = []
        self.bookings: list[Booking] = []
        self.is_over = False
        """True if the state is no longer needed: the next message of its key finds a new one."""

    def emit(self, message: Struct) -> None:
        """Send a message to the topic of its type."""
        self.messages.append(message)

    def add(self, others: "Effects") -> None:
        """Append the effects of a part of the step."""
        self.messages += others.messages
        self.facts += others.facts
        self.refused += others.refused
        self.bookings += others.bookings

    def book(self, booking: Booking) -> None:
        """Book a change of the money that a coupon holds and has spent."""
        self.bookings.append(booking)

    def count(self, noun: str, kind: str) -> None:
        """Count a fact.

        Parameters
        ----------
        noun, kind : str
            From closed sets: they become a metric and its label.

        Examples
        --------
        >>> effects = Effects()
        >>> effects.count("decision", "given")
        >>> effects.facts
        [('decision', 'given')]
        """
        self.facts.append((noun, kind))

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
