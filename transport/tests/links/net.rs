//! An in-memory network with delay, jitter, loss, duplication, bandwidth and cuts, all drawn from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Instant;

/// The largest UDP payload that the paths of this network carry.
const PATH_BYTES: usize = 1472;

#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub delay: Duration,
    pub jitter: Duration,
    pub loss: f64,
    pub duplication: f64,
    /// Of each directed path; 0 is unlimited.
    pub bits_per_second: f64,
    /// A datagram that would wait longer at the bottleneck is dropped.
    pub queue: Duration,
}

impl Weather {
    pub const CALM: Self = Self {
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
        loss: 0.0,
        duplication: 0.0,
        bits_per_second: 0.0,
        queue: Duration::from_millis(50),
    };
}

#[derive(Debug)]
pub struct Net(Mutex<State>);

#[derive(Debug)]
struct State {
    weather: Weather,
    random: u64,
    sent: u64,
    dropped: u64,
    serial: u64,
    boxes: BTreeMap<SocketAddr, Arc<Mutex<Inbox>>>,
    busy_until: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    cut: BTreeSet<SocketAddr>,
    cut_ways: BTreeSet<(SocketAddr, SocketAddr)>,
    start: Instant,
    /// Of every datagram: when it set out, from where to where, how long it was and when its copies arrive.
    trace: DefaultHasher,
}

#[derive(Debug, Default)]
struct Inbox {
    datagrams: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl Net {
    pub fn new(seed: u64, weather: Weather) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            weather,
            random: seed,
            sent: 0,
            dropped: 0,
            serial: 0,
            boxes: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            cut: BTreeSet::new(),
            cut_ways: BTreeSet::new(),
            start: Instant::now(),
            trace: DefaultHasher::new(),
        })))
    }

    /// A socket at `me`; whatever had that address before hears nothing any more.
    pub fn socket(self: &Arc<Self>, me: SocketAddr) -> Arc<Socket> {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        self.0.lock().unwrap().boxes.insert(me, inbox.clone());
        Arc::new(Socket { net: self.clone(), me, inbox })
    }

    /// Drops whatever goes to or comes from `address`.
    pub fn cut(&self, address: SocketAddr) {
        self.0.lock().unwrap().cut.insert(address);
    }

    pub fn heal(&self, address: SocketAddr) {
        self.0.lock().unwrap().cut.remove(&address);
    }

    /// Drops whatever goes from one address to another, or no longer.
    pub fn cut_way(&self, from: SocketAddr, to: SocketAddr, cut: bool) {
        let ways = &mut self.0.lock().unwrap().cut_ways;
        if cut {
            ways.insert((from, to))
        } else {
            ways.remove(&(from, to))
        };
    }

    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.0.lock().unwrap().weather);
    }

    /// A digest of all datagrams so far, what became of them included. Their contents are encrypted under random keys.
    pub fn trace(&self) -> u64 {
        self.0.lock().unwrap().trace.finish()
    }

    /// Datagrams sent and, of those, dropped.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.0.lock().unwrap();
        (state.sent, state.dropped)
    }
}

impl State {
    /// SplitMix64, in [0, 1).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    fn carry(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let weather = self.weather;
        self.sent += 1;
        let lost = self.draw() < weather.loss;
        let cut = self.cut.contains(&from) || self.cut.contains(&to) || self.cut_ways.contains(&(from, to));
        (self.start.elapsed(), from, to, datagram.len()).hash(&mut self.trace);
        let Some(inbox) = self.boxes.get(&to).cloned().filter(|_| !lost && !cut && datagram.len() <= PATH_BYTES) else {
            self.dropped += 1;
            return;
        };
        let now = Instant::now();
        let mut departs = now;
        if weather.bits_per_second > 0.0 {
            let busy = self.busy_until.entry((from, to)).or_insert(now);
            departs = now.max(*busy);
            if departs - now > weather.queue {
                self.dropped += 1;
                return;
            }
            departs += Duration::from_secs_f64((datagram.len() + 28) as f64 * 8.0 / weather.bits_per_second);
            *busy = departs;
        }
        let copies = 1 + u32::from(self.draw() < weather.duplication);
        for _ in 0..copies {
            let arrives = departs + weather.delay + weather.jitter.mul_f64(self.draw());
            self.serial += 1;
            (arrives - self.start).hash(&mut self.trace);
            inbox.lock().unwrap().datagrams.insert((arrives, self.serial), (from, datagram.to_vec()));
            let inbox = inbox.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(arrives).await;
                let waker = inbox.lock().unwrap().waker.take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            });
        }
    }
}

#[derive(Debug)]
pub struct Socket {
    net: Arc<Net>,
    me: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.net.0.lock().unwrap();
        for datagram in transmit.contents.chunks(transmit.segment_size.unwrap_or(transmit.contents.len())) {
            state.carry(self.me, transmit.destination, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (mut inbox, now) = (self.inbox.lock().unwrap(), Instant::now());
        let mut count = 0;
        while count < bufs.len().min(meta.len())
            && let Some(due) = inbox.datagrams.first_entry().filter(|first| first.key().0 <= now)
        {
            let (from, datagram) = due.remove();
            bufs[count][..datagram.len()].copy_from_slice(&datagram);
            meta[count] = RecvMeta::default();
            (meta[count].addr, meta[count].len, meta[count].stride) = (from, datagram.len(), datagram.len());
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        inbox.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.me)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
