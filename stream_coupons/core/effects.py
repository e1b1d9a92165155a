"""What a step brings about besides the new state."""

from msgspec import Struct

from stream_coupons.core.reasons import Rejection


class Refused(Struct, frozen=True):
    """A message that cannot be used; `message` is None when it is the one at hand."""

    reason: Rejection
    detail: str
    message: Struct | None = None


class Effects:
    """Messages to send, facts to count and messages refused, in the order in which they came about.

    A fact is a pair (noun, kind) from closed sets; the adapter turns facts into metrics.
    """

    __slots__ = ("facts", "is_over", "messages", "refused")

    def __init__(self) -> None:
        self.messages: list[Struct] = []
        self.facts: list[tuple[str, str]] = []
        self.refused: list[Refused] = []
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

    def count(self, noun: str, kind: str) -> None:
        """Count a fact."""
        self.facts.append((noun, kind))

    def refuse(self, reason: Rejection, detail: str, message: Struct | None = None) -> None:
        """Send a message to dead-letters."""
        self.refused.append(Refused(reason, detail, message))
