//! The arguments of `docker create` for a run's own container. Pure.

use super::super::client_call::RUN_LABEL;
use super::super::container_scripts::ShellEnvironment;
use super::super::error::Result;
use super::super::{ContainerSpec, WORKLOAD_HOME, WORKSPACE};
use super::Dialect;
use super::create_args::{ClientCall, ContainerLabels, is_selinux_enabled, mount};
use super::initial_files;
use crate::store::WorkspaceMode;

/// Builds the call of `docker create`.
pub(super) fn request(dialect: Dialect, spec: &ContainerSpec) -> Result<ClientCall> {
    let identity = ContainerLabels {
        handle: &spec.handle,
        home: &spec.home_label,
        owner: (RUN_LABEL, &spec.run_label),
        role: "main",
    };
    let mut request = ClientCall::create(dialect, &identity, spec.settings.limits.pids);
    if let Some(network) = &spec.network {
        request.add(&["--network", network]);
    }
    request.add(&["--workdir", spec.workdir()]);
    if let Some(bytes) = spec.settings.limits.shm_bytes {
        request.add(&["--shm-size", &bytes.to_string()]);
    }
    mounts(dialect, spec, &mut request);
    user(dialect, spec, &mut request);
    request.limits(spec.settings.limits.memory_bytes, spec.settings.limits.cpus);
    settings(dialect, spec, &mut request);
    if spec.settings.io.interactive {
        request.add(&["--interactive"]);
    }
    if spec.terminal.is_some() {
        // Interactive shells ignore SIGTERM. They obey the hangup of their terminal.
        request.add(&["--tty", "--stop-signal", "SIGHUP"]);
    }
    command(dialect, spec, &mut request)?;
    Ok(request)
}

/// Adds the mounts, and the directories in memory.
fn mounts(dialect: Dialect, spec: &ContainerSpec, request: &mut ClientCall) {
    for mount in storage(dialect, spec) {
        request.add(&["--mount", &mount]);
    }
    let has_directories =
        spec.settings.mounts.workspace_mode == WorkspaceMode::Bind || !spec.binds.is_empty();
    request.host_directories(has_directories, is_selinux_enabled());
    for path in spec.hidden_paths() {
        request.add(&[
            "--tmpfs",
            &format!("{path}:ro{}", dialect.tmpfs_no_copy_option()),
        ]);
    }
    let owner = dialect.tmpfs_owner_option(spec.user());
    for path in &spec.settings.mounts.tmpfs {
        request.add(&["--tmpfs", &format!("{path}:{owner},mode=0755,exec")]);
    }
}

/// Adds the workload's user and a home directory for the user.
fn user(dialect: Dialect, spec: &ContainerSpec, request: &mut ClientCall) {
    if dialect.is_rootless() {
        // Otherwise the current user would be root inside, and the workspace's owner nobody.
        request.add(&["--userns", "keep-id"]);
    }
    request.add(&[
        "--user",
        &format!("{}:{}", spec.user().uid, spec.user().gid),
    ]);
    if spec.user().uid != 0 && !spec.has_home {
        // An unknown user's home is `/`, which the user cannot write.
        if initial_files::home_in_memory(spec) {
            let owner = dialect.tmpfs_owner_option(spec.user());
            request.add(&[
                "--tmpfs",
                &format!("{WORKLOAD_HOME}:{owner},mode=0700,exec"),
            ]);
        }
        if !spec.env.iter().any(|(name, _)| name == "HOME") {
            request.add(&["--env", &format!("HOME={WORKLOAD_HOME}")]);
        }
    }
}

/// Adds the values of variables, the image and the command.
fn command(dialect: Dialect, spec: &ContainerSpec, request: &mut ClientCall) -> Result<()> {
    let image = spec.settings.image.name.as_deref().unwrap_or_default();
    match &spec.pre_run {
        None => {
            request.values(dialect, &spec.env)?;
            request.add(&["--", image]);
        }
        // The script runs first, so the image's own entry point cannot.
        Some(script) => {
            let shell = ShellEnvironment::new(&spec.env);
            request.values(dialect, &shell.variables)?;
            request.add(&["--entrypoint", "/bin/sh", "--", image]);
            request.add(&["-c", &shell.pre_run_script(), "moat", script]);
        }
    }
    request.args.extend(spec.settings.command.iter().cloned());
    Ok(())
}

/// The mounts: the workspace, directories of the host, volumes.
fn storage(dialect: Dialect, spec: &ContainerSpec) -> Vec<String> {
    let workspace = spec.settings.mounts.workspace.to_string_lossy();
    let mut mounts = vec![match spec.settings.mounts.workspace_mode {
        WorkspaceMode::Bind => mount("bind", &workspace, WORKSPACE, false),
        // Anonymous: removed with the container, and without the image's files.
        WorkspaceMode::Volume => format!("type=volume,target={WORKSPACE}{}", dialect.no_copy()),
    }];
    for bind in &spec.binds {
        let source = bind.source.to_string_lossy();
        mounts.push(mount("bind", &source, &bind.target, bind.readonly));
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

fn settings(dialect: Dialect, spec: &ContainerSpec, request: &mut ClientCall) {
    request.publish(&spec.settings.network.ports);
    for server in &spec.settings.network.dns {
        request.add(&["--dns", &server.to_string()]);
    }
    request.ulimits(dialect, &spec.settings.limits.ulimits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    use crate::store::{BindMount, RunSettings};

    fn spec() -> ContainerSpec<'static> {
        let mut settings: RunSettings = serde_json::from_str(
        r#"{"runtime": "docker", "engine": [], "uid": 1000, "gid": 1001, "image": "img:1", "workspace": "/w",
            "mounts": [], "keep": false, "background": false, "interactive": false, "command": []}"#,
    )
    .unwrap();
        settings.command = vec!["sh".into(), "-c".into(), "--rm".into()];
        settings.limits.memory_bytes = Some(1 << 26);
        settings.limits.cpus = Some(1.5);
        settings.io.interactive = true;
        ContainerSpec {
            handle: "run_0123456789ab".into(),
            home_label: "h".into(),
            run_label: "run_0123456789ab".into(),
            network: None,
            extra_networks: Vec::new(),
            settings: Cow::Owned(settings),
            pre_run: None,
            env: vec![
                ("TOKEN".into(), "s3cret\nx".into()),
                ("PATH".into(), "/p".into()),
            ],
            binds: vec![BindMount {
                source: "/a,b".into(),
                target: "/t".into(),
                readonly: true,
            }],
            volumes: Vec::new(),
            has_home: false,
            terminal: None,
        }
    }

    #[test]
    fn no_value_is_an_argument() {
        let request = request(Dialect::Docker, &spec()).unwrap();
        let line = request.args.join(" ");
        assert!(!line.contains("s3cret") && !line.contains("/p "), "{line}");
        let (name, value) = &request.environment[0];
        assert_eq!((name.as_str(), value.expose()), ("TOKEN", "s3cret\nx"));
        assert_eq!(request.input, b"PATH=/p\n");
    }

    #[test]
    fn the_container_is_hardened_and_owned() {
        let line = request(Dialect::Docker, &spec()).unwrap().args.join(" ");
        for part in [
            "--cap-drop ALL",
            "--security-opt no-new-privileges",
            "--pids-limit 4096",
            "--user 1000:1001",
            "--env HOME=/home/moatuser",
            "--memory 67108864 --memory-swap 67108864",
            "--cpus 1.5",
            "--mount type=bind,source=/w,target=/workspace",
            "--mount type=bind,\"source=/a,b\",target=/t,ro",
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
        assert!(request(Dialect::Docker, &spec).is_err());
    }
}
