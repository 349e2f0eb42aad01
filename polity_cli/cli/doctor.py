"""`polity doctor`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command, with_where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from polity_cli.checkup import Finding
    from polity_cli.cli.running import Answer
    from polity_cli.settings import Settings


@click.command(
    cls=Command,
    exits=(2, 7, 8),
    example="polity doctor",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@with_where
def doctor(
    as_json: bool,
    rpc_addr: str | None,
    rpc_auth_file: str | None,
    state_dir: str | None,
    namespace: str | None,
    config: str | None,
) -> None:
    """Check this node, and say what to do about each finding.

    Exits with 0 if nothing is amiss, else with 7 if Serf's agent is at fault and 8 for all the rest.
    """

    from polity_cli.cli.running import Answer, finish, plain
    from polity_cli.errors import SerfError, Unfit
    from polity_cli.settings import load

    def run() -> Answer:
        findings = _findings(
            lambda: load(
                rpc_addr=rpc_addr,
                rpc_auth_file=rpc_auth_file,
                state_dir=state_dir,
                namespace=namespace,
                config=config,
            )
        )
        failed = [finding for finding in findings if finding.level == "FAIL"]
        lines = []
        for finding in findings:
            lines.append(f"{finding.level:4}  {finding.check}: {plain(finding.text)}")
            if finding.advice:
                lines.append(f"      {plain(finding.advice)}")
        error = None
        if failed:
            kind = SerfError if any(finding.check == "serf" for finding in failed) else Unfit
            error = kind(f"this node is not fit: {', '.join(finding.check for finding in failed)}")
        data = {
            "command": "doctor",
            "outcome": "unfit" if failed else "fit",
            "findings": [finding._asdict() for finding in findings],
        }
        return Answer(data, "\n".join(lines), error)

    finish("doctor", run, as_json=as_json)


def _findings(load: Callable[[], Settings]) -> list[Finding]:
    """All findings; settings that cannot be used are one, and then the only one."""
    from polity_cli.checkup import FAIL, OK, WARN, Finding, examine
    from polity_cli.cli.serf_config import hook_path
    from polity_cli.errors import BadConfiguration, BadInput

    try:
        settings = load()
    except (BadConfiguration, BadInput) as error:
        return [Finding("configuration", FAIL, str(error), error.hint)]
    hook = hook_path()
    if hook is None:
        advice = "install the package with its scripts, unless `polity agent` votes on this node"
        return [*examine(settings), Finding("hook", WARN, "polity-hook is not installed", advice)]
    return [*examine(settings), Finding("hook", OK, f"{hook} can be run; whether serf does: see voter")]
