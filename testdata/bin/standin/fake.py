"""`container __fake …`: commands of the tests that callers of the stand-in do not know."""

from standin import images, system
from standin.engine import EngineError, part
from standin.errors import Plain


def run(session, words):
    if words == ["reset"]:
        reset(session)
    elif words[:1] == ["system"] and len(words) == 2:
        session.state.set_system(words[1])
    elif words == ["daemon-restart"]:
        system.restart(session)
    elif words[:1] == ["preset"] and len(words) >= 2:
        from standin import presets

        presets.choose(session, words[1], words[2:])
    else:
        raise Plain("container __fake reset | system STATE | daemon-restart | preset NAME [KEY=VALUE...]", 64)


def reset(session):
    """Removes everything of this namespace, in docker and in the state directory."""
    engine = session.engine
    # Another call may be removing the same object: a missing one counts as removed.
    for item in engine.ask("GET", "/containers/json", {"all": "1", "filters": session.ours()}):
        gone(engine, "/containers/" + item["Id"], {"force": "1", "v": "1"})
    for item in engine.ask("GET", "/networks", {"filters": session.ours()}):
        gone(engine, "/networks/" + item["Id"])
    for item in engine.ask("GET", "/volumes", {"filters": session.ours()})["Volumes"] or []:
        gone(engine, "/volumes/" + part(item["Name"]), {"force": "1"})
    for name in images.known(session).values():
        if images.is_own(session, name):
            images.untag(session, name)
    for kind in ("containers", "networks", "volumes"):
        for record in session.state.records(kind):
            session.state.forget(kind, record.get("id") or record["name"])
    for name in ("images.json", "registries.json", "builder.json"):
        session.state.remove(name)


def gone(engine, path, query=None):
    try:
        engine.raw("DELETE", path, query)
    except EngineError as error:
        if error.status not in (404, 409):
            raise
