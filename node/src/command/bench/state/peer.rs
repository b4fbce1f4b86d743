//! RocksDB alone, as it is out of the box.

use super::report::Rate;
use crate::command::bench::{BenchError, execute};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, WriteBatch, WriteOptions};
use std::path::Path;
use std::time::Instant;
use types::Digest;

fn value(index: u32) -> ([u8; 32], [u8; 16]) {
    (*Digest::sha256(&index.to_le_bytes()).as_bytes(), [index as u8; 16])
}

/// What RocksDB alone takes for two puts a transfer, in one batch a commit, without its log.
pub(super) fn rate(dir: &Path, commit: usize, commits: usize) -> Result<Rate, BenchError> {
    let failed = |error: rocksdb::Error| BenchError::State { what: error.to_string() };
    let db = DB::open_default(dir).map_err(failed)?;
    let mut write = WriteOptions::default();
    write.disable_wal(true);
    let (began, cpu) = (Instant::now(), execute::cpu_time());
    for height in 0..commits {
        let mut batch = WriteBatch::default();
        for put in 0..2 * commit {
            let (key, value) = value((height * 2 * commit + put) as u32);
            batch.put(key, value);
        }
        db.write_opt(batch, &write).map_err(failed)?;
    }
    let engine = "RocksDB, two puts a transfer and nothing else".to_owned();
    Ok(Rate::since(began, cpu, engine, commit * commits))
}

/// RocksDB's own checkpoint of as many rows: a flush and hard links.
pub(super) fn checkpoint(root: &Path, rows: u32) -> Result<f64, BenchError> {
    let failed = |error: rocksdb::Error| BenchError::State { what: error.to_string() };
    let db = DB::open_default(root.join("rows")).map_err(failed)?;
    for first in (0..rows).step_by(10_000) {
        let mut batch = WriteBatch::default();
        for (key, value) in (first..rows.min(first + 10_000)).map(value) {
            batch.put(key, value);
        }
        db.write(batch).map_err(failed)?;
    }
    let began = Instant::now();
    let checkpoint = Checkpoint::new(&db).map_err(failed)?;
    checkpoint.create_checkpoint(root.join("checkpoint")).map_err(failed)?;
    Ok(began.elapsed().as_secs_f64())
}
