//! Weldr's APIs: the code that is generated from the `.proto` files beside this crate, which describe the APIs, and the
//! form of the messages for people and scripts, which is the same in REST and in `weldrctl`.

pub mod json;
pub mod words;

/// The operators' API: package `weldr.v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("weldr.v1");
}

/// Shows everything but the secret.
macro_rules! without_secret {
    ($($request:ident),*) => {
        $(impl std::fmt::Debug for v1::$request {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($request))
                    .field("name", &self.name)
                    .field("force", &self.force)
                    .finish_non_exhaustive()
            }
        })*
    };
}

without_secret!(CreateCertificateRequest, UpdateCertificateRequest);

/// Without the key of the external account.
impl std::fmt::Debug for v1::SetAcmeAccountRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetAcmeAccountRequest")
            .field("directory", &self.directory)
            .field("contacts", &self.contacts)
            .field("external_key_id", &self.external_key_id)
            .finish_non_exhaustive()
    }
}

/// The API between nodes: package `weldr.raft.v1`.
pub mod raft {
    /// Version 1.
    #[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("weldr.raft.v1");
    }

    /// Without the key.
    impl std::fmt::Debug for v1::SealingKey {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("SealingKey")
                .field("generation", &self.generation)
                .finish_non_exhaustive()
        }
    }
}

/// The compiled descriptors of every package, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
