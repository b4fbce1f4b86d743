//! The UDP socket and QUIC endpoint under the mesh and under the clients' side: buffers, datagram size, stateless resets.
//!
//! Tests replace the socket by an in-memory one ([`Wire::Abstract`]); everything above is the same.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

use crate::congestion::DelayConfig;
use crate::error::TransportError;
use crate::limits::{Congestion, DatagramLimits};
use crate::sockopt;

/// What datagrams travel over.
#[derive(Clone)]
pub enum Wire {
    /// A UDP socket bound to this address.
    Udp(SocketAddr),
    /// A socket made by the caller, and a seed for QUIC's own randomness (connection ids, padding): with tokio's paused
    /// clock and one thread, a run is a function of its seeds.
    Abstract(Arc<dyn AsyncUdpSocket>, [u8; 32]),
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(addr) => write!(f, "Udp({addr})"),
            Self::Abstract(..) => f.write_str("Abstract"),
        }
    }
}

/// What a connection is given, by where it leads.
#[derive(Debug, Clone)]
pub(crate) struct Paths<T> {
    pub(crate) network: T,
    pub(crate) loopback: T,
}

impl<T> Paths<T> {
    pub(crate) fn to(&self, address: SocketAddr) -> &T {
        if address.ip().to_canonical().is_loopback() { &self.loopback } else { &self.network }
    }

    pub(crate) fn map<U>(&self, make: impl Fn(&T) -> U) -> Paths<U> {
        Paths { network: make(&self.network), loopback: make(&self.loopback) }
    }
}

/// What both endpoints and all paths have in common, and the largest datagrams and first windows of each path.
pub(crate) fn transport_configs(
    datagrams: DatagramLimits,
    congestion: Congestion,
    initial_window_bytes: u32,
    set: impl Fn(&mut quinn::TransportConfig),
) -> Paths<Arc<quinn::TransportConfig>> {
    let bytes = Paths { network: datagrams.network_bytes_max, loopback: datagrams.loopback_bytes_max };
    bytes.map(|bytes| {
        let mut discovery = quinn::MtuDiscoveryConfig::default();
        discovery.upper_bound(*bytes);
        // A probe counts as under way, so that a window smaller than a probe would stop everything else.
        let window = u64::from(initial_window_bytes).max(4 * u64::from(*bytes));
        let factory: Arc<dyn quinn::congestion::ControllerFactory + Send + Sync> = match congestion {
            Congestion::Delay => Arc::new(DelayConfig { initial_window: window }),
            Congestion::NewReno => {
                let mut reno = quinn::congestion::NewRenoConfig::default();
                reno.initial_window(window);
                Arc::new(reno)
            }
            Congestion::Cubic => {
                let mut cubic = quinn::congestion::CubicConfig::default();
                cubic.initial_window(window);
                Arc::new(cubic)
            }
            Congestion::Bbr => {
                let mut bbr = quinn::congestion::BbrConfig::default();
                bbr.initial_window(window);
                Arc::new(bbr)
            }
        };
        let mut config = quinn::TransportConfig::default();
        config
            .initial_rtt(Duration::from_millis(100))
            .mtu_discovery_config(Some(discovery))
            .datagram_receive_buffer_size(None)
            .crypto_buffer_size(16 * 1024)
            .congestion_controller_factory(factory);
        set(&mut config);
        Arc::new(config)
    })
}

/// Binds and starts an endpoint. `reset_secret` keeps stateless reset tokens valid across restarts.
pub(crate) fn open(
    wire: Wire,
    server: Option<quinn::ServerConfig>,
    reset_secret: Option<[u8; 32]>,
    datagrams: DatagramLimits,
    udp_buffer_bytes: u32,
) -> Result<quinn::Endpoint, TransportError> {
    let datagram_bytes_max = datagrams.largest();
    let mut config = match reset_secret {
        Some(secret) => {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
            let mut config = quinn::EndpointConfig::new(Arc::new(key));
            config.cid_generator(|| Box::new(PlainIds));
            config
        }
        None => quinn::EndpointConfig::default(),
    };
    config.max_udp_payload_size(datagram_bytes_max).map_err(|_| TransportError::Limit { name: "datagrams" })?;
    let socket: Arc<dyn AsyncUdpSocket> = match wire {
        Wire::Abstract(socket, seed) => {
            config.rng_seed(Some(seed));
            socket
        }
        Wire::Udp(addr) => {
            let socket = UdpSocket::bind(addr).map_err(|source| TransportError::Bind { addr, source })?;
            sockopt::grow_buffers(&socket, udp_buffer_bytes);
            let inner = TokioRuntime.wrap_udp_socket(socket)?;
            Arc::new(SegmentedSocket { inner, datagram_bytes_max })
        }
    };
    Ok(quinn::Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))?)
}

/// Says goodbye on every connection and waits a moment for the goodbyes to leave.
pub(crate) async fn close(endpoint: &quinn::Endpoint) {
    endpoint.close(crate::error::code::SHUTDOWN, b"shutdown");
    // The connections have been told to go; whether the farewell arrives is not worth more waiting.
    let _ = tokio::time::timeout(Duration::from_millis(500), endpoint.wait_idle()).await;
}

/// Random connection ids without quinn's check of origin, whose key lasts as long as a process: a packet of a connection
/// of an earlier run has to get past it to be answered with a stateless reset.
struct PlainIds;

impl quinn::ConnectionIdGenerator for PlainIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        let mut id = [0; 8];
        aws_lc_rs::rand::fill(&mut id).expect("the system's random source works");
        quinn::ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Hands a burst of datagrams to the kernel in calls of at most 64 KiB, which is what segmentation offload takes.
/// Without it, ten datagrams of 8,900 bytes are refused by the kernel, and to QUIC that looks like a path that swallows
/// large packets.
#[derive(Debug)]
struct SegmentedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    datagram_bytes_max: u16,
}

/// IPv4's largest UDP payload.
const UDP_BYTES_MAX: usize = 65_507;

impl AsyncUdpSocket for SegmentedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(segment) = transmit.segment_size.filter(|_| transmit.contents.len() > UDP_BYTES_MAX) else {
            return self.inner.try_send(transmit);
        };
        // Should a later part not fit the socket's buffer now, the whole burst is tried again: the peer then drops the
        // repeated packets by their numbers.
        for part in transmit.contents.chunks((UDP_BYTES_MAX / segment).max(1) * segment) {
            self.inner.try_send(&Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents: part,
                segment_size: (part.len() > segment).then_some(segment),
                src_ip: transmit.src_ip,
            })?;
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        // quinn multiplies this by the datagram size for each receive buffer; one coalesced datagram has 64 KiB at most.
        (UDP_BYTES_MAX / usize::from(self.datagram_bytes_max) + 1).min(self.inner.max_receive_segments())
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
