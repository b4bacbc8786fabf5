//! Generated code of Weldr's gRPC APIs, and nothing else.
//!
//! The `.proto` files beside this crate are the documentation of the API.

/// The operators' API: package `weldr.v1`.
#[allow(clippy::all, clippy::pedantic)] // generated
pub mod v1 {
    tonic::include_proto!("weldr.v1");
}

/// Node to node: package `weldr.raft.v1`.
pub mod raft {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic)] // generated
    pub mod v1 {
        tonic::include_proto!("weldr.raft.v1");
    }
}

/// The compiled descriptors of every package, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
