//! Services and their networks.

use std::process::Stdio;

use super::super::error::{Result, RuntimeError};
use super::super::{Attached, Network, Networks, ServiceSpec, Services};
use super::create_args::{ClientCall, ContainerLabels, HOME_LABEL, is_selinux_enabled, mount};
use super::{Dialect, Docker, ignore_not_found};
use crate::store::StreamBytes;

impl Networks for Docker {
    fn make_network(&self, network: &Network) -> Result<()> {
        let args = network_args(self.dialect, network);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.run_client(&args).map(|_| ())
    }

    fn has_network(&self, handle: &str) -> Result<bool> {
        match self.run_client(&["network", "inspect", "--format", "{{.Id}}", handle]) {
            Err(RuntimeError::NotFound(_)) => Ok(false),
            result => result.map(|_| true),
        }
    }

    fn remove_network(&self, handle: &str) -> Result<()> {
        ignore_not_found(self.run_client(&["network", "rm", handle]))
    }
}

impl Services for Docker {
    fn create_service(&self, spec: &ServiceSpec) -> Result<()> {
        self.make(request(self.dialect, spec)?)
    }

    fn start_service(&self, handle: &str, _run: &str) -> Result<Attached> {
        let mut command = self.command();
        command
            .args(["start", "--attach"])
            .args(self.dialect.no_sig_proxy_args());
        command.stdin(Stdio::null());
        self.initialize(handle)?;
        self.attach_client(command.arg(handle), StreamBytes::default())
    }
}

/// Builds the call that creates a service's container. Containers on its network reach it by its name; a run
/// publishes none of its ports.
fn request(dialect: Dialect, spec: &ServiceSpec) -> Result<ClientCall> {
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
fn network_args(dialect: Dialect, network: &Network) -> Vec<String> {
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
