"""calls.jsonl: one line when a call starts, and one when it ends."""

import os
import stat
import time

from standin import light


class Call:
    def __init__(self, state, argv):
        self.state = state
        self.began = time.time()
        self.fault = None
        with state.lock():
            self.number = int(state.text("calls") or "0") + 1
            state.write("calls", str(self.number))
            self._append({
                "n": self.number,
                "pid": os.getpid(),
                "t": self.began,
                "version": state.settings.version.text,
                "argv": argv,
                "stdin": kind_of_stdin(),
                "env": {name: os.environ[name] for name in ("SSH_AUTH_SOCK",) if name in os.environ},
            })

    def end(self, rc):
        with self.state.lock():
            self._append({
                "n": self.number, "rc": rc, "ms": int((time.time() - self.began) * 1000), "fault": self.fault,
            })

    def note(self, text):
        """Records a fact that tests need and that cannot be seen from outside."""
        with self.state.lock():
            self._append({"n": self.number, "note": text})

    def _append(self, line):
        with open(self.state.path("calls.jsonl"), "a") as file:
            file.write(light.dumps(line) + "\n")


def kind_of_stdin():
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return "closed"
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return "pipe"
    if stat.S_ISREG(mode):
        return "file"
    return "tty" if os.isatty(0) else "null"
