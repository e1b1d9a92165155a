"""Decide which shopper gets which coupon, now, and learn from what happens next.

`__all__` lists what is public: here the modules that have a public part, in each of them the next ones or names. All
else may change without notice.
"""

__all__ = ["__version__", "core", "models", "settings", "testing"]

__version__ = "0.1.0"
