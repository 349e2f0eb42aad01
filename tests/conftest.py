"""Options of the test suite."""

from __future__ import annotations

import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-scenarios",
        action="store_true",
        help="write tests/scenarios/*.txt anew from what the rules do now; read the difference",
    )
    parser.addoption(
        "--schedules",
        type=int,
        default=1500,
        help="random schedules per shape of electorate in tests/simulation (default %(default)s)",
    )
    parser.addoption(
        "--first-seed", type=int, default=0, help="seed of the first of them (default %(default)s)"
    )


def pytest_configure() -> None:
    """Whoever starts tests in the background of a shell has them ignore Ctrl-C, and all they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_ORDER = (
    "serf/",
    "netns/",
    "exploration/test_five",
    "simulation/",
    "serf/test_hundred",  # so many agents are company only for what computes
    "exploration/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real agents first, which mostly wait and want a core when they do not; what computes comes later."""

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.removeprefix("tests/")
        begins = [begin for begin in _ORDER if name.startswith(begin)]
        return _ORDER.index(max(begins, key=len)) if begins else len(_ORDER)

    items.sort(key=rank)
