//! Where a run belongs: its name, its runtime and its user.

use super::description::Line;
use super::host::Workspace;
use super::{Plan, Planner};
use crate::config::ConfigFile;
use crate::runtime::{RUNTIME_NAMES, RuntimeName};
use crate::store::{IdentitySettings, RunName};

impl Planner<'_> {
    pub(super) fn identity(&self, workspace: &Workspace) -> IdentitySettings {
        for file in self.files {
            check_runtime_name(file);
        }
        IdentitySettings {
            runtime: self.runtime().to_string(),
            engine: self.host.engine.clone(),
            session: None,
            uid: workspace.uid,
            gid: workspace.gid,
        }
    }

    /// The name of the project, which is also the name of its runs.
    pub(super) fn project(&self) -> Option<RunName> {
        self.strongest(|settings| settings.name.as_ref())
    }
}

fn check_runtime_name(file: &ConfigFile) {
    if let Some(word) = &file.settings.runtime
        && RuntimeName::parse(&word.value).is_none()
    {
        let known = RUNTIME_NAMES.join(", ");
        let message = crate::yaml::unknown_key_error("runtime", &word.value, RUNTIME_NAMES);
        let why = format!("{message}; the runtimes are {known}");
        file.source.report(word.at, why);
    }
}

pub(super) fn describe(plan: &Plan) -> Vec<Line> {
    let name = match &plan.name {
        Some(name) => name.to_string(),
        None => "chosen at the start".to_owned(),
    };
    let runtime = plan.settings.identity.runtime.clone();
    vec![("name", name), ("runtime", runtime)]
}

pub(super) fn describe_session(identity: &IdentitySettings) -> Option<Line> {
    let session = identity.session.as_ref()?;
    let services = session.services.join(", ");
    let with = match services.is_empty() {
        true => String::new(),
        false => format!(", with its {services}"),
    };
    Some(("session", format!("{}{with}", session.key)))
}

pub(super) fn describe_user(identity: &IdentitySettings) -> Line {
    ("user", format!("{}:{}", identity.uid, identity.gid))
}
