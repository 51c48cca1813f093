"""Runs one call, from its arguments to its exit code."""

import os
import sys

from standin import errors, tables
from standin.engine import Engine, EngineError
from standin.errors import Failure, Plain, Several, Usage
from standin.journal import Call
from standin.options import parse
from standin.session import Session
from standin.settings import Settings
from standin.state import State

USAGE = "USAGE: container [--debug] <subcommand>\n"


def main(argv):
    settings = Settings(os.environ)
    os.makedirs(settings.dir, mode=0o700, exist_ok=True)
    state = State(settings)
    session = Session(settings, state, Engine(settings), argv)
    if argv[:1] == ["__fake"]:
        from standin import fake

        end(session, guarded(session, lambda: fake.run(session, argv[1:])))
    session.call = Call(state, argv)
    session.finish = lambda rc: end(session, rc)
    end(session, guarded(session, lambda: dispatch(session, argv)))


def end(session, rc):
    """Ends the process at once, although a thread may still be reading the input."""
    rc = 0 if rc is None else rc
    try:
        session.flush()
    except OSError:
        rc = rc or 1
    if session.call is not None:
        session.call.end(rc)
    os._exit(rc)


def guarded(session, act):
    """Returns the exit code of `act`, and prints an error as the chosen release does."""
    try:
        return act()
    except Usage as error:
        command = session.command
        name = "container " + (command.words if command else session.words[0])
        usage = command.usage() if command else name + " <subcommand>"
        sys.stderr.write("Error: %s\nUsage: %s\n  See '%s --help' for more information.\n" % (error.message, usage, name))
        return 64
    except Plain as error:
        sys.stderr.write("Error: %s\n" % error.text)
        return error.rc
    except Failure as error:
        sys.stderr.write("Error: %s\n" % error.text(session.version))
        return 1
    except Several as error:
        sys.stderr.write("Error: %s\n" % "\n".join(error.lines))
        return 1
    except EngineError as error:
        # Not a message of Apple's: a caller that sees it has reached something that the stand-in does not support.
        sys.stderr.write('Error: internalError: "docker: %s"\n' % error.message)
        return 1


def system_gone(session):
    return session.state.system() not in ("running", "nokernel")


def dispatch(session, argv):
    words = tables.canonical(argv[1:] if argv[:1] == ["--debug"] else argv, session.version)
    session.words = words
    found = tables.find(words, session.version, session.settings.macos)
    if found is not None:
        session.command = found[0]
    rule = chosen_fault(session, words)
    if rule is None:
        return carry_out(session, words, found)
    from standin import faults

    session.call.fault = rule["do"]
    return faults.apply(session, rule, words, lambda: carry_out(session, words, found))


def chosen_fault(session, words):
    """Loads the code of faults only if there are rules, because most calls have none."""
    if not any(os.path.exists(path) for path in session.settings.faults):
        return None
    from standin import faults

    return faults.choose(session, words)


def carry_out(session, words, found):
    version = session.version
    if words[:1] == ["--version"]:
        from standin.system import banner

        session.line(banner(version))
        return 0
    if words[:1] in (["--help"], ["-h"]) or (words[:1] == ["help"] and version.since("0.12")):
        session.out(USAGE)
        return 0
    if found is None:
        return no_such_command(session, words)
    command, rest = found
    options = parse(command, rest, version)
    if options.help:
        session.out("USAGE: %s\n" % command.usage())
        return 0
    gate(session, command)
    module, _, function = command.run.partition(".")
    return getattr(loaded("standin." + module), function)(session, options)


def loaded(name):
    __import__(name)
    return sys.modules[name]


def no_such_command(session, words):
    group = tables.in_group(words, session.version, session.settings.macos)
    if group and len(words) > 1:
        raise Usage("Unexpected argument '%s'" % words[1])
    if group:
        session.out("USAGE: container %s <subcommand>\n\nSUBCOMMANDS:\n  %s\n" % (words[0], "\n  ".join(group)))
        return 0
    if system_gone(session):
        raise Plain(
            "Plugins are unavailable. Start the container system services and retry:\n\n    container system start", 64)
    if not words:
        session.out(USAGE)
        return 0
    raise Plain(
        "Plugin 'container-%s' not found.\n\n"
        "- If this is a plugin, check that it is installed.\n- See 'container --help' for the commands." % words[0], 64)


def gate(session, command):
    """Returns whether the daemon is available for this command."""
    if command.words in tables.UNGATED:
        return
    if system_gone(session):
        raise errors.unreachable(session.version, command.doing, pings=command.pings)
    if session.state.system() == "nokernel" and command.words in tables.NEEDS_KERNEL:
        raise errors.no_kernel()
