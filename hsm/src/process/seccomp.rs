//! The system calls that the signer process may make (seccomp(2), mode filter).
//!
//! An allow-list of what the signer, SoftHSM2 and a module that speaks to a network HSM need: files, memory, threads,
//! sockets, time. Not on it, among others: starting programs (execve), looking into other processes (ptrace,
//! process_vm_*), loading code into the kernel (bpf, init_module), namespaces and mounts, io_uring, keyrings, memfd. What is
//! not allowed fails with ENOSYS, which libraries take for an older kernel and get around, rather than killing the process
//! in the middle of a round. The filter stays for the life of the process. The second place of this crate that needs
//! `unsafe`.
#![allow(unsafe_code)]

use crate::config::SeccompMode;
use std::io;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

#[rustfmt::skip]
const ALLOWED: &[libc::c_long] = &[
    // Files.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_openat, libc::SYS_close, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_lseek,
    libc::SYS_ioctl, libc::SYS_fcntl, libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate,
    libc::SYS_fallocate, libc::SYS_fadvise64, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_mkdirat, libc::SYS_unlinkat,
    libc::SYS_linkat, libc::SYS_readlinkat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_umask, libc::SYS_utimensat,
    libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2,
    // Memory.
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_brk, libc::SYS_madvise,
    libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock, libc::SYS_mlockall, libc::SYS_membarrier,
    // Threads and signals.
    libc::SYS_clone, libc::SYS_clone3, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq,
    libc::SYS_set_tid_address, libc::SYS_futex, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack, libc::SYS_restart_syscall,
    // Itself and the machine.
    libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getppid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid,
    libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_getrlimit,
    libc::SYS_prlimit64, libc::SYS_getrusage, libc::SYS_prctl, libc::SYS_uname, libc::SYS_sysinfo,
    libc::SYS_getrandom, libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep, libc::SYS_gettimeofday, libc::SYS_times,
    // Sockets and waiting: the node's, and those of a module to its HSM.
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_connect, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto, libc::SYS_recvfrom,
    libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_shutdown, libc::SYS_getsockopt, libc::SYS_setsockopt,
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
];

/// Those that newer machines do without.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_OLD: &[libc::c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_rename, libc::SYS_mkdir, libc::SYS_rmdir,
    libc::SYS_unlink, libc::SYS_link, libc::SYS_readlink, libc::SYS_chmod, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll,
    libc::SYS_select, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_arch_prctl, libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[libc::c_long] = &[];

// Classic BPF.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const ERRNO: u32 = 0x0005_0000;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Reads architecture and number of a call, and compares.
fn program(otherwise: u32) -> Vec<libc::sock_filter> {
    // Offsets in struct seccomp_data: the number at 0, the architecture at 4.
    let mut program = vec![step(LOAD, 4, 0, 0), step(JUMP_EQUAL, ARCHITECTURE, 1, 0), step(RETURN, KILL_PROCESS, 0, 0)];
    program.push(step(LOAD, 0, 0, 0));
    for call in ALLOWED.iter().chain(ALLOWED_OLD) {
        program.push(step(JUMP_EQUAL, *call as u32, 0, 1));
        program.push(step(RETURN, ALLOW, 0, 0));
    }
    program.push(step(RETURN, otherwise, 0, 0));
    program
}

/// Puts the filter on this thread and those that it starts from here on. Needs no_new_privs.
pub(super) fn install(mode: SeccompMode) -> io::Result<()> {
    let otherwise = match mode {
        SeccompMode::On => ERRNO | libc::ENOSYS as u32,
        SeccompMode::Log => LOG,
        SeccompMode::Off => return Ok(()),
    };
    let mut filter = program(otherwise);
    let length = u16::try_from(filter.len()).expect("a few hundred steps");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to `length` initialised steps, and both live until the call returns.
    let outcome = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::alone::{Ending, alone};
    use std::process::Command;

    /// The error number of a system call with six zeros for arguments, which no kernel takes for anything.
    fn call(number: libc::c_long) -> i32 {
        // SAFETY: null pointers and the descriptor 0, to calls that read at most; each of them is refused or harmless.
        let outcome = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
        if outcome == -1 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
    }

    fn enforced() {
        rustix::thread::set_no_new_privs(true).expect("any process may");
        install(SeccompMode::On).expect("the kernel has filters");
    }

    #[test]
    fn what_is_not_on_the_list_fails_in_a_filtered_process_and_what_is_goes_on() {
        alone(
            "process::seccomp::tests::what_is_not_on_the_list_fails_in_a_filtered_process_and_what_is_goes_on",
            || {
                enforced();
                for (name, number) in [
                    ("ptrace", libc::SYS_ptrace),
                    ("process_vm_readv", libc::SYS_process_vm_readv),
                    ("process_vm_writev", libc::SYS_process_vm_writev),
                    ("pidfd_getfd", libc::SYS_pidfd_getfd),
                    ("bpf", libc::SYS_bpf),
                    ("perf_event_open", libc::SYS_perf_event_open),
                    ("init_module", libc::SYS_init_module),
                    ("kexec_load", libc::SYS_kexec_load),
                    ("unshare", libc::SYS_unshare),
                    ("setns", libc::SYS_setns),
                    ("mount", libc::SYS_mount),
                    ("chroot", libc::SYS_chroot),
                    ("io_uring_setup", libc::SYS_io_uring_setup),
                    ("add_key", libc::SYS_add_key),
                    ("keyctl", libc::SYS_keyctl),
                    ("memfd_create", libc::SYS_memfd_create),
                    ("userfaultfd", libc::SYS_userfaultfd),
                    ("setuid", libc::SYS_setuid),
                    ("fchownat", libc::SYS_fchownat),
                ] {
                    assert_eq!(call(number), libc::ENOSYS, "{name}");
                }
                let started = Command::new("/bin/true").spawn().expect_err("no program is started");
                assert_eq!(started.raw_os_error(), Some(libc::ENOSYS));

                assert_eq!(call(libc::SYS_getpid), 0);
                let file = tempfile::NamedTempFile::new().expect("files are made");
                std::fs::write(file.path(), "written").expect("files are written");
                assert_eq!(std::thread::spawn(|| call(libc::SYS_ptrace)).join().ok(), Some(libc::ENOSYS));
            },
        );
    }

    #[test]
    fn a_filter_that_only_logs_lets_through() {
        alone("process::seccomp::tests::a_filter_that_only_logs_lets_through", || {
            rustix::thread::set_no_new_privs(true).expect("any process may");
            install(SeccompMode::Log).expect("the kernel has filters");
            assert!(rustix::fs::memfd_create(c"", rustix::fs::MemfdFlags::CLOEXEC).is_ok());
        });
    }

    // The old way into the kernel has numbers of its own: 11 is execve there.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_call_of_another_architecture_kills() {
        let ending = crate::process::alone::ending(
            "process::seccomp::tests::a_call_of_another_architecture_kills",
            || {
                enforced();
                // SAFETY: getpid of the 32-bit interface, which touches no memory; the registers that it may change are told.
                unsafe {
                    std::arch::asm!("int 0x80", inout("eax") 20 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                }
            },
        );
        // A kernel without the 32-bit interface ends it for that.
        assert!(matches!(ending, Ending::Signal(libc::SIGSYS | libc::SIGSEGV)), "{ending:?}");
    }
}
