"""Runs of `what-if` for entries that are not live: a process of the laboratory, one at a time."""

import asyncio
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons_console.index import Index
from stream_coupons_console.web.campaigns import members_of
from stream_coupons_console.web.forms import fields
from stream_coupons_console.web.render import page
from stream_coupons_console.web.security import CSRF, require_token

LABORATORY = "stream_coupons_lab"
SINCE = ("1d", "7d", "28d")
"""Times since which events may be played; the second one by default."""
NICENESS = 5
"""A play yields to what decides, three to one; at 10, nine to one, it took minutes on a busy machine."""
MAX_SAID = 4000
"""Characters of the messages of a process that are kept."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|[━╸╺]+ *")
_PROGRESS = re.compile("[0-9]%")


class WhatIfRunner:
    """Plays recorded events with entries as if they were live; one play at a time.

    Parameters
    ----------
    options : sequence of str
        Options of the command line that name the settings of this console.
    index : Index
        Its revision grows with the progress, so that pages are shown anew.

    Attributes
    ----------
    title, currency, since
        Name of the entry that is played, the currency of its money, and how old the oldest event is.
    note, error : str
        Progress of the play, and why it failed.
    result : dict or None
        The verb's report.
    """

    def __init__(self, options: Sequence[str], index: Index) -> None:
        self._options, self._index = options, index
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.title = self.note = self.error = self.since = ""
        self.currency: str | None = None
        self.began_at = self.ended_at = 0.0
        self.result: dict[str, Any] | None = None

    @property
    def is_running(self) -> bool:
        """True while a play goes on."""
        return self._task is not None and not self._task.done()

    def start(
        self, title: str, entries: Iterable[Campaign | Coupon], currency: str | None, since: str = SINCE[1]
    ) -> None:
        """Begin a play of entries as if they were running.

        Raises
        ------
        HTTPException
            If another one goes on, or the laboratory is not installed.
        """
        if self.is_running:
            raise HTTPException(409, f"{self.title} is being played: wait for it, or cancel it first")
        if find_spec(LABORATORY) is None:
            raise HTTPException(503, "this needs the package stream-coupons-lab beside the console")
        if since not in SINCE:
            raise HTTPException(400, f"since is {since!r}, expected one of {', '.join(SINCE)}")
        self.title, self.currency, self.since, self.note, self.error = title, currency, since, "starting", ""
        self.result, self.began_at = None, time.time()
        self._task = asyncio.create_task(self._run(as_live(entries)))

    async def cancel(self) -> None:
        """End the play that goes on, if there is one."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, catalogue: bytes) -> None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "what-if.json"
            file.write_bytes(catalogue)
            verb = ("-m", "stream_coupons", "what-if", str(file), "--since", self.since, "--json", *self._options)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *verb, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, env=os.environ | {"TTY_COMPATIBLE": "1", "COLUMNS": "60"},
            )  # fmt: skip
            process, self.error = self._process, "it was cancelled"
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            assert process.stdout is not None
            try:
                found, said = await asyncio.gather(process.stdout.read(), self._follow(process))
                code = await process.wait()
                self.error = "" if code == 0 else said or f"it ended with code {code}"
                self.result = msgspec.json.decode(found) if code == 0 else None
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                self.note, self.ended_at = "", time.time()
                self._index.revision += 1

    async def _follow(self, process: asyncio.subprocess.Process) -> str:
        """Note the progress that a process states, and return its messages."""
        assert process.stderr is not None
        said = ""
        while chunk := await process.stderr.read(1000):
            said = (said + _CONTROL.sub("", chunk.decode(errors="replace")))[-MAX_SAID:]
            self.note = next((line.strip() for line in reversed(re.split("[\r\n]", said)) if line.strip()), "")
            self._index.revision += 1
        lines = (line.strip() for line in re.split("[\r\n]", said) if not _PROGRESS.search(line))
        return "\n".join(filter(None, lines))


def as_live(entries: Iterable[Campaign | Coupon]) -> bytes:
    """Return a catalogue file in which all entries are live."""
    sections: dict[str, list[Any]] = {"campaigns": [], "coupons": []}
    for one in entries:
        if isinstance(one, Campaign):
            live: Any = msgspec.structs.replace(one, state="running", ramp_ratio=1.0)
            sections["campaigns"].append(msgspec.to_builtins(live) | {"state": "running"})
        else:
            sections["coupons"].append(msgspec.structs.replace(one, paused=False))
    return msgspec.json.encode({name: some for name, some in sections.items() if some})


async def show(request: Request) -> Response:
    """Return the page of the last play."""
    found = request.app.state.what_if
    return page(request, "what_if", play=found, elapsed=(0 if found.is_running else found.ended_at) or time.time())


async def start(request: Request) -> Response:
    """Play a published campaign as if it ran."""
    values = await fields(request)
    require_token(request, values.get(CSRF))
    index, name = request.app.state.index, values.get("campaign", "")
    if (campaign := index.campaigns.entries.get(name)) is None:
        raise HTTPException(404, f"no campaign {name!r} is published")
    coupons = members_of(name, index.coupons)
    currency = index.settings.shop.currency(coupons[0].domain) if coupons else None
    request.app.state.what_if.start(name, [campaign, *coupons], currency, values.get("since", SINCE[1]))
    return RedirectResponse("/what-if", 303)


async def cancel(request: Request) -> Response:
    """End the play that goes on."""
    require_token(request, (await fields(request)).get(CSRF))
    await request.app.state.what_if.cancel()
    return RedirectResponse("/what-if", 303)


ROUTES = [
    Route("/what-if", show),
    Route("/what-if", start, methods=["POST"]),
    Route("/what-if/cancel", cancel, methods=["POST"]),
]
