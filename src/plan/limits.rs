//! The limits of a run.

use super::Planner;
use super::description::{Line, shown};
use crate::config::{ConfigFile, ContainerConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Capability, RuntimeName};
use crate::store::{LimitSettings, Ulimit};
use crate::yaml::{NodeId, Placed};

/// The minimum memory of a runtime whose containers are virtual machines, in bytes.
const MIN_MACHINE_MEMORY_BYTES: u64 = 200 << 20;

impl Planner<'_> {
    /// Plans the limits. Limits that the engine lacks are refused, except those of `config.yaml`, which are ignored.
    pub(super) fn limits(&mut self) -> Result<LimitSettings> {
        self.refuse_limit_flags()?;
        for file in self.files {
            self.refuse_limits(file);
        }
        let available = self.host.facts.limits;
        let memory_bytes = self.strongest(|s| s.container.memory_bytes.as_ref());
        let cpus = self.strongest(|s| s.container.cpus.as_ref());
        let pids = self.strongest(|s| s.container.pids.as_ref());
        let seconds = |limit: std::time::Duration| limit.as_secs_f64();
        Ok(LimitSettings {
            memory_bytes: (self.flags.memory_bytes).or(memory_bytes.filter(|_| available.memory)),
            cpus: self.flags.cpus.or(cpus.filter(|_| available.cpus)),
            pids: pids.filter(|_| available.pids),
            shm_bytes: self.flags.shm_bytes,
            ulimits: self.ulimits(),
            timeout_seconds: (self.flags.timeout)
                .or_else(|| self.strongest(|s| s.timeout.as_ref()))
                .map(seconds),
            start_timeout_seconds: (self.flags.start_timeout)
                .or_else(|| self.strongest(|s| s.start_timeout.as_ref()))
                .map(seconds),
            keep: self.request.keep,
        })
    }

    fn ulimits(&self) -> Vec<Ulimit> {
        let mut limits: Vec<Ulimit> = Vec::new();
        for Placed { value, .. } in self.settings().flat_map(|s| &s.container.ulimits) {
            if !limits.iter().any(|stronger| stronger.name == value.name) {
                limits.push(value.clone());
            }
        }
        limits
    }

    fn refuse_limit_flags(&self) -> Result<()> {
        let (runtime, available) = (self.runtime(), self.host.facts.limits);
        let (memory, cpus) = (self.flags.memory_bytes, self.flags.cpus);
        let amounts = fractional_cpus_error(cpus, runtime).or(low_memory_error(memory, runtime));
        if let Some(why) = amounts {
            let hint = format!("change the limit, or use --runtime {}", RuntimeName::Docker);
            return Err(Error::new(ErrorKind::Runtime, why).hint(hint));
        }
        let keep = self.request.keep && !runtime.has_images();
        self.refuse_flag("--keep", keep, "no container to keep")?;
        let shm = self.request.shm_size.is_some() && !runtime.supports(Capability::ShmSize);
        self.refuse_flag("--shm-size", shm, "a /dev/shm that no option changes")?;
        let lack = no_limits(runtime);
        self.refuse_flag("--memory", memory.is_some() && !available.memory, lack)?;
        self.refuse_flag("--cpus", cpus.is_some() && !available.cpus, lack)
    }

    fn refuse_limits(&mut self, file: &ConfigFile) {
        let (runtime, available) = (self.runtime(), self.host.facts.limits);
        let (container, services) = (&file.settings.container, &file.settings.services);
        for (at, why) in unsupported_amounts(container, runtime) {
            self.refuse(file, at, why);
        }
        for service in services.iter().filter(|_| runtime.has_images()) {
            let (cpus, memory) = (service.value.cpus, service.value.memory_bytes);
            let whys = [
                fractional_cpus_error(cpus, runtime),
                low_memory_error(memory, runtime),
            ];
            for why in whys.into_iter().flatten() {
                let why = format!("service {}: {why}", service.value.name);
                self.refuse(file, service.at, why);
            }
        }
        let lack = no_limits(runtime);
        let limits = [
            (
                "memory",
                container.memory_bytes.as_ref().map(|limit| limit.at),
                available.memory,
            ),
            (
                "cpus",
                container.cpus.as_ref().map(|limit| limit.at),
                available.cpus,
            ),
            (
                "pids",
                container.pids.as_ref().map(|limit| limit.at),
                available.pids,
            ),
        ];
        for (key, at, is_available) in limits {
            if let Some(at) = at.filter(|_| !is_available) {
                self.refuse_key(file, at, key, lack);
            }
        }
        let limited = services.iter().find(|service| {
            service.value.memory_bytes.is_some() && !available.memory
                || service.value.cpus.is_some() && !available.cpus
        });
        if let Some(service) = limited.filter(|_| runtime.has_images()) {
            self.refuse_key(file, service.at, "memory or cpus of a service", lack);
        }
    }
}

/// The amounts of a file that a runtime with images cannot set.
fn unsupported_amounts(container: &ContainerConfig, runtime: RuntimeName) -> Vec<(NodeId, String)> {
    if !runtime.has_images() {
        return Vec::new();
    }
    let cpus = container
        .cpus
        .as_ref()
        .and_then(|cpus| Some((cpus.at, fractional_cpus_error(Some(cpus.value), runtime)?)));
    let memory = container
        .memory_bytes
        .as_ref()
        .and_then(|memory| Some((memory.at, low_memory_error(Some(memory.value), runtime)?)));
    let pids = container
        .pids
        .as_ref()
        .filter(|_| !runtime.supports(Capability::PidsLimit));
    let pids = pids.map(|pids| {
        let why = format!(
            "'pids' does not work on {runtime}, which cannot limit processes; use 'ulimits: {{nproc: N}}' instead"
        );
        (pids.at, why)
    });
    cpus.into_iter().chain(memory).chain(pids).collect()
}

/// The reason why a runtime cannot limit CPUs in this way.
fn fractional_cpus_error(cpus: Option<f64>, runtime: RuntimeName) -> Option<String> {
    let odd = cpus.is_some_and(|cpus| cpus.fract() > 0.0);
    (odd && runtime.has_images() && !runtime.supports(Capability::FractionalCpus)).then(|| {
        format!("'cpus' must be a whole number on {runtime}, whose containers have whole CPUs")
    })
}

/// The reason why a runtime cannot limit memory in this way.
fn low_memory_error(bytes: Option<u64>, runtime: RuntimeName) -> Option<String> {
    let little = bytes.is_some_and(|bytes| bytes < MIN_MACHINE_MEMORY_BYTES);
    (little && runtime.has_images() && !runtime.supports(Capability::LowMemory)).then(|| {
        let least = MIN_MACHINE_MEMORY_BYTES >> 20;
        format!("'memory' must be at least {least} MB on {runtime}, whose containers are virtual machines")
    })
}

fn no_limits(runtime: RuntimeName) -> &'static str {
    match runtime {
        RuntimeName::Docker => "no such limit here (docker info says so)",
        _ => "no control group that this user may write to",
    }
}

pub(super) fn describe(limits: &LimitSettings) -> Vec<Line> {
    let mut lines = vec![
        (
            "memory",
            shown(limits.memory_bytes.map(|bytes| format!("{bytes} bytes"))),
        ),
        ("cpus", shown(limits.cpus)),
        ("pids", shown(limits.pids)),
        (
            "shm",
            shown(limits.shm_bytes.map(|bytes| format!("{bytes} bytes"))),
        ),
    ];
    for limit in &limits.ulimits {
        let number =
            |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let (soft, hard) = (number(limit.soft), number(limit.hard));
        lines.push(("ulimit", format!("{} soft {soft}, hard {hard}", limit.name)));
    }
    let seconds = |seconds: Option<f64>| shown(seconds.map(|seconds| format!("{seconds} s")));
    lines.push(("timeout", seconds(limits.timeout_seconds)));
    lines.push(("start timeout", seconds(limits.start_timeout_seconds)));
    lines
}
