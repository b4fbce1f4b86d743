//! Contracts through a whole network: an object is created, sold against payment by two who sign, and found again on every
//! node with its history, after a restart too; and from the command line.

use crate::check::{PATIENCE, headers_agree, until};
use crate::network::{BALANCE, Network, Options, address, key};
use crate::process::{run_to_end, stele};
use bytes::Bytes;
use client::rpc::{EventsInfo, Subject};
use client::{RpcError, verify_proof};
use types::{
    Amount, Digest, EpochChain, LedgerEvent, ObjectId, ObjectRights, Outcome, Reject, SecretKey, Step, Transaction,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_sold_against_payment_and_every_node_knows_its_history() {
    let mut network = Network::start(Options::default()).await;
    let (seller, buyer) = (network.account(0), network.account(1));
    let object = ObjectId::issued(&seller.address(), 1);
    let rights = ObjectRights { transferable: true, divisible: false };
    let (issuer, content) = (seller.address(), Digest::sha256(b"a deed"));
    let create = Step::Create { issuer, salt: 1, owner: issuer, quantity: Amount(1), rights, content };
    let created = seller.call(vec![create], Bytes::new()).unwrap();
    executed(&network, 0, &created).await;

    let steps = vec![
        Step::Transfer { object, to: buyer.address() },
        Step::Pay { from: buyer.address(), to: seller.address(), amount: Amount(40) },
    ];
    let draft = seller.draft(vec![buyer.public_key()], steps, Bytes::from_static(b"a sale")).unwrap();
    let (ours, theirs) = (seller.approve(&draft).unwrap(), buyer.approve(&draft).unwrap());
    // One signature of two is wrong: the node sees it before the ledger does.
    let stranger = SecretKey::ed25519_from_seed([200; 32]).sign(&draft.message());
    for wrong in [[ours.clone(), stranger.clone()], [stranger, theirs.clone()]] {
        let wrong = draft.clone().finish(&wrong).unwrap();
        let answer = network.nodes[1].rpc.submit(&wrong).await;
        assert!(matches!(answer, Err(RpcError::Refused(Reject::BadSignature))), "{answer:?}");
    }
    let sale = draft.finish(&[ours, theirs]).unwrap();
    let sold = executed(&network, 1, &sale).await;
    assert!(matches!(sold.events[..], [LedgerEvent::Transferred { .. }, LedgerEvent::Paid { amount: Amount(40), .. }]));

    // A commit that was executed is replayed, and its rows are written again.
    network.nodes[2].kill();
    network.start_nodes().await;
    let trusted = EpochChain::from_genesis(&network.genesis).unwrap();
    for node in &network.nodes {
        let found = until("it is executed", PATIENCE, async || {
            node.rpc.object(&object).await.unwrap().filter(|found| found.owner == buyer.address())
        })
        .await;
        assert_eq!((found.issuer, found.quantity, found.content), (seller.address(), Amount(1), content));
        let balance = node.rpc.account(&seller.address()).await.unwrap().unwrap().balance;
        assert_eq!(balance, Amount(BALANCE + 40), "{}", node.authority.name);
        let history = node.rpc.history(&Subject::Object(object), None).await.unwrap();
        let ids: Vec<_> = history.iter().map(|info| info.transaction.id).collect();
        assert_eq!(ids, [created.id(), sale.id()]);
        // The proof of the receipt is one of the events.
        let proof = until("there is a proof", PATIENCE, async || node.rpc.proof(&sale.id()).await.unwrap()).await;
        let proven = verify_proof(&proof, &sale.id(), &trusted).unwrap();
        assert_eq!(proven.outcome, Outcome::Emitted(LedgerEvent::digest(&history[1].events)));
    }
    headers_agree(&network).await;

    // The same events stand in an export, under what they are about.
    assert!(network.nodes[2].process.take().unwrap().terminate().success());
    let mut command = stele(&network.nodes[2].dir);
    command.args(["export", "--config", "node.toml", "--out", "ledger", "--json"]);
    let ended = run_to_end(command, &network.nodes[2].dir);
    assert!(ended.status.success(), "{}", ended.message);
    let files = std::fs::read_dir(network.nodes[2].dir.join("ledger")).unwrap().map(|entry| entry.unwrap().path());
    let is_events = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("events-");
    let rows = std::fs::read_to_string(files.into_iter().find(is_events).unwrap()).unwrap();
    let rows: Vec<serde_json::Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let of =
        |column: &str| rows.iter().map(|row| row[column].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    let id = object.to_string();
    assert_eq!(of("event"), ["created", "transferred", "paid"]);
    assert_eq!(of("object"), [id.clone(), id, String::new()]);
    assert_eq!(of("transaction")[1..], [sale.id().to_string(), sale.id().to_string()]);
    assert_eq!(
        (&rows[2]["quantity"], &rows[1]["position"], &rows[2]["position"]),
        (&"40".into(), &0.into(), &1.into())
    );

    let rpc = network.nodes[3].authority.rpc_address.to_string();
    for (words, expected) in [(["object", "show"], address(1).to_string()), (["history", ""], "paid 40 to".to_owned())]
    {
        let mut command = stele(network.path());
        command.args(["tx", "--rpc", &rpc]).args(words.iter().filter(|word| !word.is_empty())).arg(object.to_string());
        let shown = run_to_end(command, network.path());
        assert!(shown.status.success() && shown.output.contains(&expected), "{}{}", shown.output, shown.message);
    }
}

/// Submits to a node, and waits for what it did.
async fn executed(network: &Network, node: usize, transaction: &Transaction) -> EventsInfo {
    let rpc = &network.nodes[node].rpc;
    assert_eq!(key(0).public_key(), *transaction.key(), "the seller sends");
    rpc.submit(transaction).await.unwrap();
    until("it is executed", PATIENCE, async || rpc.events(&transaction.id()).await.unwrap()).await
}
