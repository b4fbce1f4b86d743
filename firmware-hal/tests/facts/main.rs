//! The inventory and policies over trees of files as machines have them, and as they must not be.
#![allow(clippy::unwrap_used)]

mod channels;
mod health;
mod hostile;
mod inventory;
mod policy;
mod tree;
mod tune;
