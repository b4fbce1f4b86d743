//! Every thread and every queue of a node in one table: who fills it, who drains it, how deep it is, and what happens
//! when it is full. A limit that is not here belongs to the crate that owns the queue.
//!
//! ```text
//! clients ──QUIC──▶ ingress ──▶ verifier ──▶ pool ─────────────┐
//! peers ───QUIC──▶ intake ──────────────────────▶ replica ◀────┘
//!                                                  │  ▲  ▲
//!                     log ◀────────────────────────┤  │  └─ signer desk ──▶ signer process
//!                                                  ▼  │
//!                     verifier ──verdicts──▶ execution ──▶ state, receipts to clients
//! ```
//!
//! | thread | name | owns |
//! |---|---|---|
//! | 1 | `replica` | the consensus core, the blocks above garbage collection, certificates in the making |
//! | 1 | `execution` | the ledger, all writes to the state database |
//! | 1 | `intake` | decoding and checking of peers' headers and payloads, letting in their machines |
//! | 1 | `signer-desk` | the one connection to the signer process for round statements |
//! | 1 | `flush` | flushing the state database |
//! | n | `net-*` | QUIC, RPC, metrics (tokio); `transport.threads` |
//! | 1 | `accel.verify` | closing batches, and verifying those of the CPU |
//! | n | `accel.cpu.*` | verifying on the CPU, where `verify.threads` is more than one |
//! | 1 | `accel.device` | the GPU: opening and testing it, its batches, checking what it says; where `verify.gpu` allows one |
//! | 1 | `log-*` | the log's writer and its maker of spare segments |
//! | 1 | `health` | looking at the machine's sensors |
//! | 1 | `nvml` | asking NVIDIA's library about its cards, one question at a time; where there are such cards |
//! | 1 | `notify` | telling the service manager whether the node gets on; where there is one |
//! | 1 | `pinning` | putting the others on their processors; where node.toml asks for it |

/// Peers' frames, from the network to `intake`: the events of each of two lanes, headers and the rest. Full: the reader of
/// that peer's stream waits, and QUIC's flow control makes the peer wait.
pub const MESH_EVENTS: u32 = 4096;
/// What came of asking peers for their machines, to `intake`; one a link. Full: the next ones wait.
pub const MACHINE_ANSWERS: usize = 64;
/// Clients' frames, from the network to the ingress. Full: clients' streams wait.
pub const CLIENT_EVENTS: u32 = 1024;
/// Everything that the replica reacts to. Full: `intake` waits; execution and the signer desk are few enough never to
/// fill it.
pub const REPLICA_EVENTS: usize = 16_384;
/// Commits, verdicts and certificates, to execution. Full: the replica waits, and so stops proposing.
pub const EXECUTION_EVENTS: usize = 16_384;
/// Proposals to sign: consensus has at most one outstanding.
pub const SIGNER_DESK: usize = 4;
/// Commits that execution may lag behind the order before this node proposes no more transactions.
pub const EXECUTION_LAG_MAX: u64 = 64;
/// Payloads of one author that may wait for their header. Full: the oldest round goes.
pub const ORPHAN_PAYLOADS_MAX: usize = 32;
/// Requests of peers that are answered at a time. Full: the request's stream is reset.
pub const ANSWERS_IN_FLIGHT_MAX: usize = 16;
/// Heights that subscribers may lag behind. Full: they resume from the state database by their cursor.
pub const HEIGHT_NOTICES: usize = 1024;
