//! Where a node is reached: what the membership says about each member.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The two addresses of a node, as the other nodes and the clients reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeAddress {
    /// `host:port` of the node-to-node API.
    pub node: String,
    /// `host:port` of the public API.
    pub api: String,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (api {})", self.node, self.api)
    }
}
