"""Fields of forms, and the wait until a change is seen."""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FORM_BYTES = 1 << 20
SEEN_WITHIN_S = 3.0
LOOKS_EVERY_S = 0.02


async def fields(request: Request) -> dict[str, str]:
    """Return the fields of a form by name, of a repeated one the last.

    Raises
    ------
    HTTPException
        If the form is too long.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, f"the form is longer than {MAX_FORM_BYTES:,} bytes")
    found = parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=1000)
    return {name: values[-1] for name, values in found.items()}


async def until(happens: Callable[[], bool]) -> None:
    """Wait until the index has a change that was written, so that what is asked next shows it; after a while go on."""
    left_s = SEEN_WITHIN_S
    while left_s > 0 and not happens():
        await asyncio.sleep(LOOKS_EVERY_S)
        left_s -= LOOKS_EVERY_S
