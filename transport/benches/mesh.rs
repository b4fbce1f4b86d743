//! Throughput of a mesh link over loopback.
fn main() {}
