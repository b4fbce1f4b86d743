//! Links between validators and with clients. Most run over an in-memory network on a paused clock, so that a run is a
//! function of its seed; one goes over real sockets.
#![allow(clippy::unwrap_used)]

mod clients;
mod cluster;
mod congestion;
mod frames;
mod loopback;
mod mesh;
mod net;
mod recovery;
mod refusals;
mod weather;
