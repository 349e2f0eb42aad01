"""`--watch`: what a command shows, shown again whenever it is something else."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from polity_cli.cli.running import Answer, Visit

_LOOK_AGAIN_S = 1.0


def show_changes(look: Callable[[Visit], Answer], visit: Visit, *, as_json: bool) -> NoReturn:
    """Show what `look` finds whenever it is something else than shown last, until interrupted."""
    import json
    from time import sleep

    from polity_cli.cli.running import complain, emit, leave
    from polity_cli.errors import NoQuorum, PolityError

    def is_stopped() -> bool:
        return visit.interruption.signal != 0

    last: object = None
    while not is_stopped():
        try:
            answer = look(visit)
            now: object = {key: value for key, value in answer.data.items() if key != "seconds"}
            if now != last:
                emit(json.dumps(dict(answer.data)) if as_json else f"{answer.text or answer.note}\n")
        except NoQuorum as error:
            now = str(error)
            if now != last:
                complain(error)
        except PolityError:
            if not is_stopped():
                raise
            break
        last = now
        visit = visit.anew()
        sleep(_LOOK_AGAIN_S)
    leave(128 + visit.interruption.signal)
