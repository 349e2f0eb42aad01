"""`polity doctor`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Answer, Command, finish, with_where


@click.command(cls=Command, example="polity doctor")
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

    def run() -> Answer:
        from polity_cli.checkup import examine
        from polity_cli.errors import SerfError, Unfit
        from polity_cli.settings import load

        settings = load(
            rpc_addr=rpc_addr,
            rpc_auth_file=rpc_auth_file,
            state_dir=state_dir,
            namespace=namespace,
            config=config,
        )
        findings = examine(settings)
        failed = [finding for finding in findings if finding.level == "FAIL"]
        lines = []
        for finding in findings:
            lines.append(f"{finding.level:4}  {finding.check}: {finding.text}")
            if finding.advice:
                lines.append(f"      {finding.advice}")
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
