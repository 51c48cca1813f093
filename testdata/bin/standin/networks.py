"""The `network` group. `default` is docker's bridge network; all others are separate docker networks."""

import time

from standin import printing
from standin.engine import EngineError, part
from standin.errors import Failure, Plain
from standin.values import is_network_name, labels

BUILTIN = {"com.apple.container.resource.role": "builtin"}


def run_create(session, options):
    name = options.positionals[0]
    if not is_network_name(name) or name == "none":
        raise Failure("invalidArgument", "invalid network name: " + name)
    given = labels(options.label)
    with session.state.lock():
        if name == "default" or look(session, name) is not None:
            raise Failure("exists", "network %s already exists" % name)
        record = {
            "name": name, "created": time.time(), "labels": given, "subnet": options.subnet,
            "internal": bool(options.internal),
        }
        session.state.save("networks", name, record)
        try:
            make(session, record)
        except Failure:
            session.state.forget("networks", name)
            raise
    session.line(name)


def make(session, record):
    body = {
        "Name": session.docker_name(record["name"]),
        "CheckDuplicate": True,
        "Internal": record["internal"],
        "Labels": session.labels(record["name"], record["labels"]),
    }
    if record["subnet"]:
        return make_with(session, body, record["subnet"])
    # Addresses like Apple's. Other stand-ins on this machine use the same pool.
    used = subnets(session)
    for third in range(65, 255):
        subnet = "192.168.%d.0/24" % third
        if subnet in used:
            continue
        try:
            return make_with(session, body, subnet)
        except Failure as failure:
            if "overlaps" not in failure.message:
                raise
    raise Failure("internalError", "no subnet is left")


def subnets(session):
    listed = session.engine.ask("GET", "/networks")
    configs = (config for network in listed for config in (network["IPAM"]["Config"] or []))
    return {config.get("Subnet") for config in configs}


def make_with(session, body, subnet):
    body = dict(body, IPAM={"Config": [{"Subnet": subnet}]})
    try:
        session.engine.ask("POST", "/networks/create", body=body)
    except EngineError as error:
        if "overlaps" in error.message:
            text = "IPv4 subnet %s overlaps an existing network with subnet %s" % (subnet, subnet)
            raise Failure("invalidArgument", text) from None
        raise Failure("internalError", "failed to create network", Failure("unknown", error.message)) from None


def look(session, name):
    """Returns (record, docker's answer), or None."""
    if session.tweaks.get("gone"):
        return None
    if name == "default":
        record = {"name": name, "created": 0, "labels": BUILTIN, "subnet": None, "internal": False}
        return record, session.engine.ask("GET", "/networks/bridge")
    record = session.state.record("networks", name) if is_network_name(name) else None
    docker = record and session.engine.find("/networks/%s" % part(session.docker_name(name)))
    return (record, docker) if docker else None


def all_names(session):
    return ["default"] + [record["name"] for record in session.state.records("networks")]


def run_list(session, options):
    found = [found for found in (look(session, name) for name in all_names(session)) if found is not None]
    if options.quiet:
        for record, _ in found:
            session.line(record["name"])
    elif options.format == "json":
        session.line(printing.encode(session.version, [shape(session.version, *each) for each in found]))
    else:
        session.out(printing.table(rows(session.version, found)))


def rows(version, found):
    if version.since("1.0"):
        return [("NETWORK", "SUBNET")] + [(record["name"], addresses(docker)[0]) for record, docker in found]
    shown = [(record["name"], "running", addresses(docker)[0]) for record, docker in found]
    return [("NETWORK", "STATE", "SUBNET")] + shown


def run_inspect(session, options):
    names = list(dict.fromkeys(options.positionals))
    found = {name: look(session, name) for name in names}
    missing = [name for name in names if found[name] is None]
    if missing and session.version.since("1.0"):
        raise Failure("notFound", "network not found: " + ", ".join(missing))
    elements = [shape(session.version, *each) for each in found.values() if each is not None]
    session.line(printing.encode(session.version, elements, pretty=True))


def addresses(docker):
    """Returns (subnet, gateway). The gateway is the first address if docker names none."""
    config = (docker["IPAM"]["Config"] or [{}])[0]
    subnet = config.get("Subnet", "192.168.64.0/24")
    first = subnet.partition("/")[0].rpartition(".")[0] + ".1"
    return subnet, config.get("Gateway") or first


def shape(version, record, docker):
    subnet, gateway = addresses(docker)
    mode = "hostOnly" if record["internal"] and version.since("1.0") else "nat"
    if version.since("1.0"):
        config = {
            "name": record["name"], "creationDate": printing.date(version, record["created"]), "mode": mode,
            "labels": record["labels"], "plugin": "container-network-vmnet", "options": {},
        }
        if record["subnet"]:
            config["ipv4Subnet"] = record["subnet"]
        return {
            "id": record["name"], "configuration": config,
            "status": {"ipv4Subnet": subnet, "ipv4Gateway": gateway},
        }
    config = {"id": record["name"], "mode": mode}
    if version.since("0.5"):
        config["labels"] = record["labels"]
    if version.since("0.9"):
        config["creationDate"] = printing.date(version, record["created"])
    if version.since("0.10"):
        config["pluginInfo"] = {"plugin": "container-network-vmnet"}
    if record["subnet"]:
        config["ipv4Subnet" if version.since("0.8") else "subnet"] = record["subnet"]
    keys = ("ipv4Subnet", "ipv4Gateway") if version.since("0.8") else ("address", "gateway")
    return {"id": record["name"], "state": "running", "config": config, "status": dict(zip(keys, (subnet, gateway)))}


# --- deleting


def run_delete(session, options):
    if options.all:
        names = [record["name"] for record in session.state.records("networks")]
    else:
        names = list(dict.fromkeys(options.positionals))
    if "default" in names:
        raise Failure("invalidArgument", "cannot delete a builtin network: default")
    missing = [name for name in names if look(session, name) is None]
    if missing:
        raise no_network(missing)
    refused = []
    for name in names:
        with session.state.lock():
            if delete(session, name):
                session.line(name)
            else:
                refused.append(name)
    if refused:
        raise referenced(refused)


def no_network(names):
    return Failure("notFound", "failed to delete one or more networks: [%s]" % quoted(names))


def referenced(names):
    return Plain("delete failed for one or more networks: [%s]" % quoted(names))


def quoted(names):
    return ", ".join('"%s"' % name for name in names)


def delete(session, name):
    """Refuses to delete a network that any container refers to, running or not."""
    users = users_of(session, name)
    if users:
        refuse(session, name, users)
        return False
    try:
        session.engine.raw("DELETE", "/networks/%s" % part(session.docker_name(name)))
    except EngineError as error:
        if error.status != 404:
            refuse(session, name, ["unknown"])
            return False
    session.state.forget("networks", name)
    return True


def users_of(session, name):
    return [
        seen.id for seen in session.see_all()
        if any(network["network"] == name for network in seen.record["networks"])
    ]


def refuse(session, name, users):
    text = 'invalidState: "cannot delete subnet %s with referring containers: %s"' % (name, ", ".join(users))
    session.log("failed to delete network", error=text, id=name)


def run_prune(session, options):
    for record in session.state.records("networks"):
        with session.state.lock():
            if look(session, record["name"]) and not users_of(session, record["name"]):
                delete(session, record["name"])
                session.line(record["name"])
