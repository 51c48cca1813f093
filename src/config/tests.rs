//! The settings of configuration files, and their problems.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::error::{Error, Result};
use crate::store::WorkspaceMode;

/// A directory that is removed on drop.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("moat-unit-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Reads a text as a project's file, in a temporary directory.
pub(crate) fn read_project(text: &str) -> Result<ConfigFile> {
    let dir = TempDir::new();
    dir.write("moat.yaml", text);
    project(dir.path(), Path::new("")).map(|file| file.unwrap())
}

/// The file, if it has no problem.
fn good(text: &str) -> ConfigFile {
    let file = read_project(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let problems = file.source.finish();
    assert!(problems.is_ok(), "{text}: {problems:?}");
    file
}

/// The problems of a text, as `LINE:COLUMN: MESSAGE`.
fn problems(text: &str) -> Vec<String> {
    let error: Error = match read_project(text) {
        Ok(file) => match file.source.finish() {
            Ok(()) => return Vec::new(),
            Err(error) => error,
        },
        Err(error) => error,
    };
    let shown = |problem: &crate::error::FileProblem| {
        let problem = problem.to_string();
        problem.strip_prefix("moat.yaml:").unwrap().to_owned()
    };
    error.problems.iter().map(shown).collect()
}

/// Asserts that each text has exactly one problem, at this position, with this part of a message.
#[track_caller]
fn assert_problems(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (text, place, part) in cases {
        let found = problems(text);
        let right = match &found[..] {
            [one] => one.starts_with(&format!("{place}: ")) && one.contains(part),
            _ => false,
        };
        if !right {
            wrong.push(format!("{text:?}: {place}: {part}\n  but {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_images_and_times() {
    assert_problems(&[
        ("name: 5\n", "1:7", "expected text, found the number 5"),
        ("name: [a]\n", "1:7", "expected text, found a list"),
        ("name: {a: b}\n", "1:7", "found keys and values"),
        ("name: true\n", "1:7", "found true"),
        ("name: ''\n", "1:7", "found an empty text"),
        ("env:\nname:\n", "2:6", "expected text, found nothing"),
        ("name: a/b\n", "1:7", "bad name 'a/b' ("),
        ("name: run_1\n", "1:7", "bad name 'run_1'"),
        (
            "name: a\nname: b\n",
            "2:1",
            "the key 'name' is listed twice",
        ),
        ("name: \"a\\x1b[2J\"\n", "1:7", "bad name 'a\\u{1b}[2J'"),
        ("runtime: {a: 1}\n", "1:10", "found keys and values"),
        ("runtime: 1\n", "1:10", "found the number 1"),
        ("runtime: ''\n", "1:10", "found an empty text"),
        ("base_image: a b\n", "1:13", "bad image 'a b'"),
        ("base_image: -x\n", "1:13", "bad image '-x'"),
        ("base_image: ''\n", "1:13", "found an empty text"),
        ("base_image: [a]\n", "1:13", "found a list"),
        ("base_image: rootfs:a\n", "1:13", "rootfs:/absolute/path"),
        ("timeout: 5\n", "1:10", "expected text, found the number 5"),
        ("timeout: 5 parsecs\n", "1:10", "bad duration '5 parsecs' ("),
        ("timeout: 0s\n", "1:10", "bad duration '0s'"),
        ("timeout: ''\n", "1:10", "found an empty text"),
        (
            "start_timeout: 5\n",
            "1:16",
            "expected text, found the number 5",
        ),
        (
            "interactive: yes\n",
            "1:14",
            "expected true or false, found 'yes'",
        ),
        ("interactive: 1\n", "1:14", "found the number 1"),
        ("interactive: ''\n", "1:14", "found an empty text"),
        ("interactive: [true]\n", "1:14", "found a list"),
    ]);
}

#[test]
fn dependencies_commands_and_hooks() {
    assert_problems(&[
        (
            "dependencies: node\n",
            "1:15",
            "expected a list, found 'node'",
        ),
        ("dependencies: {node: 22}\n", "1:15", "expected a list"),
        (
            "dependencies:\n  - node\n  - 5\n",
            "3:5",
            "found the number 5",
        ),
        ("dependencies: [a, '']\n", "1:19", "found an empty text"),
        (
            "dependencies: [a, {b: c}]\n",
            "1:19",
            "found keys and values",
        ),
        (
            "command: npm test\n",
            "1:10",
            "expected a list of words, such as [npm, test]",
        ),
        ("command: []\n", "1:10", "expected the words of a command"),
        ("command: ['']\n", "1:11", "found an empty text"),
        ("command: [5]\n", "1:11", "found the number 5"),
        (
            "command: [a, [b]]\n",
            "1:14",
            "expected a single value, found a list",
        ),
        (
            "command: [a, ~]\n",
            "1:14",
            "expected a single value, found nothing",
        ),
        ("command: [a, \"\\0\"]\n", "1:14", "NUL"),
        ("hooks: x\n", "1:8", "expected keys and values, found 'x'"),
        ("hooks: {pre_run: ''}\n", "1:18", "found an empty text"),
        ("hooks: {post_build: [a]}\n", "1:21", "found a list"),
        (
            "hooks: {post_build_root: 1}\n",
            "1:26",
            "found the number 1",
        ),
        (
            "hooks: {prerun: a, pre_run: b}\n",
            "1:9",
            "unknown key 'prerun' (did you mean 'pre_run'?)",
        ),
        (
            "hooks: {pre_run: a, pre_run: b}\n",
            "1:21",
            "is listed twice",
        ),
        ("hooks: {pre_run: \"\\0\"}\n", "1:18", "NUL"),
    ]);
}

#[test]
fn variables_and_secrets() {
    assert_problems(&[
        (
            "env: [A=b]\n",
            "1:6",
            "expected keys and values, found a list",
        ),
        ("env: x\n", "1:6", "expected keys and values, found 'x'"),
        ("env: {1A=: x}\n", "1:7", "bad variable name '1A='"),
        ("env: {'': x}\n", "1:7", "bad variable name ''"),
        (
            "env: {1: x}\n",
            "1:7",
            "expected a key that is text (quote it), found the number 1",
        ),
        (
            "env: {A: [x]}\n",
            "1:10",
            "expected a single value, found a list",
        ),
        (
            "env:\n  A:\n  B: x\n",
            "2:5",
            "expected a single value, found nothing",
        ),
        ("env: {A: 1, A: 2}\n", "1:13", "the key 'A' is listed twice"),
        ("env: {A: \"\\0\"}\n", "1:10", "NUL"),
        ("env_file: 5\n", "1:11", "found the number 5"),
        ("env_file: ''\n", "1:11", "found an empty text"),
        ("env_file: [a, 5]\n", "1:15", "found the number 5"),
        ("env_file: {a: b}\n", "1:11", "found keys and values"),
        (
            "secrets: [a]\n",
            "1:10",
            "expected keys and values, found a list",
        ),
        (
            "secrets: {A: 5}\n",
            "1:14",
            "expected a reference to a secret",
        ),
        (
            "secrets: {A: hunter2}\n",
            "1:14",
            "this is not a reference to a secret",
        ),
        (
            "secrets: {A: ''}\n",
            "1:14",
            "this is not a reference to a secret",
        ),
        ("secrets: {A: env://}\n", "1:14", "'env://' is incomplete"),
        (
            "secrets: {A: 'env://A='}\n",
            "1:14",
            "bad variable name 'A='",
        ),
        (
            "secrets: {A: 'vault://x'}\n",
            "1:14",
            "unknown kind of secret 'vault://'",
        ),
        (
            "secrets: {A: 'op://a/b'}\n",
            "1:14",
            "needs a vault, an item and a field",
        ),
        (
            "secrets: {A: 'ssm://-x'}\n",
            "1:14",
            "cannot begin with '-'",
        ),
        (
            "secrets: {A: \"file://a\\nb\"}\n",
            "1:14",
            "'file://' is incomplete",
        ),
        (
            "secrets: {A=B: 'env://C'}\n",
            "1:11",
            "bad variable name 'A=B'",
        ),
        (
            "secrets: {A: 'env://C', A: 'env://D'}\n",
            "1:25",
            "is listed twice",
        ),
        (
            "env: {A: b}\nsecrets:\n  A: env://B\n",
            "3:3",
            "A is also in 'env' (moat.yaml:1)",
        ),
    ]);
    // The text may be the secret itself.
    let found = problems("secrets: {A: hunter2, B: [hunter2], 1A: hunter2}\n");
    assert!(
        found.len() == 3 && !found.concat().contains("hunter2"),
        "{found:?}"
    );
}

#[test]
fn mounts_volumes_and_the_workspace() {
    assert_problems(&[
        ("mounts: a:/b\n", "1:9", "expected a list, found 'a:/b'"),
        (
            "mounts: [5]\n",
            "1:10",
            "expected SOURCE:/target[:ro], or the keys source and target",
        ),
        ("mounts: ['']\n", "1:10", "bad mount ''"),
        ("mounts: [a]\n", "1:10", "bad mount 'a': it has no target ("),
        ("mounts: ['a:/b:rx']\n", "1:10", "neither ro nor rw"),
        (
            "mounts: ['a:/workspace:ro']\n",
            "1:10",
            "the path of the workspace",
        ),
        (
            "mounts: [{source: ., target: /workspace/, mode: ro}]\n",
            "1:49",
            "a read-only workspace is not supported yet",
        ),
        (
            "mounts: ['.:/workspace', {source: ., target: /workspace}]\n",
            "1:26",
            "another mount has the target /workspace",
        ),
        (
            "mounts: [{source: a}]\n",
            "1:10",
            "the key 'target' is missing",
        ),
        (
            "mounts: [{target: /a}]\n",
            "1:10",
            "the key 'source' is missing",
        ),
        (
            "mounts: [{source: a, target: b}]\n",
            "1:30",
            "the target 'b' is not an absolute path",
        ),
        (
            "mounts: [{source: 1, target: /b}]\n",
            "1:19",
            "found the number 1",
        ),
        (
            "mounts: [{source: '', target: /b}]\n",
            "1:19",
            "found an empty text",
        ),
        (
            "mounts: [{source: a, target: /b, mode: rx}]\n",
            "1:40",
            "it must be one of: ro, rw",
        ),
        (
            "mounts: [{source: a, tagret: /b, target: /b}]\n",
            "1:22",
            "(did you mean 'target'?)",
        ),
        (
            "mounts: [{source: a, target: /b, exclude: x}]\n",
            "1:43",
            "expected a list",
        ),
        (
            "mounts: [{source: a, target: /b, exclude: [/x]}]\n",
            "1:44",
            "it is absolute",
        ),
        (
            "mounts: [{source: a, target: /b, exclude: [x/../y]}]\n",
            "1:44",
            "below the mount",
        ),
        (
            "mounts: [{source: a, target: /b, exclude: [.]}]\n",
            "1:44",
            "below the mount",
        ),
        (
            "mounts: [{source: a, target: /b, exclude: [x y]}]\n",
            "1:44",
            "only letters, digits",
        ),
        (
            "mounts: [{source: a, target: /b, exclude: [x, x/y]}]\n",
            "1:47",
            "overlaps the excluded path 'x'",
        ),
        (
            "mounts: [{source: a, target: /b, exclude: [x/y, ./x]}]\n",
            "1:49",
            "overlaps the excluded path 'x/y'",
        ),
        (
            "mounts:\n  - a:/b\n  - c:/b/\n",
            "3:5",
            "another mount has the target /b",
        ),
        (
            "name: p\nmounts: ['a:/b']\nvolumes: [{name: v, target: /b}]\n",
            "3:11",
            "another mount has the target /b",
        ),
        ("name: p\nvolumes: {name: v}\n", "2:10", "expected a list"),
        (
            "name: p\nvolumes: [v]\n",
            "2:11",
            "expected keys and values, found 'v'",
        ),
        (
            "name: p\nvolumes: [{target: /a}]\n",
            "2:11",
            "the key 'name' is missing",
        ),
        (
            "name: p\nvolumes: [{name: v}]\n",
            "2:11",
            "the key 'target' is missing",
        ),
        (
            "name: p\nvolumes: [{name: V, target: /a}]\n",
            "2:18",
            "bad name of a volume 'V'",
        ),
        (
            "name: p\nvolumes: [{name: ../x, target: /a}]\n",
            "2:18",
            "bad name of a volume '../x'",
        ),
        (
            "name: p\nvolumes: [{name: v, target: /}]\n",
            "2:29",
            "would hide the container's own files",
        ),
        (
            "name: p\nvolumes: [{name: v, target: /a, type: bnid}]\n",
            "2:39",
            "(did you mean 'bind'?)",
        ),
        (
            "name: p\nvolumes: [{name: v, target: /a, readonly: 1}]\n",
            "2:43",
            "true or false",
        ),
        (
            "name: p\nvolumes: [{name: v, target: /a, size: 1}]\n",
            "2:33",
            "unknown key 'size'",
        ),
        (
            "name: p\nvolumes:\n  - {name: v, target: /a}\n  - {name: v, target: /b}\n",
            "4:5",
            "another volume is named 'v'",
        ),
        (
            "volumes: [{name: v, target: /a}]\n",
            "1:11",
            "set the key 'name'",
        ),
        (
            "workspace: bind\n",
            "1:12",
            "expected keys and values, found 'bind'",
        ),
        (
            "workspace: {mode: copy}\n",
            "1:19",
            "it must be one of: bind, volume",
        ),
        ("workspace: {mode: ''}\n", "1:19", "found an empty text"),
        ("workspace: {mode: 1}\n", "1:19", "found the number 1"),
        (
            "workspace: {mdoe: bind}\n",
            "1:13",
            "unknown key 'mdoe' (did you mean 'mode'?)",
        ),
    ]);
}

#[test]
fn the_container_and_its_ports() {
    assert_problems(&[
        ("container: 1\n", "1:12", "expected keys and values"),
        (
            "container: {memory: 5m}\n",
            "1:21",
            "bad memory size '5m': it is less than 6m",
        ),
        ("container: {memory: 5}\n", "1:21", "it is less than 6m"),
        ("container: {memory: -5}\n", "1:21", "it is not a size"),
        (
            "container: {memory: lots}\n",
            "1:21",
            "bad memory size 'lots'",
        ),
        (
            "container: {memory: [1]}\n",
            "1:21",
            "expected text or a number, found a list",
        ),
        ("container: {memory: ''}\n", "1:21", "bad memory size ''"),
        (
            "container: {memory: true}\n",
            "1:21",
            "expected text or a number, found true",
        ),
        ("container: {cpus: 0}\n", "1:19", "bad number of cpus '0'"),
        ("container: {cpus: x}\n", "1:19", "bad number of cpus 'x'"),
        (
            "container: {cpus: .inf}\n",
            "1:19",
            "bad number of cpus '.inf'",
        ),
        (
            "container: {cpus: ~}\n",
            "1:19",
            "expected text or a number, found nothing",
        ),
        (
            "container: {pids: 0}\n",
            "1:19",
            "expected a whole number from 1 to 4194304, found the number 0",
        ),
        ("container: {pids: 1.5}\n", "1:19", "found the number 1.5"),
        ("container: {pids: '9'}\n", "1:19", "found '9'"),
        (
            "container: {pids: 9999999999}\n",
            "1:19",
            "found the number 9999999999",
        ),
        ("container: {dns: 1.1.1.1}\n", "1:18", "expected a list"),
        (
            "container: {dns: [x]}\n",
            "1:19",
            "'x' is not an IP address",
        ),
        (
            "container: {dns: ['1.1.1.1:53']}\n",
            "1:19",
            "is not an IP address",
        ),
        (
            "container: {dns: ['::1', '0::1']}\n",
            "1:26",
            "::1 is listed twice",
        ),
        (
            "container: {host_ca: 1}\n",
            "1:22",
            "expected true or false",
        ),
        (
            "container: {host_ca: ''}\n",
            "1:22",
            "expected true or false",
        ),
        (
            "container: {ulimits: [a]}\n",
            "1:22",
            "expected keys and values",
        ),
        (
            "container: {ulimits: {nofiles: 1}}\n",
            "1:23",
            "unknown limit 'nofiles' (did you mean 'nofile'?)",
        ),
        (
            "container: {ulimits: {nofile: x}}\n",
            "1:31",
            "expected a whole number from -1 to",
        ),
        (
            "container: {ulimits: {nofile: -2}}\n",
            "1:31",
            "found the number -2",
        ),
        (
            "container: {ulimits: {nofile: {soft: 1}}}\n",
            "1:31",
            "the key 'hard' is missing",
        ),
        (
            "container: {ulimits: {nofile: {soft: 2, hard: 1}}}\n",
            "1:31",
            "the soft limit is above the hard limit",
        ),
        (
            "container: {ulimits: {nofile: {soft: -1, hard: 1}}}\n",
            "1:31",
            "the soft limit is above the hard limit",
        ),
        (
            "container: {ulimits: {nofile: 1, nofile: 2}}\n",
            "1:34",
            "is listed twice",
        ),
        (
            "container: {ulimits: {nofile: {soft: 1, hard: 2, mid: 1}}}\n",
            "1:50",
            "unknown key 'mid'",
        ),
        (
            "container: {memroy: 1g, memory: 1g}\n",
            "1:13",
            "(did you mean 'memory'?)",
        ),
        (
            "ports: [80]\n",
            "1:8",
            "expected keys and values, found a list",
        ),
        (
            "ports: {web: 0}\n",
            "1:14",
            "expected a port from 1 to 65535",
        ),
        ("ports: {web: 70000}\n", "1:14", "found the number 70000"),
        ("ports: {web: 80.5}\n", "1:14", "found the number 80.5"),
        ("ports: {web: x}\n", "1:14", "found 'x'"),
        ("ports: {web: ''}\n", "1:14", "found an empty text"),
        ("ports: {web: '1:2:3'}\n", "1:14", "found '1:2:3'"),
        ("ports: {web: '0.0.0.0:80'}\n", "1:14", "found '0.0.0.0:80'"),
        ("ports: {web: '+80'}\n", "1:14", "found '+80'"),
        ("ports: {web: [80]}\n", "1:14", "found a list"),
        ("ports: {a b: 80}\n", "1:9", "bad name of a port 'a b'"),
        ("ports: {a: 80, a: 81}\n", "1:16", "is listed twice"),
        (
            "ports: {a: 80, b: 80}\n",
            "1:19",
            "'a' already has that port",
        ),
        (
            "ports: {a: '1:80', b: '1:81'}\n",
            "1:23",
            "'a' already has that port",
        ),
    ]);
}

/// Keys that other tools support have other messages than unknown keys.
#[test]
fn unknown_and_unsupported_keys() {
    assert_problems(&[
        (
            "dependancies: [a]\nname: a\n",
            "1:1",
            "unknown key 'dependancies' (did you mean 'dependencies'?)",
        ),
        ("name: a\nzzz: 1\n", "2:1", "unknown key 'zzz'"),
        ("? [a]\n: b\n", "1:3", "expected a key that is text"),
        (
            "~: b\n",
            "1:1",
            "expected a key that is text (quote it), found nothing",
        ),
        ("'': b\n", "1:1", "unknown key ''"),
        ("<<: {name: a}\n", "1:1", "unknown key '<<'"),
        ("- a\n", "1:1", "expected keys and values, found a list"),
        ("text\n", "1:1", "expected keys and values, found 'text'"),
        ("5\n", "1:1", "expected keys and values, found the number 5"),
    ]);
    for key in [
        "agent",
        "agents",
        "claude",
        "clipboard",
        "codex",
        "copilot",
        "gemini",
        "grants",
        "language_servers",
        "mcp",
        "network",
        "pi",
        "sandbox",
        "snapshots",
        "tracing",
        "version",
    ] {
        let found = problems(&format!("name: a\n{key}: {{x: 1}}\n"));
        assert_eq!(found, [format!("2:1: '{key}' is not supported yet")]);
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = "\
timeout: 5
nmae: x
env:
  A=: b
  B: [c]
volumes:
  - {name: V, target: x, type: y}
secrets: {C: d}
name: a/b
container:
  cpus: x
  memory: y
";
    let found = problems(text);
    let places: Vec<String> = found
        .iter()
        .map(|problem| problem.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(
        places,
        [
            "1:10", "2:1", "4:3", "5:6", "7:12", "7:23", "7:32", "8:14", "9:7", "11:9", "12:11"
        ],
        "{found:#?}"
    );
}

#[test]
fn very_many_problems_are_cut_short() {
    let text: String = (0..500).map(|number| format!("k{number}: 1\n")).collect();
    let found = problems(&text);
    assert_eq!(found.len(), 201);
    assert_eq!(found[200], " and 300 more problems");
}

#[test]
fn a_file_without_a_word_says_nothing() {
    for text in [
        "",
        "\n",
        "# only a comment\n",
        "---\n",
        "{}\n",
        "~\n",
        "\u{feff}",
        "name: a",
    ] {
        let settings = good(text).settings;
        assert_eq!(settings.name.is_some(), text == "name: a", "{text:?}");
    }
    // A key without a value is an empty map where a map is expected.
    assert!(
        good("env:\nhooks:\ncontainer:\nsecrets:\nports:\nworkspace:\n")
            .settings
            .env
            .is_empty()
    );
}

#[test]
fn every_key_in_every_form() {
    let text = r#"
name: shop
runtime: docker
base_image: debian:12
dependencies: [node@22, "npm:typescript@5"]
env: {A: 1.10, B: true, C: "", D: 0x10, E: 'a b'}
env_file: [.env, ~/other]
secrets: {S: env://X, T: file://../t, U: op://v/i/f, V: ssm:///a/b}
mounts:
  - ../data:/data:ro
  - {source: ~/src, target: /src//lib/, mode: ro, exclude: [node_modules, ./a//b]}
  - {source: x, target: /x}
volumes:
  - {name: cache, target: /cache}
  - {name: db_1, target: /db, type: volume, readonly: true}
workspace: {mode: volume}
command: [npm, run, 5, ""]
interactive: true
hooks: {post_build_root: a, post_build: "b\n", pre_run: c}
container:
  memory: 512
  cpus: 1.5
  pids: 100
  dns: [1.1.1.1, "::1"]
  ulimits: {nofile: 1024, core: -1, stack: {soft: 1, hard: -1}}
  host_ca: true
ports: {web: 3000, api: "8080:80", db: 8081:81}
timeout: 1h30m
"#;
    let settings = good(text).settings;
    assert_eq!(settings.name.unwrap().value.to_string(), "shop");
    assert_eq!(settings.runtime.unwrap().value, "docker");
    assert_eq!(
        settings.base.unwrap().value,
        RootFilesystem::Image("debian:12".into())
    );
    let dependencies: Vec<String> = settings
        .dependencies
        .into_iter()
        .map(|text| text.value)
        .collect();
    assert_eq!(dependencies, ["node@22", "npm:typescript@5"]);
    let env: Vec<String> = settings
        .env
        .iter()
        .map(|e| format!("{}={}", e.value.0, e.value.1))
        .collect();
    assert_eq!(env, ["A=1.10", "B=true", "C=", "D=0x10", "E=a b"]);
    let files: Vec<String> = settings
        .env_files
        .into_iter()
        .map(|text| text.value)
        .collect();
    assert_eq!(files, [".env", "~/other"]);
    let vaults: Vec<Vault> = settings
        .secrets
        .into_iter()
        .map(|secret| secret.value.vault)
        .collect();
    assert_eq!(
        vaults,
        [
            Vault::Env("X".into()),
            Vault::File("../t".into()),
            Vault::Op("op://v/i/f".into()),
            Vault::Ssm("/a/b".into()),
        ]
    );
    let mounts: Vec<(String, String, bool, Vec<String>)> = settings
        .mounts
        .into_iter()
        .map(|mount| mount.value)
        .map(|m| {
            (
                m.source.display().to_string(),
                m.target,
                m.readonly,
                m.exclude,
            )
        })
        .collect();
    let mount = |source: &str, target: &str, readonly, exclude: &[&str]| {
        let exclude = exclude.iter().map(|path| (*path).to_owned()).collect();
        (source.to_owned(), target.to_owned(), readonly, exclude)
    };
    assert_eq!(
        mounts,
        [
            mount("../data", "/data", true, &[]),
            mount("~/src", "/src/lib", true, &["node_modules", "a/b"]),
            mount("x", "/x", false, &[]),
        ]
    );
    let volumes: Vec<(String, VolumeKind, bool)> = settings
        .volumes
        .into_iter()
        .map(|volume| (volume.value.name, volume.value.kind, volume.value.readonly))
        .collect();
    assert_eq!(
        volumes,
        [
            ("cache".to_owned(), VolumeKind::Bind, false),
            ("db_1".to_owned(), VolumeKind::Volume, true),
        ]
    );
    assert_eq!(
        settings.workspace_mode.unwrap().value,
        WorkspaceMode::Volume
    );
    assert_eq!(settings.command, ["npm", "run", "5", ""]);
    assert!(settings.interactive);
    assert_eq!(settings.hooks.post_build_root.unwrap().value, "a");
    assert_eq!(settings.hooks.post_build.unwrap().value, "b\n");
    assert_eq!(settings.hooks.pre_run.unwrap().value, "c");
    let container = settings.container;
    assert_eq!(container.memory_bytes.unwrap().value, 512 << 20);
    assert_eq!(container.cpus.unwrap().value, 1.5);
    assert_eq!(container.pids.unwrap().value, 100);
    let dns: Vec<String> = container
        .dns
        .iter()
        .map(|server| server.value.to_string())
        .collect();
    assert_eq!(dns, ["1.1.1.1", "::1"]);
    let limits: Vec<(&str, Option<u64>, Option<u64>)> = container
        .ulimits
        .iter()
        .map(|limit| {
            (
                limit.value.name.as_str(),
                limit.value.soft,
                limit.value.hard,
            )
        })
        .collect();
    assert_eq!(
        limits,
        [
            ("nofile", Some(1024), Some(1024)),
            ("core", None, None),
            ("stack", Some(1), None),
        ]
    );
    assert!(container.host_ca.unwrap().value);
    let ports: Vec<(&str, Option<u16>, u16)> = settings
        .ports
        .iter()
        .map(|port| {
            (
                port.value.name.as_str(),
                port.value.host,
                port.value.container,
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            ("web", None, 3000),
            ("api", Some(8080), 80),
            ("db", Some(8081), 81)
        ]
    );
    assert_eq!(settings.timeout.unwrap().value, Duration::from_secs(5400));
}

#[test]
fn other_good_forms() {
    let base = |text: &str| good(text).settings.base.unwrap().value;
    assert_eq!(
        base("base_image: rootfs:/srv/root\n"),
        RootFilesystem::Rootfs("/srv/root".into())
    );
    assert_eq!(
        base("base_image: localhost:5000/a/b@sha256:00\n"),
        RootFilesystem::Image("localhost:5000/a/b@sha256:00".into())
    );
    let memory = |text: &str| good(text).settings.container.memory_bytes.unwrap().value;
    assert_eq!(memory("container: {memory: 2g}\n"), 2 << 30);
    assert_eq!(memory("container: {memory: '8'}\n"), 8 << 20);
    assert_eq!(good("env_file: .env\n").settings.env_files[0].value, ".env");
    assert_eq!(
        good("name: a\r\nenv:\r\n  A: b\r\n").settings.env[0]
            .value
            .1,
        "b"
    );
    assert_eq!(good("\u{feff}env: {A: b}\n").settings.env.len(), 1);
    let aliased = good("hooks: {pre_run: &x make, post_build: *x}\n")
        .settings
        .hooks;
    assert_eq!(aliased.post_build.unwrap().value, "make");
    let folded = good("hooks:\n  pre_run: |\n    a\n    b\n").settings.hooks;
    assert_eq!(folded.pre_run.unwrap().value, "a\nb\n");
}

#[test]
fn the_file_is_called_as_people_call_it() {
    let dir = TempDir::new();
    let call = |shown: &str| {
        let file = project(dir.path(), Path::new(shown)).unwrap().unwrap();
        file.source.finish().unwrap_err().message
    };
    dir.write("agent.yaml", "a: 1\n");
    assert_eq!(call("."), "agent.yaml:1:1: unknown key 'a'");
    // Only the newer name counts.
    dir.write("moat.yaml", "b: 1\n");
    assert_eq!(call(""), "moat.yaml:1:1: unknown key 'b'");
    assert_eq!(call("../x"), "../x/moat.yaml:1:1: unknown key 'b'");
    assert_eq!(call("a\u{1b}b"), "a\\u{1b}b/moat.yaml:1:1: unknown key 'b'");
    assert!(
        project(Path::new("/nonexistent"), Path::new(""))
            .unwrap()
            .is_none()
    );
    let file = dir.path().join("moat.yaml");
    assert!(
        project(&file, Path::new("moat.yaml")).unwrap().is_none(),
        "a file has none in it"
    );
}

#[test]
fn defaults_are_as_strict() {
    let dir = TempDir::new();
    let read = |text: &str| {
        let path = dir.write("config.yaml", text);
        let defaults = defaults(&path).unwrap().unwrap();
        (
            defaults.background,
            defaults.file.source.finish().map_err(|error| error.message),
        )
    };
    assert!(read("run: {background: true}\n").0);
    assert_eq!(read("defaults: {env: {A: b}}\n").1, Ok(()));
    for (text, part) in [
        ("defaults: {name: a}\n", ":1:12: unknown key 'name'"),
        (
            "defaults: {hooks: {pre_run: a}}\n",
            ":1:12: unknown key 'hooks'",
        ),
        ("defaults: [a]\n", ":1:11: expected keys and values"),
        (
            "defaults: {mounts: ['a:/b']}\n",
            ":1:21: a source in config.yaml must be absolute",
        ),
        (
            "defaults: {container: {pids: x}}\n",
            ":1:30: expected a whole number",
        ),
        ("run: {background: 1}\n", ":1:19: expected true or false"),
        // A file of the Go moat.
        (
            "proxy: {port: 8080}\n",
            ":1:1: 'proxy' is not supported yet",
        ),
        (
            "debug: {retention_days: 14}\n",
            ":1:1: 'debug' is not supported yet",
        ),
        (
            "mounts: ['/a:/b']\n",
            ":1:1: write 'mounts' below 'defaults'",
        ),
        (
            "defaults: {mounts: [{source: /a, target: /workspace}]}\n",
            ":1:21: the target '/workspace' is the workspace's own",
        ),
    ] {
        let found = read(text).1.unwrap_err();
        assert!(found.contains(part), "{found}");
    }
    assert!(defaults(&dir.path().join("none")).unwrap().is_none());
}

/// A file of the maximum size, with every position queried.
#[test]
fn the_largest_files_are_read_in_a_moment() {
    let lines =
        |count: usize, line: &dyn Fn(usize) -> String| -> String { (0..count).map(line).collect() };
    let quoted = lines(4000, &|n| format!("  A{n}: \"x\"\n"));
    for text in [
        format!("env:\n{}", lines(9000, &|n| format!("  A{n}: {n}\n"))),
        format!(
            "env:\n{quoted}secrets:\n{}",
            lines(4000, &|n| format!("  A{n}: env://B\n"))
        ),
        format!("env:\n{quoted}{}", lines(300, &|n| format!("k{n}: 1\n"))),
        format!(
            "dependencies: [{}]\n",
            lines(9000, &|n| format!("npm:a{n},"))
        ),
    ] {
        let start = std::time::Instant::now();
        let found = problems(&text);
        assert!(found.is_empty() || found.len() == 201, "{}", found.len());
        // A reader with quadratic time takes minutes. This build is not optimised.
        let took = start.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}: {}", &text[..40]);
    }
}

#[test]
fn services_of_a_compose_file() {
    let file = good(
        "session:\n  compose:\n    file: [a.yml, dev/b.yml]\n    timeout: 5s\n    services:\n      db: {port: 5500, port_env: PG}\n      my.mail: {port: 5600, container_port: 1025, extra_ports: [{port: 5700, container_port: 8025, port_env: UI}]}\n      worker:\n",
    );
    let session = &file.settings.session;
    let compose = session.compose.as_ref().unwrap();
    assert_eq!(compose.files, [Path::new("a.yml"), Path::new("dev/b.yml")]);
    assert_eq!(compose.timeout, Duration::from_secs(5));
    let holders = session.port_users();
    let names: Vec<(String, bool)> = holders
        .iter()
        .map(|holder| (holder.variable(), holder.port.is_some()))
        .collect();
    assert_eq!(
        names,
        [
            ("MOAT_DB_PORT".to_owned(), true),
            ("MOAT_MY_MAIL_PORT".to_owned(), true),
            ("MOAT_WORKER_PORT".to_owned(), false),
        ]
    );
    assert_eq!(session.slot_of(5703), Some((3, "my.mail")));
    assert_eq!(compose.services[1].extra_ports[0].container_port, 8025);
}

#[test]
fn what_a_worktree_cannot_inherit() {
    for (item, expected) in [
        ("../x", "2:13: '../x' is not a path inside the worktree"),
        ("/etc", "2:13: '/etc' is not a path inside the worktree"),
        (
            ".",
            "2:13: '.' is the whole checkout: name files or directories in it",
        ),
        (
            ".git",
            "2:13: '.git' belongs to git, and each worktree has its own",
        ),
        (
            "sub/.GIT/x",
            "2:13: 'sub/.GIT/x' belongs to git, and each worktree has its own",
        ),
        (
            ".env.moat",
            "2:13: '.env.moat' has the variables of a session, and moat writes it",
        ),
        ("'a[b'", "2:13: bad pattern 'a[b': "),
        ("a, ./a/", "2:16: './a/' is listed twice"),
        ("{mode: link}", "2:13: the key 'path' is missing"),
        (
            "{file: a, path: a}",
            "2:14: 'file' and 'path' mean the same: leave out 'file'",
        ),
        ("{path: a, mode: move}", "2:29: "),
    ] {
        let found = problems(&format!("session:\n  inherit: [{item}]\n"));
        let is_it = |problem: &String| problem.starts_with(expected);
        assert!(found.iter().any(is_it), "{item}: {found:#?}");
    }
}

#[test]
fn what_is_wrong_with_services_of_a_compose_file() {
    for (text, expected) in [
        ("{}", "2:12: the key 'file' is missing"),
        (
            "{file: a, services: {}}",
            "2:32: name at least one service of the compose file",
        ),
        (
            "{file: [], services: {a: }}",
            "2:19: expected at least one file, found a list",
        ),
        (
            "{file: ../a, services: {a: }}",
            "2:19: '../a' is not a path inside the worktree",
        ),
        (
            "{file: a, service: {}, services: {a: }}",
            "2:22: unknown key 'service' (did you mean 'services'?)",
        ),
        (
            "{file: a, services: [a]}",
            "2:32: expected keys and values, found a list",
        ),
        (
            "{file: a, services: {-a: }}",
            "2:33: bad name of a service '-a'",
        ),
        (
            "{file: a, services: {a: {ports: 1}}}",
            "2:37: unknown key 'ports' (did you mean 'port'?)",
        ),
        (
            "{file: a, services: {a: {port: 0}}}",
            "2:43: expected a whole number from 1 to 65535, found the number 0",
        ),
        (
            "{file: a, services: {a: {container_port: 1}}}",
            "2:37: 'container_port' has no effect without 'port'",
        ),
        (
            "{file: a, services: {a.b: , a-b: }}",
            "2:40: 'a.b' has the same port variable",
        ),
        (
            "{file: a, services: {a: {extra_ports: [{port: 1, port_env: X}]}}}",
            "2:51: the key 'container_port' is missing",
        ),
        ("{file: a, timeout: soon, services: {a: }}", "2:31: "),
        (
            "{file: a, services: {a: {port: 4000}, b: {port: 4004}}}",
            "2:60: its ports begin at 4005, but those of 'a' (4000) can reach 4088",
        ),
    ] {
        let found = problems(&format!("session:\n  compose: {text}\n"));
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{text}: {found:#?}"
        );
    }
    let found = problems(
        "session:\n  processes: {db: {command: x}}\n  compose: {file: a, services: {DB: }}\n",
    );
    assert_eq!(found, ["3:33: 'db' already has the variable MOAT_DB_PORT"]);
}
