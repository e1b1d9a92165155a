"""Decide which shopper gets which coupon, now, and learn from what happens next."""

__version__ = "0.1.0"
