"""Requests to the docker engine over its socket: faster than docker's client, and with exact answers.

Requests are HTTP/1.0, so an answer ends with its connection and comes in one piece.
"""

import _socket  # the module in C behind `socket`, which loads slowly
import os
import sys

from standin import light

# docker's detach keys, which cannot be switched off. Apple's command line has none, so these are bytes that no text
# and no key contains. Some versions of docker accept only ASCII; they get a sequence that nobody types, whose first
# character is delayed until the next key.
NO_KEYS = b"\xff,\xff,\xff,\xff"
NO_KEYS_AS_TEXT = ",".join(["ctrl-_"] * 8)


class EngineError(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
        self.message = message


class Connection(_socket.socket):
    """A socket that is closed at the end of a `with` block."""

    # The part of the answer that was read together with its head.
    received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def end_of_input(self):
        self.shutdown(_socket.SHUT_WR)


class Engine:
    def __init__(self, settings):
        host = settings.docker_host or "unix:///var/run/docker.sock"
        if not host.startswith("unix://"):
            sys.exit("container (stand-in): it needs a docker engine on a unix socket, not " + host)
        self.socket = host[len("unix://"):]
        self.program = settings.docker
        self.settings_of_docker = {
            "DOCKER_HOST": host, "DOCKER_CONFIG": os.path.join(settings.dir, "docker-config"), "DOCKER_BUILDKIT": "0",
        }

    def ask(self, method, path, query=None, body=None):
        """Returns the answer as JSON. Raises EngineError for every status that is not a success."""
        data = self.raw(method, path, query, body)
        return light.loads(data) if data.strip() else None

    def raw(self, method, path, query=None, body=None):
        return self.answer(self.begin(method, path, query, body))

    def begin(self, method, path, query=None, body=None):
        """Sends a request; the caller reads the answer later."""
        return self._send("HTTP/1.0", method, path, query, body)

    def next_end(self, container):
        """Asks for the next end of a container; the caller reads the answer later. docker sends the head of the answer when
        it begins to wait. The request must come before the start: a container that has already ended gives no answer."""
        connection = self.begin("POST", container + "/wait", {"condition": "next-exit"})
        connection.received = head_of(connection)
        return connection

    def answer(self, connection):
        with connection:
            received = connection.received
            while True:
                piece = connection.recv(1 << 16)
                if not piece:
                    break
                received += piece
        head, _, data = received.partition(b"\r\n\r\n")
        if not head:
            raise EngineError(500, "the engine has closed the connection")
        status = int(head.split(None, 2)[1])
        if status >= 400:
            raise EngineError(status, message_of(data))
        return data

    def find(self, path):
        """Returns the answer, or None if the object does not exist."""
        try:
            return self.ask("GET", path)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def stream(self, path, query=None, body=None):
        """Opens a two-way connection to the streams of a container or an exec."""
        connection = self._send("HTTP/1.1", "POST", path, query, body, ("Connection: Upgrade", "Upgrade: tcp"))
        head = head_of(connection)
        status = int(head.split(None, 2)[1])
        if status >= 400:
            connection.settimeout(5)
            data = connection.recv(1 << 16)
            raise EngineError(status, message_of(data))
        return connection

    def _send(self, http, method, path, query, body, headers=()):
        connection = Connection(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.connect(self.socket)
        except OSError as error:
            sys.exit("container (stand-in): no docker engine at %s: %s" % (self.socket, error))
        if query:
            path += "?" + light.query(query)
        content = b"" if body is None else light.dumps(body).encode()
        lines = ["%s %s %s" % (method, path, http), "Host: docker", "Content-Length: %d" % len(content)]
        lines += ["Content-Type: application/json"] + list(headers)
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        return connection

    def command(self, *words, **options):
        """Runs docker's own client, for operations that need more than one request. Returns its output and its exit
        code."""
        child = self.spawn(*words, **options)
        out, err = child.communicate()
        return child.returncode, out, err

    def spawn(self, *words, **options):
        import subprocess  # loads slowly, and most calls do not need it

        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        environment.update(self.settings_of_docker)
        return subprocess.Popen([self.program, *words], env=environment, preexec_fn=dies_with_us, **options)


def head_of(connection):
    """Reads the head of an answer, and nothing after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            break
        head += byte
    return head


def dies_with_us():
    """In a child process: makes the kernel kill it when we are killed."""
    import ctypes

    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def message_of(data):
    try:
        return light.loads(data)["message"]
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace").strip()


def part(name):
    """Quotes a name as one part of a path."""
    return light.quote(name)


def frames(connection):
    """Yields the pieces of a stream that carries stdout and stderr, as (1 or 2, bytes)."""
    while True:
        head = exactly(connection, 8)
        if len(head) < 8:
            return
        stream, left = head[0], int.from_bytes(head[4:], "big")
        while left:
            piece = connection.recv(min(left, 1 << 16))
            if not piece:
                return
            left -= len(piece)
            yield stream, piece


def plain(connection):
    """Yields the pieces of a terminal's stream, all as stdout."""
    while True:
        piece = connection.recv(1 << 16)
        if not piece:
            return
        yield 1, piece


def exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def split_log(data):
    """Returns docker's log without its frames: both streams in order of arrival."""
    out, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4:at + 8], "big")
        out.append(data[at + 8:at + 8 + size])
        at += 8 + size
    return b"".join(out)
