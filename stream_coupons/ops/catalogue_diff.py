"""A catalogue file beside the catalogue that is published: what is added, removed and changed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from stream_coupons.core.currencies import money
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.times import is_time, utc
from stream_coupons.core.validation_hints import fields_of
from stream_coupons.ops.catalogue_files import Kind


class Difference(Struct, frozen=True):
    """An entry that is in the file only (`added`), published only (`removed`), or in both with other fields.

    Attributes
    ----------
    fields : dict
        Values of the changed fields, published and in the file.
    """

    kind: str
    id: str
    change: Literal["added", "removed", "changed"]
    fields: dict[str, tuple[Any, Any]] = {}


def differences(
    kind: Kind[Any], published: Mapping[str, Coupon | Campaign], wanted: Mapping[str, Coupon | Campaign]
) -> Iterator[Difference]:
    """Yield the differences of a kind of entries, by id."""
    for entry_id in sorted(published.keys() | wanted.keys()):
        if entry_id not in published:
            yield Difference(kind.noun, entry_id, "added")
        elif entry_id not in wanted:
            yield Difference(kind.noun, entry_id, "removed")
        elif published[entry_id] != wanted[entry_id]:
            old, new = (msgspec.structs.asdict(each[entry_id]) for each in (published, wanted))
            changed = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
            yield Difference(kind.noun, entry_id, "changed", changed)


def shown(kind: type[Struct], field: str, value: Any, currency: str | None) -> str:
    """Return the value of a field to read: times as ISO 8601, money in its currency."""
    if value is None:
        return "none"
    if is_time(fields_of(kind)[field]):
        return "none" if value == END_OF_TIME else utc(value)
    if field.endswith("_minor"):
        return money(value, currency)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def shared_currency(coupons: Iterable[Coupon], currencies: Mapping[str, str]) -> str | None:
    """Return the currency that the domains of all coupons have; None if they have none or several."""
    found = {currencies.get(one.domain) for one in coupons}
    return found.pop() if len(found) == 1 else None
