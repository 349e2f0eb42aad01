"""The explorer of changes: every state that a change of the electorate can reach with few operations.

    cases      what is explored: old and new voters, operations and their epochs, coordinators
    crowd      the voters, by number: what becomes of each, and all that it may still become
    proposers  operations and coordinators, moved by the shipped functions
    board      states, and the acts between them
    judge      S1 to S3 and S5 at every state
    search     breadth first; the way to a violation as a conversation
    planted    bugs and the cases that catch them

**A state is seen only when somebody acts on answers.** A voter's turns are independent of those of other
voters: they take messages that were sent, and nobody can tell when until somebody hears an answer. So no turn
of a voter is a step of its own. An act of a proposer names the voters it heard, and each of them takes, just
before, whatever messages lead to the answer it gave: any of those sent so far, in any order. Other voters
stay as they were; what they might have taken meanwhile they may as well take later. Each run of the protocol
is equal, up to the order of turns that do not concern each other, to one that is explored. What becomes true
without anybody hearing of it, as a tenure that is chosen and the proposer dies, is judged in every state over
all that voters may still become (`judge`). Losses, copies, delays and any order are in that; a proposer that
dies is one that acts no more, a voter that crashes one that takes no more messages.

**What is left out, and why that is sound.**

- *The first decision*, the joint record, is chosen at the start where all coordinators want the same. To
  choose it no voter does anything to a role, and its message may be taken at any time, so a later choice
  allows nothing more. Rival coordinators are cases of their own: all the register of the electorate, no role.
- *The last decision* has one possible value, and any joint quorum can make it, as nothing keeps a voter from
  entering the joint epoch. So it is made as soon as a coordinator proposes it.
- *Pages and offers* before a record is chosen only fill a voter's shelf: voters hold all records.
- *Looks* decide nothing. A look at one instant is judged in every state; an operation that goes on after one
  does so at once. It may know of a newer epoch as soon as the record is chosen, and so may act a little
  earlier than a real one, never later.
- *Each proposer has one ballot in each of its epochs*; a case is explored in each order of ballots. That is a
  bound, and printed.
- Voters are interchangeable within old only, new only, and both: the rules only compare their ids.
"""
