//! Compiles the `.proto` files with protox, so that `protoc` need not be installed.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 4] = [
    "weldr/v1/access.proto",
    "weldr/v1/management.proto",
    "weldr/v1/cluster.proto",
    "weldr/raft/v1/raft.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=weldr");
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".weldr.raft.v1")
        .btree_map(".weldr.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
