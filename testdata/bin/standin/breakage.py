"""Output that no release prints: the output of faults."""

from standin import light


def future(text, _rule):
    """Output of a future release: more keys, nulls, dates of the other type."""
    return light.dumps(changed(light.loads(text))) + "\n"


def changed(value):
    if isinstance(value, list):
        return [changed(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: changed(item) for key, item in value.items()}
    for key in ("startedDate", "creationDate"):
        if isinstance(found.get(key), str):
            found[key] = 802345678.5
        elif key in found:
            found[key] = "2026-06-08T12:34:56Z"
    found["addedLater"] = {"nested": [1, None, "x"]}
    found["nothingYet"] = None
    return found


def cut_letter(data):
    """Output that ends in the middle of a two-byte character."""
    return data.rstrip(b"\n") + "é".encode()[:1]
