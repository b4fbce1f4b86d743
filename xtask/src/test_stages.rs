//! `cargo xtask test`: the stages, their budgets, and the closing table. A stage over its budget warns and does not fail,
//! since a slow machine is not a defect; a program that runs many times over it is stopped as hanging.
//!
//! Property and simulation tests read how much to do from the environment: `STELE_SIM_SEEDS` (simulated runs), `PROPTEST_CASES`
//! (proptest's own) and `STELE_HSM_SCHEDULES` (schedules of faults against the signer). `cargo xtask torture` raises them and runs the very same programs.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::console::{duration, heading};
use crate::failure::Failure;
use crate::setup;
use crate::supply_chain;
use crate::test_binaries::{TestBinaries, TestBinary};
use crate::test_output::{self, Totals};
use crate::workspace::{Workspace, output_of, run_to_end};

/// Shown by `--help`.
pub const TEST_HELP: &str = "\
Sets up, builds, lints and tests everything. Exit code 1 when anything failed.

Usage: cargo xtask test [--from STAGE] [--only STAGE]

Stages, with their budgets on two cores:
  setup       15 min from nothing (RocksDB), else milliseconds
  build       28 min from nothing
  lint         5 min   format, licences and bans, clippy, documentation
  unit        12 min   unit, property and simulation tests, examples in the documentation
  end-to-end  10 min   node/tests, one at a time
  fuzz         5 min   property-based decoding, corpus replay, and cargo-fuzz where it is installed

  --from STAGE   start there (what is needed is still set up and built)
  --only STAGE   just that one
";

/// A part of `cargo xtask test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Setup,
    Build,
    Lint,
    Unit,
    EndToEnd,
    Fuzz,
}

/// Name and budget of each stage, in order.
const STAGES: [(Stage, &str, Duration); 6] = [
    (Stage::Setup, "setup", Duration::from_mins(15)),
    (Stage::Build, "build", Duration::from_mins(28)),
    (Stage::Lint, "lint", Duration::from_mins(5)),
    (Stage::Unit, "unit", Duration::from_mins(12)),
    (Stage::EndToEnd, "end-to-end", Duration::from_mins(10)),
    (Stage::Fuzz, "fuzz", Duration::from_mins(5)),
];

/// A program that runs this many times its stage's budget hangs.
const HANGS_AFTER_BUDGETS: u32 = 3;

/// Tests of decoders carry one of these in their program's name or their path, and form the fuzz stage.
const DECODING: [&str; 3] = ["fuzz", "corpus", "decoding"];

/// The package whose integration tests are the end-to-end tests.
const NODE: &str = "stele";

/// Seconds of simulated mixes with seeds that no run has had before, unless `STELE_SIM_SECONDS` says otherwise.
const FRESH_SECONDS: &str = "60";

/// Seconds for each target of cargo-fuzz.
const FUZZ_SECONDS: u32 = 5;

/// What became of a stage.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub took: Duration,
    pub budget: Duration,
    pub totals: Totals,
    pub ok: bool,
}

/// How to run the stages.
#[derive(Debug)]
struct Plan {
    stages: Vec<Stage>,
    environment: Vec<(&'static str, String)>,
    budgets_apply: bool,
}

/// `cargo xtask test`.
pub fn test(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode, Failure> {
    let from = arguments.value("from")?.map(|name| stage(&name)).transpose()?;
    let only = arguments.value("only")?.map(|name| stage(&name)).transpose()?;
    arguments.finish()?;
    let all = STAGES.iter().map(|(stage, ..)| *stage);
    let stages = match only {
        Some(only) => vec![only],
        None => all.filter(|stage| from.is_none_or(|from| *stage >= from)).collect(),
    };
    let fresh_seconds = std::env::var("STELE_SIM_SECONDS").unwrap_or_else(|_| FRESH_SECONDS.to_owned());
    let environment = vec![("STELE_SIM_SECONDS", fresh_seconds)];
    let rows = run(workspace, &Plan { stages, environment, budgets_apply: true })?;
    Ok(report(&rows, true))
}

/// The tests of some stages with many more seeds and cases.
pub fn run_hard(workspace: &Workspace, stages: Vec<Stage>, seeds: u64, cases: u64) -> Result<Vec<Row>, Failure> {
    let environment = vec![
        ("STELE_SIM_SEEDS", seeds.to_string()),
        ("STELE_HSM_SCHEDULES", seeds.to_string()),
        ("PROPTEST_CASES", cases.to_string()),
        ("STELE_TORTURE", "1".to_owned()),
    ];
    run(workspace, &Plan { stages, environment, budgets_apply: false })
}

fn stage(name: &str) -> Result<Stage, Failure> {
    STAGES.iter().find(|(_, known, _)| *known == name).map(|(stage, ..)| *stage).ok_or_else(|| {
        let names: Vec<_> = STAGES.iter().map(|(_, name, _)| *name).collect();
        Failure::new(format!("`{name}` is not a stage"), format!("one of: {}", names.join(", ")))
    })
}

fn run(workspace: &Workspace, plan: &Plan) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    let mut binaries: Option<TestBinaries> = None;
    for (stage, name, budget) in STAGES {
        // Every later stage stands on the first two; where they are not asked for, they still run but have no row.
        let asked = plan.stages.contains(&stage);
        let needed = match stage {
            Stage::Setup => true,
            Stage::Build => plan.stages.iter().any(|stage| *stage >= Stage::Unit),
            _ => false,
        };
        if !asked && !needed {
            continue;
        }
        heading(name);
        let started = Instant::now();
        let limit = if plan.budgets_apply { budget * HANGS_AFTER_BUDGETS } else { Duration::from_hours(24) };
        let outcome = match (stage, &binaries) {
            (Stage::Setup, _) => setup::run(workspace).map(|()| Totals::default()),
            (Stage::Build, _) => TestBinaries::build(workspace).map(|built| {
                println!("  {} test programs", built.tests.len());
                binaries = Some(built);
                Totals::default()
            }),
            (Stage::Lint, _) => lint(workspace),
            (_, Some(binaries)) => tests(workspace, plan, stage, binaries, limit),
            (_, None) => Err(Failure::new("the test programs were not built", "")),
        };
        let (totals, ok) = match outcome {
            Ok(totals) => {
                let ok = totals.failed == 0;
                (totals, ok)
            }
            Err(failure) => {
                eprintln!("{failure}");
                let failures = vec![format!("{name}: {}", failure.to_string().lines().next().unwrap_or_default())];
                (Totals { failed: 1, failures, ..Totals::default() }, false)
            }
        };
        if asked || !ok {
            rows.push(Row { name, took: started.elapsed(), budget, totals, ok });
        }
        if !ok && matches!(stage, Stage::Setup | Stage::Build) {
            break;
        }
    }
    Ok(rows)
}

/// Each check runs even when an earlier one failed, so that one run shows all there is to mend.
fn lint(workspace: &Workspace) -> Result<Totals, Failure> {
    let mut totals = Totals::default();
    let mut check = |name: &str, check: &dyn Fn() -> Result<bool, Failure>| {
        let started = Instant::now();
        let ok = check().unwrap_or_else(|failure| {
            eprintln!("{failure}");
            false
        });
        println!("  {name}: {}, {}", if ok { "clean" } else { "FAILED" }, duration(started.elapsed()));
        if !ok {
            totals.failed += 1;
            totals.failures.push(format!("lint: {name}"));
        }
    };
    check("format", &|| run_to_end(workspace.cargo().args(["fmt", "--all", "--check"])));
    check("licences and bans", &|| supply_chain::check(workspace).map(|()| true));
    check("clippy", &|| {
        let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run_to_end(workspace.cargo().args(arguments))
    });
    check("documentation", &|| {
        let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items"];
        run_to_end(workspace.cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
    });
    Ok(totals)
}

/// Runs what belongs to one of the three test stages.
fn tests(
    workspace: &Workspace,
    plan: &Plan,
    stage: Stage,
    binaries: &TestBinaries,
    limit: Duration,
) -> Result<Totals, Failure> {
    let mut totals = Totals::default();
    for test in &binaries.tests {
        let Some(arguments) = share(stage, test) else { continue };
        println!("\n-- {} {}", test.name, arguments.join(" "));
        let mut command = binaries.command(test);
        command.args(arguments).envs(plan.environment.iter().map(|(name, value)| (name, value)));
        totals.add(test_output::run(&test.name, &mut command, limit)?);
    }
    match stage {
        Stage::Unit => {
            println!("\n-- examples in the documentation");
            let mut command = workspace.cargo();
            command.args(["test", "--workspace", "--doc"]);
            totals.add(test_output::run("documentation", &mut command, limit)?);
        }
        Stage::Fuzz => totals.add(cargo_fuzz(workspace, limit)?),
        _ => {}
    }
    Ok(totals)
}

/// The arguments with which a stage runs a program; `None` leaves it to the others. Each test belongs to exactly one stage.
fn share(stage: Stage, test: &TestBinary) -> Option<Vec<&'static str>> {
    let all_decoding = test.is_integration && DECODING.iter().any(|word| test.name.contains(word));
    let is_end_to_end = test.is_integration && test.package == NODE;
    match stage {
        Stage::EndToEnd => (is_end_to_end && !all_decoding).then(|| vec!["--test-threads", "1"]),
        Stage::Fuzz if all_decoding => Some(Vec::new()),
        Stage::Fuzz => (!is_end_to_end).then(|| DECODING.to_vec()),
        Stage::Unit if all_decoding || is_end_to_end => None,
        Stage::Unit => Some(DECODING.iter().flat_map(|word| ["--skip", word]).collect()),
        _ => None,
    }
}

/// Coverage-guided fuzzing of each `<crate>/fuzz`, starting from its corpus.
fn cargo_fuzz(workspace: &Workspace, limit: Duration) -> Result<Totals, Failure> {
    let mut totals = Totals::default();
    if output_of(workspace.bare_cargo().args(["fuzz", "--version"])).is_none() {
        println!("\ncargo-fuzz is not installed; decoders were tested by properties and corpus replay alone");
        return Ok(totals);
    }
    let entries = std::fs::read_dir(&workspace.root).map_err(|error| Failure::io("listing the crates", &error))?;
    for folder in entries.flatten().map(|entry| entry.path()).filter(|path| path.join("fuzz/Cargo.toml").exists()) {
        let list = output_of(workspace.bare_cargo().current_dir(&folder).args(["fuzz", "list"])).unwrap_or_default();
        for target in list.lines() {
            println!("\n-- cargo fuzz run {target}, {FUZZ_SECONDS} s");
            let mut command = workspace.bare_cargo();
            command
                .current_dir(&folder)
                .args(["fuzz", "run", "--sanitizer", "none", "--target-dir"])
                // Shared, since the targets of two crates stand on the same third.
                .arg(workspace.target_dir().join("fuzz"))
                .args([target, "--"])
                // What the fuzzer has to say is a crash and its input; the growth of its corpus hides that.
                .args(["-verbosity=0", "-print_final_stats=1"])
                .arg(format!("-max_total_time={FUZZ_SECONDS}"));
            let mut ran = test_output::run(target, &mut command, limit)?;
            ran.passed += u64::from(ran.failed == 0);
            totals.add(ran);
        }
    }
    Ok(totals)
}

/// The closing table, and what failed.
pub fn report(rows: &[Row], budgets_apply: bool) -> ExitCode {
    heading("result");
    println!("  {:<12} {:>9} {:>9}  {:>7} {:>7}", "stage", "seconds", "budget", "passed", "failed");
    let mut totals = Totals::default();
    for row in rows {
        let over = budgets_apply && row.took > row.budget;
        let verdict = match (row.ok, over) {
            (false, _) => "FAILED",
            (true, true) => "OVER BUDGET",
            (true, false) => "ok",
        };
        let budget = if budgets_apply { row.budget.as_secs().to_string() } else { "-".to_owned() };
        let (seconds, totals) = (row.took.as_secs_f64(), &row.totals);
        println!("  {:<12} {seconds:>9.1} {budget:>9}  {:>7} {:>7}  {verdict}", row.name, totals.passed, totals.failed);
    }
    for row in rows {
        if budgets_apply && row.took > row.budget {
            println!(
                "\nWARNING: {} took {}, over its budget of {}",
                row.name,
                duration(row.took),
                duration(row.budget)
            );
        }
        totals.add(row.totals.clone());
    }
    if totals.ignored > 0 {
        println!("\n{} tests are marked as ignored", totals.ignored);
    }
    if !totals.failures.is_empty() {
        for excerpt in &totals.excerpts {
            println!("\n{excerpt}");
        }
        println!("\nfailed:");
        for failure in &totals.failures {
            println!("  {failure}");
        }
    }
    println!("\n{} passed, {} failed", totals.passed, totals.failed);
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(package: &str, target: &str, is_integration: bool) -> TestBinary {
        TestBinary {
            name: format!("{package}::{target}"),
            package: package.to_owned(),
            is_integration,
            executable: "/t".into(),
            folder: "/c".into(),
        }
    }

    #[test]
    fn the_budgets_fit_into_the_promise_of_75_minutes() {
        let sum: Duration = STAGES.iter().map(|(_, _, budget)| *budget).sum();
        assert!(sum <= Duration::from_mins(75));
        assert!(STAGES.windows(2).all(|pair| pair[0].0 < pair[1].0), "the table is in the order of running");
    }

    #[test]
    fn every_program_belongs_to_a_stage_and_end_to_end_runs_serially() {
        let end_to_end = binary("stele", "devnet", true);
        assert_eq!(share(Stage::EndToEnd, &end_to_end), Some(vec!["--test-threads", "1"]));
        assert_eq!(share(Stage::Unit, &end_to_end), None);
        assert_eq!(share(Stage::Fuzz, &end_to_end), None);
        assert_eq!(share(Stage::EndToEnd, &binary("stele", "stele", false)), None);
    }

    #[test]
    fn decoding_tests_run_in_the_fuzz_stage_only() {
        let whole = binary("stele-types", "decoding", true);
        assert_eq!(share(Stage::Fuzz, &whole), Some(Vec::new()));
        assert_eq!(share(Stage::Unit, &whole), None);
        let mixed = binary("stele-types", "types", false);
        assert_eq!(share(Stage::Fuzz, &mixed), Some(DECODING.to_vec()));
        assert_eq!(share(Stage::Unit, &mixed).map(|arguments| arguments.len()), Some(2 * DECODING.len()));
    }

    #[test]
    fn stages_are_named_as_in_the_help() {
        for (known, name, _) in STAGES {
            assert!(TEST_HELP.contains(&format!("\n  {name} ")), "{name}");
            assert_eq!(stage(name).expect("it is in the table"), known);
        }
        assert!(stage("units").is_err());
    }
}
