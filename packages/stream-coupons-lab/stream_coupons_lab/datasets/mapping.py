"""The mapping of a table of decisions: which of its columns are what, as a TOML file or as a mapping in Python.

A table has one row per decision of another system: who, when, which arm, with which propensity, and what followed.
"""

import tomllib
from collections.abc import Mapping as Mapped
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import MAX_WINDOW_S, NO_COUPON
from stream_coupons.core.validation_hints import explained
from stream_coupons.ops.recordings import not_readable

Column = Annotated[str, Meta(min_length=1)]
COUPON_FIELDS = frozenset(Coupon.__struct_fields__) - {"coupon_id", "attributes", "vector"}
ALL_OTHERS: Literal["*"] = "*"
OUTCOMES = ("click", "purchase", "order_value", "discount")
"""Fields that name an outcome: none is known when it is decided."""


class Mapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names the columns of a table of decisions. `docs/how-to/evaluate-a-table.md` explains each.

    At least one of `click`, `purchase` and `order_value` must be named; each holds for every arm, the control too.
    """

    arm: Column
    """Arm that was chosen: the coupon's id, or one of the values of `control`."""
    control: list[str] | str = NO_COUPON
    """The value, or values, of `arm` that mean that nothing was given."""
    shopper: Column | None = None
    """Identifies the shopper; absent, every row is another shopper."""
    time: Column | None = None
    """Time of the decision; absent, rows are in order and each outcome is known before the next row."""
    time_format: str | None = None
    """Format of `time` as in Python's strptime; absent, ISO 8601 or UTC epoch seconds. Without a zone it is UTC."""
    issue: Column | None = None
    """Identifies the decision; absent, the number of the row does."""
    propensity: Column | Annotated[float, Meta(gt=0, le=1)] | None = None
    """Column with the probability with which the arm was chosen, or the probability itself."""
    arms: Column | list[str] | None = None
    """Column with all arms that could be chosen, parted by `separator`, or the arms themselves."""
    separator: Annotated[str, Meta(min_length=1)] = "|"
    """Parts the values within a cell."""
    click: Column | None = None
    """Yes or no: a click on the coupon."""
    purchase: Column | None = None
    """Yes or no: a purchase, or any other outcome, with or without a coupon."""
    order_value: Column | None = None
    """Value of the order; without `purchase`, a value above 0 is a purchase."""
    discount: Column | None = None
    """Discount of the order by the coupon."""
    minor_units: Annotated[float, Meta(gt=0)] = 100
    """Minor units of money in one unit of `order_value` and `discount`; 1 if they are in minor units."""
    window_s: Annotated[float, Meta(gt=0, le=int(MAX_WINDOW_S))] | None = None
    """Seconds after which the outcome is known; absent, `--window`."""
    expires: Column | None = None
    """End of the coupon's validity: the outcome is known then."""
    domain: Column | None = None
    """Domain of the decision; absent, all are of one domain."""
    context: list[Column] | Literal["*"] = []
    """Columns that were known when it was decided; "*" takes every column that is named nowhere else."""
    coupon: dict[str, Column] = {}
    """By field of the catalogue, or any other name for an attribute, the column that states it."""
    coupons: dict[str, dict[str, Any]] = {}
    """By arm, fields and attributes of its coupon that no column states."""

    def __post_init__(self) -> None:
        if self.click is None and self.purchase is None and self.order_value is None:
            raise ValueError("names no outcome: expected click, purchase or order_value")
        for name in OUTCOMES:
            if self.context != ALL_OTHERS and getattr(self, name) in self.context:
                raise ValueError(
                    f"context has the column {getattr(self, name)!r}, which is the outcome {name}: it is not known at "
                    "the decision, so leave it out of the context"
                )

    @property
    def controls(self) -> frozenset[str]:
        """The values of `arm` that mean that nothing was given."""
        return frozenset([self.control] if isinstance(self.control, str) else self.control)

    def named(self) -> dict[str, str]:
        """By field of the mapping, such as `arm` or `coupon.kind`, the column that it names."""
        single = (
            "arm",
            "shopper",
            "time",
            "issue",
            "click",
            "purchase",
            "order_value",
            "discount",
            "expires",
            "domain",
        )
        found = {name: getattr(self, name) for name in (*single, "propensity", "arms")}
        found |= {f"coupon.{name}": column for name, column in self.coupon.items()}
        return {name: column for name, column in found.items() if isinstance(column, str)}

    def context_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the columns of the context, of a table that has these columns."""
        if self.context != ALL_OTHERS:
            return list(self.context)
        taken = set(self.named().values())
        return [column for column in columns if column not in taken]

    def check(self, columns: Sequence[str], name: str) -> None:
        """See that a table has the columns that are named.

        Raises
        ------
        BadConfig
        """
        named = [*self.named().items(), *(("context", column) for column in self.context_columns(columns))]
        missing = [(field, column) for field, column in named if column not in columns]
        if missing:
            field, column = missing[0]
            raise BadConfig(
                f"{name}: has no column {column!r}, which the mapping names as {field}; it has "
                f"{', '.join(map(repr, columns))}"
            )


MappingSource = Mapping | Mapped[str, Any] | str | Path


def mapping_of(said: MappingSource) -> Mapping:
    """Return a mapping from any of its forms: itself, a dictionary of its fields, or the path of a TOML file.

    Raises
    ------
    BadConfig
        Naming the file and the field, and what was expected.
    """
    if isinstance(said, Mapping):
        return said
    name, values = "mapping", said
    if isinstance(said, str | Path):
        name = str(said)
        try:
            values = tomllib.loads(Path(said).read_text(encoding="utf-8"))
        except OSError as error:
            raise not_readable(said, error) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadConfig(f"{name} is not TOML: {error}") from None
    try:
        return msgspec.convert(values, Mapping)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{name}: {explained(error, Mapping)}") from None
