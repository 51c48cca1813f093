//! The arguments of `docker create`. Pure.

use super::super::problem::{Problem, Result};
use super::super::{ContainerSpec, HOME, WORKSPACE};
use super::fill;
use crate::store::WorkspaceMode;

pub(super) const HOME_LABEL: &str = "moat.home";

/// What package managers need; everything else is dropped.
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

/// Describes the container to `docker create`.
pub(super) fn request(spec: &ContainerSpec) -> Result<Request> {
    let mut args: Vec<String> = [
        "create",
        "--name",
        &spec.handle,
        "--pull",
        "never",
        "--init",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["--label", &format!("{HOME_LABEL}={}", spec.home_label)]);
    add(&["--label", &format!("moat.run={}", spec.run_label)]);
    add(&["--label", "moat.role=main"]);
    // The engine's log serves adoption alone, which needs it exact (`json-file` replaces what is
    // not UTF-8) and whole (`local` rotates, and knows no "never"). It goes with the container.
    add(&["--log-driver", "local", "--log-opt", "max-size=1000t"]);
    add(&["--cap-drop", "ALL"]);
    for capability in CAPABILITIES {
        add(&["--cap-add", capability]);
    }
    let pids = spec
        .pids
        .map_or_else(|| PIDS.to_owned(), |pids| pids.to_string());
    add(&["--security-opt", "no-new-privileges", "--pids-limit", &pids]);
    add(&["--workdir", WORKSPACE]);
    for mount in storage(spec) {
        add(&["--mount", &mount]);
    }
    // Where the workspace is a copy, what is hidden was not copied.
    if spec.workspace_mode == WorkspaceMode::Bind {
        for path in &spec.covered {
            add(&["--tmpfs", &format!("{path}:ro")]);
        }
    }
    let owner = format!("uid={},gid={}", spec.user.uid, spec.user.gid);
    for path in &spec.scratch {
        add(&["--tmpfs", &format!("{path}:{owner},mode=0755,exec")]);
    }
    add(&["--user", &format!("{}:{}", spec.user.uid, spec.user.gid)]);
    if spec.user.uid != 0 && !spec.has_home {
        // An unknown user's home is `/`, which it may not write to.
        add(&["--tmpfs", &format!("{HOME}:{owner},mode=0700,exec")]);
        if !spec.env.iter().any(|(name, _)| name == "HOME") {
            add(&["--env", &format!("HOME={HOME}")]);
        }
    }
    if let Some(bytes) = spec.memory_bytes {
        // The same limit with swap: else the kernel swaps as much again.
        add(&[
            "--memory",
            &bytes.to_string(),
            "--memory-swap",
            &bytes.to_string(),
        ]);
    }
    if let Some(cpus) = spec.cpus {
        add(&["--cpus", &cpus.to_string()]);
    }
    settings(spec, &mut add);
    if spec.stdin {
        add(&["--interactive"]);
    }
    let (environment, input) = values(spec, &mut add)?;
    let image = spec.image.as_deref().unwrap_or_default();
    match &spec.pre_run {
        None => add(&["--", image]),
        // The script comes first, so the image's own entry point cannot.
        Some(script) => add(&[
            "--entrypoint",
            "/bin/sh",
            "--",
            image,
            "-c",
            fill::PRE_RUN,
            "moat",
            script,
        ]),
    }
    args.extend(spec.command.iter().cloned());
    Ok(Request {
        args,
        environment,
        input,
    })
}

/// What is mounted: the workspace, directories of the host, volumes.
fn storage(spec: &ContainerSpec) -> Vec<String> {
    let mut mounts = vec![match spec.workspace_mode {
        WorkspaceMode::Bind => bind(&spec.workspace.to_string_lossy(), WORKSPACE, false),
        // Without a name: it goes with the container.
        WorkspaceMode::Volume => format!("type=volume,target={WORKSPACE}"),
    }];
    for mount in &spec.mounts {
        let source = mount.source.to_string_lossy();
        mounts.push(bind(&source, &mount.target, mount.readonly));
    }
    for volume in &spec.volumes {
        mounts.push(mount(
            "volume",
            &volume.handle,
            &volume.target,
            volume.readonly,
        ));
    }
    mounts
}

fn settings(spec: &ContainerSpec, add: &mut impl FnMut(&[&str])) {
    for port in &spec.ports {
        // Never on another address: who is allowed in is for a person to decide.
        let host = port.host.map_or_else(String::new, |host| host.to_string());
        add(&["--publish", &format!("127.0.0.1:{host}:{}", port.container)]);
    }
    for server in &spec.dns {
        add(&["--dns", &server.to_string()]);
    }
    for limit in &spec.ulimits {
        let number = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let (soft, hard) = (number(limit.soft), number(limit.hard));
        add(&["--ulimit", &format!("{}={soft}:{hard}", limit.name)]);
    }
}

/// Values for the client's environment, and for its input.
type Values = (Vec<(String, String)>, Vec<u8>);

/// Hands over the values: `--env NAME` takes them from the client's environment. Names that the
/// client itself obeys go through its input instead.
fn values(spec: &ContainerSpec, add: &mut impl FnMut(&[&str])) -> Result<Values> {
    let (mut environment, mut input) = (Vec::new(), Vec::new());
    for (name, value) in &spec.env {
        if !obeyed_by_client(name) {
            add(&["--env", name]);
            environment.push((name.clone(), value.clone()));
        } else if value.contains('\n') {
            let message = format!("the value of {name} may not contain a newline on docker");
            return Err(Problem::Refused(message));
        } else {
            input.extend_from_slice(format!("{name}={value}\n").as_bytes());
        }
    }
    if !input.is_empty() {
        add(&["--env-file", "/dev/stdin"]);
    }
    Ok((environment, input))
}

fn obeyed_by_client(name: &str) -> bool {
    let prefixes = ["DOCKER_", "BUILDKIT_", "LD_", "GO", "SSL_", "XDG_", "OTEL_"];
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    matches!(name, "HOME" | "PATH" | "TMPDIR" | "LANG" | "NO_COLOR")
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
        || proxies.contains(&name.to_ascii_lowercase().as_str())
}

fn bind(source: &str, target: &str, readonly: bool) -> String {
    mount("bind", source, target, readonly)
}

/// One `--mount`.
fn mount(kind: &str, source: &str, target: &str, readonly: bool) -> String {
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

#[cfg(test)]
mod tests {
    use super::super::super::User;
    use super::*;
    use crate::store::Mount;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            handle: "run_0123456789ab".into(),
            home_label: "h".into(),
            run_label: "run_0123456789ab".into(),
            image: Some("img:1".into()),
            rootfs: None,
            workspace: "/w".into(),
            workspace_mode: WorkspaceMode::Bind,
            pre_run: None,
            volumes: Vec::new(),
            scratch: Vec::new(),
            has_home: false,
            ports: Vec::new(),
            pids: None,
            dns: Vec::new(),
            ulimits: Vec::new(),
            command: vec!["sh".into(), "-c".into(), "--rm".into()],
            env: vec![
                ("TOKEN".into(), "s3cret\nx".into()),
                ("PATH".into(), "/p".into()),
            ],
            mounts: vec![Mount {
                source: "/a,b".into(),
                target: "/t".into(),
                readonly: true,
            }],
            covered: Vec::new(),
            user: User {
                uid: 1000,
                gid: 1001,
            },
            memory_bytes: Some(1 << 26),
            cpus: Some(1.5),
            stdin: true,
        }
    }

    #[test]
    fn no_value_is_an_argument() {
        let request = request(&spec()).unwrap();
        let line = request.args.join(" ");
        assert!(!line.contains("s3cret") && !line.contains("/p "), "{line}");
        assert_eq!(request.environment, [("TOKEN".into(), "s3cret\nx".into())]);
        assert_eq!(request.input, b"PATH=/p\n");
    }

    #[test]
    fn the_container_is_hardened_and_owned() {
        let line = request(&spec()).unwrap().args.join(" ");
        for part in [
            "--cap-drop ALL",
            "--security-opt no-new-privileges",
            "--pids-limit 4096",
            "--user 1000:1001",
            "--env HOME=/home/moat",
            "--memory 67108864 --memory-swap 67108864",
            "--cpus 1.5",
            "--mount type=bind,source=/w,target=/workspace",
            "--mount type=bind,\"source=/a,b\",target=/t,readonly",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(line.ends_with("-- img:1 sh -c --rm"), "{line}");
        assert!(!line.contains("--network"), "{line}");
    }

    #[test]
    fn what_the_client_obeys_may_not_span_lines() {
        let mut spec = spec();
        spec.env = vec![("HTTP_PROXY".into(), "a\nb".into())];
        assert!(request(&spec).is_err());
    }
}
