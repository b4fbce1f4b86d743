//! The signer, the node and the time service, each as a user of its own, and what their health means: READY is told, a release
//! on trial is blessed or given up, and the watchdog is fed as long as the node makes progress.

use crate::blessing;
use crate::clock::{self, Clock};
use crate::configuration::{self, NODE_USER, SIGNER_USER};
use crate::disks::Disk;
use crate::health::{self, Health};
use crate::kernel_modules::{Modules, Part};
use crate::pin::Pin;
use crate::state::FOLDER;
use crate::sticks::{News, Sticks};
use crate::watchdog::Watchdog;
use crate::{Fault, journal, mounts, restart, say, uptime_s, vendor};
use image_formats::boot_line::{BootLine, Flavour};
use image_formats::machine::Machine;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// The node and the signer.
const PROGRAM: &str = "/usr/bin/stele";
/// Time for a node to answer for the first time: it may have a long log to read.
const START: Duration = Duration::from_secs(600);
/// Time without an answer after which the watchdog is no longer fed.
const SILENCE: Duration = Duration::from_secs(15);
/// Time in which a release on trial must be found good.
const TRIAL: Duration = Duration::from_secs(240);
/// Longest wait between two starts of a service that ends.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Exit status of a signer whose token did not accept the PIN. A token locks after a few of those.
const PIN_REFUSED: i32 = 49;
/// How long a node waits for its signer, which is started at the same time and may find a slow token.
const SIGNER_PATIENCE_S: &str = "60";
/// When what a start can do without is done, though the node is not ready yet.
const SETTLED: Duration = Duration::from_secs(10);
/// Longest wait for a service that was asked to end.
const STOP: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(100);
/// The lowest priority of a thread.
const LEAST: libc::c_int = 19;

/// A service.
struct Service {
    name: &'static str,
    program: &'static str,
    user: u32,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<i32>,
    pause: Duration,
    due: Instant,
    /// What it reads from a descriptor.
    pin: Option<Pin>,
    /// Whether all that it says goes to the console, and not only what speaks of trouble.
    aloud: bool,
}

impl Service {
    fn new(name: &'static str, program: &'static str, user: u32, arguments: &[&str], aloud: bool) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (process, pause, due, pin) = (None, Duration::from_secs(1), Instant::now(), None);
        Self { name, program, user, arguments, environment: Vec::new(), process, pause, due, pin, aloud }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.arguments).env_clear().current_dir(Path::new(FOLDER).join(self.name));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(pin) = &self.pin {
            pin.hand_to(&mut command);
        }
        command.uid(self.user).gid(self.user).stdin(Stdio::null());
        command
    }

    fn start(&mut self, more: &[&str]) {
        let spawned = self.command().args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        match spawned {
            Ok(mut child) => {
                self.process = i32::try_from(child.id()).ok();
                if let Some(output) = child.stdout.take() {
                    journal::follow(self.name, output, self.aloud);
                }
                if let Some(output) = child.stderr.take() {
                    journal::follow(self.name, output, self.aloud);
                }
            }
            Err(error) => self.ended(&format!("cannot start: {error}")),
        }
    }

    fn ended(&mut self, how: &str) {
        say(format_args!("{} {how}; again in {} s", self.name, self.pause.as_secs()));
        self.process = None;
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Whether a release must prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Not looked yet.
    Unknown,
    /// It is on trial.
    Open,
    /// It has proven itself, now or before.
    Over,
}

/// What a module finds its token by: a vendor's own words, and the configuration of SoftHSM2.
fn token_environment() -> Result<Vec<(String, String)>, Fault> {
    let mut environment = vendor::environment()?;
    let token = Path::new(FOLDER).join("signer/softhsm2.conf");
    if token.exists() {
        environment.push(("SOFTHSM2_CONF".to_owned(), token.display().to_string()));
    }
    Ok(environment)
}

/// Has the kernel read and check the program while the machine gets its state ready, where nobody else needs the processor.
pub fn read_ahead() {
    let read = || {
        // SAFETY: the call takes numbers; 0 is the thread that calls. Where it fails, a start takes a little longer.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LEAST) };
        File::open(PROGRAM).and_then(|mut program| std::io::copy(&mut program, &mut std::io::sink()))
    };
    // Where it fails, so does the start of the services, which says why.
    drop(std::thread::Builder::new().name("read-ahead".into()).spawn(read));
}

/// What only root may open, for the one user who needs it: the signer asks the TPM for its fence and for attestations, the
/// node shows what the firmware measured; a ceremony does both. Where there is no TPM there is neither.
pub fn lend(path: &str, user: u32) -> Result<(), Fault> {
    match std::os::unix::fs::chown(path, Some(user), None) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Fault::system(format!("giving {path} away"))(error)),
        _ => Ok(()),
    }
}

/// Starts them, and never returns but with a fault that only a restart can mend.
pub fn supervise(
    line: &BootLine,
    machine: &Machine,
    disk: &Disk,
    trusted: &[u8; 32],
    mut dog: Watchdog,
    modules: [Modules; 2],
) -> Result<(), Fault> {
    let aloud = line.flavour == Flavour::Dev;
    mounts::folder("/run/stele")?;
    std::os::unix::fs::chown("/run/stele", Some(SIGNER_USER), Some(SIGNER_USER))
        .map_err(Fault::system("giving /run/stele away"))?;
    lend("/dev/tpmrm0", SIGNER_USER)?;
    lend("/sys/kernel/security/tpm0/binary_bios_measurements", NODE_USER)?;
    let folder = |part: &str| format!("{FOLDER}/{part}/{part}.toml");
    let node = ["node", "--config", &folder("node"), "--wait-for-signer", SIGNER_PATIENCE_S];
    let mut services = vec![
        Service::new("signer", PROGRAM, SIGNER_USER, &["signer", "--config", &folder("signer"), "run"], aloud),
        Service::new("node", PROGRAM, NODE_USER, &node, aloud),
    ];
    let mut clock = Clock::new(clock::prepare(&machine.time)?);
    if clock.is_awaited() {
        // It becomes its own user by itself, when it has kept the right to set the clock and no other. It says little, and all of
        // that is of use.
        let words = ["-d", "-F", "1", "-f", clock::CONFIGURATION];
        services.push(Service::new("time", clock::PROGRAM, 0, &words, true));
    }
    services[0].environment = token_environment()?;
    if machine.pin_at_console {
        services[0].pin = Some(Pin::ask(&mut dog)?);
    }
    let guard = Guard::of_machine();
    let answers = health::watch(machine.rpc);
    let started = Instant::now();
    let mut last: Option<(Instant, Health)> = None;
    let (mut ready, mut trial, mut hung, mut certified) = (None, Trial::Unknown, false, false);
    let mut modules = Some(modules);
    // A PIN from the configuration would be the same after a restart, and lock the token: somebody has to come.
    let mut held = false;
    let mut fed = true;
    let mut sticks = Sticks::new(disk, line, trusted, machine);
    loop {
        let refused = reap(&mut services);
        if refused {
            if machine.pin_at_console {
                return Err(pin_refused());
            }
            held = true;
            say(format_args!("STELE HELD: {}", pin_refused()));
        }
        guard.look()?;
        clock.look();
        for service in &mut services {
            let waits = service.user == NODE_USER && clock.is_awaited();
            if !held && !waits && service.process.is_none() && service.due <= Instant::now() {
                let new = service.user == SIGNER_USER && guard.is_to_be_made();
                service.start(if new { &["--init"] } else { &[] });
            }
        }
        let mut answer = match answers.recv_timeout(TICK) {
            Ok(health) => Some(health),
            Err(RecvTimeoutError::Timeout) => None,
            // Whoever asked is gone, which ends in a reset by the watchdog.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(TICK);
                None
            }
        };
        while let Some(health) = answer {
            if health.ready && ready.is_none() {
                ready = Some(Instant::now());
                say(format_args!("STELE READY height={} guest_s={:.2}", health.height, uptime_s()));
            }
            if !certified && health.certified_height > 0 {
                certified = true;
                say(format_args!("STELE CERTIFIED certified_height={}", health.certified_height));
            }
            if trial == Trial::Open && health.ready && health.certified_height > 0 {
                trial = Trial::Over;
                blessing::bless(disk, line.release)?;
                say(format_args!(
                    "STELE BLESSED release={} certified_height={}",
                    line.release, health.certified_height
                ));
            }
            last = Some((Instant::now(), health));
            answer = answers.try_recv().ok();
        }
        if (ready.is_some() || started.elapsed() > SETTLED)
            && let Some(modules) = modules.take()
        {
            load_the_rest(modules);
            trial = if blessing::on_trial(disk, line.release)? { Trial::Open } else { Trial::Over };
        }
        if trial == Trial::Open && started.elapsed() > TRIAL {
            return Err(Fault::Machine(format!(
                "release {} has not proven itself in {} s",
                line.release,
                TRIAL.as_secs()
            )));
        }
        // A release on trial must prove itself before another one takes the place of the one that would be fallen back to.
        if trial == Trial::Over
            && let Some(news) = sticks.news()
        {
            stop(&mut services, &mut dog);
            match news {
                News::Configuration(bundle, device) => {
                    configuration::import(&bundle)?;
                    let serial = bundle.serial;
                    say(format_args!("configuration {serial} from {}: starting again with it", device.display()));
                }
                News::Release(release) => say(format_args!("starting release {release}")),
            }
            restart();
        }
        if let (Some(at), Some(after)) = (ready, machine.hang_after_s)
            && line.flavour == Flavour::Dev
            && !hung
            && at.elapsed() > Duration::from_secs(after)
        {
            hung = true;
            say("STELE HANG the node is stopped, as the configuration says");
            if let Some(process) = services[1].process {
                // SAFETY: the call takes two numbers.
                unsafe { libc::kill(process, libc::SIGSTOP) };
            }
        }
        let gets_on = |(at, health): &(Instant, Health)| health.gets_on && at.elapsed() < SILENCE;
        let alive = last.as_ref().map_or(started.elapsed() < START, gets_on);
        if alive || held {
            dog.feed();
        } else if fed {
            let then =
                if dog.is_armed() { "the watchdog is not fed" } else { "there is no watchdog: restart the machine" };
            say(format_args!("STELE HUNG the node does not answer or does not get on: {then}"));
        }
        fed = alive || held;
    }
}

/// Loads the drivers that a start can do without, beside the services.
fn load_the_rest(modules: [Modules; 2]) {
    let load = move || modules.iter().for_each(|modules| modules.load(Part::All));
    // Without them there are no sticks, and all else works.
    if let Err(error) = std::thread::Builder::new().name("drivers".into()).spawn(load) {
        say(format_args!("drivers of sticks and further disks are not loaded: {error}"));
    }
}

/// Has them end as they should, the node before the signer; not for longer than `STOP` each.
fn stop(services: &mut [Service], dog: &mut Watchdog) {
    for name in ["node", "signer"] {
        let running = |services: &[Service]| services.iter().find(|service| service.name == name)?.process;
        if let Some(process) = running(services) {
            // SAFETY: the call takes two numbers.
            unsafe { libc::kill(process, libc::SIGTERM) };
        }
        let asked = Instant::now();
        while running(services).is_some() && asked.elapsed() < STOP {
            reap(services);
            dog.feed();
            std::thread::sleep(TICK);
        }
    }
}

fn pin_refused() -> Fault {
    Fault::Machine("the token did not accept the PIN: it is not tried again before the next start".into())
}

/// Whether the signer is to make its guard file: on the very first start of a machine, and never again. From the moment in
/// which there is one, a mark says so, and a guard file that is lost is not made anew.
#[derive(Debug)]
struct Guard {
    file: PathBuf,
    mark: PathBuf,
}

impl Guard {
    fn of_machine() -> Self {
        Self { file: Path::new(FOLDER).join("signer/guard"), mark: Path::new(FOLDER).join("guarded") }
    }

    fn is_to_be_made(&self) -> bool {
        !self.mark.exists() && !self.file.exists()
    }

    /// Marks a guard file that was made.
    fn look(&self) -> Result<(), Fault> {
        if self.mark.exists() || !self.file.exists() {
            return Ok(());
        }
        let marked = File::create(&self.mark).and_then(|mark| mark.sync_all());
        marked.map_err(Fault::system("remembering the guard file"))
    }
}

/// Collects whatever has ended: services, and orphans of theirs. Whether one of them ended for its PIN.
fn reap(services: &mut [Service]) -> bool {
    let mut refused = false;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to an integer that lives through the call.
        let process = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        if process <= 0 {
            return refused;
        }
        if let Some(service) = services.iter_mut().find(|service| service.process == Some(process)) {
            let how = if libc::WIFSIGNALED(status) {
                format!("ended by signal {}", libc::WTERMSIG(status))
            } else {
                refused |= service.user == SIGNER_USER && libc::WEXITSTATUS(status) == PIN_REFUSED;
                format!("ended with {}", libc::WEXITSTATUS(status))
            };
            service.ended(&how);
        }
    }
}
