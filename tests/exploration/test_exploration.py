"""The shipped rules keep their promises in every state of the cases of CI, and the explorer is not blind.

`python -m tests.exploration` prints the same figures, and `--full` explores more.
"""

from __future__ import annotations

import pytest

from polity_cli.core.candidacy import Phase
from tests.exploration.board import Board
from tests.exploration.cases import CI, FULL, Case, elect, orders, query, recall
from tests.exploration.parallel import explore_all
from tests.exploration.rules import TRUSTING, Trust
from tests.exploration.search import Search, explore

SMALL = Case("an election and a recall that knows nothing", 3, (elect("E", 0), recall("R")))
