//! Plans of requests and files.

use std::path::Path;

use super::*;
use crate::config;
use crate::runtime::{self, EngineFacts};

fn host(runtime: runtime::RuntimeName) -> Host {
    Host {
        runtime,
        engine: Vec::new(),
        remote: None,
        facts: EngineFacts::with_limits(runtime == runtime::RuntimeName::Docker),
        kept_facts: "/nonexistent".into(),
        home: "/nonexistent".into(),
        environment: Box::new(|name| (name == "TOKEN").then(|| "s3cret".into())),
        registry: Box::new(|| crate::registry::load(Path::new("/nonexistent"))),
    }
}

fn request() -> RunRequest {
    RunRequest {
        workspace: "/".into(),
        command: vec!["true".into()],
        ..RunRequest::default()
    }
}

fn project(text: &str) -> config::ConfigFile {
    config::tests::read_project(text).unwrap()
}

/// The plan of a file on docker.
fn planned(text: &str) -> Result<Plan> {
    plan(
        &request(),
        &[&project(text)],
        &host(runtime::RuntimeName::Docker),
    )
}

#[test]
fn values_are_in_no_serialized_plan() {
    let mut request = request();
    request.env = vec!["TOKEN".into(), "A=b4r".into()];
    let file = project("env: {B: b5z}\nsecrets: {S: 'file://p1ace', T: 'env://TOKEN'}\n");
    let plan = plan(&request, &[&file], &host(runtime::RuntimeName::Docker)).unwrap();
    assert_eq!(plan.env[0].value.expose(), "s3cret");
    let text = serde_json::to_string(&plan).unwrap();
    for value in ["s3cret", "b4r", "b5z", "p1ace"] {
        assert!(!text.contains(value), "{text}");
        assert!(
            value == "p1ace" || !format!("{plan:?}").contains(value),
            "{plan:?}"
        );
    }
    assert!(
        text.contains(r#""env":["TOKEN","A","B"],"secrets":["S","T"]"#),
        "{text}"
    );
}

#[test]
fn what_bwrap_cannot_honour_is_refused_by_name() {
    for (set, flag) in [
        (
            (|r| r.image = Some("x".into())) as fn(&mut RunRequest),
            "--image",
        ),
        (|r| r.memory = Some("1g".into()), "--memory"),
        (|r| r.cpus = Some("1".into()), "--cpus"),
        (|r| r.keep = true, "--keep"),
        (|r| r.rebuild = true, "--rebuild"),
    ] {
        let mut request = request();
        set(&mut request);
        let error = plan(&request, &[], &host(runtime::RuntimeName::Bwrap)).unwrap_err();
        assert!(error.message.contains(flag), "{error}");
    }
    for (text, key) in [
        ("dependencies: [node]\n", "dependencies"),
        ("base_image: debian:12\n", "base_image"),
        ("hooks: {post_build: a}\n", "post_build"),
        ("hooks: {post_build_root: a}\n", "post_build_root"),
        ("ports: {web: 80}\n", "ports"),
        ("container: {dns: [1.1.1.1]}\n", "dns"),
        ("container: {memory: 1g}\n", "memory"),
        ("container: {cpus: 1}\n", "cpus"),
        ("container: {pids: 9}\n", "pids"),
        (
            "name: a\nvolumes: [{name: v, target: /v, type: volume}]\n",
            "type: volume",
        ),
    ] {
        let error = plan(
            &request(),
            &[&project(text)],
            &host(runtime::RuntimeName::Bwrap),
        )
        .unwrap_err();
        let [problem] = &error.problems[..] else {
            panic!("{error}")
        };
        let start = format!("'{key}' does not work on bwrap, which has ");
        assert!(problem.message.starts_with(&start), "{problem}");
        assert!(
            problem.line.is_some() && problem.column.is_some(),
            "{problem}"
        );
        assert!(planned(text).is_ok(), "docker can: {text}");
    }
}

#[test]
fn limits_work_on_bwrap_where_there_are_control_groups() {
    let file = project("container: {memory: 1g, cpus: 1.5, pids: 9}\n");
    let host = Host {
        facts: EngineFacts::with_limits(true),
        ..host(runtime::RuntimeName::Bwrap)
    };
    let plan = plan(&request(), &[&file], &host).unwrap();
    assert_eq!(
        (
            plan.settings.limits.memory_bytes,
            plan.settings.limits.cpus,
            plan.settings.limits.pids
        ),
        (Some(1 << 30), Some(1.5), Some(9))
    );
}

#[test]
fn a_root_filesystem_is_for_runtimes_without_images() {
    let root = config::tests::TempDir::new();
    let text = format!("base_image: rootfs:{}\n", root.path().display());
    let error = planned(&text).unwrap_err();
    assert!(
        error
            .message
            .starts_with("moat.yaml:1:13: 'rootfs:' works only"),
        "{error}"
    );
    let bwrap = host(runtime::RuntimeName::Bwrap);
    let found = plan(&request(), &[&project(&text)], &bwrap).unwrap();
    assert_eq!(
        found.settings.image.rootfs,
        Some(root.path().canonicalize().unwrap())
    );
    for (path, why) in [
        ("/nonexistent/x", "no such file or directory"),
        ("/", "it is the root of this system"),
        ("/etc/passwd", "it is not a directory"),
    ] {
        let file = project(&format!("base_image: rootfs:{path}\n"));
        let error = plan(&request(), &[&file], &bwrap).unwrap_err();
        assert!(error.message.ends_with(why), "{error}");
    }
}

#[test]
fn the_same_target_twice_is_refused() {
    let mut request = request();
    request.mounts = vec!["/tmp:/a".into(), "/usr:/a/:ro".into()];
    let error = plan(&request, &[], &host(runtime::RuntimeName::Docker)).unwrap_err();
    assert!(error.message.contains("/a"), "{error}");
}

/// The stronger of two mounts at one path wins: flags, then the project, then the defaults.
#[test]
fn one_thing_is_mounted_at_a_target() {
    let dir = config::tests::TempDir::new();
    let text = "defaults: {mounts: ['/usr:/v', '/usr:/m', '/usr:/d']}\n";
    let defaults = config::defaults(&dir.write("config.yaml", text))
        .unwrap()
        .unwrap();
    let project = project(
        "name: p\nvolumes: [{name: v, target: /v}, {name: w, target: /w}]\n\
         mounts: [{source: /etc, target: /m, exclude: [a, b]}, '/etc:/n']\n",
    );
    let mut request = request();
    request.mounts = vec!["/tmp:/w".into(), "/tmp:/n".into(), "/tmp:/m/a".into()];
    let files = [&project, &defaults.file];
    let plan = plan(&request, &files, &host(runtime::RuntimeName::Docker)).unwrap();
    let mounts: Vec<(&str, &str)> = plan
        .settings
        .mounts
        .binds
        .iter()
        .map(|mount| (mount.source.to_str().unwrap(), mount.target.as_str()))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/usr", "/d"),
            ("/etc", "/m"),
            ("/tmp", "/m/a"),
            ("/tmp", "/n"),
            ("/tmp", "/w")
        ]
    );
    let volumes: Vec<&str> = plan
        .volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    assert_eq!(
        (volumes, plan.settings.mounts.tmpfs),
        (vec!["p/v"], vec!["/m/b".to_owned()])
    );
}

/// The mount of the workspace itself only leaves directories out.
#[test]
fn a_mount_of_the_workspace_excludes_directories() {
    let file = |source: &str| {
        format!("mounts: [{{source: {source}, target: /workspace/., exclude: [a/b, c]}}]\n")
    };
    let plan = planned(&file("/")).unwrap();
    assert!(plan.settings.mounts.binds.is_empty());
    assert_eq!(
        plan.settings.mounts.tmpfs,
        ["/workspace/a/b", "/workspace/c"]
    );
    let error = planned(&file("/usr")).unwrap_err();
    assert!(
        error.problems[0]
            .message
            .contains("only the workspace itself"),
        "{error}"
    );
    // An engine on another machine has a copy, which has the directories, too.
    let mut host = host(runtime::RuntimeName::Docker);
    host.remote = Some("tcp://far".into());
    let text = format!("workspace: {{mode: volume}}\n{}", file("/"));
    assert!(super::plan(&request(), &[&project(&text)], &host).is_ok());
    // moat's own directory is hidden once.
    let hidden = |path: &str| super::mounts::uncovered(vec![path.into()], &["/workspace/c".into()]);
    assert!(hidden("/workspace/c").is_empty() && hidden("/workspace/c/d").is_empty());
    assert_eq!(hidden("/workspace/cd").len(), 1);
}

#[test]
fn git_trusts_a_workspace_of_another_owner() {
    let dir = config::tests::TempDir::new();
    let own = rustix::process::geteuid().as_raw();
    let host = host(runtime::RuntimeName::Docker);
    assert!(!host.git_distrusts(dir.path(), own + 1), "no repository");
    dir.write(".git", "gitdir: sub/.git/worktrees/x\n");
    assert!(!host.git_distrusts(dir.path(), own));
    assert!(host.git_distrusts(dir.path(), own + 1));

    let mut request = request();
    request.workspace = dir.path().to_owned();
    request.user = Some((own + 1).to_string());
    let names = |request: &RunRequest| {
        let plan = plan(request, &[], &host).unwrap();
        let names = plan.env.into_iter().map(|variable| variable.name);
        names.filter(|name| name.starts_with("GIT_")).count()
    };
    assert_eq!(names(&request), 5);
    request.env = vec!["GIT_CONFIG_COUNT=0".into()];
    assert_eq!(names(&request), 1);
}

/// A project needs its own image only if it adds to the image.
#[test]
fn an_image_is_built_only_where_it_must_be() {
    for (text, image) in [
        ("env: {A: b}\n", "debian:bookworm-slim"),
        ("base_image: x:1\nhooks: {pre_run: a}\n", "x:1"),
        ("container: {host_ca: false}\n", "debian:bookworm-slim"),
    ] {
        let plan = planned(text).unwrap();
        assert_eq!(plan.settings.image.name.as_deref(), Some(image));
        assert_eq!(plan.build, None);
    }
    for text in [
        "dependencies: [jq]\n",
        "hooks: {post_build: a}\n",
        "hooks: {post_build_root: a}\n",
    ] {
        let plan = planned(text).unwrap();
        assert_eq!(
            plan.settings.image.name,
            plan.build.map(|build| build.tag()),
            "{text}"
        );
    }
    // A flag names the exact image.
    let mut request = request();
    request.image = Some("y".into());
    let docker = host(runtime::RuntimeName::Docker);
    let file = project("dependencies: [jq]\nhooks: {post_build: a}\n");
    let plan = plan(&request, &[&file], &docker).unwrap();
    assert_eq!(
        (plan.settings.image.name.as_deref(), plan.build),
        (Some("y"), None)
    );
}

/// Problems with names of the registry are reported together with problems of the file.
#[test]
fn problems_of_all_parts_come_at_once() {
    let text = "mounts: ['/nonexistent/a:/a']\nenv_file: none\ndependencies: [nodee, node@99, jq@1]\n\
                runtime: dcoker\ntimeout: x\n";
    let error = planned(text).unwrap_err();
    let places: Vec<_> = error.problems.iter().map(|p| (p.line, p.column)).collect();
    let place = |line, column| (Some(line), Some(column));
    assert_eq!(
        places,
        [
            place(1, 10),
            place(2, 11),
            place(3, 16),
            place(3, 23),
            place(3, 32),
            place(4, 10),
            place(5, 10)
        ],
        "{error}"
    );
}
