"""The settings from the environment: the state directory, the release, and options of the stand-in."""

import os
import sys


class Version:
    """A release x.y.z. The code compares releases, so that any release can be chosen."""

    def __init__(self, text):
        parts = text.split(".")
        if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() for part in parts):
            sys.exit("container (stand-in): FAKE_APPLE_VERSION is not a version: " + text)
        self.text = text
        self.numbers = numbers(text)

    def since(self, text):
        """Returns whether this is the given release or a newer one."""
        return self.numbers >= numbers(text)

    def before(self, text):
        return not self.since(text)


def numbers(text):
    return tuple(int(part) for part in text.split("."))


class Settings:
    def __init__(self, environment):
        directory = environment.get("FAKE_APPLE_DIR", "")
        if not os.path.isabs(directory):
            sys.exit("container (stand-in): FAKE_APPLE_DIR must be the absolute path of a state directory")
        self.dir = directory
        # A preset has written the file, which takes precedence over the environment.
        self.version = Version(first_line(directory, "version") or environment.get("FAKE_APPLE_VERSION") or "1.2.2")
        self.docker = environment.get("FAKE_APPLE_DOCKER", "docker")
        # Not DOCKER_HOST, which Apple's command line ignores: it belongs to the caller or to a container.
        self.docker_host = environment.get("FAKE_APPLE_DOCKER_HOST", "")
        self.system = environment.get("FAKE_APPLE_SYSTEM", "running")
        self.faults = [path for path in (environment.get("FAKE_APPLE_FAULTS"), os.path.join(directory, "faults")) if path]
        self.macos = int(environment.get("FAKE_APPLE_MACOS", "26"))
        self.image_map = environment.get("FAKE_APPLE_IMAGE_MAP", "")
        self.empty_contexts = empty_contexts(environment)
        self.all_capabilities = {"docker": False, "all": True}.get(
            environment.get("FAKE_APPLE_CAPS", ""), self.version.before("0.12")
        )
        self.limit_memory = environment.get("FAKE_APPLE_MEMORY", "limit") != "record"
        self.offline = environment.get("FAKE_APPLE_OFFLINE") == "1"
        self.stub_builds = environment.get("FAKE_APPLE_BUILD") == "stub"
        self.builder_image = environment.get("FAKE_APPLE_BUILDER_IMAGE", "moat-test/busybox:1")
        self.stopping_ms = int(environment.get("FAKE_APPLE_STOPPING_MS", "100"))


def empty_contexts(environment):
    """Returns the directories whose build contexts arrive empty."""
    text = environment.get("FAKE_APPLE_STRICT_CONTEXT", "0")
    if text == "0":
        return []
    if text == "1":
        text = "/tmp:/private/tmp:" + environment.get("TMPDIR", "/tmp")
    return [os.path.realpath(path) for path in text.split(":")]


def first_line(directory, name):
    try:
        with open(os.path.join(directory, name)) as file:
            return file.readline().strip()
    except FileNotFoundError:
        return ""
