//! `stele signer status`: the guard file as it is on the disk, and the running process as the kernel has it.

use super::SignerError;
use hsm::guard::Review;
use hsm::process::Protections;
use hsm::refusal::Slot;
use hsm::{SignerClient, SignerConfig, Stats, guard_file};
use serde_json::{Value, json};

pub(super) fn run(config: &SignerConfig, as_json: bool) -> Result<(), SignerError> {
    let review = guard_file::review(config)?;
    let running = SignerClient::connect(&config.socket).ok().and_then(|client| {
        let (protections, stats) = (client.protections().ok()?, client.stats().ok()?);
        Some((protections, stats))
    });
    if as_json {
        println!("{:#}", report(&review, running.as_ref()));
        return Ok(());
    }
    let mark = review.mark.map_or("nothing".to_owned(), |mark| mark.to_string());
    println!("guard     approved up to {mark}; bound to: {}", review.bound_to);
    println!("          a start from it refuses rounds below {}", review.floor.from);
    for action in &review.actions {
        println!("          {} at {} (seconds since 1970)", action.act.name(), action.at);
    }
    let Some((process, stats)) = running else {
        println!("process   no signer of this user listens on {}", config.socket.display());
        return Ok(());
    };
    let yes = |on: bool| if on { "yes" } else { "NO" };
    let core = process.core_bytes_max.map_or("unlimited".to_owned(), |bytes| format!("at most {bytes} bytes"));
    println!("process   {} of user {}", process.pid, process.uid);
    println!("          no new privileges: {}", yes(process.no_new_privileges));
    println!("          closed to debuggers: {}; core dumps: {core}", yes(process.undumpable));
    println!("          memory locked: {} of {} KiB", process.locked_kib, process.resident_kib);
    println!("          system calls filtered: {}", yes(process.seccomp_enforced));
    println!("          confined to its own files: {}", yes(process.files_confined));
    println!(
        "signer    {}: {} signatures, {} refused, {} faults",
        stats.module, stats.signatures, stats.refused, stats.faults
    );
    if stats.modules_stuck > 0 {
        println!("          A PKCS#11 MODULE DOES NOT RETURN from a call; the standby signs alone until a restart");
    }
    Ok(())
}

fn report(review: &Review, running: Option<&(Protections, Stats)>) -> Value {
    let slot = |slot: Slot| json!({ "epoch": slot.epoch.0, "round": slot.round.0 });
    let actions: Vec<_> = review
        .actions
        .iter()
        .map(|action| json!({ "act": action.act.name(), "at": action.at, "from": slot(action.floor.from) }))
        .collect();
    json!({
        "guard": {
            "approved_up_to": review.mark.map(slot),
            "bound_to": review.bound_to,
            "refuses_below": slot(review.floor.from),
            "votes_above": review.floor.votes_above.0,
            "actions": actions,
        },
        "process": running.map(|(process, _)| process),
        "stats": running.map(|(_, stats)| json!({
            "module": stats.module,
            "signatures": stats.signatures,
            "refused": stats.refused,
            "faults": stats.faults,
            "handshakes": stats.handshakes,
            "modules_stuck": stats.modules_stuck,
            "signs_from": stats.signs_from.map(slot),
            "signed_up_to": stats.signed_up_to.map(slot),
        })),
    })
}
