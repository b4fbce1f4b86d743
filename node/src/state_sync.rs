//! State sync (CONSENSUS.md §2.9.5): a node that is empty, or whose next commits nobody has kept, takes the state of a
//! certified height from its peers, and goes on with commits from there.
//!
//! | file | what |
//! |---|---|
//! | `stream` | the one encoding of a state, and the sum over it |
//! | `snapshots` | serving: the states that this node keeps for others |
//! | `offers` | asking: which state to take, from whom |
//! | `chunks` | asking: the state in chunks, from all who have it, resumed after a crash |
//! | `history` | asking: the last commits below the height, from which consensus goes on |
//! | `install` | the state and those commits become a database, and the database the node's |
//!
//! Invariant: a state is used only when the sum over all of it is the digest in a ledger header under a certificate;
//! consensus behind it is rebuilt from commits that the same header vouches for.

pub mod chunks;
pub mod history;
pub mod install;
pub mod join;
pub mod offers;
pub mod snapshots;
pub mod stream;
