//! A replica against its store, its log and its peers.

mod harness;
mod script;

mod apply;
mod bounded;
mod catch_up;
mod check;
mod checkpoint;
mod concurrency;
mod crash;
mod determinism;
mod originals;
mod quantize;
mod queries;
mod reads;
mod scrub;
mod sparse;
mod stage;
mod views;
