"""docs/library.md: its examples run, in order, and print what the page says they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from polity_cli.devcluster import DevCluster, wait_for

_PAGE = Path(__file__).parents[1] / "docs" / "library.md"
_EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.serf


def _examples() -> list[tuple[str, str]]:
    return _EXAMPLE.findall(_PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    with DevCluster(5, voters="agent") as made:
        for node in made.nodes:
            wait_for(
                lambda log=node.voter_log: log.exists() and "voting as" in log.read_text(),  # type: ignore[misc]
                20,
                f"{node.name} to vote",
            )
        founded = made["n1"].polity("found")
        assert founded.returncode == 0, founded.stderr
        yield made


def test_there_are_examples() -> None:
    assert len(_examples()) > 8


@pytest.mark.parametrize("number", range(len(_examples())))
def test_an_example_does_what_the_page_says(
    number: int, cluster: DevCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = _examples()[number]
    for name, value in cluster["n1"].env.items():
        monkeypatch.setenv(name, value)
    line = _PAGE.read_text(encoding="utf-8").split(code)[0].count("\n")
    exec(compile("\n" * line + code, str(_PAGE), "exec"), {"__name__": "example"})
    if printed:
        assert capsys.readouterr().out == printed
