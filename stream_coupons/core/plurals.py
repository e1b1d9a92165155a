"""Counts as people read them."""


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one.

    Parameters
    ----------
    count : int
        Number of things.
    noun : str
        Noun whose plural ends in s.

    Examples
    --------
    >>> counted(1, "record"), counted(2000, "record")
    ('1 record', '2,000 records')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
