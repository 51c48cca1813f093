//! Recognizes the messages of docker's client in the streams that carry a container's output.

use super::super::attach::{ClientMessages, MessageSource};
use super::Dialect;

/// Prefixes of lines that the client may have written (client 28.2.2 and 20.10.24).
const CLIENT_LINE_PREFIXES: [&[u8]; 11] = [
    b"Error response from daemon: ",
    b"error waiting for container: ",
    b"Error: ",
    b"error during connect: ",
    b"unexpected EOF",
    b"Cannot connect to the Docker daemon",
    b"failed to connect to the docker API",
    b"permission denied while trying to connect",
    b"request returned ",
    b"Error grabbing logs: ",
    b"error from daemon in stream: ",
];

/// The messages of a client that carries the output of a container.
pub(super) struct DockerAttachMessages(pub(super) Dialect);

impl ClientMessages for DockerAttachMessages {
    fn may_be_client_line(&self, line: &[u8]) -> bool {
        CLIENT_LINE_PREFIXES
            .iter()
            .any(|words| line.starts_with(words))
            || is_log_line(line)
    }

    fn source_of(&self, _words: &[u8], code: u8) -> MessageSource {
        match code {
            1 | 125..=127 => MessageSource::EngineClient,
            _ => MessageSource::Workload,
        }
    }

    fn is_interruption(&self, words: &str) -> bool {
        self.0.classify(words).is_transient()
    }
}

/// The messages of a client that carries the output of another command.
pub(super) struct DockerExecMessages {
    pub(super) dialect: Dialect,
    /// Whether the engine responds and the container runs, and accepts commands.
    pub(super) is_container_running: Box<dyn Fn() -> bool + Send + Sync>,
}

impl ClientMessages for DockerExecMessages {
    fn may_be_client_line(&self, _line: &[u8]) -> bool {
        false
    }

    fn source_of(&self, _words: &[u8], code: u8) -> MessageSource {
        match (self.dialect, code) {
            // docker's client ends like this if the engine is down or the container does not run. If both are fine,
            // the command itself was an engine's client that printed the message.
            (Dialect::Docker, 1) if !(self.is_container_running)() => MessageSource::EngineClient,
            // podman's client never returns 1.
            (_, 125..=127 | 255) => MessageSource::EngineClient,
            _ => MessageSource::Workload,
        }
    }

    fn is_interruption(&self, words: &str) -> bool {
        self.dialect.classify(words).is_transient()
    }
}

/// The client's other format: `time="…" level=error msg="error waiting for container: …"`.
fn is_log_line(line: &[u8]) -> bool {
    let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
    line.starts_with(b"time=\"") && has(b" level=error msg=\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_words_are_told_apart() {
        for (line, is_own) in [
            ("Error: No such container: y\n", true),
            ("error waiting for container: unexpected EOF\n", true),
            (
                "time=\"2026-11-21T04:00:00Z\" level=error msg=\"error waiting for container: unexpected EOF\"\n",
                true,
            ),
            ("time=\"x\" level=info msg=\"fine\"\n", false),
            ("an Error: within\n", false),
        ] {
            assert_eq!(
                DockerAttachMessages(Dialect::Docker).may_be_client_line(line.as_bytes()),
                is_own,
                "{line}"
            );
        }
    }
}
