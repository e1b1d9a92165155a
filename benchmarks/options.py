"""Parsers of option values that several benchmarks share."""

import argparse
import math
from collections.abc import Callable


def number(kind: type[int] | type[float], least: float) -> Callable[[str], float]:
    """Return a parser of finite numbers that are at least `least`."""

    def read(text: str) -> float:
        value = kind(text)
        if not (value >= least and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text}: expected {least:g} or more")
        return value

    read.__name__ = "whole number" if kind is int else "number"
    return read
