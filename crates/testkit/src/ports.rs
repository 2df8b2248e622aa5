//! Ports for nodes that are stopped and started again.
//!
//! They lie below the range from which the system takes ports for outgoing connections (32768 and up on Linux): else
//! a connection made while a node is down could sit on the port the node comes back to.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
/// Far apart for process ids that follow each other: test processes run side by side.
const STRIDE: u32 = 331;

/// A port of the loopback interface on which nobody listens.
///
/// # Errors
/// When all are taken.
pub(crate) fn free_port() -> Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset)?;
        if TcpListener::bind(loopback(port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

/// The loopback address with a port.
#[must_use]
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
