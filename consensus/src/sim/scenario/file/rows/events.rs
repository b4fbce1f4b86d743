//! Rows of a scenario file that say what happens: events, adversaries, the mix.

use crate::sim::adversary::AdversaryKind;
use crate::sim::links::Links;
use crate::sim::mix::{Fault, Mix};
use crate::sim::scenario::file::ScenarioError;
use crate::sim::scenario::file::rows::{LinksTable, Within, nodes_of};
use crate::sim::timeline::{Action, Membership, Planned, When, Who};
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;

/// Shortest and longest, in milliseconds; a single number stands for both.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Span {
    One(u64),
    Two([u64; 2]),
}

impl Span {
    fn range(self) -> (u64, u64) {
        match self {
            Self::One(ms) => (ms, ms),
            Self::Two([min, max]) => (min.min(max), min.max(max)),
        }
    }
}

/// `[[event]]`: something that is done to the committee.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sim::scenario::file) struct EventRow {
    /// When, in milliseconds. Either this or `every_ms`.
    at_ms: Option<u64>,
    /// Pause between two times, in milliseconds: a number, or [shortest, longest].
    every_ms: Option<Span>,
    /// When the first pause begins. Default 0.
    #[serde(default)]
    from_ms: u64,
    /// No more after this. Default: the end.
    until_ms: Option<u64>,
    /// What.
    r#do: Deed,
    /// To whom; the senders of what `silence` and `links` change.
    nodes: Option<Vec<Spanned<u16>>>,
    /// To so many honest nodes instead, drawn each time.
    random: Option<u16>,
    /// The others of `cut`, the receivers of `silence` and `links`. Default: everybody else.
    to: Option<Vec<Spanned<u16>>>,
    /// The sides of `partition`; nodes that are not named are on one together.
    sides: Option<Vec<Vec<Spanned<u16>>>>,
    /// After how long it is undone, in milliseconds: a number, or [shortest, longest]. Default: never.
    for_ms: Option<Span>,
    /// What `links` changes.
    links: Option<LinksTable>,
    /// How far `clock-jump` sets the wall clock forward, or back if negative, in milliseconds.
    ms: Option<i32>,
    /// Stake of validators that `add-validator` adds. Default 1.
    stake: Option<Within<1, 1_000_000_000_000>>,
    /// The rate that `load` sets, in transactions a second.
    per_second: Option<Within<0, 100_000>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Crash,
    Restart,
    LoseDisk,
    Hang,
    Resume,
    Partition,
    Split,
    Heal,
    Cut,
    Silence,
    Links,
    ClockJump,
    Load,
    AddValidator,
    RemoveValidator,
    RekeyValidator,
}

impl EventRow {
    pub fn plan(
        &self,
        size: usize,
        links: Links,
        span: Range<usize>,
        duration_ms: u64,
    ) -> Result<Planned, ScenarioError> {
        let needs = |what, key| ScenarioError::Needs { what, key, span: span.clone() };
        let when = match (self.at_ms, self.every_ms) {
            (Some(at_ms), None) => When::At(at_ms),
            (None, Some(pause)) => {
                let (pause_ms_min, pause_ms_max) = pause.range();
                let until_ms = self.until_ms.unwrap_or(duration_ms);
                When::Every { pause_ms_min, pause_ms_max, from_ms: self.from_ms, until_ms }
            }
            _ => return Err(needs("event", "at_ms` or `every_ms")),
        };
        let who = || match (&self.nodes, self.random) {
            (Some(nodes), None) => Ok(Who::Nodes(nodes_of(nodes, size)?)),
            (None, Some(count)) => Ok(Who::Random(count)),
            _ => Err(needs("event", "nodes` or `random")),
        };
        let to = || match &self.to {
            Some(nodes) => Ok(Who::Nodes(nodes_of(nodes, size)?)),
            None => Ok(Who::Nodes((0..size as u16).collect())),
        };
        let action = match self.r#do {
            Deed::Crash => Action::Crash(who()?),
            Deed::Restart => Action::Restart(who()?),
            Deed::LoseDisk => Action::LoseDisk(who()?),
            Deed::Hang => Action::Hang(who()?),
            Deed::Resume => Action::Resume(who()?),
            Deed::Partition => {
                let sides = self.sides.as_ref().ok_or_else(|| needs("partition", "sides"))?;
                Action::Partition(sides.iter().map(|side| nodes_of(side, size)).collect::<Result<_, _>>()?)
            }
            Deed::Split => Action::Split,
            Deed::Heal => Action::Heal,
            Deed::Cut => Action::Cut(who()?, to()?),
            Deed::Silence => Action::Silence(who()?, to()?),
            Deed::Links => {
                let table = self.links.as_ref().ok_or_else(|| needs("links", "links"))?;
                Action::Relink(who()?, to()?, table.apply(links))
            }
            Deed::ClockJump => Action::JumpClock(who()?, self.ms.ok_or_else(|| needs("clock-jump", "ms"))?.into()),
            Deed::AddValidator => Action::Membership(Membership::Add(self.stake.map_or(1, |stake| stake.0)), who()?),
            Deed::RemoveValidator => Action::Membership(Membership::Remove, who()?),
            Deed::RekeyValidator => Action::Membership(Membership::Rekey, who()?),
            Deed::Load => {
                let Within(rate) = self.per_second.ok_or_else(|| needs("load", "per_second"))?;
                Action::Load(who()?, rate)
            }
        };
        Ok(Planned { when, action, lasts_ms: self.for_ms.map(Span::range) })
    }
}

/// `[[adversary]]`: members that do not keep the rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sim::scenario::file) struct AdversaryRow {
    /// Which.
    nodes: Vec<Spanned<u16>>,
    /// What they do.
    kind: Kind,
    /// Of `equivocator`: all split the committee alike. Default false.
    #[serde(default)]
    coalition: bool,
    /// Of `withholder`: how late it publishes, in microseconds. Default 450,000.
    delay_us: Option<Within<0, 60_000_000>>,
    /// Of `withholder` and `dropper`: chance in a thousand of each peer to be sent what was kept from it. Default 500,
    /// and for `dropper` one in the size of the committee.
    share_permille: Option<Within<1, 1_000>>,
    /// Of `selective-sender`: how many are served. Default 1.
    peers: Option<u16>,
    /// Of `future-rounder`: how many rounds ahead. Default 50.
    ahead_rounds: Option<Within<1, 1_000_000_000>>,
    /// Of `flooder`: messages a second to each peer. Default 200.
    per_second: Option<Within<1, 100_000>>,
    /// Of `twins`: how long a peer is with the same of the two, in milliseconds. Default 1,000.
    switch_ms: Option<Within<1, 3_600_000>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Equivocator,
    Withholder,
    SelectiveSender,
    AncientReferencer,
    FutureRounder,
    VoteLiar,
    Flooder,
    Twins,
    Dropper,
    RemovedTalker,
}

impl AdversaryRow {
    pub fn apply(&self, size: usize, all: &mut Vec<(u16, AdversaryKind)>) -> Result<(), ScenarioError> {
        let kind = match self.kind {
            Kind::Equivocator => AdversaryKind::Equivocator { coalition: self.coalition },
            Kind::Withholder => AdversaryKind::Withholder {
                delay_us: self.delay_us.map_or(450_000, |delay| delay.0),
                share_permille: self.share_permille.map_or(500, |share| share.0),
            },
            Kind::SelectiveSender => AdversaryKind::SelectiveSender { peers: self.peers.unwrap_or(1) },
            Kind::AncientReferencer => AdversaryKind::AncientReferencer,
            Kind::FutureRounder => {
                AdversaryKind::FutureRounder { ahead: self.ahead_rounds.map_or(50, |rounds| rounds.0) }
            }
            Kind::VoteLiar => AdversaryKind::VoteLiar,
            Kind::Flooder => AdversaryKind::Flooder { per_second: self.per_second.map_or(200, |rate| rate.0) },
            Kind::Twins => AdversaryKind::Twins { switch_ms: self.switch_ms.map_or(1_000, |switch| switch.0) },
            Kind::RemovedTalker => AdversaryKind::RemovedTalker,
            Kind::Dropper => AdversaryKind::Dropper { share_permille: self.share_permille.map_or(0, |share| share.0) },
        };
        all.extend(nodes_of(&self.nodes, size)?.into_iter().map(|node| (node, kind)));
        Ok(())
    }
}

/// `[mix]`: storms of random faults, each followed by a calm. Times in milliseconds: a number, or [shortest, longest].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::sim::scenario::file) struct MixTable {
    /// Kinds of faults; `amnesia` only while no more than f are faulty with it. Default: all but `membership`.
    faults: Option<Vec<FaultName>>,
    /// How long a storm takes. Default [2,000, 15,000].
    storm_ms: Option<Span>,
    /// Pause between two faults. Default [50, 2,000].
    pause_ms: Option<Span>,
    /// How long a fault lasts. Default [0, 4,000].
    lasts_ms: Option<Span>,
    /// How long the calm takes; more than `liveness_ms`. Default 12,000.
    calm_ms: Option<Within<1, 3_600_000>>,
    /// Most adversaries, of random kinds; never more than f. Default 0.
    adversaries_max: Option<u16>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FaultName {
    Crash,
    PowerCut,
    Amnesia,
    Hang,
    Partition,
    Cut,
    Silence,
    BadLinks,
    ClockJump,
    Burst,
    Membership,
}

impl MixTable {
    pub fn mix(&self, faulty_max: u64) -> Mix {
        let usual = Mix::default();
        let faults = self.faults.as_ref().map(|names| names.iter().map(|name| name.fault()).collect());
        let adversaries_max = u64::from(self.adversaries_max.unwrap_or(0)).min(faulty_max) as u16;
        Mix {
            faults: faults.unwrap_or(usual.faults),
            storm_ms: self.storm_ms.map_or(usual.storm_ms, Span::range),
            pause_ms: self.pause_ms.map_or(usual.pause_ms, Span::range),
            lasts_ms: self.lasts_ms.map_or(usual.lasts_ms, Span::range),
            calm_ms: self.calm_ms.map_or(usual.calm_ms, |calm| calm.0),
            adversaries_max,
            adversary_kinds: usual.adversary_kinds,
        }
    }
}

impl FaultName {
    fn fault(self) -> Fault {
        match self {
            Self::Crash => Fault::Crash,
            Self::PowerCut => Fault::PowerCut,
            Self::Amnesia => Fault::Amnesia,
            Self::Hang => Fault::Hang,
            Self::Partition => Fault::Partition,
            Self::Cut => Fault::Cut,
            Self::Silence => Fault::Silence,
            Self::BadLinks => Fault::BadLinks,
            Self::ClockJump => Fault::ClockJump,
            Self::Burst => Fault::Burst,
            Self::Membership => Fault::Membership,
        }
    }
}
