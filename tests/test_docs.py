"""What the documents say is held to the code, and the house's rules to the files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from app.api.errors import FACES
from app.domain.errors import ErrorCode
from app.domain.exchange import Outcome

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
SOURCES = sorted(path for package in ("app", "quaymaster") for path in (ROOT / package).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 55
"""The house says about 40; this is where about ends."""
NOT_NAMES = re.compile(r"Manager|Helper|Util|Service|Impl$|^Base[A-Z]")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The fragments that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text())):
        if target.startswith("https://"):
            continue
        path, _, fragment = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        assert not fragment or fragment in anchors(linked), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_files_that_are_named_exist(document: Path) -> None:
    for path in re.findall(r"`((?:app|quaymaster|docs|deploy|tests)/[\w./-]+)`", document.read_text()):
        assert (ROOT / path).exists(), path


def test_every_error_is_documented_as_it_is_sent() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| `(\w+)` \| (.+) \| (.+) \|$", errors_page(), re.MULTILINE)
    assert [row[0] for row in rows] == [code.value for code in FACES]
    for code, status, type_, when, _ in rows:
        face = FACES[ErrorCode(code)]
        assert (int(status), type_) == (face.status, face.type), code
        assert ("code: null" in when) is not face.code_is_shown, code


def errors_page() -> str:
    return (ROOT / "docs" / "errors.md").read_text()


def test_every_error_has_a_face() -> None:
    assert set(FACES) == set(ErrorCode)


def test_every_outcome_is_explained() -> None:
    page = (ROOT / "docs" / "life-of-a-request.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [outcome.value for outcome in Outcome]


def test_the_life_of_a_request_passes_every_phase() -> None:
    page = (ROOT / "docs" / "life-of-a-request.md").read_text()
    imported = re.findall(
        r"^from (app\.gateway\.\w+) import", (ROOT / "app/gateway/pipeline.py").read_text(), re.MULTILINE
    )
    assert imported
    for module in imported:
        assert f"(../{module.replace('.', '/')}.py)" in page, module


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_one_page_of_four_parts(decision: Path) -> None:
    text = decision.read_text()
    assert text.startswith(f"# {decision.stem[:4]}. ")
    assert re.findall(r"^## (\w+)", text, re.MULTILINE) == ["Context", "Options", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 80


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(path.stem[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_file_can_be_read_in_one_sitting(source: Path) -> None:
    text = source.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_name_says_what_a_thing_is(source: Path) -> None:
    names = [node.name for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.ClassDef)]
    assert not [name for name in (*names, source.stem.title()) if NOT_NAMES.search(name)]
