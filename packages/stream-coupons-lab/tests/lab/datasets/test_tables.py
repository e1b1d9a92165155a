"""Tables of decisions: what becomes of each cell, and what is said of one that cannot be used."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons_lab.datasets.foreign import ForeignLog
from stream_coupons_lab.datasets.log_records import LoggedIssue
from stream_coupons_lab.datasets.mapping import mapping_of
from stream_coupons_lab.datasets.table_files import first_row, is_table, read_table
from stream_coupons_lab.datasets.tables import log_of

EXAMPLES = Path(__file__).parents[5] / "examples"
TEA = {"offer": "tea-10", "bought": 1}


def log_from(rows: list[dict[str, Any]], **said: Any) -> ForeignLog:
    return log_of(pd.DataFrame(rows), mapping_of({"arm": "offer", "purchase": "bought", **said}), "sent.csv")


def issues(log: ForeignLog) -> list[LoggedIssue]:
    return [record for record in log.records() if isinstance(record, LoggedIssue)]


def feedback(log: ForeignLog) -> list[FeedbackEvent]:
    return [record for record in log.records() if isinstance(record, FeedbackEvent)]


def test_a_row_is_an_issue_with_its_feedback() -> None:
    row = {
        "id": "d7", "who": "u1", "at": "2026-01-02T10:00:00Z", "offer": "tea-10", "offers": "tea-10 | nothing",
        "p": 0.25, "clicked": "yes", "bought": True, "spend": 15.17, "off": 1.5, "city": "Bonn", "age": 31,
        "kind": "percent",
    }  # fmt: skip
    log = log_from(
        [row], issue="id", shopper="who", time="at", control="nothing", arms="offers", propensity="p", click="clicked",
        order_value="spend", discount="off", context=["city", "age"], window_s=3600, coupon={"kind": "kind"},
        coupons={"tea-10": {"discount_percent": 10, "categories": ["tea"], "colour": "green"}},
    )  # fmt: skip
    [issue] = issues(log)
    assert (issue.issue_id, issue.user_id, issue.occurred_at, issue.arm) == ("d7", "u1", 1767348000.0, "tea-10")
    assert (issue.arms, issue.propensity) == (("tea-10", NO_COUPON), 0.25)
    assert (issue.expires_at, issue.context) == (1767351600.0, {"city": "Bonn", "age": 31})
    [coupon] = [each for each in log.coupons if each.coupon_id == "tea-10"]
    assert (coupon.kind, coupon.discount_percent, coupon.categories) == ("percent", 10, ["tea"])
    assert coupon.attributes == {"colour": "green"}
    assert [(each.kind, each.order_value_minor, each.discount_minor) for each in feedback(log)] == [
        ("click", None, None),
        ("purchase", 1517, 150),
    ]


def test_every_outcome_counts_for_those_who_were_given_nothing_too() -> None:
    rows = [{"offer": offer, "visited": 1, "bought": 0} for offer in ("none", "tea-10")]
    log = log_from(rows, purchase="visited")
    assert [issue.arm for issue in issues(log)] == [NO_COUPON, "tea-10"]
    assert [each.kind for each in feedback(log)] == ["purchase", "purchase"]


def test_an_order_value_is_a_purchase_unless_another_column_states_it() -> None:
    rows = [{"offer": "tea-10", "spend": value} for value in (None, 0, 7)]
    log = log_of(pd.DataFrame(rows), mapping_of({"arm": "offer", "order_value": "spend", "minor_units": 1}), "t")
    assert [each.order_value_minor for each in feedback(log)] == [7]


def test_without_times_each_outcome_is_known_before_the_next_row() -> None:
    log = log_from([TEA, TEA, TEA])
    found = issues(log)
    assert [issue.user_id for issue in found] == ["row-1", "row-2", "row-3"]
    assert all(one.expires_at < other.occurred_at for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["2026-01-02T10:00:00Z", "2026-01-02T11:00:00+01:00"], {}),
        (["2026-01-02 10:00", "2026-01-02 10:00:00"], {}),
        (["02.01.2026 10:00", "02.01.2026 10:00"], {"time_format": "%d.%m.%Y %H:%M"}),
        (["02-01-2026 11:00+0100", "02-01-2026 10:00+0000"], {"time_format": "%d-%m-%Y %H:%M%z"}),
        ([1767348000, 1767348000.0], {}),
        ([pd.Timestamp("2026-01-02 10:00"), pd.Timestamp("2026-01-02 10:00")], {}),
    ],
)
def test_times_are_read_in_every_usual_form(cells: list[Any], said: dict[str, Any]) -> None:
    log = log_from([TEA | {"at": cell} for cell in cells], time="at", **said)
    assert [issue.occurred_at for issue in issues(log)] == [1767348000.0] * 2


@pytest.mark.parametrize(
    ("good", "bad", "said", "detail"),
    [
        ({}, {"offer": None}, {}, "'offer' is empty, expected an arm"),
        ({}, {"bought": "perhaps"}, {}, "'bought' is 'perhaps', expected 1 or 0, true or false, yes or no"),
        ({"p": 1}, {"p": 1.5}, {"propensity": "p"}, "'p' is '1.5', expected a probability above 0 and at most 1"),
        ({"p": 1}, {"p": "half"}, {"propensity": "p"}, "'p' is 'half', expected a probability"),
        ({"at": "2026-01-02"}, {"at": "soon"}, {"time": "at"}, "'at' is 'soon', expected a time from 1970 to 2100"),
        ({"at": 1767348000}, {"at": 1767348000000}, {"time": "at"}, "'at' is '1767348000000', expected a time"),
        (
            {"arms": "none|tea-10"},
            {"arms": "coffee|none"},
            {"arms": "arms"},
            "'arms' is 'coffee|none', expected 'tea-10' among the arms",
        ),
        ({}, {"offer": "milk"}, {"arms": ["tea-10"]}, "'offer' is 'milk', expected one of ['tea-10']"),
        ({"spend": 1}, {"spend": -1}, {"order_value": "spend"}, "'spend' is '-1', expected an amount of at least 0"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named_with_what_was_expected(
    good: dict[str, Any], bad: dict[str, Any], said: dict[str, Any], detail: str
) -> None:
    log = log_from([TEA | good, TEA | good | bad], **said)
    assert len(issues(log)) == 1
    [found] = log.refusals.first
    assert found.line == 2
    assert found.detail.startswith(f"column {detail}")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            {"arm": "gift", "purchase": "bought"},
            "sent.csv: has no column 'gift', which the mapping names as arm",
        ),
        (
            {"arm": "offer", "purchase": "bought", "context": ["x"]},
            "no column 'x', which the mapping names as context",
        ),
        ({"arm": "offer"}, "names no outcome: expected click, purchase or order_value"),
        ({"arm": "offer", "purchase": "bought", "shoper": "x"}, "unknown field `shoper`, expected shopper?"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(said: dict[str, Any], text: str) -> None:
    with pytest.raises(BadConfig) as refused:
        log_of(pd.DataFrame([TEA]), mapping_of(said), "sent.csv")
    assert text in str(refused.value)


def test_a_table_without_a_row_that_can_be_used_is_refused() -> None:
    with pytest.raises(BadConfig, match="none of its 1 rows can be used; row 1: column 'bought' is 'x'"):
        log_from([{"offer": "tea-10", "bought": "x"}])
    with pytest.raises(BadConfig, match="the table has no row"):
        log_of(pd.DataFrame({"offer": [], "bought": []}), mapping_of({"arm": "offer", "purchase": "bought"}), "t")


@pytest.mark.parametrize(
    ("field", "column"), [("click", "seen"), ("purchase", "bought"), ("order_value", "spent"), ("discount", "off")]
)
def test_the_column_of_an_outcome_is_refused_as_context(field: str, column: str) -> None:
    mapping = {"arm": "offer", "purchase": "bought", field: column, "context": ["city", column]}
    with pytest.raises(BadConfig, match=f"mapping: .*context has the column '{column}', which is the outcome {field}"):
        mapping_of(mapping)


def test_a_column_that_repeats_the_outcome_is_refused_by_a_star_too() -> None:
    rows = [
        {"offer": "tea-10", "bought": n % 3 == 0, "revenue": 9.5 * (n % 3 == 0), "age": 20 + n % 7} for n in range(90)
    ]
    with pytest.raises(BadConfig, match=r"sent.csv: context field 'revenue' is an outcome: .* in 30 of 30 decisions"):
        log_from(rows, context="*")
    assert len(issues(log_from(rows, context=["age"]))) == 90


def test_all_other_columns_are_context_by_a_star() -> None:
    log = log_from([TEA | {"city": "Bonn", "age": float("nan")}], context="*")
    assert issues(log)[0].context == {"city": "Bonn"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_kind_of_file_is_the_same_table(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame([TEA | {"city": "NA"}, {"offer": "none", "bought": 0, "city": None}])
    path = tmp_path / f"sent{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    assert is_table(path)
    assert first_row(path) == (1 if suffix == ".parquet" else 2)
    log = log_of(read_table(path), mapping_of({"arm": "offer", "purchase": "bought", "context": ["city"]}), path.name)
    assert [(issue.arm, issue.context) for issue in issues(log)] == [("tea-10", {"city": "NA"}), (NO_COUPON, {})]


@pytest.mark.parametrize(("name", "content"), [("a.csv", b""), ("a.csv", b"\xff\xfe\x00"), ("a.parquet", b"no table")])
def test_what_is_no_table_is_refused_with_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadConfig, match=rf"{name}: "):
        read_table(path)
    with pytest.raises(BadConfig, match=r"nowhere.csv: No such file"):
        read_table(tmp_path / "nowhere.csv")


def test_cells_of_parquet_may_hold_lists_and_decimals(tmp_path: Path) -> None:
    lists = {"offers": ["none", "tea-10"], "scope": ["tea", "green tea"]}
    row = TEA | lists | {"price": Decimal("1.50"), "p": Decimal("0.5")}
    pd.DataFrame([row]).to_parquet(tmp_path / "sent.parquet")
    said = {"arm": "offer", "purchase": "bought", "arms": "offers", "coupon": {"categories": "scope"}}
    mapping = mapping_of(said | {"propensity": "p", "context": ["price"]})
    log = log_of(read_table(tmp_path / "sent.parquet"), mapping, "sent.parquet")
    [issue] = issues(log)
    assert (issue.arms, issue.context, issue.propensity) == ((NO_COUPON, "tea-10"), {"price": 1.5}, 0.5)
    assert log.coupons[0].categories == ["tea", "green tea"]


def test_a_spreadsheets_mark_of_its_encoding_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "sent.csv"
    path.write_text("\ufeffoffer,bought\ntea-10,1\n", encoding="utf-8")
    assert read_table(path).to_dict("records") == [TEA]


def test_a_name_of_two_columns_is_refused() -> None:
    frame = pd.DataFrame([["tea-10", 1, 0]], columns=["offer", "bought", "bought"])
    with pytest.raises(BadConfig, match="t: has the column 'bought' twice"):
        log_of(frame, mapping_of({"arm": "offer", "purchase": "bought"}), "t")


def test_an_id_for_the_second_time_is_refused_once() -> None:
    log = log_from([TEA | {"id": "i1"}, TEA | {"id": "i1"}], issue="id")
    assert [(one.line, one.detail) for one in log.refusals.first] == [(2, "issue i1 is on line 1 already")]
    assert log.refusals.count == 1
