"""Options of the test suite."""

from __future__ import annotations

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
