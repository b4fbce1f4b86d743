//! `cargo xtask bench`: the sweep of offered rates over devnet, written as a table and as JSON, and the criterion benches of the crates.
//! All figures come from `stele devnet --json`; nothing is measured here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::console::heading;
use crate::devnet;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::setup;
use crate::workspace::{Workspace, run_to_end};

/// Shown by `--help`.
pub const HELP: &str = "\
Usage: cargo xtask bench devnet [flags] [-- flags of `stele devnet`]
       cargo xtask bench crates [-- flags of criterion]

bench devnet runs `stele devnet` once for each offered rate and writes benches/results/NAME.md and NAME.json.
  --rates LIST     transactions a second, comma-separated (1000,2500,5000,10000,15000,20000,max)
  --seconds S      measured window of each run (20)
  --payload BYTES  encoded signed size of a transaction (512)
  --profile NAME   dev or release (dev)
  --name NAME      of the result files (devnet-DATE-COMMIT)

bench crates runs every criterion bench in the profile `dev`, the one that everything else is built in.
";

const RATES: &str = "1000,2500,5000,10000,15000,20000,max";

/// Title, path in the report, decimals.
const COLUMNS: [(&str, &str, usize); 13] = [
    ("offered/s", "/offered_tps", 0),
    ("committed/s", "/committed_tps", 0),
    ("rejected", "/rejected", 0),
    ("mean ms", "/latency_ms/mean", 1),
    ("p50 ms", "/latency_ms/p50", 1),
    ("p90 ms", "/latency_ms/p90", 1),
    ("p99 ms", "/latency_ms/p99", 1),
    ("max ms", "/latency_ms/max", 1),
    ("certified p99 ms", "/certified_ms/p99", 1),
    ("sync p99 µs", "/log/sync_p99_us", 0),
    ("signer p99 µs", "/signer_stats/p99_us", 0),
    ("CPU s", "/cpu_seconds", 1),
    ("largest node MiB", "/rss_bytes_max", 0),
];

/// Dispatches to one of the two kinds.
pub fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    match arguments.word().as_deref() {
        Some("devnet") => sweep(workspace, arguments),
        Some("crates") => crates(workspace, arguments),
        _ => Err(Failure::new("`bench` needs to know what: devnet or crates", "`cargo xtask bench --help`")),
    }
}

fn sweep(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    let rates = rates(&arguments.value("rates")?.unwrap_or_else(|| RATES.to_owned()))?;
    let seconds = arguments.number("seconds")?.unwrap_or(20).to_string();
    let payload = arguments.number("payload")?.unwrap_or(512).to_string();
    let profile = arguments.value("profile")?.unwrap_or_else(|| "dev".to_owned());
    let name = arguments.value("name")?;
    let passed_on = arguments.rest();
    arguments.finish()?;

    setup::run(workspace)?;
    let stele = devnet::build(workspace, &profile)?;
    let machine = Machine::read(workspace);
    let day = machine.time.split('T').next().unwrap_or_default();
    let name = name.unwrap_or_else(|| format!("devnet-{day}-{}", machine.commit));
    let results = workspace.root.join("benches/results");
    let scratch = workspace.target_dir().join("bench-devnet");
    let refused = |error: std::io::Error| Failure::io("writing results", &error);
    fs::create_dir_all(&results).map_err(refused)?;

    let mut runs = Vec::new();
    for (index, rate) in rates.iter().enumerate() {
        heading(&format!("rate {rate} ({} of {})", index + 1, rates.len()));
        // Each run starts from an empty chain, so that none pays for another's history.
        let data = scratch.join("data");
        fs::remove_dir_all(&data).ok();
        fs::create_dir_all(&scratch).map_err(refused)?;
        let report = scratch.join(format!("{rate}.json"));
        fs::remove_file(&report).ok();
        let mut command = Command::new(&stele);
        command.current_dir(&workspace.root).arg("devnet").args(["--rate", rate, "--seconds", &seconds]);
        command.args(["--payload", &payload]).arg("--data").arg(&data).arg("--json").arg(&report).args(&passed_on);
        let ok = run_to_end(&mut command)?;
        let read = fs::read(&report).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        fs::remove_dir_all(&data).ok();
        match read {
            Some(report) if ok => runs.push(json!({"rate": rate, "report": report})),
            _ => {
                // What was measured so far is still written: a sweep is long, and the rate that breaks is a finding.
                println!("rate {rate} gave no report");
                runs.push(json!({"rate": rate, "report": Value::Null}));
            }
        }
        write(&results, &name, &machine, &profile, &runs)?;
    }
    println!("\n{}", table(&runs));
    println!("written: benches/results/{name}.md and {name}.json");
    match runs.iter().filter(|run| run["report"].is_null()).count() {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} of {} runs failed", runs.len()), "their output is above")),
    }
}

fn rates(list: &str) -> Result<Vec<String>, Failure> {
    let rates: Vec<_> = list.split(',').map(|rate| rate.trim().to_owned()).filter(|rate| !rate.is_empty()).collect();
    match rates.iter().find(|rate| *rate != "max" && rate.parse::<u32>().is_err()) {
        Some(wrong) => Err(Failure::new(format!("`{wrong}` is not a rate"), "a whole number a second, or max")),
        None if rates.is_empty() => Err(Failure::new("--rates is empty", "for example --rates 1000,10000,max")),
        None => Ok(rates),
    }
}

fn write(results: &Path, name: &str, machine: &Machine, profile: &str, runs: &[Value]) -> Result<(), Failure> {
    let setting = |path: &str| runs.iter().find_map(|run| run["report"].pointer(path)).map_or("?".to_owned(), text);
    let markdown = format!(
        "# devnet, swept over the offered rate\n\n{}- setting: profile {profile}, {} validators, {} shards, signer {}, payload {} bytes, {} s a run\n\n{}\n\
        Latency runs from the intended send time to the durable receipt at the client. CPU seconds are those of all processes.\n",
        machine.to_markdown(),
        setting("/validators"),
        setting("/shards"),
        setting("/signer"),
        setting("/payload_bytes"),
        setting("/seconds"),
        table(runs),
    );
    let all = json!({"machine": machine.to_json(), "profile": profile, "runs": runs});
    let refused = |error: std::io::Error| Failure::io(format!("writing {}", results.display()), &error);
    fs::write(results.join(format!("{name}.md")), markdown).map_err(refused)?;
    fs::write(results.join(format!("{name}.json")), format!("{all:#}\n")).map_err(refused)
}

fn table(runs: &[Value]) -> String {
    let mut out = String::from("| rate |");
    for (title, ..) in COLUMNS {
        write!(out, " {title} |").expect("writing to a String cannot fail");
    }
    out.push_str(" headers agree |\n|");
    out.push_str(&"---:|".repeat(COLUMNS.len() + 2));
    out.push('\n');
    for run in runs {
        let report = &run["report"];
        write!(out, "| {} |", text(&run["rate"])).expect("writing to a String cannot fail");
        for (_, path, decimals) in COLUMNS {
            let bytes_to_mib = if path == "/rss_bytes_max" { 1024.0 * 1024.0 } else { 1.0 };
            match report.pointer(path).and_then(Value::as_f64) {
                Some(number) => write!(out, " {:.decimals$} |", number / bytes_to_mib),
                None => write!(out, " – |"),
            }
            .expect("writing to a String cannot fail");
        }
        let agree = report["headers_agree"].as_bool().map_or("–", |agree| if agree { "yes" } else { "NO" });
        writeln!(out, " {agree} |").expect("writing to a String cannot fail");
    }
    out
}

/// A string without its quotes, anything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn crates(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    let passed_on = arguments.rest();
    arguments.finish()?;
    setup::run(workspace)?;
    let metadata =
        crate::workspace::output_of(workspace.bare_cargo().args(["metadata", "--format-version", "1", "--no-deps"]))
            .and_then(|text| serde_json::from_str::<Value>(&text).ok())
            .ok_or_else(|| Failure::new("cargo metadata failed", "`cargo metadata` shows why"))?;
    let benches = bench_targets(&metadata);
    if benches.is_empty() {
        println!("no crate has a bench");
        return Ok(());
    }
    // Named one by one: `--benches` would also build each library in bench mode and run its empty harness.
    let mut command = workspace.cargo();
    command.args(["bench", "--workspace", "--profile", "dev"]);
    command.args(benches.iter().flat_map(|bench| ["--bench", bench])).arg("--").args(passed_on);
    if run_to_end(&mut command)? { Ok(()) } else { Err(Failure::new("a bench failed; its output is above", "")) }
}

fn bench_targets(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let targets = list(&metadata["packages"]).into_iter().flat_map(|package| list(&package["targets"]));
    let benches = targets.filter(|target| list(&target["kind"]).iter().any(|kind| kind == "bench"));
    let mut names: Vec<_> = benches.filter_map(|bench| bench["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_max() {
        assert_eq!(rates("1000, 20000,max").expect("all are rates"), ["1000", "20000", "max"]);
        assert!(rates("fast").is_err());
        assert!(rates(",").is_err());
        assert!(rates(RATES).is_ok());
    }

    #[test]
    fn a_run_without_report_is_a_row_of_dashes() {
        let good = json!({"rate": "1000", "report": {"offered_tps": 1000, "committed_tps": 999.6,
            "latency_ms": {"p50": 31.26}, "rss_bytes_max": 104_857_600u64, "headers_agree": true}});
        let text = table(&[good, json!({"rate": "max", "report": null})]);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 4);
        assert!(rows[2].starts_with("| 1000 | 1000 | 1000 | – | – | 31.3 |"), "{}", rows[2]);
        assert!(rows[2].ends_with("| 100 | yes |"), "{}", rows[2]);
        assert!(rows[3].ends_with("| – | – |"), "{}", rows[3]);
        let columns = |row: &str| row.matches('|').count();
        assert!(rows.iter().all(|row| columns(row) == columns(rows[0])));
    }

    #[test]
    fn bench_targets_are_found_in_metadata() {
        let metadata = json!({"packages": [{"targets": [{"name": "types", "kind": ["lib"]}, {"name": "codec", "kind": ["bench"]}]}]});
        assert_eq!(bench_targets(&metadata), ["codec"]);
    }
}
