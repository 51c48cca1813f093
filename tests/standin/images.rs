//! Images and the builder.

use std::fs;

use crate::harness::IMAGE;
use crate::standin::place::{StandIn, VERSIONS};

#[test]
fn an_image_is_unknown_until_it_is_pulled() {
    for (version, text) in [
        ("0.9.0", "InspectError(succeeded: [], failed: [("),
        ("0.12.3", "notFound: \"Image not found\")])"),
        ("1.2.2", "Error: image not found: moat-test/busybox:1\n"),
    ] {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        it.fails(&["image", "inspect", IMAGE], 1, text);
        it.fails(&["image", "pull", "no/such:1"], 1, "404 Not Found");
        it.fails(
            &["create", "no/such:1"],
            1,
            "HTTP request to https://registry-1.docker.io/v2/no/such/",
        );
        it.ok(&["image", "pull", IMAGE]);
        let found = it.json(&["image", "inspect", IMAGE]);
        let variants = found[0]["variants"].as_array().expect("variants");
        let ours = variants
            .iter()
            .find(|variant| variant["platform"]["architecture"] == "arm64");
        assert_eq!(
            ours.expect("one for this machine")["config"]["config"]["Cmd"][0],
            "/bin/sh"
        );
        assert_eq!(it.ok(&["image", "list", "-q"]), "moat-test/busybox:1\n");
        it.ok(&["image", "delete", IMAGE]);
        it.fails(
            &["image", "delete", IMAGE],
            1,
            "failed to delete one or more images: [\"moat-test/busybox:1\"]",
        );
        // The image is only gone for this stand-in: docker keeps it for all tests.
        it.ok(&["image", "pull", IMAGE]);
    }
}

#[test]
fn a_build_needs_a_builder_and_makes_an_image() {
    for version in VERSIONS {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let context = it.place("context");
        let dir = context.to_str().unwrap();
        fs::write(
            context.join("Dockerfile"),
            format!("FROM {IMAGE}\nARG A\nCOPY a /a\nRUN echo $A >> /a\n"),
        )
        .unwrap();
        fs::write(context.join("a"), "one\n").unwrap();
        assert!(
            it.ok(&["builder", "status"])
                .contains("builder is not running")
        );
        let built = it.ok(&["build", "-t", "moat/run:x", "--build-arg", "A=two", dir]);
        let said = if version == "1.2.2" {
            "moat/run:x\n"
        } else {
            "Successfully built moat/run:x\n"
        };
        assert_eq!(built, said);
        assert_eq!(
            it.ok(&["run", "--rm", "moat/run:x", "cat", "/a"]),
            "one\ntwo\n"
        );
        assert!(it.ok(&["builder", "status"]).contains("buildkit"));
        it.ok(&["exec", "buildkit", "true"]);
        // An image that is built on the first one.
        fs::write(
            context.join("Dockerfile"),
            "FROM moat/run:x\nRUN grep two /a\n",
        )
        .unwrap();
        it.ok(&[
            "build",
            "-t",
            "moat/run:y",
            "-f",
            &format!("{dir}/Dockerfile"),
            dir,
        ]);
        it.fails(
            &["builder", "delete"],
            1,
            "BuildKit container is not stopped, use --force to override",
        );
        it.ok(&["builder", "stop"]);
        it.ok(&["builder", "delete"]);
    }
}

#[test]
fn what_cannot_be_built() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let context = it.place("context");
    let dir = context.to_str().unwrap();
    it.fails(
        &["build", "/no/such"],
        64,
        "context dir does not exist /no/such",
    );
    it.fails(&["build", "-"], 64, "context dir does not exist");
    it.fails(&["build", dir], 64, "dockerfile does not exist");
    fs::write(
        context.join("Dockerfile"),
        format!("FROM {IMAGE}\nRUN exit 3\n"),
    )
    .unwrap();
    it.fails(&["build", dir], 1, "Error: unknown: \"failed to solve: ");
    let long = format!("FROM {IMAGE}\n#{}\n", "x".repeat(16384));
    fs::write(context.join("Dockerfile"), &long).unwrap();
    let text = format!(
        "Dockerfile size ({} bytes) exceeds the maximum allowed size of 16384 bytes",
        long.len()
    );
    it.fails(&["build", dir], 1, &text);
}

#[test]
fn a_context_from_a_linked_directory_arrives_empty() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let context = it.place("context");
    let dir = context.to_str().unwrap().to_owned();
    let it = it.env("FAKE_APPLE_STRICT_CONTEXT", &dir);
    fs::write(
        context.join("Dockerfile"),
        format!("FROM {IMAGE}\nCOPY a /a\n"),
    )
    .unwrap();
    fs::write(context.join("a"), "one\n").unwrap();
    it.fails(&["build", &dir], 1, "failed to solve");
}

#[test]
fn a_builder_that_does_not_fit_is_made_again_since_1_2_1() {
    for (version, notes) in [("0.12.3", 0), ("1.2.2", 1)] {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let it = it.env("FAKE_APPLE_BUILD", "stub");
        let context = it.place("context");
        let dir = context.to_str().unwrap();
        fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\n")).unwrap();
        it.ok(&["builder", "start", "--cpus", "4", "--memory", "8192MB"]);
        it.ok(&[
            "build", "--cpus", "4", "--memory", "8192MB", "-t", "moat/a:1", dir,
        ]);
        it.ok(&["build", "-t", "moat/a:1", dir]);
        let journal = fs::read_to_string(it.path("calls.jsonl")).unwrap();
        assert_eq!(
            journal.matches("builder recreated").count(),
            notes,
            "{version}"
        );
    }
}

/// The stand-in ignores docker's variables, which may be meant for a container or belong to the caller. Its own
/// variable chooses the engine.
#[test]
fn what_docker_obeys_is_no_setting() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let it = it
        .env("DOCKER_HOST", "tcp://127.0.0.1:1")
        .env("DOCKER_CONTEXT", "nowhere")
        .env("DOCKER_CONFIG", "/nowhere");
    let seen = it.ok(&[
        "run",
        "--rm",
        "-e",
        "DOCKER_HOST",
        IMAGE,
        "sh",
        "-c",
        "echo $DOCKER_HOST",
    ]);
    assert_eq!(seen, "tcp://127.0.0.1:1\n");
    // A build calls docker's client, so it needs the same protection.
    let context = it.place("context");
    fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\n")).unwrap();
    it.ok(&["build", "-t", "moat/run:y", context.to_str().unwrap()]);
}
