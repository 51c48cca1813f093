//! A plan in words, for `moat run --dry-run`.

use super::{Plan, environment, identity, image, limits, mounts, network, service};

/// A label, and a value of one or more lines; an empty value is not shown.
pub(crate) type Line = (&'static str, String);

/// Describes all that a run will do.
pub(crate) fn describe(plan: &Plan) -> Vec<Line> {
    let settings = &plan.settings;
    let mut lines = identity::describe(plan);
    lines.extend(image::describe(plan));
    lines.extend(plan.services.iter().map(service::describe));
    lines.extend(identity::describe_session(&settings.identity));
    lines.push(mounts::describe_workspace(&settings.mounts));
    lines.push(identity::describe_user(&settings.identity));
    lines.push(("pre_run", plan.pre_run.clone().unwrap_or_default()));
    lines.push(("command", command(&settings.command)));
    lines.extend(environment::describe(plan));
    lines.extend(mounts::describe(&settings.mounts, &plan.volumes));
    lines.extend(network::describe(&settings.network));
    lines.extend(limits::describe(&settings.limits));
    lines.push(modes(plan));
    lines.extend(image::describe_build(plan));
    lines
}

fn modes(plan: &Plan) -> Line {
    let settings = &plan.settings;
    let modes = [
        ("background", settings.io.background),
        ("interactive", settings.io.interactive),
        ("keep", settings.limits.keep),
        ("rebuild", settings.image.rebuild),
    ];
    let chosen = modes.into_iter().filter(|(_, is_on)| *is_on);
    ("mode", words(chosen.map(|(mode, _)| mode)))
}

/// Returns a command quoted for a shell, so that its words can be told apart.
fn command(words: &[String]) -> String {
    let quoted = shlex::try_join(words.iter().map(String::as_str));
    quoted.unwrap_or_else(|_| words.join(" "))
}

/// A value that may be unset.
pub(super) fn shown(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

pub(super) fn words<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    let words: Vec<T> = words.collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    words.join(" ")
}
