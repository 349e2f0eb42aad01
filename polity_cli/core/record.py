"""Immutable records at a hundredth of the price of importing a dataclass.

`polity-hook` is a process started for each query. Importing `dataclasses` or `typing` and building a
dozen classes with them costs more than everything else it does. `Record` reads, type-checks and behaves
like `typing.NamedTuple` (fields in the class body, hashable, ordered, `_replace`), and imports nothing
that the interpreter has not already loaded for msgpack.

One caution that comes with tuples: records of different classes with equal fields compare equal, so
tell messages apart by class, never by `==`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:
    from collections import namedtuple

    class _RecordType(type):
        def __new__(meta, name, bases, body):
            fields = list(body.pop("__annotations__", {}))
            optional = [field for field in fields if field in body]
            if optional != fields[len(fields) - len(optional) :]:
                raise TypeError(f"{name}: a field with a default comes before one without")
            defaults = [body.pop(field) for field in optional]
            record = namedtuple(name, fields, defaults=defaults, module=body.pop("__module__"))
            body.pop("__qualname__", None)
            for key, value in body.items():
                setattr(record, key, value)
            return record

    Record = type.__new__(_RecordType, "Record", (), {})

__all__ = ["Record"]
