//! Asks a node over JSON-RPC: queries over HTTP, subscriptions over WebSocket.
//!
//! A subscription ([`Follow`]) reconnects by itself and goes on after the last height that it gave out, so nothing is
//! skipped and nothing comes twice. Deliberately absent: TLS (put a proxy in front), and trust: see
//! [`verify_proof`](crate::verify_proof).

use super::{
    AccountInfo, AttestationInfo, BUSY_CODE, BusyData, ChainInfo, ChallengeInfo, EndorsementInfo, EpochInfo,
    EventsInfo, GovernanceInfo, GrantInfo, HeaderInfo, HexBytes, HistoryCursor, NodeStatus, ObjectInfo, ProofInfo,
    ReceiptFilter, ReceiptsInfo, StateProofInfo, Subject, Submitted, TransactionInfo, method, reject_from_code,
};
use jsonrpsee_core::client::{ClientT, Error, Subscription, SubscriptionClientT};
use jsonrpsee_core::params::ArrayParams;
use jsonrpsee_http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee_ws_client::{PingConfig, WsClient, WsClientBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use thiserror::Error as ThisError;
use types::{Address, Digest, Epoch, GrantId, Height, ObjectId, Reject, StateKey, Transaction, TransactionId};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts in a row that may fail before a subscription gives up, with a pause that doubles from 100 ms to 3.2 s.
const RESUME_ATTEMPTS: u32 = 8;

/// Why a query has no answer.
#[derive(Debug, ThisError)]
pub enum RpcError {
    /// Not an address that this client can use.
    #[error("`{url}` is not an RPC address; expected something like http://127.0.0.1:8545")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nothing answers there.
    #[error("no answer from {url}: {source}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection said.
        source: Box<Error>,
    },
    /// The node is there and did not answer in time.
    #[error("{url} did not answer within {} s", after.as_secs())]
    TimedOut {
        /// Where.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The transaction is refused: the client's fault.
    #[error("the transaction is refused: {0}")]
    Refused(Reject),
    /// The node's queue is full.
    #[error("the node is busy; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The node answered with another error.
    #[error("the node answered with error {code}: {message}")]
    Answer {
        /// JSON-RPC code.
        code: i32,
        /// The node's words.
        message: String,
    },
    /// The answer is not what this version of the RPC says.
    #[error("the answer to {method} cannot be read: {source}")]
    Unreadable {
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Queries one node.
#[derive(Clone, Debug)]
pub struct RpcClient {
    http: HttpClient,
    authority: String,
    timeout: Duration,
}

impl RpcClient {
    /// For the node at `url` (`http://host:port`, or only `host:port`). Does not connect yet.
    ///
    /// # Errors
    /// [`RpcError::Url`].
    pub fn new(url: &str) -> Result<Self, RpcError> {
        Self::with_timeout(url, TIMEOUT)
    }

    /// The same, with another limit on the time that an answer may take.
    ///
    /// # Errors
    /// [`RpcError::Url`].
    pub fn with_timeout(url: &str, timeout: Duration) -> Result<Self, RpcError> {
        let malformed = || RpcError::Url { url: url.to_owned() };
        let authority = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")).unwrap_or(url);
        let authority = authority.trim_end_matches('/').to_owned();
        if authority.is_empty() || authority.contains("://") {
            return Err(malformed());
        }
        let builder = HttpClientBuilder::default().request_timeout(timeout).connect_timeout(TIMEOUT);
        let http = builder.build(format!("http://{authority}")).map_err(|_| malformed())?;
        Ok(Self { http, authority, timeout })
    }

    /// Where it asks.
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// The ledger.
    ///
    /// # Errors
    /// [`RpcError`], as all queries.
    pub async fn chain(&self) -> Result<ChainInfo, RpcError> {
        self.call(method::CHAIN, &[]).await
    }

    /// Who may change the committee, and what they approve.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn governance(&self) -> Result<GovernanceInfo, RpcError> {
        self.call(method::GOVERNANCE, &[]).await
    }

    /// How the node is doing.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn status(&self) -> Result<NodeStatus, RpcError> {
        self.call(method::STATUS, &[]).await
    }

    /// What its machine's TPM says of it, in answer to a nonce. Not verified.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn attestation(&self, nonce: &[u8; 32]) -> Result<AttestationInfo, RpcError> {
        self.call(method::ATTESTATION, &[&HexBytes(nonce.to_vec())]).await
    }

    /// What the maker of that TPM says of it. Not verified.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn endorsement(&self) -> Result<EndorsementInfo, RpcError> {
        self.call(method::ENDORSEMENT, &[]).await
    }

    /// Has that TPM give back a secret that was made for it; `None` where it does not. It may take many seconds.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn activate(&self, challenge: &ChallengeInfo) -> Result<Option<HexBytes>, RpcError> {
        self.call(method::ACTIVATE, &[challenge]).await
    }

    /// Submits one transaction; returns once the node has queued it, before it is committed.
    ///
    /// # Errors
    /// [`RpcError::Refused`], [`RpcError::Busy`] and the rest.
    pub async fn submit(&self, transaction: &Transaction) -> Result<Submitted, RpcError> {
        self.call(method::SUBMIT, &[&HexBytes(transaction.raw().to_vec())]).await
    }

    /// An account; `None` where it does not exist.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn account(&self, address: &Address) -> Result<Option<AccountInfo>, RpcError> {
        self.call(method::ACCOUNT, &[address]).await
    }

    /// An executed transaction; `None` where the node knows of none.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn transaction(&self, id: &TransactionId) -> Result<Option<TransactionInfo>, RpcError> {
        self.call(method::TRANSACTION, &[id]).await
    }

    /// The header of a height, or the latest.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn header(&self, height: Option<Height>) -> Result<Option<HeaderInfo>, RpcError> {
        self.call(method::HEADER, &[&height]).await
    }

    /// The proof of a transaction; `None` where it is unknown or its height is not certified yet.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn proof(&self, id: &TransactionId) -> Result<Option<ProofInfo>, RpcError> {
        self.call(method::PROOF, &[id]).await
    }

    /// The proof of what the state holds under a key; `None` while the node has no certified snapshot.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn state_proof(&self, key: &StateKey) -> Result<Option<StateProofInfo>, RpcError> {
        self.call(method::STATE_PROOF, &[key]).await
    }

    /// Transactions that certify a document, oldest first.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn document(&self, digest: &Digest) -> Result<Vec<TransactionInfo>, RpcError> {
        self.call(method::DOCUMENT, &[digest]).await
    }

    /// An object; `None` where there is none.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn object(&self, object: &ObjectId) -> Result<Option<ObjectInfo>, RpcError> {
        self.call(method::OBJECT, &[object]).await
    }

    /// A grant; `None` where nothing was ever granted.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn grant(&self, grant: &GrantId) -> Result<Option<GrantInfo>, RpcError> {
        self.call(method::GRANT, &[grant]).await
    }

    /// What an executed transaction emitted; `None` where the node knows of none.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn events(&self, id: &TransactionId) -> Result<Option<EventsInfo>, RpcError> {
        self.call(method::EVENTS, &[id]).await
    }

    /// What has happened to an object or a grant, oldest first, behind a transaction that was read before: a page of it.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn history(&self, subject: &Subject, after: Option<HistoryCursor>) -> Result<Vec<EventsInfo>, RpcError> {
        self.call(method::HISTORY, &[subject, &after]).await
    }

    /// Epochs that have begun, from one on, a page of them.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn epochs(&self, from: Epoch) -> Result<Vec<EpochInfo>, RpcError> {
        self.call(method::EPOCHS, &[&from]).await
    }

    /// Follows headers from a height on; without one, from the next.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn follow_headers(&self, from: Option<Height>) -> Result<Follow<HeaderInfo>, RpcError> {
        let topic = (method::SUBSCRIBE_HEADERS, method::UNSUBSCRIBE_HEADERS);
        Follow::start(self.clone(), topic, from, None).await
    }

    /// Follows receipts from a height on; without one, from the next.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn follow_receipts(
        &self,
        from: Option<Height>,
        filter: ReceiptFilter,
    ) -> Result<Follow<ReceiptsInfo>, RpcError> {
        let topic = (method::SUBSCRIBE_RECEIPTS, method::UNSUBSCRIBE_RECEIPTS);
        Follow::start(self.clone(), topic, from, Some(filter)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &[&(dyn erased::Param + Sync)],
    ) -> Result<T, RpcError> {
        let mut array = ArrayParams::new();
        for param in params {
            param.push(&mut array);
        }
        // Read in two steps, so that an answer of another shape is told from an answer that is no JSON-RPC.
        let answer: serde_json::Value = self.http.request(method, array).await.map_err(|error| self.explain(error))?;
        serde_json::from_value(answer).map_err(|source| RpcError::Unreadable { method, source })
    }

    fn explain(&self, error: Error) -> RpcError {
        match error {
            Error::Call(answer) => {
                let code = answer.code();
                if let Some(reject) = reject_from_code(code) {
                    return RpcError::Refused(reject);
                }
                if code == BUSY_CODE {
                    let data = answer.data().and_then(|data| serde_json::from_str::<BusyData>(data.get()).ok());
                    return RpcError::Busy { retry_after_ms: data.map_or(1_000, |data| data.retry_after_ms) };
                }
                RpcError::Answer { code, message: answer.message().to_owned() }
            }
            Error::RequestTimeout => RpcError::TimedOut { url: self.url(), after: self.timeout },
            other => RpcError::Unreachable { url: self.url(), source: Box::new(other) },
        }
    }
}

/// Parameters of different types in one list.
mod erased {
    use super::{ArrayParams, Serialize};

    pub(super) trait Param {
        fn push(&self, params: &mut ArrayParams);
    }

    impl<T: Serialize> Param for T {
        fn push(&self, params: &mut ArrayParams) {
            params.insert(self).expect("parameters are plain data with string keys");
        }
    }
}

/// Something that comes once a height.
pub trait AtHeight {
    /// The height: the cursor of a subscription.
    fn height(&self) -> Height;
}

impl AtHeight for HeaderInfo {
    fn height(&self) -> Height {
        self.height
    }
}

impl AtHeight for ReceiptsInfo {
    fn height(&self) -> Height {
        self.height
    }
}

/// A subscription that outlives its connection.
#[derive(Debug)]
pub struct Follow<T> {
    rpc: RpcClient,
    topic: (&'static str, &'static str),
    next: Option<Height>,
    filter: Option<ReceiptFilter>,
    /// The client must live as long as its subscription.
    open: Option<(WsClient, Subscription<T>)>,
}

impl<T: AtHeight + DeserializeOwned + Send + 'static> Follow<T> {
    async fn start(
        rpc: RpcClient,
        topic: (&'static str, &'static str),
        next: Option<Height>,
        filter: Option<ReceiptFilter>,
    ) -> Result<Self, RpcError> {
        let mut follow = Self { rpc, topic, next, filter, open: None };
        follow.open = Some(follow.subscribe().await?);
        Ok(follow)
    }

    /// The next item, in order of height. Waits for as long as nothing happens.
    ///
    /// # Errors
    /// [`RpcError`], after the connection was lost and could not be had again.
    pub async fn next(&mut self) -> Result<T, RpcError> {
        let mut attempt = 0;
        loop {
            if self.open.is_none() {
                match self.subscribe().await {
                    Ok(open) => self.open = Some(open),
                    Err(error) if attempt == RESUME_ATTEMPTS => return Err(error),
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(100 << attempt.min(5))).await;
                        attempt += 1;
                        continue;
                    }
                }
            }
            let Some((_, subscription)) = &mut self.open else { continue };
            match subscription.next().await {
                Some(Ok(item)) => {
                    self.next = Some(item.height().next());
                    return Ok(item);
                }
                Some(Err(source)) => return Err(RpcError::Unreadable { method: self.topic.0, source }),
                None => self.open = None,
            }
        }
    }

    async fn subscribe(&self) -> Result<(WsClient, Subscription<T>), RpcError> {
        let url = format!("ws://{}", self.rpc.authority);
        // Pings, so that a node that is gone without a word is not waited for.
        let builder = WsClientBuilder::default()
            .request_timeout(TIMEOUT)
            .connection_timeout(TIMEOUT)
            .enable_ws_ping(PingConfig::default().ping_interval(TIMEOUT).inactive_limit(TIMEOUT * 3));
        let client: WsClient = builder.build(&url).await.map_err(|error| self.rpc.explain(error))?;
        let mut params = ArrayParams::new();
        erased::Param::push(&self.next, &mut params);
        if let Some(filter) = &self.filter {
            erased::Param::push(filter, &mut params);
        }
        let subscription =
            client.subscribe(self.topic.0, params, self.topic.1).await.map_err(|error| self.rpc.explain(error))?;
        Ok((client, subscription))
    }
}

#[cfg(test)]
mod tests;
