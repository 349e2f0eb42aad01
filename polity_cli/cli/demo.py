"""`polity demo`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, complain


@click.command(cls=Command, example="polity demo -n 5")
@click.option("-n", "size", type=int, default=5, show_default=True, metavar="N", help="How many nodes.")
def demo(size: int) -> None:
    """Take a guided tour on a cluster of real Serf agents on this machine.

    Needs the program `serf`, no root and no running agent. Everything it starts is ended.
    """
    from polity_cli.demo import run
    from polity_cli.errors import PolityError

    try:
        raise SystemExit(run(size))
    except PolityError as error:
        complain(error)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
