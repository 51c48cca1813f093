"""The values of options: sizes, mounts, ports, limits, environment. Stricter than docker where Apple is."""

import os

from standin.errors import Failure, Usage

SMALL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
ALPHANUMERIC = SMALL | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
LEAST_MEMORY = 200 << 20
# The characters that names may contain besides letters and digits.
PUNCTUATION = {ord(letter): None for letter in "_.-"}


def invalid(message):
    return Failure("invalidArgument", message)


def check_container_id(name):
    if not 2 <= len(name) <= 63 or name[0] not in ALPHANUMERIC or not ALPHANUMERIC.issuperset(name.translate(PUNCTUATION)):
        raise invalid("container ID %s is not a valid container ID" % name)


def is_network_name(name):
    inner = SMALL.issuperset(name.translate(PUNCTUATION))
    return 1 <= len(name) <= 63 and name[0] in SMALL and name[-1] in SMALL and inner


def size(text):
    """All units are binary; a plain number is bytes."""
    if text.isascii() and text.isdigit():
        return int(text)
    import re

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b)?", text.strip().lower())
    if match is None:
        raise Usage("invalid size: %s" % text)
    return int(float(match.group(1)) * UNITS[match.group(2)])


def memory(version, text):
    if text is None:
        return 1 << 30
    amount = size(text)
    if version.since("0.10") and amount < LEAST_MEMORY:
        raise invalid("minimum memory amount allowed is 200 MiB (got %d bytes)" % amount)
    return amount


def cpus(text):
    if text is None:
        return 4
    if not text.isdigit() or int(text) == 0:
        raise Usage("The value '%s' is invalid for '--cpus <cpus>'" % text)
    return int(text)


def labels(items):
    found = {}
    for item in items:
        key, _, value = item.partition("=")
        if not key or "=" in value:
            raise invalid("invalid label format %s" % item)
        found[key] = value
    return found


def environment(version, image, files, items):
    """The variables of the image, then of the files, then of the options. `K` alone takes the caller's value, if there is
    one."""
    given = list(image)
    for path in files:
        given += env_file(path)
    for item in items:
        if "=" in item:
            given.append(item)
        elif item in os.environ:
            given.append("%s=%s" % (item, os.environ[item]))
    found = {}
    for item in given:
        key, _, value = item.partition("=")
        # Before 0.10 both values stay, and a program finds the first one.
        if version.since("0.10") or key not in found:
            found[key] = value
    return ["%s=%s" % item for item in found.items()]


def env_file(path):
    try:
        with open(path) as file:
            lines = [line.strip() for line in file]
    except OSError:
        raise invalid("failed to read envfile at %s" % path) from None
    return [line for line in lines if line and not line.startswith("#")]


def rlimits(items):
    found = {}
    for item in items:
        name, _, value = item.partition("=")
        soft, _, hard = value.partition(":")
        if not name or not soft:
            raise invalid("invalid ulimit: %s" % item)
        if name in found:
            raise invalid("duplicate ulimit type: %s" % name)
        found[name] = (limit(soft), limit(hard or soft))
    return found


def limit(text):
    if text in ("-1", "unlimited"):
        return -1
    if not text.isdigit():
        raise invalid("invalid ulimit value: %s" % text)
    return int(text)


def user(options, image_user):
    """Returns the user as docker gets it, and as the record shows it."""
    if options.user:
        return options.user, shown_user(options.user)
    if options.uid is not None or options.gid is not None:
        told = "%s:%s" % (options.uid or 0, options.gid or 0)
        return told, shown_user(told)
    return image_user, shown_user(image_user)


def shown_user(text):
    uid, _, gid = text.partition(":")
    if (uid or "0").isdigit() and (gid or "0").isdigit():
        return {"id": {"uid": int(uid or 0), "gid": int(gid or uid or 0) if gid or uid else 0}}
    return {"raw": {"userString": text}}


def ports(items):
    found = [port(item) for item in items]
    if sum(item["count"] for item in found) > 64:
        raise invalid("cannot exceed more than 64 port publish descriptors")
    return found


def port(item):
    import re

    match = re.fullmatch(r"(?:(\[[0-9a-fA-F:]+\]|[0-9.]+):)?(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?(?:/(tcp|udp))?", item)
    if match is None:
        raise invalid("invalid publish value: %s" % item)
    address, host, host_end, inner, inner_end, proto = match.groups()
    count = int(host_end or host) - int(host) + 1
    if count < 1 or count != int(inner_end or inner) - int(inner) + 1:
        raise invalid("publish port ranges do not match: %s" % item)
    return {
        "hostAddress": (address or "0.0.0.0").strip("[]"),
        "hostPort": int(host),
        "containerPort": int(inner),
        "proto": proto or "tcp",
        "count": count,
    }


def network(version, item):
    name, *settings = item.split(",")
    found = {"network": name}
    if name == "none" and version.before("0.6"):
        raise Failure("notFound", "network none not found")
    for setting in settings:
        key, _, value = setting.partition("=")
        known = (key == "mac" and version.since("0.7")) or (key == "mtu" and version.since("0.11"))
        if not known:
            raise invalid("invalid network property '%s'" % key)
        found[key] = int(value) if key == "mtu" else value
    return found


def capability(name):
    name = name.upper()
    return name if name == "ALL" or name.startswith("CAP_") else "CAP_" + name
