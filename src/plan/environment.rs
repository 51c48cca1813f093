//! The variables of a workload.

use std::path::Path;

use super::description::{Line, words};
use super::{Host, Plan, Planner, RunRequest, SecretRef, Variable};
use crate::config::{parse_env_file, scalar_values};
use crate::error::{Error, FileProblem, Result};
use crate::runtime;
use crate::variable_name::is_shell_name;
use crate::yaml::{Placed, message_text, read_file, read_file_or_pipe};

type Pairs = Vec<(String, String)>;

impl Planner<'_> {
    /// Variables of flags, then of files. `env` overrides `env_file`.
    pub(super) fn env(&mut self) -> Result<Vec<Variable>> {
        let env_files = self.env_files_of_flags()?;
        let mut variables: Vec<Variable> = self.flags.env.clone();
        let secrets: Vec<&str> = self
            .settings()
            .flat_map(|settings| &settings.secrets)
            .map(|secret| secret.value.name.as_str())
            .collect();
        let mut add = |name: &str, value: &str| {
            // The strongest comes first. A secret is stronger than an env file.
            let is_taken = has(&variables, name) || secrets.contains(&name);
            if !is_taken {
                variables.push(Variable::new(name, value));
            }
        };
        for (name, value) in env_files.iter().rev() {
            add(name, value);
        }
        for file in self.files {
            for Placed { value, .. } in &file.settings.env {
                add(&value.0, &value.1);
            }
            let mut found = Vec::new();
            for path in &file.settings.env_files {
                let real = self.host.path_in(&file.dir, &path.value);
                match self.env_file(&path.value, &real, read_file) {
                    Ok(pairs) => found.extend(pairs),
                    Err(why) => file.source.report(path.at, why),
                }
            }
            // The last of several files, and of several lines, wins.
            for (name, value) in found.iter().rev() {
                add(name, value);
            }
        }
        Ok(variables)
    }

    /// The variables of the files of `--env-file`, whose paths are relative to the current directory.
    fn env_files_of_flags(&mut self) -> Result<Pairs> {
        let mut found = Vec::new();
        for path in &self.request.env_files {
            let read = self.env_file(path, Path::new(path), read_file_or_pipe);
            found.extend(read.map_err(|why| {
                Error::usage(format!("--env-file: {why}")).hint("name a file that exists")
            })?);
        }
        Ok(found)
    }

    fn env_file(
        &mut self,
        name: &str,
        path: &Path,
        read: fn(&Path, &str) -> Result<Option<String>>,
    ) -> std::result::Result<Pairs, String> {
        let name = message_text(name);
        let text = match read(path, &name) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(format!("there is no file '{name}'")),
            Err(error) => return Err(error.message),
        };
        let (lines, flaws) = parse_env_file(&text);
        let host = self.host;
        let mut add_problem = |line: usize, message: String| {
            self.add_problem(FileProblem {
                file: name.clone(),
                line: Some(line),
                column: Some(1),
                message,
            });
        };
        for (line, why) in flaws {
            add_problem(line, why);
        }
        let mut found = Vec::new();
        for line in lines {
            let passed_on = || (host.environment)(&line.name)?.into_string().ok();
            match line.value.clone().or_else(passed_on) {
                Some(value) => found.push((line.name, value)),
                None => {
                    let name = message_text(&line.name);
                    let why = format!("{name} has no value here, and none in the environment");
                    add_problem(line.number, why);
                }
            }
        }
        Ok(found)
    }

    /// The secrets of files that no flag overrides.
    pub(super) fn secrets(&self) -> Vec<SecretRef> {
        let mut secrets: Vec<SecretRef> = Vec::new();
        for file in self.files {
            for Placed { value, .. } in &file.settings.secrets {
                if !has(&self.flags.env, &value.name) {
                    secrets.push(SecretRef::new(value, &file.dir));
                }
            }
        }
        secrets
    }

    /// Refuses secrets whose names no shell supports, if a shell becomes the command: it passes such variables on in
    /// the arguments of `env`, which are visible for a moment.
    pub(super) fn refuse_secret_names(&self) {
        let has_script = self
            .settings()
            .any(|settings| settings.hooks.pre_run.is_some());
        if !has_script || !self.runtime().has_images() {
            return;
        }
        for file in self.files {
            let names = file
                .settings
                .secrets
                .iter()
                .map(|secret| (secret.at, &secret.value.name));
            for (at, name) in names.filter(|(_, name)| !is_shell_name(name)) {
                let name = message_text(name);
                let why = format!(
                    "with 'pre_run', the name of a secret has only letters, digits and '_': '{name}'"
                );
                file.source.report(at, why);
            }
        }
    }
}

/// The variables of `-e`; the last of several flags with one name wins, as with `env`.
pub(super) fn variables_of_flags(request: &RunRequest, host: &Host) -> Result<Vec<Variable>> {
    let mut variables: Vec<Variable> = Vec::new();
    for text in &request.env {
        let (name, value) = scalar_values::env(text, &host.environment)?;
        variables.retain(|earlier| earlier.name != name);
        variables.push(Variable::new(&name, &value));
    }
    Ok(variables)
}

pub(super) fn has(variables: &[Variable], name: &str) -> bool {
    variables.iter().any(|variable| variable.name == name)
}

/// Makes git accept the repositories of a workspace whose owner is not the workload's user: the user asked for this
/// workspace, so its owner is no surprise. A variable of the user's wins.
pub(super) fn trust_workspace(env: &mut Vec<Variable>) {
    if env
        .iter()
        .any(|variable| variable.name.starts_with("GIT_CONFIG_"))
    {
        return;
    }
    let pairs = [
        ("GIT_CONFIG_COUNT", "2"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", runtime::WORKSPACE),
        // Submodules, since git 2.46.
        ("GIT_CONFIG_KEY_1", "safe.directory"),
        ("GIT_CONFIG_VALUE_1", "/workspace/*"),
    ];
    env.extend(pairs.map(|(name, value)| Variable::new(name, value)));
}

pub(super) fn describe(plan: &Plan) -> Vec<Line> {
    let variables = plan.env.iter().map(|variable| &variable.name);
    let secrets = plan.secrets.iter().map(|secret| &secret.name);
    vec![("env", words(variables)), ("secrets", words(secrets))]
}
