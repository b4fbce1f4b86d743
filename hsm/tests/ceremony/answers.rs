//! Answers files that do not fit, told before anything begins.

use crate::rehearsals::shipped;
use hsm::ceremony::answers::Answers;
use hsm::ceremony::room::{AnswersError, RoomError};
use hsm::ceremony::templates::TEMPLATES;
use hsm::ceremony::{Mode, Script};

fn read(change: impl Fn(&str) -> String, mode: Mode) -> Result<(), AnswersError> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("answers.toml");
    let text = std::fs::read_to_string(shipped().join("validator-genesis.answers.toml")).expect("ships");
    std::fs::write(&path, change(&text)).expect("own file");
    let script = Script::parse(TEMPLATES[0].script.as_bytes()).expect("ships");
    match Answers::read(&path, &script, mode) {
        Ok(_) => Ok(()),
        Err(RoomError::Answers { reason, .. }) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}

fn without(text: &str, line: &str) -> String {
    assert!(text.contains(line), "{line}");
    text.replacen(line, "", 1)
}

#[test]
fn a_file_that_lacks_an_answer_or_has_one_too_many_is_told_with_step_and_question() {
    read(str::to_owned, Mode::Rehearsal).expect("ships");
    let missing = read(|text| without(text, "method = \"none\"\n"), Mode::Rehearsal);
    let (step, question) = ("back-up".to_owned(), "method".to_owned());
    assert_eq!(missing, Err(AnswersError::Missing { step, question }));
    let unasked = |text: &str| text.replacen("[steps.room]", "[steps.room]\ncolour = \"red\"", 1);
    assert_eq!(read(unasked, Mode::Rehearsal), Err(AnswersError::Unasked("steps.room.colour".to_owned())));
    let no_step = |text: &str| format!("{text}\n[steps.party]\n");
    assert_eq!(read(no_step, Mode::Rehearsal), Err(AnswersError::Unasked("steps.party".to_owned())));
    let wrong = read(|text| text.replace("stake = 1", "stake = \"1.5\""), Mode::Rehearsal);
    assert!(matches!(wrong, Err(AnswersError::Form { question, .. }) if question == "stake"));
    let format = read(|text| text.replace("format = 1", "format = 9"), Mode::Rehearsal);
    assert_eq!(format, Err(AnswersError::Format(9)));
    assert!(matches!(read(|_| "[[[".to_owned(), Mode::Rehearsal), Err(AnswersError::Toml(_))));
    // An excepted step needs no answers.
    let excepted = |text: &str| text.replace("method = \"none\"\n", "except = \"no back-up\"\n");
    read(excepted, Mode::Rehearsal).expect("left out");
}

#[test]
fn too_few_officers_and_officers_twice_are_told() {
    let officer = "[[officers]]\nseat = \"officer-3\"\nname = \"Cy Example\"\nkey = \"throw-away\"\n";
    let few = read(|text| without(text, officer), Mode::Rehearsal);
    assert_eq!(few, Err(AnswersError::Officers { role: "officer".to_owned(), needed: 2, have: 1 }));
    let twice = read(|text| text.replace("\"officer-3\"", "\"officer-1\""), Mode::Rehearsal);
    assert_eq!(twice, Err(AnswersError::Seat("officer-1".to_owned())));
}

#[test]
fn what_is_for_rehearsals_is_not_taken_for_the_real_one() {
    assert_eq!(read(str::to_owned, Mode::Real), Err(AnswersError::RehearsalOnly("a throw-away key")));
    let file = "{ file = { path = \"a.key\", passphrase_file = \"a.pass\" } }";
    let stdin = |text: &str| text.replace("\"throw-away\"", &file.replace("a.pass", "fd:0"));
    assert_eq!(read(stdin, Mode::Real), Err(AnswersError::Source("fd:0".to_owned())));
    let real = |text: &str| text.replace("\"throw-away\"", file);
    assert_eq!(read(real, Mode::Real), Err(AnswersError::Token("module")));
    let prepared = |text: &str| format!("prepare = [{{ label = \"x\", algorithm = \"ed25519\" }}]\n{}", real(text));
    assert_eq!(read(prepared, Mode::Real), Err(AnswersError::RehearsalOnly("`prepare`")));
    let token = "[token]\nmodule = \"m.so\"\npin_file = \"pin\"\nso_pin_file = \"so-pin\"\n";
    read(|text| real(text).replacen("[[officers]]", &format!("{token}[[officers]]"), 1), Mode::Real).expect("complete");
}
