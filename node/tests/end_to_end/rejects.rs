//! Transactions that are refused or rejected, on the fast path and over the RPC, each with its typed answer.

use crate::check::{PATIENCE, headers_agree, reaches, until};
use crate::network::{Network, Options, address, key};
use bytes::Bytes;
use client::{RpcError, SubmitError, TRANSACTION_BYTES_MAX, Update, now_ms};
use std::time::Duration;
use types::{Amount, ChainId, Digest, Outcome, Reject, Transaction, TransactionBody, TransactionId};

/// Place of the algorithm byte of the sender's key: behind version, chain, `valid_until` and nonce.
const KEY_ALGORITHM_AT: usize = 1 + Digest::ENCODED_LEN + 8 + 8;
const SIGNATURE_BYTES: usize = 65;

/// Where a wrong transaction is told so.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// Before it is taken.
    AtOnce(Reject),
    /// In its receipt.
    InReceipt(Reject),
}

fn transfer(chain: ChainId, from: u8, to: u8, amount: u128) -> Transaction {
    let body = TransactionBody::Transfer { to: address(to), amount: Amount(amount), memo: Bytes::new() };
    valid_until(chain, from, body, now_ms() + 30_000)
}

fn valid_until(chain: ChainId, from: u8, body: TransactionBody, until_ms: u64) -> Transaction {
    // The moment makes nonces differ enough: each call is another microsecond.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Transaction::sign(&chain, &key(from), until_ms, since.as_nanos() as u64, body).unwrap()
}

fn with_byte(transaction: &Transaction, at: usize, change: impl Fn(u8) -> u8) -> Bytes {
    let mut raw = transaction.raw().to_vec();
    raw[at] = change(raw[at]);
    raw.into()
}

/// One of every kind.
fn wrong(chain: ChainId) -> Vec<(&'static str, Bytes, Told)> {
    use Told::{AtOnce, InReceipt};
    let good = || transfer(chain, 0, 1, 1);
    let to = |index| TransactionBody::Transfer { to: address(index), amount: Amount(1), memo: Bytes::new() };
    let memo = |length| TransactionBody::Certify { document: Digest::ZERO, memo: vec![7; length].into() };
    let last = good().raw().len() - 1;
    let mut longer = good().raw().to_vec();
    longer.push(0);
    let soon = now_ms() + 30_000;
    vec![
        ("random bytes", Bytes::from_static(&[0xA5; 200]), AtOnce(Reject::Malformed)),
        ("nothing", Bytes::new(), AtOnce(Reject::Malformed)),
        ("cut short", good().raw().slice(..last), AtOnce(Reject::Malformed)),
        ("a byte too long", longer.into(), AtOnce(Reject::Malformed)),
        ("another version", with_byte(&good(), 0, |_| 9), AtOnce(Reject::Malformed)),
        ("too large", valid_until(chain, 0, memo(20 << 10), soon).raw().clone(), AtOnce(Reject::TooLarge)),
        (
            "another ledger",
            transfer(ChainId(Digest::sha256(b"another")), 0, 1, 1).raw().clone(),
            AtOnce(Reject::WrongChain),
        ),
        ("expired", valid_until(chain, 0, to(1), now_ms() - 5_000).raw().clone(), AtOnce(Reject::Expired)),
        ("too far", valid_until(chain, 0, to(1), now_ms() + 600_000).raw().clone(), AtOnce(Reject::ValidUntilTooFar)),
        ("bad signature", with_byte(&good(), last, |byte| byte ^ 1), AtOnce(Reject::BadSignature)),
        (
            "another body under the signature",
            with_byte(&good(), KEY_ALGORITHM_AT - 1, |byte| byte ^ 1),
            AtOnce(Reject::BadSignature),
        ),
        ("unknown key algorithm", with_byte(&good(), KEY_ALGORITHM_AT, |_| 0xEE), AtOnce(Reject::AlgorithmNotAllowed)),
        (
            "unknown signature algorithm",
            with_byte(&good(), last + 1 - SIGNATURE_BYTES, |_| 0xEE),
            AtOnce(Reject::AlgorithmNotAllowed),
        ),
        ("to itself", transfer(chain, 0, 0, 1).raw().clone(), AtOnce(Reject::SelfTransfer)),
        ("nothing moved", transfer(chain, 0, 1, 0).raw().clone(), AtOnce(Reject::ZeroAmount)),
        ("overdraft", transfer(chain, 0, 1, u128::MAX).raw().clone(), InReceipt(Reject::Overdraft)),
        ("unknown sender", transfer(chain, 200, 1, 1).raw().clone(), InReceipt(Reject::UnknownSender)),
        ("unknown certifier", valid_until(chain, 201, memo(3), soon).raw().clone(), InReceipt(Reject::UnknownSender)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fast_path_answers_each_wrong_transaction_by_its_reason() {
    let network = Network::start(Options::default()).await;
    let (node, chain) = (&network.nodes[0], network.chain());
    let (client, mut updates) =
        client::Client::connect(node.authority.client_address, node.client_options(chain)).await.unwrap();
    let mut next =
        async || tokio::time::timeout(PATIENCE, updates.next()).await.expect("an answer").expect("a session");
    for (what, raw, told) in wrong(chain) {
        client.submit_raw(what, raw).await.unwrap();
        match (next().await, told) {
            (Update::Refused { tag, reject }, Told::AtOnce(expected)) => assert_eq!((tag, reject), (what, expected)),
            (Update::Receipt { tag, outcome: Outcome::Rejected(reject), .. }, Told::InReceipt(expected)) => {
                assert_eq!((tag, reject), (what, expected));
            }
            (update, _) => panic!("{what}: {update:?}"),
        }
    }
    let over = client.submit_raw("over the frame", vec![0; TRANSACTION_BYTES_MAX + 1].into()).await;
    assert_eq!(over, Err(SubmitError::TooLarge { bytes: TRANSACTION_BYTES_MAX + 1 }));

    // Twice in one breath, and again once it is executed: the second copy is refused, whoever brings it.
    let once = transfer(chain, 2, 3, 5);
    client.submit_all(vec![("first", once.raw().clone()), ("second", once.raw().clone())]).await.unwrap();
    let (mut receipts, mut duplicates) = (0, 0);
    for _ in 0..2 {
        match next().await {
            Update::Receipt { tag: "first", outcome: Outcome::Applied, .. } => receipts += 1,
            Update::Refused { tag: "second", reject: Reject::Duplicate } => duplicates += 1,
            update => panic!("{update:?}"),
        }
    }
    assert_eq!((receipts, duplicates), (1, 1));
    client.submit_raw("third", once.raw().clone()).await.unwrap();
    assert_eq!(next().await, Update::Refused { tag: "third", reject: Reject::Duplicate });
    let executed = node.height().await;
    for other in &network.nodes[1..] {
        reaches(other, executed).await;
        let refused = other.rpc.submit(&once).await;
        assert!(matches!(refused, Err(RpcError::Refused(Reject::Duplicate))), "{refused:?}");
    }

    // A destination that does not exist is created by the transfer.
    assert_eq!(node.rpc.account(&address(99)).await.unwrap(), None);
    client.submit_raw("a new account", transfer(chain, 0, 99, 17).raw().clone()).await.unwrap();
    assert!(matches!(next().await, Update::Receipt { outcome: Outcome::Applied, .. }));
    assert_eq!(node.rpc.account(&address(99)).await.unwrap().map(|account| account.balance), Some(Amount(17)));
    // The ledger moved by what was applied, and by nothing else.
    assert_eq!(node.rpc.account(&address(3)).await.unwrap().unwrap().balance, Amount(crate::network::BALANCE + 5));
    assert_eq!(node.rpc.account(&address(1)).await.unwrap().unwrap().balance, Amount(crate::network::BALANCE));
    headers_agree(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rpc_answers_each_wrong_transaction_by_its_reason() {
    let network = Network::start(Options::default()).await;
    let (node, chain) = (&network.nodes[1], network.chain());
    for (what, raw, told) in wrong(chain) {
        let answer = crate::protocols::submit_raw(node.authority.rpc_address, &raw);
        match told {
            Told::AtOnce(expected) => {
                let code = i64::from(client::rpc::reject_code(expected));
                assert_eq!(answer["error"]["code"].as_i64(), Some(code), "{what}: {answer}");
                assert_eq!(answer["error"]["data"]["reject"], expected.label(), "{what}: {answer}");
            }
            Told::InReceipt(expected) => {
                let id: TransactionId = serde_json::from_value(answer["result"]["id"].clone()).unwrap();
                let found = until("it is executed", PATIENCE, async || node.rpc.transaction(&id).await.unwrap()).await;
                assert_eq!(Outcome::from(found.outcome), Outcome::Rejected(expected), "{what}");
            }
        }
    }
    let good = transfer(chain, 0, 1, 1);
    assert_eq!(node.rpc.submit(&good).await.unwrap().id, good.id());
    until("it is executed", PATIENCE, async || node.rpc.transaction(&good.id()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_busy_with_a_hint_and_takes_more_later() {
    const TOGETHER: usize = 200;
    let node_toml = "[pool]\ntransactions_max = 4\n".to_owned();
    let network = Network::start(Options { node_toml, ..Options::default() }).await;
    let (client, mut updates) = network.nodes[0].connect(network.chain()).await;
    let mut waiting: Vec<_> = (0..TOGETHER).map(|_| transfer(network.chain(), 0, 1, 1)).collect();
    let (mut busy, mut applied) = (0, 0);
    while !waiting.is_empty() {
        let batch = waiting.iter().map(|transfer| (transfer.id(), transfer.raw().clone())).collect();
        client.submit_all(batch).await.unwrap();
        let mut hint = 0;
        for _ in 0..waiting.len() {
            match tokio::time::timeout(PATIENCE, updates.next()).await.unwrap().unwrap() {
                Update::Busy { retry_after_ms, .. } => {
                    assert!(retry_after_ms > 0);
                    hint = retry_after_ms;
                    busy += 1;
                }
                Update::Receipt { tag, outcome: Outcome::Applied, .. } => {
                    waiting.retain(|transfer| transfer.id() != tag);
                    applied += 1;
                }
                update => panic!("{update:?}"),
            }
            if waiting.is_empty() {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(hint.into())).await;
    }
    assert_eq!(applied, TOGETHER);
    assert!(busy >= TOGETHER - 4, "only {busy} were told to come back");
    assert_eq!(
        network.nodes[0].rpc.account(&address(1)).await.unwrap().unwrap().balance,
        Amount(crate::network::BALANCE + 200)
    );
}
