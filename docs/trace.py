"""Trace one event through the code: `python docs/trace.py`, or `--check` that the page is what it writes.

A browse event that becomes a coupon runs through the local pipeline. The section "Through the code" of
docs/explanation/life-of-an-event.md lists the functions of the package that it calls. Exit code 1 of `--check`: the
page is stale.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, groupby, pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import stream_coupons
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import BrowseEvent, Item, OrderEvent
from stream_coupons.kafka import topics
from stream_coupons.runtime.steps import Result
from stream_coupons.settings import Settings
from stream_coupons.testing.local import LocalPipeline

PACKAGE = Path(stream_coupons.__file__).parent
PAGE = Path(__file__).parent / "explanation" / "life-of-an-event.md"
BEGIN = "<!-- Written by docs/trace.py: change the code, then run it. -->\n"
END = "<!-- end of trace -->\n"
AT = 1_767_348_000.0
MINUTE_S = 60.0
TOPICS = {BrowseEvent: topics.BROWSE.name, OrderEvent: topics.ORDER.name}
MAX_TREE_DEPTH = 4
"""Levels of the tree of calls: rooms entered one from another."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function of the package.

    Attributes
    ----------
    module : str
        Path below the package, such as `core/money/wallet`.
    function : str
        Qualified name.
    depth : int
        Number of callers that are calls of this trace, too.
    """

    module: str
    function: str
    depth: int

    @property
    def room(self) -> str:
        """Return the folder of the module."""
        return self.module.rpartition("/")[0] or self.module


class Tracer:
    """Records calls of functions of the package, without those of the local pipeline itself.

    A generator counts once. Comprehensions and generator expressions do not count: they are calls in some versions
    of Python only.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._depths: dict[FrameType, int] = {}

    def start(self) -> None:
        """Start to record."""
        sys.setprofile(self._note)

    def stop(self, _: Result | None = None) -> None:
        """Stop to record."""
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code.co_name.startswith("<") or frame in self._depths:
            return
        path = Path(code.co_filename)
        if not path.is_relative_to(PACKAGE):
            return
        module = str(path.relative_to(PACKAGE).with_suffix(""))
        if module.startswith("testing/"):
            return
        caller = frame.f_back
        while caller is not None and caller not in self._depths:
            caller = caller.f_back
        depth = 0 if caller is None else self._depths[caller] + 1
        self._depths[frame] = depth
        self.calls.append(Call(module, code.co_qualname, depth))


def events() -> Iterator[BrowseEvent | OrderEvent]:
    """Yield the events of two shoppers; the last one becomes a coupon."""
    tea = Item(item_id="A1", category="tea", price_minor=800)
    yield BrowseEvent(event_id="b1", user_id="another-shopper", occurred_at=AT, item=tea)
    bread = Item(item_id="B1", category="bread", price_minor=300)
    yield OrderEvent(event_id="o1", user_id="shopper", occurred_at=AT + MINUTE_S, order_id="o1", items=[bread])
    yield BrowseEvent(event_id="b2", user_id="shopper", occurred_at=AT + 2 * MINUTE_S, item=tea)


def traced() -> list[Call]:
    """Return the calls from the record of the last event to its saved batch.

    Raises
    ------
    ValueError
        If the event did not become a coupon.
    """
    _run(Tracer())  # fills the caches of the process
    tracer = Tracer()
    sent = _run(tracer)
    if topics.ISSUES.name not in sent:
        raise ValueError(f"the traced event led to {sorted(sent)}, not to a record of {topics.ISSUES.name}")
    return list(dropwhile(lambda call: call.room != "runtime", tracer.calls))  # before: the client that sends


def _run(tracer: Tracer) -> set[str]:
    """Run the events, trace the last one, and return the topics it sent records to."""
    terms: dict[str, Any] = {"kind": "amount", "discount_minor": 100, "max_discount_minor": 100, "stock": 1000}
    coupons = [
        Coupon(coupon_id=name, categories=[name], typical_price_minor=800, margin_ratio=0.5, **terms)
        for name in ("tea", "coffee")
    ]
    sent: set[str] = set()
    pipeline = LocalPipeline(
        Settings(),
        coupons,
        serves_at_once=False,
        on_output=lambda output: sent.add(output.topic),
        on_result=tracer.stop,
    )
    *earlier, last = events()
    for event in earlier:
        pipeline.send(TOPICS[type(event)], event)
    sent.clear()
    tracer.start()
    try:
        pipeline.send(TOPICS[type(last)], last)
    finally:
        tracer.stop()
    return sent


def section() -> str:
    """Return the section of the page, in Markdown."""
    calls = traced()
    modules = [call.module for call in calls]
    changes = sum(one != other for one, other in pairwise(modules))
    return "\n\n".join(
        [
            "A shopper who ordered bread a minute ago browses tea and gets a coupon for it. The catalogue has two "
            "coupons, the shopper's state exists, and no model has been trained yet. The trace runs from the record "
            "in `browse-events` to the saved batch:",
            f"| Calls of functions of the package | Files | Changes of file |\n| --- | --- | --- |\n"
            f"| {len(calls)} | {len(set(modules))} | {changes} |",
            "Calls that enter another room (a folder of `stream_coupons/`), in order. Each is indented below the room "
            "that makes it; a repeated call is listed once:",
            f"```text\n{chr(10).join(tree(calls))}\n```",
            "All functions by room and module, in the order of their first calls:",
            "\n".join(["| Room | Module | Calls | Functions |", "| --- | --- | --- | --- |", *rows(calls)]),
        ]
    )


def tree(calls: Sequence[Call]) -> Iterator[str]:
    """Yield an indented line for each call that enters another room than its caller's."""
    path: list[Call] = []
    listed: set[tuple[str, ...]] = set()
    for call in calls:
        del path[call.depth :]
        path.append(call)
        entries = tuple(next(group) for _, group in groupby(path, key=lambda one: one.room))
        names = tuple(f"{entry.module}: {entry.function}" for entry in entries)
        if entries[-1] is call and len(entries) <= MAX_TREE_DEPTH and names not in listed:
            listed.add(names)
            yield f"{'  ' * (len(names) - 1)}{names[-1]}"


def rows(calls: Sequence[Call]) -> Iterator[str]:
    """Yield a row of the table for each module, by room, both in the order of their first call."""
    rooms = list(dict.fromkeys(call.room for call in calls))
    counts = Counter(call.module for call in calls)
    for module in sorted(counts, key=lambda name: rooms.index(name.rpartition("/")[0] or name)):
        functions = dict.fromkeys(call.function for call in calls if call.module == module)
        room, _, name = module.rpartition("/")
        yield f"| {room} | {name} | {counts[module]} | {', '.join(f'`{function}`' for function in functions)} |"


def page() -> str:
    """Return the page with its section written anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{section()}\n\n{END}{after}"


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is stale")
    is_check = parser.parse_args().check
    text = page()
    if text == PAGE.read_text(encoding="utf-8"):
        return 0
    if is_check:
        print("docs/explanation/life-of-an-event.md is stale: run python docs/trace.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print("docs/explanation/life-of-an-event.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
