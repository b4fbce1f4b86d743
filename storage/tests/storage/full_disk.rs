//! A real file system that is full, with both backends: the log stops and says why, loses nothing that it accepted, and
//! goes on where there is room again. Skipped where mounting is not permitted.

use std::path::{Path, PathBuf};
use std::process::Command;

use storage::log::check::check;
use storage::log::{Backend, Files, Log, LogError, LogFault, LogOptions};

const IDENTITY: [u8; 32] = [6; 32];

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "stele-test"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[test]
fn a_full_file_system_stops_the_log_and_loses_nothing() {
    for backend in [Backend::IoUring, Backend::Threaded] {
        let dir = tempfile::tempdir().unwrap();
        let Some(disk) = SmallDisk::mount(dir.path()) else {
            println!("skipped: a file system cannot be mounted here");
            return;
        };
        let mut options = LogOptions::new(disk.0.join("log"), IDENTITY);
        options.backend = backend;
        options.segment_bytes = 256 << 10;
        options.group_bytes_max = 32 << 10;
        let ballast = disk.0.join("ballast");
        std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();

        let log = Log::open(options.clone(), None, &mut |_| Ok(())).unwrap();
        let mut accepted = 0u64;
        let fault = loop {
            match log.append_quiet(1, &[&accepted.to_le_bytes(), &[7; 3000]]) {
                Ok(_) => accepted += 1,
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault, LogFault::DiskFull);
        drop(log);
        assert!(accepted > 300, "{accepted} records of 3 KB fit 2 MiB but for the segments made ahead");
        let left: Vec<_> = std::fs::read_dir(&options.dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.iter().all(|path| path.extension().is_none_or(|extension| extension != "new")), "{left:?}");

        // Without room it says the same again, if it needs any.
        let mut found = 0u64;
        let mut visit = |record: storage::log::Record| {
            assert_eq!(record.payload[..8], found.to_le_bytes());
            found += 1;
            Ok(())
        };
        match Log::open(options.clone(), None, &mut visit) {
            Ok(_) | Err(LogError::DiskFull { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(found, accepted, "what was accepted before the disk was full is there");
        let checked = check(&Files::inspect(&options.dir).unwrap(), &IDENTITY, &mut |_| Ok(())).unwrap();
        assert_eq!((checked.records, checked.damaged), (accepted, 0));

        std::fs::remove_file(ballast).unwrap();
        let log = Log::open(options, None, &mut |_| Ok(())).unwrap();
        log.append_durable(1, &[b"on it goes"]).unwrap();
    }
}
