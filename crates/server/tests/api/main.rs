//! A whole node in this process, on real ports, asked with the generated clients.

mod cluster;
mod collections;
mod lifecycle;
mod points;
mod ports;
mod refused_filters;
mod refused_reads;
mod refused_writes;
mod search;
mod support;
