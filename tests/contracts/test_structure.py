"""The structure of the code, and documents that must match it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import all_errors
from core.settings import Settings
from tests.support import error_table, settings_table

ROOT = Path(__file__).resolve().parents[2]

CORE = sorted((ROOT / "core").rglob("*.py"))
ERRORS = sorted((ROOT / "core" / "errors").glob("*.py"))
PAGES = sorted((ROOT / "pages").rglob("*.py"))
SOURCES = [ROOT / "app.py", *CORE, *PAGES]
# Callbacks that touch nothing but this tab.
HARMLESS = ("turn", "state.show_all", "_copied", "sign_out")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """The dotted names of all imports in a file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", CORE, ids=named)
def test_core_knows_neither_pages_nor_streamlit(path: Path) -> None:
    assert {name.partition(".")[0] for name in imports(path)}.isdisjoint(
        {"streamlit", "streamlit_authenticator", "pages", "app", "tests"}
    )


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_pages_hold_no_sql_and_no_http(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(path)}
    assert roots.isdisjoint(
        {"sqlmodel", "sqlalchemy", "httpx", "httpx2", "requests", "openai", "app", "tests"}
    )
    assert not re.search(r"\bselect\(", path.read_text())


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_no_page_draws_raw_html(path: Path) -> None:
    assert "unsafe_allow_html" not in path.read_text()


@pytest.mark.parametrize("path", [path for path in CORE if "migrations" not in path.parts], ids=named)
def test_the_openai_library_stays_at_its_border(path: Path) -> None:
    if path.parent.name not in {"provider", "responses"}:
        assert "openai" not in {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").glob("*.py"))], ids=named)
def test_nothing_is_left_to_do(path: Path) -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    assert not marks.search(path.read_text())


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text()], ids=named)
def test_a_module_opens_with_one_sentence(path: Path) -> None:
    words = ast.get_docstring(ast.parse(path.read_text()))
    assert words
    assert words.partition("\n")[0].endswith((".", ":"))


# What is written down


def test_a_package_of_core_is_small_and_few_files_lie_loose() -> None:
    folders = {path.parent for path in CORE if "migrations" not in path.parts}
    sizes = {
        named(folder): len([file for file in folder.glob("*.py") if file.name != "__init__.py"])
        for folder in folders
    }
    assert sizes.pop("core") <= 4
    assert {name: size for name, size in sizes.items() if not 5 <= size <= 13} == {}


def test_the_map_for_contributors_has_every_package_of_core() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = set(re.findall(r"^[├└]── (\w+)(?:/|\.py) ", text, re.MULTILINE))
    here = {path.stem for path in (ROOT / "core").iterdir() if path.stem not in ("__init__", "__pycache__")}
    assert listed == here


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    """`make settings` writes them."""
    assert settings_table.DOCUMENT.read_text(encoding="utf-8") == settings_table.document()
    assert set(settings_table.SECTIONS) <= set(Settings.model_fields)


def test_the_example_env_file_lists_every_setting() -> None:
    listed = re.findall(r"^#?\s*([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_says_what_it_does(name: str) -> None:
    assert Settings.model_fields[name].description


def test_the_table_of_errors_is_that_of_the_code() -> None:
    """`make errors` writes it."""
    assert error_table.DOCUMENT.read_text(encoding="utf-8") == error_table.document()


def test_every_error_is_in_the_table_once() -> None:
    """Reads the source, because a class that nothing imports isn't registered."""
    files = [path for path in ERRORS if path.name not in ("__init__.py", "stored.py")]
    nodes = [node for path in files for node in ast.parse(path.read_text()).body]
    written = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    assert written == {kind.__name__ for kind in all_errors()}
    listed = re.findall(r"^\| `(IMG-[A-Z0-9-]+)` \|", error_table.DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({kind.code for kind in all_errors()})


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_errors_are_defined_in_one_place(path: Path) -> None:
    """A code that is defined elsewhere would be missing in the table."""
    if path not in ERRORS:
        assert not re.search(r"\bcode\b.*=\s*\"IMG-", path.read_text())


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_callback_asks_who_is_there(path: Path) -> None:
    """A widget's callback runs before the page's own check of the session."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg in ("on_click", "on_change", "on_submit"):
            guarded = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "as_user"
            assert guarded or ast.unparse(node.value) in HARMLESS, ast.unparse(node.value)
