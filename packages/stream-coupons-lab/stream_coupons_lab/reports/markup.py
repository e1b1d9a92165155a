"""The HTML of reports: parts of one template file, in which every text is escaped unless it is `Markup` already."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template


class Markup(str):
    """HTML, which is not escaped again."""


def asset(name: str) -> Markup:
    """Return a style sheet or script that reports share with the console."""
    return Markup((files("stream_coupons_console.web") / "static" / name).read_text(encoding="utf-8").strip())


_text = (files("stream_coupons_lab.reports") / "parts.html").read_text(encoding="utf-8").strip()
PARTS = dict(re.findall(r"<!-- (\w+) -->\n(.*?)(?=\n<!-- |\Z)", _text, re.DOTALL))


def fill(part: str, **values: object) -> Markup:
    """Return a part of the template with its `$names` replaced.

    Examples
    --------
    >>> fill("paragraph", text="a < b"), fill("paragraph", text=Markup("a<br>b"))
    ('<p>a &lt; b</p>', '<p>a<br>b</p>')
    """
    texts = {name: value if isinstance(value, Markup) else escape(str(value)) for name, value in values.items()}
    return Markup(Template(PARTS[part]).substitute(texts))


def each(part: str, rows: Iterable[Mapping[str, object]]) -> Markup:
    """Return a part filled once for each row."""
    return joined(fill(part, **row) for row in rows)


def joined(parts: Iterable[Markup]) -> Markup:
    """Return parts below each other."""
    return Markup("\n".join(parts))
