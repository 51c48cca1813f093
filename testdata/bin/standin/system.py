"""The `system` group, and whether the daemon answers at all."""

import sys

from standin import create, printing
from standin.errors import Failure, Plain

COMMIT = "abc1234"


def banner(version, program="container CLI"):
    return "%s version %s (build: release, commit: %s)" % (program, version.text, COMMIT)


def run_status(session, options):
    running = session.state.system() in ("running", "nokernel")
    unregistered = session.state.system() == "unregistered"
    if options.format == "json" and session.version.since("0.10"):
        word = "running" if running else "unregistered" if unregistered else "not running"
        session.line(printing.encode(session.version, status_shape(session, word)))
    elif running:
        session.out(status_text(session))
    elif unregistered:
        session.line("apiserver is not running and not registered with launchd")
    else:
        session.line("apiserver is not running")
    return 0 if running else 1


def status_shape(session, word):
    running = word == "running"
    version = session.version
    if version.since("1.4.1"):
        found = {"status": word}
        if running:
            part = {"version": version.text, "build": "release", "commit": COMMIT}
            found["client"] = dict(part, appName="container")
            found["server"] = dict(part, appName="container-apiserver")
            found["paths"] = {"appRoot": session.state.dir, "installRoot": "/usr/local"}
        return found
    return {
        "status": word,
        "appRoot": session.state.dir if running else "",
        "installRoot": "/usr/local" if running else "",
        "logRoot": "",
        "apiServerVersion": banner(version, "container-apiserver") if running else "",
        "apiServerCommit": COMMIT if running else "",
        "apiServerBuild": "release" if running else "",
        "apiServerAppName": "container-apiserver" if running else "",
    }


def status_text(session):
    version = banner(session.version, "container-apiserver")
    if session.version.before("0.10"):
        return (
            "apiserver is running\napplication data root: %s/\napplication install root: /usr/local/\n"
            "container-apiserver version: %s\ncontainer-apiserver commit: %s\n" % (session.state.dir, version, COMMIT)
        )
    return printing.table([
        ("FIELD", "VALUE"), ("status", "running"), ("appRoot", session.state.dir), ("installRoot", "/usr/local"),
        ("logRoot", ""), ("apiserver.version", version), ("apiserver.commit", COMMIT), ("apiserver.build", "release"),
    ])


def run_version(session, options):
    version = session.version
    found = [{"version": version.text, "buildType": "release", "commit": COMMIT, "appName": "container"}]
    if session.state.system() in ("running", "nokernel"):
        long = version.text if version.since("1.4.1") else banner(version, "container-apiserver")
        found.append({"version": long, "buildType": "release", "commit": COMMIT, "appName": "container-apiserver"})
    if options.format == "json":
        session.line(printing.encode(version, found))
    else:
        keys = ("appName", "version", "buildType", "commit")
        rows = [tuple(item[key] for key in keys) for item in found]
        session.out(printing.table([("COMPONENT", "VERSION", "BUILD", "COMMIT")] + rows))


def run_start(session, options):
    progress(session, "Launching container-apiserver...", "Registering API server with launchd...")
    progress(session, "Testing access to container-apiserver...", "Verifying apiserver is running...")
    kernel = session.state.system() != "nokernel" and session.settings.system != "nokernel"
    if not kernel and not options.enable_kernel_install:
        session.state.set_system("nokernel")
        if not options.disable_kernel_install:
            ask_for_kernel(session)
        return
    if session.state.system() == "running":
        return
    restart(session)


def progress(session, new, old):
    if session.version.since("1.0"):
        session.progress(new)
    else:
        session.line(old)


def ask_for_kernel(session):
    session.line("No default kernel configured.\nInstall the recommended default kernel? [Y/n]: ")
    answer = sys.stdin.readline()
    if not answer:
        raise Failure("internalError", "failed to read user input")
    if answer.strip().lower() in ("", "y", "yes"):
        session.state.set_system("running")


def run_stop(session, options):
    stop_all(session)
    session.state.set_system("stopped")


def stop_all(session):
    """The effects of the daemon's end: all containers stop, and those with --rm are removed."""
    for seen in session.see_all():
        if seen.running:
            session.engine.raw("POST", session.docker_path(seen, "stop"), {"t": "1"})
        if seen.record["remove"]:
            with session.state.lock():
                create.remove(session, seen.id)


def forget_starts(session):
    """After a restart the daemon does not know which containers have ever been started."""
    for seen in session.see_all():
        session.state.change("containers", seen.id, forgotten_start=seen.started_text)


def restart(session):
    """Ends one daemon and starts the next. Attached clients lose their connection."""
    session.state.write("generation", str(int(session.state.text("generation") or "0") + 1))
    stop_all(session)
    forget_starts(session)
    session.state.set_system("running")


def run_df(session, options):
    containers = session.see_all()
    found = {
        kind: {"active": 0, "reclaimable": 0, "sizeInBytes": 0, "total": total}
        for kind, total in (("containers", len(containers)), ("images", 0), ("volumes", 0))
    }
    found["containers"]["active"] = sum(seen.running for seen in containers)
    if options.format == "json":
        session.line(printing.encode(session.version, found))
    else:
        rows = [(kind.capitalize(), str(item["total"]), str(item["active"])) for kind, item in found.items()]
        session.out(printing.table([("TYPE", "TOTAL", "ACTIVE")] + rows))


def run_logs(session, options):
    return None


def run_kernel_set(session, options):
    if session.state.system() == "nokernel":
        session.state.set_system("running")


def run_properties(session, options):
    session.line("{}" if options.format == "json" else "")


def run_dns(session, options):
    raise Plain("cannot create domain (try sudo?)")
