"""Access to the console: hosts, origins, tokens and forms; no test reaches a broker."""

import pytest
from starlette.testclient import TestClient

from stream_coupons.settings import Settings
from stream_coupons_console.web.app import create_app
from stream_coupons_console.web.security import COOKIE, CSRF, Sessions

HOST = "127.0.0.1:9470"
TOKEN = bytes(range(32))
PAUSE = "/campaigns/spring/pause"


def client_of(token: bytes | None, *, needs_token: bool = False) -> TestClient:
    """Return a client of an application whose follower is not started."""
    app = create_app(Settings(), Sessions(token), {HOST}, needs_token=needs_token)
    return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False, raise_server_exceptions=True)


@pytest.fixture
def client() -> TestClient:
    """A client of a console with a token."""
    return client_of(TOKEN)


def sign_in(client: TestClient, token: str = TOKEN.hex()) -> int:
    """Give a token, and return the status of the answer."""
    return client.post("/sign-in", data={"token": token}).status_code


def csrf_of(client: TestClient) -> str:
    """Return the value that the session's forms carry."""
    sessions: Sessions = client.app.state.sessions  # type: ignore[attr-defined]
    return sessions.csrf(client.cookies[COOKIE])


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:80", "127.0.0.1:9470.evil.example", ""])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert HOST in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9471", "null"])
def test_a_foreign_origin_is_refused_whatever_else_it_brings(client: TestClient, origin: str) -> None:
    sign_in(client)
    form = {CSRF: csrf_of(client)}
    assert client.post(PAUSE, data=form, headers={"origin": origin}).status_code == 403
    assert client.get("/", headers={"origin": origin}).status_code == 403


def test_a_form_of_another_site_is_refused(client: TestClient) -> None:
    sign_in(client)
    headers = {"sec-fetch-site": "cross-site"}
    assert client.post(PAUSE, data={CSRF: csrf_of(client)}, headers=headers).status_code == 403
    assert client.get("/", headers=headers).status_code == 200  # a link on another site


def test_a_form_without_the_session_s_value_is_refused(client: TestClient) -> None:
    assert sign_in(client) == 303
    for form in ({}, {CSRF: ""}, {CSRF: "0" * 64}):
        answer = client.post(PAUSE, data=form)
        assert answer.status_code == 403
        assert "does not come from this session" in answer.text


def test_the_value_of_another_session_is_refused(client: TestClient) -> None:
    sign_in(client)
    other = csrf_of(client)
    client.cookies.clear()
    sign_in(client)
    assert client.post(PAUSE, data={CSRF: other}).status_code == 403


@pytest.mark.parametrize("token", ["", "0" * 64, TOKEN.hex()[:-1], TOKEN.hex() + "0", "é" * 64])
def test_a_wrong_token_begins_no_session(client: TestClient, token: str) -> None:
    assert sign_in(client, token) == 401
    assert COOKIE not in client.cookies
    assert client.post(PAUSE, headers={"authorization": "Bearer x"}).status_code == 401


def test_a_session_ends_when_the_person_signs_out(client: TestClient) -> None:
    sign_in(client)
    session, csrf = client.cookies[COOKIE], csrf_of(client)
    client.post("/sign-out")
    client.cookies[COOKIE] = session
    assert client.post(PAUSE, data={CSRF: csrf}).status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: TestClient) -> None:
    cookie = client.post("/sign-in", data={"token": TOKEN.hex()}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_without_a_token_nothing_can_be_changed() -> None:
    client = client_of(None)
    assert sign_in(client, "") == 401
    answer = client.post(PAUSE, headers={"authorization": "Bearer "})
    assert answer.status_code == 403
    assert "--token-file" in answer.text
    assert "<form" not in client.get("/").text


def test_where_reading_needs_the_token_nothing_is_shown_without_it() -> None:
    client = client_of(TOKEN, needs_token=True)
    assert client.get("/now", headers={"accept": "text/html"}).headers["location"] == "/sign-in?then=/now"
    assert client.get("/live").status_code == 401
    assert client.get("/sign-in").status_code == 200
    assert client.get("/static/console.css").status_code == 200
    assert client.get("/", headers={"authorization": f"Bearer {TOKEN.hex()}"}).status_code == 200
    sign_in(client)
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("then", ["https://evil.example", "//evil.example", "evil"])
def test_sign_in_leads_to_no_other_site(client: TestClient, then: str) -> None:
    answer = client.post("/sign-in", params={"then": then}, data={"token": TOKEN.hex()})
    assert answer.headers["location"] == "/"


def test_pages_may_neither_be_framed_nor_run_foreign_scripts(client: TestClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_an_unknown_campaign_or_verb_is_said(client: TestClient) -> None:
    answer = client.get("/campaigns/%3Cscript%3E")
    assert answer.status_code == 404
    assert "<script>" not in answer.text.split("</header>")[1].split("<script src")[0]
    sign_in(client)
    assert client.post("/campaigns/spring/dance", data={CSRF: csrf_of(client)}).status_code == 404


def test_a_form_that_is_too_long_is_refused(client: TestClient) -> None:
    assert client.post("/sign-in", data={"token": "x" * 2_000_000}).status_code == 413
