//! The built-in registry, the user's own files, and the resolution of dependencies.

use std::path::Path;

use super::entry::DISTRO;
use super::*;
use crate::config::tests::TempDir;
use crate::error::Error;
use crate::yaml::{NodeId, Placed};

fn built_in() -> Registry {
    load(Path::new("/nonexistent")).unwrap()
}

/// A registry with only this file.
pub(crate) fn of_text(text: &str) -> Result<Registry, Error> {
    let mut registry = Registry::default();
    registry.add(
        "r.yaml",
        text.to_owned(),
        &EntryOrigin::File("r.yaml".to_owned()),
    )?;
    Ok(registry)
}

/// The resolved dependencies as `NAME VERSION <REQUIRED_BY`, or their problems.
fn chosen_from(registry: &Registry, asked: &[&str]) -> Result<Vec<String>, Vec<String>> {
    let asked: Vec<Placed<String>> = asked
        .iter()
        .map(|text| Placed {
            at: NodeId::ROOT,
            value: (*text).to_owned(),
        })
        .collect();
    match choose(registry, &asked) {
        Ok(chosen) => Ok(chosen.iter().map(shown).collect()),
        Err(flaws) => Err(flaws.into_iter().map(|(_, why)| why).collect()),
    }
}

fn shown(chosen: &ResolvedDependency) -> String {
    let mut text = chosen.entry.name.clone();
    for (mark, word) in [(" ", &chosen.version), (" <", &chosen.required_by)] {
        if let Some(word) = word {
            text.push_str(mark);
            text.push_str(word);
        }
    }
    text
}

#[track_caller]
fn assert_chosen(asked: &[&str], expected: &[&str]) {
    assert_eq!(chosen_from(&built_in(), asked).unwrap(), expected);
}

#[track_caller]
fn assert_refused(registry: &Registry, asked: &[&str], why: &[&str]) {
    assert_eq!(chosen_from(registry, asked).unwrap_err(), why);
}

#[test]
fn every_entry_can_be_had() {
    let registry = built_in();
    assert!(registry.entries().count() > 80);
    for entry in registry.entries() {
        let name = entry.name.as_str();
        assert!(!entry.description.is_empty(), "{name}");
        assert_eq!(entry.origin, EntryOrigin::BuiltIn);
        for required in &entry.requires {
            assert!(
                registry.get(required).is_some(),
                "{name} requires {required}"
            );
        }
        let found = chosen_from(&registry, &[name]);
        let found = found.unwrap_or_else(|why| panic!("{name}: {why:?}"));
        assert!(found.last().unwrap().starts_with(name), "{found:?}");
        // Every available version, too.
        for version in entry.version_list() {
            let asked = format!("{name}@{version}");
            assert!(chosen_from(&registry, &[&asked]).is_ok(), "{asked}");
        }
    }
}

#[test]
fn requirements_come_first_and_say_why() {
    assert_chosen(&["typescript"], &["node 22 <typescript", "typescript"]);
    assert_chosen(&["ruff"], &["python 3.11 <uv", "uv 0.11.6 <ruff", "ruff"]);
    assert_chosen(
        &["k8s"],
        &["kubectl stable <k8s", "helm 3.16.0 <k8s", "k8s"],
    );
    // Once, even if several dependencies require it.
    assert_chosen(
        &["eslint", "prettier"],
        &["node 22 <eslint", "eslint", "prettier"],
    );
    // A dependency that the project names is not a mere requirement, whatever the order.
    assert_chosen(&["typescript", "node"], &["node 22", "typescript"]);
    assert_chosen(&["typescript", "node@20"], &["node 20", "typescript"]);
    assert_chosen(
        &["node@distro", "eslint@9.1.0"],
        &["node distro", "eslint 9.1.0"],
    );
}

#[test]
fn packages_without_an_entry() {
    assert_chosen(
        &["npm:@a/b@1.2.3"],
        &["node 22 <npm:@a/b", "npm:@a/b 1.2.3"],
    );
    assert_chosen(&["npm:@a/b"], &["node 22 <npm:@a/b", "npm:@a/b"]);
    assert_chosen(&["pip:x[y]@1"], &["python 3.11 <pip:x[y]", "pip:x[y] 1"]);
    assert_chosen(&["uv:x"], &["python 3.11 <uv", "uv 0.11.6 <uv:x", "uv:x"]);
    assert_chosen(&["cargo:x@0.1.0"], &["rust 1.90 <cargo:x", "cargo:x 0.1.0"]);
    assert_chosen(
        &["go:a.b/c/cmd@v1.0.0"],
        &["go 1.25 <go:a.b/c/cmd", "go:a.b/c/cmd v1.0.0"],
    );
}

#[test]
fn versions() {
    let registry = built_in();
    // A listed version of a runtime covers the versions below it.
    assert_chosen(&["node@22.11.0"], &["node 22.11.0"]);
    assert_chosen(&["go@1.24.1"], &["go 1.24.1"]);
    assert_chosen(&["python@3.10"], &["python 3.10"]);
    for (text, why) in [
        (
            "node@99",
            "node@99 does not exist; the versions are 18, 20, 22, 24, distro (default 22)",
        ),
        (
            "node@2",
            "node@2 does not exist; the versions are 18, 20, 22, 24, distro (default 22)",
        ),
        (
            "node@220",
            "node@220 does not exist; the versions are 18, 20, 22, 24, distro (default 22)",
        ),
        (
            "python@3.1",
            "python@3.1 does not exist; the versions are 3.9, 3.10, 3.11, 3.12, 3.13, 3.14, distro (default 3.11)",
        ),
        (
            "jq@1",
            "'jq' has no versions to choose from: it is of type apt",
        ),
        (
            "k8s@1",
            "'k8s' has no versions to choose from: it is of type meta",
        ),
    ] {
        assert_refused(&registry, &[text], &[why]);
    }
}

#[test]
fn contradictions_and_repetitions() {
    let registry = built_in();
    assert_refused(&registry, &["node", "node"], &["'node' is listed twice"]);
    assert_refused(
        &registry,
        &["node@20", "node@22"],
        &["'node@22' contradicts another version of 'node'"],
    );
    assert_refused(
        &registry,
        &["npm:a", "npm:a@1"],
        &["'npm:a@1' contradicts another version of 'npm:a'"],
    );
    // All problems at once.
    let why = chosen_from(&registry, &["nodee", "jq@1", "postgres@9"]).unwrap_err();
    assert_eq!(why.len(), 3, "{why:?}");
}

#[test]
fn unknown_names_and_bad_forms() {
    let registry = built_in();
    for (text, why) in [
        (
            "nodee",
            "unknown dependency 'nodee' (did you mean 'node'?); see all: moat deps list",
        ),
        (
            "zzzzzzzz",
            "unknown dependency 'zzzzzzzz'; see all: moat deps list",
        ),
        ("Node", "bad dependency 'Node': write NAME, or NAME@VERSION"),
        ("", "bad dependency '': write NAME, or NAME@VERSION"),
        (
            "docker:dind",
            "bad dependency 'docker:dind': docker in a container is not supported yet",
        ),
        (
            "docker:host",
            "bad dependency 'docker:host': docker in a container is not supported yet",
        ),
        (
            "node@",
            "bad dependency 'node@': a version has letters and digits, with '.', '_', '+' and '-' between them",
        ),
        (
            "node@22.",
            "bad dependency 'node@22.': a version has letters and digits, with '.', '_', '+' and '-' between them",
        ),
        (
            "node@-1",
            "bad dependency 'node@-1': a version has letters and digits, with '.', '_', '+' and '-' between them",
        ),
        (
            "node@1 2",
            "bad dependency 'node@1 2': a version has letters and digits, with '.', '_', '+' and '-' between them",
        ),
        (
            "gem:x",
            "bad dependency 'gem:x': the prefix of a package must be one of npm:, pip:, uv:, cargo:, go:",
        ),
        (
            "npm:",
            "bad dependency 'npm:': write npm:PACKAGE, or npm:PACKAGE@VERSION",
        ),
        (
            "npm:--x",
            "bad dependency 'npm:--x': write npm:PACKAGE, or npm:PACKAGE@VERSION",
        ),
        (
            "npm:a/b",
            "bad dependency 'npm:a/b': write npm:PACKAGE, or npm:PACKAGE@VERSION",
        ),
        (
            "npm:@a",
            "bad dependency 'npm:@a': write npm:PACKAGE, or npm:PACKAGE@VERSION",
        ),
        (
            "pip:x;rm",
            "bad dependency 'pip:x;rm': write pip:PACKAGE, or pip:PACKAGE@VERSION",
        ),
        (
            "cargo:$(x)",
            "bad dependency 'cargo:$(x)': write cargo:PACKAGE, or cargo:PACKAGE@VERSION",
        ),
        (
            "go:gopls",
            "bad dependency 'go:gopls': write go:HOST/PATH, or go:HOST/PATH@VERSION",
        ),
        (
            "go:a/../b",
            "bad dependency 'go:a/../b': write go:HOST/PATH, or go:HOST/PATH@VERSION",
        ),
        (
            "node\u{1b}",
            "bad dependency 'node\\u{1b}': write NAME, or NAME@VERSION",
        ),
    ] {
        assert_refused(&registry, &[text], &[why]);
    }
}

/// The problems of a registry file, as `LINE:COLUMN: MESSAGE`.
fn problems(text: &str) -> Vec<String> {
    let Err(error) = of_text(text) else {
        return Vec::new();
    };
    let shown = |problem: &crate::error::FileProblem| {
        let text = problem.to_string();
        text.strip_prefix("r.yaml:").unwrap_or(&text).to_owned()
    };
    error.problems.iter().map(shown).collect()
}

#[test]
fn what_can_be_wrong_with_an_entry() {
    let entry = |rest: &str| format!("x: {{description: d,{rest}}}\n");
    let runtime = "type: runtime, default: '1', copy: [/a]";
    let service = |rest: &str| {
        entry(&format!(
            "type: service, image: 'a:{{version}}', default: 1, {rest}"
        ))
    };
    let github = "type: github-binary, default: '1', repo: a/b";
    let mut wrong = Vec::new();
    for (text, place, part) in [
        (
            "x: 5\n".to_owned(),
            "1:4",
            "expected the keys of an entry, found the number 5",
        ),
        (
            "x: {description: d}\n".to_owned(),
            "1:1",
            "the key 'type' is missing",
        ),
        (
            "x: {type: meta, requires: [a]}\n".to_owned(),
            "1:4",
            "the key 'description' is missing",
        ),
        (
            "X: {type: npm, description: d}\n".to_owned(),
            "1:1",
            "bad name of an entry 'X'",
        ),
        (
            "'': {type: npm, description: d}\n".to_owned(),
            "1:1",
            "bad name of an entry ''",
        ),
        (
            "../x: {type: npm, description: d}\n".to_owned(),
            "1:1",
            "bad name of an entry '../x'",
        ),
        (
            "1: {type: npm, description: d}\n".to_owned(),
            "1:1",
            "a key that is text",
        ),
        (
            "- x\n".to_owned(),
            "1:1",
            "expected keys and values, found a list",
        ),
        (
            "x: {type: npm, description: d}\nx: {type: npm, description: d}\n".to_owned(),
            "2:1",
            "is listed twice",
        ),
        (
            entry("type: nmp"),
            "1:26",
            "unknown value 'nmp' (did you mean 'npm'?)",
        ),
        (
            entry("type: 5"),
            "1:26",
            "expected text, found the number 5",
        ),
        (
            entry("type: npm, pakcage: a"),
            "1:31",
            "unknown key 'pakcage' (did you mean 'package'?)",
        ),
        (
            entry("type: npm, script: a"),
            "1:31",
            "unknown key 'script'",
        ),
        (
            entry("type: npm, package: 'a b'"),
            "1:40",
            "'a b' is not a name of a package",
        ),
        (
            entry("type: npm, package: '$(a)'"),
            "1:40",
            "is not a name of a package",
        ),
        (
            entry("type: npm, package: -g"),
            "1:40",
            "'-g' is not a name of a package",
        ),
        (
            entry("type: npm, package: ''"),
            "1:40",
            "found an empty text",
        ),
        (
            entry("type: npm, default: 'a b'"),
            "1:40",
            "bad version 'a b'",
        ),
        (
            entry("type: npm, default: [1]"),
            "1:40",
            "expected text or a number",
        ),
        (
            entry("type: npm, versions: []"),
            "1:41",
            "the list of versions is empty",
        ),
        (
            entry("type: npm, versions: [1, 1]"),
            "1:45",
            "or it is listed twice",
        ),
        (
            entry("type: npm, versions: [1], default: 2"),
            "1:46",
            "2 is not among 'versions'",
        ),
        (
            entry("type: npm, requires: node"),
            "1:41",
            "expected a list",
        ),
        (
            entry("type: npm, env: {'A=': x}"),
            "1:37",
            "bad variable name 'A='",
        ),
        (
            entry("type: npm, env: {'': x}"),
            "1:37",
            "bad variable name ''",
        ),
        (
            entry("type: npm, env: {A: \"x\\ny\"}"),
            "1:40",
            "has one line",
        ),
        (
            entry("type: npm, apt: ['a;b']"),
            "1:37",
            "'a;b' is not a name of a package",
        ),
        (entry("type: apt"), "1:4", "the key 'packages' is missing"),
        (
            entry("type: apt, packages: [a], default: 1"),
            "1:46",
            "an entry of type apt has no versions",
        ),
        (
            entry("type: meta"),
            "1:4",
            "an entry of type meta needs the key 'requires'",
        ),
        (
            entry("type: meta, requires: [a], versions: [1]"),
            "1:4",
            "an entry of type meta has no versions",
        ),
        (entry("type: custom"), "1:4", "the key 'script' is missing"),
        (
            entry("type: custom, script: ''"),
            "1:42",
            "found an empty text",
        ),
        (
            entry("type: service, image: 'a:{version}', ports: {default: 1}"),
            "1:4",
            "the key 'default' is missing",
        ),
        (
            entry("type: service, image: a, default: 1, ports: {default: 1}"),
            "1:42",
            "the image must contain {version}",
        ),
        (
            service("ports: {web: 1}"),
            "1:76",
            "ports by name, the first one named 'default'",
        ),
        (service("ports: {default: 0}"), "1:86", "from 1 to 65535"),
        (
            service("ports: {default: 1}, ready: [a, '{password}']"),
            "1:101",
            "a list of words cannot contain a placeholder",
        ),
        (
            service("ports: {default: 1}, ready: 'a {password}'"),
            "1:97",
            "{password} needs a variable under 'env' with exactly this value",
        ),
        (
            service("ports: {default: 1}, url: 'x://{password}'"),
            "1:4",
            "{password} needs a variable under 'env'",
        ),
        (
            service("ports: {default: 1}, env: {A: '{user}'}"),
            "1:4",
            "{user} needs the key 'user'",
        ),
        (
            service("ports: {default: 1}, url: 'x://{hosts}'"),
            "1:90",
            "can contain only the placeholders",
        ),
        (
            service("ports: {default: 1}, cache: a"),
            "1:97",
            "the path must be absolute",
        ),
        (
            service("ports: {default: 1}, provision: {key: k, command: [a]}"),
            "1:101",
            "the command must have one word {item}",
        ),
        (entry(runtime), "1:4", "the key 'image' is missing"),
        (
            entry("type: runtime, image: 'a:{version}', copy: [/a]"),
            "1:4",
            "the key 'default' is missing",
        ),
        (
            entry("type: runtime, image: 'a:{version}', default: 1"),
            "1:4",
            "the key 'copy' is missing",
        ),
        (
            entry(&format!("{runtime}, image: 'a b:{{version}}'")),
            "1:68",
            "is not a name of a package",
        ),
        (
            entry(&format!("{runtime}, image: 'a:{{version}}', path: [b]")),
            "1:90",
            "the path must be absolute",
        ),
        (
            entry("type: github-binary, default: 1, repo: a/b"),
            "1:4",
            "the key 'asset' is missing",
        ),
        (
            entry("type: github-binary, default: 1, asset: a"),
            "1:4",
            "the key 'repo' is missing",
        ),
        (
            entry("type: github-binary, repo: a/b, asset: a"),
            "1:4",
            "the key 'default' is missing",
        ),
        (
            entry("type: github-binary, default: 1, repo: a, asset: a"),
            "1:59",
            "the repository must have the form OWNER/NAME",
        ),
        (
            entry(&format!("{github}, asset: 'a-{{target}}'")),
            "1:4",
            "{target} needs the key 'targets'",
        ),
        (
            entry(&format!("{github}, asset: 'a-{{os}}'")),
            "1:73",
            "is not a name of a package",
        ),
        (
            entry(&format!("{github}, asset: a, targets: {{amd64: a}}")),
            "1:85",
            "the key 'arm64' is missing",
        ),
        (
            entry(&format!("{github}, asset: a, command: 'a b'")),
            "1:85",
            "'a b' is not a name of a package",
        ),
        (
            entry(&format!("{github}, asset: a, bin: '$x'")),
            "1:81",
            "is not a name of a package",
        ),
    ] {
        let found = problems(&text);
        let right = match &found[..] {
            [one] => one.starts_with(&format!("{place}: ")) && one.contains(part),
            _ => false,
        };
        if !right {
            wrong.push(format!("{text}  {place}: {part}\n  but {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_circle_of_requirements_ends() {
    let npm = "type: npm, description: d, requires";
    let registry = of_text(&format!(
        "a: {{{npm}: [b]}}\nb: {{{npm}: [a]}}\nc: {{{npm}: [c]}}\n"
    ))
    .unwrap();
    assert_refused(
        &registry,
        &["a"],
        &["a requires b requires a: the requirements form a circle"],
    );
    assert_refused(
        &registry,
        &["c"],
        &["c requires c: the requirements form a circle"],
    );
    let deep: String = (0..100)
        .map(|n| format!("a{n}: {{{npm}: [a{}]}}\n", n + 1))
        .collect();
    let registry = of_text(&deep).unwrap();
    let why = chosen_from(&registry, &["a0"]).unwrap_err();
    assert!(why[0].contains("the requirements form a circle"), "{why:?}");
}

/// A directory of the user's own files.
struct Own(TempDir);

impl Own {
    fn new(files: &[(&str, &str)]) -> Own {
        let dir = TempDir::new();
        for (name, text) in files {
            dir.write(name, text);
        }
        Own(dir)
    }

    fn load(&self) -> Result<Registry, Error> {
        load(self.0.path())
    }

    /// The problems, without the path of the directory.
    fn problems(&self) -> Vec<String> {
        let dir = format!("{}/", self.0.path().display());
        let error = self.load().unwrap_err();
        let shown = error.message.lines().map(|line| line.replace(&dir, ""));
        shown.collect()
    }
}

#[test]
fn own_files_add_and_override() {
    let own = Own::new(&[
        (
            "b.yaml",
            "node: {type: apt, description: Mine, packages: [nodejs]}\n",
        ),
        (
            "a.yaml",
            "mine: {type: npm, description: Mine, requires: [node, jq]}\n",
        ),
        ("README.md", "{not yaml"),
        ("c.yml", "also: not read"),
        (".yaml", "a hidden file: without an extension"),
        ("empty.yaml", ""),
    ]);
    let registry = own.load().unwrap();
    assert_eq!(
        chosen_from(&registry, &["mine"]).unwrap(),
        ["node <mine", "jq <mine", "mine"]
    );
    let file = own.0.path().join("b.yaml").display().to_string();
    assert_eq!(
        registry.get("node").unwrap().origin,
        EntryOrigin::File(file)
    );
    assert_eq!(registry.get("jq").unwrap().origin, EntryOrigin::BuiltIn);
    assert_eq!(registry.get("also"), None);
}

#[test]
fn problems_of_own_files_come_at_once() {
    let npm = "{type: npm, description: d}\n";
    let own = Own::new(&[
        ("a.yaml", &format!("x: {npm}y: {{type: npm}}\n")),
        ("b.yaml", &format!("x: {npm}")),
        ("c.yaml", "z: [\n"),
    ]);
    let found = own.problems();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_eq!(found[0], "a.yaml:2:4: the key 'description' is missing");
    assert_eq!(found[1], "b.yaml:1:1: 'x' is also in a.yaml");
    assert!(found[2].starts_with("c.yaml:"), "{found:?}");
    let own = Own::new(&[(
        "a.yaml",
        "x: {type: npm, description: d, requires: [nodee]}\n",
    )]);
    assert_eq!(
        own.problems(),
        ["a.yaml: 'x' requires an unknown entry 'nodee' (did you mean 'node'?)"]
    );
}

#[test]
fn own_files_that_cannot_be_read() {
    let own = Own::new(&[]);
    assert!(own.load().is_ok(), "an empty directory");
    std::fs::create_dir(own.0.path().join("d.yaml")).unwrap();
    assert_eq!(own.problems(), ["d.yaml: it is not a file"]);
    let own = Own::new(&[("x", "")]);
    let error = load(&own.0.path().join("x")).unwrap_err();
    assert!(
        error.message.contains("cannot read") && error.message.contains("not a directory"),
        "{error}"
    );
    let own = Own::new(&[]);
    own.0.write("n.yaml", b"a: \xff");
    assert_eq!(own.problems(), ["n.yaml: it is not UTF-8 (in line 1)"]);
}

#[test]
fn the_distributions_own_version_is_offered_where_there_is_one() {
    for name in ["node", "python", "go", "rust"] {
        let entry = built_in().get(name).cloned().unwrap();
        assert!(
            entry.has_version(DISTRO) && entry.version_list().contains(&DISTRO),
            "{name}"
        );
    }
    let text =
        "x: {type: runtime, description: d, default: '1', image: 'x:{version}', copy: [/a]}\n";
    assert!(!of_text(text).unwrap().get("x").unwrap().has_version(DISTRO));
}
