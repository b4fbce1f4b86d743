//! `stele signer activate`, `export-mark` and `import-mark`: what an operator says of a guard file, and carries elsewhere.

use super::{Beside, SignerError, read};
use clap::{Args, Subcommand};
use hsm::guard::{Activation, Floor, Mark};
use hsm::refusal::Slot;
use hsm::signer::Keys;
use hsm::{SignerConfig, guard_file};
use std::path::{Path, PathBuf};
use types::{Epoch, Height, Round};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Step {
    /// Vouch for a guard file that the signer refuses: after a restore, a move to another machine, or a cleared TPM.
    ///
    /// The signer cannot tell a file that was moved from an older copy of one, nor a crash from a copy. Whoever says
    /// that it is right takes the consequence: where this key has signed a round and signs it again, the committee has
    /// proof of it.
    #[command(after_help = "Examples:
  stele signer activate --acknowledge
      This file is the newest, and no other signer has this key: it was moved in full, or the machine crashed, and the
      rounds that the TPM fence leaves out after a crash are wanted at once, as when the whole committee lost its power.
  stele signer activate --from-round 482000 --votes-above 391000
      A backup: the validators that run are at rounds and heights below these two (`stele tx status`), so this key cannot
      have signed there. The signer signs from that round on; the node goes on there by itself.")]
    Activate(Activate),
    /// Print what the guard knows, for another guard of the same key (JSON). The signer must not run.
    #[command(
        name = "export-mark",
        after_help = "Example:\n  stele signer export-mark --retire > mark.json      before the validator moves to another machine"
    )]
    ExportMark {
        /// Also make this guard file refuse every round, for good: the key signs elsewhere from now on.
        #[arg(long)]
        retire: bool,
    },
    /// Raise the guard to a mark, or make the guard file from it where there is none. Never lowers anything.
    #[command(name = "import-mark", after_help = "Example:\n  stele signer import-mark mark.json")]
    ImportMark {
        /// What `export-mark` printed.
        #[arg(value_name = "FILE")]
        mark: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Activate {
    /// The file is the newest there is, and no other signer of this key runs.
    #[arg(long, conflicts_with_all = ["from_round", "votes_above", "epoch"])]
    acknowledge: bool,
    /// The first round that is signed for: above all that this key can have signed.
    #[arg(long, value_name = "ROUND", requires = "votes_above")]
    from_round: Option<u64>,
    /// The last height that is not voted for: not below any that this key can have voted for.
    #[arg(long, value_name = "HEIGHT", requires = "from_round")]
    votes_above: Option<u64>,
    /// The epoch of that round; by default the latest one that the guard or its configuration knows.
    #[arg(long, requires = "from_round")]
    epoch: Option<u64>,
}

impl Step {
    pub(super) fn run(self, path: &Path) -> Result<(), SignerError> {
        let config = read::<SignerConfig>(path)?.beside(path);
        match self {
            Self::Activate(activate) => {
                let floor = guard_file::activate(&config, activate.activation(&config)?)?;
                println!("The guard file {} is bound to this machine.", config.guard.display());
                print(floor);
            }
            Self::ExportMark { retire } => println!("{}", guard_file::export_mark(&config, retire)?.to_json()),
            Self::ImportMark { mark: file } => {
                let text = std::fs::read_to_string(&file)
                    .map_err(|source| SignerError::Unreadable { path: file.clone(), source })?;
                let mark = Mark::parse(&text).map_err(|source| SignerError::Mark { path: file, source })?;
                let imported = guard_file::import_mark(&config, &Keys::open(&config.store)?.public(), &mark)?;
                match (imported.created, imported.before == imported.after) {
                    (true, _) => println!("There was no guard file: {} is made from the mark.", config.guard.display()),
                    (false, true) => println!("The guard knows all that the mark says; nothing is changed."),
                    (false, false) => println!("The guard is raised to the mark."),
                }
                print(imported.after);
            }
        }
        Ok(())
    }
}

impl Activate {
    fn activation(&self, config: &SignerConfig) -> Result<Activation, SignerError> {
        let (Some(round), Some(height)) = (self.from_round, self.votes_above) else {
            return Ok(Activation::Acknowledge);
        };
        let review = guard_file::review(config)?;
        let known = review.mark.map_or(config.epoch, |mark| mark.epoch).max(review.floor.from.epoch).max(config.epoch);
        let epoch = self.epoch.map_or(known, Epoch);
        Ok(Activation::From(Floor { from: Slot { epoch, round: Round(round) }, votes_above: Height(height) }))
    }
}

fn print(Floor { from, votes_above }: Floor) {
    println!(
        "It refuses every statement below {from}, and votes for heights up to {votes_above}, other than those that it knows.\n\
         The validator takes part again from that round on."
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        step: Step,
    }

    #[test]
    fn an_activation_says_one_thing_and_all_of_it() {
        for good in [&["--acknowledge"][..], &["--from-round", "7", "--votes-above", "3", "--epoch", "2"]] {
            assert!(Cli::try_parse_from(["signer", "activate"].iter().chain(good)).is_ok(), "{good:?}");
        }
        let bad: [&[&str]; 5] = [
            &[],
            &["--from-round", "7"],
            &["--votes-above", "3"],
            &["--epoch", "2"],
            &["--acknowledge", "--from-round", "7", "--votes-above", "3"],
        ];
        for bad in bad {
            assert!(Cli::try_parse_from(["signer", "activate"].iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
