//! The arguments of `docker create` for a service, and of `docker network create`. Pure.

use super::super::error::Result;
use super::super::{Network, ServiceSpec};
use super::Dialect;
use super::create_args::{ClientCall, ContainerLabels, HOME_LABEL, is_selinux_enabled, mount};

/// Builds the call that creates a service's container. Containers on its network reach it by its name; a run
/// publishes none of its ports.
pub(super) fn request(dialect: Dialect, spec: &ServiceSpec) -> Result<ClientCall> {
    let identity = ContainerLabels {
        handle: &spec.handle,
        home: &spec.home_label,
        owner: spec.owner.label(),
        role: "service",
    };
    let mut request = ClientCall::create(dialect, &identity, None);
    request.label("moat.service", &spec.name);
    request.add(&["--network", &spec.network]);
    request.add(&["--network-alias", &spec.name, "--hostname", &spec.name]);
    request.publish(&spec.ports);
    if let Some(cache) = &spec.cache {
        let source = cache.source.to_string_lossy();
        let cache = mount("bind", &source, &cache.target, cache.readonly);
        request.add(&["--mount", &cache]);
    }
    request.host_directories(spec.cache.is_some(), is_selinux_enabled());
    request.limits(spec.memory_bytes, spec.cpus);
    request.ulimits(dialect, &[]);
    request.values(dialect, &spec.env)?;
    request.add(&["--", &spec.image]);
    request.args.extend(spec.command.iter().cloned());
    Ok(request)
}

/// Builds the call that creates the network of a run or of a session.
pub(super) fn network(dialect: Dialect, network: &Network) -> Vec<String> {
    let home = format!("{HOME_LABEL}={}", network.home_label);
    let (name, value) = network.owner.label();
    let whose = format!("{name}={value}");
    let words = ["network", "create", "--label", &home, "--label", &whose];
    let options = dialect.network_options();
    let words = [&words, options, &[network.handle.as_str()]].concat();
    words.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::ResourceOwner;
    use super::*;

    #[test]
    fn a_service_is_private_hardened_and_has_no_value_in_its_arguments() {
        let spec = ServiceSpec {
            handle: "run_0123456789ab-db".into(),
            home_label: "h".into(),
            owner: ResourceOwner::Run("run_0123456789ab".into()),
            name: "db".into(),
            ports: Vec::new(),
            network: "run_0123456789ab".into(),
            image: "postgres:17".into(),
            command: Vec::new(),
            env: vec![("POSTGRES_PASSWORD".into(), "s3cret".into())],
            memory_bytes: Some(1 << 28),
            cpus: None,
            cache: None,
        };
        let request = request(Dialect::Docker, &spec).unwrap();
        let line = request.args.join(" ");
        for part in [
            "--label moat.role=service --label moat.handle=run_0123456789ab-db --log-driver",
            "--label moat.service=db --network run_0123456789ab --network-alias db",
            "--cap-drop ALL",
            "no-new-privileges",
            "--memory 268435456 --memory-swap 268435456",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(
            line.ends_with("--env POSTGRES_PASSWORD -- postgres:17"),
            "{line}"
        );
        for never in ["--publish", "-p ", "s3cret", "--user"] {
            assert!(!line.contains(never), "{never} in {line}");
        }
    }
}
