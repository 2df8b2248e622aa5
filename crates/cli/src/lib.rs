//! The pando command: serve, cluster, collection, import, export, search, verify, demo.
