"""Files of rows of decisions: the same values in Parquet, CSV and JSON lines, and nothing half written."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from stream_coupons_lab.cli.output import replaced
from stream_coupons_lab.ope.decision_rows import DecisionRow
from stream_coupons_lab.ope.row_files import row_writer

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
GIVEN = DecisionRow(
    decision_id="d1", user_id='NA, or "not"', domain="tea", decided_at=NOON, trigger_id="t", result="given",
    is_holdout=False, model_version=3, logged_ratio=1.0, sold_out=0, arm="tea-10", value_minor=12.5, price_minor=0.0,
    propensity=0.1, is_best=True, is_explored=False, is_given=True, clicked=True, redeemed=False, orders=2,
    window_ends_at=NOON,
)  # fmt: skip
PASSED = GIVEN._replace(arm="none", is_given=False, clicked=None, redeemed=None, orders=None, window_ends_at=None)
BATCHES = [[GIVEN, PASSED], [PASSED]]
ROWS = [GIVEN, PASSED, PASSED]


def write(path: Path) -> None:
    with replaced(path) as sink:
        assert sink is not None
        with row_writer(path, sink) as append:
            for batch in BATCHES:
                append(batch)


def test_parquet_has_the_types_the_descriptions_and_a_row_group_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write(path)
    file = parquet.ParquetFile(path)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 1]
    assert file.read().to_pylist() == [row._asdict() for row in ROWS]
    fields = {field.name: field for field in file.schema_arrow}
    assert fields["decided_at"].metadata[b"description"] == b"Time of the trigger."
    assert all(len(field.metadata[b"description"]) > 10 for field in fields.values())
    assert {name: str(fields[name].type) for name in ("arm", "decided_at", "sold_out", "propensity", "clicked")} == {
        "arm": "string", "decided_at": "timestamp[us, tz=UTC]", "sold_out": "int64", "propensity": "double",
        "clicked": "bool",
    }  # fmt: skip
    assert [field.nullable for field in fields.values()].index(True) == list(fields).index("propensity")


def test_csv_and_json_lines_have_the_same_values(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv")
    table = pd.read_csv(tmp_path / "rows.csv", keep_default_na=False, na_values=[""], parse_dates=["decided_at"])
    assert table["user_id"].tolist() == ['NA, or "not"'] * 3
    assert table["arm"].tolist() == ["tea-10", "none", "none"]
    assert table["orders"].isna().tolist() == [False, True, True]
    assert (table["decided_at"] == NOON).all()
    write(tmp_path / "rows.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    texts = {"decided_at": "2026-01-02T12:00:00Z", "window_ends_at": "2026-01-02T12:00:00Z"}
    assert lines[0] == GIVEN._asdict() | texts
    assert lines[1] == PASSED._asdict() | texts | {"window_ends_at": None}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_an_interrupted_file_is_as_it_was_before(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"before")

    def write_until_interrupted() -> None:
        with replaced(path) as sink:
            assert sink is not None
            with row_writer(path, sink) as append:
                append(BATCHES[0])
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_until_interrupted()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {path.name: b"before"}
