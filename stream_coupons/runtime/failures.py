"""Errors of a part of a batch: they carry a record's or a key's failure to where it is isolated (`isolate`)."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from stream_coupons.core.reasons import Rejection

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


class CannotApply(Exception):
    """A part of a batch cannot be applied; `reason` is that of its dead letter."""

    reason: Rejection


class StepFailed(CannotApply):
    """A step raised: a bug of ours."""

    reason = Rejection.STEP_FAILED


class TooLarge(CannotApply):
    """A cell is too large for a record of its changelog, or a number in it for msgpack."""

    reason = Rejection.TOO_LARGE


def run_step(
    function: Callable[Arguments, Returned], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Returned:
    """Call a step. Errors of the runtime itself never pass through here: they stop the worker.

    Raises
    ------
    StepFailed
        If it raises anything.
    """
    try:
        return function(*arguments, **named)
    except StepFailed:
        raise  # it changed what is shared, and a deferred step that had to be finished first raised
    except Exception as error:
        raise StepFailed(f"{type(error).__name__}: {error}") from error
