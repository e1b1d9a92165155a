"""Misspelt names are found, and the meant ones named."""

from stream_coupons.core.messages.inputs import BrowseEvent, OrderEvent
from stream_coupons.core.validation_hints import near, unknown_fields


def test_unknown_fields_are_found_at_any_depth() -> None:
    order = {"orderid": "o", "items": [{"item_id": "a"}, {"item_id": "b", "categroy": "tea"}], "zzz": None}
    found = [(path, near(path.rpartition(".")[2], names)) for path, names in unknown_fields(order, OrderEvent)]
    assert found == [("orderid", ", expected order_id?"), ("items.categroy", ", expected category?"), ("zzz", "")]
    assert list(unknown_fields({"item": None, "context": {"any": 1}}, BrowseEvent)) == []
