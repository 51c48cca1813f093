//! Ports that no other test uses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Number of ports of a range.
const SIZE: u16 = 50;
/// Above the usual ports of servers, and below the ports that the kernel assigns to outgoing connections.
const FIRST: u16 = 10_000;
const RANGES: u32 = 440;

/// A range of free ports. The test holds the UDP port at its beginning, which no test uses: only one process can have
/// the port, and the system frees it when the process ends. So tests in several processes never share a range.
pub(crate) struct Ports {
    base: u16,
    _claim: UdpSocket,
}

impl Ports {
    pub(crate) fn claim() -> Ports {
        let time = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let begin = time.expect("a clock").subsec_micros();
        let ranges = (0..RANGES).map(|number| (begin + number) % RANGES);
        let bases = ranges.map(|range| FIRST + u16::try_from(range).expect("small") * SIZE);
        let mut claims = bases.filter_map(|base| {
            let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, base)).ok()?;
            let mut ports = base..base + SIZE;
            let free = ports.all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
            free.then_some(Ports {
                base,
                _claim: claim,
            })
        });
        claims.next().expect("fifty free ports beside each other")
    }

    /// The first port.
    pub(crate) fn base(&self) -> u16 {
        self.base
    }
}
