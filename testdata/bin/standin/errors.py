"""Errors, and how each release prints them."""

HINT = "Ensure container system service has been started with `container system start`."


class Usage(Exception):
    """Bad arguments: exit 64, with the usage of the command."""

    def __init__(self, message):
        super().__init__(message)
        self.message = message


class Plain(Exception):
    """An error whose text is the same in every release, or comes from the caller."""

    def __init__(self, text, rc=1):
        super().__init__(text)
        self.text = text
        self.rc = rc


class Interrupted(Plain):
    """The daemon ended under an attached command, which can clean up nothing."""


class Failure(Exception):
    """The usual error: a code, a message, and an optional cause."""

    def __init__(self, code, message, cause=None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.cause = cause

    def full(self):
        """Returns the text with the code word, as in causes and in the older releases."""
        text = '%s: "%s"' % (self.code, self.message)
        return text + self.cause_text()

    def cause_text(self):
        if self.cause is None:
            return ""
        cause = self.cause.full() if isinstance(self.cause, Failure) else str(self.cause)
        return ' (cause: "%s")' % cause

    def text(self, version):
        if version.before("0.10"):
            return self.full()
        return self.message + self.cause_text()


class Several(Exception):
    """The errors of a command with several targets: one line each, with code words in every release."""

    def __init__(self, failures):
        super().__init__()
        self.lines = [failure.full() for failure in failures]


def no_kernel():
    return Failure(
        "notFound",
        "default kernel not configured for architecture arm64, please use the "
        "`container system kernel set` command to configure it",
    )


def unreachable(version, doing, word="Connection invalid", pings=False):
    """The error when the daemon does not answer. `pings`: the command first checks that the daemon is alive."""
    connection = Failure("interrupted", "XPC connection error: " + word)
    if pings and version.since("1.0"):
        return Plain(connection.full() + "\n" + HINT)
    inner = Failure("internalError", "failed to " + doing, connection).full()
    if version.before("0.10"):
        return Plain('interrupted: "%s\n%s"' % (inner, HINT))
    return Plain(inner + "\n" + HINT)
