"""The explorer: every state that the shipped rules can reach with few operations, and each checked.

    cases     what is explored: operations, voters, the past
    rules     what voters and operations do, made by the shipped functions
    hearing   an operation's turns: all that it can say next
    promises  S1 to S3 at every step
    crowd     the voters, by number
    endings   how operations end, judged at every state without steps of their own
    spent     what can decide nothing any more
    board     states, and the steps between them
    looks     whatever a look may hear, and what it then takes for settled
    lone      L1 from every ledger reached
    parallel  several explorations at once
    search    breadth first; the way to a violation
    story     that way as a conversation
    planted   bugs and the cases that catch them

`python -m tests.exploration [CASE...] [--full]` runs it.
"""
