//! Images that engines other than docker of root build.

use crate::harness::{IMAGE, Moat, Runtime};

fn built(moat: &Moat) {
    moat.write(
        "moat.yaml",
        format!("base_image: {IMAGE}\nhooks: {{post_build_root: 'echo built >/built; mkdir -p /home/moatuser'}}\n"),
    );
    let call = moat.args(["run", "--", "cat", "/built"]);
    let first = call.stdout("built\n").any_stderr().success();
    assert!(first.stderr_text().contains("built the image"), "{first}");
    // The second run finds the image and builds nothing.
    let call = moat.args(["run", "-q", "--", "sh", "-c", "id -u; cat /built"]);
    let uid = match moat.is_on(Runtime::PodmanRootless) {
        true => moat.user_id(),
        false => 0,
    };
    call.stdout(format!("{uid}\nbuilt\n")).success();
    let ids = moat.ids();
    let image = moat.record(&ids[0])["image"].as_str().unwrap().to_owned();
    assert_eq!(moat.record(&ids[1])["image"], image);
    let removed = moat.client().args(["rmi", &image]).output().unwrap();
    assert!(removed.status.success(), "{removed:?}");
}

/// The error names the failed step and shows its output.
fn broken(moat: &Moat) {
    moat.write(
        "moat.yaml",
        format!("base_image: {IMAGE}\nhooks: {{post_build_root: 'echo so far; echo no further >&2; exit 3'}}\n"),
    );
    let done = moat
        .args(["run", "-q", "--", "true"])
        .any_stderr()
        .status(125);
    let said = done.stderr_text();
    for part in [
        "could not be built; this step failed: ",
        "so far",
        "no further",
        "build.log",
    ] {
        assert!(said.contains(part), "{part}: {done}");
    }
    let record = moat.record(&moat.only_id());
    assert_eq!(record["reason"], "start-error", "{record:#}");
    assert!(moat.containers().is_empty());
}

macro_rules! on {
    ($($module:ident: $runtime:expr;)*) => { $(
        mod $module {
            use super::*;

            #[test]
            fn an_image_is_built_once() {
                if let Some(moat) = Moat::on($runtime) {
                    built(&moat);
                }
            }

            #[test]
            fn a_step_that_fails_is_named() {
                if let Some(moat) = Moat::on($runtime) {
                    broken(&moat);
                }
            }
        }
    )* };
}

on! {
    podman: Runtime::Podman;
    podman_rootless: Runtime::PodmanRootless;
    docker_rootless: Runtime::DockerRootless;
}
