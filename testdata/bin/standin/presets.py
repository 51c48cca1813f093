"""Named fault scenarios: `container __fake preset NAME [KEY=VALUE...]`."""

from standin import light
from standin.errors import Plain


def flaky_xpc(_values):
    return [{"match": [word], "every": 3, "count": -1, "do": "xpc-interrupted"} for word in ("inspect", "list")]


def removed_behind_back(values):
    return [{"match": ["inspect"], "skip": int(values.get("after", "3")), "count": 1, "do": "remove-behind"}]


def stop_timeout_but_stopped(_values):
    return [{"match": ["stop"], "count": 1, "when": "after", "do": "xpc-timeout"}]


def create_timeout_but_created(_values):
    return [{"match": ["create"], "count": 1, "when": "after", "do": "xpc-timeout"}]


def net_detach_late(values):
    return [{"match": ["network", "delete"], "count": int(values.get("times", "2")), "do": "referring"}]


def ip_late(values):
    return [{"match": ["inspect"], "count": int(values.get("times", "2")), "do": "no-networks"}]


def daemon_restart(values):
    return [{"match": ["inspect"], "skip": int(values.get("after", "3")), "count": 1, "do": "daemon-restart"}]


RULES = {
    "flaky-xpc": flaky_xpc,
    "removed-behind-back": removed_behind_back,
    "stop-timeout-but-stopped": stop_timeout_but_stopped,
    "create-timeout-but-created": create_timeout_but_created,
    "net-detach-late": net_detach_late,
    "ip-late": ip_late,
    "daemon-restart": daemon_restart,
}

# These scenarios only choose a release.
VERSIONS = {"old-cli": "0.9.0", "silent-missing": "0.10.0"}


def choose(session, name, words):
    values = dict(word.split("=", 1) for word in words)
    if name in VERSIONS:
        session.state.write("version", VERSIONS[name])
    elif name in RULES:
        with session.state.lock():
            session.state.remove("fault-state")
            session.state.write("faults", "".join(light.dumps(rule) + "\n" for rule in RULES[name](values)))
    else:
        raise Plain("no such preset: %s; there are %s" % (name, ", ".join(sorted(RULES) + sorted(VERSIONS))), 64)
