//! Consensus glue: the only crate that names openraft. Log store, state machine, network, node handle.
