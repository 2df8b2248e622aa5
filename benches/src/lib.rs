//! Micro-benchmarks of the parts whose cost decides a write, a search and a catch-up: `cargo bench -p pando-benches`.
//!
//! Seeds are fixed. A timing here decides nothing by itself; compare two commits on one machine in one sitting.
