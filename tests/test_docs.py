"""Docs that cannot lie: what README and docs/ say of files, links and commands is true."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from polity_cli.cli import reference, shapes
from polity_cli.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_NESTED = re.compile(r"\$\(([^)]*)\)")
_SHELL = re.compile(r"[|;&]|\d?[<>]")
_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_reference_of_the_commands_is_up_to_date() -> None:
    message = "run `.venv/bin/python -m polity_cli.cli.reference > docs/cli.md`"
    assert _text(ROOT / "docs" / "cli.md") == reference.document(), message


def test_every_command_has_an_example_that_is_a_command() -> None:
    for words, command in reference.commands():
        example = getattr(command, "example", "")
        assert words in example, f"{words} has no example"
        assert [_parse(line) for line in _polity_lines(example.splitlines())]


def _map_rows() -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", _text(ROOT / "docs" / "map.md"), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a file is on the map twice"
    return dict(rows)


def test_the_map_has_a_sentence_on_each_file() -> None:
    shipped = {
        str(path.relative_to(ROOT))
        for folder in ("polity_cli", "scripts")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    rows = _map_rows()
    assert sorted(shipped - set(rows)) == [], "files that docs/map.md does not name"
    assert [name for name, sentence in rows.items() if not sentence.endswith(".")] == []


def test_the_map_names_no_file_that_is_gone() -> None:
    assert [name for name in _map_rows() if not (ROOT / name).exists()] == []


def _anchors(page: Path) -> set[str]:
    """The fragments that a page's headings get, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", _text(page)), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", _text(page))):
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (fragment and fragment not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_readme_shows_how_to_see_it_and_how_to_test_it_first() -> None:
    start = "\n".join(_text(ROOT / "README.md").splitlines()[:30])
    assert "scripts/demo" in start
    assert "scripts/test" in start


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_shown_commands_exist(page: Path) -> None:
    lines = [line.partition("$ ")[2] for line in _text(page).splitlines() if re.match(r"\s*(\w+ )?\$ ", line)]
    spans = re.findall(r"(?<!`)`(polity [^`]+)`(?!`)", _FENCE.sub("", _text(page)))
    for command in _polity_lines([*lines, *spans]):
        _parse(command)


def _polity_lines(lines: list[str]) -> Iterator[str]:
    """The calls of polity in lines of shell, each without what the shell makes of its output."""
    for line in lines:
        for whole in (_NESTED.sub("nested", line), *_NESTED.findall(line)):
            for part in _SHELL.split(whole.split(" # ")[0]):
                if part.split()[:1] == ["polity"] and "..." not in part:
                    yield part.strip()


def _parse(command: str) -> str:
    """Have click parse a call without doing it; fails if there is no such command or option."""
    name, *rest = shlex.split(command)[1:]
    top = click.Context(cli, info_name="polity", **cli.context_settings)
    try:
        if name.startswith("-"):
            cli.make_context("polity", [name])
        found = cli.get_command(top, name)
        assert found is not None, f"`{command}`: there is no command {name!r}"
        if rest:  # in running text a command may be meant as such
            found.make_context(name, rest, parent=top)
    except click.exceptions.Exit:
        pass
    except click.ClickException as error:
        raise AssertionError(f"`{command}`: {error.format_message()}") from error
    return command


def test_the_examples_in_json_have_the_documented_shape_and_exit_codes() -> None:
    text = _text(ROOT / "docs" / "json-examples.md")
    shown = re.findall(r"^(?:[a-z]+\d )?\$ polity .*# (\d+)\n(\{.*\})$", text, re.MULTILINE)
    assert len(shown) == text.count("$ polity ")
    answers = [(int(code), json.loads(answer)) for code, answer in shown]
    for code, answer in answers:
        assert shapes.mismatches(answer) == []
        assert answer.get("exit_code", 0) == code
    assert {answer["command"] for _, answer in answers} == set(shapes.COMMANDS)


def test_the_tests_that_the_protocol_names_exist() -> None:
    text = _text(ROOT / "docs" / "protocol.md")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    assert [f"{path}::{name}" for path, name in named if f"def {name}(" not in _text(ROOT / path)] == []
    claims = text.partition("## Where each claim is checked")[2].partition("\n## ")[0]
    cells = re.findall(r"scenarios? ((?:`\w+`(?:, )?)+)", claims)
    scenarios = re.findall(r"`(\w+)`", " ".join(cells))
    assert len(scenarios) > 5
    assert [name for name in scenarios if not (ROOT / "tests" / "scenarios" / f"{name}.txt").exists()] == []
