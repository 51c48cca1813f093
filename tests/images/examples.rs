//! The documentation works: every example and every piece of YAML in it is checked and planned, and run if the test
//! images allow it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Moat, Runtime, skip, until_some};
use crate::images::place::{Place, has_no_network};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("examples")).expect("examples");
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// Returns a place in which runs are only planned, without an engine.
fn planning() -> Moat {
    let moat = Moat::new().env("MOAT_RUNTIME", "docker");
    // The examples mount this file.
    fs::write(moat.user_home().join(".gitconfig"), "").expect("a file");
    moat
}

/// Checks the project in the workspace, and returns the plan of a run.
#[track_caller]
fn plan(moat: &Moat) -> serde_json::Value {
    moat.args(["check"]).stderr("nothing is wrong\n").success();
    moat.args(["run", "--dry-run", "--", "true"])
        .any_stdout()
        .success();
    let call = moat.args(["run", "--dry-run", "--json", "--", "true"]);
    call.any_stdout().success().json()
}

#[test]
fn every_example_is_planned() {
    let examples = examples();
    assert!(examples.len() >= 6, "{examples:?}");
    let listed = fs::read_to_string(repository().join("examples/README.md")).expect("README");
    for example in examples {
        let name = example
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            listed.contains(&format!("[{name}]({name})")),
            "{name} is in the README"
        );
        let text = fs::read_to_string(example.join("moat.yaml")).expect("moat.yaml");
        assert!(text.starts_with("# "), "{name} says what it shows");
        let moat = planning();
        copy(&example, &moat.workspace());
        let plan = plan(&moat);
        assert_eq!(plan["name"], format!("{name}-example"));
        // The example's own command is enough: `moat run` needs no arguments.
        moat.args(["run", "--dry-run"]).any_stdout().success();
    }
}

#[test]
fn every_piece_of_yaml_in_the_documentation() {
    let docs = fs::read_dir(repository().join("docs")).expect("docs");
    let mut files: Vec<PathBuf> = docs.flatten().map(|entry| entry.path()).collect();
    files.push(repository().join("README.md"));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut counts = [0; 3];
    for file in files {
        let text = fs::read_to_string(&file).expect("a page");
        for piece in pieces(&text) {
            eprintln!("{}:\n{piece}", file.display());
            let moat = planning();
            let first = piece.lines().next().unwrap_or_default();
            if first == "# config.yaml" {
                moat.config(&piece);
                moat.write("moat.yaml", "name: any\n");
                plan(&moat);
                counts[0] += 1;
            } else if first.starts_with("# registry.d/") {
                let dir = moat.home().join("registry.d");
                fs::create_dir_all(&dir).expect("a directory");
                fs::write(dir.join("piece.yaml"), &piece).expect("a file");
                let names: Vec<&str> = piece
                    .lines()
                    .filter(|line| !line.starts_with([' ', '#']))
                    .filter_map(|line| line.strip_suffix(':'))
                    .collect();
                assert!(!names.is_empty());
                for name in &names {
                    let found = moat
                        .args(["deps", "info", name, "--json"])
                        .any_stdout()
                        .success()
                        .json();
                    assert!(found[0]["origin"]["file"].is_string(), "{found:#}");
                }
                moat.write(
                    "moat.yaml",
                    format!("dependencies: [{}]\n", names.join(", ")),
                );
                plan(&moat);
                counts[1] += 1;
            } else {
                moat.write("moat.yaml", &piece);
                plan(&moat);
                counts[2] += 1;
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// Returns the text between each "```yaml" and the "```" after it.
fn pieces(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut piece: Option<String> = None;
    for line in text.lines() {
        match (&mut piece, line) {
            (None, "```yaml") => piece = Some(String::new()),
            (Some(_), "```") => found.extend(piece.take()),
            (Some(piece), line) => {
                piece.push_str(line);
                piece.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(piece.is_none(), "a piece does not end");
    found
}

fn copy(from: &Path, to: &Path) {
    let mut source = from.as_os_str().to_owned();
    source.push("/.");
    let done = Command::new("cp")
        .arg("-r")
        .arg(source)
        .arg(to)
        .status()
        .expect("cp");
    assert!(done.success());
}

/// Copies an example to the workspace, with a base image of the tests instead of an official image.
fn example(place: &Place, name: &str) {
    copy(
        &repository().join("examples").join(name),
        &place.workspace(),
    );
    let yaml = fs::read_to_string(place.workspace().join("moat.yaml")).expect("moat.yaml");
    place.write("moat.yaml", yaml.replace("busybox:1.37", &place.base()));
    place.config(&format!("defaults: {{base_image: \"{}\"}}\n", place.base()));
}

#[test]
fn the_tools_run() {
    let Some(place) = Place::debian(Runtime::Docker) else {
        return;
    };
    example(&place, "tools");
    let call = place.args(["run", "-q"]).any_stdout().any_stderr();
    let done = call.deadline(std::time::Duration::from_secs(300)).run();
    if has_no_network(&done) {
        return;
    }
    assert_eq!(done.code, Some(0), "{done}");
    place
        .args(["run", "-q"])
        .stdout("apples: 6\npears: 12\n")
        .success();
    assert_eq!(place.builds(), 1);
}

#[test]
fn the_isolated_one_runs() {
    let Some(place) = Place::busybox(Runtime::Docker) else {
        return;
    };
    example(&place, "isolated");
    for number in 1..=2 {
        let id = place.args(["run", "-q", "-b"]).any_stdout().success();
        let id = id.stdout_text().trim().to_owned();
        place.wait_log(&id, &format!("serving, start number {number}"));
        let port = place.record(&id)["ports"][0]["host"]
            .as_u64()
            .expect("a port");
        let url = format!("http://127.0.0.1:{port}/index.html");
        let page = until_some("the published port answers", || {
            let done = Command::new("curl")
                .args(["-sf", "--noproxy", "*", &url])
                .output()
                .ok()?;
            done.status
                .success()
                .then(|| String::from_utf8_lossy(&done.stdout).into_owned())
        });
        assert_eq!(
            page,
            format!("<h1>moat</h1>\n<p>start number {number}</p>\n")
        );
        place
            .args(["stop", "--time", "1", &id])
            .any_stdout()
            .success();
        let out = place.root().join(format!("out{number}"));
        place.args(["export", "-q", &id]).arg(&out).success();
        assert!(out.join("site/index.html").exists());
        assert!(
            !place.workspace().join("site").exists(),
            "here nothing has changed"
        );
    }
    place
        .args(["volumes", "rm", "-f", "isolated-example/state"])
        .any_stdout()
        .success();
    assert!(
        !place
            .engine(&["volume", "ls", "-q"])
            .contains(&place.label())
    );
}

#[test]
fn the_one_with_secrets_runs() {
    let Some(place) = Place::busybox(Runtime::Docker) else {
        return;
    };
    example(&place, "secrets");
    let dir = place.user_home().join(".config/example");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("password"), "password\n").expect("a file");
    place
        .args(["run", "-q"])
        .env("EXAMPLE_API_TOKEN", "token")
        .stdout("a token of 5 and a password of 8 letters\n")
        .success();
}

/// Runs with images of the tests instead of the official ones.
#[test]
fn the_one_with_services_runs() {
    let Some(moat) = Moat::on(Runtime::Docker) else {
        return;
    };
    let images = ["servers:1", "postgres:15", "redis:7"];
    for image in images.map(|name| format!("moat-test/{name}")) {
        let found = moat.client().args(["image", "inspect", &image]).output();
        if !found.expect("the client").status.success() {
            return skip(&format!("no image {image} (tests/setup images)"));
        }
    }
    let example = repository().join("examples/services");
    let text = fs::read_to_string(example.join("moat.yaml")).expect("moat.yaml");
    let text = text
        .replace("debian:bookworm-slim", "moat-test/servers:1")
        .replace(", psql, redis-cli]", "]")
        .replace("postgres@17", "postgres@15")
        .replace(
            "    memory: 512\n",
            "    memory: 512\n    image: moat-test/postgres:15\n  redis: {image: 'moat-test/redis:7'}\n",
        );
    moat.write("moat.yaml", text);
    let script = fs::read_to_string(example.join("count.sh")).expect("count.sh");
    moat.write("count.sh", script);
    let done = moat.args(["run"]).any_stderr().any_stdout().success();
    assert_eq!(done.stdout_text(), " 1 visit in shop\n\n1\n");
    assert_eq!(moat.leftovers(), [""; 0]);
}
