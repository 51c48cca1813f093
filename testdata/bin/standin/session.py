"""The context of every command: the settings, the state, the engine, and the output."""

import sys

from standin import light
from standin.engine import part
from standin.errors import Failure
from standin.shapes import Seen


class Session:
    def __init__(self, settings, state, engine, argv):
        self.argv = argv
        self.command = None
        self.call = None
        self.words = []
        self.made = None
        self.generation = state.text("generation")
        self.settings = settings
        self.version = settings.version
        self.state = state
        self.engine = engine
        # Short output is kept until the command ends, so that faults can change it.
        self.pending = []
        # The changes that faults make to the output: see faults.py.
        self.tweaks = {}

    # --- output

    def out(self, text):
        self.pending.append(text)

    def line(self, text):
        self.out(text + "\n")

    def log(self, message, **values):
        """Prints a line on stderr that is not an error by itself."""
        if self.version.since("0.9"):
            shown = ", ".join('"%s": %s' % item for item in light.shuffled(values.items()))
            sys.stderr.write("%s: [%s]\n" % (message, shown))
        else:
            sys.stderr.write("2026-01-15T19:30:03-0800 error com.apple.container: [cli] %s\n" % message)

    def flush(self):
        sys.stdout.write("".join(self.pending))
        self.pending.clear()
        sys.stdout.flush()
        sys.stderr.flush()

    @property
    def doing(self):
        """Returns what failed, as an error names it."""
        return self.command.doing if self.command else "ping"

    @property
    def pings(self):
        return bool(self.command and self.command.pings)

    def progress(self, text):
        sys.stderr.write(text + "\n")

    # --- names in docker

    def docker_name(self, name):
        """The prefix keeps names from resolving in docker's DNS, because on Apple's runtime they do not resolve."""
        return "fapple-%s-%s" % (self.state.ns, name)

    def labels(self, name, user=None):
        return dict(user or {}, **{"fapple.ns": self.state.ns, "fapple.id": name})

    def ours(self):
        """Returns the filter for the objects of this state directory."""
        return '{"label":["fapple.ns=%s"]}' % self.state.ns

    # --- containers

    def see(self, name):
        """Returns a container, or None. A record without a container does not count: its creation failed, or docker has lost
        it."""
        if self.tweaks.get("gone"):
            return None
        record = self.state.record("containers", name) if is_safe(name) else None
        if record is None:
            return None
        docker = self.engine.find("/containers/%s/json" % part(self.docker_name(name)))
        return None if docker is None else Seen(record, docker)

    def see_all(self):
        listed = self.engine.ask("GET", "/containers/json", {"all": "1", "filters": self.ours()})
        names = sorted(item["Labels"]["fapple.id"] for item in listed)
        found = (self.see(name) for name in names)
        return [seen for seen in found if seen is not None]

    def need(self, name):
        """Returns the container that `start` or `exec` names."""
        seen = self.see(name)
        if seen is None:
            raise Failure("notFound", "get failed: container %s not found" % name)
        return seen

    def docker_path(self, seen, *words):
        return "/".join(("/containers", seen.docker_id) + words)


def is_safe(name):
    return "/" not in name and name not in ("", ".", "..")
