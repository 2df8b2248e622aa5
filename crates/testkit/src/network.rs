//! A network between node processes that a test can break: every node is reached through a proxy of its own, which
//! knows which node a connection comes from, so that each direction of each link has its own fate.
//!
//! A held link delivers nothing until it is released, and then everything, as TCP does after a partition; a severed
//! one closes its connections and takes no new ones. Bytes are never lost or changed within a connection: what a
//! connection delivers is always a prefix of what was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use pando_model::NodeId;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::owner::owner;
use crate::ports::{free_port, loopback};

/// Where connections come from that no node made: the test itself.
const OUTSIDE: NodeId = 0;
/// Bytes taken from a connection at once.
const CHUNK: usize = 16 << 10;
/// How often a connection's owner is looked up before it is taken for one that is gone.
const LOOKS: usize = 3;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    Held,
    Severed,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    flow: Flow,
    /// How often the connections of this link were closed.
    breaks: u64,
}

/// One direction between two nodes.
#[derive(Debug, Default)]
struct Link {
    state: watch::Sender<State>,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    passed: u64,
    /// What happens when this many more bytes have passed.
    next: Option<(u64, Then)>,
}

/// What happens to a link after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Its connections are closed, once; new ones are taken.
    Cut,
    /// It delivers nothing more until [`Network::heal`].
    Hold,
}

impl Link {
    /// How many of `bytes` may pass, and what happens then if not all may.
    fn pass(&self, bytes: usize) -> (usize, Option<Then>) {
        let mut counted = self.counted.lock();
        let mut allowed = bytes;
        let mut then = None;
        if let Some((left, next)) = counted.next {
            allowed = usize::try_from(left).map_or(bytes, |left| left.min(bytes));
            let reached = allowed < bytes;
            then = reached.then_some(next);
            counted.next = (!reached).then_some((left - allowed as u64, next));
        }
        counted.passed += allowed as u64;
        (allowed, then)
    }

    fn set(&self, flow: Flow) {
        self.state.send_modify(|state| {
            state.flow = flow;
            state.breaks += u64::from(flow == Flow::Severed);
        });
    }

    fn break_once(&self) {
        self.state.send_modify(|state| state.breaks += 1);
    }
}

#[derive(Debug, Default)]
struct Shared {
    links: Mutex<BTreeMap<(NodeId, NodeId), Arc<Link>>>,
    pids: Mutex<BTreeMap<NodeId, u32>>,
}

impl Shared {
    fn link(&self, from: NodeId, to: NodeId) -> Arc<Link> {
        Arc::clone(self.links.lock().entry((from, to)).or_default())
    }

    fn source(&self, from: SocketAddr, to: SocketAddr) -> NodeId {
        let pids = self.pids.lock().clone();
        let mut candidates: Vec<u32> = pids.values().copied().collect();
        candidates.push(std::process::id());
        let look = |_| {
            owner(from, to, &candidates).unwrap_or_else(|error| {
                tracing::warn!(%error, "a connection's owner cannot be looked up");
                None
            })
        };
        // The table is read in parts, and what changes in between can hide a line of it.
        let pid = (0..LOOKS).find_map(look);
        pids.iter()
            .find(|(_, p)| Some(**p) == pid)
            .map_or(OUTSIDE, |(id, _)| *id)
    }
}

/// The proxies of all nodes.
#[derive(Debug, Default)]
pub struct Network {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Network {
    /// Opens a proxy in front of a node's port, and returns the address to announce. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn front(&mut self, node: NodeId, port: u16) -> Result<String> {
        let listener = TcpListener::bind(loopback(free_port()?)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, from)) = listener.accept().await else {
                    continue;
                };
                let source = shared.source(from, address);
                let links = [shared.link(source, node), shared.link(node, source)];
                connections.spawn(connection(stream, loopback(port), links));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(address.to_string())
    }

    /// Says which process is a node, so that its connections are known as its own.
    pub fn runs_as(&self, node: NodeId, pid: u32) {
        self.shared.pids.lock().insert(node, pid);
    }

    /// What `from` sends does not arrive at `to` until [`Network::heal`].
    pub fn hold(&self, from: NodeId, to: NodeId) {
        self.shared.link(from, to).set(Flow::Held);
    }

    /// Closes all connections between two nodes; no new ones until [`Network::heal`].
    pub fn sever(&self, a: NodeId, b: NodeId) {
        self.shared.link(a, b).set(Flow::Severed);
        self.shared.link(b, a).set(Flow::Severed);
    }

    /// Breaks the link in this way when `from` has sent `bytes` more to `to`.
    pub fn after(&self, from: NodeId, to: NodeId, bytes: u64, then: Then) {
        self.shared.link(from, to).counted.lock().next = Some((bytes, then));
    }

    /// Whether what [`Network::after`] was told is still to come.
    #[must_use]
    pub fn is_pending(&self, from: NodeId, to: NodeId) -> bool {
        self.shared.link(from, to).counted.lock().next.is_some()
    }

    /// Bytes that `from` has sent to `to`, through whichever connection.
    #[must_use]
    pub fn passed(&self, from: NodeId, to: NodeId) -> u64 {
        self.shared.link(from, to).counted.lock().passed
    }

    /// Holds or severs every link between the two groups, in both directions.
    pub fn partition(&self, group: &[NodeId], others: &[NodeId], how: Partition) {
        for a in group {
            for b in others {
                match how {
                    Partition::Hold => {
                        self.hold(*a, *b);
                        self.hold(*b, *a);
                    }
                    Partition::Sever => self.sever(*a, *b),
                }
            }
        }
    }

    /// Opens every link, and delivers what was held.
    pub fn heal(&self) {
        for link in self.shared.links.lock().values() {
            link.set(Flow::Open);
            link.counted.lock().next = None;
        }
    }
}

/// How a partition shows at the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Silence: nothing arrives, nothing is refused.
    Hold,
    /// Connections break, new ones are refused.
    Sever,
}

/// Carries one connection in both directions until either end closes it or its link breaks.
async fn connection(stream: TcpStream, to: SocketAddr, [out, back]: [Arc<Link>; 2]) {
    if out.state.borrow().flow == Flow::Severed || back.state.borrow().flow == Flow::Severed {
        return;
    }
    let Ok(upstream) = TcpStream::connect(to).await else {
        return;
    };
    let nodelay = [stream.set_nodelay(true), upstream.set_nodelay(true)];
    tracing::trace!(?nodelay, "a connection through a proxy");
    let (client_read, client_write) = stream.into_split();
    let (server_read, server_write) = upstream.into_split();
    tokio::select! {
        () = pump(client_read, server_write, out) => {}
        () = pump(server_read, client_write, back) => {}
    }
}

/// Carries one direction until its end or the link's.
async fn pump(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, link: Arc<Link>) {
    let mut state = link.state.subscribe();
    let breaks = state.borrow().breaks;
    tokio::select! {
        // In this order: nothing may pass once the link is broken, even if it is healed in the same moment.
        biased;
        broken = state.wait_for(|state| state.breaks > breaks) => drop(broken),
        () = carry(from, to, &link, breaks) => {}
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &Link,
    breaks: u64,
) {
    let mut state = link.state.subscribe();
    let mut buffer = vec![0; CHUNK];
    loop {
        let Ok(read) = from.read(&mut buffer).await else {
            return;
        };
        if read == 0 {
            return;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            // A link that was broken and healed while this was being polled is open, and not for this connection.
            let goes_on = |state: &State| state.flow != Flow::Held || state.breaks > breaks;
            match state.wait_for(goes_on).await.map(|state| state.breaks) {
                Ok(now) if now == breaks => {}
                Ok(_) | Err(_) => return,
            }
            let (passed, then) = link.pass(rest.len());
            if to.write_all(&rest[..passed]).await.is_err() {
                return;
            }
            rest = &rest[passed..];
            match then {
                None => {}
                Some(Then::Hold) => link.set(Flow::Held),
                Some(Then::Cut) => {
                    link.break_once();
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::wait::eventually;

    const NODE: NodeId = 1;

    /// A server that sends back what it gets, and the address of a proxy in front of it.
    async fn echo(network: &mut Network) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        network.front(NODE, port).await.unwrap()
    }

    async fn ask(stream: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
        let sent = vec![7; bytes];
        stream.write_all(&sent).await?;
        let mut got = vec![0; bytes];
        stream.read_exact(&mut got).await?;
        assert_eq!(got, sent);
        Ok(())
    }

    #[tokio::test]
    async fn what_is_held_is_delivered_later_and_only_then() {
        let mut network = Network::default();
        let address = echo(&mut network).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        ask(&mut stream, 100).await.unwrap();
        network.hold(OUTSIDE, NODE);
        let held = timeout(Duration::from_millis(100), ask(&mut stream, 1)).await;
        assert!(held.is_err(), "nothing may pass");
        assert_eq!(network.passed(OUTSIDE, NODE), 100);
        network.heal();
        let mut late = [0; 1];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(late, [7]);
    }

    #[tokio::test]
    async fn each_direction_has_its_own_fate() {
        let mut network = Network::default();
        let address = echo(&mut network).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        ask(&mut stream, 10).await.unwrap();
        network.hold(NODE, OUTSIDE);
        stream.write_all(&[7; 5]).await.unwrap();
        eventually("the question passes", Duration::from_secs(10), async || {
            anyhow::ensure!(network.passed(OUTSIDE, NODE) == 15, "not yet");
            Ok(())
        })
        .await
        .unwrap();
        let mut answer = [0; 5];
        let answered = timeout(Duration::from_millis(100), stream.read_exact(&mut answer)).await;
        assert!(answered.is_err(), "the answer is held");
        assert_eq!(network.passed(NODE, OUTSIDE), 10);
    }

    #[tokio::test]
    async fn a_severed_link_closes_and_refuses() {
        let mut network = Network::default();
        let address = echo(&mut network).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        ask(&mut stream, 10).await.unwrap();
        network.sever(NODE, OUTSIDE);
        assert!(
            ask(&mut stream, 1).await.is_err(),
            "the connection is closed"
        );
        let mut again = TcpStream::connect(&address).await.unwrap();
        assert!(ask(&mut again, 1).await.is_err(), "so are new ones");
        network.heal();
        let mut healed = TcpStream::connect(&address).await.unwrap();
        ask(&mut healed, 10).await.unwrap();
    }

    #[tokio::test]
    async fn a_break_comes_at_its_byte_and_once() {
        let mut network = Network::default();
        let address = echo(&mut network).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        network.after(NODE, OUTSIDE, 25, Then::Cut);
        ask(&mut stream, 20).await.unwrap();
        assert!(network.is_pending(NODE, OUTSIDE));
        assert!(ask(&mut stream, 20).await.is_err(), "cut in its middle");
        assert_eq!(network.passed(NODE, OUTSIDE), 25);
        assert!(!network.is_pending(NODE, OUTSIDE));
        let mut again = TcpStream::connect(&address).await.unwrap();
        ask(&mut again, 1_000).await.unwrap();
        network.after(NODE, OUTSIDE, 5, Then::Hold);
        again.write_all(&[7; 8]).await.unwrap();
        let mut answer = [0; 8];
        again.read_exact(&mut answer[..5]).await.unwrap();
        let held = timeout(
            Duration::from_millis(100),
            again.read_exact(&mut answer[5..]),
        )
        .await;
        assert!(held.is_err(), "five bytes passed, no more");
    }
}
