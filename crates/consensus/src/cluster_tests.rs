//! Clusters in one process, over a network of channels with faults. Waits for facts; timeouts only end what hangs.

mod catch_up;
mod elections;
mod frail;
mod harness;
mod membership;
mod policy;
mod rot;
mod trust;
