"""The slot of a cron line: the latest time it names, in UTC, whatever summer time does."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from polity_cli.core.slot import check_slot, is_after
from polity_cli.crontab import local_zone, slot_of
from polity_cli.errors import BadInput

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: tzinfo = UTC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone(zone)


@pytest.mark.parametrize(
    ("line", "now", "slot"),
    [
        ("0 3 * * *", "2026-11-24 03:00:00", "2026-11-24T03:00Z"),
        ("0 3 * * *", "2026-11-24 03:00:59", "2026-11-24T03:00Z"),
        ("0 3 * * *", "2026-11-24 02:59:59", "2026-11-23T03:00Z"),
        ("0 3 * * *", "2026-11-25 02:00:00", "2026-11-24T03:00Z"),
        ("*/15 * * * *", "2026-11-24 12:44:59", "2026-11-24T12:30Z"),
        ("0 4 * * sun", "2026-11-24 12:00:00", "2026-11-22T04:00Z"),
        ("0 0 1 jan *", "2026-11-24 12:00:00", "2026-01-01T00:00Z"),
    ],
)
def test_the_slot_is_the_latest_time_that_is_not_to_come(line: str, now: str, slot: str) -> None:
    assert slot_of(line, at(now)) == slot
    assert check_slot(slot) == slot


def test_a_line_means_local_time_and_the_slot_is_the_same_wherever_it_is_read() -> None:
    assert slot_of("0 3 * * *", at("2026-07-01 05:00", BERLIN)) == "2026-07-01T01:00Z"
    assert slot_of("0 3 * * *", at("2026-12-01 05:00", BERLIN)) == "2026-12-01T02:00Z"


def test_an_hour_that_comes_twice_has_its_slots_twice_only_where_cron_runs_them_twice() -> None:
    first, second = at("2026-10-25 00:31", BERLIN), at("2026-10-25 01:31", BERLIN)
    assert (first.hour, second.hour) == (2, 2)
    assert slot_of("30 2 * * *", first) == slot_of("30 2 * * *", second) == "2026-10-25T00:30Z"
    assert slot_of("*/10 * * * *", first) == "2026-10-25T00:30Z"
    assert slot_of("*/10 * * * *", second) == "2026-10-25T01:30Z"


def test_a_time_that_summer_time_skips_has_its_slot_all_the_same() -> None:
    assert slot_of("30 2 * * *", at("2026-03-29 01:05", BERLIN)) == "2026-03-29T01:00Z"


def test_later_times_have_later_slots() -> None:
    slots = [
        slot_of("*/7 * * * *", at(f"2026-10-25 {hour:02}:{minute:02}", BERLIN))
        for hour in range(4)
        for minute in range(60)
    ]
    changes = [(one, other) for one, other in itertools.pairwise(slots) if one != other]
    assert len(changes) > 30
    assert all(is_after(other, one) for one, other in changes)


@pytest.mark.parametrize(
    "line", ["", "0 3 * *", "0 3 * * * *", "61 * * * *", "0 0 30 2 *", "@daily", "never"]
)
def test_what_is_no_cron_line_is_refused_with_an_example(line: str) -> None:
    with pytest.raises(BadInput, match="cron line") as caught:
        slot_of(line, at("2026-11-24 12:00"))
    assert "0 3 * * *" in caught.value.hint


def test_the_zone_is_the_one_of_tz_and_an_unknown_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert local_zone() == ZoneInfo("Asia/Tokyo")
    assert slot_of("0 3 * * *").endswith("T18:00Z")
    for name in ("Nowhere/At-All", "../etc/passwd", "Europe"):
        monkeypatch.setenv("TZ", name)
        with pytest.raises(BadInput, match=f"TZ={name} is not known"):
            local_zone()


def test_without_tz_the_zone_is_the_machines_and_utc_where_that_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr("polity_cli.crontab._ZONE_FILE", "/usr/share/zoneinfo/Europe/Berlin")
    assert slot_of("0 3 * * *")[-6:] in ("01:00Z", "02:00Z")
    monkeypatch.setattr("polity_cli.crontab._ZONE_FILE", f"{tmp_path}/none")
    assert local_zone() is UTC
