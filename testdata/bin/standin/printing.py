"""JSON as each release prints it: order of the keys, layout, dates, slashes."""

import time

from standin import light

APPLE_EPOCH = 978307200


def encode(version, value, pretty=False):
    if version.before("0.12"):
        value = shuffled(value)
    sort = version.since("1.0")
    if pretty and version.since("1.0"):
        text = light.dumps_over_lines(value, sort)
    else:
        text = light.dumps(value, (",", ":"), sort, ascii=False)
    # In JSON a slash occurs only in strings, so every slash can be replaced.
    return text.replace("/", "\\/") if version.before("1.4.1") else text


def shuffled(value):
    """Returns the value with its keys in random order, so that a caller that compares text fails."""
    if isinstance(value, list):
        return [shuffled(item) for item in value]
    if isinstance(value, dict):
        return {key: shuffled(item) for key, item in light.shuffled(value.items())}
    return value


def date(version, seconds):
    """Returns a time since 1970 in the release's format."""
    if version.since("1.0"):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    return round(seconds - APPLE_EPOCH, 3)


def parse_docker_date(text):
    """Returns docker's RFC 3339 date as seconds since 1970, or None for its zero value."""
    if not text or text.startswith("0001-"):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    return light.seconds_since_1970(whole) + float("0." + (fraction or "0"))


def table(rows):
    """Returns columns that are as wide as their widest cell, two spaces apart."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
    return "".join(line + "\n" for line in lines)
