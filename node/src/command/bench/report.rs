//! What a run found: the object that is written as JSON, and what follows from its rows.

use crate::command::hw::machine::Machine;
use accel::gpu::AdapterFacts;
use serde::Serialize;
use std::collections::BTreeMap;

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `verify` or `hash`.
    pub kind: &'static str,
    /// The machine.
    pub machine: Machine,
    /// The GPU that was measured; null without one.
    pub adapter: Option<AdapterFacts>,
    /// Why there is none, where one could have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_adapter: Option<String>,
    /// What was asked for, in words of the command line.
    pub options: BTreeMap<&'static str, String>,
    /// From nothing to the first verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_start: Option<GpuStart>,
    /// One for each measurement.
    pub results: Vec<Row>,
    /// One for each algorithm that both engines were measured on.
    pub break_even: Vec<BreakEven>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

/// One measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// `ed25519`, or for hashes `sha256`.
    pub alg: &'static str,
    /// `cpu` or `gpu`; for hashes also the implementation.
    pub engine: String,
    /// Items in a batch; leaves of a tree; bytes of a single message.
    pub batch: usize,
    /// CPU threads that the engine had; 0 for a GPU.
    pub threads: usize,
    /// Whether every core was kept busy by something else.
    pub busy: bool,
    /// Items a second; with a GPU, batches overlap as far as it has slots.
    pub items_per_s: f64,
    /// Latency of a batch by itself.
    pub p50_us: f64,
    /// Latency of a batch by itself.
    pub p99_us: f64,
    /// CPU time of this process for an item, in microseconds; null where the process was busy with something else too.
    pub cpu_us_per_item: Option<f64>,
    /// Joules an item of the processor; null where they are not readable.
    pub cpu_joules_per_item: Option<f64>,
    /// Joules an item of the GPU; null where they are not readable.
    pub gpu_joules_per_item: Option<f64>,
    /// Where a GPU's time went, in nanoseconds an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_ns_per_item: Option<Split>,
    /// Public implementations over the same items on one thread, items a second.
    pub peers: BTreeMap<String, f64>,
}

/// Where a GPU's time went, in nanoseconds an item. Times of the device are null where it has no timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Split {
    /// Packing, on the host.
    pub pack: f64,
    /// Copies to the device.
    pub upload: Option<f64>,
    /// Decoding of keys that were not on the device.
    pub prepare_keys: Option<f64>,
    /// Hashes and recoding.
    pub hash: Option<f64>,
    /// Sums of points.
    pub verify: Option<f64>,
    /// Copies back.
    pub read_back: Option<f64>,
}

/// From nothing to the first verdict, in seconds, each in a process of its own.
#[derive(Clone, Debug, Serialize)]
pub struct GpuStart {
    /// Without any compiled code on disk.
    pub cold: StartTimes,
    /// With what the cold start left there.
    pub warm: StartTimes,
}

/// One start.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub struct StartTimes {
    /// Creating the pipelines of each algorithm.
    pub pipelines: BTreeMap<String, f64>,
    /// The first batch of each algorithm: some drivers compile only then.
    pub first_batch: BTreeMap<String, f64>,
    /// Until the engine was open.
    pub open: f64,
    /// Until every algorithm had answered once.
    pub total: f64,
}

/// From which batch on the GPU does more a second than the CPU with all its threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakEven {
    /// The algorithm.
    pub alg: &'static str,
    /// With every core kept busy by something else.
    pub busy: bool,
    /// In items; null where the GPU is slower at every batch that was measured.
    pub batch: Option<f64>,
    /// How many times the CPU's best rate the GPU's best is.
    pub best_ratio: f64,
}

impl Report {
    /// The JSON, with a line's end.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers, strings and lists of them have a JSON form") + "\n"
    }
}

/// The break-even of every algorithm for which there are rows of both engines.
pub fn break_even(rows: &[Row]) -> Vec<BreakEven> {
    let mut found: Vec<BreakEven> = Vec::new();
    for row in rows {
        if found.iter().any(|one| one.alg == row.alg && one.busy == row.busy) {
            continue;
        }
        let of = |engine: &str, threads: Option<usize>| {
            let same = |other: &&Row| {
                let threads = threads.is_none_or(|threads| other.threads == threads);
                other.alg == row.alg && other.busy == row.busy && other.engine == engine && threads
            };
            let mut points: Vec<_> = rows.iter().filter(same).map(|row| (row.batch as f64, row.items_per_s)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            points
        };
        let threads = rows.iter().filter(|row| row.engine == "cpu").map(|row| row.threads).max();
        let (cpu, gpu) = (of("cpu", threads), of("gpu", None));
        if let (Some(cpu_best), Some(gpu_best)) = (best(&cpu), best(&gpu)) {
            let batch = crossing(&cpu, &gpu);
            found.push(BreakEven { alg: row.alg, busy: row.busy, batch, best_ratio: gpu_best / cpu_best });
        }
    }
    found
}

fn best(points: &[(f64, f64)]) -> Option<f64> {
    points.iter().map(|point| point.1).reduce(f64::max)
}

/// Where the second curve comes to lie above the first and stays there, between batches that both were measured at; read
/// off straight lines between logarithms.
fn crossing(first: &[(f64, f64)], second: &[(f64, f64)]) -> Option<f64> {
    let lead: Vec<(f64, f64)> = second
        .iter()
        .filter_map(|(batch, rate)| {
            let other = first.iter().find(|point| point.0 == *batch)?.1;
            Some((batch.ln(), rate.ln() - other.ln()))
        })
        .collect();
    let behind = lead.iter().rposition(|point| point.1 < 0.0);
    match behind {
        None => lead.first().map(|point| point.0.exp()),
        Some(last) if last + 1 == lead.len() => None,
        Some(last) => {
            let ((x0, y0), (x1, y1)) = (lead[last], lead[last + 1]);
            Some((x0 + (x1 - x0) * -y0 / (y1 - y0)).exp())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use super::*;

    /// A row of a measurement that never was.
    pub fn row(engine: &str, threads: usize, batch: usize, items_per_s: f64) -> Row {
        let us = batch as f64 / items_per_s * 1e6;
        Row {
            alg: "ed25519",
            engine: engine.into(),
            batch,
            threads,
            items_per_s,
            p50_us: us,
            p99_us: us * 1.5,
            ..Row::default()
        }
    }

    /// A report with both engines.
    pub fn report() -> Report {
        let mut results = Vec::new();
        for (batch, cpu, gpu) in [(1, 50e3, 1e3), (256, 80e3, 200e3), (65_536, 90e3, 20e6)] {
            results.push(row("cpu", 1, batch, cpu));
            results.push(row("cpu", 16, batch, cpu * if batch == 1 { 1.0 } else { 15.0 }));
            results.push(row("gpu", 0, batch, gpu));
        }
        results[0].peers.insert("ed25519-dalek".into(), 45e3);
        Report {
            kind: "verify",
            machine: Machine::look(),
            adapter: None,
            no_adapter: Some("none <found> & none \"used\"".into()),
            options: BTreeMap::from([("invalid", "0 %".into())]),
            gpu_start: None,
            break_even: break_even(&results),
            results,
            notes: vec!["a note".into()],
        }
    }

    #[test]
    fn break_even_is_where_the_gpu_passes_all_threads_and_stays_ahead() {
        let found = &report().break_even;
        assert_eq!(found.len(), 1);
        let batch = found[0].batch.unwrap();
        assert!(batch > 256.0 && batch < 65_536.0, "{batch}");
        assert!((found[0].best_ratio - 20e6 / (90e3 * 15.0)).abs() < 1e-9);
        // Halfway between the logarithms where the lead changes from -1 to 1.
        let crossed = crossing(&[(1.0, 1.0), (16.0, 1.0)], &[(1.0, 1.0 / 4.0), (16.0, 4.0)]).unwrap();
        assert!((crossed - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_gpu_that_is_slower_has_no_break_even_and_one_that_is_always_faster_has_the_first() {
        let cpu = [(1.0, 10.0), (2.0, 10.0)];
        assert_eq!(crossing(&cpu, &[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(crossing(&cpu, &[(1.0, 11.0), (2.0, 9.0)]), None, "it falls behind again");
        assert_eq!(crossing(&cpu, &[(2.0, 12.0)]), Some(2.0));
        assert_eq!(crossing(&cpu, &[]), None);
        assert!(break_even(&[row("cpu", 1, 1, 1.0)]).is_empty());
    }

    #[test]
    fn the_json_has_the_promised_fields() {
        let value: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        assert!(value["machine"]["cpu"].is_string() && value["adapter"].is_null());
        let row = &value["results"][0];
        for field in ["alg", "engine", "batch", "threads", "items_per_s", "p50_us", "p99_us", "peers"] {
            assert!(!row[field].is_null(), "{field}");
        }
        assert_eq!(row["peers"]["ed25519-dalek"], 45e3);
        assert!(row["cpu_joules_per_item"].is_null());
    }
}
