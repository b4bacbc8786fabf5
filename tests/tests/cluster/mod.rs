//! Clusters of real processes: how they form, what they survive, and whom they refuse.

mod access;
mod chaos;
mod failures;
mod formation;
mod founding;
mod operators;
mod pool;
mod security;
mod witness;
