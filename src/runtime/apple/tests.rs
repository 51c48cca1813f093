//! The differences between the releases of Apple's command line: the arguments that each release gets, the meaning of
//! its JSON, and the classes of its errors. The suite runs all scenarios with one release and a few with the others
//! (tests/conformance); these tables are the reason why that is enough.
//!
//! The arguments are in `testdata/golden/apple/arguments.txt`. The JSON and the errors come from the stand-in, whose
//! output `tests/standin` compares with `testdata/snapshots/standin-*.txt`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::client_call::ClientCall;
use super::super::error::{Result, RuntimeError};
use super::super::{
    ContainerSpec, ExecSpec, ImageBuild, Inspected, Network, ResourceOwner, ServiceSpec,
    WorkspaceMode,
};
use super::create::{self, Host, HostPaths};
use super::version::Version;
use super::{build, classify, exec, model};
use crate::store::{BindMount, PublishedPort, RunSettings, Ulimit};
use crate::term::pty::Size;

/// The oldest release that moat supports, and each release from which on a behaviour differs.
const RELEASES: [&str; 5] = ["0.9.0", "0.10.0", "0.12.3", "1.2.0", "1.2.2"];

fn version(text: &str) -> Version {
    Version::read(&format!("container CLI version {text} (build: release)\n")).unwrap()
}

/// A host on which paths with a suffix are files.
const HOST: Host = Host {
    is_dir: |path| path.extension().is_none(),
    free_port: || Ok(40001),
};

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

/// Compares with `testdata/golden/apple/NAME.txt`; MOAT_UPDATE_SNAPSHOTS=1 rewrites the file.
fn assert_golden(name: &str, text: &str) {
    let path = kept("golden/apple").join(format!("{name}.txt"));
    if std::env::var("MOAT_UPDATE_SNAPSHOTS").is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = golden
        .lines()
        .zip(text.lines())
        .find(|(old, new)| old != new);
    assert!(
        golden == text,
        "{}: {differs:?}; see MOAT_UPDATE_SNAPSHOTS=1\n{text}",
        path.display()
    );
}

// --- the arguments

/// Each case with every release. Releases with the same arguments share a line.
#[test]
fn arguments_of_all_releases() {
    let mut text = String::new();
    for (title, make) in cases() {
        let mut said: Vec<(String, Vec<&str>)> = Vec::new();
        for release in RELEASES {
            let shown = make(version(release));
            match said.iter_mut().find(|(other, _)| *other == shown) {
                Some((_, releases)) => releases.push(release),
                None => said.push((shown, vec![release])),
            }
        }
        for (shown, releases) in said {
            let releases = match releases.len() == RELEASES.len() {
                true => "all".to_owned(),
                false => releases.join(" "),
            };
            writeln!(text, "=== {title}: {releases}\n{shown}").unwrap();
        }
    }
    assert_golden("arguments", &text);
}

type Case = (&'static str, Box<dyn Fn(Version) -> String>);

fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    let mut run = |title, change: fn(&mut ContainerSpec)| {
        let make = move |version| {
            let mut spec = plain();
            change(&mut spec);
            shown(create::main(&spec, &around(), version, &HOST))
        };
        all.push((title, Box::new(make)));
    };
    run("a run", |_| {});
    run("a run with all settings", with_all);
    run("a run on a terminal, as root", |spec| {
        let identity = &mut spec.settings.to_mut().identity;
        (identity.uid, identity.gid) = (0, 0);
        spec.terminal = Some(Size {
            rows: 24,
            columns: 80,
        });
    });
    run("a value that does not fit", |spec| {
        spec.env = vec![("HTTP_PROXY".into(), "a\nb".into())];
    });
    run("a run with a hook", |spec| {
        spec.pre_run = Some("npm ci");
    });
    run("a run with services", |spec| {
        spec.network = Some("run_0123456789ab".into());
    });
    run("a run with services and a hook", |spec| {
        spec.network = Some("run_0123456789ab".into());
        spec.pre_run = Some("npm ci");
    });
    run("directories inside one another", |spec| {
        spec.binds = vec![
            mount("/src/inner", "/data/inner", true),
            mount("/src", "/data", false),
            mount("/conf", "/home/moatuser/.config", false),
        ];
        spec.settings.to_mut().mounts.tmpfs = vec!["/workspace/tmp".into()];
        spec.settings.to_mut().mounts.hidden =
            vec!["/workspace/secret".into(), "/data/inner/secret".into()];
    });
    run("covered in a copy", |spec| {
        spec.settings.to_mut().mounts.workspace_mode = WorkspaceMode::Volume;
        spec.binds = vec![mount("/src", "/workspace/sub", false)];
        spec.settings.to_mut().mounts.hidden =
            vec!["/workspace/secret".into(), "/workspace/sub/secret".into()];
    });
    run("a file", |spec| {
        spec.binds = vec![mount("/etc/a.conf", "/etc/a.conf", true)];
    });
    run("files of one directory in two modes", |spec| {
        spec.binds = vec![
            mount("/etc/a.conf", "/etc/a.conf", true),
            mount("/etc/b.conf", "/etc/b.conf", false),
        ];
    });
    run("a path with ':'", |spec| {
        spec.binds = vec![mount("/a:b", "/data", true)];
    });
    run("a path with ','", |spec| {
        spec.binds = vec![mount("/a,b", "/data", true)];
    });
    run("a path with ':' and '='", |spec| {
        spec.binds = vec![mount("/a:b", "/da=ta", true)];
    });
    run("a path with ',' inside the home in memory", |spec| {
        spec.binds = vec![mount("/a,b", "/home/moatuser/.odd", false)];
    });
    run("a directory in memory with '='", |spec| {
        spec.settings.to_mut().mounts.tmpfs = vec!["/a=b".into()];
    });
    let mut service = |title, change: fn(&mut ServiceSpec)| {
        let make = move |version| {
            let mut spec = redis();
            change(&mut spec);
            shown(create::service(&spec, version, &HOST))
        };
        all.push((title, Box::new(make)));
    };
    service("a service", |_| {});
    service("a service with all settings", |spec| {
        spec.owner = ResourceOwner::Session("inc_1".into());
        spec.command = vec!["redis-server".into(), "--save".into(), String::new()];
        spec.env = vec![("PASSWORD".into(), "s3cret".into())];
        (spec.memory_bytes, spec.cpus) = (Some(512 << 20), Some(1.5));
        spec.cache = Some(mount("/home/me/.moat/cache/redis", "/data", false));
    });
    all.extend(others());
    all
}

fn others() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    let mut add = |title, make: fn() -> String| {
        all.push((title, Box::new(move |_| make())));
    };
    add("a network", || {
        let network = Network {
            handle: "run_0123456789ab".into(),
            home_label: "0123".into(),
            owner: ResourceOwner::Run("run_0123456789ab".into()),
        };
        shown(Ok(create::network(&network)))
    });
    add("a build", || line(&build::args(&image(false), &staged())));
    add("a build of everything, with name servers", || {
        let mut image = image(true);
        image.dns = vec!["192.0.2.53".parse().unwrap()];
        line(&build::args(&image, &staged()))
    });
    add("the builder", || line(&build::start(&[])));
    add("the builder, with name servers", || {
        line(&build::start(&["192.0.2.53".parse().unwrap()]))
    });
    add("a command beside a run", || command(&beside()));
    add("a command beside a run, with all settings", || {
        let mut spec = beside();
        spec.env = vec![("TOKEN".into(), "s3cret".into()), ("A".into(), "1".into())];
        spec.workdir = Some("/workspace/sub".into());
        spec.terminal = Some(Size {
            rows: 24,
            columns: 80,
        });
        command(&spec)
    });
    add("a command that is ended", || {
        client(&exec::kill("run_0123456789ab", "word", "TERM"))
    });
    all
}

fn plain() -> ContainerSpec<'static> {
    let mut settings: RunSettings = serde_json::from_str(
        r#"{"runtime": "apple", "engine": [], "uid": 1000, "gid": 1001, "image": "img:1", "workspace": "/home/me/project",
            "mounts": [], "keep": false, "background": false, "interactive": false, "command": []}"#,
    )
    .unwrap();
    settings.command = vec!["npm".into(), "test".into()];
    ContainerSpec {
        handle: "run_0123456789ab".into(),
        home_label: "0123".into(),
        run_label: "run_0123456789ab".into(),
        network: None,
        extra_networks: Vec::new(),
        settings: Cow::Owned(settings),
        pre_run: None,
        env: Vec::new(),
        binds: Vec::new(),
        volumes: Vec::new(),
        has_home: false,
        terminal: None,
    }
}

fn with_all(spec: &mut ContainerSpec) {
    let port = |name: &str, container, host| PublishedPort {
        name: name.into(),
        container,
        host,
    };
    spec.settings.to_mut().network.ports =
        vec![port("web", 80, Some(8080)), port("debug", 9229, None)];
    spec.settings.to_mut().network.dns = vec![
        "192.0.2.53".parse().unwrap(),
        "2001:db8::53".parse().unwrap(),
    ];
    let limit = |name: &str, soft, hard| Ulimit {
        name: name.into(),
        soft,
        hard,
    };
    spec.settings.to_mut().limits.ulimits = vec![
        limit("nofile", Some(1024), Some(2048)),
        limit("core", None, None),
    ];
    spec.env = vec![
        ("TOKEN".into(), "s3cret\nof two lines".into()),
        ("HOME".into(), "/root".into()),
        ("SSL_CERT_FILE".into(), "/ca.pem".into()),
    ];
    let limits = &mut spec.settings.to_mut().limits;
    (limits.memory_bytes, limits.cpus) = (Some(512 << 20), Some(1.5));
    spec.has_home = true;
    spec.settings.to_mut().io.interactive = true;
}

fn mount(source: &str, target: &str, readonly: bool) -> BindMount {
    BindMount {
        source: source.into(),
        target: target.into(),
        readonly,
    }
}

fn around() -> HostPaths<'static> {
    HostPaths {
        workspace: Path::new("/home/me/project"),
        notes: Path::new("/home/me/.moat/runs/run_0123456789ab/shared/notes"),
        entrypoint: vec!["docker-entrypoint".into(), "-x".into()],
    }
}

fn redis() -> ServiceSpec {
    ServiceSpec {
        handle: "run_0123456789ab-redis".into(),
        home_label: "0123".into(),
        owner: ResourceOwner::Run("run_0123456789ab".into()),
        name: "redis".into(),
        network: "run_0123456789ab".into(),
        ports: Vec::new(),
        image: "redis:7".into(),
        command: Vec::new(),
        env: Vec::new(),
        memory_bytes: None,
        cpus: None,
        cache: None,
    }
}

fn image(fresh: bool) -> ImageBuild {
    ImageBuild {
        inputs: String::new(),
        tag: "moat/0123:abc".into(),
        home_label: "0123".into(),
        dockerfile: "/home/me/.moat/runs/run_1/Dockerfile".into(),
        context: "/home/me/.moat/runs/run_1/context".into(),
        no_cache: fresh,
        dns: Vec::new(),
    }
}

fn staged() -> build::StagedBuild {
    build::StagedBuild {
        dockerfile: "/home/me/.moat-builds/run_1/Dockerfile".into(),
        context: "/home/me/.moat-builds/run_1/context".into(),
    }
}

fn beside() -> ExecSpec {
    ExecSpec {
        handle: "run_0123456789ab".into(),
        command: vec!["env".into()],
        env: Vec::new(),
        workdir: None,
        marker: "word".into(),
        stdin: None,
        terminal: None,
    }
}

/// The arguments, the environment and the input of a call, or its error.
fn shown(request: Result<ClientCall>) -> String {
    let request = match request {
        Ok(request) => request,
        Err(problem) => return format!("refused: {}", problem.message()),
    };
    let mut text = line(&request.args);
    for (name, value) in &request.environment {
        write!(text, "\nenvironment: {name}={:?}", value.expose()).unwrap();
    }
    if !request.input.is_empty() {
        let input = String::from_utf8_lossy(&request.input);
        write!(text, "\ninput: {input:?}").unwrap();
    }
    text
}

/// Prints one option per line, and the rest on the last line.
fn line(args: &[String]) -> String {
    let mut text = String::new();
    let mut options = true;
    for (at, arg) in args.iter().enumerate() {
        let is_option = arg.starts_with("--");
        let is_value = at > 0 && args[at - 1].starts_with("--") && args[at - 1] != "--init";
        let begins_rest = options && at > 1 && !is_option && !is_value;
        options &= !begins_rest;
        let is_more = arg == "--cap-add";
        let space = match (at, begins_rest || (options && is_option && !is_more)) {
            (0, _) => "",
            (_, true) => "\n  ",
            (_, false) => " ",
        };
        let is_word = !arg.is_empty() && !arg.contains(|c: char| c.is_whitespace() || c == '"');
        match is_word {
            true => write!(text, "{space}{arg}").unwrap(),
            false => write!(text, "{space}{arg:?}").unwrap(),
        }
    }
    text
}

fn command(spec: &ExecSpec) -> String {
    client(&exec::command(std::process::Command::new("container"), spec).unwrap())
}

fn client(command: &std::process::Command) -> String {
    let words = command
        .get_args()
        .map(|arg| arg.to_string_lossy().into_owned());
    let mut text = line(&words.collect::<Vec<_>>());
    for (name, value) in command.get_envs() {
        let value = value.unwrap_or_default().to_string_lossy();
        write!(text, "\nenvironment: {}={value:?}", name.to_string_lossy()).unwrap();
    }
    text
}

/// In no release does an argument contain the value of a variable.
#[test]
fn no_value_is_an_argument_of_any_release() {
    for release in RELEASES {
        let mut spec = plain();
        with_all(&mut spec);
        let made = create::main(&spec, &around(), version(release), &HOST).unwrap();
        let line = made.args.join(" ");
        assert!(
            !line.contains("s3cret") && !line.contains("/ca.pem"),
            "{release}: {line}"
        );
    }
}

// --- the JSON

/// [`RELEASES`] and one older release: moat also reads the answers of a release that it no longer supports. The form
/// of the JSON does not change with each release.
const SHAPES: [&str; 5] = ["0.7.1", "0.9.0", "0.10.0", "0.12.3", "1.2.2"];

/// The answers of a release by query, with values instead of placeholders.
fn answers(release: &str) -> BTreeMap<String, Vec<Value>> {
    let text = std::fs::read_to_string(kept("snapshots").join(format!("standin-{release}.txt")));
    let mut text = text.unwrap();
    for (placeholder, value) in [
        ("\"[SECONDS SINCE 2001]\"", "802345678.5"),
        ("[DATE]", "2026-06-05T09:47:58Z"),
        ("[ADDRESS]", "192.168.65.2/24"),
        ("\"[SIZE]\"", "1"),
    ] {
        text = text.replace(placeholder, value);
    }
    let sections = text.split("--- ").skip(1).filter_map(|section| {
        let (title, rest) = section.split_once('\n')?;
        let (answer, _) = rest.rsplit_once("exit code ")?;
        Some((title.to_owned(), serde_json::from_str(answer).ok()?))
    });
    sections.collect()
}

/// moat reads the same in the answers of all releases, except members that an older release lacks.
#[test]
fn answers_of_all_releases() {
    for release in SHAPES {
        let answers = answers(release);
        let one = |title: &str| {
            let found = answers
                .get(title)
                .unwrap_or_else(|| panic!("{release}: {title}"));
            found
                .first()
                .unwrap_or_else(|| panic!("{release}: {title}"))
        };
        assert!(answers["list, empty"].is_empty(), "{release}");
        let created = one("inspect, created");
        assert_eq!(model::id(created), "one", "{release}");
        assert_eq!(model::label(created, "k"), Some("v"), "{release}");
        assert_eq!(model::label(created, "other"), None, "{release}");
        assert_eq!(model::inspected(created), Inspected::Created, "{release}");
        assert!(
            !model::is_running(created) && !model::has_address(created),
            "{release}"
        );

        let running = one("inspect, running");
        assert!(
            model::is_running(running) && model::has_address(running),
            "{release}"
        );
        let address = model::address(running, "default").map(|address| address.to_string());
        assert_eq!(address.as_deref(), Some("192.168.65.2"), "{release}");
        assert_eq!(model::address(running, "other"), None, "{release}");
        let Inspected::Running { started_at, ports } = model::inspected(running) else {
            panic!("{release}: it runs");
        };
        assert_eq!(ports, [(80, 18080)], "{release}");
        // Without a date, a container that ended looks like a container that never started.
        let has_dates = release != "0.7.1";
        let started = started_at.map(|at| at.to_string());
        let expected = "2026-06-05T09:47:58";
        assert_eq!(started.is_some(), has_dates, "{release}");
        assert!(
            started.is_none_or(|at| at.starts_with(expected)),
            "{release}"
        );

        let stopped = model::inspected(one("inspect, stopped"));
        match has_dates {
            true => assert!(
                matches!(&stopped, Inspected::Exited(exit) if exit.code.is_none() && exit.started_at.is_some()),
                "{release}: {stopped:?}"
            ),
            false => assert_eq!(stopped, Inspected::Created, "{release}"),
        }
        let listed: Vec<&str> = answers["list, two"].iter().map(model::id).collect();
        assert_eq!(listed, ["one", "two"], "{release}");
        assert_eq!(
            model::id(one("network inspect, ours")),
            "net-1",
            "{release}"
        );
        let labelled = model::label(one("network inspect, ours"), "moat.home");
        assert_eq!(labelled, Some("0123"), "{release}");
        let entrypoint = model::entrypoint(one("image inspect"));
        assert_eq!(entrypoint, Vec::<String>::new(), "{release}");
    }
}

// --- the errors

/// The class of each failure. The words differ between releases, and the meaning is the same.
const CLASSES: &[(&str, &str)] = &[
    ("inspect, missing", "not-found"),
    ("start, missing", "not-found"),
    ("stop, missing", "not-found"),
    ("kill, missing", "not-found"),
    ("kill, ended", "not-found"),
    ("delete, missing", "not-found"),
    ("exec, missing", "not-found"),
    ("exec, ended", "refused"),
    ("logs, missing", "not-found"),
    ("logs, never started", "not-found"),
    ("create, taken", "refused, taken"),
    ("create, no network", "not-found"),
    ("create, no image", "image"),
    ("create, unknown option", "refused"),
    ("image inspect, missing", "image"),
    ("image pull, missing", "image"),
    ("network inspect, missing", "not-found"),
    ("network create, taken", "refused, taken"),
    ("network delete, missing", "not-found"),
    ("wait", "refused"),
    ("xpc-invalid: list --all", "unreachable"),
    ("xpc-invalid: create", "unreachable"),
    ("xpc-interrupted: inspect one", "transient"),
    ("xpc-interrupted: start --attach one", "transient"),
    ("xpc-timeout: create", "transient, the builder's"),
    ("xpc-timeout: stop one", "transient, the builder's"),
    ("not-found-silent: delete x", "not-found"),
    ("not-found-silent: network delete x", "not-found"),
    ("not-found-silent: image delete x", "image"),
    ("exists: create --name x", "refused, taken"),
    ("exists: network create x", "refused, taken"),
    ("pending: network delete x", "transient"),
    ("referring: network delete x", "transient"),
    ("ip-allocator: network delete x", "transient"),
    ("stopping-delete: delete x", "transient"),
    ("volume-busy: start --attach one", "refused"),
    ("port-busy: start --attach one", "refused"),
    ("port-privileged: start --attach one", "refused"),
    ("kernel-missing: create", "unreachable"),
    ("rosetta: list --all", "unreachable"),
    ("not-macos26: create --network x", "refused, no networks"),
    ("transport-inactive: build .", "transient, the builder's"),
    ("stream-closed: build .", "transient, the builder's"),
    ("builder-timeout: build .", "transient, the builder's"),
    ("pull-404: image pull nosuch:1", "image"),
    ("pull-401: image pull nosuch:1", "image"),
    ("cancellation: start --attach one", "refused"),
    ("no kernel: create", "unreachable"),
    ("services down: list", "unreachable"),
    ("services down: create", "unreachable"),
    ("services down: start", "unreachable"),
    ("services down: delete", "unreachable"),
    ("services down: wait", "unreachable"),
];

/// The message of the release in each case that failed.
fn failures() -> Vec<(String, Vec<String>, String)> {
    let text = std::fs::read_to_string(kept("snapshots/standin-errors.txt")).unwrap();
    let sections = text.split("--- ").skip(1).filter_map(|section| {
        let (title, rest) = section.split_once('\n')?;
        let (title, releases) = title.rsplit_once(": ")?;
        let (said, code) = rest.rsplit_once("exit code ")?;
        let releases = releases.split(' ').map(str::to_owned).collect();
        (code.trim() != "0").then(|| (title.to_owned(), releases, said.to_owned()))
    });
    sections.collect()
}

#[test]
fn errors_of_all_releases() {
    let failures = failures();
    for (title, _) in CLASSES {
        let is_there = failures.iter().any(|(other, ..)| other == title);
        assert!(is_there, "nobody says '{title}'");
    }
    let mut wrong = String::new();
    for (title, releases, said) in failures {
        let problem = classify::classify(&said);
        let kind = match &problem {
            RuntimeError::NotFound(_) => "not-found",
            RuntimeError::ImageMissing(..) => "image",
            RuntimeError::Unreachable(..) => "unreachable",
            RuntimeError::Transient(_) => "transient",
            RuntimeError::Refused(_) => "refused",
        };
        let more = match () {
            () if classify::is_taken(problem.message()) => ", taken",
            () if classify::has_no_networks(&problem) => ", no networks",
            () if classify::is_builders(&said) => ", the builder's",
            () => "",
        };
        let found = format!("{kind}{more}");
        let expected = CLASSES.iter().find(|(other, _)| *other == title);
        let expected = expected.map(|(_, class)| *class);
        if expected != Some(&*found) {
            writeln!(
                wrong,
                "{title}: {releases:?}: {found}, not {expected:?}: {said}"
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A client that carries output separates these messages from that output.
#[test]
fn words_of_clients_of_all_releases() {
    for (title, releases, said) in failures() {
        // moat has no volumes on apple.
        let is_start = title.contains("start ") || title.contains("start,");
        let is_start = is_start && !title.starts_with("volume-busy");
        if is_start {
            assert!(
                classify::is_start_message(&said),
                "{title}: {releases:?}: {said}"
            );
        }
        if title.starts_with("exec, ") {
            let handle = match title.ends_with("missing") {
                true => "x",
                false => "one",
            };
            assert!(
                classify::is_exec_message(&said, handle),
                "{title}: {releases:?}: {said}"
            );
        }
        if title.starts_with("xpc-") {
            assert!(
                classify::is_interruption(&said),
                "{title}: {releases:?}: {said}"
            );
        }
        let own = said.lines().rfind(|line| line.starts_with("Error: "));
        assert!(own.is_some(), "{title}: {releases:?}: {said}");
    }
}
