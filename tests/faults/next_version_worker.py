"""A worker of the next version of the program: one more field in every message and in a shopper's state.

`python -m tests.faults.next_version_worker --config FILE`. Additions are what a version may bring without a new topic:
old workers must read what this one writes, and the other way round, while they are exchanged one by one.
"""

import sys
from typing import Any

import msgspec

from stream_coupons.agents import keyed
from stream_coupons.agents.users import Users
from stream_coupons.cli.main import main
from stream_coupons.core.shopper.state import Shopper


class NextShopper(Shopper, array_like=True):
    """A shopper with something that the present version does not know."""

    loyalty: int = 7


def install() -> None:
    """Become the next version."""
    Users.state_type = NextShopper
    encode = keyed.encode

    def encode_with_more(message: Any) -> bytes:
        return msgspec.json.encode(msgspec.json.decode(encode(message)) | {"added_in_the_next_version": True})

    keyed.encode = encode_with_more  # type: ignore[attr-defined]


if __name__ == "__main__":
    install()
    sys.argv = ["stream-coupons", "worker", *sys.argv[1:]]
    main()
