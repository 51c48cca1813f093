//! `moat deps`: the dependencies that a project can have.

use std::fs;

use crate::cli::fixture::{assert_nothing_made, refused, unreached};

#[test]
fn lists_and_searches() {
    let moat = unreached();
    let list = moat
        .args(["deps", "list"])
        .any_stdout()
        .success()
        .stdout_text();
    assert!(list.starts_with("NAME "), "{list}");
    let names = moat
        .args(["deps", "list", "-q"])
        .any_stdout()
        .success()
        .stdout_text();
    assert_eq!(names.lines().count() + 1, list.lines().count());
    assert!(
        names.lines().is_sorted() && names.lines().any(|name| name == "node"),
        "{names}"
    );
    let all = moat
        .args(["deps", "list", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(all.as_array().unwrap().len(), names.lines().count());
    moat.args(["deps", "search", "JSON", "-q"])
        .stdout("jq\n")
        .success();
    moat.args(["deps", "search", "typescript", "-q"])
        .stdout("eslint\nnode-dev\nprotobuf-es\nprotoc-gen-grpc-gateway-ts\ntypescript\n")
        .any_stdout()
        .success();
    moat.args(["deps", "search", "zzzz"])
        .stderr("no entry matches; see all: moat deps list\n")
        .success();
    moat.args(["deps", "search", "zzzz", "-q"]).success();
    moat.args(["deps", "search", "zzzz", "--json"])
        .stdout("[]\n")
        .success();
    assert_nothing_made(&moat);
}

#[test]
fn tells_of_entries() {
    let moat = unreached();
    let node = "\
name         node
type         runtime
description  Node.js with npm
default      22
versions     18, 20, 22, 24, distro
from         node:{version}-bookworm-slim
origin       built in
";
    let jq = "\
name         jq
type         apt
description  Filters and rewrites JSON
from         jq
origin       built in
";
    moat.args(["deps", "info", "node"]).stdout(node).success();
    moat.args(["deps", "info", "node", "jq"])
        .stdout(format!("{node}\n{jq}"))
        .success();
    let documents = moat
        .args(["deps", "info", "typescript", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(
        documents,
        serde_json::json!([{
            "name": "typescript", "type": "npm", "description": "TypeScript compiler, command tsc",
            "default": null, "versions": [], "requires": ["node"], "origin": "built-in"
        }])
    );
}

#[test]
fn arguments_that_are_none() {
    let moat = unreached();
    for (args, error) in [
        (
            &["lsit"][..],
            "unknown action 'lsit' for 'deps'\n  hint: did you mean 'list'?",
        ),
        (
            &["a\u{1b}"],
            "unknown action 'a\\u{1b}' for 'deps'\n  hint: see 'moat deps --help'",
        ),
        (
            &["list", "x"],
            "unexpected argument 'x' for 'moat deps list'\n  hint: usage: moat deps list [FLAGS]",
        ),
        (
            &["info"],
            "'moat deps info' needs a NAME\n  hint: usage: moat deps info [FLAGS] NAME...",
        ),
        (
            &["search"],
            "'moat deps search' needs a WORD\n  hint: usage: moat deps search [FLAGS] WORD",
        ),
        (
            &["search", "a", "b"],
            "unexpected argument 'b' for 'moat deps search'\n  hint: usage: moat deps search [FLAGS] WORD",
        ),
    ] {
        let call = moat.args(["deps"]).args(args);
        refused(&moat, call, 2, &format!("error: {error}"));
    }
    moat.args(["deps"]).any_stderr().status(2);
    let unknown = "error: unknown dependency 'nodee' (did you mean 'node'?)\n  hint: see all: moat deps list\n";
    for args in [&["nodee"][..], &["node", "nodee"]] {
        moat.args(["deps", "info"])
            .args(args)
            .stderr(unknown)
            .status(1);
    }
    let done = moat
        .args(["deps", "info", "nodee", "--json"])
        .any_stderr()
        .status(1);
    let error: serde_json::Value = serde_json::from_str(&done.stderr_text()).expect("JSON");
    assert_eq!(error["error"]["kind"], "not-found");
}

#[test]
fn a_persons_own_entries() {
    let moat = unreached();
    let own = moat.home().join("registry.d");
    fs::create_dir_all(&own).expect("a directory");
    fs::write(
        own.join("mine.yaml"),
        "mine: {type: npm, description: \"Mine\\x1b[2J\", default: 2}\njq: {type: npm, description: Other}\n",
    )
    .expect("a file");
    moat.args(["deps", "info", "mine"])
        .stdout(
            "name         mine\ntype         npm\ndescription  Mine\\u{1b}[2J\ndefault      2\n\
             versions     any\nfrom         mine\norigin       [MOAT_HOME]/registry.d/mine.yaml\n",
        )
        .success();
    let documents = moat
        .args(["deps", "info", "jq", "--json"])
        .any_stdout()
        .success()
        .json();
    let file = own.join("mine.yaml").display().to_string();
    assert_eq!(documents[0]["origin"], serde_json::json!({ "file": file }));
    // Every action reports a broken file with the position of the problem.
    fs::write(own.join("mine.yaml"), "mine:\n  type: npm\n").expect("a file");
    for args in [&["list"][..], &["info", "jq"], &["search", "a"]] {
        moat.args(["deps"])
            .args(args)
            .stderr(
                "error: [MOAT_HOME]/registry.d/mine.yaml:2:3: the key 'description' is missing\n",
            )
            .status(1);
    }
}
