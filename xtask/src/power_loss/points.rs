//! The disks that power cuts could have left, one for each point of a record, each mounted and read by the code that a node
//! starts with. As many at a time as there are cores, and in memory: what they must show is on no disk of this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::DISK_BYTES;
use super::write_log::{Disk, Entry, Fate, Lot};
use crate::console::duration;
use crate::failure::Failure;
use crate::test_binaries::{TestBinaries, TestBinary};

/// A file system in memory, where Linux has one.
const MEMORY: &str = "/dev/shm";
const UNMOUNT_ATTEMPTS: u32 = 100;
/// Points that have to be tried before it is said how long one takes: the first ones are made before any has ended.
const WARM_UP: usize = 20;
/// A run with fewer points had no load to speak of.
const POINTS_MIN: usize = 100;
/// Points between two words about them.
const EACH_SAID: usize = 500;

/// What a power cut left.
struct Left<'a> {
    point: usize,
    image: Vec<u8>,
    acknowledged: &'a str,
}

/// How points are tried, and where.
pub struct Trial<'a> {
    /// With the test that reads.
    pub binaries: &'a TestBinaries,
    /// Of them, the one.
    pub program: &'a TestBinary,
    /// Where a disk that failed is kept.
    pub folder: &'a Path,
    /// Of what becomes of writes that no flush had made durable.
    pub seed: u64,
    /// Of all points; those that do not fit are left out evenly.
    pub limit: Duration,
}

impl Trial<'_> {
    /// The first failure, with how to see it again.
    pub fn run(&self, entries: &[Entry]) -> Result<Option<String>, Failure> {
        let places = std::thread::available_parallelism().map_or(1, usize::from);
        let places = (0..places).map(Place::new).collect::<Result<Vec<_>, _>>()?;
        let (tried, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let (give, take) = sync_channel(0);
        let take = Mutex::new(take);
        let progress = std::thread::scope(|scope| {
            for place in &places {
                scope.spawn(|| self.recover_all(place, &take, &tried, &failed));
            }
            self.cut_all(entries, give, &tried, &failed)
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() && progress.points < POINTS_MIN {
            let what = format!("{} crash points are too few: the load did next to nothing", progress.points);
            return Err(Failure::new(what, "take more `--load-seconds`"));
        }
        if failed.is_none() {
            let Progress { points, fate, took } = progress;
            println!(
                "power: {} of {points} crash points, nothing acknowledged lost; of writes that no flush had made durable {} were \
                 kept, {} dropped, {} torn ({}, seed {})",
                tried.into_inner(),
                fate.kept,
                fate.dropped,
                fate.torn,
                duration(took),
                self.seed,
            );
        }
        Ok(failed)
    }

    /// Makes the disks and gives them away. All of them if there is time, else every second, third, …: those before tell how long
    /// one takes.
    fn cut_all<'a>(
        &self,
        entries: &'a [Entry],
        give: SyncSender<Left<'a>>,
        tried: &AtomicUsize,
        failed: &Mutex<Option<String>>,
    ) -> Progress {
        let acknowledged = marks(entries);
        let points: Vec<_> =
            acknowledged.iter().enumerate().filter_map(|(at, said)| said.map(|said| (at, said))).collect();
        let (mut disk, mut fate, started) = (Disk::new(entries, DISK_BYTES), Fate::default(), Instant::now());
        let (mut at, mut step, mut said) = (0, 1, 0);
        while let Some(&(point, acknowledged)) = points.get(at) {
            let mut lot = Lot(self.seed ^ (point as u64) << 20);
            let (image, one) = disk.cut_after(point, &mut lot);
            fate += one;
            let left = Left { point, image, acknowledged };
            if failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() || give.send(left).is_err() {
                break;
            }
            let tried = tried.load(Ordering::Relaxed);
            if tried >= WARM_UP {
                let left = self.limit.saturating_sub(started.elapsed());
                let affordable = (left.as_secs_f64() / (started.elapsed().as_secs_f64() / tried as f64)).max(1.0);
                step = step.max(((points.len() - at) as f64 / affordable).ceil() as usize);
            }
            at += step;
            if tried / EACH_SAID > said {
                said = tried / EACH_SAID;
                println!("power: {tried} crash points of {}, {}", points.len(), duration(started.elapsed()));
            }
        }
        Progress { points: points.len(), fate, took: started.elapsed() }
    }

    fn recover_all(
        &self,
        place: &Place,
        take: &Mutex<Receiver<Left>>,
        tried: &AtomicUsize,
        failed: &Mutex<Option<String>>,
    ) {
        loop {
            let left = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Left { point, image, acknowledged }) = left else { return };
            let Err(words) = self.recover(place, &image, acknowledged) else {
                tried.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            println!("{words}");
            let kept = self.folder.join("crash.img");
            let kept = match std::fs::write(&kept, &image) {
                Ok(()) => format!("see {}", kept.display()),
                Err(error) => format!("{}: {error}", kept.display()),
            };
            let seed = self.seed;
            let told = format!("power: seed {seed}, point {point}, acknowledged {acknowledged}: {kept}");
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(told);
        }
    }

    /// Mounts a disk and reads it as a node would. What the test said, if it failed.
    fn recover(&self, place: &Place, image: &[u8], said: &str) -> Result<(), String> {
        let path = place.file();
        std::fs::write(&path, image).map_err(|error| format!("{}: {error}", path.display()))?;
        let mounted = Mounted::new(&path, &place.0)?;
        let mut command = self.binaries.command(self.program);
        command.args(["--ignored", "--exact", "power_loss::recover", "--nocapture"]);
        command.env("STELE_POWER_DIR", mounted.0.join("stele")).env("STELE_POWER_ACKNOWLEDGED", said);
        let output = command.output().map_err(|error| error.to_string())?;
        let words = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // A program without that test passes as well.
        if output.status.success() && words.contains("recovered ") { Ok(()) } else { Err(words) }
    }
}

struct Progress {
    points: usize,
    fate: Fate,
    took: Duration,
}

/// A folder to mount disks at, one after the other.
struct Place(PathBuf);

impl Place {
    fn new(number: usize) -> Result<Self, Failure> {
        let memory = Path::new(MEMORY);
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("stele-power-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|error| Failure::io(format!("making {}", folder.display()), &error))?;
        Ok(Self(folder))
    }

    fn file(&self) -> PathBuf {
        self.0.with_extension("img")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.file());
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The last mark of acknowledgements at or before each entry, from the first to the end of the load.
fn marks(entries: &[Entry]) -> Vec<Option<&str>> {
    let mut last = None;
    let upto = entries.iter().map(|entry| {
        if let Entry::Mark(text) = entry {
            // The kernel sets one of its own where the record ends.
            let counts = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
            last = counts.then_some(text.as_str());
        }
        last
    });
    upto.collect()
}

/// A disk's file, mounted until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(image: &Path, at: &'a Path) -> Result<Self, String> {
        let output = Command::new("mount").args(["-o", "loop"]).arg(image).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(at)),
            Ok(output) => Err(format!("mount: {} (it needs root)", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("mount: {error}")),
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // The kernel may hold a file for a moment after the process that had it open.
        for _ in 0..UNMOUNT_ATTEMPTS {
            let unmounted = Command::new("umount").arg(self.0).stderr(Stdio::null()).status();
            if unmounted.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("power: {} stays mounted", self.0.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_point_knows_what_was_acknowledged_before_it() {
        let mark = |text: &str| Entry::Mark(text.to_owned());
        let write = Entry::Write { at: 0, data: Vec::new(), flush: true, fua: false };
        let entries = [
            write.clone(),
            mark("0,0"),
            write.clone(),
            mark("1,0"),
            write.clone(),
            mark(super::super::ALL_DONE),
            write,
        ];
        assert_eq!(marks(&entries), [None, Some("0,0"), Some("0,0"), Some("1,0"), Some("1,0"), None, None]);
    }
}
