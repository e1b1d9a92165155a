from typing import Any

import pytest

from loopback_kafka.protocol import (
    APIS,
    ApiKey,
    BadFrame,
    Header,
    UnsupportedVersion,
    api_versions,
    decode_request,
    encode_response,
)


def every_version() -> list[tuple[ApiKey, int]]:
    return [(key, version) for key, api in APIS.items() for version in range(api.min_version, api.max_version + 1)]


def frame_of(request: Any) -> bytes:
    request.with_header(correlation_id=7, client_id="tester")
    return bytes(request.encode(header=True))


@pytest.mark.parametrize(("key", "version"), every_version())
def test_every_offered_version_decodes(key: ApiKey, version: int) -> None:
    header, request = decode_request(frame_of(APIS[key].request(version=version)))
    assert header == Header(key, version, 7, "tester")
    assert request.version == version


@pytest.mark.parametrize(("key", "version"), every_version())
def test_every_offered_version_encodes(key: ApiKey, version: int) -> None:
    header = Header(key, version, 9, "tester")
    encoded = encode_response(header, {"throttle_time_ms": 5, "unknown_field": 1})
    assert int.from_bytes(encoded[:4], "big") == len(encoded) - 4
    decoded = APIS[key].response.decode(encoded[4:], version=version, header=True)
    assert decoded.header.correlation_id == 9


def test_nested_fields_keep_to_the_version() -> None:
    row = {"api_key": 1, "min_version": 0, "max_version": 3, "not_in_any_version": True}
    header = Header(ApiKey.API_VERSIONS, 0, 1, "tester")
    encoded = encode_response(header, {"error_code": 35, "api_keys": [row]})
    decoded = APIS[ApiKey.API_VERSIONS].response.decode(encoded[4:], version=0, header=True)
    assert (decoded.error_code, decoded.api_keys[0].max_version) == (35, 3)


def test_the_offer_names_every_api_once() -> None:
    offered = [row["api_key"] for row in api_versions()]
    assert sorted(offered) == sorted(set(offered)) == sorted(APIS)


def test_an_unsupported_version_is_told_apart_from_garbage() -> None:
    api = APIS[ApiKey.METADATA]
    newer = frame_of(api.request(version=api.max_version + 1))
    with pytest.raises(UnsupportedVersion, match="METADATA"):
        decode_request(newer)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\xff" * 40,
        b"\x00\x03\x00\x01" + b"\x00" * 4 + b"\x7f\xff",
        frame_of(APIS[ApiKey.METADATA].request(version=4, topics=[]))[:-3],
        frame_of(APIS[ApiKey.JOIN_GROUP].request(version=5, group_id="g" * 50))[:40],
    ],
    ids=["empty", "one-byte", "ones", "client-id", "body", "string"],
)
def test_garbage_is_a_bad_frame(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_request(frame)
