//! Channels of an interface that the kernel has: a pair of virtual ones in a network namespace of its own.

use firmware_hal::{Reading, Root, Why};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, unshare_unsafe};
use std::io::ErrorKind;
use std::process::Command;

/// On a thread, since a thread enters a namespace alone. `None` without the right to make one.
fn in_a_namespace<T: Send>(run: impl FnOnce() -> T + Send) -> Option<T> {
    let inside = || {
        // SAFETY: the flag concerns the network alone, not this thread's file descriptors.
        #[allow(unsafe_code)]
        let entered = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
        entered.ok().map(|()| run())
    };
    let outcome = std::thread::scope(|scope| scope.spawn(inside).join());
    let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if outcome.is_none() {
        eprintln!("SKIPPED: needs the right to make a network namespace");
    }
    outcome
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_virtual_pair_gets_the_channels_that_it_is_given_and_refuses_others() {
    in_a_namespace(|| {
        ip("link add one numrxqueues 4 numtxqueues 4 type veth peer name two numrxqueues 4 numtxqueues 4");
        let root = Root::system();
        let rx = || root.number("/ethtool/one/rx").value().copied();
        assert_eq!(root.number("/ethtool/one/rx_max").value(), Some(&4));
        assert_eq!(root.number("/ethtool/one/combined_max").value(), Some(&0));
        let before = rx().unwrap();
        root.write("/ethtool/one/rx", "3").unwrap();
        root.write("/ethtool/two/tx", "3").unwrap();
        assert_eq!(rx(), Some(3));
        assert_eq!(root.write("/ethtool/one/rx", "5").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(root.write("/ethtool/one/combined", "1").unwrap_err().kind(), ErrorKind::InvalidInput);
        root.write("/ethtool/one/rx", &before.to_string()).unwrap();
        assert_eq!(rx(), Some(before));
        // A bridge has no channels.
        ip("link add bare type bridge");
        assert_eq!(root.number("/ethtool/bare/rx").reading, Reading::Unknown(Why::Unsupported));
        assert_eq!(root.write("/ethtool/bare/rx", "1").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(root.number("/ethtool/gone/rx").reading, Reading::Unknown(Why::Absent));
        // Whoever has no rights may look.
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).unwrap();
        assert_eq!(rx(), Some(before));
        assert_eq!(root.write("/ethtool/one/rx", "2").unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(rx(), Some(before));
    });
}
