"""Placeholder until the audit lands in this very session."""

from typing import NamedTuple


class Violation(NamedTuple):
    invariant: str
    detail: str


def audit(values, coupons):
    return []
