"""What a library repeats is said once a minute, and how often it was said."""

import logging

import pytest

from stream_coupons.observability.log_throttle import OnceAMinute, throttle


@pytest.fixture
def library(unique: str) -> logging.Logger:
    """A logger of a library that has one of its own for a part."""
    logging.getLogger(f"{unique}.part")
    logging.getLogger(f"{unique}-beside")
    return logging.getLogger(unique)


def complain(logger: logging.Logger, times: int) -> None:
    for number in range(times):
        logger.error("no answer from %d", number)


def test_each_place_speaks_once_in_a_minute_whoever_of_the_library_says_it(
    library: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    throttle(library.name)
    complain(library, 500)
    complain(library.getChild("part"), 500)
    library.warning("something else")
    complain(logging.getLogger(f"{library.name}-beside"), 2)
    assert caplog.messages == ["no answer from 0", "something else", "no answer from 0", "no answer from 1"]


def test_what_was_held_back_is_counted_when_the_minute_is_over(
    library: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([100.0, 100.1, 159.9, 160.5, 170.0])
    library.addFilter(OnceAMinute(lambda: next(times)))
    complain(library, 5)
    assert caplog.messages == [
        "no answer from 0",
        "no answer from 3 (2 like this were left out in the last 60 s)",
    ]


def test_a_patient_throttle_writes_a_line_once_it_is_repeated_for_a_minute_and_a_stack_trace_at_once(
    library: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([100.0, 130.0, 161.0, 162.0])
    library.addFilter(OnceAMinute(lambda: next(times), is_patient=True))
    complain(library, 3)
    library.error("it has crashed", exc_info=OSError("no more files"))
    assert caplog.messages == ["no answer from 2 (2 like this were left out in the last 61 s)", "it has crashed"]
