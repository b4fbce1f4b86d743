//! `cargo xtask mutants`: breaks one rule of the consensus core at a time, as `consensus/mutants.toml` lists them, and expects the
//! tests to fail. The working tree is never touched: the crate is copied, and its dependencies come out of the same build folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::console::{duration, heading};
use crate::failure::Failure;
use crate::workspace::Workspace;

/// Shown by `--help`.
pub const HELP: &str = "\
Applies each mutant of consensus/mutants.toml to a copy of the crate, builds it and runs its tests, which must fail.
Exit code 1 when a mutant survives or does not build.

Usage: cargo xtask mutants [--only NAME] [--json]

  --only NAME   just those whose name contains NAME
  --json        print the table as JSON, progress on standard error

Tests named by `killed_by` run first, and the whole suite only over a mutant that they let live. A minute for each on two cores.

Example: cargo xtask mutants --only twin
";

/// Who runs longer than this hangs, and hanging is failing. The whole suite takes a minute or two, and on a machine that has
/// much else to do more than six: a limit that is met by mere slowness says of a mutant that lives that it is killed.
const LIMIT: Duration = Duration::from_mins(30);

/// Folders that the copy needs: the crate, and the one that it stands on.
const COPIED: [&str; 2] = ["consensus", "types"];

#[derive(Clone, Debug)]
struct Mutant {
    name: String,
    file: String,
    find: String,
    replace: String,
    why: String,
    killed_by: String,
}

#[derive(Debug)]
enum Verdict {
    /// By a failing test, or by hanging.
    Killed(String),
    Survived,
    DoesNotBuild,
}

/// `cargo xtask mutants`.
pub fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<ExitCode, Failure> {
    let only = arguments.value("only")?;
    let as_json = arguments.flag("json");
    arguments.finish()?;
    let path = workspace.root.join("consensus/mutants.toml");
    let text = fs::read_to_string(&path).map_err(|error| Failure::io("reading consensus/mutants.toml", &error))?;
    let mut mutants = parse(&text).map_err(|error| Failure::new(format!("consensus/mutants.toml: {error}"), ""))?;
    mutants.retain(|mutant| only.as_ref().is_none_or(|only| mutant.name.contains(only.as_str())));
    if mutants.is_empty() {
        return Err(Failure::new("no mutant has that name", "consensus/mutants.toml lists them"));
    }
    let scratch = workspace.target_dir().join("mutants");
    let mut rows = Vec::new();
    for mutant in &mutants {
        let started = Instant::now();
        let verdict = judge(workspace, &scratch, mutant)?;
        let took = started.elapsed();
        let said = match &verdict {
            Verdict::Killed(by) => format!("killed by {by}"),
            Verdict::Survived => "SURVIVED".to_owned(),
            Verdict::DoesNotBuild => "DOES NOT BUILD".to_owned(),
        };
        eprintln!("  {}: {said}, {}", mutant.name, duration(took));
        rows.push((mutant, verdict, took));
    }
    let alive = rows.iter().filter(|(_, verdict, _)| !matches!(verdict, Verdict::Killed(_))).count();
    if as_json {
        println!(
            "{:#}",
            Value::Array(rows.iter().map(|(mutant, verdict, took)| row(mutant, verdict, *took)).collect())
        );
    } else {
        heading("mutants");
        println!("| mutant | breaks | killed by | seconds |\n|---|---|---|---:|");
        for (mutant, verdict, took) in &rows {
            let killed = match verdict {
                Verdict::Killed(by) => format!("`{by}`"),
                other => format!("**{other:?}**"),
            };
            println!("| {} | {} | {killed} | {} |", mutant.name, mutant.why, took.as_secs());
        }
        println!("\n{} of {} killed", rows.len() - alive, rows.len());
    }
    Ok(if alive == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(mutant: &Mutant, verdict: &Verdict, took: Duration) -> Value {
    let (verdict, by) = match verdict {
        Verdict::Killed(by) => ("killed", Some(by)),
        Verdict::Survived => ("survived", None),
        Verdict::DoesNotBuild => ("does not build", None),
    };
    json!({ "name": mutant.name, "why": mutant.why, "verdict": verdict, "killed_by": by, "seconds": took.as_secs() })
}

/// Fails on a missing key and on what is not text.
fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mutants = table.get("mutant").and_then(toml::Value::as_array).ok_or("there is no [[mutant]]")?;
    let mutant = |mutant: &toml::Value| {
        let text = |key: &str| {
            let value = mutant.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).ok_or(format!("a mutant has no `{key}`"))
        };
        Ok(Mutant {
            name: text("name")?,
            file: text("file")?,
            find: text("find")?,
            replace: text("replace")?,
            why: text("why")?,
            killed_by: text("killed_by")?,
        })
    };
    mutants.iter().map(mutant).collect()
}

fn judge(workspace: &Workspace, scratch: &Path, mutant: &Mutant) -> Result<Verdict, Failure> {
    copy_crates(workspace, scratch)?;
    let file = scratch.join("consensus").join(&mutant.file);
    let source = fs::read_to_string(&file).map_err(|error| Failure::io(format!("reading {}", mutant.file), &error))?;
    if source.matches(&mutant.find).count() != 1 {
        let place = format!("`find` of mutant {} is not in {} exactly once", mutant.name, mutant.file);
        return Err(Failure::new(place, "bring consensus/mutants.toml up to date"));
    }
    write(&file, &source.replacen(&mutant.find, &mutant.replace, 1))?;
    // Most die in the first run.
    for (tests, filter) in [("--test=suite", Some(mutant.killed_by.as_str())), ("--test=suite", None), ("--lib", None)]
    {
        let Some(programs) = build(workspace, scratch, tests)? else { return Ok(Verdict::DoesNotBuild) };
        for program in &programs {
            if let Some(by) = first_failure(scratch, program, filter)? {
                return Ok(Verdict::Killed(by));
            }
        }
    }
    Ok(Verdict::Survived)
}

/// A workspace of two crates beside the real one.
fn copy_crates(workspace: &Workspace, scratch: &Path) -> Result<(), Failure> {
    for folder in COPIED {
        let to = scratch.join(folder);
        if to.exists() {
            fs::remove_dir_all(&to).map_err(|error| Failure::io(format!("emptying {}", to.display()), &error))?;
        }
        copy(&workspace.root.join(folder), &to)?;
    }
    copy(&workspace.root.join(".cargo"), &scratch.join(".cargo"))?;
    let read = |name: &str| {
        fs::read_to_string(workspace.root.join(name)).map_err(|error| Failure::io(format!("reading {name}"), &error))
    };
    let manifest = read("Cargo.toml")?;
    let members = |line: &str| match line.starts_with("members = ") {
        true => format!("members = {COPIED:?}\n"),
        false => format!("{line}\n"),
    };
    write(&scratch.join("Cargo.toml"), &manifest.lines().map(members).collect::<String>())?;
    write(&scratch.join("Cargo.lock"), &read("Cargo.lock")?)
}

/// Keeps the times of files, so that what is unchanged is not compiled again.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(format!("copying {}", from.display()), &error);
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "target" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &target)?;
            continue;
        }
        fs::copy(&path, &target).map_err(failed)?;
        let changed = entry.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
        let copied = fs::File::options().append(true).open(&target).map_err(failed)?;
        copied.set_modified(changed).map_err(failed)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io(format!("writing {}", path.display()), &error))
}

/// The crate's test programs of one kind; `None` when it does not compile, with the compiler's words on standard error.
fn build(workspace: &Workspace, scratch: &Path, tests: &str) -> Result<Option<Vec<PathBuf>>, Failure> {
    let arguments = ["test", "--quiet", "--offline", "-p", "stele-consensus", tests, "--no-run"];
    let output = workspace
        .cargo()
        .current_dir(scratch)
        .env("CARGO_TARGET_DIR", workspace.target_dir())
        // One line differs from the mutant before.
        .env("CARGO_INCREMENTAL", "1")
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::io("running cargo test --no-run", &error))?;
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = |message: Value| message["executable"].as_str().map(PathBuf::from);
    Ok(Some(messages.filter_map(executable).collect()))
}

/// The first test of a program that fails, or says that it hangs; `None` when all pass.
fn first_failure(scratch: &Path, program: &Path, filter: Option<&str>) -> Result<Option<String>, Failure> {
    let log = scratch.join("tests.log");
    let failed = |error: std::io::Error| Failure::io(format!("running {}", program.display()), &error);
    let output = fs::File::create(&log).map_err(failed)?;
    let mut child = Command::new(program)
        .args(filter)
        .current_dir(scratch.join("consensus"))
        .env("CARGO_MANIFEST_DIR", scratch.join("consensus"))
        .env("RUST_BACKTRACE", "0")
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            if status.success() {
                return Ok(None);
            }
            let text = fs::read_to_string(&log).map_err(failed)?;
            let name = text.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            return Ok(Some(name.map_or_else(|| format!("an abort ({status})"), str::to_owned)));
        }
        if started.elapsed() > LIMIT {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Ok(Some(format!("hanging for {}", duration(LIMIT))));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_a_reason_and_changes_one_place_of_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
        let text = fs::read_to_string(root.join("consensus/mutants.toml")).expect("the list is there");
        let mutants = parse(&text).expect("the list is in order");
        assert!(mutants.len() >= 25);
        for (index, mutant) in mutants.iter().enumerate() {
            let source = fs::read_to_string(root.join("consensus").join(&mutant.file)).expect("the file is there");
            assert_eq!(source.matches(&mutant.find).count(), 1, "{} in {}", mutant.name, mutant.file);
            assert!(mutant.find != mutant.replace && !mutant.why.is_empty(), "{}", mutant.name);
            assert!(mutants[..index].iter().all(|other| other.name != mutant.name), "{} twice", mutant.name);
        }
    }

    #[test]
    fn a_mutant_without_a_reason_is_refused() {
        assert!(parse("[[mutant]]\nname = \"a\"").is_err_and(|error| error.contains("`file`")));
    }
}
