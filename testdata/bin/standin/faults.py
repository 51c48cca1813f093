"""Faults by rules: which calls they hit, and their effects. README.md describes the rules.

A fault is either a failure, which is shown before the operation, after it, or instead of its output, or a change to how
the operation is carried out. Each is a function, and a table maps `do` to it.
"""

import _signal  # the module in C behind `signal`, which loads slowly
import os
import sys
import time

from standin import breakage, create, errors, images, light, networks
from standin.errors import Failure, Plain
from standin.settings import Version

ROUTES = {
    "create": "containerCreate", "run": "containerCreate", "start": "containerBootstrap", "stop": "containerStop",
    "kill": "containerKill", "delete": "containerDelete", "list": "containerList", "inspect": "containerList",
    "exec": "containerCreateProcess", "logs": "containerLogs", "network create": "networkCreate",
    "network delete": "networkDelete", "network list": "networkList", "network inspect": "networkList",
}


# --- which call is hit


def choose(session, words):
    """Returns the rule that hits this call, or None. Updates the counters under the lock."""
    rules = read_rules(session.settings.faults)
    if not rules:
        return None
    with session.state.lock():
        counts = session.state.read_json("fault-state", {})
        chosen = None
        for key, rule in rules:
            if chosen is None and matches(rule, words) and takes(rule, counts.setdefault(key, {"seen": 0, "hit": 0})):
                chosen = rule
        session.state.write_json("fault-state", counts)
    return chosen


def read_rules(paths):
    """Returns the rules, each with the key of its counters."""
    found = []
    for path in paths:
        try:
            with open(path) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            continue
        for number, line in enumerate(lines):
            if line.strip() and not line.startswith("#"):
                found.append(("%d %s" % (number, line), check(light.loads(line))))
    return found


def check(rule):
    """Refuses a rule with an unknown key, which would otherwise never hit."""
    unknown = set(rule) - KEYS
    if unknown or rule.get("do") not in FAILURES and rule.get("do") not in CHANGES:
        sys.exit("container (stand-in): this rule is not understood: " + light.dumps(rule))
    return rule


KEYS = {"match", "id", "regex", "skip", "count", "every", "when", "do", "ms", "value", "text", "as", "rc", "stderr",
        "n", "after_output"}


def matches(rule, words):
    wanted = rule.get("match", [])
    if words[:len(wanted)] != wanted:
        return False
    if "id" in rule and rule["id"] not in words:
        return False
    if "regex" not in rule:
        return True
    import re

    return re.search(rule["regex"], " ".join(words)) is not None


def takes(rule, count):
    """Returns whether this matching call is hit: after `skip` calls, at most `count` times, and of these every n-th."""
    count["seen"] += 1
    after_skip = count["seen"] - rule.get("skip", 0)
    limit = rule.get("count", 1)
    if after_skip <= 0 or after_skip % rule.get("every", 1) != 0 or (limit != -1 and count["hit"] >= limit):
        return False
    count["hit"] += 1
    return True


# --- what becomes of it


def apply(session, rule, words, act):
    """Returns the exit code. Like `act`, it carries the operation out."""
    name = rule["do"]
    if name in CHANGES:
        return CHANGES[name](session, rule, act)
    when = rule.get("when", "after" if name == "cancellation" else "before")
    if when == "before":
        return FAILURES[name](session, rule, words)
    rc = carried_out(act)
    session.pending.clear()
    if when == "after":
        return FAILURES[name](session, rule, words)
    # Replaces only the output.
    try:
        FAILURES[name](session, rule, words)
    except (Failure, Plain) as error:
        text = error.text if isinstance(error, Plain) else error.text(session.version)
        sys.stderr.write("Error: %s\n" % text)
    return rc


def carried_out(act):
    try:
        return act()
    except (Failure, Plain, errors.Several):
        return 1


# --- failures: session, rule, words


def connection(word):
    def fail(session, _rule, _words):
        raise errors.unreachable(session.version, session.doing, word, session.pings)
    return fail


def xpc_timeout(session, _rule, words):
    route = ROUTES.get(" ".join(words[:2])) or ROUTES.get(words[0], "ping")
    text = "XPC timeout for request to com.apple.container.apiserver/" + route
    raise Failure("internalError", "failed to " + session.doing, Failure("timeout", text))


def deaf():
    for number in (_signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, _signal.SIG_IGN)


def hang(_session, _rule, _words):
    deaf()
    # Long enough for every test, but no process survives a day of tests.
    time.sleep(1800)
    return 1


def empty_array(session, _rule, _words):
    session.line("[]")
    return 0


def target(words):
    """Returns the last argument that is not an option: in most commands the object."""
    return ([word for word in words[1:] if not word.startswith("-")] or ["x"])[-1]


def not_found_silent(_session, _rule, words):
    kind = "networks" if words[0] == "network" else "images" if words[0] == "image" else "containers"
    raise Plain('failed to delete one or more %s: ["%s"]' % (kind, target(words)))


def name_of(words):
    """Returns the name of the object that a create or run must create."""
    if words[0] == "network":
        return target(words)
    return words[words.index("--name") + 1] if "--name" in words else "x"


def exists(_session, _rule, words):
    text = {"network": "network %s already exists", "run": "container with id %s already exists"}
    raise Failure("exists", text.get(words[0], "container already exists: %s") % name_of(words))


def pending(_session, _rule, words):
    raise Failure("invalidState", "network %s has a pending operation" % target(words))


def referring(session, _rule, words):
    networks.refuse(session, target(words), ["late"])
    raise networks.referenced([target(words)])


def ip_allocator(session, _rule, words):
    text = "cannot delete subnet %s because the IP allocator cannot be disabled with active containers" % target(words)
    session.log("failed to delete network", error='internalError: "%s"' % text, id=target(words))
    raise networks.referenced([target(words)])


def stopping_delete(session, _rule, words):
    text = "container %s is stopping and can not be deleted" % target(words)
    cause = Failure("invalidState", text)
    raise errors.Several([Failure("internalError", "failed to delete container", cause)])


def fixed(code, text, plain=False):
    def fail(_session, _rule, _words):
        raise Plain(text) if plain else Failure(code, text)
    return fail


def kernel_missing(_session, _rule, _words):
    raise errors.no_kernel()


def port_busy(_session, _rule, _words):
    cause = Failure("unknown", "bind(descriptor:ptr:bytes:): Address already in use (errno: 48)")
    raise Failure("internalError", "failed to bootstrap container", cause)


def pull_refused(answer):
    def fail(_session, _rule, words):
        raise images.not_pulled(target(words), answer)
    return fail


def cancellation(session, _rule, words):
    """Deletes a run or stops an attached start, and loses the real exit code."""
    doing = "run" if words[0] == "run" else "start"
    if session.made is not None:
        create.undo(session, session.made)
    raise Plain("failed to %s container: CancellationError()" % doing)


def leave(_session, rule, _words):
    sys.stderr.write(rule.get("stderr", ""))
    return rule.get("rc", 1)


def kill_self(_session, rule, _words):
    os.kill(os.getpid(), rule.get("n", 9))
    time.sleep(5)
    return 1


def daemon_restart(session, rule, words):
    from standin import system

    system.restart(session)
    return connection("Connection interrupted")(session, rule, words)


FAILURES = {
    "xpc-invalid": connection("Connection invalid"),
    "xpc-interrupted": connection("Connection interrupted"),
    "xpc-timeout": xpc_timeout,
    "empty-array": empty_array,
    "not-found-silent": not_found_silent,
    "exists": exists,
    "pending": pending,
    "referring": referring,
    "ip-allocator": ip_allocator,
    "stopping-delete": stopping_delete,
    "volume-busy": fixed("invalidState", "volume 'x' is currently in use and cannot be accessed by another container, "
                         "or deleted"),
    "port-busy": port_busy,
    "port-privileged": fixed("internalError", "Permission denied while binding to host port 80. Binding to ports below "
                             "1024 requires root privileges."),
    "kernel-missing": kernel_missing,
    "rosetta": fixed("unsupported", "`container` is currently running under Rosetta Translation"),
    "not-macos26": fixed("invalidArgument", "non-default network configuration requires macOS 26 or newer"),
    "transport-inactive": fixed("", "unavailable (14): Transport became inactive", plain=True),
    "stream-closed": fixed("", "Stream unexpectedly closed", plain=True),
    "builder-timeout": fixed("timeout", "Timeout waiting for connection to builder"),
    "pull-404": pull_refused("404 Not Found"),
    "pull-401": pull_refused("401 Unauthorized"),
    "cancellation": cancellation,
    "exit": leave,
    "signal": kill_self,
    "daemon-restart": daemon_restart,
}


# --- changes: session, rule, act


def hanging(session, rule, act):
    """Ends with the error before the operation, after it without its output, or after its output (`when`,
    `after_output`)."""
    deaf()
    if rule.get("after_output"):
        carried_out(act)
        session.flush()
    elif rule.get("when") == "after":
        carried_out(act)
    return hang(session, rule, None)


def delay(_session, rule, act):
    time.sleep(rule.get("ms", 1000) / 1000)
    return act()


def gone(session, rule, act):
    session.tweaks["gone"] = True
    if "as" in rule:
        session.version = Version(rule["as"])
    return act()


def state(session, rule, act):
    session.tweaks["state"] = rule["value"]
    return act()


def no_networks(session, _rule, act):
    session.tweaks["no-networks"] = True
    return act()


def legacy_shape(session, _rule, act):
    session.tweaks["shape"] = Version("0.12.3" if session.version.since("1.0") else "0.7.1")
    return act()


def noise(session, rule, act):
    sys.stderr.write(rule.get("text", 'lost a message: ["reason": none]') + "\n")
    return act()


def output(change):
    """Carries the operation out successfully, and changes its output."""
    def act_and_change(session, rule, act):
        rc = act()
        text = "".join(session.pending)
        session.pending[:] = [change(text, rule)]
        return rc
    return act_and_change


def log(change):
    def act_on_log(session, _rule, act):
        session.tweaks["log"] = change
        return act()
    return act_on_log


def remove_behind(session, _rule, act):
    """Removes the named containers in docker, without a request of the caller."""
    for name in session.words[1:]:
        seen = session.see(name)
        if seen is not None:
            session.engine.raw("DELETE", session.docker_path(seen), {"force": "1"})
    return act()


def die_daemon(session, rule, act):
    """Ends the daemon: an attached call continues for `ms` and then loses the connection. Later calls get no answer."""
    import threading

    def die():
        session.state.set_system("stopped")
        sys.stderr.write("Error: %s\n" % errors.unreachable(session.version, session.doing, "Connection interrupted").text)
        session.finish(1)

    timer = threading.Timer(rule.get("ms", 0) / 1000, die)
    timer.daemon = True
    timer.start()
    if rule.get("ms", 0) == 0:
        timer.join()
    rc = act()
    timer.join()
    return rc


CHANGES = {
    "hang": hanging,
    "delay": delay,
    "gone": gone,
    "state": state,
    "no-networks": no_networks,
    "legacy-shape": legacy_shape,
    "future-shape": output(breakage.future),
    "bad-json": output(lambda _text, _rule: '[{"configuration": {"id": nonsense}}]\n'),
    "cut-json": output(lambda text, _rule: text[:len(text) // 2]),
    "empty-output": output(lambda _text, _rule: ""),
    "stdout-noise": output(lambda text, rule: rule.get("text", "warning: something else") + "\n" + text),
    "no-id": output(lambda _text, _rule: ""),
    "stderr-noise": noise,
    "logs-empty": log(lambda _data: b""),
    "logs-cut": log(breakage.cut_letter),
    "remove-behind": remove_behind,
    "die-daemon": die_daemon,
}
