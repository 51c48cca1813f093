"""The image store: the docker images that this state directory knows.

`images.json` maps a reference, as Apple's store has it, to docker's name of the image. An image is known
from its first pull, build, tag or use. Pulled images are shared with other users of docker, so deleting one only
removes it from this list.
"""

import sys

from standin import printing
from standin.engine import EngineError, part
from standin.errors import Failure, Plain

INDEX = "application/vnd.oci.image.index.v1+json"
SHOWN = {"os": "linux", "architecture": "arm64", "variant": "v8"}


def tagged(reference):
    last = reference.rpartition("/")[2]
    return reference if ":" in last or "@" in last else reference + ":latest"


def has_domain(reference):
    first, slash, _ = reference.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def normal(reference):
    """Returns the reference with the default registry: `docker.io/library/x:latest` for `x`."""
    reference = tagged(reference)
    if has_domain(reference):
        return reference
    return "docker.io/" + (reference if "/" in reference else "library/" + reference)


def known(session):
    return session.state.read_json("images.json", {})


def remember(session, reference, docker_name):
    with session.state.lock():
        images = known(session)
        if images.get(reference) != docker_name:
            images[reference] = docker_name
            session.state.write_json("images.json", images)


def resolve(session, reference):
    """Returns (reference as stored, docker's name) of a known image, or None. A built image keeps its name as given."""
    images = known(session)
    for candidate in (tagged(reference), normal(reference)):
        if candidate in images:
            return candidate, images[candidate]
    return None


def docker_reference(session, reference):
    """Returns docker's reference for one that is not known yet."""
    if session.settings.image_map:
        with open(session.settings.image_map) as file:
            for line in file:
                words = line.split()
                if len(words) == 2 and normal(words[0]) == normal(reference):
                    return words[1]
    return tagged(reference)


def look(session, docker_name):
    return session.engine.find("/images/%s/json" % part(docker_name))


def find(session, reference):
    """Returns (reference as stored, docker's answer), or None."""
    found = resolve(session, reference)
    if found is None or session.tweaks.get("gone"):
        return None
    docker = look(session, found[1])
    return None if docker is None else (found[0], docker)


def pull(session, reference):
    """Adds an image to the known ones, if docker has it or can pull it."""
    docker_name = docker_reference(session, reference)
    docker = look(session, docker_name)
    if docker is None and not session.settings.offline:
        docker = pull_really(session, docker_name)
    if docker is None:
        raise not_pulled(reference)
    stored = normal(reference)
    remember(session, stored, docker_name)
    return stored, docker


def pull_really(session, docker_name):
    repository, _, tag = docker_name.rpartition(":")
    try:
        session.engine.raw("POST", "/images/create", {"fromImage": repository, "tag": tag})
    except EngineError:
        return None
    return look(session, docker_name)


def not_pulled(reference, answer="404 Not Found"):
    name, _, tag = normal(reference).rpartition(":")
    host, _, path = name.partition("/")
    host = "registry-1.docker.io" if host == "docker.io" else host
    return Failure(
        "internalError",
        "HTTP request to https://%s/v2/%s/manifests/%s failed with response: %s. Reason: manifest unknown"
        % (host, path, tag, answer),
    )


def find_or_pull(session, reference):
    return find(session, reference) or pull(session, reference)


def descriptor(docker):
    return {"mediaType": INDEX, "digest": docker["Id"], "size": 9218}


# --- commands


def run_pull(session, options):
    reference = options.positionals[0]
    session.progress("[1/2] Fetching image [0s]")
    pull(session, reference)



def run_inspect(session, options):
    found, missing = [], []
    for reference in options.positionals:
        image = find(session, reference)
        if image is None:
            missing.append(reference)
        else:
            found.append(shape(session.version, *image))
    if missing and session.version.since("1.0"):
        raise Failure("notFound", "image not found: " + ", ".join(missing))
    if missing:
        raise missing_before_1(session, [shape_name for shape_name in options.positionals if shape_name not in missing], missing)
    session.line(printing.encode(session.version, found, pretty=True))


def missing_before_1(session, succeeded, missing):
    if session.version.before("0.7"):
        return Failure("notFound", "Images: " + missing[0])
    if session.version.before("0.9"):
        return Failure("notFound", "images: " + missing[0])
    session.log("failed to inspect image", name='"%s"' % missing[0])
    names = ", ".join('"%s"' % name for name in succeeded)
    failed = ", ".join('("%s", notFound: "Image not found")' % name for name in missing)
    return Plain("InspectError(succeeded: [%s], failed: [%s])" % (names, failed))


def shape(version, reference, docker):
    config = docker["Config"] or {}
    inner = {key: config[key] for key in ("User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels") if config.get(key)}
    if config.get("StopSignal"):
        inner["StopSignal"] = config["StopSignal"]
    created = docker["Created"].partition(".")[0].rstrip("Z") + "Z"
    variant = {
        "platform": SHOWN,
        "size": docker["Size"],
        "config": {
            "architecture": "arm64",
            "os": "linux",
            "created": created,
            "config": inner,
            "rootfs": {"type": "layers", "diff_ids": docker["RootFS"].get("Layers") or []},
            "history": [],
        },
    }
    # Current builders add an attestation, which a caller must not take for the image.
    attestation = {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "size": 1042,
        "config": {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}},
    }
    if version.before("1.0"):
        return {"name": reference, "index": descriptor(docker), "variants": [attestation, variant]}
    for each in (variant, attestation):
        each["digest"] = docker["Id"]
    return {
        "id": docker["Id"].partition(":")[2],
        "configuration": {"name": reference, "descriptor": descriptor(docker), "creationDate": created},
        "variants": [attestation, variant],
    }


def run_list(session, options):
    found = []
    for reference in sorted(known(session)):
        image = find(session, reference)
        if image is not None:
            found.append(image)
    if options.quiet:
        for reference, _ in found:
            session.line(short(reference))
    elif options.format == "json":
        session.line(printing.encode(session.version, [list_shape(session.version, *image) for image in found]))
    else:
        rows = [("NAME", "TAG", "DIGEST")]
        for reference, docker in found:
            name, _, tag = short(reference).rpartition(":")
            rows.append((name, tag, docker["Id"].partition(":")[2][:24] + "..."))
        session.out(printing.table(rows))


def list_shape(version, reference, docker):
    if version.since("1.0"):
        return shape(version, reference, docker)
    element = {"reference": reference, "descriptor": descriptor(docker)}
    if version.since("0.9"):
        element["fullSize"] = "%.1f MB" % (docker["Size"] / 1e6)
    return element


def short(reference):
    return reference.removeprefix("docker.io/").removeprefix("library/")


def run_tag(session, options):
    source, target = options.positionals
    found = find(session, source)
    if found is None:
        raise Failure("notFound", "image with reference %s" % normal(source))
    target = tagged(target) if "/" in target else normal(target)
    docker_name = own_name(session, target)
    tag_in_docker(session, found[1]["Id"], docker_name)
    remember(session, target, docker_name)
    session.line(target)


def own_name(session, reference):
    """Returns docker's name of an image that is created here, so that other users' tags stay untouched."""
    repository, _, tag = tagged(reference).rpartition(":")
    clean = "".join(letter if letter.isalnum() or letter in "._-/" else "-" for letter in repository.lower())
    return "fapple-%s/%s:%s" % (session.state.ns, clean, tag)


def tag_in_docker(session, image, docker_name):
    repository, _, tag = docker_name.rpartition(":")
    session.engine.ask("POST", "/images/%s/tag" % part(image), {"repo": repository, "tag": tag})


def is_own(session, docker_name):
    return docker_name.startswith("fapple-%s/" % session.state.ns)


def run_delete(session, options):
    with session.state.lock():
        images = known(session)
        references = sorted(images) if options.all else options.positionals
        missing = []
        for reference in references:
            found = resolve(session, reference)
            if found is None:
                missing.append(reference)
                continue
            stored, docker_name = found
            del images[stored]
            session.state.write_json("images.json", images)
            if is_own(session, docker_name):
                untag(session, docker_name)
            session.line(short(stored))
    if missing and not options.force:
        names = ", ".join('"%s"' % name for name in missing)
        raise Failure("notFound", "failed to delete one or more images: [%s]" % names)


def untag(session, docker_name):
    """Removes the image from our list. An image that a container still uses stays in docker."""
    try:
        session.engine.raw("DELETE", "/images/%s" % part(docker_name), {"force": "1"})
    except EngineError as error:
        if error.status not in (404, 409):
            raise


def run_save(session, options):
    names = []
    for reference in options.positionals:
        found = resolve(session, reference)
        if found is None:
            raise Failure("notFound", "image with reference %s" % normal(reference))
        names.append(found[1])
    if options.output is None and session.version.before("0.7"):
        raise Failure("invalidArgument", "missing output path")
    code, _, _ = session.engine.command("save", *(["-o", options.output] if options.output else []), *names)
    return code


def run_load(session, options):
    import subprocess

    with open(options.input, "rb") if options.input else sys.stdin.buffer as file:
        code, out, _ = session.engine.command("load", stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if code != 0:
        raise Failure("invalidArgument", "failed to load image archive")
    for line in out.decode().splitlines():
        word, _, docker_name = line.partition(": ")
        if word == "Loaded image":
            reference = docker_name.removeprefix("fapple-%s/" % session.state.ns)
            stored = reference if reference != docker_name else normal(reference)
            remember(session, stored, docker_name)
            session.line(stored)


def run_push(session, options):
    if resolve(session, options.positionals[0]) is None:
        raise Failure("notFound", "image with reference %s" % normal(options.positionals[0]))
    raise not_pulled(options.positionals[0], "401 Unauthorized")


def run_prune(session, options):
    session.line("Reclaimed Zero KB in disk space")
