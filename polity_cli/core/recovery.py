"""What a quorum of promises means: the one function that decides what may already have been decided.

Given q or more voters that promised B, and k the highest ballot at which any of them accepted:

- k classic: its proposer sent one value, and recovered it from a quorum itself. That value is current.
- k fast: candidates may have split the votes. A tenure can have been chosen at k only if those of its
  votes we see, together with all voters we do not see, reach the fast quorum f. As 2f + q > 2n, at most one
  tenure can. If there is one it is current; if there is none, the vacancy they all stood on is.

Taking any vote instead, or treating unseen voters as votes not cast, elects two nodes (at n >= 4).
"""

from __future__ import annotations

from polity_cli.core.electorate import Roll
from polity_cli.core.messages import Register, State
from polity_cli.core.tenure import Tenure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def recover(promises: Mapping[bytes, State | Register], roll: Roll) -> Tenure:
    """The current tenure, from the states of voters that all promised one ballot above all they accepted.

    `promises` maps voter ids to states; in a joint epoch pass the old roll's voters and the old roll.
    """
    highest = max(state.accepted for state in promises.values())
    accepted = [state.tenure for state in promises.values() if state.accepted == highest]
    if not highest.is_fast:
        return accepted[0]
    unseen = roll.n - len(promises)
    for tenure in sorted(set(accepted), key=lambda t: t.claim):
        if accepted.count(tenure) + unseen >= roll.f:
            return tenure
    return accepted[0].vacancy_before()
