"""From start to end: run, start, stop, kill, delete, and the helper process that `--rm` needs."""

import os
import time

from standin import attach, create, engine, light, mounts
from standin.engine import EngineError
from standin.errors import Failure, Interrupted, Plain, Several


def run_run(session, options):
    if options.detach:
        session.progress("[1/6] Fetching image [0s]")
        name = create.create(session, options, running=True)
        try:
            start_detached(session, session.need(name))
        except Exception:
            create.undo(session, name)
            raise
        session.progress("[6/6] Starting container [0s]")
        session.line(name)
        return 0
    name = create.create(session, options, running=True)
    try:
        return start_attached(session, session.need(name), options.interactive, "run")
    except Interrupted:
        raise
    except Exception:
        create.undo(session, name)
        raise


def run_start(session, options):
    name = options.positionals[0]
    seen = session.need(name)
    if options.attach or options.interactive:
        if seen.running:
            raise Failure("invalidArgument", "attach is currently unsupported on already running containers")
        return start_attached(session, seen, options.interactive, "start")
    if seen.running and session.version.before("0.6"):
        raise Failure("invalidState", "container %s is already running" % name)
    if not seen.running:
        start_detached(session, seen)
    session.line(name)
    return 0


def begin(session, seen, attached):
    """Checks the mounts and counts the start, at every start."""
    mounts.check_again(session.version, seen.record)
    if len(seen.record["networks"]) > 1:
        raise bootstrap(Failure("internalError", "ipRouteAddDefault failed: File exists"))
    for mount in seen.record["mounts"]:
        if "tmpfs" in mount["type"] and ":" in mount["destination"]:
            raise bootstrap(Failure("internalError", "failed to mount tmpfs at " + mount["destination"]))
        if "volume" in mount["type"]:
            need_free_volume(session, seen, mount["type"]["volume"]["name"])
    for port in seen.record["ports"]:
        if port["hostPort"] < 1024:
            raise Failure(
                "internalError",
                "Permission denied while binding to host port %d. Binding to ports below 1024 requires root privileges."
                % port["hostPort"],
            )
    session.state.change(
        "containers", seen.id, attached=attached, starts=seen.record["starts"] + 1, stopping_until=0, removing=False,
        log_since="%.6f" % time.time(),
    )
    if attached:
        session.state.write("containers/%s.log" % seen.id, "")


def bootstrap(cause):
    return Failure("internalError", "failed to bootstrap container", cause)


def need_free_volume(session, seen, volume):
    for other in session.see_all():
        used = [mount["type"]["volume"]["name"] for mount in other.record["mounts"] if "volume" in mount["type"]]
        if other.id != seen.id and other.running and volume in used:
            raise Failure(
                "invalidState",
                "volume '%s' is currently in use and cannot be accessed by another container, or deleted" % volume,
            )


def start_in_docker(session, seen):
    try:
        session.engine.raw("POST", session.docker_path(seen, "start"))
    except EngineError as error:
        raise start_failure(seen, error) from None
    if seen.record["remove"]:
        remove_at_the_end(session, seen)


def start_failure(seen, error):
    text = error.message
    if "port is already allocated" in text or "address already in use" in text:
        return bootstrap(Failure("unknown", "bind: Address already in use"))
    missing = ("executable file not found", "no such file or directory", "permission denied", "is a directory")
    if any(word in text.lower() for word in missing) and "runtime create failed" in text:
        return Failure(
            "internalError",
            "failed to start container",
            Failure("notFound", "failed to find target executable " + seen.record["executable"]),
        )
    return Failure("internalError", "failed to start container", Failure("unknown", text))


def start_detached(session, seen):
    begin(session, seen, attached=False)
    if seen.record["terminal"]:
        start_in_docker(session, seen)
        return
    # A container without an attached client gets an empty stdin.
    with session.engine.stream(session.docker_path(seen, "attach"), {"stream": "1", "stdin": "1"}) as connection:
        start_in_docker(session, seen)
        connection.end_of_input()


def start_attached(session, seen, interactive, word):
    record = seen.record
    tty = record["terminal"]
    if tty and interactive and not os.isatty(0):
        raise Plain("failed to %s container: POSIX error 19: Operation not supported by device" % word)
    begin(session, seen, attached=True)
    connection = session.engine.stream(
        session.docker_path(seen, "attach"),
        {"stream": "1", "stdin": "1" if interactive or not tty else "0", "stdout": "1", "stderr": "1",
         "detachKeys": engine.NO_KEYS},
    )
    log = attach.Log(session.state.path("containers", seen.id + ".log"))
    attach.Signals(session, interactive, tty, lambda name: session.engine.raw(
        "POST", session.docker_path(seen, "kill"), {"signal": name}))
    with attach.Terminal(tty and interactive, lambda size: session.engine.raw(
            "POST", session.docker_path(seen, "resize"), size)) as terminal:
        # Requested before the start, because the container may be gone as soon as it has ended.
        ending = session.engine.next_end(session.docker_path(seen))
        start_in_docker(session, seen)
        terminal.fit()
        if not interactive and not tty:
            connection.end_of_input()
        attach.relay(connection, tty, log, attach.own_stdin(interactive))
        return exit_code(session, ending, word)


def exit_code(session, ending, word):
    try:
        code = light.loads(session.engine.answer(ending))["StatusCode"] & 255
    except (EngineError, ValueError):
        code = None
    # A container that ended with its daemon reveals no exit code.
    if code is None or session.state.text("generation") != session.generation:
        raise Interrupted("failed to %s container: XPC connection error: Connection interrupted" % word)
    return code


def remove_at_the_end(session, seen):
    """`--rm` is the daemon's work: a separate process waits for the end, even if we are killed."""
    if os.fork() != 0:
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.closerange(3, 256)
    os.chdir("/")
    try:
        session.engine.ask("POST", session.docker_path(seen, "wait"))
        session.state.change("containers", seen.id, removing=True)
        time.sleep(session.settings.stopping_ms / 1000)
        with session.state.lock():
            create.remove(session, seen.id)
    finally:
        os._exit(0)


# --- the end


def targets(session, options, only_running=False):
    if options.all and options.positionals:
        raise Failure("invalidArgument", "explicitly supplied container IDs conflict with the --all flag")
    if not options.all and not options.positionals:
        raise Failure("invalidArgument", "no containers specified and --all not supplied")
    if options.all:
        return [seen.id for seen in session.see_all() if seen.running or not only_running]
    return list(dict.fromkeys(options.positionals))


def no_container(doing, name):
    cause = Failure("notFound", "container with ID %s not found" % name)
    return Failure("internalError", "failed to %s container" % doing, cause)


def each(session, names, act):
    """Acts on all targets, prints those that succeeded, and reports the failures of the others at the end."""
    failures = []
    for name in names:
        try:
            if act(name):
                session.line(name)
        except Failure as failure:
            failures.append(failure)
    if failures:
        raise Several(failures)


def run_stop(session, options):
    seconds = int(options.time) if options.time is not None else 5

    def stop(name):
        seen = session.see(name)
        if seen is None:
            if session.version.since("0.11"):
                raise no_container("stop", name)
            return False
        if seen.running:
            stop_one(session, seen, options.signal, seconds)
        return True

    each(session, targets(session, options, only_running=True), stop)


def stop_one(session, seen, name, seconds):
    session.state.change("containers", seen.id, stopping_until=time.time() + seconds + 2)
    try:
        if name is None:
            # docker continues to stop the container even if we are killed.
            session.engine.raw("POST", session.docker_path(seen, "stop"), {"t": str(seconds)})
        else:
            session.engine.raw("POST", session.docker_path(seen, "kill"), {"signal": name})
            wait_for_end(session, seen, seconds)
            session.engine.raw("POST", session.docker_path(seen, "stop"), {"t": "0"})
    except EngineError as error:
        if error.status not in (404, 409):
            raise Failure("internalError", "failed to stop container", Failure("unknown", error.message)) from None
    session.state.change("containers", seen.id, stopping_until=0)


def wait_for_end(session, seen, seconds):
    deadline = time.time() + seconds
    while time.time() < deadline:
        docker = session.engine.find(session.docker_path(seen, "json"))
        if docker is None or not docker["State"]["Running"]:
            return
        time.sleep(0.02)


def run_kill(session, options):
    name_of_signal = options.signal or "KILL"

    def kill(name):
        seen = session.see(name)
        if seen is None:
            if session.version.since("0.10"):
                raise no_container("kill", name)
            return False
        if not seen.running:
            client = "runtime" if session.version.since("1.0") else "sandbox"
            cause = Failure("invalidState", "no %s client exists: container is stopped" % client)
            raise Failure("internalError", "failed to kill container", cause)
        kill_one(session, seen, name_of_signal)
        return True

    each(session, targets(session, options, only_running=True), kill)


def kill_one(session, seen, name):
    try:
        session.engine.raw("POST", session.docker_path(seen, "kill"), {"signal": name})
    except EngineError as error:
        if error.status not in (404, 409):
            raise Failure("invalidArgument", "invalid signal: " + name) from None
    if session.version.since("1.0") and name.upper() in ("KILL", "SIGKILL", "9"):
        wait_for_end(session, seen, 10)


def run_delete(session, options):
    names = targets(session, options)
    missing = [name for name in names if session.see(name) is None]
    if missing and session.version.before("0.11"):
        delete_each(session, [name for name in names if name not in missing], options.force)
        shown = ", ".join('"%s"' % name for name in missing)
        raise Failure("notFound", "failed to delete one or more containers: [%s]" % shown)
    delete_each(session, names, options.force)


def delete_each(session, names, force):
    def delete(name):
        with session.state.lock():
            seen = session.see(name)
            if seen is None:
                raise no_container("delete", name)
            refuse_deletion(session, seen, force)
            create.remove(session, name)
        return True

    each(session, names, delete)


def refuse_deletion(session, seen, force):
    if seen.running and seen.state == "stopping":
        cause = Failure("invalidState", "container %s is stopping and can not be deleted" % seen.id)
    elif seen.running and not force:
        text = "container %s is running and can not be deleted" % seen.id
        cause = Failure("invalidState", text if session.version.since("0.11") else "container is running")
    else:
        return
    raise Failure("internalError", "failed to delete container", cause)


def run_prune(session, options):
    for seen in session.see_all():
        if not seen.running:
            with session.state.lock():
                create.remove(session, seen.id)
            session.line(seen.id)
    session.progress("Reclaimed Zero KB in disk space")
