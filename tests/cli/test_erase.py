"""`erase`: a request for each shopper, and none for what can be no shopper."""

import time

import msgspec
import pytest

from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.topics import ERASURES

from .conftest import Run, records

pytestmark = pytest.mark.kafka


def test_each_shopper_is_asked_for_once(run: Run, bootstrap: str, unique: str) -> None:
    users = [f"{unique}-ann", f"{unique}-bob", f"{unique}-ann"]
    result = run("erase", *users, "-b", bootstrap)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "asked to forget 2 shoppers; states go 15 days after their last coupon is over\n"
    sent = [Decoder(ERASURES)(record.value) for record in records(bootstrap, ERASURES.name, unique)]
    assert {request.user_id for request in sent} == set(users)
    assert len(sent) == len({request.event_id for request in sent}) == 2
    assert all(abs(request.occurred_at - time.time()) < 600 for request in sent)


def test_a_script_is_told_what_was_sent(run: Run, bootstrap: str, unique: str) -> None:
    result = run("erase", unique, "-b", bootstrap, "--json")
    [record] = records(bootstrap, ERASURES.name, unique)
    assert msgspec.json.decode(result.stdout) == [msgspec.json.decode(record.value)]


@pytest.mark.parametrize(
    ("user_id", "expected"), [("", "length >= 1"), ("x" * 201, "length <= 200"), ("a\udcff", "expected UTF-8")]
)
def test_what_can_be_no_shopper_is_an_error_and_nothing_is_sent(
    run: Run, bootstrap: str, unique: str, user_id: str, expected: str
) -> None:
    result = run("erase", unique, user_id, "-b", bootstrap)
    assert result.exit_code == 2
    assert "is no user_id" in result.stderr
    assert expected in result.stderr
    assert records(bootstrap, ERASURES.name, unique) == []
