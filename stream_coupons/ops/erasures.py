"""Requests to forget shoppers."""

import time
import uuid

from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.inputs import ErasureRequest
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode


def erasure_request(user_id: str) -> ErasureRequest:
    """Return a request that the workers will take.

    Raises
    ------
    BadConfig
        If there can be no such id.
    """
    request = ErasureRequest(event_id=str(uuid.uuid4()), user_id=user_id, occurred_at=time.time())
    try:
        Decoder(topics.ERASURES)(encode(request))
    except BadMessage as bad:
        raise BadConfig(f"{user_id!r} is no user_id: {bad.detail}") from None
    except UnicodeEncodeError:
        raise BadConfig(f"{user_id!r} is no user_id: expected UTF-8") from None
    return request
