"""The flags that several commands share, with the first and last release of each."""

from standin.options import Flag

PROCESS = [
    Flag("--env -e", value=True, many=True),
    Flag("--env-file", value=True, many=True),
    Flag("--interactive -i"),
    Flag("--tty -t"),
    Flag("--user -u", value=True),
    Flag("--uid", value=True),
    Flag("--gid", value=True),
    Flag("--workdir --cwd -w", value=True),
    Flag("--ulimit", value=True, many=True, since="0.9"),
]

RESOURCES = [Flag("--cpus -c", value=True), Flag("--memory -m", value=True)]

DNS = [
    Flag("--dns", value=True, many=True),
    Flag("--dns-domain", value=True),
    Flag("--dns-search", value=True, many=True),
    Flag("--dns-option", value=True, many=True),
]

PLATFORM = [Flag("--arch -a", value=True), Flag("--os", value=True), Flag("--platform", value=True, since="0.4")]

MANAGEMENT = DNS + PLATFORM + [
    Flag("--name", value=True),
    Flag("--detach -d"),
    Flag("--remove --rm"),
    Flag("--entrypoint", value=True),
    Flag("--label -l", value=True, many=True),
    Flag("--volume -v", value=True, many=True),
    Flag("--mount", value=True, many=True),
    Flag("--tmpfs", value=True, many=True),
    Flag("--cidfile", value=True),
    Flag("--no-dns"),
    Flag("--kernel -k", value=True),
    Flag("--kernel-arg", value=True, many=True, since="1.2.0"),
    Flag("--network", value=True, many=True, since="0.2"),
    Flag("--publish-socket", value=True, many=True, since="0.2"),
    Flag("--publish -p", value=True, many=True, since="0.3"),
    Flag("--virtualization", since="0.3"),
    Flag("--ssh", since="0.4"),
    Flag("--rosetta", since="0.7"),
    Flag("--read-only", since="0.8"),
    Flag("--init", since="0.10"),
    Flag("--init-image", value=True, since="0.10"),
    Flag("--runtime", value=True, since="0.10"),
    Flag("--cap-add", value=True, many=True, since="0.12"),
    Flag("--cap-drop", value=True, many=True, since="0.12"),
    Flag("--shm-size", value=True, since="1.0"),
    Flag("--masked-path", value=True, many=True, since="1.2.1"),
    Flag("--read-only-path", value=True, many=True, since="1.2.1"),
]

FETCH = [Flag("--scheme", value=True), Flag("--max-concurrent-downloads", value=True, since="0.7.1")]

# For run, pull and push alone. No name of the option works in all releases.
PROGRESS = [Flag("--disable-progress-updates", until="0.7"), Flag("--progress", value=True, since="0.7")]

FORMAT = [Flag("--format", value=True)]
LISTING = FORMAT + [Flag("--quiet -q")]
ALL = [Flag("--all -a")]
