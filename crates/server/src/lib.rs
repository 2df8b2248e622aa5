//! The Pando server: configuration, gRPC services, HTTP endpoints, metrics, shutdown.
//!
//! [`run`] is one node from start to end. The public API (`grpc`), the node API (`peer`) and the HTTP port
//! (`http`) are shells around the consensus node: they judge, decode, call and encode. Everything a node needs
//! from outside comes in through its [`Config`].

mod config;
mod error;
mod figures;
mod grpc;
mod http;
mod identity;
mod metrics;
mod node;
mod owner;
mod peer;
mod peers;
mod stores;
mod traffic;
mod workers;

pub use config::{
    Config, ConfigError, LogFormat, NODE_ID_MAX, OnDamage, ServeArgs, Settings, SyncCompression,
};
pub use identity::{Forming, Identity, IdentityError};
pub use node::{Ready, run};
pub use pando_index::{UnsupportedCpu, check_cpu};
pub use peer::{
    Connector, Envelope, NodeTransport, PROTOCOL_VERSION, PeerHandler, PeerService, Refusal,
    serve_peers,
};
pub use traffic::{Counted, Traffic};
