"""How a file is damaged: bytes, cells, fields of a document, values of a store, or the whole."""

import gzip
import json
import re
import sqlite3
from contextlib import closing, suppress

from mutated_files import mutated

__all__ = ["damaged"]

LONG = "x" * 10_000
DEEP = "@deep@"
ODD = (
    *(None, True, "", LONG, -1, 0, 1, 2, 3, 1.5, 1e308, float("nan"), float("inf"), 2**63, 10**400),
    *([], {}, [[]], [None], [1, 2, 3], {"a": 1}, DEEP, "2:4", "1:1", "../x", "a\0b", "\ud800"),
    *("a\nb", "0", "nan", "-", "*", "[", "%s", "{0}", "\u0663", ".", "a.b", 16, 64, 1e-300, -0.0),
)
"""Values that stand in the place of one; `DEEP` becomes lists within lists."""

DEPTHS = (50, 900, 20_000)


def _paths(document, path=()):
    """Every place of a document, as keys on the way to it."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inner:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _paths(value, (*path, key))


def _odd_value(owner, key, draw):
    owner[key] = draw.choice(ODD)


def _removed(owner, key, draw):
    del owner[key]


def _wrapped(owner, key, draw):
    owner[key] = draw.choice(([owner[key]], {"value": owner[key]}, str(owner[key])))


def _several(owner, key, draw):
    if isinstance(owner, list):
        owner += [owner[key]] * draw.choice((1, 3, 200))
    else:
        owner[draw.choice((f"{key}s", "", "x", LONG, "a\nb"))] = owner[key]


def _scaled(owner, key, draw):
    value = owner[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        owner[key] = draw.choice((value * 2, value // 2, -value, value * 10**9, value * 1e30))
    else:
        _odd_value(owner, key, draw)


FIELD_CHANGES = ((_odd_value, 4), (_removed, 2), (_wrapped, 1), (_several, 1), (_scaled, 3))


def _fields(document, draw):
    """A document of which a few fields are other ones."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        *above, key = draw.choice(list(_paths(document)) or [()]) or (None,)
        if key is None:
            return document
        owner = document
        for step in above:
            owner = owner[step]
        draw.choices(*zip(*FIELD_CHANGES, strict=True))[0](owner, key, draw)
    return document


def _text(document, draw, *, yaml):
    """A document as JSON, which YAML reads too."""
    text = json.dumps(document)
    if yaml:
        text = re.sub(r"\bNaN\b", ".nan", text).replace("Infinity", ".inf")
    depth = draw.choice(DEPTHS)
    deep = draw.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
    return text.replace(f'"{DEEP}"', deep).encode()


def _store(path, draw):
    """A store of which values, rows, tables or views are other ones."""
    with closing(sqlite3.connect(path)) as db, suppress(sqlite3.Error), db:
        kinds = dict(db.execute("SELECT name, type FROM sqlite_master WHERE type != 'index'"))
        name = draw.choice(sorted(kinds))
        if kinds[name] == "view" or draw.random() < 0.1:
            db.execute(f'DROP {kinds[name]} "{name}"')
            return
        column = draw.choice([row[1] for row in db.execute(f'PRAGMA table_info("{name}")')])
        value = draw.choice(ODD)
        held = isinstance(value, str | float | None) or (isinstance(value, int) and value < 2**63)
        held = held and value != "\ud800"
        change = draw.choice(("one", "all", "none", "renamed", "document"))
        if change == "none":
            db.execute(f'DELETE FROM "{name}" WHERE rowid % ? = 0', (draw.choice((1, 2, 3)),))
        elif change == "renamed":
            db.execute(f'ALTER TABLE "{name}" RENAME COLUMN "{column}" TO "other"')
        elif change == "document":
            ((number, text),) = db.execute("SELECT number, manifest FROM sweep LIMIT 1")
            text = _text(_fields(json.loads(text), draw), draw, yaml=False).decode()
            db.execute("UPDATE sweep SET manifest = ? WHERE number = ?", (text, number))
        else:
            value = value if held else b"\xff\xfe"
            where = "" if change == "all" else f'WHERE rowid = (SELECT min(rowid) FROM "{name}")'
            db.execute(f'UPDATE "{name}" SET "{column}" = ? {where}', (value,))


def _bytes(path, draw):
    data = path.read_bytes()
    if path.suffix == ".gz" and draw.random() < 0.8:
        path.write_bytes(gzip.compress(mutated(gzip.decompress(data), draw), 1))
    else:
        path.write_bytes(mutated(data, draw))


def _whole(path, draw):
    """Another file altogether in its place, or none."""
    data = path.read_bytes()
    instead = draw.choice(
        (
            *(b"", b"\0" * 100, b"\xff\xfe" + data[:4000].decode("latin-1").encode("utf-16-le")),
            *(b"[" * 5000, b"{" * 5000, b"null", b"[]", b"{}", b"- " * 3000, b"a" * 100_000),
            *(
                data[: len(data) // 2],
                data + data,
                b"\xef\xbb\xbf" + data,
                data[::-1],
                None,
                "away",
            ),
            *(gzip.compress(data), b"PK\x03\x04" + data, data.replace(b"\n", b"\r")),
        )
    )
    path.unlink()
    if instead is None:
        path.mkdir()
    elif instead != "away":
        path.write_bytes(instead)


def damaged(path, document, draw):
    """Damage the file at a path; ``document`` is what it says, or None if it is no document."""
    chance = draw.random()
    if chance < 0.04:
        _whole(path, draw)
    elif path.suffix == ".sqlite" and chance < 0.9:
        _store(path, draw)
    elif document is not None and chance < 0.75:
        yaml = path.suffix != ".json"
        path.write_bytes(_text(_fields(document, draw), draw, yaml=yaml))
    else:
        _bytes(path, draw)
