"""The fixtures of this folder: who shares a cluster, and in what state it is handed out."""

from __future__ import annotations

import pytest

from polity_cli.devcluster import DevCluster
from tests.serf.conftest import ClusterFactory

handed_out: list[DevCluster] = []


@pytest.mark.parametrize("turn", [1, 2])
def test_a_module_shares_one_cluster_whose_nodes_all_run_again(
    shared_cluster: ClusterFactory, turn: int
) -> None:
    shared = shared_cluster(3, voters="none")
    assert len(shared.running) == 3
    assert shared_cluster(2, voters="none") is not shared
    handed_out.append(shared)
    assert handed_out == [shared] * turn
    shared["n1"].kill()
    shared["n2"].pause()


@pytest.mark.parametrize("turn", [1, 2])
def test_a_cluster_of_ones_own_ends_with_the_test(cluster: ClusterFactory, turn: int) -> None:
    mine = cluster(1, voters="none")
    assert mine["n1"].running
    assert not any(earlier.running for earlier in handed_out if len(earlier.nodes) == 1)
    handed_out.append(mine)


def test_every_test_here_is_marked(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("serf") is not None
