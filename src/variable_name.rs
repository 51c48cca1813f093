//! Names of variables. An environment has almost any name: `discovery.type`, for example. A shell has fewer names, and
//! some shells remove all others from the environment of the programs that they start.

/// Whether a variable of an environment can have this name.
pub(crate) fn is_environment_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// The rule of [`is_environment_name`] in a message.
pub(crate) const ENVIRONMENT_NAME_RULE: &str = "not empty, no '=' and no NUL";

/// Whether a shell supports a variable of this name.
pub(crate) fn is_shell_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|first| !first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_has_more_names_than_a_shell() {
        for name in ["A", "_a1"] {
            assert!(is_environment_name(name) && is_shell_name(name), "{name}");
        }
        for name in [
            "discovery.type",
            "a-b",
            "1A",
            "A B",
            "\u{e9}",
            "*",
            "-x",
            "ProgramFiles(x86)",
        ] {
            assert!(is_environment_name(name) && !is_shell_name(name), "{name}");
        }
        for name in ["", "A=", "=", "A\0"] {
            assert!(!is_environment_name(name), "{name:?}");
        }
    }
}
