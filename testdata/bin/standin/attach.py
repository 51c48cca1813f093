"""Attached clients: relays the streams of a container or an exec, keeps the log, and returns the exit code.

Only an attached command reveals the exit code of a container.
"""

import _signal  # the modules in C behind `signal` and `threading`, which load slowly
import _thread
import os
import sys

from standin import engine

# The signals that Apple's command line handles while it is attached.
HEARD = {
    _signal.SIGTERM: "SIGTERM", _signal.SIGINT: "SIGINT", _signal.SIGUSR1: "SIGUSR1", _signal.SIGUSR2: "SIGUSR2",
}


class Log:
    """The output of a container, for `logs`. Not every relay keeps one."""

    def __init__(self, path):
        self.file = None if path is None else open(path, "wb", buffering=0, opener=lambda p, f: os.open(p, f, 0o600))

    def add(self, data):
        if self.file is not None:
            self.file.write(data)


def relay(connection, tty, log, stdin=None, look=None):
    """Copies a stream to its end, first to the client. If the client is gone, the log ends, too. `look` may delay what is
    printed."""
    if stdin is not None:
        _thread.start_new_thread(pump, (stdin, connection))
    for stream, data in engine.plain(connection) if tty else engine.frames(connection):
        if look is not None:
            data = look(stream, data)
        try:
            write(stream, data)
        except OSError:
            os._exit(1)
        log.add(data)


def write(stream, data):
    while data:
        try:
            data = data[os.write(stream, data):]
        except BlockingIOError:
            # stdout may be the same open file as stdin, which is non-blocking.
            wait_until_writable(stream)


def wait_until_writable(descriptor):
    import select

    select.select([], [descriptor], [])


def pump(stdin, connection):
    """Copies our stdin to the container, in a thread of its own."""
    import select

    try:
        while True:
            select.select([stdin], [], [])
            try:
                data = os.read(stdin, 1 << 16)
            except BlockingIOError:
                continue
            if not data:
                break
            connection.sendall(data)
        connection.end_of_input()
    except OSError:
        pass  # the container has ended


class Terminal:
    """Our terminal in raw mode: no echo and no line editing. The container gets its size."""

    def __init__(self, active, resize):
        self.active = active
        self.resize = resize

    def __enter__(self):
        if self.active:
            import termios
            import tty

            self.before = termios.tcgetattr(0)
            tty.setraw(0)
            # Output is still post-processed: with ONLCR, a line ends in CR CR LF.
            mode = termios.tcgetattr(0)
            mode[1] = self.before[1]
            termios.tcsetattr(0, termios.TCSANOW, mode)
            _signal.signal(_signal.SIGWINCH, lambda *_: self.fit())
        return self

    def fit(self):
        if not self.active:
            return
        try:
            size = os.get_terminal_size(0)
            self.resize({"h": str(size.lines), "w": str(size.columns)})
        except (OSError, engine.EngineError):
            pass

    def __exit__(self, *_):
        if self.active:
            import termios

            termios.tcsetattr(0, termios.TCSANOW, self.before)


class Signals:
    """Handles signals to an attached command. In 1.0 to 1.2.2 none of them reaches the container."""

    def __init__(self, session, interactive, tty, forward):
        self.session = session
        self.swallow = interactive and tty
        self.tty = tty
        self.forward = forward
        self.count = 0
        for number in HEARD:
            _signal.signal(number, self.on)

    def on(self, number, _frame):
        if number in (_signal.SIGINT, _signal.SIGTERM) and not self.tty:
            self.count += 1
            if self.count >= 3:
                sys.stderr.write("Received 3 SIGINT/SIGTERM's, forcefully exiting.\n")
                sys.stderr.flush()
                self.session.finish(1)
        if self.swallow:
            return
        if self.session.version.since("1.0"):
            sys.stderr.write(
                'failed to send signal: ["error": invalidArgument: "missing signal in xpc message", "signal": %d]\n' % number
            )
        elif self.forward is not None:
            try:
                self.forward(HEARD[number])
            except engine.EngineError:
                pass


def own_stdin(interactive):
    """Makes stdin non-blocking as Apple's command line does, which also affects other processes that share it."""
    if not interactive:
        return None
    os.set_blocking(0, False)
    return 0
