"""`margins`: publish margins of categories for reports on money, list them, take them out."""

from collections.abc import Sequence

from stream_coupons.cli import terminal
from stream_coupons.cli.entry_verbs import EntryGroup, app_of
from stream_coupons.core.messages.catalogue import CategoryMargin
from stream_coupons.ops.catalogue_files import MARGINS


def _show(margins: Sequence[CategoryMargin]) -> None:
    rows = [(MARGINS.id_of(one), one.domain, one.category, f"{one.margin_ratio:.1%}") for one in margins]
    terminal.print_table(("margin", "domain", "category"), rows, figures=("margin ratio",))


app = app_of(
    EntryGroup(
        name="margins",
        kind=MARGINS,
        id_of_one="ecommerce/tea",
        about_list="List the margins of categories. With --json, as `margins push` reads them.",
        effect="reports on money use them",
        removal="reports then assume the ratio of the settings",
        show=_show,
        unit=" of categories",
    )
)
