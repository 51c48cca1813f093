"""The `registry` group: it only remembers logins. There is no keychain."""

import os
import sys

from standin import printing
from standin.errors import Failure


def known(session):
    return session.state.read_json("registries.json", {})


def run_login(session, options):
    server = options.positionals[0]
    if options.password_stdin:
        if options.username is None:
            raise Failure("invalidArgument", "Must provide --username with --password-stdin")
        password = sys.stdin.read().strip()
    elif os.isatty(0):
        password = "asked"
    else:
        password = ""
    if not password:
        raise Failure("invalidArgument", "failed to read password")
    with session.state.lock():
        servers = known(session)
        servers[server] = options.username
        session.state.write_json("registries.json", servers)
    session.line("Login succeeded")


def run_logout(session, options):
    with session.state.lock():
        servers = known(session)
        if servers.pop(options.positionals[0], None) is None:
            raise Failure("notFound", "no credentials for " + options.positionals[0])
        session.state.write_json("registries.json", servers)


def run_list(session, options):
    servers = known(session)
    if options.quiet:
        for server in sorted(servers):
            session.line(server)
    elif options.format == "json":
        items = [{"hostname": server, "username": name} for server, name in sorted(servers.items())]
        session.line(printing.encode(session.version, items))
    else:
        session.out(printing.table([("HOSTNAME", "USERNAME")] + sorted((key, name or "") for key, name in servers.items())))
