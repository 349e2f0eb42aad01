"""`polity-hook`: the voter that Serf starts for each query and each announcement.

Serf gives the payload on stdin and takes everything on stdout *and* stderr for the answer, so both are
pointed at nothing before anything else can happen, and the answer is written at the end, once, to the
kept descriptor. No answer is no vote: whatever goes wrong goes to the log, and nobody is told a thing.
Serf runs its handlers one after the other; this never talks to the cluster and waits for nothing but the
ledger. What needs more is left to a process of its own: giving back what a `polity run` on this node left
held when it was killed, and looking after roles when nodes came or went.
"""

from __future__ import annotations

import os


def main() -> None:
    """Answer the event that Serf describes in the environment; ends the process."""
    answer_fd = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    code = 0
    try:
        reply = _reply_to_event()
        if reply is not None:
            os.write(answer_fd, reply)
        _look_for_orphans()
    except BaseException as error:  # noqa: BLE001 - the last frame: say it, never print it
        _log(f"{type(error).__name__}: {error}")
        code = 1
    # Not sys.exit: closing the ledger would checkpoint it, and its log is safe on the disk as it is.
    os._exit(code)


def _reply_to_event() -> bytes | None:
    from polity_cli.settings import load_for_voter

    state_dir, namespace = load_for_voter()
    kind = os.environ.get("SERF_EVENT", "")
    name = os.environ.get({"query": "SERF_QUERY_NAME", "user": "SERF_USER_EVENT"}.get(kind, ""), "")
    node = os.environ.get("SERF_SELF_NAME", "")
    if kind.startswith("member-"):
        _look_after_roles(state_dir, namespace)
        return None
    if name != namespace or not node:
        if not kind:
            raise RuntimeError("this is an event handler for serf agent; see `polity serf-config`")
        return None
    from polity_cli.booth import answer
    from polity_cli.edges import wire
    from polity_cli.edges.ledger import Ledger, ledger_path

    data = _read_stdin(2 * wire.QUERY_BYTES)
    ledger = Ledger.open(ledger_path(state_dir, namespace, node), node)
    assert ledger is not None
    return answer(ledger, data)


def _look_after_roles(state_dir: str, namespace: str) -> None:
    """Have it seen whether a role is to be taken over, now that nodes came or went."""
    from polity_cli.settings import has_roles

    if has_roles():
        _hand_over(["succeed", "--state-dir", state_dir, "--namespace", namespace])


def _look_for_orphans() -> None:
    """Have roles given back whose run on this node is dead; looks at one folder, and seldom at more."""
    from polity_cli.settings import load_for_voter

    state_dir, namespace = load_for_voter()
    node = os.environ.get("SERF_SELF_NAME", "")
    begin = f"{namespace}@{node}."
    with os.scandir(state_dir) as entries:
        names = (e.name for e in entries if e.name.endswith(".run") and e.stat().st_size)
        if not any(name.startswith(begin) for name in names):
            return  # as nearly always: no more is imported
    from polity_cli.edges.runs import is_left_behind, paths

    if any(map(is_left_behind, paths(state_dir, namespace, node))):
        _hand_over(["voters", "tend", "--state-dir", state_dir, "--namespace", namespace])


def _hand_over(words: list[str]) -> None:
    import subprocess
    import sys

    with open(os.devnull, "r+b") as nothing:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "polity_cli", *words],
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )


def _read_stdin(most: int) -> bytes:
    data = b""
    while len(data) <= most:
        piece = os.read(0, most + 1 - len(data))
        if not piece:
            break
        data += piece
    return data


def _log(text: str) -> None:
    """To the file POLITY_HOOK_LOG names, else to syslog; never raises."""
    try:
        path = os.environ.get("POLITY_HOOK_LOG")
        if path:
            import time

            with open(path, "a", encoding="utf-8", errors="replace") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} polity-hook: {text}\n")
        else:
            import syslog

            syslog.openlog("polity-hook", 0, syslog.LOG_DAEMON)
            syslog.syslog(syslog.LOG_ERR, text)
    except Exception:  # noqa: BLE001 - there is nowhere left to tell it
        pass


if __name__ == "__main__":
    main()
