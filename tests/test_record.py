"""Records behave like typing.NamedTuple, from which their types come."""

from __future__ import annotations

import pytest

from polity_cli.core.record import Record


class Point(Record):
    """A place."""

    x: int
    y: int = 7

    @property
    def both(self) -> int:
        return self.x + self.y


def test_a_record_has_fields_defaults_methods_and_its_docstring() -> None:
    assert (Point(1).x, Point(1).y, Point(1).both) == (1, 7, 8)
    assert Point.__doc__ == "A place."
    assert Point.__module__ == __name__
    assert Point._fields == ("x", "y")


def test_a_record_is_immutable_hashable_and_ordered_by_its_fields() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    assert len({Point(1), Point(1, 7), Point(2)}) == 2
    assert Point(1, 9) < Point(2, 0)
    assert Point(1)._replace(y=0) == Point(1, 0)


def test_a_default_before_a_field_without_one_is_refused() -> None:
    with pytest.raises(TypeError, match="before one without"):
        type(Record)(
            "Wrong", (Record,), {"__module__": __name__, "__annotations__": {"a": int, "b": int}, "a": 1}
        )
