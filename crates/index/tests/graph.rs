//! The graph answers like the scan, nearly; and never with what is not there.

#[path = "graph/support.rs"]
mod support;

#[path = "graph/segment.rs"]
mod segment;

#[path = "graph/files.rs"]
mod files;

#[path = "graph/oracle.rs"]
mod oracle;

#[path = "graph/stress.rs"]
mod stress;

#[path = "graph/faults.rs"]
mod faults;

#[path = "graph/checkpoints.rs"]
mod checkpoints;

#[path = "graph/packed.rs"]
mod packed;

#[path = "graph/quantize.rs"]
mod quantize;
