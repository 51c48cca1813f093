//! Secrets: the plan names them, moat looks them up when the run starts, and no record contains them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Host, Variable};
use crate::config::{SecretSource, Vault};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime;

/// The maximum size of a secret, in bytes. The kernel accepts no variable that is much longer.
const MAX_SECRET_BYTES: usize = 120 * 1024;

/// A secret of a plan. Only its name is ever serialized.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct SecretRef {
    pub(crate) name: String,
    /// The reference to the secret, and the directory to which its paths are relative.
    location: Option<(Vault, PathBuf)>,
}

impl From<String> for SecretRef {
    fn from(name: String) -> SecretRef {
        SecretRef {
            name,
            location: None,
        }
    }
}

impl From<SecretRef> for String {
    fn from(secret: SecretRef) -> String {
        secret.name
    }
}

impl SecretRef {
    pub(super) fn new(secret: &SecretSource, dir: &Path) -> SecretRef {
        SecretRef {
            name: secret.name.clone(),
            location: Some((secret.vault.clone(), dir.to_owned())),
        }
    }
}

/// Looks up the values.
pub(crate) fn resolve(secrets: &[SecretRef], host: &Host) -> Result<Vec<Variable>> {
    let mut variables = Vec::new();
    for secret in secrets {
        if let Some((vault, dir)) = &secret.location {
            variables.push(Variable {
                name: secret.name.clone(),
                value: value(&secret.name, vault, dir, host)?.into(),
            });
        }
    }
    Ok(variables)
}

fn value(name: &str, vault: &Vault, dir: &Path, host: &Host) -> Result<String> {
    let failed = |why: &str, hint: &str| {
        Error::new(
            ErrorKind::Config,
            format!("cannot get the secret {name}: {why}"),
        )
        .hint(hint)
    };
    let value = match vault {
        Vault::Env(variable) => (host.environment)(variable)
            .ok_or_else(|| {
                let why = format!("the variable {variable} is not set");
                failed(&why, "set it in the environment of moat")
            })?
            .into_string()
            .map_err(|_| failed("its value is not UTF-8", "give it as text"))?,
        Vault::File(path) => file(&host.path_in(dir, path)).map_err(|why| {
            failed(
                &why,
                "a relative path starts at the directory of the configuration file",
            )
        })?,
        Vault::Op(reference) => runtime::ask_tool("op", &["read", "--no-newline", reference])
            .map_err(|why| failed(&why, "sign in first (op signin), and try: op read"))?,
        Vault::Ssm(parameter) => runtime::ask_tool(
            "aws",
            &[
                "ssm",
                "get-parameter",
                "--with-decryption",
                "--query",
                "Parameter.Value",
                "--output",
                "text",
                "--name",
                parameter,
            ],
        )
        .map_err(|why| failed(&why, "sign in first, and try: aws ssm get-parameter"))?,
    };
    let value = without_newline(value);
    match value {
        value if value.is_empty() => Err(failed(
            "it is empty",
            "store a value, or remove the secret from moat.yaml",
        )),
        value if value.contains('\0') => {
            Err(failed("it contains a NUL character", "give it as text"))
        }
        value if value.len() > MAX_SECRET_BYTES => {
            Err(failed("it is larger than 120 KiB", "mount it as a file"))
        }
        value => Ok(value),
    }
}

/// Removes the newline with which editors and tools end a file.
fn without_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

fn file(path: &Path) -> std::result::Result<String, String> {
    use std::io::Read;
    let reason = |error: &std::io::Error| {
        format!("{}: {}", path.display(), crate::error::os_error_text(error))
    };
    let metadata = std::fs::metadata(path).map_err(|error| reason(&error))?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(|error| reason(&error))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))
}
