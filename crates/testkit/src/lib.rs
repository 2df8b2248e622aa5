//! Development only: clusters of real processes with a breakable network, an oracle for what they acknowledge, real
//! data, and waiting for facts.

pub mod cluster;
pub mod dataset;
pub mod direct;
pub mod load;
pub mod network;
pub mod oracle;
mod owner;
pub mod peer;
mod ports;
pub mod process;
mod wait;

pub use cluster::{ClusterOptions, FACT_MAX, ProcessCluster};
pub use direct::{Direct, Refusal};
pub use network::{Partition, Then};
pub use process::{NodeProcess, NodeSetup};
pub use wait::eventually;
