//! Transactions under each signature algorithm, through a whole network: those that genesis names are executed, wrong
//! signatures and other algorithms are refused at once, and the command line has keys for each. The validators' own keys
//! are of both algorithms that validators have.

use crate::check::{PATIENCE, headers_agree, until};
use crate::network::{BALANCE, Network, Options, address, key_of};
use crate::process::{run_to_end, stele};
use bytes::Bytes;
use client::{Account, RpcError, now_ms};
use types::{AlgId, Amount, Reject, SecretKey, Transaction, TransactionBody};

const ALLOWED: [AlgId; 3] = [AlgId::Ed25519, AlgId::Sm2Sm3, AlgId::EcdsaP256];

/// Validators' keys are mixed too.
async fn start() -> Network {
    let key_algorithms = [AlgId::EcdsaP256, AlgId::Ed25519, AlgId::EcdsaP256, AlgId::EcdsaP256];
    Network::start(Options { algorithms: ALLOWED.to_vec(), key_algorithms, ..Options::default() }).await
}

/// n of P-256, big-endian.
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// The same transaction with n − s in place of s.
fn with_high_s(transaction: &Transaction) -> Bytes {
    let order = hex::decode(P256_ORDER).unwrap();
    let mut raw = transaction.raw().to_vec();
    let (s_at, mut borrow) = (raw.len() - 32, 0);
    for at in (0..32).rev() {
        let digit = i16::from(order[at]) - i16::from(raw[s_at + at]) - borrow;
        (raw[s_at + at], borrow) = (digit.rem_euclid(256) as u8, i16::from(digit < 0));
    }
    raw.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_algorithm_that_genesis_names_is_executed_and_wrong_signatures_are_refused() {
    let network = start().await;
    let chain = network.chain();
    for (index, alg) in ALLOWED.into_iter().enumerate() {
        let (node, account) = (&network.nodes[index], Account::new(chain, key_of(alg)));
        let good = account.transfer(address(90 + index as u8), Amount(7), Bytes::new()).unwrap();
        // Its last bit, and nothing else, is wrong: the good one is taken after it.
        let mut damaged = good.raw().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let mut wrong = vec![damaged.into()];
        if alg == AlgId::EcdsaP256 {
            wrong.push(with_high_s(&good));
        }
        for raw in wrong {
            let wrong = Transaction::parse(&chain, raw).unwrap();
            assert_eq!(wrong.id(), good.id());
            let answer = node.rpc.submit(&wrong).await;
            assert!(matches!(answer, Err(RpcError::Refused(Reject::BadSignature))), "{alg}: {answer:?}");
        }
        assert_eq!(node.rpc.submit(&good).await.unwrap().id, good.id());
        for node in &network.nodes {
            let found =
                until("it is executed", PATIENCE, async || node.rpc.transaction(&good.id()).await.unwrap()).await;
            assert_eq!(types::Outcome::from(found.outcome), types::Outcome::Applied, "{alg}");
            assert_eq!(
                node.rpc.account(&account.address()).await.unwrap().unwrap().balance,
                Amount(BALANCE - 7),
                "{alg}"
            );
        }
    }
    let stranger = SecretKey::from_seed(AlgId::EcdsaSecp256k1, [1; 32]).unwrap();
    let body = TransactionBody::Transfer { to: address(1), amount: Amount(1), memo: Bytes::new() };
    let other = Transaction::sign(&chain, &stranger, now_ms() + 30_000, 1, body).unwrap();
    let answer = network.nodes[0].rpc.submit(&other).await;
    assert!(matches!(answer, Err(RpcError::Refused(Reject::AlgorithmNotAllowed))), "{answer:?}");
    headers_agree(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_of_another_algorithm_signs_transfers_on_the_command_line() {
    let network = start().await;
    let node = &network.nodes[0];
    let run = |words: &[&str]| {
        let mut command = stele(network.path());
        command.args(words);
        run_to_end(command, network.path())
    };
    let secret = ["--passphrase-file", "sm2.pass"];
    let made =
        run(&[&["key", "generate", "--algorithm", "sm2-sm3", "--out", "sm2.key", "--new-passphrase"], &secret[..]]
            .concat());
    assert!(made.status.success(), "{}", made.message);
    let owner = made.output.split_whitespace().find(|word| word.starts_with("stele1")).unwrap();
    let funding = network.account(0).transfer(owner.parse().unwrap(), Amount(1_000), Bytes::new()).unwrap();
    node.rpc.submit(&funding).await.unwrap();
    until("it is executed", PATIENCE, async || node.rpc.transaction(&funding.id()).await.unwrap()).await;
    let (rpc, to) = (node.authority.rpc_address.to_string(), address(95).to_string());
    let transfer = ["tx", "--rpc", &rpc, "transfer", "--key", "sm2.key", "--to", &to, "--amount", "30"];
    let sent = run(&[&transfer[..], &secret[..]].concat());
    assert!(sent.status.success(), "{}", sent.message);
    assert_eq!(node.rpc.account(&address(95)).await.unwrap().map(|account| account.balance), Some(Amount(30)));
    let unknown = run(&["key", "generate", "--algorithm", "rot13", "--out", "x.key", "--passphrase-file", "sm2.pass"]);
    assert!(!unknown.status.success() && unknown.message.contains("ecdsa-secp256k1"), "{}", unknown.message);
}
