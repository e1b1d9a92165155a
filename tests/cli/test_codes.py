"""`codes`: import, verify, revoke, export, and the key of a till."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream_coupons.core import codes
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops import coupon_codes
from stream_coupons.secret import ALLOW_PUBLIC
from stream_coupons.testing import coupon, issue

from .conftest import Run

FAR = 2_200_000_000.0


def put(bootstrap: str, *messages: object) -> None:
    """Publish coupons and issues."""
    kafka = KafkaSettings(bootstrap=bootstrap)
    with Publisher(kafka, kafka.partitions) as publisher:
        for message in messages:
            topic = next(topic for topic in topics.with_message() if isinstance(message, topic.message or ()))
            publisher.send(topic, message)  # type: ignore[arg-type]


def file_of(folder: Path, *lines: str) -> Path:
    """A file of codes."""
    path = folder / "codes.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_till_gets_the_key_of_one_coupon(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_PUBLIC, "1")
    of_all = codes.codes_key(PUBLIC_KEY)
    assert run("codes", "key", "tea").stdout.strip() == codes.coupon_key(of_all, "tea").hex()
    assert run("codes", "key").stdout.strip() == of_all.hex()


def test_there_is_no_key_without_a_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_PUBLIC, raising=False)
    result = run("codes", "key", "tea")
    assert (result.exit_code, "secret_file is not set" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["A", "", "b c"], "line 3: 'b c' is no code"),
        (["A" * 65], "line 1"),
        (["TEA-10", "X", "tea-1o"], "line 3: 'tea-1o' reads as the code of line 1"),
    ],
)
def test_a_file_with_a_line_that_is_no_code_is_refused(
    run: Run, tmp_path: Path, lines: list[str], expected: str
) -> None:
    result = run("codes", "import", file_of(tmp_path, *lines), "--coupon", "tea", "-b", "127.0.0.1:1")
    assert (result.exit_code, expected in result.stderr) == (2, True)


@pytest.mark.kafka
def test_an_import_may_be_repeated_and_grow(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    put(bootstrap, coupon(unique, codes="pool"))
    imports = []
    for count in (3, 3, 5):
        file = file_of(tmp_path, *(f"{unique}-{number}" for number in range(count)))
        imports.append(json.loads(run("codes", "import", file, "--coupon", unique, "--json", "-b", bootstrap).stdout))
    assert imports == [{"imported": 3, "known": 0}, {"imported": 0, "known": 3}, {"imported": 2, "known": 3}]
    pool = coupon_codes.read_pools(KafkaSettings(bootstrap=bootstrap)).by_coupon[unique]
    assert pool.codes() == [f"{unique}-{number}" for number in range(5)]


@pytest.mark.kafka
def test_only_a_coupon_with_a_pool_gets_codes_and_no_two_coupons_the_same(
    run: Run, bootstrap: str, unique: str, tmp_path: Path
) -> None:
    put(bootstrap, coupon(f"{unique}-a", codes="pool"), coupon(f"{unique}-b", codes="pool"), coupon(f"{unique}-c"))
    file = file_of(tmp_path, unique)
    answers = {name: run("codes", "import", file, "--coupon", f"{unique}-{name}", "-b", bootstrap) for name in "abcd"}
    assert [answer.exit_code for answer in answers.values()] == [0, 2, 2, 2]
    assert f"belongs to coupon {unique}-a: none was imported" in answers["b"].stderr
    assert "is a coupon whose codes are none" in answers["c"].stderr
    assert "is no coupon of the catalogue" in answers["d"].stderr


@pytest.mark.kafka
def test_imports_at_the_same_time_lose_nothing(bootstrap: str, unique: str) -> None:
    kafka = KafkaSettings(bootstrap=bootstrap)
    parts = [[f"{unique}-{part}-{number}" for number in range(5000)] for part in range(3)]
    threads = [threading.Thread(target=coupon_codes.add, args=(kafka, unique, part)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = coupon_codes.read_pools(kafka).by_coupon[unique].codes()
    assert sorted(found) == sorted(code for part in parts for code in part)


@pytest.mark.kafka
def test_of_two_coupons_that_import_the_same_codes_at_the_same_time_one_is_refused(bootstrap: str, unique: str) -> None:
    kafka, alike = KafkaSettings(bootstrap=bootstrap), [f"{unique}-{number}" for number in range(5000)]
    imports = {f"{unique}-a": alike, f"{unique}-b": [f"{unique}-x", *alike]}
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(coupon_codes.add, kafka, *one) for one in imports.items()]
    assert [type(one.exception()) for one in running if one.exception() is not None] == [BadConfig]
    pools = coupon_codes.read_pools(kafka).by_coupon
    found = [code for coupon_id in imports if coupon_id in pools for code in pools[coupon_id].codes()]
    assert found in imports.values()


@pytest.mark.kafka
def test_a_code_is_verified_until_it_is_revoked(run: Run, bootstrap: str, unique: str, tmp_path: Path) -> None:
    tea = coupon(f"{unique}-tea", codes="generated")
    put(bootstrap, tea, coupon(f"{unique}-pool", codes="pool"))
    key = codes.coupon_key(codes.codes_key(PUBLIC_KEY), tea.coupon_id)
    good, over = (codes.generate(key, unique, at) for at in (FAR, codes.EPOCH))
    run("codes", "import", file_of(tmp_path, f"{unique}-1"), "--coupon", f"{unique}-pool", "-b", bootstrap)

    def state(code: str) -> tuple[int, str]:
        result = run("codes", "verify", code, "--json", "-b", bootstrap)
        return result.exit_code, json.loads(result.stdout)["state"]

    assert [state(good.lower()), state(over), state(f"{unique}-1")] == [(0, "good"), (1, "expired"), (0, "good")]
    mistyped = good[:-2] + ("00" if good[-2] != "0" else "10")
    assert [state(mistyped)[0], state(f"{unique}-2")[0]] == [1, 1]
    assert run("codes", "revoke", good.lower(), "-b", bootstrap).exit_code == 0
    assert run("codes", "revoke", f"{unique}-1", "-b", bootstrap).exit_code == 0
    assert [state(good), state(f"{unique}-1")] == [(1, "revoked"), (1, "revoked")]
    revoked = run("codes", "export", "--revoked", "-b", bootstrap).stdout.split()
    assert {codes.canonical(good), codes.canonical(f"{unique}-1")} <= set(revoked)
    pool = coupon_codes.read_pools(KafkaSettings(bootstrap=bootstrap)).by_coupon[f"{unique}-pool"]
    assert pool.revoked == {0}


@pytest.mark.kafka
def test_the_code_of_an_issue_is_revoked_and_exported(run: Run, bootstrap: str, unique: str) -> None:
    tea = coupon(unique, codes="generated")
    key = codes.coupon_key(codes.codes_key(PUBLIC_KEY), unique)
    one = issue("ann", tea, issue_id=unique, code=codes.generate(key, unique, FAR))
    put(bootstrap, tea, one, one, issue("bob", coupon(f"{unique}-none")))
    assert run("codes", "revoke", "--issue", unique, "-b", bootstrap).exit_code == 0
    lines = run("codes", "export", "--coupon", unique, "--json", "-b", bootstrap).stdout.splitlines()
    expected = {"code": one.code, "coupon_id": unique, "issue_id": unique, "user_id": "ann", "revoked": True}
    assert [json.loads(line) for line in lines] == [expected | {"expires_at": one.expires_at}]
    unknown = run("codes", "revoke", "--issue", f"{unique}-no", "-b", bootstrap)
    assert (unknown.exit_code, "has no code" in unknown.stderr) == (2, True)
