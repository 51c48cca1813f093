"""Parses arguments as swift-argument-parser does, from a table of flags for each command."""

from standin.errors import Usage


class Flag:
    """A flag. `names` as a user types them, the long one first. `many`: can be repeated, and gives a list."""

    def __init__(self, names, value=False, many=False, since="0", until=None):
        self.names = names.split()
        self.key = self.names[0].lstrip("-").replace("-", "_")
        self.value = value
        self.many = many
        self.since = since
        self.until = until

    def exists(self, version):
        gone = self.until is not None and version.since(self.until)
        return version.since(self.since) and not gone

    def placeholder(self):
        return "'%s <%s>'" % (self.names[0], self.names[0].lstrip("-"))


class Command:
    """A command. `words`: its name. `positionals`: their names, with `...` after one that repeats, and `[]` around an
    optional one. `verbatim`: after this many positionals, all arguments are passed on unchanged."""

    def __init__(self, words, positionals, flags, run, verbatim=None, since="0", pings=False, doing=None):
        self.words = words
        self.positionals = positionals.split()
        self.flags = flags
        self.run = run
        self.verbatim = verbatim
        self.since = since
        self.pings = pings
        self.doing = doing or " ".join(words.split()[::-1])

    def usage(self):
        shown = ["container", self.words, "[<options>]"]
        for name in self.positionals:
            shown.append("<%s>" % name if name[0] != "[" else "[<%s>]" % name.strip("[]"))
        return " ".join(shown)


class Arguments:
    """The parsed arguments: an attribute for each flag, and `positionals`."""

    def __init__(self, flags):
        self.help = False
        self.positionals = []
        for flag in flags:
            setattr(self, flag.key, [] if flag.many else (None if flag.value else False))


DEBUG = Flag("--debug")
HELP = Flag("--help -h")


def parse(command, words, version):
    flags = [flag for flag in command.flags + [DEBUG, HELP] if flag.exists(version)]
    by_name = {name: flag for flag in flags for name in flag.names}
    # Flags that this release lacks have an attribute, too, so that commands need not check for them.
    found = Arguments(command.flags + [DEBUG, HELP])
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if command.verbatim is not None and len(found.positionals) == command.verbatim:
            found.positionals += [word] + rest
            break
        if word == "--":
            found.positionals += rest
            break
        if word.startswith("--"):
            take_long(found, by_name, word, rest)
        elif word.startswith("-") and word != "-":
            take_short(found, by_name, word, rest)
        else:
            found.positionals.append(word)
    if not found.help:
        check_positionals(command, found.positionals)
    return found


def take_long(found, by_name, word, rest):
    name, equals, value = word.partition("=")
    flag = by_name.get(name)
    if flag is None:
        raise Usage("Unknown option '%s'" % name)
    if flag.value:
        store(found, flag, value if equals else next_value(flag, rest))
    elif equals:
        raise Usage("The option '%s' does not take any value, but '%s' was specified." % (name, value))
    else:
        store(found, flag, True)


def take_short(found, by_name, word, rest):
    """Parses `-x`, `-x value`, `-xvalue`, and several flags in one word."""
    at = 1
    while at < len(word):
        name = "-" + word[at]
        flag = by_name.get(name)
        if flag is None:
            raise Usage("Unknown option '%s'" % name)
        at += 1
        if not flag.value:
            store(found, flag, True)
            continue
        attached = word[at:]
        store(found, flag, attached.removeprefix("=") if attached else next_value(flag, rest))
        return


def next_value(flag, rest):
    if not rest or (rest[0].startswith("-") and len(rest[0]) > 1 and not rest[0][1:2].isdigit()):
        raise Usage("Missing value for %s" % flag.placeholder())
    return rest.pop(0)


def store(found, flag, value):
    if flag.many:
        getattr(found, flag.key).append(value)
    else:
        setattr(found, flag.key, value)


def check_positionals(command, given):
    needed = [name for name in command.positionals if name[0] != "["]
    for at, name in enumerate(needed):
        if at >= len(given):
            raise Usage("Missing expected argument '<%s>'" % name)
    endless = any(name.rstrip("]").endswith("...") for name in command.positionals)
    if not endless and len(given) > len(command.positionals):
        raise Usage("Unexpected argument '%s'" % given[len(command.positionals)])
