//! Which members there are, which of them leads, and which to ask next.
//!
//! Configured endpoints are preferred to learned ones: the addresses members announce to each other may not be
//! reachable from where the client runs. What fails is set aside for a while, never forgotten.

use std::time::Duration;

use pando_proto::v1;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::error::{ClientError, ErrorKind};

/// How long an endpoint that failed is asked only if all others failed, too.
const SET_ASIDE: Duration = Duration::from_secs(1);
/// The same for learned addresses, which may not be reachable from here at all.
const LEARNED_SET_ASIDE: Duration = Duration::from_secs(30);
/// How often an idle connection is probed, and how long the answer may take.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Least time between two looks at the member list that nobody asked for.
const LEARN_EVERY: Duration = Duration::from_secs(5);
/// The same while a leader is known: another one may have been elected, which any member passes writes on to.
const LEADER_TRUSTED: Duration = Duration::from_secs(30);
/// Most members a client keeps in mind.
const MEMBERS_MAX: usize = 64;

/// Settings of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    pub(crate) connect_timeout: Duration,
    /// Whether members other than the configured ones are asked.
    pub(crate) follow: bool,
}

/// A member to ask.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) uri: String,
    pub(crate) channel: Channel,
}

#[derive(Debug)]
struct Member {
    target: Target,
    configured: bool,
    aside_until: Option<Instant>,
}

#[derive(Debug)]
struct State {
    members: Vec<Member>,
    leader: Option<String>,
    learned_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Endpoints {
    transport: Transport,
    state: Mutex<State>,
}

fn uri(address: &str) -> String {
    if address.contains("://") {
        address.trim_end_matches('/').to_owned()
    } else {
        format!("http://{address}")
    }
}

impl Endpoints {
    pub(crate) fn new(endpoints: &[String], transport: Transport) -> Result<Self, ClientError> {
        let mut members: Vec<Member> = Vec::new();
        for endpoint in endpoints {
            let member = member(&uri(endpoint), transport, true)?;
            if members.iter().all(|m| m.target.uri != member.target.uri) {
                members.push(member);
            }
        }
        let state = State {
            members,
            leader: None,
            learned_at: None,
        };
        Ok(Self {
            transport,
            state: Mutex::new(state),
        })
    }

    /// The leader if it is wanted and known, else the first member that has not just failed, else the one that
    /// failed longest ago.
    pub(crate) fn pick(&self, want_leader: bool) -> Target {
        let state = self.state.lock();
        let now = Instant::now();
        let aside = |m: &&Member| m.aside_until.filter(|until| *until > now);
        let is_leader = |m: &&Member| Some(&m.target.uri) == state.leader.as_ref();
        let leader = state.members.iter().find(is_leader);
        leader
            .filter(|m| want_leader && aside(m).is_none())
            .or_else(|| state.members.iter().min_by_key(aside))
            .map(|m| m.target.clone())
            .expect("there is a member: the builder refuses an empty list and none is removed")
    }

    /// How many members are known.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().members.len()
    }

    /// An answer came from this member.
    pub(crate) fn answered(&self, uri: &str) {
        if let Some(m) = self
            .state
            .lock()
            .members
            .iter_mut()
            .find(|m| m.target.uri == uri)
        {
            m.aside_until = None;
        }
    }

    /// This member cannot help at the moment.
    pub(crate) fn failed(&self, uri: &str) {
        let mut state = self.state.lock();
        if state.leader.as_deref() == Some(uri) {
            state.leader = None;
        }
        if let Some(m) = state.members.iter_mut().find(|m| m.target.uri == uri) {
            let time = if m.configured {
                SET_ASIDE
            } else {
                LEARNED_SET_ASIDE
            };
            m.aside_until = Some(Instant::now() + time);
        }
    }

    /// This member has too much to do: others are asked first for a while.
    pub(crate) fn busy(&self, uri: &str) {
        let mut state = self.state.lock();
        if let Some(m) = state.members.iter_mut().find(|m| m.target.uri == uri) {
            m.aside_until = Some(Instant::now() + SET_ASIDE);
        }
    }

    /// A member says who leads.
    pub(crate) fn hint(&self, api_address: &str) {
        if !self.transport.follow {
            return;
        }
        let mut state = self.state.lock();
        self.add(&mut state, api_address);
        state.leader = Some(uri(api_address));
    }

    /// A member says who belongs to the cluster.
    pub(crate) fn learned(&self, status: &v1::StatusResponse) {
        let mut state = self.state.lock();
        state.learned_at = Some(Instant::now());
        if !self.transport.follow {
            return;
        }
        for report in &status.nodes {
            let Some(address) = report.address.as_ref().filter(|a| !a.api.is_empty()) else {
                continue;
            };
            self.add(&mut state, &address.api);
            if report.node_id == status.leader_id {
                state.leader = Some(uri(&address.api));
            }
        }
    }

    /// Whether it is time to look who leads; at most one caller is told so within a while.
    pub(crate) fn should_learn(&self) -> bool {
        let mut state = self.state.lock();
        let wait = match state.leader {
            Some(_) => LEADER_TRUSTED,
            None => LEARN_EVERY,
        };
        let recent = state.learned_at.is_some_and(|at| at.elapsed() < wait);
        if !self.transport.follow || recent {
            return false;
        }
        state.learned_at = Some(Instant::now());
        true
    }

    fn add(&self, state: &mut State, address: &str) {
        let uri = uri(address);
        let known = state.members.iter().any(|m| m.target.uri == uri);
        if known || state.members.len() >= MEMBERS_MAX {
            return;
        }
        match member(&uri, self.transport, false) {
            Ok(member) => state.members.push(member),
            Err(error) => tracing::debug!(%error, "a member announces an address of no use"),
        }
    }
}

fn member(uri: &str, transport: Transport, configured: bool) -> Result<Member, ClientError> {
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|e| {
        let message = format!("bad endpoint {uri:?}: use http://host:port ({e})");
        ClientError::new(ErrorKind::InvalidInput, message)
    })?;
    let channel = endpoint
        .connect_timeout(transport.connect_timeout)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .tcp_nodelay(true)
        .connect_lazy();
    Ok(Member {
        target: Target {
            uri: uri.to_owned(),
            channel,
        },
        configured,
        aside_until: None,
    })
}
