//! Every bound of this crate in one place: what each queue, window and timer is for, its unit, default and range.
//!
//! The largest memory that one peer can make this process hold is [`MeshLimits::receive_window_bytes`] in QUIC, plus one
//! frame in assembly per stream, plus its share of the event lanes ([`EventLimits`]).

use std::time::Duration;

use crate::error::TransportError;

const KIB: u32 = 1024;
const MIB: u32 = 1024 * 1024;

/// A bound on a queue of frames. Whichever is reached first makes it full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Frames waiting.
    pub frames: u32,
    /// Bytes waiting, those being written included.
    pub bytes: u32,
}

/// Bounds of one class of frames between validators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimits {
    /// The longest frame, bytes. Both ends must agree: a longer one costs its sender the connection.
    pub frame_bytes_max: u32,
    /// The queue towards each peer.
    pub queue: QueueLimits,
}

/// How many handshakes are let in. See `admission.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Handshakes in progress at once. From the half of it on, an address must first prove itself with a retry token.
    pub in_progress: u32,
    /// Handshakes that one address (IPv6: one /64) may start in a burst.
    pub burst: u32,
    /// Handshakes a second that one address may sustain.
    pub per_second: u32,
    /// Addresses remembered at once.
    pub addresses: u32,
    /// A handshake that has not finished by then is dropped.
    pub timeout: Duration,
}

/// The congestion controller of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// Takes queueing for congestion and loss for loss, keeps its rate under random loss and queues short. For links
    /// between known peers.
    #[default]
    Delay,
    /// RFC 9438. Collapses under random loss, is fair to others.
    Cubic,
    /// RFC 9002's own. Collapses under random loss, too.
    NewReno,
    /// BBR v1: keeps its rate under random loss, overfills queues. For lossy long-distance links.
    Bbr,
}

/// The largest UDP payloads that path discovery may try, bytes; each 1200 to 65,507.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramLimits {
    /// Over networks. Default 1,452, which Ethernet carries; 8,952 where all of the path has jumbo frames. Larger than the
    /// path is safe and slow to start: probes that are swallowed count as under way until given up.
    pub network_bytes_max: u16,
    /// Over loopback. Default 16,000: there a byte costs a third of the CPU time that it costs at 1,452, and
    /// larger ones gain nothing more.
    pub loopback_bytes_max: u16,
}

impl Default for DatagramLimits {
    fn default() -> Self {
        Self { network_bytes_max: 1452, loopback_bytes_max: 16_000 }
    }
}

impl DatagramLimits {
    fn in_range(self) -> bool {
        [self.network_bytes_max, self.loopback_bytes_max].iter().all(|bytes| (1200..=65_507).contains(bytes))
    }

    pub(crate) fn largest(self) -> u16 {
        self.network_bytes_max.max(self.loopback_bytes_max)
    }
}

/// Bounds of the validators' mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshLimits {
    /// Block headers, votes, small things. Default 1 MiB a frame, 4096 frames and 8 MiB queued.
    pub header: ClassLimits,
    /// Payload bodies. Default 8 MiB a frame, 1024 frames and 32 MiB queued.
    pub payload: ClassLimits,
    /// Bulk synchronisation. Default 8 MiB a frame, 256 frames and 32 MiB queued.
    pub sync: ClassLimits,
    /// The longest request body, bytes. Default 64 KiB.
    pub request_bytes_max: u32,
    /// The longest answer, bytes. Default 16 MiB.
    pub answer_bytes_max: u32,
    /// Requests open at once towards a peer, and from it. Default 8.
    pub requests_in_flight: u32,
    /// Bytes of one stream that may be under way unread. Bounds the throughput of a stream to this over the round-trip
    /// time: 2 MiB (the default) is 168 Mbit/s at 100 ms.
    pub stream_window_bytes: u32,
    /// Bytes a second of second copies towards each peer, while the path to it loses packets; 0 is none. Default 1 MiB.
    pub copy_bytes_per_second: u32,
    /// Nothing heard for this long: the link is down. Default 8 s.
    pub idle_timeout: Duration,
    /// How often a silent link is pinged. Default 2 s; must be under a third of `idle_timeout`.
    pub keep_alive: Duration,
    /// A frame begun must make progress within this time. Default 10 s.
    pub frame_stall: Duration,
    /// First and longest pause before dialling again; doubled each time, with a jitter of a quarter. Default 50 ms to 2 s.
    pub reconnect: (Duration, Duration),
    /// Handshakes let in. Default 64 at once, and for each address a burst of 64 and 16 a second.
    pub admission: AdmissionLimits,
    /// Kernel buffer of the UDP socket, each way, bytes; what the system grants may be less. Default 8 MiB.
    pub udp_buffer_bytes: u32,
    /// The datagrams to send.
    pub datagrams: DatagramLimits,
    /// First congestion window, bytes, but never less than four datagrams. Default 128 KiB: links between validators are
    /// provisioned.
    pub initial_window_bytes: u32,
}

impl Default for MeshLimits {
    fn default() -> Self {
        let class = |frame, frames, bytes| ClassLimits { frame_bytes_max: frame, queue: QueueLimits { frames, bytes } };
        Self {
            header: class(MIB, 4096, 8 * MIB),
            payload: class(8 * MIB, 1024, 32 * MIB),
            sync: class(8 * MIB, 256, 32 * MIB),
            request_bytes_max: 64 * KIB,
            answer_bytes_max: 16 * MIB,
            requests_in_flight: 8,
            stream_window_bytes: 2 * MIB,
            copy_bytes_per_second: MIB,
            idle_timeout: Duration::from_secs(8),
            keep_alive: Duration::from_secs(2),
            frame_stall: Duration::from_secs(10),
            reconnect: (Duration::from_millis(50), Duration::from_secs(2)),
            admission: AdmissionLimits {
                in_progress: 64,
                burst: 64,
                per_second: 16,
                addresses: 4096,
                timeout: Duration::from_secs(3),
            },
            udp_buffer_bytes: 8 * MIB,
            datagrams: DatagramLimits::default(),
            initial_window_bytes: 128 * KIB,
        }
    }
}

impl MeshLimits {
    /// What one peer can have under way unread, over all its streams: three long-lived ones, its requests, and our
    /// requests' answers. No stream can fill it alone, so a stalled payload stream never blocks headers.
    pub fn receive_window_bytes(&self) -> u32 {
        let requests = self.requests_in_flight.saturating_mul(self.request_bytes_max.min(self.stream_window_bytes));
        self.requests_in_flight.saturating_add(3).saturating_mul(self.stream_window_bytes).saturating_add(requests)
    }

    pub(crate) fn check(&self) -> Result<(), TransportError> {
        let classes = [self.header, self.payload, self.sync];
        let queues_hold_a_frame = classes.iter().all(|c| c.queue.bytes >= c.frame_bytes_max && c.queue.frames > 0);
        for (name, ok) in [
            ("queue", queues_hold_a_frame),
            ("frame_bytes_max", classes.iter().all(|c| c.frame_bytes_max > 0)),
            ("requests_in_flight", (1..=4096).contains(&self.requests_in_flight)),
            ("stream_window_bytes", self.stream_window_bytes >= 16 * KIB && self.receive_window_bytes() < 1 << 30),
            ("keep_alive", self.keep_alive * 3 < self.idle_timeout),
            ("idle_timeout", self.idle_timeout < Duration::from_secs(3600)),
            ("reconnect", !self.reconnect.0.is_zero() && self.reconnect.0 <= self.reconnect.1),
            ("datagrams", self.datagrams.in_range()),
        ] {
            if !ok {
                return Err(TransportError::Limit { name });
            }
        }
        self.admission.check()
    }
}

impl AdmissionLimits {
    fn check(&self) -> Result<(), TransportError> {
        let ok = self.in_progress > 0 && self.burst > 0 && self.per_second > 0 && self.addresses > 0;
        if ok { Ok(()) } else { Err(TransportError::Limit { name: "admission" }) }
    }
}

/// Bounds of what waits for the process itself, on either endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// Events waiting in each lane. Default 8192.
    pub events: u32,
    /// Bytes waiting in each lane. Default 64 MiB. When full, readers stop and QUIC holds the senders back.
    pub bytes: u32,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { events: 8192, bytes: 64 * MIB }
    }
}

/// Bounds of the clients' endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// The longest frame, either way, bytes. Default 4 MiB.
    pub frame_bytes_max: u32,
    /// The queue towards each session. A session whose queue is full is dropped. Default 8192 frames and 8 MiB.
    pub queue: QueueLimits,
    /// Sessions at once. Default 4096.
    pub sessions: u32,
    /// Sessions of one address at once. Default 1024.
    pub sessions_per_address: u32,
    /// Bytes of one session that may be under way unread. Default 1 MiB.
    pub stream_window_bytes: u32,
    /// Nothing heard for this long: the session is over. Default 30 s.
    pub idle_timeout: Duration,
    /// A frame begun must make progress within this time. Default 10 s.
    pub frame_stall: Duration,
    /// Handshakes let in. Default 256 at once, and for each address a burst of 256 and 64 a second.
    pub admission: AdmissionLimits,
    /// Kernel buffer of the UDP socket, each way, bytes. Default 8 MiB.
    pub udp_buffer_bytes: u32,
    /// The datagrams to send.
    pub datagrams: DatagramLimits,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 4 * MIB,
            queue: QueueLimits { frames: 8192, bytes: 8 * MIB },
            sessions: 4096,
            sessions_per_address: 1024,
            stream_window_bytes: MIB,
            idle_timeout: Duration::from_secs(30),
            frame_stall: Duration::from_secs(10),
            admission: AdmissionLimits {
                in_progress: 256,
                burst: 256,
                per_second: 64,
                addresses: 16_384,
                timeout: Duration::from_secs(5),
            },
            udp_buffer_bytes: 8 * MIB,
            datagrams: DatagramLimits::default(),
        }
    }
}

impl ClientLimits {
    pub(crate) fn check(&self) -> Result<(), TransportError> {
        for (name, ok) in [
            ("frame_bytes_max", self.frame_bytes_max > 0),
            ("queue", self.queue.bytes >= self.frame_bytes_max && self.queue.frames > 0),
            ("sessions", self.sessions > 0 && self.sessions_per_address > 0),
            ("stream_window_bytes", (16 * KIB..1 << 30).contains(&self.stream_window_bytes)),
            ("idle_timeout", self.idle_timeout < Duration::from_secs(3600)),
            ("datagrams", self.datagrams.in_range()),
        ] {
            if !ok {
                return Err(TransportError::Limit { name });
            }
        }
        self.admission.check()
    }
}
