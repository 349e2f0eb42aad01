"""The slot of a cron line: the latest time that the line names, as the machine's crontab would run it.

Times are those of the local time zone, as cron's are; the slot is written in UTC, which no summer time
repeats. So nodes name the same slot whenever their lines and time zones are the same, and however late each
of them comes to it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from polity_cli.errors import BadInput

_FIELDS = 5
_ZONE_FILE = "/etc/localtime"


def slot_of(line: str, now: datetime | None = None) -> str:
    """The slot of the latest time that is not after `now`, such as `2026-11-24T03:00Z`; raises BadInput.

    `line` has the five fields of a crontab(5). `now` is aware of its zone; by default the clock's, here.
    """
    now = now or datetime.now(local_zone())
    # In UTC, as local time that is added to goes astray where the hour comes twice.
    end = (now.astimezone(UTC) + timedelta(minutes=1)).replace(second=0, microsecond=0)
    try:
        if len(line.split()) != _FIELDS:
            raise CronSimError(f"it has {len(line.split())} fields")  # a sixth would be seconds
        latest = next(CronSim(line, end.astimezone(now.tzinfo), reverse=True))
    except CronSimError as error:
        raise BadInput(
            f"not the times of a cron line: {line!r} ({error})",
            hint="five fields as in crontab(5), quoted: --slot '0 3 * * *' for every day at 3",
        ) from None
    except StopIteration:
        raise BadInput(f"a cron line that names no time at all: {line!r}", hint="see crontab(5)") from None
    return latest.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def local_zone() -> tzinfo:
    """The machine's time zone: TZ, else /etc/localtime, else UTC. Raises BadInput for a TZ unknown here."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if name:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, OSError, ValueError):
            raise BadInput(
                f"the time zone TZ={name} is not known here",
                hint="name one of /usr/share/zoneinfo, such as Europe/Berlin, or leave TZ off",
            ) from None
    try:
        with open(_ZONE_FILE, "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
