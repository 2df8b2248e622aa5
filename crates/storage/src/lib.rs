//! Durable key-value storage behind a trait: the only crate that names sled.
