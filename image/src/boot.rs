//! Booting a disk in QEMU: firmware, disk, network, watchdog, and where asked for a TPM and Secure Boot. Acceleration is used
//! where it works, which is found out by booting: a device node alone says nothing.

mod console;

use crate::ending;
use crate::failure::Failure;
use console::Console;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long firmware and kernel may take before the first line of init under acceleration.
const PROBE: Duration = Duration::from_secs(20);

/// The processor that is emulated: all that QEMU can, but for the promise that copying and filling byte by byte are fast.
/// The kernel would believe it and clear each page by 4,096 translated steps: 0.7 s of a start.
const TRANSLATED: &str = "max,-erms,-fsrm";

/// How instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By translation.
    Tcg,
}

impl Accel {
    /// As QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// A machine to be.
#[derive(Clone, Debug)]
pub struct Emulation {
    /// The disk.
    pub disk: PathBuf,
    /// A folder for what the machine keeps: firmware variables, the TPM's state.
    pub folder: PathBuf,
    /// Whether there is a TPM.
    pub tpm: bool,
    /// Whether there is a watchdog.
    pub watchdog: bool,
    /// Firmware variables with keys; Secure Boot is then enforced.
    pub secure_boot: Option<PathBuf>,
    /// What its network card is connected to.
    pub network: Network,
    /// A file in which every write to the disk is recorded, in the order in which it was completed, with the flushes.
    pub write_log: Option<PathBuf>,
    /// Whether a restart ends the emulation.
    pub once: bool,
    /// What else there is, in QEMU's own words.
    pub more: Vec<String>,
}

/// What a machine's network card is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// QEMU's own network, with ports of the host that lead to ports of the machine, for TCP.
    User(Vec<(u16, u16)>),
    /// A TAP interface of the host.
    Tap(String),
    /// Nothing: the cable is out.
    Unplugged,
    /// There is no card.
    Absent,
}

/// A machine that runs. Ends with this value, and with the thread that started it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    tpm: Option<Child>,
    console: Console,
    monitor: PathBuf,
    /// All that has been printed.
    pub log: Vec<String>,
    /// When it was started.
    pub started: Instant,
    /// How it runs.
    pub accel: Accel,
}

impl Emulation {
    /// A machine with a disk, and nothing special.
    pub fn new(disk: &Path, folder: &Path) -> Self {
        let (disk, folder) = (disk.to_owned(), folder.to_owned());
        let network = Network::User(Vec::new());
        let (tpm, watchdog, once) = (false, true, true);
        Self { disk, folder, tpm, watchdog, secure_boot: None, network, write_log: None, once, more: Vec::new() }
    }

    /// Boots with acceleration where that works.
    pub fn boot(&self) -> Result<Running, Failure> {
        if Path::new("/dev/kvm").exists() {
            let mut trial = self.boot_with(Accel::Kvm)?;
            if trial.wait("stele-init[", PROBE)?.is_some() {
                return Ok(trial);
            }
        }
        self.boot_with(Accel::Tcg)
    }

    /// Boots in a certain way.
    pub fn boot_with(&self, accel: Accel) -> Result<Running, Failure> {
        let missing = |what: &str| {
            Failure::unfit(format!("{what} is not installed"), "apt-get install qemu-system-x86 ovmf swtpm")
        };
        let firmware = Path::new("/usr/share/OVMF");
        let code = if self.secure_boot.is_some() { "OVMF_CODE_4M.secboot.fd" } else { "OVMF_CODE_4M.fd" };
        let code = firmware.join(code);
        if !code.exists() {
            return Err(missing("OVMF"));
        }
        let variables = self.folder.join("variables.fd");
        if !variables.exists() {
            let from = self.secure_boot.clone().unwrap_or_else(|| firmware.join("OVMF_VARS_4M.fd"));
            std::fs::copy(&from, &variables).map_err(Failure::io(format!("copying {}", from.display())))?;
        }
        let tpm = self.tpm.then(|| self.start_tpm()).transpose()?;
        let mut qemu = Command::new("qemu-system-x86_64");
        let secure = self.secure_boot.is_some();
        qemu.arg("-machine").arg(if secure { "q35,smm=on" } else { "q35,smm=off" });
        if secure {
            qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        match accel {
            Accel::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host,-arch-capabilities"]),
            Accel::Tcg => qemu.args(["-accel", "tcg,thread=multi", "-cpu", TRANSLATED]),
        };
        qemu.args(["-smp", "2", "-m", "1024", "-display", "none", "-serial", "stdio"]);
        let monitor = self.folder.join("monitor.sock");
        let _ = std::fs::remove_file(&monitor);
        qemu.arg("-monitor").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        let flash = |unit: u8, access: &str, file: &Path| {
            format!("if=pflash,format=raw,unit={unit}{access},file={}", file.display())
        };
        qemu.arg("-drive").arg(flash(0, ",readonly=on", &code)).arg("-drive").arg(flash(1, "", &variables));
        qemu.args(self.drive()).args(["-device", "virtio-blk-pci,drive=d0,bootindex=0", "-device", "virtio-rng-pci"]);
        if self.watchdog {
            qemu.args(["-device", "i6300esb"]);
        }
        qemu.args(self.card());
        if self.once {
            qemu.arg("-no-reboot");
        }
        if tpm.is_some() {
            qemu.arg("-chardev").arg(format!("socket,id=c0,path={}", self.folder.join("tpm.sock").display()));
            qemu.args(["-tpmdev", "emulator,id=tpm0,chardev=c0", "-device", "tpm-tis,tpmdev=tpm0"]);
        }
        qemu.args(&self.more);
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ending::with_us(&mut qemu).spawn().map_err(|_| missing("qemu-system-x86_64"))?;
        let (sender, pieces) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || console::follow(output, &sender));
        }
        let console = Console::new(pieces);
        let mut running = Running { child, tpm, console, monitor, log: Vec::new(), started: Instant::now(), accel };
        if self.network == Network::Unplugged {
            running.command("set_link card off")?;
        }
        Ok(running)
    }

    fn drive(&self) -> Vec<String> {
        let disk = self.disk.display();
        let Some(log) = &self.write_log else {
            return ["-drive".to_owned(), format!("if=none,id=d0,format=raw,file={disk},cache=writeback")].into();
        };
        let nodes = [
            format!("driver=file,node-name=disk,filename={disk}"),
            format!("driver=file,node-name=log,filename={}", log.display()),
            "driver=blklogwrites,node-name=d0,file=disk,log=log".to_owned(),
        ];
        nodes.into_iter().flat_map(|node| ["-blockdev".to_owned(), node]).collect()
    }

    fn card(&self) -> Vec<String> {
        let backend = match &self.network {
            Network::Absent => return ["-nic".to_owned(), "none".to_owned()].into(),
            Network::Tap(name) => format!("tap,id=n0,ifname={name},script=no,downscript=no"),
            Network::Unplugged => "user,id=n0".to_owned(),
            Network::User(forwards) => {
                let forwards = forwards.iter().map(|(host, guest)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
                format!("user,id=n0{}", forwards.collect::<String>())
            }
        };
        ["-netdev", &backend, "-device", "virtio-net-pci,id=card,netdev=n0,romfile="].map(str::to_owned).into()
    }

    fn start_tpm(&self) -> Result<Child, Failure> {
        let state = self.folder.join("tpm");
        std::fs::create_dir_all(&state).map_err(Failure::io(format!("making {}", state.display())))?;
        let socket = self.folder.join("tpm.sock");
        let _ = std::fs::remove_file(&socket);
        let mut tpm = Command::new("swtpm");
        tpm.args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.display()));
        tpm.arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = ending::with_us(&mut tpm).spawn().map_err(Failure::io("starting swtpm"))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }
}

/// A port of the host that nobody has.
pub fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(Failure::io("looking for a free port"))
}

impl Running {
    /// The next line, whatever it says; `None` when the time is over or the machine has ended.
    pub fn line(&mut self, patience: Duration) -> Option<String> {
        self.console.next(&[], Instant::now() + patience).map(|said| said.line)
    }

    /// Waits for a line that contains `text`; `None` when the time is over or the machine has ended.
    pub fn wait(&mut self, text: &str, patience: Duration) -> Result<Option<String>, Failure> {
        self.wait_any(&[text], patience)
    }

    /// Waits for a line that contains one of some texts. A line that stands there without an end, as a question does, counts.
    pub fn wait_any(&mut self, texts: &[&str], patience: Duration) -> Result<Option<String>, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let Some(said) = self.console.next(texts, deadline) else { return Ok(None) };
            self.log.push(said.line.clone());
            if said.wanted {
                return Ok(Some(said.line));
            }
            if self.accel == Accel::Kvm && said.line.contains("KVM internal error") {
                return Ok(None);
            }
        }
    }

    /// Ends it at once, as a power cut does.
    pub fn cut_power(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(tpm) = &mut self.tpm {
            let _ = tpm.kill();
            let _ = tpm.wait();
        }
    }

    /// Has the emulator do something to the machine, in the words of QEMU's monitor.
    pub fn command(&mut self, words: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut stream = loop {
            match UnixStream::connect(&self.monitor) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(Failure::io("reaching QEMU's monitor")(error)),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        // It answers with a prompt of its own; the second one comes when the command is done.
        let (mut answer, mut piece) = (Vec::<u8>::new(), [0; 1024]);
        let mut talk = || -> std::io::Result<()> {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(format!("{words}\n").as_bytes())?;
            while answer.windows(7).filter(|window| window == b"(qemu) ").count() < 2 {
                match stream.read(&mut piece)? {
                    0 => return Ok(()),
                    length => answer.extend(&piece[..length]),
                }
            }
            Ok(())
        };
        talk().map_err(Failure::io(format!("telling QEMU {words:?}")))
    }

    /// Whether the emulator has ended by itself.
    pub fn is_over(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Types a line at the console.
    pub fn type_line(&mut self, line: &str) -> Result<(), Failure> {
        let Some(console) = &mut self.child.stdin else { return Ok(()) };
        let typed = console.write_all(format!("{line}\r").as_bytes()).and_then(|()| console.flush());
        typed.map_err(Failure::io("typing at the console"))
    }

    /// The last lines, for a report of what went wrong.
    pub fn tail(&self, lines: usize) -> String {
        self.log[self.log.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cut_power();
    }
}
