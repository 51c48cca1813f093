"""`build` and the `builder` group. `docker build` does the work; the builder is a container that idles.

Docker's old builder has neither here-documents nor `RUN --mount`: see README.md.
"""

import os
import sys

from standin import create, images, looking, tables, values
from standin.errors import Failure, Plain
from standin.options import parse

BUILDER = "buildkit"
BUILDER_IMAGE = "ghcr.io/apple/container-builder-shim/builder:0.12.0"
IDLE = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"
MOST_DOCKERFILE = 16384


# --- the builder


def wanted(options):
    """Returns the settings of the builder. A build that needs other settings replaces the builder."""
    return {
        "cpus": options.cpus or "2",
        "memory": options.memory or "2048MB",
        "dns": list(options.dns),
    }


def run_start(session, options):
    start(session, wanted(options), reconcile=True)


def start(session, want, reconcile):
    """Returns a running builder. With `reconcile`, replaces a builder whose settings differ."""
    seen = session.see(BUILDER)
    fits = session.state.read_json("builder.json") == want
    if seen is not None and (not fits and reconcile):
        session.call.note("builder recreated")
        remove(session)
        seen = None
    if seen is None:
        make(session, want)
        seen = session.see(BUILDER)
    if seen is not None and not seen.running:
        session.engine.raw("POST", session.docker_path(seen, "start"))


def make(session, want):
    words = ["--name", BUILDER, "--cpus", want["cpus"], "--memory", want["memory"]]
    for server in want["dns"]:
        words += ["--dns", server]
    command = tables.find(["create"], session.version, 26)[0]
    options = parse(command, words + [BUILDER_IMAGE, "/bin/sh", "-c", IDLE], session.version)
    image = images.look(session, session.settings.builder_image)
    if image is None:
        raise images.not_pulled(BUILDER_IMAGE)
    try:
        create.create(session, options, running=False, image=(BUILDER_IMAGE, image))
    except Failure as failure:
        # Another build has created the builder at the same moment.
        if failure.code != "exists":
            raise
    session.state.write_json("builder.json", want)


def remove(session):
    with session.state.lock():
        create.remove(session, BUILDER)
        session.state.remove("builder.json")


def run_status(session, options):
    seen = session.see(BUILDER)
    as_json = options.format == "json" or options.json
    if seen is None:
        # Until 1.0 this text was printed even with JSON output.
        session.line("[]" if as_json and session.version.since("1.0") else "builder is not running")
    elif as_json:
        looking.print_containers(session, [seen], pretty=False)
    elif options.quiet:
        session.line(seen.id)
    else:
        session.out(looking.text_table(session, [seen]))
    return 0


def run_stop(session, options):
    seen = session.see(BUILDER)
    if seen is not None and seen.running:
        session.engine.raw("POST", session.docker_path(seen, "stop"), {"t": "5"})


def run_delete(session, options):
    seen = session.see(BUILDER)
    if seen is None:
        return
    if seen.running and not options.force:
        raise Failure("invalidState", "BuildKit container is not stopped, use --force to override")
    remove(session)


# --- building


def run_build(session, options):
    context = (options.positionals or ["."])[0]
    if context == "-" or not os.path.isdir(context):
        raise Plain("context dir does not exist " + context, 64)
    text = dockerfile(session, options, context)
    refuse_unknown(options)
    start(session, wanted(options), reconcile=session.version.since("1.2.1"))
    check_size(session, text)
    tags = [stored_tag(tag) for tag in options.tag] or [stored_tag("build-%d" % session.call.number)]
    place = note(session, text, context)
    if session.settings.stub_builds:
        stub(session, text, tags)
    else:
        build(session, options, context, place, tags)
    for tag in tags:
        images.remember(session, tag, images.own_name(session, tag))
    if session.version.since("1.0"):
        session.out("".join(tag + "\n" for tag in tags))
    else:
        session.line("Successfully built " + ", ".join(tags))


def stored_tag(tag):
    """Names with a slash and no domain stay as they are."""
    return images.tagged(tag) if "/" in tag else images.normal(tag)


def dockerfile(session, options, context):
    if options.file == "-" and session.version.since("0.7"):
        return sys.stdin.read()
    path = options.file or os.path.join(context, "Dockerfile")
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        if session.version.since("0.11"):
            raise Plain("dockerfile does not exist " + path, 64) from None
        raise Failure("unknown", "%s: %s" % (path, error.strerror)) from None


def refuse_unknown(options):
    """Refuses options that docker's old builder would ignore."""
    for key in ("secret", "ssh", "output"):
        if getattr(options, key):
            raise Plain("the stand-in's builder has no --" + key)


def check_size(session, text):
    size = len(text.encode())
    if size < MOST_DOCKERFILE:
        return
    if session.version.since("1.0"):
        raise Failure(
            "invalidArgument",
            "Dockerfile size (%d bytes) exceeds the maximum allowed size of %d bytes. "
            "See https://github.com/apple/container/issues/735." % (size, MOST_DOCKERFILE),
        )
    raise Plain("unavailable (14): Transport became inactive")


def note(session, text, context):
    """Keeps the build's Dockerfile and the file names of its context, for tests to read."""
    place = session.state.path("builds", str(session.call.number))
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, "Dockerfile"), "w") as file:
        file.write(text)
    with open(os.path.join(place, "context"), "w") as file:
        for directory, _, names in os.walk(context):
            for name in sorted(names):
                file.write(os.path.relpath(os.path.join(directory, name), context) + "\n")
    return place


def for_docker(session, text):
    """Returns the Dockerfile with docker's names of its base images."""
    import re

    def replace(match):
        found = images.resolve(session, match.group(2))
        name = found[1] if found else images.docker_reference(session, match.group(2))
        known = found or images.look(session, name) is not None
        return match.group(1) + (name if known else match.group(2))

    return re.sub(r"(?im)^(\s*FROM\s+(?:--platform=\S+\s+)?)(\S+)", replace, text)


def stub(session, text, tags):
    """Builds nothing: tags the base image."""
    import re

    base = re.search(r"(?im)^\s*FROM\s+(?:--platform=\S+\s+)?(\S+)", text)
    if base is None:
        raise Plain('unknown: "failed to solve: no build stage in current context"')
    _, image = images.find_or_pull(session, base.group(1))
    for tag in tags:
        images.tag_in_docker(session, image["Id"], images.own_name(session, tag))


def build(session, options, context, place, tags):
    import subprocess

    told = os.path.join(place, "Dockerfile.docker")
    with open(os.path.join(place, "Dockerfile")) as file, open(told, "w") as out:
        out.write(for_docker(session, file.read()))
    words = ["build", "--force-rm", "--file", told]
    for tag in tags:
        words += ["--tag", images.own_name(session, tag)]
    for item in options.build_arg:
        words += ["--build-arg", item]
    for key, value in values.labels(options.label).items():
        words += ["--label", "%s=%s" % (key, value)]
    words += ["--target", options.target] if options.target else []
    words += [flag for flag, given in (("--no-cache", options.no_cache), ("--pull", options.pull)) if given]
    child = session.engine.spawn(
        *words, arrived(session, context, place), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    last = "?"
    for line in child.stdout:
        last = line.decode(errors="replace").strip() or last
        if not options.quiet:
            sys.stderr.buffer.write(line)
            sys.stderr.flush()
    if child.wait() != 0:
        raise Plain('unknown: "failed to solve: %s"' % last)


def arrived(session, context, place):
    """Returns the build context, which is empty for a directory that is reached through a symbolic link."""
    real = os.path.realpath(context)
    for directory in session.settings.empty_contexts:
        if real == directory or real.startswith(directory + "/"):
            empty = os.path.join(place, "empty")
            os.makedirs(empty, exist_ok=True)
            return empty
    return context
