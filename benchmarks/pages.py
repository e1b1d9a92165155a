"""Figures in pages of the documentation: tables in Markdown between two marks, of which the first names the command."""

from collections.abc import Iterable, Sequence

END = "<!-- end of figures -->"


def begin_of(command: str) -> str:
    """Return the mark at which the figures of a command begin."""
    return f"<!-- figures: {command} -->"


def with_figures(page: str, begin: str, parts: Iterable[str]) -> str:
    """Return a page with other figures between a mark and the next end.

    Parameters
    ----------
    page : str
        The page, in Markdown.
    begin : str
        The mark, of `begin_of`.
    parts : iterable of str
        Paragraphs and tables.

    Raises
    ------
    ValueError
        If the page has no such mark.
    """
    before, mark, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"the page has no figures between {begin} and {END}")
    return "\n\n".join((before + begin, *parts, END + after))


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, numbers to the right."""
    return "\n".join(map(markdown_row, [headers, ["---", *["--:"] * (len(headers) - 1)], *rows]))


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
