//! What NVIDIA's management library (NVML, `libnvidia-ml.so.1`) says of a card: the only way to its ECC, its heat and why it is
//! slow, since the driver tells the kernel nothing of them. It comes with the driver and is loaded while we run.
//!
//! A recorded tree has the answers of a card as the file `/nvml/<PCI address>`, in JSON. The library may hang for good when
//! a card or its driver does, so it has a thread of its own and is waited for with patience, not for ever. It is loaded only
//! where there is a card of this maker: no other process has foreign code in it. Units are those of the library.

use crate::fact::{Reading, Why};
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor, TemperatureThreshold};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// PCI vendor of the cards that it knows.
pub(crate) const VENDOR: &str = "0x10de";
/// Bytes of a card's answers in a recorded tree.
pub(crate) const ANSWERS_BYTES_MAX: usize = 1 << 16;
/// Longest wait for a card. The first question wakes cards that nobody uses, which takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answers of one card, by the call that gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    /// nvmlSystemGetDriverVersion.
    pub driver_version: Reading<String>,
    /// nvmlDeviceGetName.
    pub name: Reading<String>,
    /// nvmlDeviceGetUUID.
    pub uuid: Reading<String>,
    /// nvmlDeviceGetVbiosVersion.
    pub vbios: Reading<String>,
    /// nvmlDeviceGetMemoryInfo_v2, total, bytes.
    pub memory_bytes: Reading<u64>,
    /// The same, in use.
    pub memory_used_bytes: Reading<u64>,
    /// nvmlDeviceGetEccMode, the present one: a pending one comes with the next start.
    pub ecc: Reading<bool>,
    /// nvmlDeviceGetTotalEccErrors, put right, since the driver was loaded.
    pub ecc_corrected: Reading<u64>,
    /// The same, not put right.
    pub ecc_uncorrected: Reading<u64>,
    /// nvmlDeviceGetTemperature, degrees Celsius.
    pub temperature: Reading<u32>,
    /// nvmlDeviceGetTemperatureThreshold, where the hardware slows itself down, degrees Celsius.
    pub temperature_slowdown: Reading<u32>,
    /// nvmlDeviceGetCurrentClocksThrottleReasons, its bits.
    pub slowed: Reading<u64>,
    /// nvmlDeviceGetPowerUsage, milliwatts.
    pub power_mw: Reading<u32>,
    /// nvmlDeviceGetEnforcedPowerLimit, milliwatts.
    pub power_limit_mw: Reading<u32>,
}

impl Card {
    /// The same for every question, where nobody could be asked.
    pub fn unknown(why: Why) -> Self {
        Self {
            driver_version: Reading::Unknown(why),
            name: Reading::Unknown(why),
            uuid: Reading::Unknown(why),
            vbios: Reading::Unknown(why),
            memory_bytes: Reading::Unknown(why),
            memory_used_bytes: Reading::Unknown(why),
            ecc: Reading::Unknown(why),
            ecc_corrected: Reading::Unknown(why),
            ecc_uncorrected: Reading::Unknown(why),
            temperature: Reading::Unknown(why),
            temperature_slowdown: Reading::Unknown(why),
            slowed: Reading::Unknown(why),
            power_mw: Reading::Unknown(why),
            power_limit_mw: Reading::Unknown(why),
        }
    }

    fn ask(nvml: &Nvml, address: &str) -> Self {
        let driver_version = reading(nvml.sys_driver_version());
        let device: Device<'_> = match nvml.device_by_pci_bus_id(address) {
            Ok(device) => device,
            Err(error) => return Self { driver_version, ..Self::unknown(why(&error)) },
        };
        let memory = device.memory_info();
        let of_memory = |memory: Result<u64, &NvmlError>| match memory {
            Ok(bytes) => Reading::Value(bytes),
            Err(error) => Reading::Unknown(why(error)),
        };
        let errors = |kind| reading(device.total_ecc_errors(kind, EccCounter::Volatile));
        Self {
            driver_version,
            name: reading(device.name()),
            uuid: reading(device.uuid()),
            vbios: reading(device.vbios_version()),
            memory_bytes: of_memory(memory.as_ref().map(|memory| memory.total)),
            memory_used_bytes: of_memory(memory.as_ref().map(|memory| memory.used)),
            ecc: reading(device.is_ecc_enabled().map(|mode| mode.currently_enabled)),
            ecc_corrected: errors(MemoryError::Corrected),
            ecc_uncorrected: errors(MemoryError::Uncorrected),
            temperature: reading(device.temperature(TemperatureSensor::Gpu)),
            temperature_slowdown: reading(device.temperature_threshold(TemperatureThreshold::Slowdown)),
            slowed: reading(device.current_throttle_reasons().map(|reasons| reasons.bits())),
            power_mw: reading(device.power_usage()),
            power_limit_mw: reading(device.enforced_power_limit()),
        }
    }
}

fn reading<T>(answer: Result<T, NvmlError>) -> Reading<T> {
    answer.map_or_else(|error| Reading::Unknown(why(&error)), Reading::Value)
}

fn why(error: &NvmlError) -> Why {
    match error {
        // `NotFound`: a card that another driver has, a virtual machine's for instance.
        NvmlError::LibloadingError(_)
        | NvmlError::LibraryNotFound
        | NvmlError::DriverNotLoaded
        | NvmlError::NotFound => Why::Absent,
        NvmlError::NoPermission | NvmlError::OperatingSystem => Why::Denied,
        NvmlError::GpuLost | NvmlError::ResetRequired => Why::Lost,
        NvmlError::Utf8Error(_) => Why::Malformed,
        // Older libraries lack calls, cards lack sensors.
        _ => Why::Unsupported,
    }
}

/// One who asks. Its thread ends with it, unless the library never gives it back.
#[derive(Debug)]
pub(crate) struct Asker {
    questions: Mutex<SyncSender<Question>>,
    /// The library is at a question. Where nobody waits for the answer any more it hangs, and may yet come back.
    is_busy: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Question {
    address: String,
    answer: SyncSender<Card>,
}

impl Asker {
    /// Starts the thread, which loads the library before its first answer: the system's, or the one at this path.
    pub fn start(library: Option<PathBuf>) -> Self {
        let (questions, asked) = sync_channel(1);
        let is_busy = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&is_busy);
        let answer = move || answer_all(library, &asked, &busy);
        // Without a thread nobody takes the questions, and every answer is `Silent`.
        drop(thread::Builder::new().name("nvml".into()).spawn(answer));
        Self { questions: Mutex::new(questions), is_busy }
    }

    /// Asks for a card by its PCI address, and waits ten seconds at most.
    pub fn ask(&self, address: &str) -> Card {
        self.ask_within(address, PATIENCE)
    }

    fn ask_within(&self, address: &str, patience: Duration) -> Card {
        // Held for the whole exchange, so that nobody takes another one's question for a library that hangs.
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Card::unknown(Why::Silent);
        }
        let (answer, answered) = sync_channel(1);
        let asked = questions.try_send(Question { address: address.to_owned(), answer }).ok();
        asked.and_then(|()| answered.recv_timeout(patience).ok()).unwrap_or_else(|| Card::unknown(Why::Silent))
    }
}

fn answer_all(library: Option<PathBuf>, asked: &Receiver<Question>, is_busy: &AtomicBool) {
    let nvml = match &library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    };
    let nvml = nvml.map_err(|error| why(&error));
    for Question { address, answer } in asked {
        let card = match &nvml {
            Ok(nvml) => Card::ask(nvml, &address),
            Err(why) => Card::unknown(*why),
        };
        is_busy.store(false, Ordering::Release);
        // Whoever has lost patience does not take it any more.
        let _ = answer.send(card);
    }
}

#[cfg(test)]
mod tests;
