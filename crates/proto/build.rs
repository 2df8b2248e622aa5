//! Generates the wire types from `proto/` with a compiler in Rust: no system `protoc` is needed.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

const FILES: [&str; 7] = [
    "pando/v1/types.proto",
    "pando/v1/collections.proto",
    "pando/v1/points.proto",
    "pando/v1/search.proto",
    "pando/v1/admin.proto",
    "pando/v1/diff.proto",
    "pando/cluster/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let mut descriptors = protox::compile(FILES, [&root])?;

    tonic_prost_build::configure()
        // Maps in key order make encodings of equal messages equal.
        .btree_map(".")
        // Raft and sync bodies are passed on without a copy.
        .bytes(".pando.cluster.v1")
        .compile_fds(descriptors.clone())?;

    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(out, descriptors.encode_to_vec())?;
    Ok(())
}
