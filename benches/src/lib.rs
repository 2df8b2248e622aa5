//! Cluster benches.
