//! The thread that moves packets between interfaces: reads what hosts send, asks the direction what becomes of it, and
//! writes it when its time has come.

use crate::path::Direction;
use crate::tun::MTU;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Packets that are read from one interface before the others have their turn.
const TURN_PACKETS: usize = 64;
/// Offset of the destination in an IPv4 header; its last byte is the host.
const DESTINATION: std::ops::Range<usize> = 16..20;

/// What the relay has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that went out towards a host.
    pub delivered: u64,
    /// Packets that a path lost, dropped or cut.
    pub dropped: u64,
    /// Delivered packets that were more than a millisecond late, because this process had no CPU time.
    pub late: u64,
    /// The latest of them.
    pub latest: Duration,
}

/// What the relay and whoever changes paths have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    hosts: usize,
    directions: Vec<Direction>,
    pub(crate) counts: Counts,
}

impl Shared {
    pub(crate) fn new(hosts: usize, seed: u64) -> Arc<Self> {
        let directions = (0..hosts * hosts).map(|number| Direction::new(seed, number as u64)).collect();
        Arc::new(Self { state: Mutex::new(State { hosts, directions, counts: Counts::default() }) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl State {
    pub(crate) fn direction(&mut self, from: usize, to: usize) -> &mut Direction {
        assert!(from < self.hosts && to < self.hosts, "there are {} hosts", self.hosts);
        &mut self.directions[from * self.hosts + to]
    }
}

/// A packet on its way; the earliest is the greatest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrives: Reverse<Duration>,
    /// Packets of one instant keep their order.
    number: Reverse<u64>,
    to: usize,
    packet: Vec<u8>,
}

/// See the module. The interfaces are those of the hosts in order, and last that of the outside.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) interfaces: Vec<File>,
    /// The last byte of an address is the index of its interface plus one.
    pub(crate) shared: Arc<Shared>,
    /// Becomes readable when the relay is to end.
    pub(crate) stop: OwnedFd,
}

impl Relay {
    /// Runs until it is told to stop.
    pub(crate) fn run(self) {
        let start = Instant::now();
        let mut flights: BinaryHeap<Flight> = BinaryHeap::new();
        let mut number = 0;
        let mut buffer = vec![0; MTU as usize];
        let mut readable = Vec::new();
        loop {
            let wait = flights.peek().map(|first| first.arrives.0.saturating_sub(start.elapsed()));
            let Ok(stopped) = self.wait(wait, &mut readable) else { return };
            if stopped {
                return;
            }
            for from in readable.drain(..) {
                for _ in 0..TURN_PACKETS {
                    let mut interface = &self.interfaces[from];
                    let Ok(bytes) = interface.read(&mut buffer) else { break };
                    let packet = &buffer[..bytes];
                    let Some(to) = self.destination(packet) else { continue };
                    for arrives in self.fate(start.elapsed(), from, to, bytes).into_iter().flatten() {
                        number += 1;
                        let (arrives, number) = (Reverse(arrives), Reverse(number));
                        flights.push(Flight { arrives, number, to, packet: packet.to_vec() });
                    }
                }
            }
            self.deliver(start, &mut flights);
        }
    }

    /// Waits for packets, a due delivery, or the end, which is `true`.
    fn wait(&self, longest: Option<Duration>, readable: &mut Vec<usize>) -> rustix::io::Result<bool> {
        let mut polled: Vec<_> =
            self.interfaces.iter().map(|interface| PollFd::new(interface, PollFlags::IN)).collect();
        polled.push(PollFd::new(&self.stop, PollFlags::IN));
        let longest = longest.map(|longest| Timespec::try_from(longest).unwrap_or_default());
        match poll(&mut polled, longest.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error),
        }
        readable.extend((0..self.interfaces.len()).filter(|&index| !polled[index].revents().is_empty()));
        Ok(polled.last().is_some_and(|stop| !stop.revents().is_empty()))
    }

    /// The interface of an IPv4 packet's destination; everything else is not carried.
    fn destination(&self, packet: &[u8]) -> Option<usize> {
        let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let last = *packet.get(DESTINATION).filter(|_| is_ipv4)?.last()?;
        let outside = self.interfaces.len() - 1;
        match usize::from(last) {
            crate::emulation::OUTSIDE => Some(outside),
            host => host.checked_sub(1).filter(|host| *host < outside),
        }
    }

    fn fate(&self, now: Duration, from: usize, to: usize, bytes: usize) -> [Option<Duration>; 2] {
        let outside = self.interfaces.len() - 1;
        if from == outside || to == outside {
            return [Some(now), None];
        }
        let mut state = self.shared.lock();
        let arrivals = state.direction(from, to).carry(now, bytes);
        if arrivals[0].is_none() {
            state.counts.dropped += 1;
        }
        arrivals
    }

    fn deliver(&self, start: Instant, flights: &mut BinaryHeap<Flight>) {
        let now = start.elapsed();
        let mut done = Counts::default();
        while let Some(flight) = flights.peek()
            && flight.arrives.0 <= now
        {
            let late = now - flight.arrives.0;
            done.late += u64::from(late > Duration::from_millis(1));
            done.latest = done.latest.max(late);
            done.delivered += 1;
            let flight = flights.pop().expect("it was just seen");
            // A host that does not take it, as one without room would not: lost, as on any network.
            let _ = (&self.interfaces[flight.to]).write(&flight.packet);
        }
        let mut state = self.shared.lock();
        state.counts.delivered += done.delivered;
        state.counts.late += done.late;
        state.counts.latest = state.counts.latest.max(done.latest);
    }
}
