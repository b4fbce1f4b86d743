//! The script on paper: one self-contained HTML page with boxes for initials and times, to print and to sign beside the
//! machine's own transcript. Nothing in it is fetched from anywhere.

use super::plan::Form;
use super::script::{Action, MachineAttestation, Script};
use std::fmt::Write;

const STYLE: &str = include_str!("paper.css");

/// The page for a script with this text.
pub fn html(script: &Script, text: &str) -> String {
    let mut page = String::new();
    let title = escape(&script.title);
    let digest = Script::digest(text.as_bytes());
    let words = super::words::of(digest.as_bytes());
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ = write!(page, "<title>{title}</title>\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n");
    let _ = write!(
        page,
        "<p>{}</p>\n<p class=\"hash\">Script <b>{}</b>, version {}<br>{digest}<br>{words}</p>\n",
        escape(&script.purpose),
        escape(&script.id),
        script.version
    );
    page.push_str("<table class=\"fields\"><tr><th>Date</th><td></td><th>Place</th><td></td></tr>");
    page.push_str("<tr><th>Token, serial no.</th><td></td><th>Firmware</th><td></td></tr>");
    page.push_str("<tr><th>Ceremony id</th><td colspan=\"3\"></td></tr></table>\n");
    if let Some(wanted) = &script.attestation {
        page.push_str(&machine(wanted));
    }
    page.push_str("<h2>Present</h2>\n");
    page.push_str(
        "<table><tr><th>Role</th><th>Seat</th><th>Name</th><th>Key</th><th>Signature</th><th>Time</th></tr>\n",
    );
    for role in &script.roles {
        for seat in &role.officers {
            let key = seat.key.as_ref().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(
                page,
                "<tr><td>{} ({} of {})</td><td>{}</td><td>{}</td><td class=\"key\">{key}</td><td></td><td></td></tr>",
                escape(&role.title),
                role.quorum,
                role.officers.len(),
                escape(&seat.id),
                escape(seat.name.as_deref().unwrap_or_default())
            );
        }
    }
    page.push_str("</table>\n<h2>Steps</h2>\n<table class=\"steps\"><tr><th>No.</th><th>Step</th><th>Initials</th><th>Time</th></tr>\n");
    for (number, step) in (1..).zip(&script.steps) {
        let _ = write!(page, "<tr><td>{number}</td><td><b>{}</b>", escape(&step.title));
        let _ = write!(page, " <code>{}</code><br><i>{}</i>", escape(&step.id), escape(&kind(&step.action)));
        if !step.say.is_empty() {
            let _ = write!(page, "<blockquote>{}</blockquote>", escape(&step.say).replace('\n', "<br>"));
        }
        for question in step.action.questions() {
            let _ = write!(
                page,
                "<p class=\"ask\">{} <span class=\"{}\"></span></p>",
                escape(question.text),
                width(question.form)
            );
        }
        for role in step.approve.iter().filter_map(|id| script.role(id)) {
            let boxes = "<span class=\"box\"></span>".repeat(role.quorum);
            let _ = write!(
                page,
                "<p class=\"ask\">{} of {}, {}: {boxes}</p>",
                role.quorum,
                role.officers.len(),
                escape(&role.title)
            );
        }
        page.push_str("<p class=\"ask\">Exception, and why: <span class=\"long\"></span></p>");
        page.push_str("</td><td><span class=\"box\"></span></td><td><span class=\"box\"></span></td></tr>\n");
    }
    page.push_str("</table>\n<h2>The root</h2>\n<p>Read the 32 words aloud from the screen; each who is present writes them down.</p>\n<table class=\"words\">");
    for row in 0..8 {
        page.push_str("<tr>");
        for place in row * 4..row * 4 + 4 {
            let _ = write!(page, "<td><sup>{}</sup></td>", place + 1);
        }
        page.push_str("</tr>");
    }
    page.push_str(
        "</table>\n<h2>Signed by all present</h2>\n<table><tr><th>Name</th><th>Signature</th><th>Time</th></tr>\n",
    );
    for _ in script.roles.iter().flat_map(|role| &role.officers) {
        page.push_str("<tr><td></td><td></td><td></td></tr>\n");
    }
    let _ = write!(page, "</table>\n<h2>The script, to the byte</h2>\n<pre>{}</pre>\n</body></html>\n", escape(text));
    page
}

/// Which machine it has to be, to be compared with what the screen says.
fn machine(wanted: &MachineAttestation) -> String {
    let registers: Vec<_> = wanted.registers.iter().map(ToString::to_string).collect();
    let must = if wanted.required { "has to be" } else { "is, where it can be," };
    let mut text = format!(
        "<h2>The machine</h2>\n<p>It {must} attested by its TPM: registers {}.</p>\n<p class=\"hash\">",
        registers.join(", ")
    );
    match &wanted.policy {
        None => text.push_str("Any machine; the transcript says which."),
        Some(policy) => {
            for name in &policy.tpm_keys {
                let _ = write!(text, "TPM {name}<br>");
            }
            for (register, value) in
                policy.registers.iter().flat_map(|(at, values)| values.iter().map(move |of| (at, of)))
            {
                let _ = write!(text, "register {}: {value}<br>", escape(register));
            }
            if policy.event_log {
                text.push_str("The event log has to add up to the registers.");
            }
        }
    }
    text.push_str("</p>\n");
    text
}

fn kind(action: &Action) -> String {
    match action {
        Action::InitialiseToken { token } => format!("a free slot becomes the token {token:?}"),
        Action::OpenToken { token } => format!("opens the token {token:?}"),
        Action::GenerateKey { key, label, algorithm } => {
            format!("makes the {} key {key:?} with the label {label:?}", algorithm.id().name())
        }
        Action::FindKey { key, label } => format!("finds the key {key:?} by its label {label:?}"),
        Action::ProbeKey { key } => format!("tries to get the key {key:?} out and expects to fail"),
        Action::ProvePossession { key } => format!("the key {key:?} signs a challenge of today"),
        Action::AttestKey { key } => format!("the vendor's attestation of the key {key:?}"),
        Action::BackUpKey { key } => format!("the vendor's second copy of the key {key:?}"),
        Action::RegisterValidator { consensus, transport } => {
            format!("writes the validator's file with the keys {consensus:?} and {transport:?}")
        }
        Action::RotateKey { old, new } => format!("the key {old:?} names {new:?} as its successor"),
        Action::RevokeKey { key } => format!("the key {key:?} signs its own revocation"),
        Action::DestroyKey { key } => format!("destroys the key {key:?}"),
        Action::CustodyDrill {} => "all who approve show that their keys still work".to_owned(),
        Action::Observe { by } => format!("a human act, by {by}"),
        Action::RecordHash { what } => format!("the digest of {what}"),
    }
}

/// Room to write.
fn width(form: Form) -> &'static str {
    match form {
        Form::Text(most) if most <= 16 => "box",
        Form::Number => "box",
        _ => "long",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stands_alone_and_a_script_cannot_write_into_it() {
        let text =
            include_str!("../../ceremonies/validator-genesis.toml").replace("Validator genesis", "<script>x</script>");
        let script = Script::parse(text.as_bytes()).expect("a script");
        let page = html(&script, &text);
        assert!(!page.contains("<script"), "markup is escaped");
        assert!(
            !page.contains("http://") && !page.contains("https://") && !page.contains("src="),
            "nothing is fetched"
        );
        assert!(page.contains(&Script::digest(text.as_bytes()).to_string()));
        for step in &script.steps {
            assert!(page.contains(&escape(&step.title)), "{}", step.id);
        }
        assert!(page.matches("class=\"box\"").count() > script.steps.len() * 2);
        assert!(!page.contains("The machine</h2>"), "nothing is wanted of it");
    }

    #[test]
    fn the_page_says_which_machine_it_has_to_be() {
        let (name, value) = (format!("000b{}", "9f".repeat(32)), "65".repeat(32));
        let policy = format!("tpm_keys = [\"{name}\"]\n[attestation.policy.registers]\n7 = [\"{value}\"]\n");
        let text = include_str!("../../ceremonies/custody-drill.toml").replacen("format = 1", "format = 2", 1);
        let text = text.replacen("[[roles]]", &format!("[attestation]\n[attestation.policy]\n{policy}[[roles]]"), 1);
        let page = html(&Script::parse(text.as_bytes()).expect("a script"), &text);
        for word in ["It has to be attested", &format!("TPM {name}"), &format!("register 7: {value}")] {
            assert!(page.contains(word), "{word}");
        }
    }
}
