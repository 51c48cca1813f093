//! The image of a project: all kinds of tools in one image, and when moat rebuilds it.

use std::fs;
use std::time::Duration;

use crate::harness::{Runtime, full};
use crate::images::place::{Place, has_no_network};

/// The test downloads packages.
const LONG: Duration = Duration::from_secs(400);

const EVERYTHING: &str = r#"
name: everything
base_image: BASE
dependencies: [jq, node@distro, python@distro, "npm:semver@7.6.3", "pip:cowsay@6.1"]
container: {host_ca: true}
hooks:
  post_build_root: |
    id -u >/etc/made-by-root
    command -v jq >>/etc/made-by-root
  post_build: |
    id -u >~/made-by-user
    pwd >>~/made-by-user
  pre_run: echo "pre_run in $PWD"
command: [sh, -c, "cat /etc/made-by-root ~/made-by-user; echo '{\"a\": 7}' | jq .a"]
"#;

/// Packages of apt, npm and pip, and three hooks: built once, then used by each run.
pub(crate) fn tools_of_all_kinds_and_hooks(runtime: Runtime) {
    let Some(place) = Place::debian(runtime) else {
        return;
    };
    // Debian's npm has four hundred packages, which take two minutes of a processor.
    let node = full();
    place.moat_yaml(&match node {
        true => EVERYTHING.to_owned(),
        false => EVERYTHING
            .replace("node@distro, ", "")
            .replace("\"npm:semver@7.6.3\", ", ""),
    });
    std::os::unix::fs::chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    let expected = "pre_run in /workspace\n0\n/usr/bin/jq\n1234\n/workspace\n7\n";
    let first = place
        .args(["run"])
        .any_stdout()
        .any_stderr()
        .deadline(LONG)
        .run();
    if has_no_network(&first) {
        return;
    }
    assert_eq!(
        (first.code, first.stdout_text().as_str()),
        (Some(0), expected),
        "{first}"
    );
    let said = first.stderr_text();
    for part in [
        "building the image moat/run:",
        " with jq",
        "built the image moat/run:",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(place.builds(), 1);
    // The programs from npm and pip run. The second run builds nothing.
    let tools = "cowsay -t pip; \
                 python3 -c 'import cowsay; print(cowsay.__version__)'; \
                 touch ~/.cache-works && stat -c %u:%g ~/.cache-works; whoami";
    let of_node = match node {
        true => "node -e 'console.log(6 * 7)'; semver 1.2.3 --increment minor; ",
        false => "",
    };
    let second = place.go(&[], &format!("{of_node}{tools}"));
    let second = second.any_stdout().any_stderr().success();
    let out = second.stdout_text();
    assert!(!node || out.contains("42\n1.3.0\n"), "{out}");
    for part in [
        "pre_run in /workspace",
        "| pip |",
        "6.1",
        "1234:1235",
        "moat",
    ] {
        assert!(out.contains(part), "{part} is missing in {out}");
    }
    assert!(!second.stderr_text().contains("building"), "{second}");
    assert_eq!(place.builds(), 1, "it is not built again");
    place.assert_no_traces();
}

const SMALL: &str = r#"
base_image: BASE
dependencies: [greeter@1]
hooks: {post_build_root: echo root >/root-was-here, post_build: echo user >>/tmp/made}
container: {host_ca: true}
"#;

const GREETER: &str = r#"
greeter:
  type: custom
  description: Says hello
  default: "1"
  script: echo "hello $VERSION" >/greeting
"#;

const CA_1: &str = "-----BEGIN CERTIFICATE-----\nb25l\n-----END CERTIFICATE-----\n";
const CA_2: &str = "-----BEGIN CERTIFICATE-----\ndHdv\n-----END CERTIFICATE-----\n";

/// Each changed input builds another image, and restoring the input reuses the first image.
pub(crate) fn every_input_counts(runtime: Runtime) {
    let Some(place) = Place::debian(runtime) else {
        return;
    };
    // Stand-ins for the package managers, which need neither a network nor time.
    let fake = "#!/bin/sh\nexit 0\n";
    let base = place.image(
        "fake-apt",
        &format!(
            "FROM {}\nRUN printf '{}' >/usr/local/sbin/apt-get && chmod 755 /usr/local/sbin/apt-get \
             && ln -s apt-get /usr/local/sbin/update-ca-certificates\n",
            place.base(),
            fake.replace('\n', "\\n")
        ),
    );
    let yaml = SMALL.replace("BASE", &base);
    let certificates = place.root().join("ca.pem");
    let write = |yaml: &str, registry: &str, ca: &str| {
        place.moat_yaml(yaml);
        place.registry(registry);
        fs::write(&certificates, ca).expect("a file");
    };
    let run = |expected: &str| {
        place
            .quiet("cat /greeting /root-was-here /tmp/made")
            .env("SSL_CERT_FILE", &certificates)
            .stdout(expected)
            .success();
    };
    let original = || write(&yaml, GREETER, CA_1);
    original();
    run("hello 1\nroot\nuser\n");
    run("hello 1\nroot\nuser\n");
    let mut builds = 1;
    assert_eq!(place.builds(), builds);
    let changes = [
        (
            "a version",
            yaml.replace("greeter@1", "greeter@2"),
            GREETER.to_owned(),
            CA_1,
            "hello 2\nroot\nuser\n",
        ),
        (
            "the hook of root",
            yaml.replace("echo root", "echo ROOT"),
            GREETER.to_owned(),
            CA_1,
            "hello 1\nROOT\nuser\n",
        ),
        (
            "the hook of the user",
            yaml.replace("echo user", "echo USER"),
            GREETER.to_owned(),
            CA_1,
            "hello 1\nroot\nUSER\n",
        ),
        (
            "the registry's entry",
            yaml.clone(),
            GREETER.replace("hello", "good day"),
            CA_1,
            "good day 1\nroot\nuser\n",
        ),
        (
            "a file of the context",
            yaml.clone(),
            GREETER.to_owned(),
            CA_2,
            "hello 1\nroot\nuser\n",
        ),
    ];
    for (what, yaml, registry, ca, expected) in changes {
        write(&yaml, &registry, ca);
        run(expected);
        builds += 1;
        assert_eq!(place.builds(), builds, "{what} counts");
        original();
        run("hello 1\nroot\nuser\n");
        assert_eq!(place.builds(), builds, "{what}, as it was: the old image");
    }
    assert_eq!(place.built().len(), builds);
    // Settings that do not affect the image do not cause a build.
    place.moat_yaml(&format!("{yaml}env: {{A: b}}\ntimeout: 5m\nname: other\n"));
    run("hello 1\nroot\nuser\n");
    assert_eq!(place.builds(), builds);
}

pub(crate) fn rebuild_builds_anew(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "base_image: BASE\nhooks: {post_build: cat /proc/sys/kernel/random/uuid >/tmp/nonce}\n",
    );
    let nonce = |flags: &[&str]| {
        let flags = [&["--quiet"], flags].concat();
        place
            .go(&flags, "cat /tmp/nonce")
            .any_stdout()
            .success()
            .stdout_text()
    };
    let first = nonce(&[]);
    assert_eq!(nonce(&[]), first);
    assert_eq!(place.calls("pull"), 0);
    let again = nonce(&["--rebuild"]);
    assert_eq!(place.calls("pull"), 1, "the base, which is only here");
    assert_ne!(
        again, first,
        "from the first step, past the builder's cache"
    );
    assert_eq!(nonce(&[]), again, "and the new one is the one");
    assert_eq!(place.builds(), 2);
}

/// Another image under the name of the base is noticed, and noticed once.
pub(crate) fn a_base_with_another_content_is_noticed(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    let base = |content: &str| {
        let dockerfile = format!("FROM {}\nRUN echo {content} >/content\n", place.base());
        place.image("changing", &dockerfile)
    };
    let yaml = format!(
        "base_image: {}\nhooks: {{post_build: cp /content /tmp/copy}}\n",
        base("one")
    );
    place.moat_yaml(&yaml);
    let copy = |expected: &str| {
        let call = place.go(&["--quiet"], "cat /tmp/copy");
        call.stdout(format!("{expected}\n")).success();
    };
    copy("one");
    copy("one");
    assert_eq!(place.builds(), 1);
    base("two");
    copy("two");
    copy("two");
    assert_eq!(place.builds(), 2);
}

/// If moat.yaml asks for nothing to install, moat builds nothing.
pub(crate) fn a_base_image_alone_is_used_as_it_is(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\ncommand: [echo, from the file]\n");
    place
        .args(["run", "--quiet"])
        .stdout("from the file\n")
        .success();
    assert_eq!(place.builds(), 0);
    assert_eq!(place.record(&place.only_id())["image"], place.base());
    // --image uses exactly that image, without a build.
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'false'}\n");
    place
        .go(&["--quiet", "--image", &place.base()], "echo hi")
        .stdout("hi\n")
        .success();
    assert_eq!(place.builds(), 0);
    place
        .go(&["--image", &place.base()], "true")
        .stderr_contains("note: --image is used unchanged")
        .success();
}

/// The build context and log are kept with the run that built, and nowhere else.
pub(crate) fn the_build_is_kept_with_its_run(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nhooks: {post_build: echo from the hook}\n");
    place.quiet("true").success();
    let id = place.only_id();
    let read = |name: &str| fs::read_to_string(place.run_dir(&id).join(name)).expect(name);
    assert!(read("Dockerfile").contains(&format!("FROM {}\n", place.base())));
    assert!(
        read("build.log").contains("\nfrom the hook\n"),
        "{}",
        read("build.log")
    );
    place.quiet("true").success();
    let other = place
        .ids()
        .into_iter()
        .find(|other| *other != id)
        .expect("two runs");
    for name in ["Dockerfile", "build.log"] {
        assert!(!place.run_dir(&other).join(name).exists());
    }
    let labels = place.engine(&[
        "image",
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        &place.planned_image(),
    ]);
    assert!(labels.contains("\"moat.role\":\"build\""), "{labels}");
    assert!(
        labels.contains(&format!("\"moat.home\":\"{}\"", place.label())),
        "{labels}"
    );
    place.assert_no_traces();
}

/// The run's command is what runs, even if the base image has an entry point.
pub(crate) fn the_entry_point_of_the_base_does_not_get_in_the_way(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    let base = place.image(
        "entry",
        &format!(
            "FROM {}\nENTRYPOINT [\"echo\", \"entry point:\"]\nUSER 7\n",
            place.base()
        ),
    );
    place.moat_yaml(&format!(
        "base_image: {base}\nhooks: {{post_build: id -u >/tmp/who}}\n"
    ));
    place
        .quiet("cat /tmp/who; id -u")
        .stdout("0\n0\n")
        .success();
}
