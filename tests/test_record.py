"""`Record`: what typing.NamedTuple does, for less."""

from __future__ import annotations

import subprocess
import sys

import pytest

from polity_cli.core.record import Record


class Point(Record):
    """A sample."""

    x: int
    y: int = 7

    def moved(self, by: int) -> Point:
        return self._replace(x=self.x + by)


class Line(Record):
    x: int
    y: int


def test_a_record_is_made_by_position_or_by_name_with_defaults() -> None:
    assert Point(1) == Point(x=1, y=7) == (1, 7)
    assert Point(1, 2).y == 2


def test_a_record_keeps_its_methods_and_its_text() -> None:
    assert Point(1).moved(2) == Point(3)
    assert Point.__doc__ == "A sample."
    assert repr(Point(1)) == "Point(x=1, y=7)"
    assert Point.__module__ == __name__


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]


def test_a_record_takes_neither_too_few_nor_unknown_fields() -> None:
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, z=2)  # type: ignore[call-arg]


def test_records_are_ordered_and_hashed_by_their_fields() -> None:
    assert sorted([Point(2, 0), Point(1, 9)]) == [Point(1, 9), Point(2, 0)]
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_records_of_different_classes_can_be_equal_so_tell_them_apart_by_class() -> None:
    point: object = Point(1, 2)
    assert point == Line(1, 2)
    assert not isinstance(point, Line)


def test_a_default_before_a_field_without_one_is_refused() -> None:
    source = "from polity_cli.core.record import Record\nclass Bad(Record):\n    x: int = 1\n    y: int\n"
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "Bad: a field with a default comes before one without" in run.stderr
