"""The `volume` group, with docker's volumes."""

import os
import time

from standin import printing
from standin.engine import EngineError, part
from standin.errors import Failure
from standin.session import is_safe
from standin.values import labels, size

DEFAULT_SIZE = 512 << 30


def make(session, name, given, amount=None, options=None):
    body = {"Name": session.docker_name(name), "Labels": session.labels(name, given)}
    session.engine.ask("POST", "/volumes/create", body=body)
    session.state.save("volumes", name, {
        "name": name, "created": time.time(), "labels": given, "size": amount or DEFAULT_SIZE, "options": options or {},
    })


def run_create(session, options):
    name = options.positionals[0]
    if not is_safe(name) or not name[:1].isalnum():
        raise Failure("invalidArgument", "invalid volume name '%s'" % name)
    with session.state.lock():
        if session.state.record("volumes", name) is not None:
            raise Failure("exists", "volume '%s' already exists" % name)
        amount = size(options.s) if options.s else None
        make(session, name, labels(options.label), amount, labels(options.opt))
    session.line(name)


def users_of(session, name):
    return [
        seen.id for seen in session.see_all()
        if any(mount["type"].get("volume", {}).get("name") == name for mount in seen.record["mounts"])
    ]


def delete(session, name):
    record = session.state.record("volumes", name) if is_safe(name) else None
    if record is None:
        raise Failure("notFound", "volume '%s' not found" % name)
    if users_of(session, name):
        text = "volume '%s' is currently in use and cannot be accessed by another container, or deleted" % name
        raise Failure("invalidState", text)
    try:
        session.engine.raw("DELETE", "/volumes/" + part(session.docker_name(name)), {"force": "1"})
    except EngineError as error:
        if error.status != 404:
            raise
    session.state.forget("volumes", name)


def run_delete(session, options):
    names = [record["name"] for record in session.state.records("volumes")] if options.all else options.positionals
    for name in names:
        with session.state.lock():
            delete(session, name)
        session.line(name)


def run_prune(session, options):
    for record in session.state.records("volumes"):
        with session.state.lock():
            if not users_of(session, record["name"]):
                delete(session, record["name"])
                session.line(record["name"])


def shape(session, record):
    version = session.version
    inner = {
        "name": record["name"],
        "driver": "local",
        "format": "ext4",
        "source": os.path.join(session.state.dir, "volumes", record["name"], "volume.img"),
        "labels": record["labels"],
        "options": record["options"],
        "sizeInBytes": record["size"],
    }
    if version.since("1.0"):
        inner["creationDate"] = printing.date(version, record["created"])
        return {"id": record["name"], "configuration": inner}
    inner["createdAt"] = printing.date(version, record["created"])
    return inner


def run_list(session, options):
    records = session.state.records("volumes")
    if options.quiet:
        for record in records:
            session.line(record["name"])
    elif options.format == "json":
        session.line(printing.encode(session.version, [shape(session, record) for record in records]))
    else:
        rows = [("NAME", "TYPE", "DRIVER")] + [(record["name"], "named", "local") for record in records]
        session.out(printing.table(rows))


def run_inspect(session, options):
    found = {name: session.state.record("volumes", name) if is_safe(name) else None for name in options.positionals}
    missing = [name for name, record in found.items() if record is None]
    if missing and session.version.since("1.0"):
        raise Failure("notFound", "volume not found: " + ", ".join(missing))
    if missing:
        raise Failure("notFound", "volume '%s' not found" % missing[0])
    session.line(printing.encode(session.version, [shape(session, record) for record in found.values()], pretty=True))
