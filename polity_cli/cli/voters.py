"""`polity voters`: the electorate shown; what changes it is in `changes.py` and `rescue.py`."""

from __future__ import annotations

import click
from click.core import ParameterSource

from polity_cli.cli import changes
from polity_cli.cli.common import CommandGroup, Options, with_options
from polity_cli.cli.rescue import rescue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer, Visit
    from polity_cli.registrar import Assembly


@click.group(
    cls=CommandGroup,
    exits=(2, 5, 7, 8, 130),
    example="polity voters",
    invoke_without_command=True,
)
@click.option("--watch", is_flag=True, help="Show it again whenever it has changed, until interrupted.")
@with_options
@click.pass_context
def voters(context: click.Context, watch: bool, options: Options) -> None:
    """Show the electorate, who is alive, the quorum, and how many may still fail.

    Beside each voter stand Serf's word for its node and whether its voter answered just now. A node that
    answers without being enrolled is shown too: its votes do not count. While the electorate changes, it
    says who joins and who leaves; everything then takes a quorum of the old voters and one of the new.

    Ends with 0 also where it shows that there is no quorum (`has_quorum` in JSON); with 5 if nobody answers.
    """
    from polity_cli.cli.looking import show_changes
    from polity_cli.cli.running import in_session

    if context.invoked_subcommand is not None:
        given = [
            name
            for name in context.params
            if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
        ]
        if given:
            raise click.UsageError(f"options go behind the word {context.invoked_subcommand}")
        return

    def work(visit: Visit) -> Answer:
        from polity_cli import registrar

        def look(visit: Visit) -> Answer:
            found = visit.patiently(lambda: registrar.assembly(visit.session, timeout_s=visit.left()))
            return _shown(found, visit.seconds())

        return show_changes(look, visit, as_json=options.as_json) if watch else look(visit)

    in_session("voters", options, work)


for change in (
    changes.add,
    changes.remove,
    changes.replace,
    changes.rule,
    changes.sync,
    changes.tend,
    rescue,
):
    voters.add_command(change)


def _shown(found: Assembly, seconds: float) -> Answer:
    from polity_cli.cli.assembly import advice_on, describe_assembly, spare_of
    from polity_cli.cli.running import Answer

    spare = spare_of(found)
    advice = advice_on(found, spare)
    data = {
        "command": "voters",
        "polity": found.electorate.polity.hex(),
        "epoch": found.electorate.epoch,
        "quorum": found.quorum,
        "population": found.population,
        "may_fail": max(0, spare),
        "may_fail_at_most": found.may_fail,
        "has_quorum": spare >= 0,
        "is_changing": found.electorate.is_joint,
        "rule": str(found.electorate.current.rule),
        "voters": [row._asdict() for row in found.voters],
        "hint": advice,
        "seconds": seconds,
    }
    return Answer(data, describe_assembly(found), note=advice)
