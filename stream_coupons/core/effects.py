"""What a step brings about besides the new state."""

from typing import NamedTuple

from msgspec import Struct

from stream_coupons.core.reasons import Rejection


class Refused(Struct, frozen=True):
    """A message that cannot be used; `message` is None when it is the one at hand."""

    reason: Rejection
    detail: str
    message: Struct | None = None


class Freed(NamedTuple):
    """Of a coupon that was given: so much was held for it, and so much of that was spent in the end."""

    coupon_id: str
    held_minor: int
    spent_minor: int


class Effects:
    """Messages to send, facts to count, money to book and messages refused, in the order in which they came about.

    A fact is a pair (noun, kind) from closed sets; the adapter turns facts into metrics.
    """

    __slots__ = ("facts", "freed", "is_over", "messages", "refused")

    def __init__(self) -> None:
        self.messages: list[Struct] = []
        self.facts: list[tuple[str, str]] = []
        self.refused: list[Refused] = []
        self.freed: list[Freed] = []
        self.is_over = False
        """Whether nothing of the state is needed any more: what comes to its key finds a new one."""

    def emit(self, message: Struct) -> None:
        """Send a message to the topic of its type."""
        self.messages.append(message)

    def emit_if(self, message: Struct | None) -> None:
        """Send a message, if there is one."""
        if message is not None:
            self.messages.append(message)

    def add(self, others: "Effects") -> None:
        """Append the effects of a part of the step."""
        self.messages += others.messages
        self.facts += others.facts
        self.refused += others.refused
        self.freed += others.freed

    def free(self, coupon_id: str, held_minor: int, spent_minor: int) -> None:
        """Book what was held for a coupon: a part of it was spent, the rest is free."""
        self.freed.append(Freed(coupon_id, held_minor, spent_minor))

    def count(self, noun: str, kind: str) -> None:
        """Count a fact."""
        self.facts.append((noun, kind))

    def refuse(self, reason: Rejection, detail: str, message: Struct | None = None) -> None:
        """Send a message to dead-letters."""
        self.refused.append(Refused(reason, detail, message))
