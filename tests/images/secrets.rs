//! Secrets of a project whose image is built: neither the image nor the build contains them.

use std::fs;

use crate::harness::Runtime;
use crate::images::place::Place;

const VALUE: &str = "s3cr3t-5be1f90a";

pub(crate) fn no_secret_is_in_an_image(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.write("token", format!("{VALUE}\n"));
    place.moat_yaml(
        "base_image: BASE\nsecrets: {TOKEN: 'file://token', OTHER: 'env://MY_OTHER'}\n\
         hooks: {post_build: 'env; echo in-the-hook', pre_run: 'test -n \"$TOKEN\" && echo has-it'}\n",
    );
    let length = format!(
        "test ${{#TOKEN}} = {0} && test ${{#OTHER}} = {0}",
        VALUE.len()
    );
    place
        .go(&[], &length)
        .env("MY_OTHER", VALUE)
        .stdout("has-it\n")
        .any_stderr()
        .success();
    let id = place.only_id();
    let image = place.planned_image();
    let history = place.engine(&["history", "--no-trunc", &image]);
    assert!(
        history.contains("post_build.sh") && !history.contains(VALUE),
        "{history}"
    );
    let image = place.engine(&["image", "inspect", &image]);
    assert!(
        !image.contains(VALUE) && !image.contains("TOKEN"),
        "{image}"
    );
    for name in ["Dockerfile", "build.log", "run.json", "logs.jsonl"] {
        let text = fs::read_to_string(place.run_dir(&id).join(name)).expect(name);
        assert!(!text.contains(VALUE), "{name}: {text}");
    }
    assert!(
        fs::read_to_string(place.run_dir(&id).join("build.log"))
            .expect("it")
            .contains("in-the-hook")
    );
    let calls = place.all_calls();
    assert!(calls.contains("TOKEN") && !calls.contains(VALUE), "{calls}");
}

/// A secret that cannot be resolved fails the run before anything is built.
pub(crate) fn nothing_is_built_without_its_secrets(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "base_image: BASE\nsecrets: {TOKEN: 'env://NOT_SET'}\nhooks: {post_build: 'true'}\n",
    );
    place
        .quiet("true")
        .stderr(
            "error: cannot get the secret TOKEN: the variable NOT_SET is not set\n  \
             hint: set it in the environment of moat\n",
        )
        .status(125);
    assert_eq!((place.builds(), place.ids().len()), (0, 0));
}
