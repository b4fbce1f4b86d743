//! State sync (CONSENSUS.md §2.9.5): a node that is empty, or whose next commits nobody has kept, takes the state of a
//! certified height from its peers, and goes on with commits from there.
//!
//! | file | what |
//! |---|---|
//! | `stream` | the rows of a state, and the sum over them |
//! | `pack` | rows in compressed chunks under the root of the state; proofs out of them |
//! | `certified` | what vouches for a state, from genesis on |
//! | `snapshots` | the states that this node reads, keeps and serves |
//! | `export` | certified states outside of a node: copied, verified from genesis, restored |
//! | `offers` | asking: which state to take, from whom |
//! | `chunks` | asking: the state in chunks, from all who have it, resumed after a crash |
//! | `history` | asking: the last commits below the height, from which consensus goes on |
//! | `install` | the state and those commits become a database, and the database the node's |
//!
//! Invariant: a chunk is kept only if it is the one whose root a certified header carries, and a state is used only when
//! the sum over all of it is the digest in a ledger header under a certificate;
//! consensus behind it is rebuilt from commits that the same header vouches for.

pub mod certified;
pub mod chunks;
pub mod export;
pub mod history;
pub mod install;
pub mod join;
pub mod offers;
pub mod pack;
pub mod snapshots;
pub mod stream;
