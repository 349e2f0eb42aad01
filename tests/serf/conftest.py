"""Real Serf clusters as fixtures: one per test, or one that the tests of a module share.

    def test_a(cluster):             nodes = cluster(3).nodes                  ended after the test
    def test_b(shared_cluster):      nodes = shared_cluster(5, voters="agent").nodes

Every test in this folder is marked `serf`. When one fails, its report has the end of each node's logs, as
their folder is gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from polity_cli.devcluster import DevCluster

ClusterFactory = Callable[..., DevCluster]
_HERE = Path(__file__).parent
_CLUSTERS = pytest.StashKey[list[DevCluster]]()
_LOG_LINES = 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.serf)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterFactory]:
    """Makes started clusters from the arguments of DevCluster; they end with the test."""
    with ExitStack() as stack:

        def make(size: int, **options: Any) -> DevCluster:
            made = stack.enter_context(DevCluster(size, **options))
            request.node.stash.setdefault(_CLUSTERS, []).append(made)
            return made

        yield make


@pytest.fixture(scope="module")
def _module_clusters() -> Iterator[Callable[..., DevCluster]]:
    with ExitStack() as stack:
        made: dict[str, DevCluster] = {}

        def get(size: int, **options: Any) -> DevCluster:
            key = repr((size, sorted(options.items())))
            if key not in made:
                made[key] = stack.enter_context(DevCluster(size, **options))
            return made[key]

        yield get


@pytest.fixture
def shared_cluster(
    request: pytest.FixtureRequest, _module_clusters: Callable[..., DevCluster]
) -> ClusterFactory:
    """As `cluster`, but whoever asks for the same arguments in this module gets the same cluster, healed.

    The nodes remember what earlier tests did: use roles of your own, and do not add nodes.
    """

    def get(size: int, **options: Any) -> DevCluster:
        shared = _module_clusters(size, **options)
        shared.heal()
        request.node.stash.setdefault(_CLUSTERS, []).append(shared)
        return shared

    return get


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for node in (node for made in item.stash.get(_CLUSTERS, []) for node in made.nodes):
            for log in (node.serf_log, node.voter_log):
                if log.exists():
                    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                    report.sections.append((f"{node.name} {log.name}", "\n".join(lines)))
    return report
