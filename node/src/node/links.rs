//! How a node is reached by the others of its committee.

use crate::config::{CongestionControl, Plan};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use transport::{Congestion, MeshConfig, PeerAddress};

/// Name of the file with the secret behind stateless resets.
const RESET_SECRET: &str = "reset-secret";

/// Random bytes that stay with the data directory: with them peers and clients learn of a restart within a round trip
/// (RFC 9000 §10.3) instead of after the idle timeout.
pub fn reset_secret(plan: &Plan) -> std::io::Result<[u8; 32]> {
    let path = plan.data_dir.join(RESET_SECRET);
    if let Ok(kept) = std::fs::read(&path)
        && let Ok(secret) = kept.try_into()
    {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&secret)?;
    Ok(secret)
}

/// Links to all others of the committee.
pub fn mesh_config(plan: &Plan, reset_secret: [u8; 32]) -> MeshConfig {
    let peers = plan.committee.indices().zip(plan.committee.authorities()).map(|(index, authority)| PeerAddress {
        index: index.0,
        addr: authority.peer_address,
        key: authority.transport_key.clone(),
    });
    let me = plan.own_entry();
    let mut config = MeshConfig::new(plan.me.0, me.peer_address, peers.collect());
    config.limits.copy_bytes_per_second = plan.config.transport.copy_bytes_per_second;
    config.congestion = match plan.config.transport.congestion {
        CongestionControl::Delay => Congestion::Delay,
        CongestionControl::NewReno => Congestion::NewReno,
        CongestionControl::Cubic => Congestion::Cubic,
        CongestionControl::Bbr => Congestion::Bbr,
    };
    config.reset_secret = Some(reset_secret);
    config
}
