"""Fields of forms."""

from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FORM_BYTES = 1 << 20


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
