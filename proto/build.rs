//! Compiles the `.proto` files, with nothing but Rust.

use prost::Message;
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "proto/cotter/v1/attach.proto",
        "proto/cotter/v1/cell.proto",
        "proto/cotter/v1/locks.proto",
        "proto/cotter/v1/nodes.proto",
        "proto/cotter/peer/v1/peer.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    // Served by reflection, so that tools like grpcurl need no files.
    let out = PathBuf::from(env::var("OUT_DIR")?).join("cotter_descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".cotter")
        .compile_fds(descriptors)?;
    Ok(())
}
