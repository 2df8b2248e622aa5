//! The public API: one file per group of methods, each method decode, call, encode.

mod admission;
