//! A library in the place of `libnvidia-ml.so.1`, compiled by the tests that load it: an H200 at 0000:01:00.0, a card that
//! has fallen off the bus at 0000:02:00.0, one without sensors at 0000:03:00.0, and with `--cfg hangs` nothing that answers
//! before a file is there.
//! Codes and layouts are those of nvml.h.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

const SUCCESS: c_int = 0;
const INVALID_ARGUMENT: c_int = 2;
const NOT_SUPPORTED: c_int = 3;
const NOT_FOUND: c_int = 6;
const GPU_IS_LOST: c_int = 15;

const WHOLE: usize = 1;
const LOST: usize = 2;
const BARE: usize = 3;

/// nvmlMemory_v2_t.
#[repr(C)]
struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

fn whole(device: *mut c_void) -> c_int {
    match device as usize {
        WHOLE => SUCCESS,
        LOST => GPU_IS_LOST,
        BARE => NOT_SUPPORTED,
        _ => INVALID_ARGUMENT,
    }
}

unsafe fn give<T>(device: *mut c_void, place: *mut T, value: T) -> c_int {
    let code = whole(device);
    if code == SUCCESS {
        unsafe { place.write(value) };
    }
    code
}

unsafe fn text(place: *mut c_char, length: c_uint, text: &str) -> c_int {
    if text.len() >= length as usize {
        return 7;
    }
    unsafe { place.copy_from(text.as_ptr().cast(), text.len()) };
    unsafe { place.add(text.len()).write(0) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> c_int {
    #[cfg(hangs)]
    while !std::path::Path::new(env!("RELEASED_BY")).exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(place: *mut c_char, length: c_uint) -> c_int {
    unsafe { text(place, length, "580.95.05") }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(address: *const c_char, device: *mut *mut c_void) -> c_int {
    let found = match unsafe { CStr::from_ptr(address) }.to_bytes() {
        b"0000:01:00.0" => WHOLE,
        b"0000:02:00.0" => LOST,
        b"0000:03:00.0" => BARE,
        _ => return NOT_FOUND,
    };
    unsafe { device.write(found as *mut c_void) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(device: *mut c_void, place: *mut c_char, length: c_uint) -> c_int {
    match device as usize {
        LOST => GPU_IS_LOST,
        BARE => unsafe { text(place, length, "Bare") },
        _ => unsafe { text(place, length, "NVIDIA H200") },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUUID(device: *mut c_void, place: *mut c_char, length: c_uint) -> c_int {
    match whole(device) {
        SUCCESS => unsafe { text(place, length, "GPU-0f3b1c2d-0000-1111-2222-333344445555") },
        code => code,
    }
}

// nvmlDeviceGetVbiosVersion is missing: an old library.

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: *mut c_void, memory: *mut Memory) -> c_int {
    if unsafe { (*memory).version } != (2 << 24 | size_of::<Memory>()) as c_uint {
        return INVALID_ARGUMENT;
    }
    let version = unsafe { (*memory).version };
    unsafe { give(device, memory, Memory { version, total: 150_754_820_096, reserved: 1, free: 2, used: 4096 }) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetEccMode(device: *mut c_void, now: *mut c_uint, next: *mut c_uint) -> c_int {
    unsafe { next.write(0) };
    unsafe { give(device, now, 1) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: *mut c_void,
    kind: c_uint,
    counter: c_uint,
    count: *mut c_ulonglong,
) -> c_int {
    match (kind, counter) {
        // Corrected, volatile.
        (0, 0) => unsafe { give(device, count, 12) },
        (1, 0) => unsafe { give(device, count, 3) },
        _ => INVALID_ARGUMENT,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperature(device: *mut c_void, sensor: c_uint, degrees: *mut c_uint) -> c_int {
    if sensor != 0 { INVALID_ARGUMENT } else { unsafe { give(device, degrees, 67) } }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperatureThreshold(
    device: *mut c_void,
    which: c_uint,
    degrees: *mut c_uint,
) -> c_int {
    if which != 1 { INVALID_ARGUMENT } else { unsafe { give(device, degrees, 92) } }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(device: *mut c_void, bits: *mut c_ulonglong) -> c_int {
    // Hardware slowdown for heat, and a reason that no header knows yet.
    unsafe { give(device, bits, 0x8000_0000_0000_0048) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPowerUsage(device: *mut c_void, milliwatts: *mut c_uint) -> c_int {
    unsafe { give(device, milliwatts, 512_345) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(device: *mut c_void, milliwatts: *mut c_uint) -> c_int {
    unsafe { give(device, milliwatts, 700_000) }
}
