"""Write the types of the builders' keyword arguments from the messages: `python tools/builder_keywords.py`.

`--check` writes nothing, and exits with 1 if the stub is stale. Type checkers read the stub; nothing imports it.
"""

import argparse
import json
import sys
from itertools import groupby
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stream_coupons.core.messages import (
    BrowseEvent,
    Campaign,
    CartEvent,
    Coupon,
    CouponIssue,
    ErasureRequest,
    FeedbackEvent,
    Item,
    ObservedIssue,
    OrderEvent,
)
from stream_coupons.core.rules import PolicyRules

STUB = Path(__file__).parents[1] / "stream_coupons" / "testing" / "keywords.pyi"
BY_BUILDER: dict[type, tuple[str, ...]] = {
    PolicyRules: (),
    Coupon: ("coupon_id",),
    Campaign: ("campaign_id",),
    Item: ("item_id",),
    BrowseEvent: ("user_id", "occurred_at", "item"),
    CartEvent: ("user_id", "occurred_at", "item"),
    OrderEvent: ("user_id", "occurred_at", "items"),
    FeedbackEvent: ("user_id", "occurred_at", "issue_id", "kind"),
    ObservedIssue: ("user_id", "occurred_at", "coupon_id"),
    ErasureRequest: ("user_id", "occurred_at"),
    CouponIssue: ("user_id", "coupon_id", "issued_at"),
}
"""Fields of each type that its builder sets by arguments of other names; all others are keyword arguments."""


def text_of(hint: Any, imports: set[tuple[str, str]]) -> str:
    """Return the source text of a type, and add the names to import for it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"Literal[{', '.join(map(json.dumps, args))}]"
    if origin in (Union, UnionType):
        return " | ".join(text_of(arg, imports) for arg in args)
    if args:
        return f"{origin.__name__}[{', '.join(text_of(arg, imports) for arg in args)}]"
    if hint is NoneType:
        return "None"
    if hint.__module__ != "builtins":
        imports.add((hint.__module__, hint.__name__))
    return str(hint.__name__)


def stub() -> str:
    """Return the text of the stub."""
    imports: set[tuple[str, str]] = set()
    parts = []
    for message, by_name in BY_BUILDER.items():
        hints = {name: hint for name, hint in get_type_hints(message).items() if name not in by_name}
        fields = [f"    {name}: {text_of(hint, imports)}" for name, hint in hints.items()]
        parts.append("\n".join([f"class {message.__name__}Fields(TypedDict, total=False):", *fields]))
    by_module = groupby(sorted(imports), key=lambda one: one[0])
    lines = [f"from {module} import {', '.join(name for _, name in names)}" for module, names in by_module]
    head = f"# Written by {Path(__file__).name} from the messages: change these, then run it."
    return "\n\n".join([head, "from typing import Literal, TypedDict", "\n".join(lines), *parts]) + "\n"


def main() -> int:
    """Write the stub, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the stub is stale")
    is_check, text = parser.parse_args().check, stub()
    if STUB.is_file() and STUB.read_text(encoding="utf-8") == text:
        return 0
    if is_check:
        print(f"{STUB.name} is stale: run python tools/builder_keywords.py", file=sys.stderr)
        return 1
    STUB.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
