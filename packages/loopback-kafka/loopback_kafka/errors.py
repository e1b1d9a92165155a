"""Errors of starting and stopping a broker.

BrokerError
 +- BrokerUnavailable   this machine lacks what the engine needs (Java, Maven, a package index)
 +- BrokerFailed        the broker was started and did not become ready, or died
 +- BrokerDataError     the data folder is in use by another broker, or is not a broker's
"""


class BrokerError(Exception):
    """The root of the broker's errors."""


class BrokerUnavailable(BrokerError):
    """The engine cannot run on this machine; the text is one line that says what to install."""


class BrokerFailed(BrokerError):
    """The broker process did not become ready, or died; the text carries the end of its log."""


class BrokerDataError(BrokerError):
    """The data folder is in use by another broker, or holds what no broker wrote."""
