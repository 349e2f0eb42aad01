"""`polity demo`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command


@click.command(
    cls=Command,
    exits=(1, 2, 8, 130),
    example="polity demo -n 5",
)
@click.option("-n", "size", type=int, default=5, show_default=True, metavar="N", help="How many nodes.")
def demo(size: int) -> None:
    """Take a guided tour on a cluster of real Serf agents on this machine.

    Needs the program `serf`, no root and no running agent. Everything it starts is ended. Exits with 1 if
    anything turns out other than it says.
    """
    import signal

    from polity_cli.cli.running import Interrupted, leave, say
    from polity_cli.demo import run

    def terminated(_: int, __: object) -> None:
        # As an exception, so that the agents are ended on the way out.
        raise Interrupted

    signal.signal(signal.SIGTERM, terminated)
    try:
        leave(run(size))
    except Interrupted:
        say("polity: interrupted")
        leave(128 + signal.SIGTERM)
