//! What vouches for a snapshot, from genesis on: the changes of epochs, the headers of its height and of its root with
//! their certificates, and the commits below, from which consensus goes on.
//!
//! Whoever takes a state from a peer asks [`Certified::vouch`] first, whoever takes it out of a directory
//! [`Vouched::prove`].

use crate::replica::intake::{Checker, Refused};
use crate::state_sync::history::{Commit, History};
use crate::state_sync::pack::Pack;
use crate::wire::state::{Certified, CommitWithHeaders, history_response, parse_history};
use bytes::Bytes;
use miette::Diagnostic;
use std::sync::Arc;
use thiserror::Error;
use types::codec::{put_bytes, put_list};
use types::{
    Anchor, Certificate, CertificateError, ChainId, Committee, Decode, DecodeError, Encode, EpochChain, EpochChange,
    EpochChangeError, Genesis, GenesisError, HeaderVote, Height, LedgerHeader, Reader, StateManifest,
};

/// Most changes of epochs that are read.
const EPOCHS_MAX: usize = 1 << 20;
/// Most commits that are read: more than the longest window of the schedule and the deepest garbage collection need.
const COMMITS_MAX: usize = 1 << 20;
/// Most bytes of commits that are read.
const COMMITS_BYTES_MAX: usize = 1 << 30;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Headers and certificates.
    pub certified: Certified,
    /// How the epoch of the root follows from the first one.
    pub epochs: Vec<EpochChange>,
    /// The commits from the height of the state downward; none where the node did not have them all, so that it can be
    /// proven from, and no node can start from it.
    pub commits: Option<Vec<CommitWithHeaders>>,
}

impl Encode for Vouched {
    fn encode(&self, out: &mut Vec<u8>) {
        self.certified.encode(out);
        put_list(out, &self.epochs);
        out.push(u8::from(self.commits.is_some()));
        if let Some(commits) = &self.commits {
            put_bytes(out, &history_response(commits));
        }
    }
}

impl Decode for Vouched {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let certified = Certified::decode(reader)?;
        let epochs = reader.list("changes of epochs", EPOCHS_MAX)?;
        let commits = match u8::decode(reader)? {
            0 => None,
            1 => {
                let commits = Bytes::copy_from_slice(reader.bytes("commits", COMMITS_BYTES_MAX)?);
                Some(parse_history(&commits, COMMITS_MAX)?)
            }
            tag => return Err(DecodeError::UnknownTag { field: "commits", value: tag.into() }),
        };
        Ok(Self { certified, epochs, commits })
    }
}

/// Why headers and certificates do not vouch for a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unproven {
    /// It is of another ledger.
    #[error("it is of another ledger")]
    OtherLedger,
    /// The manifest is of another header.
    #[error("its header is not the one that its manifest names")]
    OtherHeader,
    /// The header is not one of the epoch, and not the one that the epoch begins behind.
    #[error("its header is not of the epoch that has certified its root")]
    OtherEpoch,
    /// The certificate over the header.
    #[error("the certificate over its header does not hold: {0}")]
    Header(CertificateError),
    /// There is no header with a root.
    #[error("its root is not certified")]
    NoRoot,
    /// The header carries the root of something else.
    #[error("its root is another one")]
    OtherRoot,
    /// A certificate is over another header than the one that it is for.
    #[error("a certificate is over another header")]
    OtherVote,
    /// The certificate over the header with the root.
    #[error("the certificate over its root does not hold: {0}")]
    Root(CertificateError),
}

impl Unproven {
    fn unless(holds: bool, otherwise: Self) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(otherwise) }
    }
}

impl Certified {
    /// Whether this vouches for the state of a manifest, in the epoch of `committee`, which begins behind `anchor`. A
    /// root is needed for all states but the one that the epoch begins with: of that, the epoch's own proof holds the
    /// header and its certificate, and the one here does not count ([`Certified::proven_certificate`]).
    pub fn vouch(
        &self,
        manifest: &StateManifest,
        chain: ChainId,
        committee: &Committee,
        anchor: &Anchor,
    ) -> Result<(), Unproven> {
        let Self { header, certificate, root } = self;
        let (summary, digest) = (&manifest.summary, header.digest());
        Unproven::unless((header.chain, summary.chain) == (chain, chain), Unproven::OtherLedger)?;
        let named = (header.height, digest, header.timestamp);
        Unproven::unless((summary.height, summary.header, summary.timestamp) == named, Unproven::OtherHeader)?;
        let vote = (certificate.vote.height, certificate.vote.header);
        Unproven::unless(vote == (header.height, digest), Unproven::OtherVote)?;
        let is_genesis = header.height == Height(0);
        let is_anchor = header.height == anchor.height && !is_genesis;
        if is_genesis {
            // Nobody votes for height 0. The root is over the summary and the summary over the header, so that those who
            // certified the root have signed the header too.
            Unproven::unless(
                certificate.statements.is_empty() && anchor.height == header.height,
                Unproven::OtherEpoch,
            )?;
        } else if is_anchor {
            Unproven::unless(digest == anchor.header, Unproven::OtherHeader)?;
        } else {
            let of_epoch = header.height > anchor.height
                && (header.epoch, header.committee) == (committee.epoch(), committee.digest());
            Unproven::unless(of_epoch, Unproven::OtherEpoch)?;
            certificate.verify(chain, committee).map_err(Unproven::Header)?;
        }
        let Some((root, certificate)) = root else { return Unproven::unless(is_anchor, Unproven::NoRoot) };
        Unproven::unless(root.chain == chain, Unproven::OtherLedger)?;
        let carries = root.state_root == manifest.root() && root.height > header.height;
        Unproven::unless(carries, Unproven::OtherRoot)?;
        let vote = (certificate.vote.height, certificate.vote.header);
        Unproven::unless(vote == (root.height, root.digest()), Unproven::OtherVote)?;
        certificate.verify(chain, committee).map_err(Unproven::Root)
    }

    /// What stands for a certificate over the header of genesis, for which nobody votes.
    pub fn genesis_certificate(header: &LedgerHeader) -> Certificate {
        let vote = HeaderVote { height: header.height, header: header.digest() };
        Certificate { vote, statements: Vec::new() }
    }

    /// The certificate over the header that has been verified, if [`Certified::vouch`] held: of the state that an epoch
    /// begins with, the one in the epoch's proof; of genesis none.
    pub fn proven_certificate(&self, anchor: &Anchor, epochs: &[EpochChange]) -> Option<Certificate> {
        if self.header.height != anchor.height {
            return Some(self.certificate.clone());
        }
        let last = epochs.last().filter(|last| last.start.anchor == *anchor)?;
        Some(last.certificate.clone())
    }
}

/// Why what stands beside a snapshot does not prove it from a genesis on.
#[derive(Debug, Error, Diagnostic)]
pub enum VouchedError {
    /// Genesis gives no committee.
    #[error("the genesis is not usable: {0}")]
    #[diagnostic(help("name the ledger's genesis.toml"))]
    Genesis(#[from] GenesisError),
    /// An epoch does not follow.
    #[error("its epochs do not follow from this genesis: {0}")]
    #[diagnostic(help("it is of another ledger, altered or forged; do not use it, and take one from another node"))]
    Epoch(#[from] EpochChangeError),
    /// Headers, certificates and manifest do not belong together.
    #[error("it is not what the validators of this genesis have certified: {0}")]
    #[diagnostic(help("it is of another ledger, altered or forged; do not use it, and take one from another node"))]
    NotProven(#[from] Unproven),
    /// The commits are not those below the header.
    #[error("the commits in it are not those below its state: {0}")]
    #[diagnostic(help("it was altered or forged; do not use it, and take one from another node"))]
    Commits(Refused),
}

/// What holds from genesis on.
pub struct Proven {
    /// The epochs, up to that of the root.
    pub epochs: EpochChain,
    /// The commits below in rising order, where they are there.
    pub commits: Option<Vec<Commit>>,
}

impl Vouched {
    /// Checks all of it from genesis on, to the last byte, and that it is for this state.
    pub fn prove(&self, pack: &Pack, genesis: &Genesis) -> Result<Proven, VouchedError> {
        let mut epochs = EpochChain::from_genesis(genesis)?;
        for change in &self.epochs {
            epochs.push(change.clone())?;
        }
        let (chain, start) = (epochs.ledger(), epochs.last());
        self.certified.vouch(pack.manifest(), chain, &start.committee, &start.anchor)?;
        let Certified { header, certificate, root } = &self.certified;
        // The epochs end with the one of the root: later ones would be of a state that is not here.
        let root = root.as_ref().filter(|(root, _)| root.epoch == start.epoch());
        let (root, _) = root.ok_or(Unproven::NoRoot)?;
        Unproven::unless(pack.root_height() == root.height, Unproven::OtherRoot)?;
        if header.height == start.anchor.height && header.height > Height(0) {
            // The epoch's own proof is what counts, and this one is of the epoch before.
            let before = epochs.epoch(header.epoch).ok_or(Unproven::OtherEpoch)?;
            certificate.verify(chain, &before.committee).map_err(Unproven::Header)?;
        }
        let checker = Checker::new(chain, Arc::new(start.committee.clone()), start.parameters.clone());
        let whole = |commits| History::whole(header, start.anchor.height.next(), &checker, commits);
        let commits = self.commits.clone().map(whole).transpose().map_err(VouchedError::Commits)?;
        Ok(Proven { epochs, commits })
    }
}
