"""What hypothesis draws from: ids, names, ballots, tenures, and every message and reply of the protocol.

Names go up to their longest, numbers up to the highest a message may have, and the extremes come often.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from polity_cli.core import messages as m
from polity_cli.core.ballot import CLASSIC, FAST, ID_BYTES, MAX_ROUND, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.quorum import QuorumRule
from polity_cli.core.slot import MAX_SLOT_BYTES
from polity_cli.core.tenure import MAX_NODE_BYTES, MAX_ROLE_BYTES, MAX_TERM, Tenure
from polity_cli.core.voter import Self
from polity_cli.edges import wire

MAX_EPOCH = 2**32


def numbers(most: int) -> SearchStrategy[int]:
    """0 to `most`, the ends often."""
    return st.one_of(st.sampled_from((0, 1, most)), st.integers(0, most))


def texts(least: int, most: int) -> SearchStrategy[str]:
    """Unicode of `least` to `most` bytes, any character that UTF-8 can write, NUL and new line included."""
    any_text = st.text(min_size=least, max_size=most)
    longest = st.sampled_from(("x", "é", "漢", "\n")).map(lambda c: c * (most // len(c.encode())))
    return st.one_of(any_text, longest).filter(lambda text: least <= len(text.encode()) <= most)


ids = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)
ids_or_none = st.one_of(ids, st.just(b""))
digests = st.binary(min_size=wire.DIGEST_BYTES, max_size=wire.DIGEST_BYTES)
digests_or_none = st.one_of(digests, st.just(b""))
epochs = numbers(MAX_EPOCH)
small = numbers(255)
roles = texts(1, MAX_ROLE_BYTES)
roles_or_none = texts(0, MAX_ROLE_BYTES)
nodes = texts(1, MAX_NODE_BYTES)
page_data = st.binary(max_size=wire.PAGE_BYTES)

ballots: SearchStrategy[Ballot] = st.builds(
    Ballot, numbers(MAX_ROUND), ids_or_none, st.sampled_from((CLASSIC, FAST))
)
afters: SearchStrategy[bytes] = ids_or_none | st.binary(min_size=16, max_size=16)
slots: SearchStrategy[str] = st.just("") | st.text("0123456789:-TZW", max_size=MAX_SLOT_BYTES)
tenures: SearchStrategy[Tenure] = st.builds(
    Tenure, numbers(MAX_TERM), st.one_of(st.none(), nodes), ids_or_none, afters, slots, slots
)
vacancies: SearchStrategy[Tenure] = st.builds(
    Tenure, numbers(MAX_TERM), st.none(), ids_or_none, afters, slots
)
selves: SearchStrategy[Self] = st.builds(Self, ids, ids_or_none, epochs, digests_or_none)


@st.composite
def _registers(draw: Callable[[SearchStrategy[Ballot]], Ballot]) -> tuple[Ballot, Ballot]:
    low, high = sorted((draw(ballots), draw(ballots)))
    return high, low


@st.composite
def registers(draw: st.DrawFn) -> m.Register:
    """What a voter may remember: promised >= accepted."""
    promised, accepted = draw(_registers())
    return m.Register(promised, accepted, draw(tenures), draw(ballots), draw(tenures))


# A list of roles has to fit a response as a whole; the booth sees to that.
_few_roles = st.lists(texts(1, 40), max_size=12).map(tuple)

QUERIES: dict[type, SearchStrategy[m.Query]] = {
    m.Read: st.builds(m.Read, ids, ids_or_none, epochs, roles_or_none),
    m.Prepare: st.builds(m.Prepare, ids, ids_or_none, epochs, roles_or_none, ballots),
    m.Accept: st.builds(m.Accept, ids, ids_or_none, epochs, roles_or_none, ballots, tenures),
    m.Stand: st.builds(m.Stand, ids, ids_or_none, epochs, roles, ballots, vacancies, tenures, ballots),
    m.Offer: st.builds(m.Offer, ids, digests_or_none, small, small, page_data, st.booleans()),
    m.Delta: st.builds(m.Delta, ids, digests_or_none, digests_or_none, page_data, st.booleans()),
    m.Fetch: st.builds(m.Fetch, ids, digests_or_none, small),
    m.ListRoles: st.builds(m.ListRoles, ids, ids_or_none, epochs, roles_or_none),
}
NEWS: dict[type, SearchStrategy[m.Announce]] = {
    m.Announce: st.builds(m.Announce, ids_or_none, epochs, roles, ballots, tenures),
}
REPLIES: dict[type, SearchStrategy[m.Reply]] = {
    m.State: st.builds(m.State, ids, ids, ids_or_none, epochs, ballots, ballots, tenures, ballots, tenures),
    m.Refusal: st.builds(m.Refusal, ids, ids, ids_or_none, epochs, digests_or_none, small),
    m.Page: st.builds(m.Page, ids, ids, ids_or_none, epochs, digests_or_none, small, small, page_data),
    m.Holding: st.builds(m.Holding, ids, ids, ids_or_none, epochs, digests_or_none, st.booleans()),
    m.RoleList: st.builds(m.RoleList, ids, ids, ids_or_none, epochs, _few_roles, st.booleans()),
}
messages: SearchStrategy[m.Message] = st.one_of(*QUERIES.values(), *NEWS.values())
replies: SearchStrategy[m.Reply] = st.one_of(*REPLIES.values())


@st.composite
def rolls(draw: st.DrawFn, *, most: int = 8) -> Roll:
    """Voters in order, each id once, and a rule that is safe for as many."""
    chosen = sorted(draw(st.sets(ids, min_size=1, max_size=most)))
    voters = tuple(Enrolled(voter, draw(nodes)) for voter in chosen)
    rule = QuorumRule(draw(st.integers(500_000, 1_000_000)), draw(st.integers(0, len(voters))))
    return Roll(voters, rule)


@st.composite
def records(draw: st.DrawFn) -> Electorate:
    """An electorate's record, stable or joint."""
    both = draw(st.lists(rolls(), min_size=1, max_size=2))
    epoch = draw(st.one_of(st.integers(0, 9), st.just(MAX_EPOCH // 2 - 1))) * 2 + len(both)
    return Electorate(draw(ids), epoch, tuple(both))
