//! `secrets`: variables and references to their values. A configuration file never contains the values themselves.

use super::settings::variable_name;
use crate::variable_name::is_environment_name;
use crate::yaml::{Node, Placed, Source, message_text};

/// A variable whose value moat looks up when the run starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretSource {
    pub(crate) name: String,
    pub(crate) vault: Vault,
}

/// A reference to a secret: where moat looks up the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vault {
    /// A variable of moat's environment.
    Env(String),
    /// A file; its last newline is not part of the secret.
    File(String),
    /// 1Password: the argument of `op read`.
    Op(String),
    /// AWS Systems Manager: the name of a parameter.
    Ssm(String),
}

const FORMS_HINT: &str = "write env://NAME, file://PATH, op://VAULT/ITEM/FIELD or ssm://PARAMETER";

impl Vault {
    /// Whether a text has the form of a reference to a secret.
    pub(super) fn is_secret_reference(text: &str) -> bool {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        matches!(scheme, Some("env" | "file" | "op" | "ssm"))
    }

    pub(super) fn parse(text: &str) -> Result<Vault, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            // The text may be the secret itself, so the message does not repeat it.
            return Err(format!(
                "this is not a reference to a secret ({FORMS_HINT})"
            ));
        };
        let plain = !rest.is_empty() && !rest.chars().any(char::is_control);
        match scheme {
            "env" | "file" | "op" | "ssm" if !plain => {
                Err(format!("'{scheme}://' is incomplete ({FORMS_HINT})"))
            }
            "env" if is_environment_name(rest) => Ok(Vault::Env(rest.to_owned())),
            "env" => Err(format!(
                "bad variable name '{}' ({FORMS_HINT})",
                message_text(rest)
            )),
            "file" => Ok(Vault::File(rest.to_owned())),
            "op" if rest.split('/').filter(|part| !part.is_empty()).count() >= 3 => {
                Ok(Vault::Op(text.to_owned()))
            }
            "op" => Err(format!(
                "'op://' needs a vault, an item and a field ({FORMS_HINT})"
            )),
            // A name that begins with a dash would be an option of the tool.
            "ssm" if !rest.starts_with('-') => Ok(Vault::Ssm(rest.to_owned())),
            "ssm" => Err("the name of a parameter cannot begin with '-'".to_owned()),
            _ => Err(format!(
                "unknown kind of secret '{}://' ({FORMS_HINT})",
                message_text(scheme)
            )),
        }
    }
}

pub(super) fn read(source: &Source, node: &Node) -> Vec<Placed<SecretSource>> {
    let mut secrets = Vec::new();
    for (name, at, node) in source.entries(node) {
        if !variable_name(source, name, at) {
            continue;
        }
        let crate::yaml::NodeValue::Text(text) = &node.value else {
            source.report(
                node.at,
                format!("expected a reference to a secret ({FORMS_HINT})"),
            );
            continue;
        };
        match Vault::parse(text) {
            Ok(vault) => secrets.push(Placed {
                at,
                value: SecretSource {
                    name: name.to_owned(),
                    vault,
                },
            }),
            Err(why) => source.report(node.at, why),
        }
    }
    secrets
}
