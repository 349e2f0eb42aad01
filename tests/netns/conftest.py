"""Clusters in network namespaces as fixtures, with a record that is judged whether or not a test asks for
it.

    def test_a(field):    five = field(5)    five.cluster.cut(...)    five.ask("n1", "elect", five.role())

Tests of one session share a cluster of each kind; it is healed before each. Without root or the tools
they are skipped with the reason, but not in CI (CI=true), where that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.field import Field
from tests.netns.space import obstacle
from tests.serf.verbs import OK

Fields = Callable[..., Field]
_HERE = Path(__file__).parent
_FIELDS = pytest.StashKey[list[Field]]()
_SUMMARY = "attacks"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.netns)


def demand(reason: str | None, *, ci: bool) -> None:
    """Skips for this reason, if any, or fails where these tests must run."""
    if reason is not None:
        assert not ci, f"in CI these tests must run: {reason}"
        pytest.skip(reason)


@pytest.fixture(scope="session")
def networks() -> None:
    """Real networks can be made here; skips otherwise."""
    demand(obstacle(), ci=os.environ.get("CI") == "true")


@pytest.fixture(scope="session")
def _clusters(networks: None) -> Iterator[Callable[[int, str], Field]]:
    with ExitStack() as stack:
        made: dict[tuple[int, str], Field] = {}

        def get(size: int, voters: str) -> Field:
            if (size, voters) not in made:
                first = stack.enter_context(Field.started(size, voters))
                assert (
                    first.cluster.nodes[0].polity("found", "--expect", str(size), "--wait").returncode == OK
                )
                made[size, voters] = first
            return made[size, voters]

        yield get


@pytest.fixture
def field(request: pytest.FixtureRequest, _clusters: Callable[[int, str], Field]) -> Fields:
    """Gives the session's healed and founded cluster of `size` nodes, with a record of its own."""

    def get(size: int, voters: str = "agent") -> Field:
        mine = _clusters(size, voters).for_test(request.node.name.removeprefix("test_"))
        request.node.stash.setdefault(_FIELDS, []).append(mine)
        mine.cluster.heal()
        return mine

    return get


@pytest.fixture
def young_field(request: pytest.FixtureRequest, networks: None) -> Iterator[Fields]:
    """Gives a cluster of the test's own: `size` nodes, of which only the `first` are running; not founded."""
    with ExitStack() as stack:

        def get(size: int, *, first: int, voters: str = "agent") -> Field:
            title = request.node.name.removeprefix("test_")
            mine = stack.enter_context(Field.started(size, voters, title, first=first))
            request.node.stash.setdefault(_FIELDS, []).append(mine)
            return mine

        yield get


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
        for field in item.stash.get(_FIELDS, []):
            field.record.judge()
    finally:
        # Properties travel with the report, also from one process of the tests to another.
        item.user_properties.extend((_SUMMARY, f.record.summary()) for f in item.stash.get(_FIELDS, []))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for field in item.stash.get(_FIELDS, []):
            report.sections.append((field.record.title, field.evidence()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    lines = [line for report in reports for name, line in report.user_properties if name == _SUMMARY]
    if lines:
        terminalreporter.section("real agents under attack")
        for line in lines:
            terminalreporter.write_line(str(line))
