//! Whether a script can be run: names that exist, quorums that can be met, keys that are made before they are used.

use super::{Action, FORMATS, MachineAttestation, SEATS_MAX, STEPS_MAX, Script, ScriptError, Step};
use std::collections::BTreeSet;
use tpm::pcr::PCR_MAX;
use types::AlgId;

/// Longest name of a role, seat, step or key.
const NAME_MAX: usize = 48;
/// Longest title, label or name of a person, in bytes.
const TITLE_MAX: usize = 128;
/// Longest text to be said, in bytes.
const SAY_MAX: usize = 4096;

pub(super) fn check(script: &Script) -> Result<(), ScriptError> {
    if !FORMATS.contains(&script.format) {
        return Err(ScriptError::Format(script.format));
    }
    attestation(script)?;
    name(&script.id)?;
    text("title", "the script", &script.title, 1, TITLE_MAX)?;
    text("purpose", "the script", &script.purpose, 0, SAY_MAX)?;
    roles(script)?;
    known_roles(script, "exceptions", &script.exceptions)?;
    count("roles in `exceptions`", script.exceptions.len(), SEATS_MAX)?;
    count("steps", script.steps.len(), STEPS_MAX)?;
    let mut ids = BTreeSet::new();
    let mut material = Material::default();
    for step in &script.steps {
        name(&step.id)?;
        once(&mut ids, "step", &step.id)?;
        text("title", &step.id, &step.title, 1, TITLE_MAX)?;
        text("say", &step.id, &step.say, 0, SAY_MAX)?;
        known_roles(script, &step.id, &step.approve)?;
        material.step(script, step)?;
    }
    Ok(())
}

fn attestation(script: &Script) -> Result<(), ScriptError> {
    let Some(MachineAttestation { registers, policy, .. }) = &script.attestation else { return Ok(()) };
    if script.format == 1 {
        return Err(ScriptError::Older);
    }
    let rising = registers.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || registers.last().is_none_or(|last| *last > PCR_MAX) {
        return Err(ScriptError::Registers);
    }
    if let Some(policy) = policy {
        policy.check_itself()?;
        if let Some(register) = policy.registers().find(|register| !registers.contains(register)) {
            return Err(ScriptError::NotQuoted(register));
        }
    }
    Ok(())
}

fn roles(script: &Script) -> Result<(), ScriptError> {
    count("roles", script.roles.len(), SEATS_MAX)?;
    let (mut roles, mut seats, mut names, mut keys) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for role in &script.roles {
        name(&role.id)?;
        once(&mut roles, "role", &role.id)?;
        text("title", &role.id, &role.title, 1, TITLE_MAX)?;
        count("officers", role.officers.len(), SEATS_MAX)?;
        if role.quorum == 0 || role.quorum > role.officers.len() {
            let (role, quorum, officers) = (role.id.clone(), role.quorum, role.officers.len());
            return Err(ScriptError::Quorum { role, quorum, officers });
        }
        for seat in &role.officers {
            name(&seat.id)?;
            once(&mut seats, "seat", &seat.id)?;
            if let Some(person) = &seat.name {
                text("name", &seat.id, person, 1, TITLE_MAX)?;
                once(&mut names, "officer", person)?;
            }
            if let Some(key) = &seat.key {
                if !matches!(key.alg(), AlgId::Ed25519 | AlgId::EcdsaP256) {
                    return Err(ScriptError::OfficerKey(seat.id.clone()));
                }
                once(&mut keys, "officer's key", &key.to_string())?;
            }
        }
    }
    Ok(())
}

/// What exists after the steps so far.
#[derive(Default)]
struct Material {
    token: bool,
    /// Every name that was ever given.
    names: BTreeSet<String>,
    labels: BTreeSet<String>,
    /// Those that still exist.
    keys: BTreeSet<String>,
}

impl Material {
    fn step(&mut self, script: &Script, step: &Step) -> Result<(), ScriptError> {
        match &step.action {
            Action::InitialiseToken { token } | Action::OpenToken { token } => {
                text("token", &step.id, token, 1, 32)?;
                if std::mem::replace(&mut self.token, true) {
                    return Err(ScriptError::SecondToken(step.id.clone()));
                }
            }
            Action::GenerateKey { key, label, .. } | Action::FindKey { key, label } => {
                self.need_token(step)?;
                name(key)?;
                text("label", &step.id, label, 1, 64)?;
                once(&mut self.names, "key", key)?;
                once(&mut self.labels, "label", label)?;
                self.keys.insert(key.clone());
            }
            Action::ProbeKey { key }
            | Action::ProvePossession { key }
            | Action::AttestKey { key }
            | Action::BackUpKey { key }
            | Action::RevokeKey { key } => self.need(step, key)?,
            Action::RegisterValidator { consensus: first, transport: second }
            | Action::RotateKey { old: first, new: second } => {
                self.need(step, first)?;
                self.need(step, second)?;
                if first == second {
                    return Err(ScriptError::Twice { what: "key", name: first.clone() });
                }
            }
            Action::DestroyKey { key } => {
                self.need(step, key)?;
                self.keys.remove(key);
            }
            Action::CustodyDrill {} if step.approve.is_empty() => {
                return Err(ScriptError::EmptyDrill(step.id.clone()));
            }
            Action::CustodyDrill {} => {}
            Action::Observe { by } => known_roles(script, &step.id, std::slice::from_ref(by))?,
            Action::RecordHash { what } => text("what", &step.id, what, 1, TITLE_MAX)?,
        }
        Ok(())
    }

    fn need_token(&self, step: &Step) -> Result<(), ScriptError> {
        if self.token { Ok(()) } else { Err(ScriptError::NoToken(step.id.clone())) }
    }

    fn need(&self, step: &Step, key: &str) -> Result<(), ScriptError> {
        self.need_token(step)?;
        if self.keys.contains(key) {
            Ok(())
        } else {
            Err(ScriptError::NoKey { step: step.id.clone(), key: key.to_owned() })
        }
    }
}

fn name(text: &str) -> Result<(), ScriptError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(ScriptError::Name(text.chars().take(NAME_MAX).collect()))
    }
}

/// Line ends are allowed in what is said; other control characters could rewrite a terminal.
fn text(field: &'static str, of: &str, text: &str, least: usize, most: usize) -> Result<(), ScriptError> {
    let multi_line = most == SAY_MAX;
    let good = (least..=most).contains(&text.len())
        && text.chars().all(|character| !character.is_control() || (multi_line && character == '\n'));
    if good { Ok(()) } else { Err(ScriptError::Text { field, of: of.to_owned() }) }
}

fn once(seen: &mut BTreeSet<String>, what: &'static str, name: &str) -> Result<(), ScriptError> {
    if seen.insert(name.to_owned()) { Ok(()) } else { Err(ScriptError::Twice { what, name: name.to_owned() }) }
}

fn count(what: &'static str, count: usize, most: usize) -> Result<(), ScriptError> {
    if (1..=most).contains(&count) { Ok(()) } else { Err(ScriptError::Count { what, count, most }) }
}

fn known_roles(script: &Script, of: &str, roles: &[String]) -> Result<(), ScriptError> {
    let mut seen = BTreeSet::new();
    for role in roles {
        if script.role(role).is_none() {
            return Err(ScriptError::NoRole { of: of.to_owned(), role: role.clone() });
        }
        once(&mut seen, "role", role)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::MachinesError;

    const GOOD: &str = r#"
        format = 1
        id = "small"
        version = 1
        title = "Small"
        exceptions = ["officer"]
        [[roles]]
        id = "officer"
        title = "Officer"
        quorum = 1
        officers = [{ id = "one" }, { id = "two" }]
        [[steps]]
        id = "token"
        title = "Token"
        do.open-token = { token = "t" }
        [[steps]]
        id = "make"
        title = "Make"
        approve = ["officer"]
        do.generate-key = { key = "k", label = "l", algorithm = "ed25519" }
        [[steps]]
        id = "drop"
        title = "Drop"
        do.destroy-key = { key = "k" }
    "#;

    #[test]
    fn a_script_that_cannot_be_run_is_refused_with_the_reason() {
        Script::parse(GOOD.as_bytes()).expect("good");
        type Expected = fn(&ScriptError) -> bool;
        let cases: &[(&str, &str, Expected)] = &[
            ("format = 1", "format = 3", |e| *e == ScriptError::Format(3)),
            ("[[roles]]", "[attestation]\n[[roles]]", |e| *e == ScriptError::Older),
            ("id = \"small\"", "id = \"Small\"", |e| matches!(e, ScriptError::Name(_))),
            ("title = \"Small\"", "title = \"\\u001b[2J\"", |e| matches!(e, ScriptError::Text { .. })),
            ("quorum = 1", "quorum = 3", |e| matches!(e, ScriptError::Quorum { quorum: 3, .. })),
            ("quorum = 1", "quorum = 0", |e| matches!(e, ScriptError::Quorum { .. })),
            ("{ id = \"two\" }", "{ id = \"one\" }", |e| matches!(e, ScriptError::Twice { what: "seat", .. })),
            ("exceptions = [\"officer\"]", "exceptions = []", |e| matches!(e, ScriptError::Count { .. })),
            ("approve = [\"officer\"]", "approve = [\"boss\"]", |e| matches!(e, ScriptError::NoRole { .. })),
            ("id = \"make\"", "id = \"token\"", |e| matches!(e, ScriptError::Twice { what: "step", .. })),
            ("destroy-key = { key = \"k\" }", "destroy-key = { key = \"x\" }", |e| {
                matches!(e, ScriptError::NoKey { .. })
            }),
            ("do.destroy-key = { key = \"k\" }", "do.open-token = { token = \"u\" }", |e| {
                matches!(e, ScriptError::SecondToken(_))
            }),
            ("do.destroy-key = { key = \"k\" }", "do.custody-drill = {}", |e| matches!(e, ScriptError::EmptyDrill(_))),
            ("do.open-token = { token = \"t\" }", "do.observe = { by = \"officer\" }", |e| {
                matches!(e, ScriptError::NoToken(_))
            }),
            ("algorithm = \"ed25519\"", "algorithm = \"sm2\"", |e| matches!(e, ScriptError::Toml(_))),
            ("version = 1", "version = 1\nskip = true", |e| matches!(e, ScriptError::Toml(_))),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from), "{from}");
            let error = Script::parse(GOOD.replacen(from, to, 1).as_bytes()).expect_err(to);
            assert!(expected(&error), "{to}: {error}");
        }
        assert_eq!(Script::parse(&[0xff]), Err(ScriptError::NotText));
        assert!(matches!(Script::parse(&vec![b'#'; SEATS_MAX + (256 << 10)]), Err(ScriptError::TooLong(_))));
    }

    #[test]
    fn what_a_script_wants_of_the_machine_is_checked_before_the_day() {
        let with = |section: &str| {
            let text =
                GOOD.replacen("format = 1", "format = 2", 1).replacen("[[roles]]", &format!("{section}\n[[roles]]"), 1);
            Script::parse(text.as_bytes())
        };
        let key = format!("tpm_keys = [\"000b{}\"]", "9f".repeat(32));
        let value = "65".repeat(32);
        let policy = |rest: &str| format!("[attestation]\nregisters = [7, 11]\n[attestation.policy]\n{key}\n{rest}");
        let plain = with("[attestation]").expect("with defaults").attestation.expect("is there");
        assert_eq!((plain.required, plain.policy, plain.registers.len()), (true, None, 9));
        let whole = with(&policy(&format!("event_log = true\n[attestation.policy.registers]\n7 = [\"{value}\"]\n")));
        assert!(
            whole
                .expect("with a policy")
                .attestation
                .and_then(|wanted| wanted.policy)
                .is_some_and(|policy| policy.event_log)
        );
        for registers in ["[]", "[7, 7]", "[11, 7]", "[24]"] {
            let error = with(&format!("[attestation]\nregisters = {registers}"));
            assert_eq!(error, Err(ScriptError::Registers), "{registers}");
        }
        let elsewhere = with(&policy(&format!("[attestation.policy.registers]\n4 = [\"{value}\"]\n")));
        assert_eq!(elsewhere, Err(ScriptError::NotQuoted(4)));
        let empty = with(&policy("[attestation.policy.registers]\n7 = []\n"));
        assert_eq!(empty, Err(ScriptError::Policy(MachinesError::Empty)));
        let makers = with(&policy(&format!("ek_roots = [\"a\"]\n[attestation.policy.registers]\n7 = [\"{value}\"]\n")));
        assert!(matches!(makers, Err(ScriptError::Toml(_))), "{makers:?}");
    }
}
