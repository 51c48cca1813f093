"""Every command: its name, its arguments, its flags, and its function."""

from standin.flags import ALL, DNS, FETCH, FORMAT, LISTING, MANAGEMENT, PLATFORM, PROCESS, PROGRESS, RESOURCES
from standin.options import Command, Flag

GROUPS = {"image": "i", "builder": "", "network": "n", "volume": "v", "registry": "r", "system": "s"}
ALIASES = {"rm": "delete", "ls": "list", "cp": "copy"}

CREATION = PROCESS + RESOURCES + MANAGEMENT + FETCH
FORCE = [Flag("--force -f")]

CONTAINERS = [
    Command("create", "image [arguments...]", CREATION, "create.run", verbatim=1, pings=True, doing="create container"),
    Command("run", "image [arguments...]", CREATION + PROGRESS, "lifecycle.run_run", verbatim=1, pings=True,
            doing="run container"),
    Command("start", "container-id", [Flag("--attach -a"), Flag("--interactive -i")], "lifecycle.run_start",
            doing="get container"),
    Command("stop", "[container-ids...]", ALL + [Flag("--signal -s", value=True), Flag("--time -t", value=True)],
            "lifecycle.run_stop", doing="stop container"),
    Command("kill", "[container-ids...]", ALL + [Flag("--signal -s", value=True)], "lifecycle.run_kill",
            doing="kill container"),
    Command("delete", "[container-ids...]", ALL + FORCE, "lifecycle.run_delete", doing="delete container"),
    Command("list", "", ALL + LISTING, "looking.run_list", doing="list containers"),
    Command("inspect", "container-ids...", [], "looking.run_inspect", doing="list containers"),
    Command("exec", "container-id arguments...", PROCESS + [Flag("--detach -d", since="0.7")], "execute.run",
            verbatim=1, doing="get container"),
    Command("logs", "container-id", [Flag("--follow -f"), Flag("-n", value=True), Flag("--boot")],
            "looking.run_logs", doing="get logs for container"),
    Command("stats", "[container-ids...]", FORMAT + [Flag("--no-stream")], "looking.run_stats", since="0.7",
            doing="list containers"),
    Command("copy", "source destination", [], "looking.run_copy", since="1.0", doing="copy"),
    Command("export", "container-id", [Flag("--image", value=True, until="0.11"),
                                       Flag("--output -o", value=True, since="0.11")],
            "looking.run_export", since="0.10", doing="export container"),
    Command("prune", "", [], "lifecycle.run_prune", since="0.9", doing="list containers"),
]

BUILDER_SIZE = RESOURCES + [Flag(flag.names[0], value=True, many=flag.many, since="0.9") for flag in DNS]

BUILDS = [
    Command("build", "[context-dir]", BUILDER_SIZE + PLATFORM + [
        Flag("--file -f", value=True),
        Flag("--tag -t", value=True, many=True),
        Flag("--build-arg", value=True, many=True),
        Flag("--label -l", value=True, many=True),
        Flag("--no-cache"),
        Flag("--target", value=True),
        Flag("--quiet -q"),
        Flag("--vsock-port", value=True),
        Flag("--cache-in", value=True, many=True),
        Flag("--cache-out", value=True, many=True),
        Flag("--output -o", value=True, many=True),
        Flag("--progress", value=True),
        Flag("--pull", since="0.10"),
        Flag("--secret", value=True, many=True, since="0.11"),
        Flag("--ssh", value=True, since="1.2.1"),
    ], "builds.run_build", pings=True, doing="build"),
    Command("builder start", "", BUILDER_SIZE, "builds.run_start", doing="start builder"),
    Command("builder status", "", [Flag("--json", until="0.5"), Flag("--format", value=True, since="0.5"),
                                   Flag("--quiet -q", since="0.5")], "builds.run_status", doing="get builder"),
    Command("builder stop", "", [], "builds.run_stop", doing="stop builder"),
    Command("builder delete", "", FORCE, "builds.run_delete", doing="delete builder"),
]

OLD_PLATFORM = [Flag("--platform", value=True), Flag("--os", value=True, since="0.4"),
                Flag("--arch -a", value=True, since="0.4")]

IMAGES = [
    Command("image pull", "reference", OLD_PLATFORM + FETCH + PROGRESS, "images.run_pull", pings=True),
    Command("image push", "reference", OLD_PLATFORM + FETCH + PROGRESS, "images.run_push", pings=True),
    Command("image list", "", LISTING + [Flag("--verbose -v")], "images.run_list", pings=True),
    Command("image inspect", "references...", [], "images.run_inspect", pings=True),
    Command("image tag", "source target", [], "images.run_tag", pings=True),
    Command("image delete", "[references...]", ALL + [Flag("--force -f", since="0.9")], "images.run_delete", pings=True),
    Command("image save", "references...", OLD_PLATFORM + [Flag("--output -o", value=True)], "images.run_save", pings=True),
    Command("image load", "", [Flag("--input -i", value=True), Flag("--force -f", since="0.8")], "images.run_load",
            pings=True),
    Command("image prune", "", [Flag("--all -a", since="0.7")], "images.run_prune", pings=True),
]

NETWORKS = [
    Command("network create", "name", [
        Flag("--label", value=True, many=True, since="0.5"),
        Flag("--subnet", value=True, since="0.6"),
        Flag("--subnet-v6", value=True, since="0.8"),
        Flag("--internal", since="0.9"),
        Flag("--plugin", value=True, since="0.10"),
        Flag("--plugin-variant", value=True, since="0.10", until="1.0"),
        Flag("--option", value=True, many=True, since="1.0"),
    ], "networks.run_create"),
    Command("network delete", "[network-names...]", ALL, "networks.run_delete"),
    Command("network list", "", LISTING, "networks.run_list"),
    Command("network inspect", "networks...", [], "networks.run_inspect"),
    Command("network prune", "", [], "networks.run_prune", since="0.8"),
]

VOLUMES = [
    Command("volume create", "name", [
        Flag("-s", value=True), Flag("--opt", value=True, many=True), Flag("--label", value=True, many=True),
    ], "volumes.run_create", since="0.4"),
    Command("volume delete", "[names...]", [Flag("--all -a", since="0.5")], "volumes.run_delete", since="0.4"),
    Command("volume list", "", LISTING, "volumes.run_list", since="0.4"),
    Command("volume inspect", "names...", [], "volumes.run_inspect", since="0.4"),
    Command("volume prune", "", [], "volumes.run_prune", since="0.6"),
]

REGISTRIES = [
    Command("registry login", "server", [
        Flag("--username -u", value=True), Flag("--password-stdin"), Flag("--scheme", value=True),
    ], "registries.run_login"),
    Command("registry logout", "server", [], "registries.run_logout"),
    Command("registry list", "", LISTING, "registries.run_list", since="0.10"),
]

# Some of these work without the daemon: see UNGATED.
SYSTEM = [
    Command("system start", "", [
        Flag("--path -p", value=True, until="0.4"),
        Flag("--app-root -a", value=True, since="0.4"),
        Flag("--install-root", value=True, since="0.4"),
        Flag("--log-root", value=True, since="0.10"),
        Flag("--timeout", value=True, since="0.10"),
        Flag("--enable-kernel-install"),
        Flag("--disable-kernel-install"),
    ], "system.run_start"),
    Command("system stop", "", [Flag("--prefix -p", value=True)], "system.run_stop"),
    Command("system status", "", [Flag("--prefix -p", value=True), Flag("--format", value=True, since="0.10")],
            "system.run_status", since="0.2"),
    Command("system version", "", FORMAT, "system.run_version", since="0.8"),
    Command("system logs", "", [Flag("--follow -f"), Flag("--last", value=True)], "system.run_logs"),
    Command("system df", "", FORMAT, "system.run_df", since="0.7"),
    Command("system kernel set", "", [
        Flag("--recommended"), Flag("--binary", value=True), Flag("--tar", value=True), Flag("--arch", value=True),
        Flag("--force", since="0.5"), Flag("--digest", value=True, since="1.2"),
    ], "system.run_kernel_set"),
    Command("system property list", "", LISTING, "system.run_properties", since="0.5"),
    Command("system dns create", "domain", [Flag("--localhost", value=True, since="0.9")], "system.run_dns"),
]

UNGATED = {"system start", "system stop", "system status", "system version"}
NEEDS_KERNEL = {"create", "run", "build", "builder start"}

COMMANDS = CONTAINERS + BUILDS + IMAGES + NETWORKS + VOLUMES + REGISTRIES + SYSTEM


def canonical(words, version):
    """Returns the words of the command with aliases resolved, for the tables and for the rules of faults."""
    words = list(words)
    if words and words[0] not in ("run", "exec"):
        for group, letter in GROUPS.items():
            if words[0] == letter and letter or (words[0] == "images" and version.before("0.5") and group == "image"):
                words[0] = group
    if words:
        words[0] = ALIASES.get(words[0], words[0])
    if len(words) > 1 and words[0] in GROUPS:
        words[1] = ALIASES.get(words[1], words[1])
    return words


def find(words, version, macos):
    """Returns (command, the words after it), or None if this release has no such command."""
    for command in COMMANDS:
        name = command.words.split()
        if words[:len(name)] != name or version.before(command.since):
            continue
        if name[0] == "network" and (macos < 26 or version.before("0.2")):
            continue
        return command, words[len(name):]
    return None


def in_group(words, version, macos):
    """Returns the subcommands of a group, if the first word names one."""
    if not words or words[0] not in GROUPS or (words[0] == "network" and macos < 26):
        return []
    return [
        command.words for command in COMMANDS
        if command.words.startswith(words[0] + " ") and version.since(command.since)
    ]
