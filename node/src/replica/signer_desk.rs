//! The desk in front of the signer process: one thread, one proposal at a time.
//!
//! A proposal comes here only after the log has made it durable. While the signer cannot be reached the desk keeps
//! asking for the *same* statement, so that no round is ever burned (CONSENSUS.md §0.2); a refusal by the guard is final
//! and stops the node, because it means that this key has signed something else; one by the guard's fence makes the node
//! start again inside, above the rounds that it refuses.

use crate::records::Proposal;
use crate::replica::event::{Answer, Failure};
use crate::topology::SIGNER_DESK;
use crossbeam_channel::{Receiver, Sender, bounded};
use hsm::{Refusal, SignError, SignerClient};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use types::BlockHeader;

/// Pause before a signer that failed is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Starts the desk; it ends when the sender is dropped.
pub fn start(
    signer: Arc<SignerClient>,
    answers: Sender<Answer>,
    stopping: Arc<AtomicBool>,
) -> std::io::Result<(Sender<Proposal>, JoinHandle<()>)> {
    let (proposals, queue) = bounded(SIGNER_DESK);
    let thread = std::thread::Builder::new().name("signer-desk".into()).spawn(move || {
        run(&signer, &queue, &answers, &stopping);
    })?;
    Ok((proposals, thread))
}

fn run(signer: &SignerClient, queue: &Receiver<Proposal>, answers: &Sender<Answer>, stopping: &AtomicBool) {
    for proposal in queue {
        let signature = loop {
            match signer.sign_round(&proposal.statement, &proposal.votes) {
                Ok(signature) => break signature,
                Err(SignError::Fault(fault)) => {
                    tracing::warn!(%fault, round = proposal.statement.round.0, "the signer failed; asking again for the same statement");
                    std::thread::sleep(RETRY_PAUSE);
                    if stopping.load(Ordering::Relaxed) {
                        return;
                    }
                }
                // This statement may have been another one before the signer's file was restored or its machine crashed.
                Err(SignError::Refused(Refusal::Fenced { slot, from, .. })) if from.epoch == slot.epoch => {
                    return drop(answers.send(Answer::Failed(Failure::Fenced { from })));
                }
                Err(refused) => {
                    return drop(answers.send(Answer::Failed(Failure::Signer(refused.to_string()))));
                }
            }
        };
        let header = BlockHeader::new(proposal.statement, proposal.body, proposal.votes, signature);
        if answers.send(Answer::Signed(Arc::new(header))).is_err() {
            return;
        }
    }
}
