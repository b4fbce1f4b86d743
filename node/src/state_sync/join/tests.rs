//! A joiner among scripted peers, on real links: who lies is named and turned away, and the state is taken all the same.

use super::*;
use crate::fixtures::{certificate, commits, genesis, header_over, ledger, packed};
use crate::state_sync::history::Commit;
use crate::wire::state::{Certified, CommitWithHeaders, Offer, history_response};
use crossbeam_channel::Receiver;
use ledger::{Account, LtHash};
use std::net::{SocketAddr, UdpSocket};
use storage::state::{StateDb, StateOptions};
use transport::{EventLimits, IdentityKey, MeshConfig, MeshEvent, PeerAddress, Reply, SoftIdentity, event_channel};
use types::{Address, Amount, LedgerHeader};

/// Peers of the joiner, which has the index behind them.
const PEERS: u16 = 3;
/// Seven chunks of them.
const ACCOUNTS: u32 = 30_000;

/// A certified state, as an honest peer has it.
#[derive(Clone)]
struct Held {
    accounts: Vec<(Address, Account)>,
    chunks: Vec<Vec<u8>>,
    described: ManifestResponse,
    commits: Vec<Commit>,
}

impl Held {
    fn new(units: u128) -> Self {
        let mut accounts: Vec<_> = (0..ACCOUNTS)
            .map(|index| {
                let address = Address::from_bytes(*Digest::sha256(&index.to_le_bytes()).as_bytes());
                (address, Account { balance: Amount(units), transfers_out: 0 })
            })
            .collect();
        accounts.sort_unstable_by_key(|(address, _)| *address);
        let commits = commits(30);
        let mut header = header_over(&commits);
        let state = accounts.iter().map(|(address, account)| ((*address).into(), (*account).into()));
        header.state_digest = LtHash::of_state(state, [], &Default::default()).digest();
        Self::of(accounts, header, commits)
    }

    fn of(accounts: Vec<(Address, Account)>, header: LedgerHeader, commits: Vec<Commit>) -> Self {
        let (manifest, chunks) = packed(&accounts, &header);
        let state_root = manifest.root();
        let root =
            LedgerHeader { height: Height(header.height.0 + 8), state_root, next_committee: None, ..header.clone() };
        let root = Some((root.clone(), certificate(&root)));
        let certificate = certificate(&header);
        let described = ManifestResponse { manifest, certified: Certified { header, certificate, root } };
        Self { accounts, chunks, described, commits }
    }

    fn answer(&self, request: &StateRequest) -> Bytes {
        let manifest = &self.described.manifest;
        match request {
            StateRequest::Offers => {
                let summary = &manifest.summary;
                let offer = Offer { height: summary.height, manifest: manifest.root(), bytes: summary.bytes };
                OffersResponse { offers: vec![offer], preparing: false }.to_bytes().into()
            }
            StateRequest::Manifest(_) => self.described.to_bytes().into(),
            StateRequest::Chunk { index, .. } => Bytes::copy_from_slice(&self.chunks[*index as usize]),
            StateRequest::History { top, bottom } => {
                let part = &self.commits[bottom.0 as usize - 1..top.0 as usize];
                let with_headers = |(record, headers): &Commit| CommitWithHeaders {
                    record: record.clone(),
                    headers: headers.iter().map(|header| header.raw().clone()).collect(),
                };
                history_response(&part.iter().rev().map(with_headers).collect::<Vec<_>>())
            }
        }
    }
}

type Script = Arc<dyn Fn(StateRequest, Reply) + Send + Sync>;

fn honest(held: &Held) -> Script {
    let held = held.clone();
    Arc::new(move |request, reply| {
        let _ = reply.send(held.answer(&request));
    })
}

struct Scene {
    joiner: Joiner,
    facts: Receiver<Fact>,
    _peers: Vec<Mesh>,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new(scripts: Vec<Script>) -> Self {
        let held: Vec<_> = (0..=PEERS).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
        let ports: Vec<SocketAddr> = held.iter().map(|socket| socket.local_addr().expect("bound")).collect();
        drop(held);
        let mut peers = Vec::new();
        for (index, script) in (0..).zip(scripts) {
            peers.push(mesh(index, &ports, script).await);
        }
        let silent: Script = Arc::new(|_, _| ());
        let own = mesh(PEERS, &ports, silent).await;
        while own.peers().iter().filter(|peer| peer.up).count() < usize::from(PEERS) {
            tokio::task::yield_now().await;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let db = StateDb::open(dir.path().join("state"), [5; 32], StateOptions::default()).expect("a new database");
        let (chain, committee) = ledger();
        let genesis = genesis();
        let checker = Checker::new(chain, Arc::clone(&committee), genesis.parameters.clone());
        let config = Config {
            chain,
            committee,
            me: AuthorityIndex(PEERS),
            anchor: types::Anchor::genesis(genesis.timestamp()),
            parameters: genesis.parameters,
            pacing: consensus::Pacing::default(),
        };
        let (replica, facts) = crossbeam_channel::bounded(100);
        let joiner = Joiner {
            mesh: own,
            checker,
            config,
            first: Height(1),
            tables: Tables::new(Arc::new(db)),
            identity: [5; 32],
            site: Site::new(dir.path()),
            replica,
            status: Arc::new(Status::new()),
            banished: BTreeSet::new(),
            bulk_patience: BULK_PATIENCE,
        };
        Self { joiner, facts, _peers: peers, dir }
    }

    fn named(&self) -> BTreeSet<(u16, &'static str)> {
        let named = |fact| match fact {
            Fact::Misbehaviour { peer, what } => Some((peer.0, what)),
            _ => None,
        };
        self.facts.try_iter().filter_map(named).collect()
    }
}

async fn mesh(index: u16, ports: &[SocketAddr], script: Script) -> Mesh {
    let key = |index: u16| SoftIdentity::from_seed([index as u8 + 50; 32]);
    let peers = (0..).zip(ports).map(|(index, addr)| PeerAddress { index, addr: *addr, key: key(index).public_key() });
    let (sink, mut events) = event_channel(EventLimits::default());
    let config = MeshConfig::new(index, ports[usize::from(index)], peers.collect());
    let mesh = Mesh::start(config, Arc::new(key(index)), sink).await.expect("a mesh");
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let MeshEvent::Request { body, reply, .. } = event
                && let Ok(Request::State(request)) = Request::parse(&body)
            {
                script(request, reply);
            }
        }
    });
    mesh
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_a_wrong_chunk_is_named_and_the_others_give_the_right_one() {
    let held = Held::new(7);
    let liar: Script = {
        let held = held.clone();
        Arc::new(move |request, reply| {
            let mut answer = held.answer(&request).to_vec();
            if matches!(request, StateRequest::Chunk { .. }) {
                answer[0] ^= 1;
            }
            let _ = reply.send(answer.into());
        })
    };
    let mut scene = Scene::new(vec![liar, honest(&held), honest(&held)]).await;
    assert_eq!(scene.joiner.run(Height(0)).await.ok(), Some(Height(30)));
    assert_eq!(scene.named(), BTreeSet::from([(0, "chunk_not_of_its_manifest")]));
    assert!(Site::new(scene.dir.path()).is_whole());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stalls_in_the_middle_is_given_up_and_costs_only_what_was_asked_of_it() {
    let held = Held::new(7);
    let stalls: Script = {
        let (held, stalled) = (held.clone(), std::sync::Mutex::new(Vec::new()));
        Arc::new(move |request, reply| match request {
            // It never answers, and never says that it does not.
            StateRequest::Chunk { .. } => stalled.lock().expect("no panic").push(reply),
            other => drop(reply.send(held.answer(&other))),
        })
    };
    let mut scene = Scene::new(vec![stalls, honest(&held), honest(&held)]).await;
    scene.joiner.bulk_patience = Duration::from_millis(50);
    assert_eq!(scene.joiner.run(Height(0)).await.ok(), Some(Height(30)));
    assert_eq!(scene.named(), BTreeSet::new(), "slow is no lie");
}

/// What makes a manifest one that is not certified.
type Forge = fn(&mut Held, &Held);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_no_certified_header_stands_for_is_not_taken_and_its_peers_are_named() {
    let forgeries: [(&str, Forge); 8] = [
        ("a state under a certificate of too few", |forged, _| {
            forged.described.certified.certificate.statements.truncate(2);
        }),
        ("a state under the certificate of another header", |forged, other| {
            forged.described.certified.certificate = other.described.certified.certificate.clone();
        }),
        ("a state with a signature that is altered", |forged, _| {
            let statements = &mut forged.described.certified.certificate.statements;
            (statements[0].signature, statements[1].signature) =
                (statements[1].signature.clone(), statements[0].signature.clone());
        }),
        ("a root under a certificate of too few", |forged, _| {
            let (_, certificate) = forged.described.certified.root.as_mut().expect("a root");
            certificate.statements.truncate(2);
        }),
        ("chunks of another state", |forged, other| {
            forged.described.manifest.chunks = other.described.manifest.chunks.clone();
            forged.described.manifest.summary.chunk_root = other.described.manifest.summary.chunk_root;
        }),
        ("the root of another height", |forged, _| {
            forged.described.manifest.summary.height = Height(31);
        }),
        ("no root at all", |forged, _| forged.described.certified.root = None),
        ("a state of another ledger", |forged, _| {
            forged.described.manifest.summary.chain = types::ChainId(Digest::sha256(b"another ledger"));
        }),
    ];
    let held = Held::new(7);
    for (what, forge) in forgeries {
        let mut forged = Held::new(8);
        forge(&mut forged, &held);
        // Twice as many offer the forged one.
        let mut scene = Scene::new(vec![honest(&forged), honest(&forged), honest(&held)]).await;
        assert!(matches!(scene.joiner.run(Height(0)).await, Err(JoinError::Abandoned(_))), "{what}");
        let named = BTreeSet::from([(0, "manifest_not_certified"), (1, "manifest_not_certified")]);
        assert_eq!(scene.named(), named, "{what}");
        assert_eq!(scene.joiner.run(Height(0)).await.ok(), Some(Height(30)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_not_the_certified_headers_is_thrown_away_and_all_who_gave_it_are_named() {
    let (held, other) = (Held::new(7), Held::new(8));
    // Even if a quorum has signed the root of a state that was not the one behind the header.
    let (header, commits) = (held.described.certified.header.clone(), held.commits.clone());
    let forged = Held::of(other.accounts, header, commits);
    let mut scene = Scene::new(vec![honest(&forged), honest(&forged), honest(&held)]).await;
    let error = scene.joiner.run(Height(0)).await.expect_err("another state");
    assert!(matches!(error, JoinError::Install(InstallError::OtherState)), "{error}");
    let named = BTreeSet::from([(0, "state_not_of_its_header"), (1, "state_not_of_its_header")]);
    assert_eq!(scene.named(), named);
    assert!(!Site::new(scene.dir.path()).is_whole());
    assert_eq!(scene.joiner.run(Height(0)).await.ok(), Some(Height(30)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_below_the_state_that_do_not_chain_are_refused_and_asked_of_another() {
    let held = Held::new(7);
    let liar: Script = {
        let held = held.clone();
        Arc::new(move |request, reply| {
            let request = match request {
                StateRequest::History { top, bottom } => StateRequest::History { top: Height(top.0 - 1), bottom },
                other => other,
            };
            let _ = reply.send(held.answer(&request));
        })
    };
    let mut scene = Scene::new(vec![liar, honest(&held), honest(&held)]).await;
    assert_eq!(scene.joiner.run(Height(0)).await.ok(), Some(Height(30)));
    assert_eq!(scene.named(), BTreeSet::from([(0, "broken_history_chain")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_has_a_state_nothing_is_taken() {
    let nothing: Script = Arc::new(|request, reply| {
        assert_eq!(request, StateRequest::Offers);
        let _ = reply.send(OffersResponse::default().to_bytes().into());
    });
    let mut scene = Scene::new(vec![Arc::clone(&nothing), Arc::clone(&nothing), nothing]).await;
    assert!(matches!(scene.joiner.run(Height(4)).await, Err(JoinError::NothingOffered(Height(4)))));
    assert_eq!(scene.named(), BTreeSet::new());
}

/// A state at the last height of the first epoch, and the proof of the second.
fn last_of_epoch() -> (Held, EpochChange) {
    let held = Held::new(7);
    let genesis = genesis();
    let parameters = types::Parameters { gc_depth_rounds: 200, ..genesis.parameters.clone() };
    let first = genesis.committee().expect("four validators");
    let committee = types::Committee::new(Epoch(2), first.authorities().to_vec()).expect("the same");
    let next_committee = Some(types::EpochStart::digest_of(&committee, &parameters));
    let header = LedgerHeader { next_committee, ..held.described.certified.header };
    let held = Held::of(held.accounts, header.clone(), held.commits);
    let start = types::EpochStart { committee, parameters, anchor: types::Anchor::of(&header) };
    let change = EpochChange { start, last: header, certificate: held.described.certified.certificate.clone() };
    (held, change)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_that_an_epoch_begins_with_is_proven_by_the_epoch_and_needs_no_commits() {
    let (held, change) = last_of_epoch();
    // Nor does its own certificate count, which another committee has signed.
    let mut other = held.clone();
    other.described.certified.certificate.statements.truncate(1);
    // Nor is its root certified yet.
    other.described.certified.root = None;
    let mut scene = Scene::new(vec![honest(&other), honest(&other), honest(&other)]).await;
    let joiner = &mut scene.joiner;
    let committee = Arc::new(change.start.committee.clone());
    (joiner.checker.committee, joiner.config.committee) = (Arc::clone(&committee), committee);
    (joiner.config.anchor, joiner.first) = (change.start.anchor, change.start.anchor.height.next());
    let mut batch = joiner.tables.batch();
    batch.known_change(&change);
    joiner.tables.commit(batch).expect("a batch");
    assert_eq!(joiner.run(Height(0)).await.ok(), Some(Height(30)));
    assert_eq!(scene.named(), BTreeSet::new());

    let installed = scene.dir.path().join("sync/state");
    let tables = Tables::new(Arc::new(StateDb::open(installed, [5; 32], StateOptions::default()).expect("a database")));
    let applied = tables.applied().expect("readable").expect("a state");
    assert_eq!((applied.ledger.height(), applied.consensus), (Height(30), None));
    assert_eq!(tables.last_epoch().expect("readable"), Some(change.start.clone()));
    assert_eq!(tables.epoch_change(Epoch(2)).expect("readable"), Some(change), "with a certificate that proves it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_of_a_later_epoch_or_behind_the_last_height_of_this_one_is_neither_taken_nor_a_lie() {
    let (last, change) = last_of_epoch();
    let later = LedgerHeader { epoch: Epoch(2), committee: change.start.committee.digest(), ..change.last };
    let later = Held::of(last.accounts.clone(), later, last.commits.clone());
    for held in [last, later] {
        let mut scene = Scene::new(vec![honest(&held), honest(&held), honest(&held)]).await;
        assert!(matches!(scene.joiner.run(Height(0)).await, Err(JoinError::Abandoned(Height(30)))));
        assert_eq!(scene.named(), BTreeSet::new());
    }
}
