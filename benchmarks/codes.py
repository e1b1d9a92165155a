"""Imported codes, drawn by shoppers while workers are killed: each is given once, and none is lost.

    python -m benchmarks.codes --codes 1000000 --draws 100000 --kills 10

It starts a broker and two workers of its own, and prints one line a figure.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from loopback_kafka import BrokerProcess, open_broker
from stream_coupons.core.catalogue.code_pools import CodePool
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.money.accounts import codes_of
from stream_coupons.core.money.code_ranges import count
from stream_coupons.core.money.holdings import Account, Holding, key_of
from stream_coupons.core.money.purses import ASK_AGAIN_S, Purse
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.coupon_codes import read_pools
from stream_coupons.runtime.cells import CellCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.settings import Settings, WorkerSettings
from stream_coupons.testing import START, browse, coupon, plain_settings
from stream_coupons_lab.demo.system import LocalSystem, lag_now

COUPON = coupon("coded", codes="pool", not_while_held="none")
SHOPPERS_A_SECOND = 20.0
"""Shoppers per second of event time."""
IDLE_WITHIN_S = 300.0


class Drawn(Struct, frozen=True, kw_only=True):
    """Counts of the codes of a run.

    Attributes
    ----------
    imported : int
        Codes of the pool.
    given : int
        Issues, each once.
    twice : int
        Codes that are in two issues, or in an issue and in a place from which they would be given again.
    lost : int
        Codes that are in no issue, and that nobody has.
    """

    imported: int
    given: int
    twice: int
    lost: int


class Supervised(LocalSystem):
    """Workers of which those that end by themselves are started anew, as a supervisor does."""

    def check(self) -> None:
        """Start those anew that have ended."""
        for index, worker in enumerate(self.workers):
            if worker.process.poll() is not None and not worker.is_killed:
                self.restart(index)


def settings() -> Settings:
    """Return the settings of the workers: every shopper gets a coupon, and time passes by our ticks."""
    kafka = KafkaSettings(commit_interval_s=0.3, session_timeout_s=10, heartbeat_interval_s=1)
    return msgspec.structs.replace(plain_settings(), kafka=kafka, worker=WorkerSettings(tick_every_s=0))


def run_import(system: LocalSystem, codes: Iterable[str], folder: Path) -> None:
    """Import codes by the command line, in a process of its own."""
    file = folder / "codes.txt"
    file.write_text("".join(f"{code}\n" for code in codes), encoding="ascii")
    command = ["codes", "import", str(file), "--coupon", COUPON.coupon_id, "--bootstrap", system.bootstrap]
    subprocess.run([sys.executable, "-m", "stream_coupons", *command], check=True)


def draw(system: LocalSystem, shoppers: range, kills: int) -> None:
    """Let shoppers browse, and kill a worker amid their events so many times."""
    shares = [len(shoppers) * part // (kills + 1) for part in range(kills + 2)]
    with system.publisher() as publisher, admin.admin_client(system.connection) as client:
        for part in range(kills + 1):
            numbers = shoppers[shares[part] : shares[part + 1]]
            _come(publisher, system, numbers)
            if part == kills:
                break
            deadline = time.monotonic() + IDLE_WITHIN_S
            while lag_now(client, system.settings).get(topics.BROWSE.name, 0) > len(numbers) // 2:
                system.check()
                assert time.monotonic() < deadline, "half of the shoppers are not decided on in time"
                time.sleep(0.1)
            system.kill(part % 2)
            system.restart(part % 2)
    system.wait_idle(IDLE_WITHIN_S)


def draw_rest(system: LocalSystem, since: float, waves: int) -> None:
    """Let a few more shoppers come in waves, until the pool is empty: a partition asks for codes that lie elsewhere."""
    with system.publisher() as publisher:
        for wave in range(waves):
            at = since + (wave + 1) * 2 * ASK_AGAIN_S
            for number in range(60):
                publisher.send(topics.BROWSE, browse(f"late-{wave}-{number}", at=at))
            _tick(publisher, system, at)
            system.wait_idle(IDLE_WITHIN_S)
            found = judge(system)
            if found.given == found.imported:
                return


def _come(publisher: Publisher, system: LocalSystem, numbers: range) -> None:
    for number in numbers:
        publisher.send(topics.BROWSE, browse(f"s{number}", at=START + number / SHOPPERS_A_SECOND))
        if number % 1000 == 0:
            _tick(publisher, system, START + number / SHOPPERS_A_SECOND)
    publisher.flush()


def _tick(publisher: Publisher, system: LocalSystem, at: float) -> None:
    for partition in range(system.settings.kafka.partitions):
        publisher.send_bytes(topics.TICKS, str(partition).encode(), encode(Tick(at=at)), partition)
    publisher.flush()


def judge(system: LocalSystem) -> Drawn:
    """Return what became of every code, by the issues and by the states that were saved last."""
    pool = read_pools(system.settings.kafka).by_coupon.get(COUPON.coupon_id) or CodePool()
    number_of = {code: number for number, code in enumerate(pool.codes())}
    issues: dict[str, int] = {}
    decode = Decoder(topics.ISSUES)
    for record in _records(system, topics.ISSUES.name):
        issue: CouponIssue = decode(record.value)
        issues[issue.issue_id] = number_of[issue.code or ""]
    given = set(issues.values())
    purses, account = _purses(system), _account(system)
    to_give = [number for purse in purses for number in _numbers(purse.codes)] + list(_numbers(account.codes))
    leased = {number for holding in _holdings(system) for number in _numbers(holding.codes)}
    twice = len(issues) - len(given) + len(to_give) - len(set(to_give)) + len(given & set(to_give))
    lost = pool.size - len(given.union(to_give, leased))
    assert all(count(purse.codes) == purse.available for purse in purses)
    return Drawn(imported=pool.size, given=len(issues), twice=twice, lost=lost)


def _numbers(ranges: Iterable[tuple[int, int]]) -> Iterable[int]:
    return (number for first, end in ranges for number in range(first, end))


def _records(system: LocalSystem, topic: str) -> Iterable[object]:
    with Reader(system.connection, [topic], from_beginning=True) as reader:
        yield from reader.read_to_end()


def _purses(system: LocalSystem) -> list[Purse]:
    key, latest = f"{SHARED_PREFIX}{codes_of(COUPON.coupon_id)}".encode(), {}
    for record in _records(system, topics.changelog("users").name):
        if record.key == key:
            latest[record.partition] = msgspec.msgpack.decode(record.value, type=Purse)
    return list(latest.values())


def _account(system: LocalSystem) -> Account:
    codec, found = CellCodec(Account), Account()
    for record in _records(system, topics.changelog("accounts").name):
        if record.key == codes_of(COUPON.coupon_id).encode():
            found = codec.decode(record.value).state
    return found


def _holdings(system: LocalSystem) -> Iterable[Holding]:
    prefix, latest = f"{SHARED_PREFIX}{key_of(codes_of(COUPON.coupon_id), 0)}".rstrip("0").encode(), {}
    for record in _records(system, topics.changelog("accounts").name):
        if record.key.startswith(prefix):
            latest[record.key] = msgspec.msgpack.decode(record.value, type=Holding)
    return latest.values()


def memory_mib(system: LocalSystem) -> float:
    """Return the resident memory of the larger worker."""
    statuses = [Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii") for worker in system.workers]
    return max(int(status.partition("VmRSS:")[2].split()[0]) for status in statuses) / 1024


def run(broker: BrokerProcess, folder: Path, codes: int, draws: int, kills: int) -> None:
    """Import codes, draw some under kills, and print what became of them."""
    system = Supervised(broker, settings(), folder)
    system.prepare([COUPON])
    with system:
        system.wait_ready()
        before = memory_mib(system)
        began = time.monotonic()
        run_import(system, (f"C{number * 2654435761 % 2**32:08X}{number:07}" for number in range(codes)), folder)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        print(f"imported {codes} codes in {time.monotonic() - began:.1f} s, {cpu_s:.1f} s of CPU; peak {peak:.0f} MiB")
        began = time.monotonic()
        system.wait_idle(IDLE_WITHIN_S)
        draw(system, range(100), 0)  # the first shoppers of each partition let it ask for codes
        imported = memory_mib(system)
        draw(system, range(100, 100 + draws), kills)
        print(f"{draws} shoppers in {time.monotonic() - began:.1f} s, {kills} workers killed")
        after = f"{imported:.0f} MiB after it, {memory_mib(system):.0f} MiB after the draws"
        print(f"memory of a worker: {before:.0f} MiB before the import, {after}")
        print(judge(system))


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        broker = open_broker("embedded", Path(name) / "broker")
        broker.start()
        try:
            run(broker, Path(name), options.codes, options.draws, options.kills)
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
