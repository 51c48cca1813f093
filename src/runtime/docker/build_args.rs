//! The arguments of `docker build`.

use super::super::ImageBuild;
use super::Dialect;
use super::create_args::HOME_LABEL;

/// The label with the images that a build used.
pub(super) const INPUTS_LABEL: &str = "moat.inputs";

/// The arguments, limited to those that both builders know.
pub(super) fn args(dialect: Dialect, build: &ImageBuild) -> Vec<String> {
    let mut args: Vec<String> = [
        "build",
        "--tag",
        &build.tag,
        "--label",
        &format!("{HOME_LABEL}={}", build.home_label),
        "--label",
        "moat.role=build",
        // Without it, a failed step leaves its container.
        "--force-rm",
        "--file",
        &build.dockerfile.to_string_lossy(),
    ]
    .map(str::to_owned)
    .to_vec();
    if !build.inputs.is_empty() {
        let label = format!("{INPUTS_LABEL}={}", build.inputs);
        args.extend(["--label".to_owned(), label]);
    }
    if build.no_cache {
        args.push("--no-cache".to_owned());
    }
    for limit in dialect.ulimits(&[]) {
        args.extend(["--ulimit".to_owned(), limit]);
    }
    args.push("--".to_owned());
    args.push(build.context.to_string_lossy().into_owned());
    args
}
