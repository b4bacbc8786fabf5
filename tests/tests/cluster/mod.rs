//! Clusters of real processes: how they form, what they survive, and whom they refuse.

mod access;
mod chaos;
mod failures;
mod formation;
mod founding;
mod hostile;
mod impostors;
mod invites;
mod operators;
mod pool;
mod rotation;
mod secrets;
mod security;
mod stickiness;
mod upgrade;
mod witness;
