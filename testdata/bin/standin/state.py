"""The state directory: a lock, and records as JSON files. Records hold what docker cannot know."""

import fcntl
import os

from standin import light


class Lock:
    """Excludes all other calls on the state directory. Never held while attached, waiting or hanging."""

    def __init__(self, path):
        self.path = path
        self.file = None

    def __enter__(self):
        self.file = open(self.path, "a")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


class State:
    def __init__(self, settings):
        self.dir = settings.dir
        for name in ("containers", "networks", "volumes"):
            os.makedirs(os.path.join(self.dir, name), mode=0o700, exist_ok=True)
        self.settings = settings
        self.ns = self._namespace()

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def lock(self):
        return Lock(self.path("lock"))

    def _namespace(self):
        """Returns the namespace of this directory's objects in docker: 8 random hexadecimal digits."""
        known = self.text("ns")
        if known is None:
            with self.lock():
                known = self.text("ns")
                if known is None:
                    known = os.urandom(4).hex()
                    self.write("ns", known)
        return known

    # --- small files

    def text(self, name):
        try:
            with open(self.path(name)) as file:
                return file.read().strip()
        except FileNotFoundError:
            return None

    def write(self, name, text):
        """Replaces a file atomically: a reader sees either the old content or the new."""
        temporary = self.path("%s.%d.new" % (name, os.getpid()))
        with open(temporary, "w", opener=private) as file:
            file.write(text)
        os.rename(temporary, self.path(name))

    def read_json(self, name, otherwise=None):
        text = self.text(name)
        return otherwise if text is None else light.loads(text)

    def write_json(self, name, value):
        self.write(name, light.dumps(value))

    def remove(self, name):
        try:
            os.remove(self.path(name))
        except FileNotFoundError:
            pass

    # --- records

    def record(self, kind, name):
        return self.read_json("%s/%s.json" % (kind, name))

    def save(self, kind, name, record):
        self.write_json("%s/%s.json" % (kind, name), record)

    def forget(self, kind, name):
        self.remove("%s/%s.json" % (kind, name))

    def records(self, kind):
        names = sorted(os.listdir(self.path(kind)))
        found = [self.record(kind, name[:-5]) for name in names if name.endswith(".json")]
        return [record for record in found if record is not None]

    def change(self, kind, name, **values):
        """Changes some values of a record, unless the record is gone."""
        with self.lock():
            record = self.record(kind, name)
            if record is not None:
                record.update(values)
                self.save(kind, name, record)

    # --- the system

    def system(self):
        return self.text("system") or self.settings.system

    def set_system(self, value):
        self.write("system", value)


def private(path, flags):
    return os.open(path, flags, 0o600)
