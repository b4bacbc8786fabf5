//! Clusters of real processes: how they form, what they survive, and whom they refuse.

mod failures;
mod formation;
mod history;
mod linearizable;
mod pool;
mod security;
