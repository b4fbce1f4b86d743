//! A machine whose firmware fetches the kernel image over HTTP: it then looks for its root on the disk, by its hash.

use super::{Bench, START, expect, expect_never_ready, opened, partition};
use crate::boot::{Accel, Emulation};
use crate::failure::Failure;
use crate::{disk, fat};
use image_formats::field::{u16_at, u32_at};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3), as it lies in memory.
const GLOBAL: [u8; 16] =
    [0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C];
/// The number of the boot option.
const OPTION: u16 = 0x57;

pub(super) fn kernel_over_http(bench: &Bench) -> Result<(), Failure> {
    let machine = bench.disk("http", "")?;
    let server = Server::start(bench.uki.clone())?;
    let uri = format!("http://10.0.2.2:{}/stele.efi", server.port);
    // The disk has nothing to start from: whatever starts came over the network.
    let file = opened(&machine.disk)?;
    let system = partition(&file, disk::SYSTEM, 0)?;
    let empty = fat::write(&[("loader/loader.conf".to_owned(), Vec::new())], system.bytes() as usize);
    let empty = empty.map_err(|error| Failure::content("a system partition", error))?;
    file.write_all_at(&empty, system.offset()).map_err(Failure::io("changing a disk"))?;
    point_to(&machine, &uri)?;
    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY", START)?;
    running.cut_power();
    if server.served.load(Ordering::Relaxed) == 0 {
        return Err(Failure::content("the machine", "it started, and not over HTTP"));
    }
    // A root that is not the one of this kernel image is not taken.
    let root = partition(&file, disk::ROOT, 0)?.offset();
    file.write_all_at(&[0; 4096], root).map_err(Failure::io("changing a disk"))?;
    point_to(&machine, &uri)?;
    expect_never_ready(&mut machine.boot_with(Accel::Tcg)?, &["dm-verity device corrupted", "Kernel panic"])
}

/// Has the firmware boot from an address once.
fn point_to(machine: &Emulation, uri: &str) -> Result<(), Failure> {
    let from = Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd");
    let mut store = std::fs::read(from).map_err(Failure::io(format!("reading {}", from.display())))?;
    // A device path of one node, the address, and its end (UEFI 2.10, 10.3.4.23).
    let length = (4 + uri.len()) as u16;
    let mut path = vec![3, 24];
    path.extend(length.to_le_bytes());
    path.extend(uri.bytes());
    path.extend([0x7F, 0xFF, 4, 0]);
    // Active; length of the path; name; path (3.1.3).
    let mut option = 1_u32.to_le_bytes().to_vec();
    option.extend((path.len() as u16).to_le_bytes());
    option.extend(utf16("stele"));
    option.extend(path);
    let added = add(&mut store, &format!("Boot{OPTION:04X}"), &option)
        .and_then(|()| add(&mut store, "BootNext", &OPTION.to_le_bytes()));
    added
        .ok_or_else(|| Failure::content(from.display().to_string(), "it has no variables of the kind that is known"))?;
    std::fs::write(machine.folder.join("variables.fd"), store).map_err(Failure::io("writing the firmware's variables"))
}

/// Adds a variable behind those in the store of EDK II (MdeModulePkg/Include/Guid/VariableFormat.h, authenticated).
fn add(store: &mut [u8], name: &str, data: &[u8]) -> Option<()> {
    let (header, store_header) = (60, 28);
    let mut at = usize::from(u16_at(store, 48)?) + store_header;
    while u16_at(store, at)? == 0x55AA {
        at += header + u32_at(store, at + 36)? as usize + u32_at(store, at + 40)? as usize;
        at = at.next_multiple_of(4);
    }
    let name = utf16(name);
    let mut out = vec![0xAA, 0x55, 0x3F, 0];
    // Kept; for the firmware and whoever runs after it.
    out.extend(7_u32.to_le_bytes());
    out.resize(36, 0);
    out.extend((name.len() as u32).to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(GLOBAL);
    out.extend(name);
    out.extend(data);
    store.get_mut(at..at + out.len())?.copy_from_slice(&out);
    Some(())
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// Serves one file, whatever is asked for.
struct Server {
    port: u16,
    served: Arc<AtomicUsize>,
}

impl Server {
    fn start(content: Vec<u8>) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(Failure::io("listening"))?;
        let port = listener.local_addr().map_err(Failure::io("listening"))?.port();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in between comes again.
                if let Ok(true) = serve(stream, &content) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { port, served })
    }
}

/// Answers until the client closes; whether it got the content.
fn serve(stream: TcpStream, content: &[u8]) -> std::io::Result<bool> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut writer, mut given) = (stream, false);
    loop {
        let (mut request, mut line) = (String::new(), String::new());
        if reader.read_line(&mut request)? == 0 {
            return Ok(given);
        }
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/efi\r\nContent-Length: {}\r\n\r\n",
            content.len()
        )?;
        if request.starts_with("GET ") {
            writer.write_all(content)?;
            given = true;
        }
    }
}
