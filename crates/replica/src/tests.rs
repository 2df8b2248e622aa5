//! A replica against its store, its log and its peers.

mod harness;
mod script;

mod catch_up;
mod crash;
