"""The JSON of a container in each dialect, from a record and docker's description.

docker's exit code must never be shown, because no release shows it.
"""

import time

from standin import printing

MTU = 1280


class Seen:
    """A container: our record, docker's answer to inspect, and the values that follow from both."""

    def __init__(self, record, docker):
        self.record = record
        self.docker = docker
        self.id = record["id"]
        self.docker_id = docker["Id"]
        state = docker["State"]
        self.running = state["Running"]
        self.started = printing.parse_docker_date(state["StartedAt"])
        self.started_text = state["StartedAt"]
        if self.started_text == record.get("forgotten_start"):
            self.started = None
        self.state = self._state(state["Status"])

    def _state(self, status):
        if status == "removing" or self.record.get("removing"):
            return "stopping"
        if not self.running:
            return "stopped"
        return "stopping" if self.record.get("stopping_until", 0) > time.time() else "running"

    def ever_started(self):
        return not self.started_text.startswith("0001-")


def container(version, seen, tweaks):
    """Returns the element of `inspect` and of `list --format json`."""
    version = tweaks.get("shape", version)
    state = tweaks.get("state", seen.state)
    networks = attachments(version, seen)
    if tweaks.get("no-networks"):
        networks = []
    elif tweaks.get("state") in ("stopped", "stopping"):
        networks = networks if tweaks["state"] == "stopping" else []
    config = configuration(version, seen.record)
    if version.since("1.0"):
        status = {"state": state, "networks": networks}
        if seen.started is not None:
            status["startedDate"] = printing.date(version, seen.started)
        return {"id": seen.id, "configuration": config, "status": status}
    element = {"status": state, "networks": networks, "configuration": config}
    if version.since("0.8") and seen.started is not None:
        element["startedDate"] = printing.date(version, seen.started)
    return element


def attachments(version, seen):
    """Only for a running container."""
    if not seen.running:
        return []
    names = [network["network"] for network in seen.record["networks"]]
    found = seen.docker["NetworkSettings"]["Networks"]
    mtus = [network.get("mtu") or MTU for network in seen.record["networks"]]
    out = []
    for name, mtu, attachment in zip(names, mtus, found.values()):
        if name == "none" or not attachment.get("IPAddress"):
            continue
        address = "%s/%d" % (attachment["IPAddress"], attachment["IPPrefixLen"])
        new = version.since("0.8")
        element = {"network": name, "hostname": seen.record["hostname"]}
        element["ipv4Address" if new else "address"] = address
        element["ipv4Gateway" if new else "gateway"] = attachment["Gateway"]
        if version.since("0.7"):
            element["macAddress"] = attachment["MacAddress"]
        if version.since("0.11"):
            element["mtu"] = mtu
        out.append(element)
    return out


def configuration(version, record):
    """Returns every key that the release always prints; absent optional values are left out."""
    config = {
        "id": record["id"],
        "image": {"reference": record["image"], "descriptor": record["descriptor"]},
        "initProcess": init_process(version, record),
        "mounts": [mount for mount in record["mounts"]],
        "labels": record["labels"],
        "sysctls": {},
        "networks": networks_of(version, record),
        "platform": record["platform"],
        "resources": resources(version, record),
        "rosetta": record["rosetta"],
        "runtimeHandler": record["runtime"],
    }
    if record["dns"] is not None:
        config["dns"] = record["dns"]
    if version.before("0.4"):
        config["hostname"] = record["hostname"]
    if version.since("0.2"):
        config["publishedSockets"] = [socket_of(version, socket) for socket in record["sockets"]]
    if version.since("0.3"):
        config["publishedPorts"] = [port_of(version, port) for port in record["ports"]]
        config["virtualization"] = record["virtualization"]
    for key, since in (("ssh", "0.4"), ("readOnly", "0.8"), ("useInit", "0.10"), ("capAdd", "0.12"), ("capDrop", "0.12")):
        if version.since(since):
            config[key] = record[key]
    if version.since("1.0"):
        config["creationDate"] = printing.date(version, record["created"])
        for key in ("shmSize", "stopSignal"):
            if record.get(key) is not None:
                config[key] = record[key]
    return config


def init_process(version, record):
    return {
        "executable": record["executable"],
        "arguments": record["arguments"],
        "environment": record["environment"],
        "workingDirectory": record["workdir"],
        "terminal": record["terminal"],
        "user": record["user"],
        "supplementalGroups": [],
        "rlimits": record["rlimits"] if version.since("0.9") else [],
    }


def networks_of(version, record):
    names = [network["network"] for network in record["networks"] if network["network"] != "none"]
    if version.before("0.4"):
        return names
    out = []
    for network in record["networks"]:
        if network["network"] == "none":
            continue
        options = {"hostname": record["hostname"]}
        if network.get("mac"):
            options["macAddress"] = network["mac"]
        if version.since("0.11"):
            options["mtu"] = network.get("mtu") or MTU
        out.append({"network": network["network"], "options": options})
    return out


def resources(version, record):
    out = {"cpus": record["cpus"], "memoryInBytes": record["memory"]}
    if version.since("1.0"):
        out["cpuOverhead"] = 1
    return out


def port_of(version, port):
    return port if version.since("0.8") else {key: port[key] for key in port if key != "count"}


def socket_of(version, socket):
    if version.since("1.0"):
        return socket
    return {key: "file://" + path for key, path in socket.items()}
