//! What the arguments of every `docker create` have in common. Pure.

use super::super::problem::{Problem, Result};

pub(super) const HOME_LABEL: &str = "moat.home";

/// What package managers need, and servers that begin as root to become somebody else; everything else
/// is dropped.
const CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
];

/// Enough for builds and test suites, too few for a fork bomb to take the host along.
const PIDS: &str = "4096";

/// How to call the client: values travel in its environment or its input, never in its arguments.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) args: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) input: Vec<u8>,
}

/// Whose a container is.
pub(super) struct Identity<'a> {
    pub(super) handle: &'a str,
    pub(super) home: &'a str,
    pub(super) run: &'a str,
    pub(super) role: &'a str,
}

impl Request {
    /// A container of somebody's, hardened.
    pub(super) fn create(identity: &Identity<'_>, pids: Option<u32>) -> Request {
        let mut request = Request {
            args: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
        };
        request.add(&["create", "--name", identity.handle]);
        request.add(&["--pull", "never", "--init"]);
        request.label(HOME_LABEL, identity.home);
        request.label("moat.run", identity.run);
        request.label("moat.role", identity.role);
        // The engine's log serves adoption alone, which needs it exact (`json-file` replaces what is
        // not UTF-8) and whole (`local` rotates, and knows no "never"). It goes with the container.
        request.add(&["--log-driver", "local", "--log-opt", "max-size=1000t"]);
        request.add(&["--cap-drop", "ALL"]);
        for capability in CAPABILITIES {
            request.add(&["--cap-add", capability]);
        }
        let pids = pids.map_or_else(|| PIDS.to_owned(), |pids| pids.to_string());
        request.add(&["--security-opt", "no-new-privileges"]);
        request.add(&["--pids-limit", &pids]);
        request
    }

    pub(super) fn add(&mut self, words: &[&str]) {
        self.args
            .extend(words.iter().map(|word| (*word).to_owned()));
    }

    pub(super) fn label(&mut self, name: &str, value: &str) {
        self.add(&["--label", &format!("{name}={value}")]);
    }

    pub(super) fn limits(&mut self, memory_bytes: Option<u64>, cpus: Option<f64>) {
        if let Some(bytes) = memory_bytes {
            let bytes = bytes.to_string();
            // The same limit with swap: else the kernel swaps as much again.
            self.add(&["--memory", &bytes, "--memory-swap", &bytes]);
        }
        if let Some(cpus) = cpus {
            self.add(&["--cpus", &cpus.to_string()]);
        }
    }

    /// Hands over the values: `--env NAME` takes them from the client's environment. Names that the
    /// client itself obeys go through its input instead.
    pub(super) fn values(&mut self, env: &[(String, String)]) -> Result<()> {
        for (name, value) in env {
            if !obeyed_by_client(name) {
                self.add(&["--env", name]);
                self.environment.push((name.clone(), value.clone()));
            } else if value.contains('\n') {
                return Err(Problem::Refused(format!(
                    "the value of {name} may not contain a newline on docker, whose client itself obeys \
                     {name}: use another name, or a file (mounts in moat.yaml, -m)"
                )));
            } else {
                let line = format!("{name}={value}\n");
                self.input.extend_from_slice(line.as_bytes());
            }
        }
        if !self.input.is_empty() {
            self.add(&["--env-file", "/dev/stdin"]);
        }
        Ok(())
    }
}

/// Whether a variable means something to the client itself.
pub(super) fn obeyed_by_client(name: &str) -> bool {
    let prefixes = ["DOCKER_", "BUILDKIT_", "LD_", "SSL_", "XDG_", "OTEL_"];
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    // Those of the language that it is written in: GOOGLE_CREDENTIALS is not among them.
    let runtime = [
        "GOCOVERDIR",
        "GODEBUG",
        "GOGC",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "GOTRACEBACK",
    ];
    matches!(name, "HOME" | "PATH" | "TMPDIR" | "LANG" | "NO_COLOR")
        || runtime.contains(&name)
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
        || proxies.contains(&name.to_ascii_lowercase().as_str())
}

/// One `--mount`.
pub(super) fn mount(kind: &str, source: &str, target: &str, readonly: bool) -> String {
    let (source, target) = (field("source", source), field("target", target));
    let mode = if readonly { ",readonly" } else { "" };
    format!("type={kind},{source},{target}{mode}")
}

/// A field of a line of CSV: a comma or a quote in a path needs quoting.
fn field(key: &str, value: &str) -> String {
    let field = format!("{key}={value}");
    match field.contains([',', '"', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    }
}
