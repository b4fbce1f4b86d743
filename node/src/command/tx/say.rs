//! Words for people: times, outcomes.

use client::rpc::{EventsInfo, OutcomeInfo, TransactionInfo};
use types::{LedgerEvent, Reject};

/// A moment as `2026-11-21T03:16:29.123Z` (RFC 3339).
pub fn time(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", in_day % 1000)
}

/// The date that many days after 1970-01-01: Howard Hinnant, "chrono-compatible low-level date algorithms".
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// What became of a transaction, in a word or a sentence.
pub fn outcome(outcome: OutcomeInfo) -> String {
    match outcome {
        OutcomeInfo::Applied => "applied".to_owned(),
        OutcomeInfo::Rejected(reject) => format!("rejected: {reject}"),
    }
}

/// What to do about a rejected transaction.
pub fn advice(reject: Reject) -> &'static str {
    match reject {
        Reject::UnknownSender => {
            "nothing was ever transferred to this account; only accounts of genesis and receivers of a transfer exist"
        }
        Reject::Overdraft => "see the balance with `stele tx account`",
        Reject::Expired | Reject::ValidUntilTooFar => "check the clock of this machine",
        Reject::TooLarge => "use a shorter memo",
        Reject::AlgorithmNotAllowed => {
            "sign with a key of an algorithm that the ledger's genesis names; see `stele key generate --help`"
        }
        Reject::WrongChain => "the node belongs to another ledger than the transaction was made for",
        Reject::NotGoverning => {
            "see the members with `stele governance show`, and whose a key is with `stele key show`"
        }
        Reject::WrongEpoch | Reject::EpochClosing => {
            "see `stele governance show`, and approve it again in the next epoch"
        }
        Reject::AlreadyApproved => "nothing is left to do; see who else approves it with `stele governance show`",
        Reject::UnknownValidator => "see the validators with `stele governance show`",
        Reject::QuorumUnreachable => {
            "the ledger would stop; bring validators back first, or ask a node that reaches more of them; one whose node.toml \
             has `quorum_in_reach = false` under [governance] does not check"
        }
        Reject::NotAuthorised => {
            "who owns the object or the account must sign: draft the steps with `stele tx draft`, and have all parties sign"
        }
        Reject::UnknownObject => "see what has happened to it with `stele tx history`",
        Reject::ObjectExists => "use another --salt",
        Reject::NotGranted | Reject::UnknownGrant => "see the grant with `stele tx grant show`",
        Reject::TooManyLiveIds => "the ledger is full for the moment; try again",
        _ => "correct the transaction and send it again",
    }
}

/// An executed transaction.
pub fn transaction(info: &TransactionInfo) -> String {
    format!(
        "transaction {}\nheight      {}, position {}\ntime        {}\noutcome     {}",
        info.id,
        info.height,
        info.index,
        time(info.time_ms),
        outcome(info.outcome)
    )
}

/// An executed transaction and what it did.
pub fn executed(info: &EventsInfo) -> String {
    let events = info.events.iter().map(|said| format!("\n            {}", event(said)));
    transaction(&info.transaction) + &events.collect::<String>()
}

/// What happened, in a line.
pub fn event(event: &LedgerEvent) -> String {
    match event {
        LedgerEvent::Paid { from, to, amount } => format!("{from} paid {amount} to {to}"),
        LedgerEvent::Created { object, owner, quantity, content, .. } => {
            format!("created {object}, {quantity} units of {content}, owner {owner}")
        }
        LedgerEvent::Transferred { object, from, to, quantity } => {
            format!("{object}, {quantity} units, went from {from} to {to}")
        }
        LedgerEvent::Split { object, part, quantity, left } => {
            format!("split {quantity} units off {object}, which has {left} left, into {part}")
        }
        LedgerEvent::Merged { object, into, quantity } => {
            format!("merged {object} into {into}, which has {quantity} units now")
        }
        LedgerEvent::Burned { object, owner, quantity } => format!("burned {object}, {quantity} units of {owner}"),
        LedgerEvent::Granted { grant, grantee, resource, rights, expires, .. } => {
            format!("{grant} lets {grantee} do {rights:#x} on {resource} until {}", time(expires.0))
        }
        LedgerEvent::Revoked { grant, rights } => format!("{grant} was revoked; it gave {rights:#x}"),
        LedgerEvent::Exercised { grant, rights, purpose } => {
            format!("{grant} was used for {rights:#x}, see {purpose}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(time(1_798_761_599_999), "2026-12-31T23:59:59.999Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
