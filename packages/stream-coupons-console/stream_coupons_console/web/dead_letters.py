"""Dead letters: how many for which reason, the newest, all of one, and their redrive."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.letters import Letter, Selection, letter_of, numbers_of, place_of, read_letters
from stream_coupons.kafka.redrive import Done, Redrive, RedriveOutcome, Sending, sendings
from stream_coupons.settings import Settings
from stream_coupons_console.index import Index
from stream_coupons_console.web.forms import fields
from stream_coupons_console.web.render import page
from stream_coupons_console.web.security import CSRF, require_token

SHOWN_LETTERS = 100
SHOWN_OUTCOMES = 50
READ_WITHIN_S = 5.0


class RedriveReport(NamedTuple):
    """Outcomes of a redrive, or of its preview."""

    is_preview: bool
    counts: Mapping[RedriveOutcome, int]
    some: Sequence[Done]


def letter_at(place: str, settings: Settings) -> Letter | None:
    """Return a dead letter by its place, read from there; None if it is not kept any more."""
    partition, offset = numbers_of(place)
    with Reader(settings.kafka, [topics.DEAD_LETTERS.name], from_beginning=False) as reader:
        reader.seek({(topics.DEAD_LETTERS.name, partition): offset})
        for record in reader.read_to_end():
            if (record.partition, record.offset) == (partition, offset):
                return letter_of(record, settings.kafka.formats)
            if record.partition == partition and record.offset > offset:
                break
    return None


def redrive(selection: Selection, settings: Settings, *, is_preview: bool) -> RedriveReport:
    """Send the records of some letters again, or state what would be sent."""
    kafka, place = settings.kafka, next(iter(selection.places), "")
    found = [one for one in [letter_at(place, settings)] if one] if place else selection.of(read_letters(kafka))
    counts, some = Counter[RedriveOutcome](), list[Done]()
    with nullcontext() if is_preview else Publisher(kafka, kafka.partitions) as publisher:
        work = Redrive(publisher, sendings(kafka), kafka.partitions)
        for done in (each for part in (*map(work.take, found), work.finish()) for each in part):
            counts[done.outcome] += 1
            if len(some) < SHOWN_OUTCOMES:
                some.append(done._replace(letter=done.letter._replace(value=None)))
    return RedriveReport(is_preview, counts, some)


async def show_all(request: Request) -> Response:
    """Return the page of all dead letters."""
    return all_page(request, request.query_params, None)


def all_page(request: Request, asked: Mapping[str, str], report: RedriveReport | None) -> Response:
    """Return the page of the letters of a filter, with the outcome of a redrive."""
    index: Index = request.app.state.index
    reason, topic = asked.get("reason") or None, asked.get("topic") or None
    every = [one.letter for one in index.letters.values()]
    some = [*Selection(reason, topic).of(every)]
    newest = sorted(some, key=lambda one: -one.at)
    sent = {place: index.sendings.get(known.digest) for place, known in index.letters.items()}
    return page(
        request,
        "dead_letters",
        reason=reason or "",
        topic=topic or "",
        reasons=sorted({one.reason for one in every}),
        topics=sorted({one.topic for one in every}),
        counts=sorted(Counter((one.reason, one.topic) for one in some).items(), key=lambda one: -one[1]),
        again=Counter((one.reason, one.topic) for one in some if sent[one.place]),
        newest=[*islice(newest, SHOWN_LETTERS)],
        count=len(some),
        sent=sent,
        report=report,
        outcomes=RedriveOutcome,
    )


async def show(request: Request) -> Response:
    """Return the page of a dead letter."""
    return await letter_page(request, place_of(request.path_params["place"]), None)


async def letter_page(request: Request, place: str, report: RedriveReport | None) -> Response:
    """Return the page of a dead letter, with the outcome of a redrive."""
    index: Index = request.app.state.index
    found = await asyncio.to_thread(letter_at, place, index.settings)
    if found is None or found.at <= index.erased_at((found.key or b"").decode(errors="replace")):
        raise HTTPException(404, f"there is no dead letter {place}: it was never there, or is not kept any more")
    sending: Sending | None = index.sendings.get(found.digest())
    return page(
        request,
        "dead_letter",
        letter=found,
        key=_readable(found.key),
        value=_readable(found.value),
        hindrance=found.hindrance(),
        sending=sending,
        report=report,
        outcomes=RedriveOutcome,
    )


def _readable(data: bytes | None) -> str:
    """Return bytes as text, or in hexadecimal digits if they are not UTF-8."""
    try:
        return "none" if data is None else data.decode()
    except UnicodeDecodeError:
        return f"not UTF-8: {(data or b'').hex()}"


async def act(request: Request) -> Response:
    """Send one letter again."""
    require_token(request, (await fields(request)).get(CSRF))
    place = place_of(request.path_params["place"])
    chosen = Selection(places=frozenset({place}))
    report = await asyncio.to_thread(redrive, chosen, request.app.state.settings, is_preview=False)
    return await letter_page(request, place, report)


async def act_all(request: Request) -> Response:
    """Send the letters of a filter again, or state what would be sent."""
    values = await fields(request)
    require_token(request, values.get(CSRF))
    chosen = Selection(values.get("reason") or None, values.get("topic") or None)
    is_preview = values.get("do") != "send"
    report = await asyncio.to_thread(redrive, chosen, request.app.state.settings, is_preview=is_preview)
    return all_page(request, values, report)


ROUTES = [
    Route("/dead-letters", show_all),
    Route("/dead-letters/redrive", act_all, methods=["POST"]),
    Route("/dead-letters/{place}", show),
    Route("/dead-letters/{place}/redrive", act, methods=["POST"]),
]
