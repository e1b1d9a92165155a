"""Lines of a log as text and JSON; what libraries write only at DEBUG, and what is held back during an outage."""

import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
from kafka.protocol.metadata import ApiVersionsRequest
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslBytesRequest

from stream_coupons.kafka.connection import WAITING
from stream_coupons.observability.log_lines import LIBRARIES, LogFormat, hold_back_while, write_log


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """Return the lines on standard error; the loggers are as before when the test ends."""
    before, level = logging.root.handlers[:], logging.root.level
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in LIBRARIES] + [WAITING.name]
    loggers = [logging.getLogger(name) for name in {*LIBRARIES, *names}]
    settings = [(logger, logger.level, logger.filters[:]) for logger in loggers]
    yield lambda: capsys.readouterr().err.splitlines()
    logging.root.handlers[:] = before
    logging.root.setLevel(level)
    for logger, of_logger, filters in settings:
        logger.setLevel(of_logger)
        logger.filters[:] = filters


def test_a_line_of_json_has_its_time_in_utc_and_the_exception(written: Callable[[], list[str]]) -> None:
    write_log("learner", "INFO", LogFormat.JSON)
    try:
        raise OSError("no more files")
    except OSError:
        logging.getLogger("stream_coupons.x").exception("it %s", "failed")
    logging.getLogger("stream_coupons.x").info("two\nlines")
    first, second = (json.loads(line) for line in written())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first.pop("exception").endswith("OSError: no more files")
    assert first == {"level": "ERROR", "role": "learner", "logger": "stream_coupons.x", "message": "it failed"}
    assert (second["message"], second["exception"]) == ("two\nlines", None)


def test_no_request_with_a_password_or_token_is_written(written: Callable[[], list[str]]) -> None:
    write_log("worker", "DEBUG", LogFormat.TEXT)
    for request in (SaslAuthenticateRequest(b"Bearer hush"), SaslBytesRequest(b"hush"), ApiVersionsRequest()):
        logging.getLogger("kafka.net.connection").debug("%s Request %d: %s", "a connection", 1, request)
    [line] = written()
    assert "ApiVersionsRequest" in line


def test_libraries_write_below_an_error_at_debug_only(written: Callable[[], list[str]]) -> None:
    for level in ("INFO", "DEBUG"):
        write_log("worker", level, LogFormat.TEXT)
        for name in ("faust.worker", "mode.timers", "kafka.conn"):
            logging.getLogger(name).warning("of a library at %s", level)
        logging.getLogger("stream_coupons.agents.clock").info("[^--Clock]: Starting...")
        logging.getLogger("stream_coupons.agents.clock").info("ours")
        for name in LIBRARIES:
            logging.getLogger(name).setLevel(logging.NOTSET)
    lines = [line.partition(" ")[2] for line in written()]
    assert lines == [
        "INFO worker: ours",
        *["WARNING worker: of a library at DEBUG"] * 3,
        "INFO worker: [^--Clock]: Starting...",
        "INFO worker: ours",
    ]


def test_nothing_about_kafka_is_written_while_no_broker_answers(written: Callable[[], list[str]]) -> None:
    away = [True]
    write_log("worker", "INFO", LogFormat.TEXT)
    hold_back_while(lambda: away[0])
    for _ in range(2):
        logging.getLogger("stream_coupons.kafka.overdue").error("3 records have waited")
        logging.getLogger("stream_coupons.worker.state_log").warning("Kafka has not answered for 10 s")
        away[0] = False
    assert [line.partition(": ")[2] for line in written()] == [
        "Kafka has not answered for 10 s",
        "3 records have waited",
        "Kafka has not answered for 10 s",
    ]
