"""A shop in one process: prints its features, training examples and models. Run with and without a plug-in."""

import base64
import json
import sys
from typing import Any

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, SCHEMA
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import Reason
from stream_coupons.core.messages.inputs import BrowseEvent, Item, OrderEvent
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.models.linear import prior_array
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.ops.explain.feature_text import tell
from stream_coupons.settings import Settings
from stream_coupons.testing.local import LocalPipeline

PAYDAY = 1_769_421_600.0  # 2026-01-26
DAY_S = 86_400.0
ADDED = ("payday", "title_length", "payday_discount")


def shop() -> dict[str, Any]:
    """Sell for a month, learn from it, and return what a plug-in changes."""
    found: list[Any] = []
    decode = Decoder(topics.EXAMPLES)

    def take(output: Any) -> None:
        if output.topic == topics.EXAMPLES.name:
            found.append(decode(output.value))

    terms: dict[str, Any] = {"discount_minor": 150, "max_discount_minor": 150, "typical_price_minor": 800}
    pipeline = LocalPipeline(
        Settings(),
        [Coupon(coupon_id="tea", title="Tea", categories=["tea"], margin_ratio=0.6, **terms)],
        serves_at_once=False,
        on_output=take,
    )
    tea, bread = (Item(item_id=name, category=name, price_minor=800) for name in ("tea", "bread"))
    for n in range(40):
        who: dict[str, Any] = {"user_id": f"u{n}", "occurred_at": PAYDAY + n * DAY_S / 4}
        pipeline.publish(OrderEvent(event_id=f"o{n}", order_id=f"o{n}", items=[bread], **who))
        pipeline.publish(BrowseEvent(event_id=f"b{n}", item=tea, **who))
    pipeline.tick(PAYDAY + 60 * DAY_S)
    [snapshot] = pipeline.trainer.snapshots()
    columns = {name: NUMERIC.index(name) for name in ADDED if name in NUMERIC}
    return {
        "numeric": NUMERIC,
        "schema": SCHEMA,
        "snapshot": base64.b64encode(encode(snapshot)).decode(),
        "examples": [
            {"head": each.head, **{name: each.numeric[column] for name, column in columns.items()}} for each in found
        ],
        "prior": {name: float(prior_array("effect")[DIMENSIONS + column]) for name, column in columns.items()},
        "texts": {name: tell(Reason(name, 1.0, 0.1)).sentence.partition(":")[0] for name in ADDED},
    }


def refusal(snapshot: bytes) -> str:
    """Return why this program refuses a snapshot; an empty text if it does not."""
    decoded: ModelSnapshot = Decoder(topics.SNAPSHOTS)(snapshot, topics.SNAPSHOTS.max_message_bytes)
    try:
        compile_snapshot(decoded)
    except SnapshotMismatch as mismatch:
        return str(mismatch)
    return ""


if __name__ == "__main__":
    given = sys.stdin.read()
    print(json.dumps(shop() | {"refusal": refusal(base64.b64decode(given)) if given else ""}))
