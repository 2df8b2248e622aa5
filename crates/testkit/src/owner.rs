//! Which process opened a TCP connection over the loopback interface: Linux says so under `/proc`.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};

/// The process among `candidates` that holds the connection from port `from` to port `to`.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn owner(from: SocketAddr, to: SocketAddr, candidates: &[u32]) -> Result<Option<u32>> {
    let table = fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
    let Some(inode) = table
        .lines()
        .find_map(|line| inode(line, from.port(), to.port()))
    else {
        return Ok(None);
    };
    let socket = format!("socket:[{inode}]");
    Ok(candidates.iter().copied().find(|pid| holds(*pid, &socket)))
}

/// The inode of a line of the table, if the line is about these ports.
fn inode(line: &str, from: u16, to: u16) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    let ours = port(fields.get(1)?)? == from && port(fields.get(2)?)? == to;
    fields.get(9).filter(|_| ours).copied()
}

/// Whether a process has the socket open. One that has just ended has nothing open.
fn holds(pid: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut links = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| link.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_traced_to_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let from = stream.local_addr().unwrap();
        let me = std::process::id();
        assert_eq!(owner(from, to, &[1, me]).unwrap(), Some(me));
        assert_eq!(owner(from, to, &[]).unwrap(), None);
        assert_eq!(owner(to, to, &[me]).unwrap(), None, "no such connection");
    }
}
