//! Values that only a starting run needs: secrets, passwords, and the variables of services that contain them.

use std::path::Path;

use super::{Host, Plan, PlannedService, Variable, secret};
use crate::error::{Error, ErrorKind, Result};
use crate::registry;

/// Looks up the secrets and creates the passwords of a plan.
pub(crate) fn resolve_run_values(plan: &mut Plan, host: &Host) -> Result<()> {
    plan.env.extend(secret::resolve(&plan.secrets, host)?);
    for service in &mut plan.services {
        for export in resolve_service_values(service, host, None)? {
            // A setting of the user overrides the variable of a service.
            if !plan.env.iter().any(|set| set.name == export.name) {
                plan.env.push(export);
            }
        }
    }
    Ok(())
}

/// The address of published ports on this host.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// The address of a service for processes of this host, which cannot use its name.
pub(crate) struct PublishedService<'a> {
    /// The port on the loopback address.
    pub(crate) port: u16,
    /// The variables that other members got from the previous container: they still have its password.
    pub(crate) previous_variables: &'a [(String, String)],
}

/// Looks up the secrets and creates the password of one service. Returns the variables for the workload.
pub(crate) fn resolve_service_values(
    service: &mut PlannedService,
    host: &Host,
    published: Option<&PublishedService<'_>>,
) -> Result<Vec<Variable>> {
    let found = secret::resolve(&service.secrets, host)?;
    service.env.extend(found);
    let Some(template) = service.template.take() else {
        return Ok(Vec::new());
    };
    let values = PlaceholderValues::of(service, &template, published)?;
    for variable in &mut service.env {
        let own = template
            .variables
            .iter()
            .any(|(name, value)| *name == variable.name && value == variable.value.expose());
        if own {
            variable.value = values
                .substitute(variable.value.expose(), str::to_owned)
                .into();
        }
    }
    let export = |export: &Variable| {
        let value = match export.name.ends_with("_URL") {
            true => values.substitute(export.value.expose(), encoded),
            false => values.substitute(export.value.expose(), str::to_owned),
        };
        Variable::new(&export.name, &value)
    };
    Ok(service.exports.iter().map(export).collect())
}

/// The values of one service's placeholders.
struct PlaceholderValues {
    parts: [(&'static str, String); 5],
}

impl PlaceholderValues {
    fn of(
        service: &PlannedService,
        template: &registry::ServiceTemplate,
        published: Option<&PublishedService<'_>>,
    ) -> Result<PlaceholderValues> {
        let given = |placeholder: &str| {
            let carrier = template.placeholder_variable(placeholder)?;
            let variable = service.env.iter().find(|variable| variable.name == carrier);
            let value = variable?.value.expose();
            (value != placeholder).then(|| value.to_owned())
        };
        let mut exports = service.exports.iter();
        let told = exports.find(|export| export.value.expose() == "{password}");
        let told = told.zip(published).and_then(|(export, published)| {
            let mut told = published.previous_variables.iter();
            told.find(|(name, _)| *name == export.name)
        });
        let password = match given("{password}").or(told.map(|(_, value)| value.clone())) {
            Some(password) => password,
            None if template.has_password() => password()?,
            None => String::new(),
        };
        let known = |placeholder, default: &Option<String>| {
            given(placeholder)
                .or_else(|| default.clone())
                .unwrap_or_default()
        };
        Ok(PlaceholderValues {
            parts: [
                ("{user}", known("{user}", &template.user)),
                ("{password}", password),
                ("{database}", known("{database}", &template.database)),
                (
                    "{host}",
                    published.map_or_else(|| service.name.clone(), |_| LOOPBACK.to_owned()),
                ),
                (
                    "{port}",
                    published
                        .map_or_else(|| template.port(), |published| published.port)
                        .to_string(),
                ),
            ],
        })
    }

    /// Replaces the placeholders by their values. A placeholder inside a value stays.
    fn substitute(&self, template: &str, form: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = self.parts.iter().find(|(part, _)| rest.starts_with(part));
            let (length, value) = found.map_or((1, "{".to_owned()), |(part, value)| {
                (part.len(), form(value))
            });
            out.push_str(&value);
            rest = &rest[length..];
        }
        out + rest
    }
}

/// Percent-encodes a part of a URL (RFC 3986).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// 32 random letters and digits.
fn password() -> Result<String> {
    crate::store::random_word(32).map_err(|error| {
        let path = Path::new("/dev/urandom");
        Error::io(ErrorKind::Failed, "read", path, &error)
    })
}
