//! Under which address others are told to reach a listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::error::ConfigError;

/// Refuses what is not `host:port`.
pub(super) fn check(key: &'static str, address: &str) -> Result<(), ConfigError> {
    let expected = "host:port, as others reach it, with a port that is not 0";
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(ConfigError::value(key, address, expected));
    };
    let bare_ip = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    let bad_host = host.is_empty() || bare_ip || host.contains(['/', ' ', '@']);
    match port.parse::<u16>() {
        Ok(port) if port != 0 && !bad_host => Ok(()),
        _ => Err(ConfigError::value(key, address, expected)),
    }
}

/// The address to tell others: the configured one, else where the listener is bound. A listener on every
/// interface has no address of its own, so the one of the interface towards the default route is told.
pub(crate) fn advertised(configured: Option<&str>, bound: SocketAddr) -> String {
    if let Some(address) = configured {
        return address.to_owned();
    }
    if !bound.ip().is_unspecified() {
        return bound.to_string();
    }
    let ip = outward_ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(ip, bound.port()).to_string()
}

/// Asks the routing table; connecting a datagram socket sends nothing.
fn outward_ip() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address reserved for documentation (RFC 5737): routed like any other, never answered.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}
