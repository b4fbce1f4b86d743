//! `cargo xtask torture`: what takes minutes to hours and is random. Real processes under a schedule of faults, simulated
//! committees over fresh seeds, every test with many more cases, mutants of the rules. Each failure comes with the command
//! that runs the same again.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::arguments::Arguments;
use crate::console::heading;
use crate::failure::Failure;
use crate::mutants;
use crate::power_loss;
use crate::setup;
use crate::test_binaries::TestBinaries;
use crate::test_output::{self, Totals};
use crate::test_stages::{self, Row, Stage};
use crate::workspace::{Workspace, output_of, run_to_end};

/// Shown by `--help`.
pub const HELP: &str = "\
Runs what is random, long and hard, and says how to run it again. Exit code 1 when anything failed.

Usage: cargo xtask torture [--minutes N] [--seed S] [--json] [--only PART] [--seeds N] [--cases N] [--rounds N]
                           [--uml FILE] [--load-seconds N]

Parts, in this order:
  fire        --minutes of real validators in network namespaces under a load of transfers, while they hang, are killed, are cut
              off one way and both, lose and reorder packets, and see their clocks jump; nothing acknowledged is lost, money is
              neither made nor lost, all nodes tell the same story, and each goes on within a minute of healing
  simulate    --minutes of simulated committees with faults and adversaries, over fresh seeds
  power       log and state database on a disk that records every write, then power cuts at each point of that record, with
              what no flush had made durable dropped, torn or in another order; nothing acknowledged is lost
  unit        the unit, property and simulation tests, with --seeds and --cases
  end-to-end  node/tests, with more repetitions
  fuzz        decoding, with --cases
  mutants     breaks each rule of consensus in turn; the tests must notice (an hour)

  --minutes N  of each of the first three (10)
  --seed S     of their schedules (from the clock, and printed)
  --only PART  just that one; may be given as a list, with commas
  --seeds N    simulated runs in each simulation test, and schedules of faults against the signer (10000), as
               STELE_SIM_SEEDS and STELE_HSM_SCHEDULES
  --cases N    cases in each property test (20000), as PROPTEST_CASES
  --rounds N   repetitions of everything, each with the next seed (1)
  --uml FILE   power: another User-mode Linux than the package's, with its modules in ../lib/uml/modules beside it, as packages
               put them. Processors with AMX need 6.13 or newer
  --load-seconds N
               power: of the run whose points are tried (5). A second makes some thousand, which fit a quarter of an hour
  --json       at the end one JSON object on the last line

fire needs root, or a user namespace, and says so where it can have neither; clocks jump where the package faketime is installed.
power needs root, to mount, and the package user-mode-linux, which it installs.

Examples:
  cargo xtask torture --minutes 60
  cargo xtask torture --only fire --seed 7 --minutes 2
  cargo xtask torture --only fire,simulate --json
";

/// The parts, in the order of running.
const PARTS: [&str; 7] = ["fire", "simulate", "power", "unit", "end-to-end", "fuzz", "mutants"];

/// The package and the program that hold the schedule of faults, and the test's name.
const FIRE_PROGRAM: &str = "stele::end_to_end";
const FIRE_TEST: &str = "torture::a_random_schedule_of_faults_loses_nothing";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    parts: Vec<&'static str>,
    minutes: u64,
    seed: u64,
    seeds: u64,
    cases: u64,
    rounds: u64,
    uml: Option<PathBuf>,
    load_seconds: u64,
    as_json: bool,
}

impl Plan {
    fn parse(mut arguments: Arguments) -> Result<Self, Failure> {
        let plan = Self {
            parts: parts(arguments.value("only")?)?,
            minutes: arguments.number("minutes")?.unwrap_or(10),
            seed: arguments.number("seed")?.unwrap_or_else(fresh_seed),
            seeds: arguments.number("seeds")?.unwrap_or(10_000),
            cases: arguments.number("cases")?.unwrap_or(20_000),
            rounds: arguments.number("rounds")?.unwrap_or(1),
            uml: arguments.value("uml")?.map(PathBuf::from),
            load_seconds: arguments.number("load-seconds")?.unwrap_or(5),
            as_json: arguments.flag("json"),
        };
        arguments.finish()?;
        Ok(plan)
    }
}

fn parts(only: Option<String>) -> Result<Vec<&'static str>, Failure> {
    let Some(only) = only else { return Ok(PARTS.to_vec()) };
    let wanted: Vec<_> = only.split(',').collect();
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.contains(name)) {
        return Err(Failure::new(
            format!("`{unknown}` is not a part of torture"),
            format!("one of: {}", PARTS.join(", ")),
        ));
    }
    Ok(PARTS.into_iter().filter(|part| wanted.contains(part)).collect())
}

/// Short enough to be typed.
fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64 % 1_000_000
}

/// `cargo xtask torture`.
pub fn run(workspace: &Workspace, arguments: Arguments) -> Result<ExitCode, Failure> {
    let plan = Plan::parse(arguments)?;
    let mut rows = Vec::new();
    for round in 0..plan.rounds {
        let seed = plan.seed + round;
        println!("torture, round {} of {}: seed {seed}, {}", round + 1, plan.rounds, plan.parts.join(", "));
        rows.extend(one_round(workspace, &plan, seed)?);
        if rows.iter().any(|row| !row.ok) {
            break;
        }
    }
    let code = test_stages::report(&rows, false);
    if plan.as_json {
        let parts: Vec<_> = rows.iter().map(row_as_json).collect();
        let ok = rows.iter().all(|row| row.ok);
        println!("{}", json!({ "seed": plan.seed, "minutes": plan.minutes, "parts": parts, "ok": ok }));
    }
    Ok(code)
}

fn row_as_json(row: &Row) -> serde_json::Value {
    json!({
        "part": row.name, "seconds": row.took.as_secs(), "passed": row.totals.passed, "failed": row.totals.failed,
        "failures": row.totals.failures, "ok": row.ok,
    })
}

fn one_round(workspace: &Workspace, plan: &Plan, seed: u64) -> Result<Vec<Row>, Failure> {
    setup::run(workspace)?;
    let binaries = TestBinaries::build(workspace)?;
    let mut rows = Vec::new();
    let mut part = |name: &'static str, run: &dyn Fn() -> Result<Totals, Failure>| {
        if !plan.parts.contains(&name) {
            return;
        }
        heading(name);
        let started = Instant::now();
        let totals = run().unwrap_or_else(|failure| {
            eprintln!("{failure}");
            Totals { failed: 1, failures: vec![format!("{name}: {failure}")], ..Totals::default() }
        });
        let ok = totals.failed == 0;
        rows.push(Row { name, took: started.elapsed(), budget: Duration::ZERO, totals, ok });
    };
    part("fire", &|| fire(&binaries, seed, plan.minutes));
    part("simulate", &|| simulate(workspace, &binaries, seed, plan.minutes));
    part("power", &|| {
        power_loss::run(workspace, &binaries, plan.uml.as_deref(), plan.load_seconds, seed, plan.minutes)
    });
    let stages = [("unit", Stage::Unit), ("end-to-end", Stage::EndToEnd), ("fuzz", Stage::Fuzz)];
    let stages: Vec<_> =
        stages.into_iter().filter(|(name, _)| plan.parts.contains(name)).map(|(_, stage)| stage).collect();
    if !stages.is_empty() {
        rows.extend(test_stages::run_hard(workspace, stages, plan.seeds, plan.cases)?);
    }
    if plan.parts.contains(&"mutants") {
        heading("mutants");
        let started = Instant::now();
        let ok = mutants::run(workspace, Arguments::parse(Vec::new())?)? == ExitCode::SUCCESS;
        let failures = if ok { Vec::new() } else { vec!["mutants: one survived".to_owned()] };
        let totals = Totals { passed: u64::from(ok), failed: u64::from(!ok), failures, ..Totals::default() };
        rows.push(Row { name: "mutants", took: started.elapsed(), budget: Duration::ZERO, totals, ok });
    }
    Ok(rows)
}

/// The schedule of faults over real processes.
fn fire(binaries: &TestBinaries, seed: u64, minutes: u64) -> Result<Totals, Failure> {
    let program = binaries.tests.iter().find(|test| test.name == FIRE_PROGRAM);
    let program = program.ok_or_else(|| Failure::new(format!("{FIRE_PROGRAM} was not built"), ""))?;
    let mut command = binaries.command(program);
    command.args(["--ignored", "--exact", FIRE_TEST, "--nocapture"]);
    command.env("STELE_FIRE_SEED", seed.to_string()).env("STELE_FIRE_MINUTES", minutes.to_string());
    // What is asked for, and as much again for the checks at the end, which read every receipt on every node.
    let limit = Duration::from_mins(2 * minutes + 10);
    let totals = test_output::run(FIRE_PROGRAM, &mut command, limit)?;
    if totals.passed + totals.failed == 0 {
        return Err(Failure::new(format!("{FIRE_PROGRAM} has no test {FIRE_TEST}"), ""));
    }
    if totals.failed > 0 {
        println!("replay: cargo xtask torture --only fire --seed {seed} --minutes {minutes}");
    }
    Ok(totals)
}

/// The simulator's own mixes of faults, each for its share of the time.
fn simulate(workspace: &Workspace, binaries: &TestBinaries, seed: u64, minutes: u64) -> Result<Totals, Failure> {
    let stele = binaries.binaries.get("stele").ok_or_else(|| Failure::new("`stele` was not built", ""))?;
    let listed = output_of(Command::new(stele).args(["simulate", "--list"])).unwrap_or_default();
    // A name, and behind it what the scenario is about.
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let mixes: Vec<_> = names.filter(|name| name.starts_with("mix-")).collect();
    if mixes.is_empty() {
        return Err(Failure::new("`stele simulate --list` names no mix of faults", ""));
    }
    let seconds = (60 * minutes / mixes.len() as u64).max(1).to_string();
    let mut totals = Totals::default();
    for mix in mixes {
        let mut command = Command::new(stele);
        command.args(["simulate", "--scenario", mix, "--wall-seconds", &seconds, "--seed", &seed.to_string()]);
        if run_to_end(command.current_dir(&workspace.root))? {
            totals.passed += 1;
        } else {
            totals.failed += 1;
            totals.failures.push(format!("simulate: {mix}; the line above runs it again"));
        }
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &str) -> Result<Plan, Failure> {
        Plan::parse(Arguments::parse(words.split_whitespace().map(Into::into).collect()).expect("words are UTF-8"))
    }

    #[test]
    fn parts_are_chosen_by_name_and_run_in_their_order() {
        assert_eq!(plan("").expect("all").parts, PARTS);
        assert_eq!(plan("--only simulate,fire").expect("two").parts, ["fire", "simulate"]);
        assert!(plan("--only fires").is_err());
        assert!(plan("--minute 3").is_err());
        let asked = plan("--seed 7 --minutes 2 --json").expect("numbers");
        assert_eq!((asked.seed, asked.minutes, asked.as_json), (7, 2, true));
    }

    #[test]
    fn parts_are_named_as_in_the_help() {
        assert!(PARTS.iter().all(|part| HELP.contains(&format!("\n  {part} "))));
    }
}
