"""tools/builder_keywords.py: type checkers know every keyword argument of the builders."""

import inspect
from pathlib import Path
from types import ModuleType

import pytest

from stream_coupons import testing
from tests.docs.pages import ROOT, script

BUILDERS = (
    "browse", "campaign", "cart", "coupon", "erasure", "feedback", "issue", "item", "observed", "order",
)  # fmt: skip


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return script("builder_keywords", ROOT / "tools")


def test_the_committed_stub_is_what_the_messages_say(tool: ModuleType) -> None:
    assert tool.STUB.read_text(encoding="utf-8") == tool.stub(), "python tools/builder_keywords.py"


def test_a_stale_stub_is_named_then_written(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "STUB", tmp_path / "keywords.pyi")
    codes = []
    for arguments in (["--check"], [], ["--check"]):
        monkeypatch.setattr("sys.argv", ["builder_keywords.py", *arguments])
        codes.append(tool.main())
    assert codes == [1, 0, 0]
    assert capsys.readouterr().err == "keywords.pyi is stale: run python tools/builder_keywords.py\n"
    assert tool.STUB.read_text(encoding="utf-8") == tool.stub()


@pytest.mark.parametrize("name", BUILDERS)
def test_builders_have_the_keyword_arguments_of_their_message(tool: ModuleType, name: str) -> None:
    signature = inspect.signature(getattr(testing, name))
    assert signature.parameters["fields"].annotation == f"Unpack[keywords.{signature.return_annotation}Fields]"
    assert f"class {signature.return_annotation}Fields(" in tool.stub()


def test_fields_that_a_builder_sets_itself_are_no_keyword_arguments(tool: ModuleType) -> None:
    [browse] = [part for part in tool.stub().split("\n\n") if part.startswith("class BrowseEventFields")]
    assert [line.split(":")[0].strip() for line in browse.splitlines()[1:]] == [
        "event_id", "schema_version", "domain", "context",
    ]  # fmt: skip
