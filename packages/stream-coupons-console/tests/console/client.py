"""The console in the process of a test, beside topics of its own on the broker of the session."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from starlette.testclient import TestClient

from stream_coupons.kafka import admin
from stream_coupons.settings import Settings, load
from stream_coupons_console.web.app import create_app
from stream_coupons_console.web.security import Sessions

TOKEN = bytes(range(32))
DEADLINE_S = 30.0
HOST = "console.test"


def settings_for(bootstrap: str, **rules: object) -> Settings:
    """Return settings for a broker, and make its topics."""
    found = load()
    kafka = msgspec.structs.replace(found.kafka, bootstrap=bootstrap)
    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka)
    return msgspec.structs.replace(found, kafka=kafka, **rules)


@contextmanager
def open_console(settings: Settings, token: bytes | None = TOKEN) -> Iterator[TestClient]:
    """Yield a client of a console that has read its topics."""
    app = create_app(settings, Sessions(token), {HOST})
    with TestClient(app, base_url=f"http://{HOST}", follow_redirects=False) as client:
        until(lambda: app.state.follower.is_caught_up)
        yield client


def until(happens: Callable[[], object]) -> None:
    """Wait until something happens."""
    deadline = time.monotonic() + DEADLINE_S
    while not happens():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)


def sign_in(client: TestClient) -> str:
    """Sign in, and return what proves that a form comes from the console."""
    assert client.post("/sign-in", data={"token": TOKEN.hex()}).status_code == 303
    found = re.search('name="csrf" value="([0-9a-f]+)"', client.get("/coupons/new").text)
    assert found is not None
    return found[1]
