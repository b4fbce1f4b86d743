//! Which links count, and what is let in of what comes over them. No clocks and no network: who is to be asked is told to a
//! function, and what came of it comes back.

use super::Admitted;
use super::asking::Heard;
use super::held::Held;
use crate::wire::Request;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use transport::MeshEvent;

/// Before a peer that was not let in is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Asks a peer over a link of this number after a pause.
pub(super) type Ask = Box<dyn Fn(u16, u64, Duration) + Send>;

/// See the module.
pub(super) struct Links {
    admitted: Admitted,
    ask: Ask,
    links: BTreeMap<u16, Link>,
    /// Links that stood so far; tells answers over one from those over the next.
    stood: u64,
    let_in: VecDeque<MeshEvent>,
}

/// A link that stands.
struct Link {
    number: u64,
    admitted: bool,
    held: Held,
    /// What was last said of it.
    refusal: Option<String>,
}

impl Links {
    pub(super) fn new(admitted: Admitted, ask: Ask) -> Self {
        Self { admitted, ask, links: BTreeMap::new(), stood: 0, let_in: VecDeque::new() }
    }

    /// The next event that is let in, of those that were taken.
    pub(super) fn let_in(&mut self) -> Option<MeshEvent> {
        self.let_in.pop_front()
    }

    /// Takes an event: it is let in, or waits, or is dropped. A request that is dropped is declined.
    pub(super) fn take(&mut self, event: MeshEvent) {
        match event {
            MeshEvent::Up { peer } => {
                self.stood += 1;
                let link = Link { number: self.stood, admitted: false, held: Held::default(), refusal: None };
                self.links.insert(peer, link);
                (self.ask)(peer, self.stood, Duration::ZERO);
            }
            MeshEvent::Down { peer, .. } => {
                self.admitted.set(peer, false);
                if self.links.remove(&peer).is_some_and(|link| link.admitted) {
                    self.let_in.push_back(event);
                }
            }
            MeshEvent::Frame { peer, .. } => match self.links.get_mut(&peer) {
                Some(link) if link.admitted => self.let_in.push_back(event),
                Some(link) => link.held.keep(event),
                // After the end of a link frames of it may still come.
                None => {}
            },
            MeshEvent::Request { peer, ref body, .. } => {
                let admitted = self.links.get(&peer).is_some_and(|link| link.admitted);
                // Else two who ask each other would wait for each other.
                if admitted || matches!(Request::parse(body), Ok(Request::Attestation(_))) {
                    self.let_in.push_back(event);
                }
            }
        }
    }

    /// A peer was asked, and this came of it.
    pub(super) fn hear(&mut self, Heard { peer, link: number, outcome }: Heard) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.number == number) else { return };
        match outcome {
            Ok(tpm) => {
                tracing::info!(peer, %tpm, "the peer's machine is let in");
                link.admitted = true;
                self.admitted.set(peer, true);
                self.let_in.push_back(MeshEvent::Up { peer });
                self.let_in.extend(link.held.take());
            }
            Err(refusal) => {
                let refusal = refusal.to_string();
                // Once for each reason: it is asked again and again.
                if link.refusal.as_ref() != Some(&refusal) {
                    tracing::warn!(peer, why = refusal, "the peer's machine is not let in; it is asked again");
                }
                link.refusal = Some(refusal);
                (self.ask)(peer, number, AGAIN_AFTER);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::asking::Refusal;
    use super::*;
    use bytes::Bytes;
    use client::rpc::HexBytes;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex};
    use transport::{Class, LinkFault};

    type Asked = Arc<Mutex<Vec<(u16, u64, Duration)>>>;

    fn links() -> (Links, Admitted, Asked) {
        let admitted = Admitted(Some((0..4).map(|_| AtomicBool::new(false)).collect()));
        let asked = Asked::default();
        let note = Arc::clone(&asked);
        let ask = move |peer, link, pause| note.lock().expect("one thread").push((peer, link, pause));
        (Links::new(admitted.clone(), Box::new(ask)), admitted, asked)
    }

    fn frame(peer: u16, mark: u8) -> MeshEvent {
        MeshEvent::Frame { peer, class: Class::Header, bytes: Bytes::from(vec![mark]) }
    }

    fn down(peer: u16) -> MeshEvent {
        MeshEvent::Down { peer, reason: LinkFault::TimedOut }
    }

    fn good(peer: u16, link: u64) -> Heard {
        Heard { peer, link, outcome: Ok(HexBytes(vec![1])) }
    }

    fn bad(peer: u16, link: u64) -> Heard {
        Heard { peer, link, outcome: Err(Refusal::Fails("register: another one".into())) }
    }

    fn all(links: &mut Links) -> Vec<String> {
        let name = |event: MeshEvent| match event {
            MeshEvent::Up { peer } => format!("up {peer}"),
            MeshEvent::Down { peer, .. } => format!("down {peer}"),
            MeshEvent::Frame { peer, bytes, .. } => format!("frame {} of {peer}", bytes[0]),
            MeshEvent::Request { peer, .. } => format!("request of {peer}"),
        };
        std::iter::from_fn(|| links.let_in()).map(name).collect()
    }

    #[test]
    fn a_peer_counts_from_its_attestation_on_and_what_it_sent_before_comes_after_its_link() {
        let (mut links, admitted, asked) = links();
        links.take(MeshEvent::Up { peer: 2 });
        links.take(frame(2, 7));
        assert_eq!((all(&mut links), admitted.holds(2)), (vec![], false));
        assert_eq!(*asked.lock().expect("one thread"), [(2, 1, Duration::ZERO)]);
        links.hear(good(2, 1));
        links.take(frame(2, 8));
        assert_eq!(all(&mut links), ["up 2", "frame 7 of 2", "frame 8 of 2"]);
        assert!(admitted.holds(2) && !admitted.holds(1));
        links.take(down(2));
        links.take(frame(2, 9));
        assert_eq!((all(&mut links), admitted.holds(2)), (vec!["down 2".into()], false));
    }

    #[test]
    fn a_peer_that_is_refused_is_asked_again_and_nobody_hears_of_its_link() {
        let (mut links, admitted, asked) = links();
        links.take(MeshEvent::Up { peer: 1 });
        links.hear(bad(1, 1));
        links.take(frame(1, 1));
        assert_eq!(asked.lock().expect("one thread").last(), Some(&(1, 1, AGAIN_AFTER)));
        links.hear(bad(1, 1));
        assert_eq!(asked.lock().expect("one thread").len(), 3);
        links.take(down(1));
        assert_eq!((all(&mut links), admitted.holds(1)), (vec![], false), "no end of what had no beginning");
    }

    #[test]
    fn an_answer_over_a_link_that_is_gone_counts_for_nothing() {
        let (mut links, admitted, asked) = links();
        links.take(MeshEvent::Up { peer: 3 });
        links.take(down(3));
        links.hear(good(3, 1));
        assert!(!admitted.holds(3));
        links.take(MeshEvent::Up { peer: 3 });
        // It may have started another image meanwhile.
        links.hear(good(3, 1));
        assert_eq!((all(&mut links), admitted.holds(3)), (vec![], false));
        links.hear(bad(3, 1));
        assert_eq!(asked.lock().expect("one thread").len(), 2, "and nobody is asked for it");
        links.hear(good(3, 2));
        assert_eq!((all(&mut links), admitted.holds(3)), (vec!["up 3".into()], true));
    }
}
