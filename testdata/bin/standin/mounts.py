"""`-v`, `--mount` and `--tmpfs`: what the record shows, and what docker gets."""

import os
import stat

from standin import light
from standin.values import invalid


class Mount:
    def __init__(self, kind, source, target, options=(), volume=None):
        self.kind = kind  # bind, tmpfs or volume
        self.source = source
        self.target = target
        self.options = list(options)
        self.volume = volume

    def shown(self, state_dir):
        if self.kind == "bind":
            kind = {"virtiofs": {}}
            source = self.source
        elif self.kind == "tmpfs":
            kind, source = {"tmpfs": {}}, "tmpfs"
        else:
            kind = {"volume": {"name": self.volume, "format": "ext4", "cache": {"on": {}}, "sync": {"fsync": {}}}}
            source = os.path.join(state_dir, "volumes", self.volume, "volume.img")
        return {"type": kind, "source": source, "destination": self.target, "options": self.options}


def from_volume_option(version, text):
    parts = text.split(":")
    if len(parts) == 1:
        if version.before("0.6"):
            raise invalid("invalid volume specification: " + text)
        return Mount("volume", None, absolute_target(parts[0]), volume=light.uuid4())
    if len(parts) > 3:
        raise invalid("invalid volume specification: " + text)
    source, target = parts[0], absolute_target(parts[1])
    options = parts[2].split(",") if len(parts) == 3 else []
    if "/" not in source and source not in (".", ".."):
        return Mount("volume", None, target, options, volume=source)
    source = os.path.abspath(source)
    check_source(version, source, files=version.since("0.9"))
    return Mount("bind", source, target, options)


def from_mount_option(version, text):
    found, options = {}, []
    names = {"src": "source", "dst": "destination", "target": "destination"}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if "=" in value:
            raise invalid("invalid mount property: " + item)
        key = names.get(key, key)
        if key in ("readonly", "ro") and not equals:
            options.append("ro")
        elif key in ("size", "mode"):
            options.append("%s=%s" % (key, value))
        elif key in ("type", "source", "destination") and equals:
            found[key] = value
        else:
            raise invalid("invalid mount property: " + item)
    kind, target = found.get("type", "bind"), absolute_target(found.get("destination", ""))
    if kind == "tmpfs":
        return Mount("tmpfs", "tmpfs", target, options)
    if kind == "volume":
        return Mount("volume", None, target, options, volume=found.get("source") or light.uuid4())
    if kind not in ("bind", "virtiofs"):
        raise invalid("unsupported mount type: " + kind)
    source = os.path.abspath(found.get("source", ""))
    check_source(version, source, files=False)
    return Mount("bind", source, target, options)


def from_tmpfs_option(text):
    """A bare path. With options the text is still taken for a path, and the start fails."""
    return Mount("tmpfs", "tmpfs", text)


def absolute_target(path):
    if not path.startswith("/"):
        raise invalid("invalid mount destination: '%s' is not an absolute path" % path)
    return path


def check_source(version, path, files):
    if not os.path.lexists(path):
        raise invalid("path '%s' does not exist" % path)
    if not os.path.isdir(path) and not is_socket(path) and not (files and os.path.isfile(path)):
        raise invalid("path '%s' is not a directory" % path)


def is_socket(path):
    return stat.S_ISSOCK(os.stat(path).st_mode)


def check_again(version, record):
    """Checks at each start that the sources of the mounts still exist."""
    for mount in record["mounts"]:
        if "virtiofs" not in mount["type"]:
            continue
        path = mount["source"]
        if not os.path.exists(path):
            text = "mount source path '%s' does not exist" if version.since("0.12") else "path '%s' does not exist"
            raise invalid(text % path)
        # Single files were staged once, at creation, and are not found at a later start.
        if record["starts"] > 0 and version.before("0.12") and os.path.isfile(path):
            raise invalid("path '%s' is not a directory" % path)


def visible(version, mounts):
    """Returns the visible mounts in the order given. docker would order them differently."""
    seen = []
    # Since 0.12 a mount comes before the mounts inside it.
    for mount in mounts if version.before("0.12") else sorted(mounts, key=lambda mount: mount.target):
        if version.before("0.12"):
            # In the order given, a later mount hides the mounts below it.
            seen = [other for other in seen if not is_below(other.target, mount.target)]
        elif mount.kind == "bind" and os.path.isfile(mount.source):
            # A single file replaces the shared directory that contains it.
            seen = [other for other in seen if other.kind != "bind" or not is_below(mount.target, other.target)]
        seen.append(mount)
    return seen


def is_below(path, directory):
    return path.startswith(directory.rstrip("/") + "/")


def for_docker(mounts, volume_name):
    """Returns the mount settings of docker's HostConfig."""
    listed, tmpfs = [], {}
    for mount in mounts:
        read_only = "ro" in mount.options or "readonly" in mount.options
        if mount.kind == "tmpfs":
            # The kernel's default, not docker's noexec.
            options = ["exec"] + (["ro"] if read_only else [])
            options += [option for option in mount.options if "=" in option]
            tmpfs[mount.target] = ",".join(options)
            continue
        source = mount.source if mount.kind == "bind" else volume_name(mount.volume)
        kind = "bind" if mount.kind == "bind" else "volume"
        listed.append({"Type": kind, "Source": source, "Target": mount.target, "ReadOnly": read_only})
    return {"Mounts": listed, "Tmpfs": tmpfs}
