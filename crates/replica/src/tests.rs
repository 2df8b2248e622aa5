//! A replica against its store, its log and its peers.

mod harness;
mod script;

mod apply;
mod bounded;
mod catch_up;
mod check;
mod concurrency;
mod crash;
mod determinism;
mod reads;
mod scrub;
mod stage;
mod views;
