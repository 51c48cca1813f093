"""`exec`: a command in a running container."""

import os

from standin import attach, engine, values
from standin.errors import Failure, Plain

# The beginnings of docker's messages in the stream of an exec that could not start.
REFUSALS = (b"OCI runtime exec failed", b"unable to find user", b"exec failed: ")


def run(session, options):
    seen = session.need(options.positionals[0])
    if not seen.running:
        raise Failure("invalidState", "container %s is not running" % seen.id)
    tty, interactive = options.tty, options.interactive
    if tty and interactive and not os.isatty(0):
        raise Plain("POSIX error 19: Operation not supported by device")
    made = make(session, seen, options)
    if options.detach:
        session.engine.raw("POST", "/exec/%s/start" % made, body={"Detach": True, "Tty": tty})
        session.line(seen.id)
        return 0
    attach.Signals(session, interactive, tty, None)
    with attach.Terminal(tty and interactive, lambda size: session.engine.raw(
            "POST", "/exec/%s/resize" % made, size)) as terminal:
        connection = session.engine.stream("/exec/%s/start" % made, body={"Detach": False, "Tty": tty})
        terminal.fit()
        held = Held()
        attach.relay(connection, tty, attach.Log(None), attach.own_stdin(interactive), held.take)
    return finish(session, made, held, options.positionals[1])


def make(session, seen, options):
    user = options.user or ("%s:%s" % (options.uid or 0, options.gid or 0) if options.uid or options.gid else "")
    body = {
        "AttachStdin": options.interactive,
        "AttachStdout": not options.detach,
        "AttachStderr": not options.detach,
        "Tty": options.tty,
        "DetachKeys": engine.NO_KEYS_AS_TEXT,
        "User": user,
        "WorkingDir": options.workdir or "",
        "Env": added_environment(session, seen, options),
        "Cmd": options.positionals[1:],
    }
    try:
        return session.engine.ask("POST", session.docker_path(seen, "exec"), body=body)["Id"]
    except engine.EngineError as error:
        if error.status == 409:
            raise Failure("invalidState", "container %s is not running" % seen.id) from None
        raise Failure("internalError", "failed to create process in container",
                      Failure("unknown", error.message)) from None


def added_environment(session, seen, options):
    """Sets variables after the container's own, because a program finds the first one of a name."""
    taken = {item.partition("=")[0] for item in seen.record["environment"]}
    given = values.environment(session.version, [], options.env_file, options.env)
    return [item for item in given if item.partition("=")[0] not in taken]


class Held:
    """Delays the first bytes of stdout while they could be docker's error message."""

    def __init__(self):
        self.data = b""
        self.open = False

    def take(self, stream, data):
        """Returns the part that may be printed now."""
        if self.open or stream != 1:
            return data
        self.data += data
        if any(starts_alike(self.data, refusal) for refusal in REFUSALS):
            return b""
        self.open = True
        return self.data


def starts_alike(data, text):
    size = min(len(data), len(text))
    return data[:size] == text[:size]


def finish(session, made, held, program):
    done = session.engine.ask("GET", "/exec/%s/json" % made)
    code = done["ExitCode"]
    if not held.open and held.data:
        if code in (126, 127) and any(held.data.startswith(text) for text in REFUSALS):
            raise refusal(held.data.decode(errors="replace"), program)
        attach.write(1, held.data)
    if code is None:
        raise Plain("XPC connection error: Connection interrupted")
    return code & 255


def refusal(text, program):
    if "unable to find user" in text:
        cause = Failure("notFound", "user " + text.partition("find user ")[2].partition(":")[0] + " not found")
    elif "no such file or directory" in text and "chdir" in text:
        cause = Failure("notFound", "working directory does not exist")
    else:
        cause = Failure("notFound", "failed to find target executable " + program)
    return Failure("internalError", "failed to exec process", cause)
