"""Settings that were found, as a file that reads back as them."""

from pathlib import Path

import pytest

from stream_coupons.lab.tuning.tuned import settings_file
from stream_coupons.settings import LearningSettings, Settings, load


@pytest.mark.parametrize("transfer", [{}, {"travel": "retail"}, {"travel.air": "travel", "travel": "retail"}])
def test_what_it_was_found_under_is_read_back_with_what_was_found(tmp_path: Path, transfer: dict[str, str]) -> None:
    base = Settings(learning=LearningSettings(transfer=transfer), secret_file="secret.key")
    file = tmp_path / "found.toml"
    file.write_text(settings_file({"learning.l2": 0.5}, base))
    assert load(file, {}) == Settings(learning=LearningSettings(transfer=transfer, l2=0.5), secret_file="secret.key")
