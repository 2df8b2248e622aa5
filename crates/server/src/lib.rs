//! The Pando server: configuration, gRPC services, HTTP endpoints, metrics, shutdown.

mod config;
mod error;
mod grpc;
mod http;
mod identity;
mod metrics;
mod traffic;

pub use config::{Config, ConfigError, LogFormat, NODE_ID_MAX, ServeArgs, Settings};
pub use identity::{Identity, IdentityError};
pub use traffic::{Counted, Traffic};
