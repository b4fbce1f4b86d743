//! A client against a scripted node over loopback: every transaction is answered once, also across a lost connection.

use super::*;
use crate::protocol::{Event, Submit, encode_events};
use std::sync::Arc;
use transport::{
    ClientEvent, ClientEvents, ClientLimits, ClientServer, EventLimits, SessionId, SoftIdentity, client_event_channel,
};
use types::Digest;

const CHAIN: ChainId = ChainId(Digest::ZERO);

struct Node {
    server: ClientServer,
    events: ClientEvents,
    address: SocketAddr,
}

fn node_key() -> PublicKey {
    types::SecretKey::ed25519_from_seed([9; 32]).public_key()
}

async fn node() -> Node {
    let (sink, events) = client_event_channel(EventLimits::default());
    let identity = Arc::new(SoftIdentity::from_seed([9; 32]));
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = ClientServer::start(bind, identity, ClientLimits::default(), None, sink).await.expect("a free port");
    let address = server.local_addr().expect("is bound");
    Node { server, events, address }
}

impl Node {
    /// Waits for the next session and greets it.
    async fn greet(&mut self, chain: ChainId) -> SessionId {
        loop {
            if let Some(ClientEvent::Opened { session }) = self.events.recv().await {
                let hello = Event::Hello { chain, validator: AuthorityIndex(3) };
                self.server.send(session, encode_events(&[hello])).expect("a new session has room");
                return session;
            }
        }
    }

    /// The next transactions.
    async fn batch(&mut self) -> Vec<Bytes> {
        loop {
            if let Some(ClientEvent::Batch { frame, .. }) = self.events.recv().await {
                return Submit::decode(&frame).expect("the client encodes well").transactions;
            }
        }
    }

    async fn transactions(&mut self, count: usize) -> Vec<Bytes> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.batch().await);
        }
        all
    }

    fn answer(&self, session: SessionId, events: &[Event]) {
        self.server.send(session, encode_events(events)).expect("the client reads");
    }
}

fn options() -> ClientOptions {
    ClientOptions { server_key: Some(node_key()), chain: Some(CHAIN), in_flight_max: 4, ..ClientOptions::default() }
}

async fn connected() -> (Node, SessionId, Client<u32>, Updates<u32>) {
    let mut node = node().await;
    let address = node.address;
    let (session, client) = tokio::join!(node.greet(CHAIN), Client::connect(address, options()));
    let (client, updates) = client.expect("the node greets");
    (node, session, client, updates)
}

fn receipt(sequence: u64) -> Event {
    Event::Receipt { sequence, height: Height(1), index: sequence as u32, outcome: Outcome::Applied }
}

#[tokio::test]
async fn answers_carry_the_tag_of_their_transaction() {
    let (mut node, session, client, mut updates) = connected().await;
    assert_eq!((client.validator(), client.chain()), (AuthorityIndex(3), CHAIN));
    for tag in 10..13 {
        client.submit_raw(tag, Bytes::from(vec![tag as u8; 5])).await.expect("room for four");
    }
    let sent = node.transactions(3).await;
    assert_eq!(sent.iter().map(|raw| raw[0]).collect::<Vec<_>>(), [10, 11, 12]);
    let answers = [
        Event::Busy { sequence: 2, retry_after_ms: 7 },
        receipt(0),
        receipt(0),
        receipt(77),
        Event::Refused { sequence: 1, reject: Reject::Expired },
    ];
    node.answer(session, &answers);
    assert_eq!(updates.next().await, Some(Update::Busy { tag: 12, retry_after_ms: 7 }));
    let applied = Update::Receipt { tag: 10, height: Height(1), index: 0, outcome: Outcome::Applied };
    assert_eq!(updates.next().await, Some(applied));
    assert_eq!(updates.next().await, Some(Update::Refused { tag: 11, reject: Reject::Expired }));
    client.submit_raw(13, Bytes::from_static(b"the last")).await.expect("room");
    drop(client);
    node.transactions(1).await;
    node.answer(session, &[receipt(3)]);
    assert!(matches!(updates.next().await, Some(Update::Receipt { tag: 13, .. })));
    assert_eq!(updates.next().await, None);
}

#[tokio::test]
async fn submission_waits_until_answers_are_taken() {
    let (mut node, session, client, mut updates) = connected().await;
    let batch = |tags: std::ops::Range<u32>| tags.map(|tag| (tag, Bytes::from_static(b"tx"))).collect::<Vec<_>>();
    client.submit_all(batch(0..4)).await.expect("room for four");
    assert!(matches!(client.try_submit(batch(4..5)), Err((SubmitError::Full, back)) if back.len() == 1));
    node.transactions(4).await;
    node.answer(session, &[receipt(0), receipt(1)]);
    let waiting = client.submit_all(batch(4..6));
    let (taken, done) = tokio::join!(updates.next_batch(), waiting);
    assert_eq!((taken.map(|batch| batch.len()), done), (Some(2), Ok(())));
    assert_eq!(node.transactions(2).await.len(), 2);
    let large = client.submit_raw(9, Bytes::from(vec![0; TRANSACTION_BYTES_MAX + 1])).await;
    assert_eq!(large, Err(SubmitError::TooLarge { bytes: TRANSACTION_BYTES_MAX + 1 }));
    drop(updates);
    assert_eq!(client.submit_raw(9, Bytes::from_static(b"tx")).await, Err(SubmitError::Closed));
}

#[tokio::test]
async fn a_lost_connection_tells_what_is_unknown_and_comes_back() {
    let (mut node, session, client, mut updates) = connected().await;
    for tag in 0..3 {
        client.submit_raw(tag, Bytes::from_static(b"tx")).await.expect("room for four");
    }
    node.transactions(3).await;
    node.answer(session, &[receipt(1)]);
    assert!(matches!(updates.next().await, Some(Update::Receipt { tag: 1, .. })));
    node.server.close(session);
    assert_eq!(updates.next().await, Some(Update::Unknown { tag: 0 }));
    assert_eq!(updates.next().await, Some(Update::Unknown { tag: 2 }));
    assert!(matches!(updates.next().await, Some(Update::Lost { .. })));
    let session = node.greet(CHAIN).await;
    assert_eq!(updates.next().await, Some(Update::Restored { validator: AuthorityIndex(3) }));
    client.submit_raw(7, Bytes::from_static(b"tx")).await.expect("room");
    node.transactions(1).await;
    node.answer(session, &[receipt(0)]);
    assert!(matches!(updates.next().await, Some(Update::Receipt { tag: 7, .. })));
}

#[tokio::test]
async fn a_node_of_another_ledger_or_another_key_is_refused() {
    let mut node = node().await;
    let other = ChainId(Digest::sha256(b"another genesis"));
    let address = node.address;
    let (_, refused) = tokio::join!(node.greet(other), Client::<u32>::connect(address, options()));
    assert!(matches!(refused, Err(ConnectError::OtherChain { found, .. }) if found == other));
    let wrong = ClientOptions {
        server_key: Some(types::SecretKey::ed25519_from_seed([8; 32]).public_key()),
        ..ClientOptions::default()
    };
    let refused = Client::<u32>::connect(node.address, wrong).await;
    assert!(matches!(refused, Err(ConnectError::Transport(_))));
}
