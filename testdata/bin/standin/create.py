"""`create`, and the first half of `run`: turns the arguments into a record and a docker container."""

import os
import time

from standin import images, light, mounts, values
from standin.engine import EngineError, part
from standin.errors import Failure, Plain

OLD_SSH_SOCKET = "/run/host-services/ssh-auth.sock"
NEW_SSH_SOCKET = "/var/host-services/ssh-auth.sock"


def run(session, options):
    name = create(session, options, running=False)
    session.line(name)


def create(session, options, running, image=None):
    """Creates the container and returns its id. `running`: the call is `run`, which words some errors differently.
    `image`: its name and docker's answer, for an image that is not in the image store."""
    name = options.name or light.uuid4()
    values.check_container_id(name)
    if session.see(name) is not None:
        raise taken(name, running)
    reference, found = image or images.find_or_pull(session, options.positionals[0])
    record, told = describe(session, options, name, reference, found)
    if options.cidfile:
        write_cidfile(options.cidfile, name)
    with session.state.lock():
        if session.see(name) is not None:
            raise taken(name, running)
        # The record first: a record without a container does not count if we are killed in between.
        session.state.remove("containers/%s.log" % name)
        session.state.save("containers", name, record)
        make(session, name, told, running)
    session.made = name
    return name


def taken(name, running):
    text = "container with id %s already exists" if running else "container already exists: %s"
    return Failure("exists", text % name)


def write_cidfile(path, name):
    try:
        with open(path, "x") as file:
            file.write(name)
    except OSError as error:
        raise Failure("internalError", "failed to create cidfile at %s: %s" % (path, error.strerror)) from None


def make(session, name, told, running):
    try:
        session.engine.ask("POST", "/containers/create", {"name": session.docker_name(name)}, told)
    except EngineError as error:
        if error.status == 409:
            raise taken(name, running) from None
        session.state.forget("containers", name)
        raise Failure("internalError", "failed to create container", Failure("unknown", error.message)) from None


def describe(session, options, name, reference, image):
    """Returns the record, and docker's configuration."""
    version = session.version
    told_user, shown_user = values.user(options, (image["Config"] or {}).get("User", ""))
    environment = values.environment(version, image["Config"].get("Env") or [], options.env_file, options.env)
    mounted = mounts_of(session, options)
    environment = add_ssh(session, options, environment, mounted)
    networks = networks_of(session, options)
    entrypoint = [options.entrypoint] if options.entrypoint else image["Config"].get("Entrypoint") or []
    arguments = options.positionals[1:]
    if not arguments and not options.entrypoint:
        arguments = image["Config"].get("Cmd") or []
    command = entrypoint + arguments
    if not command:
        raise Failure("invalidArgument", "Command/Entrypoint not specified for container process")
    limits = values.rlimits(options.ulimit)
    record = {
        "id": name,
        "argv": session.argv,
        "created": time.time(),
        "image": reference,
        "descriptor": images.descriptor(image),
        "executable": command[0],
        "arguments": command[1:],
        "environment": environment,
        "workdir": options.workdir or image["Config"].get("WorkingDir") or "/",
        "terminal": options.tty,
        "interactive": options.interactive,
        "user": shown_user,
        "rlimits": [
            {"limit": "RLIMIT_" + kind.upper(), "soft": soft, "hard": hard} for kind, (soft, hard) in limits.items()
        ],
        "mounts": [mount.shown(session.state.dir) for mount in mounted],
        "ports": values.ports(options.publish),
        "sockets": [published_socket(item) for item in options.publish_socket],
        "labels": values.labels(options.label),
        "networks": networks,
        "hostname": name.partition(".")[0],
        "dns": None if options.no_dns else {
            "nameservers": options.dns, "searchDomains": options.dns_search, "options": options.dns_option,
        },
        "platform": images.SHOWN,
        "cpus": values.cpus(options.cpus),
        "memory": values.memory(version, options.memory),
        "rosetta": options.rosetta,
        "virtualization": options.virtualization,
        "ssh": options.ssh,
        "readOnly": options.read_only,
        "useInit": options.init,
        "capAdd": [values.capability(item) for item in options.cap_add],
        "capDrop": [values.capability(item) for item in options.cap_drop],
        "shmSize": values.size(options.shm_size) if options.shm_size else None,
        "stopSignal": image["Config"].get("StopSignal"),
        "runtime": options.runtime or "container-runtime-linux",
        "remove": options.remove,
        "starts": 0,
    }
    told = for_docker(session, options, record, mounted, limits)
    told.update({"User": told_user, "Image": image["Id"]})
    return record, told


def for_docker(session, options, record, mounted, limits):
    host = mounts.for_docker(mounts.visible(session.version, mounted), session.docker_name)
    host["Ulimits"] = [{"Name": kind, "Soft": soft, "Hard": hard} for kind, (soft, hard) in limits.items()]
    host["NanoCpus"] = min(record["cpus"], os.cpu_count() or 1) * 10**9
    if session.settings.limit_memory:
        host["Memory"] = record["memory"]
    host["CapAdd"] = record["capAdd"]
    if session.settings.all_capabilities:
        from standin import capabilities

        host["CapAdd"] = capabilities.all_there_are()
    host["CapDrop"] = record["capDrop"]
    host["ReadonlyRootfs"] = record["readOnly"]
    host["Init"] = record["useInit"]
    if record["shmSize"]:
        host["ShmSize"] = record["shmSize"]
    host["PortBindings"], exposed = bindings(record["ports"])
    if record["dns"]:
        host["Dns"], host["DnsSearch"], host["DnsOptions"] = (
            record["dns"]["nameservers"], record["dns"]["searchDomains"], record["dns"]["options"],
        )
    host["NetworkMode"] = docker_network(session, record["networks"][0]["network"])
    told = {
        "Hostname": record["hostname"][:63],
        "Labels": session.labels(record["id"], record["labels"]),
        "Env": record["environment"],
        # Resolved above, so that docker does not add the image's own arguments.
        "Entrypoint": [record["executable"]],
        "Cmd": record["arguments"],
        "WorkingDir": record["workdir"],
        "Tty": record["terminal"],
        # The start decides whether there is any input: see lifecycle.py.
        "OpenStdin": takes_input(record),
        "StdinOnce": takes_input(record),
        "ExposedPorts": exposed,
        "HostConfig": host,
    }
    if session.version.before("1.0"):
        told["StopSignal"] = "SIGTERM"
    if record["networks"][0].get("mac"):
        told["MacAddress"] = record["networks"][0]["mac"]
    return told


def takes_input(record):
    return record["interactive"] or not record["terminal"]


def bindings(ports):
    bound, exposed = {}, {}
    for port in ports:
        for at in range(port["count"]):
            inner = "%d/%s" % (port["containerPort"] + at, port["proto"])
            exposed[inner] = {}
            bound.setdefault(inner, []).append({"HostIp": port["hostAddress"], "HostPort": str(port["hostPort"] + at)})
    return bound, exposed


def docker_network(session, name):
    return {"default": "bridge", "none": "none"}.get(name) or session.docker_name(name)


def networks_of(session, options):
    networks = [values.network(session.version, item) for item in options.network] or [{"network": "default"}]
    for network in networks:
        name = network["network"]
        if name in ("default", "none"):
            continue
        if session.settings.macos < 26:
            raise Failure("invalidArgument", "non-default network configuration requires macOS 26 or newer")
        if session.state.record("networks", name) is None:
            raise Failure("notFound", "network %s not found" % name)
    return networks


def mounts_of(session, options):
    found = [mounts.from_volume_option(session.version, item) for item in options.volume]
    found += [mounts.from_mount_option(session.version, item) for item in options.mount]
    found += [mounts.from_tmpfs_option(item) for item in options.tmpfs]
    for mount in found:
        if mount.kind == "volume":
            need_volume(session, mount.volume)
    return found


def need_volume(session, name):
    from standin import volumes

    if session.version.before("0.4"):
        raise Failure("invalidArgument", "path '%s' does not exist" % name)
    if session.state.record("volumes", name) is None:
        volumes.make(session, name, {})
        if session.version.since("0.10"):
            session.log("named volume was automatically created", volume='"%s"' % name)


def add_ssh(session, options, environment, mounted):
    """Returns the socket of the caller's SSH agent, if there is one."""
    socket = os.environ.get("SSH_AUTH_SOCK")
    if not options.ssh or not socket or not os.path.exists(socket):
        return environment
    guest = NEW_SSH_SOCKET if session.version.since("0.12") else OLD_SSH_SOCKET
    mounted.append(mounts.Mount("bind", socket, guest))
    if any(item.startswith("SSH_AUTH_SOCK=") for item in environment):
        return environment
    return environment + ["SSH_AUTH_SOCK=" + guest]


def published_socket(text):
    host, _, inner = text.partition(":")
    if not host or not inner.startswith("/"):
        raise values.invalid("invalid publish-socket value: " + text)
    host = os.path.abspath(host)
    if os.path.lexists(host) and mounts.is_socket(host):
        raise Plain("host socket %s already exists and may be in use" % host)
    return {"hostPath": host, "containerPath": inner}


def undo(session, name):
    """Since 0.9, `run` deletes a container that it could not start."""
    if session.version.since("0.9"):
        with session.state.lock():
            remove(session, name)


def remove(session, name):
    """Removes the container and its record. The caller holds the lock."""
    try:
        session.engine.raw("DELETE", "/containers/%s" % part(session.docker_name(name)), {"force": "1", "v": "1"})
    except EngineError as error:
        if error.status == 409:
            raise Failure("invalidState", "container %s is stopping and can not be deleted" % name) from None
        if error.status != 404:
            raise
    session.state.forget("containers", name)
    session.state.remove("containers/%s.log" % name)
