"""The rules of tools/check_style.py, on small packages."""

from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import ROOT, script

LONG_BODY = "\n".join(f"    x{number} = {number}" for number in range(40))


@pytest.fixture(scope="module")
def style() -> ModuleType:
    return script("check_style", ROOT / "tools")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "stream_coupons").mkdir()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "style_exceptions.toml").write_text("# A comment.\n", encoding="utf-8")
    return tmp_path


def add(root: Path, name: str, text: str) -> None:
    path = root / "stream_coupons" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def excuse(root: Path, text: str) -> None:
    (root / "tools" / "style_exceptions.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "opening",
    [
        "What it is.",
        "Whether it is.",
        "How far.",
        "Of these.",
        "All that is.",
        "By how much.",
        "As of then.",
        "when so.",
    ],
)
def test_a_docstring_that_opens_with_a_clause_is_found(style: ModuleType, root: Path, opening: str) -> None:
    add(root, "a.py", f'"""A module."""\n\ndef f() -> None:\n    """{opening}"""\n')
    [line] = style.findings(root)
    assert line.startswith("stream_coupons/a.py: docstrings open with a clause: line 4 ")


@pytest.mark.parametrize(
    "opening", ["Return what it is.", "Offset of a record.", "Whole numbers.", "All records.", "Howl."]
)
def test_a_docstring_that_opens_with_a_noun_or_a_verb_is_not(style: ModuleType, root: Path, opening: str) -> None:
    add(root, "a.py", f'"""{opening}"""\n')
    assert list(style.findings(root)) == []


def test_docstrings_of_attributes_count_and_other_strings_do_not(style: ModuleType, root: Path) -> None:
    add(root, "a.py", 'A = 1\n"""Whether it is."""\nprint(A)\n"""What is no docstring."""\nB = "Which one"\n')
    [line] = style.findings(root)
    assert line.endswith("line 2 'Whether' (docstring_openings)")


def test_a_class_name_that_is_used_twice_is_found(style: ModuleType, root: Path) -> None:
    add(root, "a.py", "class Report: ...\n\nclass A:\n    class Row: ...\n")
    add(root, "b.py", "class Report: ...\n\nclass Rows: ...\n")
    [line] = style.findings(root)
    assert line.startswith("Report: several classes have this name: stream_coupons/a.py, stream_coupons/b.py")


def test_a_long_function_is_found_and_its_docstring_does_not_count(style: ModuleType, root: Path) -> None:
    add(root, "a.py", f"class A:\n  def f(self) -> None:\n{LONG_BODY}\n")
    [line] = style.findings(root)
    assert line == "stream_coupons/a.py: A.f: 41 lines, at most 40 (long_functions)"
    shorter = LONG_BODY.rpartition("\n")[0]
    add(root, "a.py", f'@decorated\ndef f() -> None:\n    """First.\n\n    Last.\n    """\n{shorter}\n')
    assert list(style.findings(root)) == []


def test_a_long_file_is_found(style: ModuleType, root: Path) -> None:
    add(root, "a.py", "A = 1\n" * 500)
    assert list(style.findings(root)) == []
    add(root, "a.py", "A = 1\n" * 501)
    assert list(style.findings(root)) == ["stream_coupons/a.py: 501 lines, at most 500 (long_files)"]


def method(text: str = "...") -> str:
    return f'  def f(self, a: int, /, *, b: int) -> None:\n    """{text}"""\n'


SECTIONS = """Do it.

    Parameters
    ----------
    a, b : int
        Numbers.

    Examples
    --------
    >>> 1
    1
    """


def test_parameters_without_a_section_are_found_in_rooms_that_others_build_on(style: ModuleType, root: Path) -> None:
    add(root, "core/a.py", f"class A:\n{method()}")
    add(root, "cli/a.py", f"class B:\n{method()}")
    [line] = style.findings(root)
    assert line == "stream_coupons/core/a.py: A.f: no Parameters section for a, b (undocumented_parameters)"
    add(root, "core/a.py", f"class A:\n{method(SECTIONS)}")
    assert list(style.findings(root)) == []


@pytest.mark.parametrize(
    "text",
    [
        "def f(a): ...\n",
        "def _f(a, b): ...\n",
        "class _A:\n  def f(self, a, b): ...\n",
        "class A:\n  def f(self, a): ...\n",
        "def f():\n  def g(a, b): ...\n",
        "@overload\ndef f(a, b): ...\n",
        f"class A(Protocol[int]):\n{method(SECTIONS)}\nclass B:\n{method()}",
        f"class A:\n{method(SECTIONS)}\nclass B(A):\n{method()}",
    ],
)
def test_parameters_need_no_section_where_others_cannot_miss_it(style: ModuleType, root: Path, text: str) -> None:
    add(root, "models/a.py", text)
    assert list(style.findings(root)) == []


def test_a_reference_to_another_section_is_enough_if_that_names_all(style: ModuleType, root: Path) -> None:
    refers = '"""Do it; parameters as\n    of `A.f`."""'
    add(root, "kafka/a.py", f"class A:\n{method(SECTIONS)}\ndef g(b, a):\n    {refers}\n\ndef h(a, c):\n    {refers}\n")
    assert list(style.findings(root)) == [
        "stream_coupons/kafka/a.py: h: no Parameters section for a, c (undocumented_parameters)"
    ]


def test_a_section_elsewhere_counts_for_no_function_of_the_same_name(style: ModuleType, root: Path) -> None:
    add(root, "core/a.py", f"class A:\n{method(SECTIONS)}")
    add(root, "models/a.py", f"class A:\n{method()}")
    assert "stream_coupons/models/a.py: A.f" in [line.partition(": no")[0] for line in style.findings(root)]


def test_a_method_of_an_unrelated_class_is_no_documentation(style: ModuleType, root: Path) -> None:
    add(root, "runtime/a.py", f"class A:\n{method(SECTIONS)}\nclass B:\n{method()}")
    assert [line.partition(":")[2][:5] for line in style.findings(root)] == [" B.f:"]


def test_the_share_counts_functions_of_the_core(style: ModuleType, root: Path) -> None:
    add(root, "core/a.py", f"class A:\n{method(SECTIONS)}\n  def g(self, a): ...\n\ndef h(): ...\n")
    assert style.share(style.parsed(root)) == (
        "core: 1 of 2 functions with parameters have Parameters, 1 of 1 with more than one have Parameters, "
        "1 of 3 functions have Examples"
    )


def test_an_exception_excuses_an_offender_and_nothing_else(style: ModuleType, root: Path) -> None:
    add(root, "a.py", '"""What it is."""\n')
    excuse(root, 'docstring_openings = ["stream_coupons/a.py"]\n')
    assert list(style.findings(root)) == []
    add(root, "b.py", '"""What it is."""\n')
    [line] = style.findings(root)
    assert line.startswith("stream_coupons/b.py")


def test_an_exception_that_follows_the_rule_has_to_go(style: ModuleType, root: Path) -> None:
    add(root, "a.py", '"""A module."""\n')
    excuse(root, '# A comment.\ndocstring_openings = ["stream_coupons/a.py", "stream_coupons/gone.py"]\n')
    assert len(list(style.findings(root))) == 2
    style.write(root)
    assert list(style.findings(root)) == []
    assert style.exceptions(root) == {rule: [] for rule in style.RULES}
    assert (root / style.EXCEPTIONS).read_text(encoding="utf-8").startswith("# A comment.\n")


def test_the_list_follows_a_renamed_file_but_gets_no_longer(style: ModuleType, root: Path) -> None:
    add(root, "new.py", '"""What it is."""\n')
    excuse(root, 'docstring_openings = ["stream_coupons/old.py"]\n')
    style.write(root)
    assert style.exceptions(root)["docstring_openings"] == ["stream_coupons/new.py"]
    add(root, "second.py", '"""What it is."""\n')
    with pytest.raises(ValueError, match="docstring_openings would get 2 exceptions, expected at most 1"):
        style.write(root)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no_such_rule = []\n", "names rules that do not exist: no_such_rule"),
        ('long_files = ["a", "a"]\n', "lists twice"),
    ],
)
def test_a_list_with_a_mistake_is_refused(style: ModuleType, root: Path, text: str, problem: str) -> None:
    excuse(root, text)
    with pytest.raises(ValueError, match=problem):
        list(style.findings(root))
