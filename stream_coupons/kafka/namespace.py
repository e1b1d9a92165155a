"""Namespaces: the prefix of all topics, consumer groups and transactional ids of one system on a shared cluster.

Code has the names of the registry. They are translated where requests leave a client and answers enter it, in
`renaming` for aiokafka and in `transport` for kafka-python. So no caller can forget the namespace, and what Kafka's own
tools show of members and offsets has the broker's names.
"""

import re
from functools import partial
from typing import Any, Final

OUTSIDE: Final = "/"
"""Begins a client's name of what is outside its namespace, by which nothing can be reached; none of ours begins so."""


def check_namespace(namespace: str) -> None:
    """Check a namespace.

    Raises
    ------
    ValueError
        If it is neither empty nor the beginning of a legal name that ends in a separator.
    """
    if namespace and not re.fullmatch(r"[A-Za-z0-9._-]{0,99}[._-]", namespace):
        raise ValueError(
            f"namespace: {namespace!r}, expected nothing, or at most 100 letters, digits, '.', '_' and '-', the last "
            "of them no letter or digit, such as 'shop-a.'"
        )


def client_name(namespace: str, name: str) -> str:
    """Return the client's name of a topic, group or transactional id, by the broker's.

    Parameters
    ----------
    namespace, name : str
        The namespace, and a name that may be outside of it.

    Examples
    --------
    >>> client_name("shop-a.", "shop-a.coupon-issues"), client_name("shop-a.", "coupon-issues")
    ('coupon-issues', '/coupon-issues')
    """
    return name.removeprefix(namespace) if name.startswith(namespace) else OUTSIDE + name


def add_namespace(client: Any, namespace: str) -> None:
    """Put a namespace before all names that a client of aiokafka sends, and remove it from those that it receives.

    Parameters
    ----------
    client : aiokafka.client.AIOKafkaClient
        A client that is not started; its consumer or producer sends everything by it.
    namespace : str
        The namespace; nothing changes if it is empty.
    """
    if namespace:
        from stream_coupons.kafka.renaming import rename_messages  # here, for only some systems have a namespace

        rename_messages(client, namespace.__add__, partial(client_name, namespace))
