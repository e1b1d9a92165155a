"""Codes of coupons in their topic: read, imported, revoked, and looked up."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from stream_coupons.core import codes
from stream_coupons.core.catalogue.code_pools import CodePools
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.catalogue import MAX_BLOCK, CodeBlock, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.settings import KafkaSettings

MAX_CODE = 64
"""The most characters of a code: the maximum of the message field."""


class Found(Struct, frozen=True, kw_only=True):
    """The coupon that a code belongs to.

    Attributes
    ----------
    number : int or None
        Number of an imported code in its pool; None of a generated one.
    expires_at : float or None
        Time until which a generated code can be used, UTC epoch seconds; an imported one does not say.
    """

    coupon_id: str
    code: str
    number: int | None = None
    expires_at: float | None = None
    revoked: bool = False


def read_pools(kafka: KafkaSettings) -> CodePools:
    """Return all codes that were imported or revoked."""
    with Reader(kafka, [topics.CODES.name], from_beginning=True) as reader:
        return pools_of(reader.read_to_end())


def pools_of(records: Iterable[Any]) -> CodePools:
    """Return the codes in the records of their topic, as workers read them.

    Parameters
    ----------
    records : iterable
        Records with key and value, in the order of the topic.
    """
    pools, decode = CodePools(), Decoder(topics.CODES)
    for record in records:
        try:
            block = decode(record.value)
        except BadMessage:
            continue
        if record.key == topics.CODES.key_of(block):
            pools.take(block)
    return pools


def parse(lines: Iterable[bytes]) -> list[str]:
    """Return the codes of a file, one a line; empty lines do not count.

    Raises
    ------
    BadConfig
        If a line is no code, or one like it stands before it.

    Examples
    --------
    >>> parse([b"TEA-1\\n", b"\\n", b"TEA-2"])
    ['TEA-1', 'TEA-2']
    """
    seen: dict[str, int] = {}
    found = []
    for number, line in enumerate(lines, start=1):
        code = line.decode(errors="replace").strip()
        if not code:
            continue
        if len(code) > MAX_CODE or not code.isprintable() or " " in code:
            expected = f"expected at most {MAX_CODE} characters without spaces"
            raise BadConfig(f"line {number}: {code[:80]!r} is no code, {expected}")
        if (first := seen.setdefault(codes.canonical(code), number)) != number:
            raise BadConfig(f"line {number}: {code!r} reads as the code of line {first}: each is given once")
        found.append(code)
    return found


def add(kafka: KafkaSettings, coupon_id: str, imported: Sequence[str]) -> int:
    """Append the codes to a coupon's pool that it does not have; return their number.

    What another import overtakes, of this coupon or another one, counts for nothing, and is appended again.

    Parameters
    ----------
    kafka : KafkaSettings
        How the brokers are reached.
    coupon_id : str
        The coupon.
    imported : sequence of str
        The codes, each once.

    Raises
    ------
    BadConfig
        If another coupon has one of the codes: a till could not tell them apart.
    """
    count = None
    while True:
        pools = read_pools(kafka)
        owner = _owners(pools)
        news = []
        for code in imported:
            other = owner.get(codes.canonical(code))
            if other not in (None, coupon_id):
                raise BadConfig(f"code {code!r} belongs to coupon {other}: none was imported")
            if other is None:
                news.append(code)
        count = len(news) if count is None else count
        if not news:
            return count
        with Publisher(kafka, kafka.partitions) as publisher:
            for start in range(0, len(news), MAX_BLOCK):
                block = pools.block(coupon_id, news[start : start + MAX_BLOCK])
                publisher.send(topics.CODES, block)
                pools.take(block)


def _owners(pools: CodePools) -> dict[str, str]:
    """Return the coupon of each imported code by its canonical form."""
    return {codes.canonical(code): name for name, pool in pools.by_coupon.items() for code in pool.codes()}


def find(code: str, pools: CodePools, coupons: Iterable[Coupon], key: DrawKey) -> Found | str:
    """Return the coupon that a code belongs to; or, if it belongs to none, why.

    Parameters
    ----------
    code : str
        The code as it was typed.
    pools : CodePools
        Imported and revoked codes.
    coupons : iterable of Coupon
        Coupons that codes are generated for.
    key : DrawKey
        The workers' secret.
    """
    sought = codes.canonical(code)
    is_revoked = sought in pools.revoked
    for coupon_id, pool in pools.by_coupon.items():
        for number, text in enumerate(pool.codes()):
            if codes.canonical(text) == sought:
                return Found(coupon_id=coupon_id, code=text, number=number, revoked=is_revoked)
    fault = "no coupon has it"
    for coupon in coupons:
        key_of_coupon = codes.coupon_key(codes.codes_key(key), coupon.coupon_id)
        try:
            expires_at = codes.expiry(key_of_coupon, code) if coupon.codes == "generated" else None
        except ValueError as error:
            fault = str(error)
            continue
        if expires_at is not None:
            return Found(coupon_id=coupon.coupon_id, code=code, expires_at=expires_at, revoked=is_revoked)
    return fault


def issues_with_code(kafka: KafkaSettings) -> Iterator[CouponIssue]:
    """Yield the issues with a code that the topic has, each once."""
    seen, decode = set(), Decoder(topics.ISSUES)
    with Reader(kafka, [topics.ISSUES.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            try:
                issue: CouponIssue = decode(record.value)
            except BadMessage:
                continue
            if issue.code is not None and issue.issue_id not in seen:
                seen.add(issue.issue_id)
                yield issue


def revoke(found: Found, kafka: KafkaSettings) -> None:
    """Let a code be given and accepted no more."""
    with Publisher(kafka, kafka.partitions) as publisher:
        block = CodeBlock(coupon_id=found.coupon_id, first=found.number, codes=[found.code], revoked=True)
        publisher.send(topics.CODES, block)
