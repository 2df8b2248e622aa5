//! Development only: in-process cluster, fault-injecting transport, datasets, oracles.
