//! Kernel buffers of a UDP socket, beyond the system's default limit where this process may.
#![allow(unsafe_code)]

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Asks for buffers of `bytes` each way: past `net.core.{r,w}mem_max` with `CAP_NET_ADMIN`, up to it otherwise. What is
/// granted is logged and not an error: small buffers cost throughput, not correctness.
pub(crate) fn grow_buffers(socket: &UdpSocket, bytes: u32) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    for (forced, plain, what) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, "receive"), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, "send")]
    {
        if set(socket, forced, bytes).is_err() {
            let _ = set(socket, plain, bytes);
            tracing::debug!(what, bytes, "transport.socket: buffer limited by the system's maximum");
        }
    }
}

fn set(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) -> std::io::Result<()> {
    let size = libc::socklen_t::try_from(size_of_val(&value)).expect("four bytes");
    // SAFETY: the descriptor is open for the life of `socket`; the pointer and size describe `value`, which the kernel
    // only reads during the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, std::ptr::from_ref(&value).cast(), size)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
