"""Models that learn online, how they are compared, and snapshots of them as data."""

__all__ = ["model"]
