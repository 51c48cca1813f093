//! Finds out whether a port is free, and which process listens on it otherwise.
//!
//! A port is free if it can be bound on 127.0.0.1, 0.0.0.0 and ::1; the probe never listens. Linux lists listeners in
//! /proc/net/tcp and in the descriptors of processes (proc(5)); elsewhere the probe asks lsof.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, sockopt};

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortListener {
    pub(crate) port: u16,
    /// Unknown for a process of another user.
    pub(crate) pid: Option<u32>,
}

/// Whether a port is in use on any address that a server may choose.
pub(super) fn is_taken(port: u16) -> bool {
    [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ]
    .into_iter()
    .any(|address| is_bind_refused(SocketAddr::new(address, port)))
}

/// Whether binding fails because the address is in use. Missing IPv6 support is no such reason.
fn is_bind_refused(address: SocketAddr) -> bool {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let Ok(socket) = open(family) else {
        return false;
    };
    // Without this option, recently closed connections would count as use.
    let _ = sockopt::set_socket_reuseaddr(&socket, true);
    bind(&socket, &address) == Err(Errno::ADDRINUSE)
}

/// Not inherited: a child would hold the port as well.
#[cfg(target_os = "linux")]
fn open(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
}

#[cfg(not(target_os = "linux"))]
fn open(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket(family, SocketType::STREAM, None)
}

/// A port that is free on 127.0.0.1, chosen by the kernel.
pub(super) fn free_port_from_kernel() -> Option<u16> {
    let socket = open(AddressFamily::INET).ok()?;
    bind(&socket, &SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).ok()?;
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket).ok()?).ok()?;
    Some(address.port())
}

/// The listener on a port, for messages: `process 12 (node)`.
pub(super) fn listener_name(port: u16) -> String {
    match listeners(&[port]).first() {
        Some(listener) => holder_name(listener),
        None => "a process that does not listen there, or not here".to_owned(),
    }
}

/// The process of a listener, for messages: `process 12 (node)`.
pub(super) fn holder_name(listener: &PortListener) -> String {
    match listener.pid {
        Some(pid) => match command(pid) {
            Some(name) => format!("process {pid} ({})", crate::term::escape_unsafe(&name)),
            None => format!("process {pid}"),
        },
        None => "a process of another user".to_owned(),
    }
}

#[cfg(target_os = "linux")]
fn command(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim().to_owned())
}

#[cfg(not(target_os = "linux"))]
fn command(_pid: u32) -> Option<String> {
    None
}

/// The listeners on the given ports.
#[cfg(target_os = "linux")]
pub(super) fn listeners(ports: &[u16]) -> Vec<PortListener> {
    let mut sockets: Vec<(u64, u16)> = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        sockets.extend(
            text.lines()
                .filter_map(listening)
                .filter(|(_, port)| ports.contains(port)),
        );
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<PortListener> = Vec::new();
    let mut known: Vec<u64> = Vec::new();
    for pid in super::marked_processes::pids() {
        for inode in sockets_of(pid) {
            let ports = sockets.iter().filter(|(number, _)| *number == inode);
            for (_, port) in ports {
                known.push(inode);
                let pid = Some(pid);
                found.push(PortListener { port: *port, pid });
            }
        }
    }
    for (inode, port) in sockets {
        if !known.contains(&inode) {
            found.push(PortListener { port, pid: None });
        }
    }
    found.dedup();
    found
}

/// The inode and the port of a line of the table, if the socket is listening (state 0A).
#[cfg(target_os = "linux")]
fn listening(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    if *fields.get(3)? != "0A" {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((fields.get(9)?.parse().ok()?, port))
}

#[cfg(target_os = "linux")]
fn sockets_of(pid: u32) -> Vec<u64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let links = entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| {
            let inner = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inner.parse().ok()
        })
        .collect()
}

/// The listeners on the given ports. `-a` joins the filters of lsof; the port is part of `-i`.
#[cfg(not(target_os = "linux"))]
pub(super) fn listeners(ports: &[u16]) -> Vec<PortListener> {
    let mut found = Vec::new();
    for port in ports {
        let filter = format!("-iTCP:{port}");
        let output = crate::program::call("lsof")
            .args(["-nP", "-a", &filter, "-sTCP:LISTEN", "-t"])
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let pids = text.unwrap_or_default();
        found.extend(pids.lines().filter_map(|line| {
            let pid = Some(line.trim().parse().ok()?);
            Some(PortListener { port: *port, pid })
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_taken_while_somebody_listens_and_we_are_named() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(server) = TcpListener::bind(address) else {
                assert!(address.contains("::1"), "{address}");
                continue;
            };
            let port = server.local_addr().unwrap().port();
            assert!(is_taken(port), "{address}");
            let pids = listeners(&[port]);
            assert_eq!(pids[0].pid, Some(std::process::id()), "{address}");
            assert!(listener_name(port).starts_with("process "));
            drop(server);
            // A child that another test is starting inherits the descriptor for a moment.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while is_taken(port) {
                assert!(std::time::Instant::now() < deadline, "{address}");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            assert!(listeners(&[port]).is_empty());
        }
    }
}
