//! CPU of a transfer by how many span shards.

use super::{Engine, Executions};
use crate::command::bench::plot::{Plot, Series};
use crate::command::bench::sheet::sheet;

/// The whole file.
pub fn svg(executions: &Executions) -> String {
    let rows = || executions.results.iter().filter(|row| row.engine == Engine::SteleWorkers);
    let mut shards: Vec<u16> = rows().map(|row| row.shards).collect();
    shards.dedup();
    let line = |(colour, shards): (usize, &u16)| {
        let points = rows()
            .filter(|row| row.shards == *shards)
            .filter_map(|row| Some((f64::from(row.cross_percent?), row.cpu_us)))
            .collect();
        Series { name: format!("{shards} shards"), colour, dashed: false, points }
    };
    let series = shards.iter().enumerate().map(line).collect();
    sheet(&[Plot { title: "CPU of a transfer", x: "transfers across shards, %", y: "µs", series, mark: None }])
}
