//! The meaning of the client's error output. No other module reads that output.
//!
//! Up to 0.9 a message has the form `Error: notFound: "text"`, later `Error: text`, and codes appear only in causes.
//! moat decides by a list of the existing resources whether a resource is gone, because some messages about missing
//! resources do not say so.

use super::super::error::RuntimeError;

/// The command that starts the services.
const START_HINT: &str = "run 'container system start --enable-kernel-install' (the first start installs a kernel), then 'moat doctor'";

/// Turns the error output of a failed client into an error.
pub(super) fn classify(stderr: &str) -> RuntimeError {
    let text = message(stderr);
    let lower = stderr.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if says(&[
        "xpc connection error: connection invalid",
        "plugins are unavailable",
    ]) {
        return unreachable_services(&text);
    }
    if says(&["kernel not configured"]) {
        return RuntimeError::unreachable(
            format!("container has no kernel to run: {text}"),
            "install a kernel: container system kernel set --recommended",
        );
    }
    if says(&["rosetta translation"]) {
        return RuntimeError::unreachable(
            text,
            "run the build of moat for Apple silicon, in a terminal for Apple silicon",
        );
    }
    if says(TRANSIENT_MESSAGES) {
        return RuntimeError::Transient(text);
    }
    if says(IMAGE_MESSAGES) {
        return RuntimeError::ImageMissing(text, "container");
    }
    if says(NOT_FOUND_MESSAGES) || is_missing(&lower) {
        return RuntimeError::NotFound(text);
    }
    RuntimeError::Refused(text)
}

/// The error for services that do not run.
pub(super) fn unreachable_services(why: &str) -> RuntimeError {
    RuntimeError::unreachable(
        format!("the services of container are not running: {why}"),
        START_HINT,
    )
}

const TRANSIENT_MESSAGES: &[&str] = &[
    "xpc connection error",
    "xpc timeout",
    "pending operation",
    "referring containers",
    "ip allocator cannot be disabled",
    "delete failed for one or more networks",
    "is stopping and can not be deleted",
    "transport became inactive",
    "unavailable (14)",
    "stream unexpectedly closed",
    "timeout waiting for connection to builder",
];

/// Messages of a registry without the image, or of the image store.
const IMAGE_MESSAGES: &[&str] = &[
    "image not found",
    "notfound: \"images: ",
    "image with reference ",
    "failed to delete one or more images",
    "http request to ",
];

const NOT_FOUND_MESSAGES: &[&str] = &[
    "notfound: ",
    "container not found",
    "network not found",
    "no such container",
    "no network for id",
    "failed to delete one or more containers",
    "failed to delete one or more networks",
    "no runtime client exists",
    "no sandbox client exists",
];

/// `container X not found`, `network X not found`
fn is_missing(lower: &str) -> bool {
    let missing = |what: &str| {
        let mut parts = lower.split(what).skip(1);
        parts.any(|rest| rest.split_whitespace().skip(1).take(2).eq(["not", "found"]))
    };
    missing("container ") || missing("network ") || missing("with id ")
}

/// The message for a release without networks.
pub(super) const NO_SERVICES_MESSAGE: &str =
    "services need macOS 26 or newer on apple, because older releases have no networks";

/// Whether the release has no networks but its default, as before macOS 26.
pub(super) fn has_no_networks(problem: &RuntimeError) -> bool {
    let lower = problem.message().to_ascii_lowercase();
    lower.contains("plugin 'container-network' not found") || lower.contains("requires macos 26")
}

/// Whether the name is taken by an existing resource.
pub(super) fn is_taken(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("already exist")
}

/// Whether the builder must be started again.
pub(super) fn is_builders(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let own = &TRANSIENT_MESSAGES[TRANSIENT_MESSAGES.len() - 4..];
    own.iter().any(|part| lower.contains(part)) || lower.contains("xpc timeout")
}

/// Whether the client lost its connection to the services.
pub(super) fn is_interruption(text: &str) -> bool {
    contains(text, CONNECTION_MESSAGES)
}

fn contains(text: &str, sentences: &[&str]) -> bool {
    let lower = text.to_ascii_lowercase();
    sentences.iter().any(|sentence| lower.contains(sentence))
}

const CONNECTION_MESSAGES: &[&str] = &["xpc connection error", "xpc timeout"];

/// Messages of a client that starts a container and carries its output. Hardly any workload prints them.
const START_MESSAGES: &[&str] = &[
    "cancellationerror()",
    "failed to bootstrap container",
    "failed to run container",
    "failed to start container",
    "get failed: container ",
    "attach is currently unsupported on already running containers",
    "(errno: 48)",
    "while binding to host port",
    "mount source path '",
    "no network for id",
];

/// Whether a text is one of [`START_MESSAGES`].
pub(super) fn is_start_message(text: &str) -> bool {
    is_interruption(text) || contains(text, START_MESSAGES)
}

/// Messages of a client that runs a command in a container.
const EXEC_MESSAGES: &[&str] = &[
    "failed to create process in container",
    "failed to start process",
    "failed to exec process",
    "no runtime client exists",
    "no sandbox client exists",
];

/// Whether a text is one of [`EXEC_MESSAGES`]. A command may print nearly the same text.
pub(super) fn is_exec_message(text: &str, handle: &str) -> bool {
    is_interruption(text)
        || contains(text, EXEC_MESSAGES)
        || text.contains(&format!("container {handle} "))
        || text.contains(&format!("container with ID {handle} "))
}

/// Returns a shell's exit code for a command that is missing or not executable, if the client's message says so.
pub(super) fn refusal(text: &str) -> Option<u8> {
    let lower = text.to_ascii_lowercase();
    let cannot = lower.contains("failed to find target executable");
    match lower.contains("permission denied") {
        true => cannot.then_some(126),
        false => cannot.then_some(127),
    }
}

/// Returns the same exit code, if the message of the shell in the container says so.
pub(super) fn refusal_of_shell(code: u8, text: &str) -> Option<u8> {
    (code == 127 && text.contains("not found")).then_some(127)
}

/// Whether a line is the client's advice to the user, and not its error.
pub(super) fn is_advice(line: &str) -> bool {
    [
        "Ensure container system service",
        "Usage: ",
        "See 'container",
        "Help: ",
    ]
    .iter()
    .any(|words| line.starts_with(words))
}

/// Returns the client's message without its prefix, its log lines and its advice.
pub(super) fn message(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !is_advice(line))
        .collect();
    // The error comes after the log lines.
    let from = lines.iter().rposition(|line| line.starts_with("Error: "));
    let text = lines[from.unwrap_or(0)..].join("; ");
    match text.strip_prefix("Error: ").unwrap_or(&text) {
        "" => "container failed without a message".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of these releases, from their sources.
    const MESSAGES: &[(&str, &str)] = &[
        // 1.2.2
        (
            "Error: internalError: \"failed to list containers\" (cause: \"interrupted: \"XPC connection error: Connection invalid\"\")\nEnsure container system service has been started with `container system start`.",
            "unreachable",
        ),
        (
            "Error: interrupted: \"XPC connection error: Connection invalid\"",
            "unreachable",
        ),
        (
            "Error: Plugins are unavailable. Start the container system services and retry:\n    container system start",
            "unreachable",
        ),
        (
            "Error: interrupted: \"XPC connection error: Connection interrupted\"",
            "transient",
        ),
        (
            "Error: XPC timeout for request to com.apple.container.apiserver/containerCreate",
            "transient",
        ),
        ("Error: container not found: a, b", "not-found"),
        ("Error: get failed: container X not found", "not-found"),
        (
            "Error: internalError: \"failed to stop container\" (cause: \"notFound: \"container with ID X not found\"\")",
            "not-found",
        ),
        (
            "Error: failed to kill container (cause: \"no runtime client exists: container is stopped\")",
            "not-found",
        ),
        (
            "Error: container X is stopping and can not be deleted",
            "transient",
        ),
        ("Error: container already exists: X", "refused"),
        (
            "Error: minimum memory amount allowed is 200 MiB (got 1 bytes)",
            "refused",
        ),
        ("Error: path '/nowhere' does not exist", "refused"),
        ("Error: image not found: x", "image"),
        (
            "Error: HTTP request to https://registry-1.docker.io/v2/x failed with response: 404 Not Found. Reason: x",
            "image",
        ),
        ("Error: network not found: x", "not-found"),
        ("Error: network X not found", "not-found"),
        ("Error: no network for id X", "not-found"),
        ("Error: network X has a pending operation", "transient"),
        (
            "failed to delete network: [\"error\": invalidState: \"cannot delete subnet X with referring containers: a, b\", \"id\": X]\nError: delete failed for one or more networks: [\"X\"]",
            "transient",
        ),
        ("Error: cannot delete a builtin network: default", "refused"),
        ("Error: Plugin 'container-network' not found.", "refused"),
        (
            "Error: default kernel not configured for architecture arm64, please use the `container system kernel set` command to configure it",
            "unreachable",
        ),
        (
            "Error: `container` is currently running under Rosetta Translation",
            "unreachable",
        ),
        (
            "Error: unavailable (14): Transport became inactive",
            "transient",
        ),
        (
            "Error: Unknown option '--x'\nUsage: container create …\n  See 'container create --help' for more information.",
            "refused",
        ),
        ("", "refused"),
        // 0.10: none of these messages says that a resource is missing.
        (
            "Error: failed to delete one or more containers: [\"X\"]",
            "not-found",
        ),
        (
            "Error: failed to delete one or more networks: [\"x\"]",
            "not-found",
        ),
        ("Error: image with reference x", "image"),
        (
            "Error: InspectError(succeeded: [], failed: [(\"x\", notFound: \"Image not found\")])",
            "image",
        ),
        (
            "Error: cannot delete subnet X because the IP allocator cannot be disabled with active containers",
            "transient",
        ),
        // 0.9
        (
            "Error: notFound: \"get failed: container X not found\"",
            "not-found",
        ),
        ("Error: notFound: \"images: x\"", "image"),
        (
            "Error: interrupted: \"internalError: \"failed to list containers\" (cause: \"interrupted: \"XPC connection error: Connection invalid\"\")\nEnsure container system service has been started with `container system start`.\"",
            "unreachable",
        ),
    ];

    #[test]
    fn messages_are_told_apart() {
        for (stderr, expected) in MESSAGES {
            let kind = match classify(stderr) {
                RuntimeError::NotFound(_) => "not-found",
                RuntimeError::ImageMissing(..) => "image",
                RuntimeError::Unreachable(..) => "unreachable",
                RuntimeError::Transient(_) => "transient",
                RuntimeError::Refused(_) => "refused",
            };
            assert_eq!(kind, *expected, "{stderr}");
        }
    }

    #[test]
    fn the_message_is_the_clients_own() {
        let stderr = "2026-01-15T19:30:03 error: x\nError: Unknown option '--x'\nUsage: container x\n  See 'container x --help' for more information.";
        assert_eq!(message(stderr), "Unknown option '--x'");
        assert_eq!(message(""), "container failed without a message");
    }

    #[test]
    fn what_cannot_be_run_has_a_shells_code() {
        let text =
            "Error: failed to start container (cause: \"failed to find target executable nosuch\")";
        assert_eq!(refusal(text), Some(127));
        assert_eq!(refusal("Error: something else"), None);
    }
}
