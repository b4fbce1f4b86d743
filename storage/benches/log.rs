//! Durable appends, io_uring beside blocking calls, and the speed of recovery. The disk decides the figures: compare
//! columns, and run on the machine in question. `STORAGE_BENCH_DIR` chooses the directory (default: temporary files).

use std::path::PathBuf;
use std::sync::mpsc::channel;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use storage::log::{Backend, Log, LogOptions};

const BACKENDS: [(&str, Backend, u32); 3] = [
    ("io_uring_dsync", Backend::IoUring, u32::MAX),
    ("io_uring_fdatasync", Backend::IoUring, 0),
    ("threaded", Backend::Threaded, 0),
];

const IDENTITY: [u8; 32] = [5; 32];

fn directory() -> tempfile::TempDir {
    let base = std::env::var_os("STORAGE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(base).expect("a directory for the bench")
}

/// One iteration: `count` records, all durable.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for (bytes, count) in [(512usize, 1usize), (512, 8), (512, 128), (128 << 10, 1)] {
        group.throughput(Throughput::Bytes((bytes * count) as u64));
        for (name, backend, dsync_bytes_max) in BACKENDS {
            let dir = directory();
            let options = LogOptions { backend, dsync_bytes_max, ..LogOptions::new(dir.path(), IDENTITY) };
            let log = Log::open(options, None, &mut |_| Ok(())).expect("a fresh log opens");
            let payload = vec![0xab; bytes];
            let (sender, receiver) = channel();
            group.bench_function(BenchmarkId::new(name, format!("{bytes}x{count}")), |bencher| {
                bencher.iter(|| {
                    for _ in 1..count {
                        log.append_quiet(1, &[&payload]).expect("the log takes records");
                    }
                    let sender = sender.clone();
                    let done = Box::new(move |result| sender.send(result).expect("the bench waits"));
                    log.append(1, &[&payload], done).expect("the log takes records");
                    receiver.recv().expect("an answer").expect("durable");
                    log.release_before(log.next_position().segment);
                });
            });
        }
    }
    group.finish();
}

/// Many callers at once: one iteration appends 1024 records of 512 bytes, each with a callback, in a stream.
fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(1024));
    for (name, backend, dsync_bytes_max) in BACKENDS {
        let dir = directory();
        let options = LogOptions { backend, dsync_bytes_max, ..LogOptions::new(dir.path(), IDENTITY) };
        let log = Log::open(options, None, &mut |_| Ok(())).expect("a fresh log opens");
        let (sender, receiver) = channel();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..1024 {
                    let sender = sender.clone();
                    let done = Box::new(move |result| sender.send(result).expect("the bench waits"));
                    log.append(1, &[&[0xab; 512]], done).expect("the log takes records");
                }
                for _ in 0..1024 {
                    receiver.recv().expect("an answer").expect("durable");
                }
                log.release_before(log.next_position().segment);
            });
        });
    }
    group.finish();
}

/// One iteration: open a log of 64 MiB of 512-byte records and read them all.
fn recover(criterion: &mut Criterion) {
    let dir = directory();
    let options = LogOptions::new(dir.path(), IDENTITY);
    let log = Log::open(options.clone(), None, &mut |_| Ok(())).expect("a fresh log opens");
    for _ in 0..(64 << 20) / 512 {
        log.append_quiet(1, &[&[0xab; 512]]).expect("the log takes records");
    }
    drop(log);
    let mut group = criterion.benchmark_group("recover");
    group.throughput(Throughput::Bytes(64 << 20)).sample_size(10);
    group.bench_function("512", |bencher| {
        bencher.iter(|| {
            let mut count = 0;
            let log = Log::open(options.clone(), None, &mut |_| {
                count += 1;
                Ok(())
            });
            drop(log.expect("the log opens again"));
            assert_eq!(count, (64 << 20) / 512);
        });
    });
    group.finish();
}

criterion_group!(benches, append, stream, recover);
criterion_main!(benches);
