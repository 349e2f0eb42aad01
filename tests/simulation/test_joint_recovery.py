"""What new voters alone accepted in a joint epoch is recovered by whoever comes next in it.

Found by the explorer of changes. Such a tenure is not chosen in the joint epoch, for want of the old voters;
but its votes go with the new voters into the next one, where they are a quorum.
"""

from __future__ import annotations

from polity_cli.core.operation import Verdict
from tests.simulation.change_situations import Stage, new_voters_accept_alone_in_the_joint_epoch


def test_votes_of_new_voters_in_a_joint_epoch_are_not_overlooked() -> None:
    operations = new_voters_accept_alone_in_the_joint_epoch(Stage("1-3"))
    outcomes = [op.outcome for op in operations]
    assert [o.verdict for o in outcomes if o is not None].count(Verdict.WON) == 1
