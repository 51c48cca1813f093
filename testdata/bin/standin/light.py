"""The few functions of the standard library that nearly every call needs, without the modules that contain them.

A run makes half a dozen calls, and a test run thousands: `json`, `socket`, `urllib.parse`, `re`, `random`, `uuid` and
`signal` take three times as long to load as the rest of a call takes. The modules in C behind them belong to CPython,
and have not changed since 3.9.
"""

import os
from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


# --- JSON


class _Plainly:
    """A JSON decoder without hooks."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_scan = make_scanner(_Plainly)


def loads(text):
    """Like `json.loads`. Raises ValueError for an invalid document."""
    if isinstance(text, bytes):
        text = text.decode()
    text = text.strip()
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON") from None
    if end != len(text):
        raise ValueError("more than one document of JSON")
    return value


def dumps(value, separators=(", ", ": "), sort=False, ascii=True):
    """Like `json.dumps`, on one line."""
    item, key = separators
    escape = encode_basestring_ascii if ascii else encode_basestring
    return "".join(make_encoder(None, unknown, escape, None, key, item, sort, False, True)(value, 0))


def dumps_over_lines(value, sort=False, depth=0):
    """Like `json.dumps` with two spaces of indentation and ` : `, as Apple's encoder prints it."""
    if not isinstance(value, (list, dict)) or not value:
        return dumps(value, ascii=False)
    if isinstance(value, list):
        brackets, items = "[]", (dumps_over_lines(item, sort, depth + 1) for item in value)
    else:
        brackets = "{}"
        keys = sorted(value) if sort else value
        items = (encode_basestring(key) + " : " + dumps_over_lines(value[key], sort, depth + 1) for key in keys)
    inner = "\n" + "  " * (depth + 1)
    return brackets[0] + inner + ("," + inner).join(items) + "\n" + "  " * depth + brackets[1]


def unknown(value):
    raise TypeError("not of JSON: %r" % (value,))


# --- parts of a URL


def quote(text):
    """Like `urllib.parse.quote`, with every other character escaped."""
    data = text if isinstance(text, bytes) else str(text).encode()
    return "".join(chr(byte) if byte in SAFE else "%%%02X" % byte for byte in data)


def query(values):
    return "&".join(quote(key) + "=" + quote(value) for key, value in values.items())


# --- chance


def shuffled(items):
    """Returns the items in random order."""
    return sorted(items, key=lambda _: os.urandom(4))


def uuid4():
    """Returns a random UUID as text."""
    data = bytearray(os.urandom(16))
    data[6] = data[6] & 0x0F | 0x40
    data[8] = data[8] & 0x3F | 0x80
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


# --- dates


def seconds_since_1970(text):
    """Returns the seconds since 1970 of a UTC date such as `2026-01-15T19:30:03`."""
    year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
    # The year begins in March, so that the leap day is its last day.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = year * 365 + year // 4 - year // 100 + year // 400 + (month * 153 + 2) // 5 + day - 719469
    return days * 86400 + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
