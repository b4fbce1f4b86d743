//! The Rust SDK: build, sign, submit, follow, prove.
//!
//! - [`Account`] builds and signs transactions.
//! - [`Client`] submits them on the fast path (QUIC) and tells what became of each; [`RpcClient`] does so, and asks and
//!   follows, over JSON-RPC.
//! - [`verify_proof`] checks a receipt up to the signatures of a quorum, without trust in the node that gave it.
//!
//! Deliberately absent: where a user's keys are kept, and everything that a node decides.
//!
//! ```
//! use client::Account;
//! use types::{Address, Amount, ChainId, Digest, SecretKey};
//!
//! let chain = ChainId(Digest::sha256(b"an example genesis"));
//! let alice = Account::new(chain, SecretKey::ed25519_from_seed([1; 32]));
//! let bob = Address::from_bytes([2; 32]);
//! let transfer = alice.transfer(bob, Amount(25), "rent".into()).unwrap();
//! assert_eq!(transfer.sender(), alice.address());
//!
//! // With a network at hand: submit, wait for the durable receipt, then prove it to a third party.
//! async fn pay(
//!     genesis: &types::Genesis,
//!     transfer: types::Transaction,
//! ) -> Result<client::VerifiedReceipt, Box<dyn std::error::Error>> {
//!     let node = &genesis.validators[0];
//!     let options = client::ClientOptions {
//!         server_key: Some(node.transport_key.clone()),
//!         chain: Some(genesis.chain_id()),
//!         ..Default::default()
//!     };
//!     let (client, mut updates) = client::Client::connect(node.client_address, options).await?;
//!     client.submit(&transfer).await?;
//!     println!("{:?}", updates.next().await);
//!
//!     let rpc = client::RpcClient::new(&format!("http://{}", node.rpc_address))?;
//!     let proof = rpc.proof(&transfer.id()).await?.ok_or("not certified yet")?;
//!     Ok(client::verify_proof(&proof, &transfer.id(), &types::EpochChain::from_genesis(genesis)?)?)
//! }
//! ```

#![forbid(unsafe_code)]

mod account;
mod proof;
pub mod protocol;
pub mod rpc;
mod session;
mod state_proof;

pub use account::{Account, AccountKey, BuildError, DEFAULT_VALIDITY, KeyFault, now_ms};
pub use proof::{ProofError, VerifiedReceipt, verify_header, verify_proof};
pub use rpc::{Follow, RpcClient, RpcError};
pub use session::{Client, ClientOptions, ConnectError, SubmitError, TRANSACTION_BYTES_MAX, Update, Updates};
pub use state_proof::{StateValue, VerifiedState, verify_state_proof};
