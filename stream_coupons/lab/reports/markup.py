"""HTML from templates: every text is escaped, unless it is `Markup` already."""

from collections.abc import Iterable
from html import escape
from string import Template


class Markup(str):
    """HTML, which is not escaped again."""


def fill(template: str, **values: object) -> Markup:
    """Return a template with its `$names` replaced.

    Examples
    --------
    >>> fill("<p>$text$mark</p>", text="a < b", mark=Markup("<hr>"))
    '<p>a &lt; b<hr></p>'
    """
    texts = {name: value if isinstance(value, Markup) else escape(str(value)) for name, value in values.items()}
    return Markup(Template(template).substitute(texts))


def each(template: str, rows: Iterable[dict[str, object]]) -> Markup:
    """Return a template filled once for each row."""
    return Markup("".join(fill(template, **row) for row in rows))
