//! Runtimes such as Node.js, from their own images: as the base, and copied onto another base. The test's registry
//! names small images instead of the official ones.

use crate::harness::Runtime;
use crate::images::place::Place;

fn registry(place: &Place) {
    // A runtime with two versions, each with a file in every directory that is copied.
    for version in ["1", "2"] {
        place.image(
            &format!("rt{version}"),
            &format!(
                "FROM {}\nRUN mkdir -p /usr/local/bin /usr/local/lib/tool \
                 && printf '#!/bin/sh\\necho tool {version} with $(cat /usr/local/lib/tool/data)\\n' >/usr/local/bin/tool \
                 && chmod 755 /usr/local/bin/tool && echo data-{version} >/usr/local/lib/tool/data \
                 && echo from-its-image >/only-in-its-image\n",
                place.base()
            ),
        );
    }
    let image = place.image("rtx", &format!("FROM {}\n", place.base()));
    let pattern = image.replace("moat-test/rtx-", "moat-test/rt{version}-");
    place.registry(&format!(
        "tool:\n  type: runtime\n  description: A tool\n  default: \"1\"\n  versions: [\"1\", \"2\"]\n  \
         image: {pattern}\n  copy: [/usr/local/bin, /usr/local/lib]\n  distro: [jq]\n  check: tool\n  \
         env: {{TOOL_HOME: \"/opt/$x\"}}\n  path: [/usr/local/tool/bin]\n"
    ));
}

const SHOW: &str =
    "tool; cat /only-in-its-image 2>/dev/null || echo copied; echo $TOOL_HOME; echo $PATH";
const PATHS: &str =
    "/usr/local/tool/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn the_first_runtime_is_the_base(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    registry(&place);
    place.moat_yaml("dependencies: [tool]\n");
    place
        .quiet(SHOW)
        .stdout(format!(
            "tool 1 with data-1\nfrom-its-image\n/opt/$x\n{PATHS}\n"
        ))
        .success();
}

pub(crate) fn another_base_gets_a_copy(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    registry(&place);
    place.moat_yaml("base_image: BASE\ndependencies: [tool@2]\n");
    place
        .quiet(SHOW)
        .stdout(format!("tool 2 with data-2\ncopied\n/opt/$x\n{PATHS}\n"))
        .success();
}

/// The build runs a copied runtime once, so that a broken one fails the build and not the first run.
pub(crate) fn a_runtime_that_does_not_work_on_the_base_fails_the_build(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    registry(&place);
    let path = place.home().join("registry.d/test.yaml");
    let text = std::fs::read_to_string(path).expect("the registry");
    place.registry(&text.replace("check: tool", "check: tool && no-such-library"));
    place.moat_yaml("base_image: BASE\ndependencies: [tool]\n");
    place
        .quiet("true")
        .stderr_contains("RUN tool && no-such-library")
        .stderr_contains("no-such-library: not found")
        .status(125);
    place.assert_no_traces();
}

pub(crate) fn versions_are_those_of_the_registry(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    registry(&place);
    place.moat_yaml("base_image: BASE\ndependencies: [tool@3]\n");
    place
        .quiet("true")
        .stderr_contains("tool@3 does not exist; the versions are 1, 2, distro (default 1)")
        .status(125);
    assert_eq!(
        (place.builds(), place.ids().len()),
        (0, 0),
        "nothing was made"
    );
}
