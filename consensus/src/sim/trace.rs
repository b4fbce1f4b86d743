//! What happened, as a digest and, on demand, as text: one line for each event and commit.

use crate::sim::network::Message;
use crate::sim::node::{Machine, Place};
use crate::sim::simulation::Event;
use std::fmt::Write;
use types::{CommitRecord, Digest, Hasher};

/// Bytes that are hashed at a time.
const CHUNK: usize = 8_192;
/// Most blocks of a request that are named.
const REFS_SHOWN: usize = 3;

/// The running digest, and the lines since they were last taken.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: Digest,
    buffer: Vec<u8>,
    lines: Option<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { digest: Digest::ZERO, buffer: Vec::with_capacity(CHUNK + 64), lines: None }
    }
}

impl Trace {
    /// Keeps lines from now on.
    pub fn keep_lines(&mut self) {
        self.lines.get_or_insert_default();
    }

    /// The lines since the last call.
    pub fn take_lines(&mut self) -> String {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Digest over everything so far.
    pub fn digest(&self) -> Digest {
        Hasher::new("stele/trace/2").with(self.digest.as_bytes()).with(&self.buffer).finish()
    }

    /// Something happens to a node.
    pub fn event(&mut self, now_us: u64, at: Place, event: &Event) {
        let (kind, digest, number) = summary(event);
        self.put(now_us, at, kind, digest, number);
        if let Some(lines) = &mut self.lines {
            line(lines, now_us, at, event);
        }
    }

    /// A node committed.
    pub fn commit(&mut self, now_us: u64, at: Place, record: &CommitRecord) {
        self.put(now_us, at, 32, record.digest(), record.height.0);
        if let Some(lines) = &mut self.lines {
            let (height, leader, blocks) = (record.height, record.leader, record.blocks.len());
            let _ = writeln!(lines, "{} {} commit {height} leader {leader} blocks {blocks}", seconds(now_us), at.0);
        }
    }

    /// Something is done to the simulation.
    pub fn fault(&mut self, now_us: u64, what: std::fmt::Arguments<'_>) {
        let text = what.to_string();
        self.put(now_us, Place(usize::MAX), 33, Digest::sha256(text.as_bytes()), 0);
        if let Some(lines) = &mut self.lines {
            let _ = writeln!(lines, "{} - {text}", seconds(now_us));
        }
    }

    fn put(&mut self, now_us: u64, at: Place, kind: u8, digest: Digest, number: u64) {
        self.buffer.extend_from_slice(&now_us.to_le_bytes());
        self.buffer.extend_from_slice(&(at.0 as u16).to_le_bytes());
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&number.to_le_bytes());
        self.buffer.extend_from_slice(&digest.as_bytes()[..16]);
        if self.buffer.len() >= CHUNK {
            self.digest = self.digest();
            self.buffer.clear();
        }
    }
}

fn summary(event: &Event) -> (u8, Digest, u64) {
    let zero = Digest::ZERO;
    match event {
        Event::Deliver { from, message, .. } => {
            let (kind, digest) = match message {
                Message::Block { header, .. } => (16, header.digest()),
                Message::Headers(headers) => (17, headers.last().map_or(zero, |header| header.digest())),
                Message::Payload(block, _) => (18, block.digest),
                Message::RequestHeaders(request) => (19, request.0.last().map_or(zero, |block| block.digest)),
                Message::RequestPayload(refs) => (20, refs.last().map_or(zero, |block| block.digest)),
                Message::RequestCommits(_) => (21, zero),
                Message::RequestHighest => (23, zero),
                Message::Highest(blocks) => (24, blocks.asker.as_ref().map_or(zero, |header| header.digest())),
                Message::NextEra(era) => (25, Digest::sha256(&era.to_le_bytes())),
                Message::State(era) => (26, Digest::sha256(&era.to_le_bytes())),
                Message::Commits(commits) => (22, commits.last().map_or(zero, |(record, _)| record.previous)),
            };
            (kind, digest, from.0.into())
        }
        Event::Timer => (1, zero, 0),
        Event::Synced { length } => (2, zero, *length as u64),
        Event::Signed { header } => (3, header.digest(), header.round().0),
        Event::Submit => (4, zero, 0),
        Event::Link { peer, up } => (5 + u8::from(*up), zero, peer.0.into()),
        Event::Act => (7, zero, 0),
        Event::Send(sending) => (8, zero, sending.to.0.into()),
        Event::NextEra => (10, zero, 0),
        Event::Control(_) => (9, zero, 0),
    }
}

fn line(lines: &mut String, now_us: u64, at: Place, event: &Event) {
    let _ = write!(lines, "{} {} ", seconds(now_us), at.0);
    let _ = match event {
        Event::Deliver { from: Machine(from), message, .. } => match message {
            Message::Block { header, payload } => {
                let with = if *payload { " with its payload" } else { "" };
                writeln!(lines, "from {from} block {}{with}", header.block_ref())
            }
            Message::Headers(headers) => {
                let _ = write!(lines, "from {from} headers");
                headers.iter().for_each(|header| {
                    let _ = write!(lines, " {}", header.block_ref());
                });
                writeln!(lines)
            }
            Message::Payload(block, bytes) => writeln!(lines, "from {from} payload of {block}, {bytes} bytes"),
            Message::RequestHeaders(request) => writeln!(lines, "from {from} asks for {} headers", request.0.len()),
            Message::RequestPayload(refs) => {
                let _ = write!(lines, "from {from} asks for {} payloads", refs.len());
                refs.iter().take(REFS_SHOWN).for_each(|block| {
                    let _ = write!(lines, " {block}");
                });
                writeln!(lines)
            }
            Message::RequestCommits(height) => writeln!(lines, "from {from} asks for commits from {height}"),
            Message::RequestHighest => writeln!(lines, "from {from} asks for its highest block"),
            Message::Highest(blocks) => match &blocks.asker {
                Some(header) => writeln!(lines, "from {from} highest block {}", header.block_ref()),
                None => writeln!(lines, "from {from} no highest block"),
            },
            Message::NextEra(era) => writeln!(lines, "from {from} the certificate for epoch {}", era + 1),
            Message::State(era) => writeln!(lines, "from {from} the state with which epoch {} begins", era + 1),
            Message::Commits(commits) => writeln!(lines, "from {from} {} commits", commits.len()),
        },
        Event::Timer => writeln!(lines, "timer"),
        Event::Synced { length } => writeln!(lines, "synced {length} records"),
        Event::Signed { header } => writeln!(lines, "signed {}", header.block_ref()),
        Event::Submit => writeln!(lines, "transactions"),
        Event::Link { peer: Machine(peer), up } => {
            writeln!(lines, "link to {peer} {}", if *up { "up" } else { "down" })
        }
        Event::NextEra => writeln!(lines, "certificate for the end of the epoch"),
        Event::Act => writeln!(lines, "adversary acts"),
        Event::Send(sending) => writeln!(lines, "sends late to {}", sending.to),
        Event::Control(_) => writeln!(lines, "timeline"),
    };
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
