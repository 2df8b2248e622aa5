//! The Rust SDK: finds the leader, retries safely, typed errors.
