"""Files of an export are read back as they were written; a damaged or foreign one is refused."""

from pathlib import Path

import msgspec
import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.ops.system.files import (
    FORMAT,
    MANIFEST,
    FileDigest,
    Manifest,
    SavedRecord,
    check_files,
    path_of,
    read_manifest,
    read_saved,
    writing,
)

RECORDS = [
    SavedRecord(0, b"u1", b"state", [("origin", b"ticks:0:1:0")]),
    SavedRecord(3, None, b"", []),
    SavedRecord(1, b"\xff", None, []),
]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    files: dict[str, FileDigest] = {}
    with writing(tmp_path, "ticks", files) as writer:
        for record in RECORDS:
            writer.write(record)
    manifest = Manifest(format=FORMAT, version="1", at=0.0, partitions=4, files=files, states={}, accounts={})
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return tmp_path


def test_records_come_back_as_they_were_written(export: Path) -> None:
    manifest = read_manifest(export)
    check_files(export, manifest)
    assert list(read_saved(export, "ticks")) == RECORDS
    assert manifest.files["ticks"].records == len(RECORDS)


def test_a_file_with_another_byte_is_refused(export: Path) -> None:
    data = bytearray(path_of(export, "ticks").read_bytes())
    data[9] ^= 1
    path_of(export, "ticks").write_bytes(data)
    with pytest.raises(
        BadConfig, match=r"ticks.records differs from its digest in manifest.json: copy the export again"
    ):
        check_files(export, read_manifest(export))


def test_a_file_that_is_missing_is_named(export: Path) -> None:
    path_of(export, "ticks").unlink()
    with pytest.raises(BadConfig, match=r"cannot read .*ticks.records: No such file"):
        check_files(export, read_manifest(export))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot read .*: No such file or directory; expected the folder of `stream-coupons system export`"),
        ("{}", "is no manifest of an export: .*missing required field"),
        ("nonsense", "is no manifest of an export: "),
    ],
)
def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, text: str | None, fault: str) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadConfig, match=fault):
        read_manifest(tmp_path)


def test_an_export_of_another_format_is_refused(export: Path) -> None:
    path = export / MANIFEST
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(read_manifest(export), format=FORMAT + 1)))
    with pytest.raises(BadConfig, match=f"has format {FORMAT + 1}, expected {FORMAT}"):
        read_manifest(export)
