"""`inspect`, `list`, `logs`, `stats`, and copying files in and out."""

import sys
import time

from standin import printing, shapes
from standin.engine import EngineError, split_log
from standin.errors import Failure


def run_inspect(session, options):
    names = list(dict.fromkeys(options.positionals))
    found = {name: session.see(name) for name in names}
    missing = [name for name in names if found[name] is None]
    if missing and session.version.since("1.0"):
        raise Failure("notFound", "container not found: " + ", ".join(missing))
    # In the order of the daemon, not of the caller.
    seen = sorted((each for each in found.values() if each is not None), key=lambda each: each.docker["Created"])
    print_containers(session, seen, pretty=True)


def print_containers(session, seen, pretty):
    elements = [shapes.container(session.version, each, session.tweaks) for each in seen]
    session.line(printing.encode(session.version, elements, pretty))


def run_list(session, options):
    json_shows_all = options.format == "json" and session.version.before("0.10")
    everything = options.all or json_shows_all
    seen = [each for each in session.see_all() if everything or each.state == "running"]
    if options.quiet:
        for each in seen:
            session.line(each.id)
    elif options.format == "json":
        print_containers(session, seen, pretty=False)
    else:
        session.out(text_table(session, seen))


def text_table(session, seen):
    return printing.table([header(session.version)] + [row(session, each) for each in seen])


def header(version):
    columns = ["ID", "IMAGE", "OS", "ARCH", "STATE", "IP" if version.since("1.0") else "ADDR"]
    if version.since("0.5"):
        columns += ["CPUS", "MEMORY"]
    if version.since("0.8"):
        columns.append("STARTED")
    return columns


def row(session, each):
    version, record = session.version, each.record
    addresses = [
        network.get("ipv4Address") or network.get("address") for network in shapes.attachments(version, each)
    ]
    state = session.tweaks.get("state", each.state)
    cells = [each.id, record["image"], "linux", "arm64", state, ",".join(addresses)]
    if version.since("0.5"):
        cells += [str(record["cpus"]), "%d MB" % (record["memory"] >> 20)]
    if version.since("0.8"):
        started = each.started
        cells.append(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)) if started else "")
    return cells


# --- logs


def run_logs(session, options):
    name = options.positionals[0]
    count = None if options.n is None else int(options.n)
    seen = session.see(name)
    if seen is None:
        raise no_log(session, name, Failure("notFound", "container with ID %s not found" % name))
    if not seen.ever_started():
        raise no_log(session, name, Failure("notFound", "failed to open container logs: no such file"))
    if options.boot:
        session.line("[    0.000000] Booting Linux (a stand-in has no kernel of its own)")
        return 0
    if options.follow:
        return follow(session, name, count)
    data = session.tweaks.get("log", lambda data: data)(read_log(session, seen))
    session.out(whole(session, data) if count is None else last_lines(data, count))
    return 0


def no_log(session, name, cause):
    if session.version.since("0.10"):
        inner = Failure("internalError", "failed to open container logs: " + cause.full())
        return Failure("internalError", "failed to get logs for container " + name, inner)
    return Failure("invalidArgument", "failed to fetch container logs for %s: %s" % (name, cause.full()))


def read_log(session, seen):
    """Returns the log of the last start: from the attached client's relay if there was one, otherwise from docker."""
    if seen.record.get("attached"):
        try:
            with open(session.state.path("containers", seen.id + ".log"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""
    query = {"stdout": "1", "stderr": "1", "since": seen.record["log_since"]}
    try:
        data = session.engine.raw("GET", session.docker_path(seen, "logs"), query)
    except EngineError as error:
        if error.status in (404, 409):
            return b""  # the container is being removed
        raise
    return data if seen.record["terminal"] else split_log(data)


def whole(session, data):
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Failure("internalError", "failed to convert container logs to utf8") from None
    text = text.strip("\n")
    return text + "\n"


def last_lines(data, count):
    lines = [line for line in data.decode(errors="replace").split("\n") if line.strip()]
    lines = lines[-count:] if count else []
    return "".join(line + "\n" for line in lines)


def follow(session, name, count):
    """Follows a log without end, even after the container has ended. Without -n, an empty log ends at once."""
    data = read_log(session, session.see(name))
    if not data and count is None:
        return 0
    show(data.decode(errors="replace") if count is None else last_lines(data, count))
    at = len(data)
    while True:
        time.sleep(0.1)
        seen = session.see(name)
        if seen is None:
            continue
        data = read_log(session, seen)
        if len(data) < at:
            at = 0  # the container was started again
        try:
            show(data[at:].decode())
        except UnicodeDecodeError:
            pass  # a piece that ends inside a character is lost as a whole
        at = len(data)


def show(text):
    lines = [line for line in text.split("\n") if line]
    if lines:
        sys.stdout.write("".join(line + "\n" for line in lines))
        sys.stdout.flush()


# --- numbers and files


def run_stats(session, options):
    seen = [each for each in session.see_all() if each.running]
    if options.positionals:
        for name in options.positionals:
            if session.see(name) is None:
                raise Failure("notFound", "no such container: " + name)
        seen = [each for each in seen if each.id in options.positionals]
    elements = [numbers(session, each) for each in seen]
    if options.format == "json":
        session.line(printing.encode(session.version, elements))
        return
    rows = [("Container ID", "Memory Usage", "Pids")]
    rows += [(item["id"], str(item["memoryUsageBytes"]), str(item["numProcesses"])) for item in elements]
    session.out(printing.table(rows))


def numbers(session, each):
    found = session.engine.ask("GET", session.docker_path(each, "stats"), {"stream": "0", "one-shot": "1"})
    memory, networks = found["memory_stats"], found.get("networks") or {}
    return {
        "id": each.id,
        "memoryUsageBytes": memory.get("usage", 0),
        "memoryLimitBytes": each.record["memory"],
        "cpuUsageUsec": found["cpu_stats"]["cpu_usage"]["total_usage"] // 1000,
        "networkRxBytes": sum(network["rx_bytes"] for network in networks.values()),
        "networkTxBytes": sum(network["tx_bytes"] for network in networks.values()),
        "blockReadBytes": 0,
        "blockWriteBytes": 0,
        "numProcesses": found["pids_stats"].get("current", 0),
    }


def run_copy(session, options):
    source, target = options.positionals
    words = [docker_side(session, source), docker_side(session, target)]
    if words == [source, target]:
        raise Failure("invalidArgument", "one of the paths must be of a container: ID:/path")
    transferred(session, "cp", *words)


def docker_side(session, text):
    name, colon, path = text.partition(":")
    if not colon or "/" in name:
        return text
    seen = session.see(name)
    if seen is None:
        raise Failure("notFound", "get failed: container %s not found" % name)
    if not seen.running:
        raise Failure("invalidState", "container %s is not running" % name)
    return "%s:%s" % (seen.docker_id, path)


def transferred(session, *words):
    import subprocess

    code, _, said = session.engine.command(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if code != 0:
        raise Failure("internalError", "copy failed", Failure("unknown", said.decode(errors="replace").strip()))


def run_export(session, options):
    seen = session.need(options.positionals[0])
    if seen.running and session.version.before("1.2.1"):
        raise Failure("invalidState", "container is not stopped")
    path = options.output or options.image
    if not path:
        raise Failure("invalidArgument", "no output path")
    transferred(session, "export", "-o", path, seen.docker_id)
