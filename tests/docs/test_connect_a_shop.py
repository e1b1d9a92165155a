"""The settings and envelopes of the page are read by a worker's users."""

import re
from pathlib import Path

from stream_coupons.agents.users import Users
from stream_coupons.kafka.records import Record
from stream_coupons.settings import load
from tests.agents.test_keyed import known

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "connect-a-shop.md"
BLOCK = re.compile(r"<!-- ([\w-]+) -->\n```\w+\n(.*?)```", re.DOTALL)


def test_events_in_the_envelopes_of_the_page_are_read(tmp_path: Path) -> None:
    blocks = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    file = tmp_path / "settings.toml"
    file.write_text(blocks.pop("settings"))
    users = Users(known, 1, formats=load(file, {}).kafka.formats)
    read = {
        topic: users.parse(Record(topic, 0, 0, 1_767_348_000_000, b"shopper-1042", text.encode()))[1]
        for topic, text in blocks.items()
    }
    assert {topic: (event.event_id, event.occurred_at) for topic, event in read.items()} == {
        "order-events": ("6f2a6d1e", 1767348000.0),
        "cart-events": ("c-501", 1767348000.0),
    }
    assert read["cart-events"].item.category == "tea"
