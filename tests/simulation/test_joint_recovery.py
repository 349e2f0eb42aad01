"""What new voters alone accepted in a joint epoch is recovered by whoever comes next in it.

Found by the explorer of changes. Such a tenure is not chosen in the joint epoch, for want of the old voters;
but its votes go with the new voters into the next one, where they are a quorum.
"""

from __future__ import annotations

from polity_cli.core.change_state import Phase as ChangePhase
from polity_cli.core.operation import Phase, Purpose, Verdict
from tests.simulation.change_situations import Stage


def test_votes_of_new_voters_in_a_joint_epoch_are_not_overlooked() -> None:
    stage = Stage("1-3")
    change = stage.change(0)
    stage.let(
        change,
        (0, 1, 2),
        until=lambda: change.state.electorate.is_joint and change.state.phase is ChangePhase.PREPARE,
    )
    first = stage.begin(Purpose.ELECT, 0, floor=2, hint=False)
    stage.let(first, (0, 2), until=lambda: first.state.phase is Phase.ACCEPT)
    second = stage.begin(Purpose.ELECT, 2, floor=3, hint=False)
    stage.let(second, (0, 1), until=lambda: second.state.phase is Phase.PREPARE)
    stage.arrive(second, 0)
    stage.arrive(first, 1, 2)
    stage.let(second, (0, 2), until=lambda: second.state.phase is Phase.ACCEPT)
    stage.arrive(second, 0)
    stage.let(change, (0, 1, 2))
    stage.let(first, (1, 2))
    stage.let(second, (0, 2))
    stage.judge()
    outcomes = [op.outcome for op in (first, second)]
    assert [o.verdict for o in outcomes if o is not None].count(Verdict.WON) == 1
