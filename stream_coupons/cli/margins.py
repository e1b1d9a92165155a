"""`margins`: publish margins of categories for reports on money, list them, take them out."""

from __future__ import annotations

import typer
from rich.text import Text

from stream_coupons.cli import catalog_entries, terminal
from stream_coupons.cli.catalog_entries import published
from stream_coupons.cli.entry_verbs import Words, add_verbs
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_with_topics
from stream_coupons.ops.catalogue_files import MARGINS

app = typer.Typer(
    help="Publish margins of categories for reports on money, list them, take them out.", no_args_is_help=True
)
add_verbs(
    app,
    MARGINS,
    lambda _, __: [],
    Words(
        group="margins",
        id_of_one="ecommerce/tea",
        push="A margin replaces\nthe one of the same domain and category.",
        remove="Take margins out: reports then assume the ratio of the settings.",
        effect="reports on money use them",
    ),
)


@app.command("list")
def show(
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """List the margins of categories. With --json, as `margins push` reads them.

    Examples: stream-coupons margins list
              stream-coupons margins list --json > margins.json
    """
    found = published(settings_with_topics(config, bootstrap), MARGINS)
    catalog_entries.warn_of_unreadable(found, MARGINS)
    margins = list(found.entries.values())
    if json:
        terminal.print_json(margins, indent=2)
        return
    table = terminal.new_table("margin", "domain", "category", figures=("margin ratio",))
    for key, one in found.entries.items():
        names = (Text(terminal.printable(name), overflow="fold") for name in (key, one.domain, one.category))
        table.add_row(*names, f"{one.margin_ratio:.1%}")
    terminal.stdout().print(table)
    terminal.say(f"{len(margins)} margins of categories")
