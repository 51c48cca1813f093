//! Classifies the client's error output. Only this module reads it.

use std::io;

use super::super::error::RuntimeError;
use super::dialect::Dialect;
use super::podman_requirements;

impl Dialect {
    pub(super) fn classify(self, stderr: &str) -> RuntimeError {
        classify(self, stderr)
    }

    /// The error of a client that could not run or did not answer in time.
    pub(super) fn failed(self, error: &io::Error) -> RuntimeError {
        let program = self.program();
        match error.kind() {
            io::ErrorKind::NotFound => RuntimeError::unreachable(
                format!("{program} is not installed: there is no '{program}' on PATH"),
                "install it, or choose another runtime: --runtime bwrap",
            ),
            io::ErrorKind::TimedOut => {
                RuntimeError::Transient(format!("{program} did not answer in time"))
            }
            _ => RuntimeError::unreachable(
                format!(
                    "cannot run {program}: {}",
                    crate::error::os_error_text(error)
                ),
                format!("check the '{program}' on your PATH"),
            ),
        }
    }
}

/// Turns the stderr of a failed client into an error.
fn classify(dialect: Dialect, stderr: &str) -> RuntimeError {
    let text = message(stderr);
    let lower = stderr.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if dialect == Dialect::Podman {
        return classify_podman(text, &says);
    }
    if says(&[
        "permission denied while trying to connect",
        "dial unix",
        "connect: permission denied",
    ]) && says(&["permission denied"])
    {
        return RuntimeError::unreachable(
            format!("docker's socket cannot be used: {text}"),
            "add yourself to the group 'docker', set DOCKER_HOST, or use --runtime bwrap",
        );
    }
    if says(&["unable to resolve docker endpoint"]) {
        return RuntimeError::unreachable(
            format!("docker's context cannot be used: {text}"),
            "see: docker context ls; or set DOCKER_CONTEXT to another one",
        );
    }
    // The engine answered by itself, for example about an unreachable registry.
    let answered = lower.contains("error response from daemon");
    // The connection broke; the engine may have received the request.
    if lower.contains("error during connect") && !says(&["dial ", "connection refused"]) {
        return RuntimeError::Transient(text);
    }
    if !answered && says(UNREACHABLE_MESSAGES) {
        return RuntimeError::unreachable(
            format!("docker's engine cannot be reached: {text}"),
            "start it (e.g. 'systemctl start docker'), set DOCKER_HOST, or use --runtime bwrap",
        );
    }
    if says(&["no such image", "unable to find image"]) {
        return RuntimeError::ImageMissing(text, "docker");
    }
    // About networks, the engine's wording differs from its client's.
    let no_network = text.starts_with("network ") && text.contains(" not found");
    if no_network || says(&["no such container", "no such object", "no such network"]) {
        return RuntimeError::NotFound(text);
    }
    if says(TRANSIENT_MESSAGES) {
        return RuntimeError::Transient(text);
    }
    RuntimeError::Refused(text)
}

/// podman has no daemon that could be down, unless CONTAINER_HOST names one.
fn classify_podman(text: String, says: &dyn Fn(&[&str]) -> bool) -> RuntimeError {
    if says(&["cannot connect to podman", "unable to connect to podman"]) {
        return RuntimeError::unreachable(
            format!("podman cannot be reached: {text}"),
            "start it ('podman machine start', or what CONTAINER_HOST names), or use --runtime bwrap",
        );
    }
    if says(&["is not a supported schema"]) {
        return RuntimeError::unreachable(
            format!("podman's address cannot be used: {text}"),
            "write CONTAINER_HOST as unix://PATH, ssh://HOST or tcp://HOST:PORT",
        );
    }
    if says(&["image not known", "did not resolve to an alias"]) {
        return RuntimeError::ImageMissing(text, "podman");
    }
    if says(&[
        "no such container",
        "no such object",
        "network not found",
        "no such volume",
    ]) || text.starts_with("container \"") && text.ends_with("does not exist")
    {
        return RuntimeError::NotFound(text);
    }
    if let Some(hint) = podman_requirements::hint(says) {
        return RuntimeError::unreachable(format!("podman does not work here: {text}"), hint);
    }
    if says(TRANSIENT_MESSAGES) || says(PODMAN_TRANSIENT_MESSAGES) {
        return RuntimeError::Transient(text);
    }
    RuntimeError::Refused(text)
}

/// Classifies a failed build by its last lines. The steps print similar lines about connections and retries; the
/// builder's own message comes last.
pub(super) fn build(dialect: Dialect, lines: &[String]) -> RuntimeError {
    let last = lines.last().map(String::as_str).unwrap_or_default();
    // A missing requirement of podman shows in the message of the program that it called.
    if dialect == Dialect::Podman
        && let lacks @ RuntimeError::Unreachable(..) = classify(dialect, &lines.join("\n"))
    {
        return lacks;
    }
    match classify(dialect, last) {
        problem @ (RuntimeError::Unreachable(..) | RuntimeError::Transient(_)) => problem,
        _ => RuntimeError::Refused(last.to_owned()),
    }
}

/// Whether another podman process removed an image that this one was about to read; a build reads all existing images
/// (github.com/containers/buildah, issue 5674; seen with 4.3.1).
pub(super) fn is_race(text: &str) -> bool {
    text.ends_with(IMAGE_RACE_MESSAGE)
}

const IMAGE_RACE_MESSAGE: &str = "layer not known";

const PODMAN_TRANSIENT_MESSAGES: &[&str] = &[
    IMAGE_RACE_MESSAGE,
    "network is being used",
    "database is locked",
    "timed out waiting for",
    "is being removed",
    "is in state stopping",
];

const UNREACHABLE_MESSAGES: &[&str] = &[
    "cannot connect to the docker daemon",
    "failed to connect to the docker api",
    "is the docker daemon running",
    "error during connect",
    "connection refused",
];

const TRANSIENT_MESSAGES: &[&str] = &[
    "already in progress",
    "has active endpoints",
    "unexpected eof",
    "connection reset",
    "context deadline exceeded",
    "i/o timeout",
    "resource temporarily unavailable",
    "toomanyrequests",
    "try again",
];

/// Whether a failed stop, kill or remove says that there is nothing to do.
pub(super) fn has_ended(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    [
        "is not running",
        "cannot kill container",
        "can only kill running",
        "can only stop created or running",
    ]
    .iter()
    .any(|words| lower.contains(words))
}

/// Whether podman refused to create a volume because it exists. docker accepts such a request.
pub(super) fn is_existing_volume(text: &str) -> bool {
    text.contains("volume already exists")
}

/// Whether there is no such volume.
pub(super) fn is_missing_volume(text: &str) -> bool {
    text.to_lowercase().contains("no such volume")
}

/// Whether a container was not on a network from which it should be disconnected.
pub(super) fn is_unconnected(text: &str) -> bool {
    text.contains("is not connected")
}

/// Whether podman did not stop a container because it is paused.
pub(super) fn is_paused(text: &str) -> bool {
    text.contains("running or paused")
}

/// The engine's own message, without the client's prefixes and its hint to read the help.
fn message(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("See '") && !line.starts_with("Run 'docker")
        })
        .collect();
    let text = lines.join("; ");
    let mut text = text.as_str();
    for prefix in [
        "docker: ",
        "Error response from daemon: ",
        "Error: ",
        "error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    match text.strip_suffix('.').unwrap_or(text) {
        "" => "the client failed without a message".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real messages, word for word, of Docker 20.10.24 and client 28.2.2.
    const MESSAGES: &[(&str, &str)] = &[
        ("Error: No such object: m3", "not-found"),
        ("Error: No such container: x", "not-found"),
        (
            "Error response from daemon: No such container: nosuch",
            "not-found",
        ),
        ("error: no such object: x", "not-found"),
        ("Error: No such network: x", "not-found"),
        (
            "Error response from daemon: network run_0123456789ab not found\nexit status 1",
            "not-found",
        ),
        (
            "Error response from daemon: No such image: nosuch:1",
            "image",
        ),
        ("Unable to find image 'nosuch:1' locally", "image"),
        (
            "Cannot connect to the Docker daemon at unix:///nope.sock. Is the docker daemon running?",
            "unreachable",
        ),
        (
            "error during connect: Get \"http://x/v1.41/info\": dial tcp: lookup x: no such host",
            "unreachable",
        ),
        ("error waiting for container: unexpected EOF", "transient"),
        (
            "error during connect: Post \"http://%2Fvar%2Frun%2Fdocker.sock/v1.41/containers/create?name=x\": EOF",
            "transient",
        ),
        (
            "Error response from daemon: Get \"http://localhost:5999/v2/\": dial tcp 127.0.0.1:5999: connect: connection refused",
            "refused",
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version\": dial unix /var/run/docker.sock: connect: permission denied",
            "unreachable",
        ),
        (
            "Error response from daemon: removal of container x is already in progress",
            "transient",
        ),
        (
            "Error response from daemon: Cannot mkdir: /etc/passwd is not a directory",
            "refused",
        ),
        (
            "Error response from daemon: Conflict. The container name \"/x\" is already in use by container \"1\". You have to remove (or rename) that container to be able to reuse that name.\nSee 'docker create --help'.",
            "refused",
        ),
        ("", "refused"),
    ];

    /// Real messages of podman 4.3.1, rootful and rootless.
    const PODMANS: &[(&str, &str)] = &[
        (
            "Error: no container with name or ID \"r1\" found: no such container",
            "not-found",
        ),
        (
            "error inspecting object: no such container nosuch\nError: inspecting object: no such container r1",
            "not-found",
        ),
        (
            "Error: inspecting object: no such object: \"r1\"",
            "not-found",
        ),
        ("Error: container \"xx\" does not exist", "not-found"),
        (
            "Error: unable to find network with name or ID xx: network not found",
            "not-found",
        ),
        (
            "Error: no volume with name \"xx\" found: no such volume",
            "not-found",
        ),
        ("Error: nosuch:1: image not known", "image"),
        (
            "Error: inspecting object: nosuch:1: image not known",
            "image",
        ),
        (
            "Error: short-name \"nosuch/x:1\" did not resolve to an alias and no unqualified-search registries are defined in \"/etc/containers/registries.conf\"",
            "image",
        ),
        (
            "Error: container-init binary not found on the host: stat /nonexist: no such file or directory",
            "unreachable",
        ),
        (
            "Error: /usr/bin/slirp4netns failed: \"open(\\\"/dev/net/tun\\\"): Permission denied\\nchild failed(1)\\n\"",
            "unreachable",
        ),
        (
            "Error: unable to start container 6616d5849f7c: runc: runc create failed: unable to start container process: error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation not permitted: OCI permission denied",
            "unreachable",
        ),
        (
            "Error: \"nn\" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used",
            "transient",
        ),
        (
            "Error: checking if cached image exists from a previous build: getting top layer info: layer not known",
            "transient",
        ),
        (
            "Error: volume v1 is being used by the following container(s): 1875e532d198: volume is being used",
            "refused",
        ),
        (
            "Error: creating container storage: the container name \"r1\" is already in use by 28e23865d300. You have to remove that container to be able to reuse that name: that name is already in use",
            "refused",
        ),
        (
            "Error: can only kill running containers. 28e23865d300 is in state exited: container state improper",
            "refused",
        ),
        (
            "Error: initializing source docker://127.0.0.1:1/x:1: pinging container registry 127.0.0.1:1: Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            "refused",
        ),
    ];

    #[test]
    fn real_messages_are_told_apart() {
        for (stderr, expected) in MESSAGES {
            let kind = kind(&classify(Dialect::Docker, stderr));
            assert_eq!(kind, *expected, "{stderr}");
        }
        for (stderr, expected) in PODMANS {
            let kind = kind(&classify(Dialect::Podman, stderr));
            assert_eq!(kind, *expected, "{stderr}");
        }
    }

    /// Last lines of failed builds, verbatim except for the hook's own, and their classification.
    const BUILDS: &[(Dialect, &[&str], &str)] = &[
        (
            Dialect::Docker,
            &[
                "curl: (7) Failed to connect to localhost port 1: Connection refused",
                "try again: unexpected EOF",
                "The command '/bin/sh -c sh -e /usr/local/share/moat/hooks/post_build.sh' returned a non-zero code: 7",
            ],
            "refused",
        ),
        (
            Dialect::Docker,
            &["Step 2/9 : ENTRYPOINT []", "unexpected EOF"],
            "transient",
        ),
        (
            Dialect::Podman,
            &[
                "try again: layer not known",
                "Error: building at STEP \"RUN sh -e /usr/local/share/moat/hooks/post_build.sh\": while running runtime: exit status 7",
            ],
            "refused",
        ),
        (
            Dialect::Podman,
            &[
                "STEP 6/8: ENTRYPOINT []",
                "Error: checking if cached image exists from a previous build: getting top layer info: layer not known",
            ],
            "transient",
        ),
        (
            Dialect::Podman,
            &[
                "error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation not permitted",
                "Error: building at STEP \"RUN true\": while running runtime: exit status 1",
            ],
            "unreachable",
        ),
    ];

    #[test]
    fn what_a_step_says_is_no_verdict_on_the_engine() {
        for (dialect, lines, expected) in BUILDS {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let problem = build(*dialect, &lines);
            assert_eq!(kind(&problem), *expected, "{lines:?}");
            let is_race = lines.last().unwrap().ends_with("layer not known");
            assert_eq!(is_race, super::is_race(problem.message()), "{lines:?}");
        }
    }

    fn kind(problem: &RuntimeError) -> &'static str {
        match problem {
            RuntimeError::NotFound(_) => "not-found",
            RuntimeError::ImageMissing(..) => "image",
            RuntimeError::Unreachable(..) => "unreachable",
            RuntimeError::Transient(_) => "transient",
            RuntimeError::Refused(_) => "refused",
        }
    }

    #[test]
    fn the_message_is_the_engines_own() {
        let conflict = MESSAGES.iter().find(|(text, _)| text.contains("Conflict"));
        let conflict = classify(Dialect::Docker, conflict.unwrap().0);
        assert!(
            conflict
                .message()
                .starts_with("Conflict. The container name")
        );
        assert!(!conflict.message().contains("See '"));
    }
}
