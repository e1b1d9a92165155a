"""Everything that stream_coupons raises.

StreamCouponsError
 +- BadMessage         bytes that are not a message of the topic they came in
 +- BadConfig          a setting, a catalogue or a command that cannot work
 |   +- BrokerAway     no broker answers
 +- SnapshotMismatch   a model snapshot that does not fit this program
 +- PluginError        an extension that raised, or returned what it must not

Expected outcomes (ineligible, over a cap, no budget left) are reason-coded values, never exceptions.
"""


class StreamCouponsError(Exception):
    """The root of the tree; its text names the field, the value and what was expected."""


class BadMessage(StreamCouponsError):
    """Bytes that are not a message of the topic they came in.

    Parameters
    ----------
    reason : str
        One code of a closed set (`core.reasons.Rejection`): a metric label and a dead-letter header.
    detail : str
        What a person needs to mend the sender.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BadConfig(StreamCouponsError):
    """A setting, a catalogue or a command that cannot work."""


class BrokerAway(BadConfig):
    """No broker answers at the addresses, or no endpoint of the tokens for them; it may do so later."""


class SnapshotMismatch(StreamCouponsError):
    """A model snapshot whose format, feature schema or checksum does not fit this program."""


class PluginError(StreamCouponsError):
    """A model or a policy from another package that raised, or whose result is out of range."""
