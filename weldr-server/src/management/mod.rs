//! The operators' side: gRPC and REST on one port.
