//! `stele hw tune`: settings of the machine that a node profits from: held against what is there, set, and put back.

use super::facts::Tree;
use clap::{Args, Subcommand};
use firmware_hal::tune::{self, Hugepages, Tally};
use firmware_hal::{Inventory, Outcome, Root, Setting};
use miette::IntoDiagnostic;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// See, set and put back settings of the machine.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele hw tune check            what differs from what a node profits from, why, and what to type; status 1 if anything does, or is unknown
  stele hw tune apply --dry-run  what would be written
  sudo stele hw tune apply --hugepages 2048=512   and a gigabyte of huge pages, for a program beside the node that takes them
  sudo stele hw tune apply       writes it, and first what was there before to --record
  sudo stele hw tune revert      puts that back

`check` takes no rights and changes nothing. What only the kernel's command line can set is said and not done. Settings last
until the machine is started again: run `apply` from a unit that comes before the node's. A path below /ethtool/ stands for
the channels of a network interface, as `ethtool -l` shows them; setting them may take its link down for a moment.")]
pub struct TuneArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Say what is as wanted and what is not: status 1 where something is not, or where it cannot be told.
    Check(CheckArgs),
    /// Set what can be set while the machine runs; says the command to the same effect for each.
    Apply(ApplyArgs),
    /// Put back what `apply` has changed since the machine was started.
    Revert(RevertArgs),
}

#[derive(Clone, Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    tree: Tree,
    #[command(flatten)]
    wishes: WishArgs,
    /// Print JSON: {tuned, tally{met, differing, due, unknown}, settings[{path, value|unknown, wanted, why, how}]}.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
struct ApplyArgs {
    /// Only say what would be written.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wishes: WishArgs,
    #[command(flatten)]
    record: RecordArgs,
}

#[derive(Clone, Debug, Args)]
struct RevertArgs {
    #[command(flatten)]
    record: RecordArgs,
}

#[derive(Clone, Debug, Args)]
struct WishArgs {
    /// Set so many huge pages of a size aside, in even shares on the nodes that have memory: 2048=512 is 1 GiB. May be given once
    /// a size; by default they are left as they are, since a node asks for none itself.
    #[arg(long, value_name = "KIB=COUNT")]
    hugepages: Vec<Hugepages>,
}

#[derive(Clone, Debug, Args)]
struct RecordArgs {
    /// What was there before, for `revert`.
    #[arg(long, value_name = "FILE", default_value = "/var/lib/stele/tune.json")]
    record: PathBuf,
    /// Print JSON: {ok, changes[{path, before, value, problem}], left[settings that were not touched]}.
    #[arg(long)]
    json: bool,
}

/// Runs to the end.
pub fn run(args: &TuneArgs) -> miette::Result<ExitCode> {
    match &args.action {
        Action::Check(args) => check(args),
        Action::Apply(args) => apply(args),
        Action::Revert(args) => {
            let outcomes = tune::revert(&Root::system(), &args.record.record).into_diagnostic()?;
            say(&outcomes, "put back", &[], args.record.json)
        }
    }
}

fn wanted(root: &Root, wishes: &WishArgs) -> Vec<Setting> {
    tune::settings(root, &Inventory::take(root), &wishes.hugepages)
}

fn check(args: &CheckArgs) -> miette::Result<ExitCode> {
    let settings = wanted(&args.tree.open()?, &args.wishes);
    let tally = Tally::of(&settings);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "tuned": tally.is_tuned(), "tally": tally, "settings": settings }))
            .into_diagnostic()?;
    } else {
        for setting in &settings {
            writeln!(out, "{setting}").into_diagnostic()?;
        }
        writeln!(out, "{tally}").into_diagnostic()?;
    }
    Ok(if tally.is_tuned() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn apply(args: &ApplyArgs) -> miette::Result<ExitCode> {
    let root = Root::system();
    let settings = wanted(&root, &args.wishes);
    if args.dry_run {
        let due = settings.iter().filter(|setting| setting.is_due());
        let commands: Vec<_> = due.map(Setting::command).collect();
        let text = if args.record.json { json!({ "commands": commands }).to_string() } else { commands.join("\n") };
        writeln!(std::io::stdout(), "{text}").into_diagnostic()?;
        return Ok(ExitCode::SUCCESS);
    }
    let outcomes = tune::apply_all(&root, &args.wishes.hugepages, &args.record.record).into_diagnostic()?;
    let left: Vec<&Setting> =
        settings.iter().filter(|setting| setting.is_met() != Some(true) && !setting.is_due()).collect();
    say(&outcomes, "set", &left, args.record.json)
}

/// What became of each file, and of those that were left as they are, since nobody knows how that is or only people can change
/// it; status 1 where one that was written is not as it was to be.
fn say(outcomes: &[Outcome], done: &str, left: &[&Setting], as_json: bool) -> miette::Result<ExitCode> {
    let ok = outcomes.iter().all(|outcome| outcome.problem.is_none());
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({ "ok": ok, "changes": outcomes, "left": left })).into_diagnostic()?;
    } else {
        for Outcome { path, before, value, problem } in outcomes {
            let command = tune::command(path, value);
            match problem {
                None => writeln!(out, "{done}: {path}: {before} -> {value}    ({command})"),
                Some(problem) => writeln!(out, "NOT {done}: {path} to {value}: {problem}"),
            }
            .into_diagnostic()?;
        }
        for setting in left {
            match setting.is_met() {
                None => writeln!(out, "{setting}\n         so it was left alone"),
                Some(_) => writeln!(out, "by hand: {}", setting.command()),
            }
            .into_diagnostic()?;
        }
        let count = outcomes.iter().filter(|outcome| outcome.problem.is_none()).count();
        writeln!(out, "{done}: {count} of {} settings", outcomes.len()).into_diagnostic()?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
