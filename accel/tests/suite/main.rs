//! The engine against public vectors, an independent implementation and the reference; the service against its promises.

#![allow(clippy::unwrap_used)]

mod cases;
mod faults;
mod gpu;
mod gpu_processes;
mod gpu_service;
mod gpu_weierstrass;
mod properties;
mod scripted_device;
mod service;
mod trust;
mod vectors;
mod weierstrass;
