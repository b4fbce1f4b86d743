//! What really protects the running process: read from the kernel when asked, not from the configuration.

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource};
use serde::Serialize;
use types::codec::{Decode, DecodeError, Encode, Reader};

/// The protections of a signer process as the kernel has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Protections {
    /// Its process id.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Whether no program that it starts can gain rights (no_new_privs).
    pub no_new_privileges: bool,
    /// Whether a debugger of the same user and core dumps are off (PR_SET_DUMPABLE).
    pub undumpable: bool,
    /// Longest core dump in bytes; none where there is no limit.
    pub core_bytes_max: Option<u64>,
    /// Memory that cannot go into the swap, in KiB.
    pub locked_kib: u64,
    /// All memory that is mapped and touched, in KiB.
    pub resident_kib: u64,
    /// Filters on its system calls: 0 where there are none.
    pub seccomp_filters: u64,
    /// Whether what the filters do not allow fails, and is not only logged: one such call was tried.
    pub seccomp_enforced: bool,
    /// Whether files that are not the signer's are out of reach (Landlock): opening the root directory was tried.
    pub files_confined: bool,
}

impl Protections {
    /// Of this process.
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let root = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let filters = field("Seccomp_filters").max(u64::from(field("Seccomp") == 2));
        Self {
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            no_new_privileges: rustix::thread::no_new_privs().unwrap_or(false),
            undumpable: matches!(rustix::process::dumpable_behavior(), Ok(DumpableBehavior::NotDumpable)),
            core_bytes_max: rustix::process::getrlimit(Resource::Core).current,
            locked_kib: field("VmLck"),
            resident_kib: field("VmRSS"),
            seccomp_filters: filters,
            // Not on the list, without effect, and no program of this process needs it.
            seccomp_enforced: rustix::fs::memfd_create(c"", MemfdFlags::CLOEXEC).err() == Some(Errno::NOSYS),
            files_confined: rustix::fs::open(c"/", root, Mode::empty()).err() == Some(Errno::ACCESS),
        }
    }
}

impl Encode for Protections {
    fn encode(&self, out: &mut Vec<u8>) {
        self.pid.encode(out);
        self.uid.encode(out);
        let flags = [self.no_new_privileges, self.undumpable, self.seccomp_enforced, self.files_confined];
        out.extend(flags.map(u8::from));
        self.core_bytes_max.encode(out);
        self.locked_kib.encode(out);
        self.resident_kib.encode(out);
        self.seccomp_filters.encode(out);
    }
}

impl Decode for Protections {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (pid, uid) = (u32::decode(reader)?, u32::decode(reader)?);
        let mut flag = || match u8::decode(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::UnknownTag { field: "flag", value: tag.into() }),
        };
        let (no_new_privileges, undumpable, seccomp_enforced, files_confined) = (flag()?, flag()?, flag()?, flag()?);
        Ok(Self {
            pid,
            uid,
            no_new_privileges,
            undumpable,
            seccomp_enforced,
            files_confined,
            core_bytes_max: Option::decode(reader)?,
            locked_kib: u64::decode(reader)?,
            resident_kib: u64::decode(reader)?,
            seccomp_filters: u64::decode(reader)?,
        })
    }
}
