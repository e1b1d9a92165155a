"""The reference pages are what docs/generate.py writes, and what it writes is complete."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.learner import READS
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.contracts import schema_files
from stream_coupons.kafka import topics

from .pages import DOCS, page, script


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return script("generate")


def test_the_committed_pages_are_what_the_code_says(generator: ModuleType) -> None:
    assert generator.stale() == [], "python docs/generate.py"
    pages = {f"docs/reference/{path.name}" for path in (DOCS / "reference").glob("*.md")}
    assert pages | {"deploy/kubernetes/monitoring/rules.yml"} == set(generator.FILES)


@pytest.mark.long
def test_a_stale_page_is_named(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in generator.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DOCS.parent / name, tmp_path / name)
    monkeypatch.setattr(generator, "OUTPUT", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert generator.main() == 0
    edited = tmp_path / "docs" / "reference" / "metrics.md"
    edited.write_text(edited.read_text(encoding="utf-8").replace("total", "sum"), encoding="utf-8")
    assert generator.main() == 1
    assert "docs/reference/metrics.md is stale" in capsys.readouterr().err


def test_every_reader_among_the_agents_is_named() -> None:
    reads = {"users": Users.reads, "budgets": Budgets.reads, "neighbours": Neighbours.reads}
    reads["learner"] = READS
    for topic in topics.READ_BY_AGENTS:
        assert topic.read_by == tuple(agent for agent, read in reads.items() if topic in read), topic.name
    assert all(topic.written_by and topic.read_by for topic in topics.ALL)


def test_every_field_of_every_message_has_a_meaning() -> None:
    for name, document in schema_files.generate().items():
        schema = json.loads(document) if name.endswith(".schema.json") else {}
        definitions = [schema, *schema.get("$defs", {}).values()]
        fields = [field for definition in definitions for field in definition.get("properties", {}).items()]
        assert [field for field, body in fields if field != "type" and not body.get("description")] == [], name


def test_every_topic_has_a_row() -> None:
    text = page("docs/reference/topics.md")
    assert [topic.name for topic in topics.ALL if f"| `{topic.name}` |" not in text] == []
