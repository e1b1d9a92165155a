"""The command line: one module a group of verbs."""

from stream_coupons.cli.main import main

__all__ = ["main"]
