"""Tools for data scientists; a worker imports none of them."""

__all__ = ["frames"]
