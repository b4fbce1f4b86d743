//! A node's data as tables: gone on with after a crash at any step, and what an operator is told where a directory holds
//! something else, or takes nothing more.

use super::manifest::{MANIFEST, Manifest, unfinished};
use super::rows::{TABLES, Value};
use super::sink::{Sink, SinkError};
use super::*;
use crate::fixtures::executed;
use crate::rebuild::tests::{directory, rebuild};
use miette::{Diagnostic, Report};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use tempfile::TempDir;
use types::{Amount, ChainId, Digest};

/// The last of them has no certificate yet.
const HEIGHTS: u64 = 24;
const CERTIFIED: Height = Height(HEIGHTS - 1);
const PART_HEIGHTS: u64 = 7;

fn node() -> (TempDir, Source) {
    let (dir, source) = directory(&executed(HEIGHTS));
    rebuild(&source).expect("a whole log");
    (dir, source)
}

fn empty() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn wanted(dir: &Path) -> Wanted {
    let dir = dir.to_owned();
    Wanted { dir, format: Format::Jsonl, from: None, to: None, part_heights: PART_HEIGHTS }
}

fn export(source: &Source, wanted: &Wanted) -> Result<Done, ExportError> {
    run(source, wanted, &mut |_, _| {})
}

fn up_to(dir: &Path, to: u64) -> Wanted {
    Wanted { to: Some(Height(to)), ..wanted(dir) }
}

/// All that lies in a directory.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().expect("our names"), fs::read(entry.path()).expect("a file"))
    };
    fs::read_dir(dir).expect("a directory").map(|entry| file(entry.expect("an entry"))).collect()
}

fn restore(dir: &Path, content: &BTreeMap<String, Vec<u8>>) {
    fs::remove_dir_all(dir).expect("a directory");
    fs::create_dir(dir).expect("a directory");
    content.iter().for_each(|(name, bytes)| fs::write(dir.join(name), bytes).expect("room"));
}

/// What is told, from the error to its last cause.
fn told(error: ExportError) -> (Vec<String>, String) {
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    (Report::from(error).chain().map(ToString::to_string).collect(), help)
}

#[test]
fn a_full_disk_is_told_once_with_the_file_and_what_to_do() {
    let row = |columns: &[rows::Column]| {
        let value = |column: &rows::Column| match column.kind {
            rows::Kind::Number | rows::Kind::Time => Value::Number(1),
            rows::Kind::Amount => Value::Amount(Amount(1)),
            rows::Kind::Text | rows::Kind::Bytes => Value::Text("0123456789".repeat(100)),
        };
        columns.iter().map(value).collect::<Vec<_>>()
    };
    for format in [Format::Jsonl, Format::Parquet] {
        let written = || -> Result<(), SinkError> {
            let full = File::options().write(true).open("/dev/full").expect("a device of every Linux");
            let mut sink = Sink::create(format, TABLES[0], full)?;
            (0..1_000).try_for_each(|_| sink.put(row(TABLES[0].columns)))?;
            sink.finish().map(drop)
        };
        let refused = written().expect_err("there is no room");
        let (causes, help) = told(ExportError::rows(Path::new("/srv/ledger/headers.new"))(refused));
        assert_eq!(causes.len(), 2, "{causes:?}");
        assert_eq!(causes[0], "/srv/ledger/headers.new: cannot be written");
        assert!(causes[1].starts_with("No space left on device"), "{causes:?}");
        assert!(help.starts_with("make room there and run the same command again"), "{help}");
    }
}

#[test]
fn an_amount_is_written_in_all_its_digits_and_left_out_where_a_decimal_has_no_room() {
    use parquet::file::reader::SerializedFileReader;

    const COLUMNS: [rows::Column; 1] = [rows::amount("amount")];
    let table = rows::Table { name: "paid", columns: &COLUMNS };
    let dir = empty();
    let written = |format: Format, units: &[u128]| {
        let path = dir.path().join(format.extension());
        let mut sink = Sink::create(format, table, File::create(&path).expect("room")).expect("a file");
        units.iter().for_each(|units| sink.put(vec![Value::Amount(Amount(*units))]).expect("room"));
        sink.finish().expect("room");
        path
    };
    let units = [0, 1, u64::MAX.into(), 10u128.pow(38) - 1, 10u128.pow(38), u128::MAX];
    let lines = fs::read_to_string(written(Format::Jsonl, &units)).expect("lines");
    assert_eq!(lines, units.map(|units| format!("{{\"amount\":\"{units}\"}}\n")).concat());
    let file = File::open(written(Format::Parquet, &units)).expect("a file");
    let rows = SerializedFileReader::new(file).expect("Parquet").into_iter();
    // The reader writes a point behind the digits of a number without a fraction.
    let shown: Vec<String> = rows.map(|row| row.expect("a row").to_string().replace(".}", "}")).collect();
    let expected = units.map(|units| if units < 10u128.pow(38) { units.to_string() } else { "null".to_owned() });
    assert_eq!(shown, expected.map(|amount| format!("{{amount: {amount}}}")));
}

#[test]
fn another_version_ledger_and_format_are_told_apart() {
    let ((_dir, source), out) = (node(), empty());
    let jsonl = wanted(out.path());
    export(&source, &jsonl).expect("an export");
    let refused = export(&source, &Wanted { format: Format::Parquet, ..jsonl.clone() });
    let Err(ExportError::OtherFormat { found: Format::Jsonl, wanted: Format::Parquet, .. }) = refused else {
        panic!("{refused:?}")
    };

    let path = out.path().join(MANIFEST);
    let text = fs::read_to_string(&path).expect("a manifest");
    let chain = source.chain().to_string();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).expect("a manifest");
        export(&source, &jsonl).expect_err("another manifest")
    };
    let other = chain.chars().rev().collect::<String>();
    let other = with(&chain[chain.len() - 8..], &other[..8]);
    assert!(matches!(other, ExportError::OtherLedger { expected, .. } if expected == source.chain()), "{other:?}");
    // Whatever else a later version says.
    let newer = with("\"version\": 3,", "\"version\": 4, \"compression\": {\"zstd\": 3},");
    assert!(matches!(newer, ExportError::Newer { found: 4, known: 3, .. }), "{newer:?}");
    let (causes, help) = told(newer);
    assert!(causes[0].contains("manifest.json: has format 4, which a newer version of stele wrote"), "{causes:?}");
    assert!(help.contains("the version of stele that wrote it"), "{help}");
    let older = with("\"version\": 3,", "\"version\": 2,");
    assert!(matches!(older, ExportError::Older { found: 2, known: 3, .. }), "{older:?}");
    assert!(matches!(with("\"parts\"", "\"prats\""), ExportError::Manifest { .. }));
    assert!(matches!(with("\"blocks-", "\"../blocks-"), ExportError::Gap { .. }));
    assert!(matches!(with("\"table\": \"blocks\"", "\"table\": \"events\""), ExportError::Gap { .. }));
    fs::write(&path, &text).expect("a manifest");
    assert_eq!(export(&source, &jsonl).expect("nothing new").certified, CERTIFIED);
}

#[test]
fn a_last_height_of_0_is_none_and_is_not_told_as_nothing_certified() {
    let ((_dir, source), out) = (node(), empty());
    let (causes, help) = told(export(&source, &up_to(out.path(), 0)).expect_err("there is no height 0"));
    assert_eq!(causes, ["there is no height 0 to export: heights begin at 1"]);
    assert!(help.contains("--to"), "{help}");
    assert!(content(out.path()).is_empty());
    assert_eq!(export(&source, &up_to(out.path(), 1)).expect("the first height").heights, 1);
}

#[test]
fn a_state_that_is_lost_is_told_with_how_it_comes_back() {
    let ((dir, source), out) = (node(), empty());
    fs::remove_dir_all(dir.path().join("state")).expect("a state");
    let (causes, help) = told(export(&source, &wanted(out.path())).expect_err("there is no state"));
    assert!(causes[0].contains("/state: there is no state database"), "{causes:?}");
    assert!(help.contains("`stele rebuild`"), "{help}");
}

/// The second part comes in these steps: its files under `.new`, the manifest under `.new`, a name for each of its files, the
/// manifest in place of the old one. Whichever was the last before a kill, the next run ends where one without a kill does.
#[test]
fn a_kill_at_any_step_of_a_part_leaves_what_the_next_run_finishes() {
    let ((_dir, source), out) = (node(), empty());
    let dir = out.path();
    export(&source, &up_to(dir, PART_HEIGHTS)).expect("a part");
    let one = content(dir);
    export(&source, &up_to(dir, 2 * PART_HEIGHTS)).expect("a second part");
    let two = content(dir);
    export(&source, &wanted(dir)).expect("the rest");
    let whole = content(dir);
    assert_eq!((one.len(), two.len(), whole.len()), (2 + 5, 2 + 10, 2 + 20));

    let second = Manifest::read(dir).expect("a manifest").expect("it is there").parts.swap_remove(1);
    let unannounced = |named: usize, before: &BTreeMap<String, Vec<u8>>| {
        let mut killed = before.clone();
        for (file, index) in second.files.iter().zip(0..) {
            let name = if index < named { file.file.clone() } else { format!("{}.new", file.table) };
            killed.insert(name, two[&file.file].clone());
        }
        killed
    };
    let go_on =
        |killed: &BTreeMap<String, Vec<u8>>, to: Option<u64>, expected: &BTreeMap<String, Vec<u8>>, when: &str| {
            restore(dir, killed);
            export(&source, &Wanted { to: to.map(Height), ..wanted(dir) })
                .unwrap_or_else(|error| panic!("{when}: {error}"));
            assert!(content(dir) == *expected, "{when}: {:?}", content(dir).keys());
        };
    // While it is written; also where the next run has nothing to add.
    let mut torn = unannounced(0, &one);
    torn.get_mut("events.new").expect("a file").truncate(0);
    torn.get_mut("blocks.new").expect("a file").truncate(100);
    go_on(&torn, None, &whole, "a part not written to its end");
    go_on(&torn, Some(PART_HEIGHTS), &one, "a part that nobody asks for any more");
    for length in [0, 1, 500, two[MANIFEST].len() - 3] {
        torn = unannounced(0, &one);
        torn.insert("manifest.json.new".into(), two[MANIFEST][..length].to_vec());
        go_on(&torn, None, &whole, "an announcement not written to its end");
    }
    for named in 0..=TABLES.len() {
        let mut killed = unannounced(named, &one);
        killed.insert("manifest.json.new".into(), two[MANIFEST].clone());
        go_on(&killed, None, &whole, "files that have no names yet");
        // The part is finished as it was announced, whatever the next run would have made of these heights.
        go_on(&killed, Some(2 * PART_HEIGHTS), &two, "the part itself");
    }
    go_on(&two, None, &whole, "between two parts");
    // The first part, when there is no manifest at all.
    let mut first = one.clone();
    let manifest = first.remove(MANIFEST).expect("a manifest");
    first.insert("manifest.json.new".into(), manifest);
    go_on(&first, None, &whole, "the first part");
}

#[test]
fn parts_that_nothing_names_are_refused_and_stay() {
    let ((_dir, source), out) = (node(), empty());
    let dir = out.path();
    export(&source, &up_to(dir, PART_HEIGHTS)).expect("a part");
    let one = content(dir);
    export(&source, &wanted(dir)).expect("the rest");
    let whole = content(dir);
    let refused = |held: &BTreeMap<String, Vec<u8>>| {
        restore(dir, held);
        let error = export(&source, &wanted(dir)).expect_err("somebody else's files");
        assert!(content(dir) == *held, "{:?}", content(dir).keys());
        let ExportError::Leftovers { files, .. } = &error else { panic!("{error:?}") };
        (files.len(), told(error))
    };
    // The manifest was removed, so that heights from 1 on would be written a second time beside these.
    let mut lost = whole.clone();
    lost.remove(MANIFEST);
    let (count, (causes, help)) = refused(&lost);
    assert_eq!(count, 20);
    assert!(causes[0].contains("blocks-000000000001-000000000007.jsonl, "), "{causes:?}");
    assert!(causes[0].ends_with("and 15 more"), "{causes:?}");
    assert!(help.contains("put manifest.json back"), "{help}");
    // An old one was put back.
    let mut old = whole.clone();
    old.insert(MANIFEST.into(), one[MANIFEST].clone());
    assert_eq!(refused(&old).0, 15);
    // What was announced is not there: the files that have names are not taken for the product's own.
    let mut half = lost.clone();
    half.insert("manifest.json.new".into(), one[MANIFEST].clone());
    half.remove("blocks-000000000001-000000000007.jsonl");
    assert_eq!(refused(&half).0, 19);
    // Copies that a query over `receipts-*.parquet` would find.
    let mut copies = whole.clone();
    copies.insert("receipts-old.parquet".into(), Vec::new());
    assert_eq!(refused(&copies).0, 1);
    // All else that an operator keeps there is his.
    let mut others = whole.clone();
    for name in ["README", "receipts.sql", "transactions.parquet", "blocks-by-day.csv", "accounts-1.parquet"] {
        others.insert(name.into(), b"kept".to_vec());
    }
    restore(dir, &others);
    assert_eq!(export(&source, &wanted(dir)).expect("nothing new").heights, 0);
    assert!(content(dir) == others && !unfinished(dir, MANIFEST).exists());
}

#[test]
fn every_byte_is_verified_and_everything_that_is_wrong_is_named() {
    let ((_dir, source), out) = (node(), empty());
    let dir = out.path();
    let nothing = verify(dir, None, &mut |_, _| {});
    assert!(matches!(nothing, Err(ExportError::Nothing(_))), "{nothing:?}");
    export(&source, &wanted(dir)).expect("an export");
    let whole = content(dir);
    let manifest = Manifest::read(dir).expect("a manifest").expect("it is there");
    let check = |ledger| {
        let mut told = Vec::new();
        let verified = verify(dir, ledger, &mut |read, of| told.push((read, of)))?;
        assert!(told.is_sorted() && told.last().is_none_or(|(read, of)| *read == verified.bytes && read <= of));
        Ok::<_, ExportError>(verified)
    };
    let found = check(Some(source.chain())).expect("it is whole");
    let bytes = manifest.files().map(|file| file.bytes).sum::<u64>();
    assert_eq!((found.from, found.to, found.parts, found.files), (Some(Height(1)), Some(CERTIFIED), 4, 20));
    assert_eq!((found.bytes, &found.damaged), (bytes, &Vec::new()));

    // The first and last byte of each file, and one in its middle.
    for file in manifest.files().filter(|file| file.bytes > 0) {
        let path = dir.join(&file.file);
        for place in [0, file.bytes / 2, file.bytes - 1] {
            let mut altered = whole[&file.file].clone();
            altered[place as usize] ^= 1;
            fs::write(&path, altered).expect("room");
            let damage = Damage { file: file.file.clone(), wrong: Wrong::Sha256 };
            assert_eq!(check(None).expect("a manifest").damaged, [damage]);
        }
        fs::write(&path, &whole[&file.file]).expect("room");
    }
    // A run that adds nothing does not read them, and says so.
    let [first, second, third, ..] = &manifest.parts[0].files[..] else { panic!("a file a table") };
    let mut altered = whole[&first.file].clone();
    altered[0] ^= 1;
    fs::write(dir.join(&first.file), altered).expect("room");
    let again = export(&source, &wanted(dir)).expect("nothing new");
    assert_eq!((again.heights, again.kept_files), (0, 20));
    assert_eq!((again.held_from, again.held_to), (Some(Height(1)), Some(CERTIFIED)));

    fs::remove_file(dir.join(&second.file)).expect("a file");
    File::options().write(true).open(dir.join(&third.file)).and_then(|file| file.set_len(3)).expect("a file");
    fs::write(dir.join("events-copy.jsonl"), b"{}\n").expect("room");
    let found = check(None).expect("a manifest");
    let named: Vec<_> = found.damaged.iter().map(|damage| (damage.file.as_str(), damage.wrong.clone())).collect();
    let short = Wrong::Length { found: 3, expected: third.bytes };
    let expected = [(&*first.file, Wrong::Sha256), (&*second.file, Wrong::Missing), (&*third.file, short)];
    assert_eq!(named[..3], expected);
    assert_eq!(named[3..], [("events-copy.jsonl", Wrong::NotNamed)]);
    let json = serde_json::to_value(&found.damaged).expect("numbers and text");
    assert_eq!(
        json[2],
        serde_json::json!({"file": third.file, "wrong": "length", "found": 3, "expected": third.bytes})
    );

    // Beside an export: files that have their names, and are announced.
    restore(dir, &whole);
    let mut before = manifest.clone();
    before.parts.pop();
    fs::rename(dir.join(MANIFEST), unfinished(dir, MANIFEST)).expect("a file");
    fs::write(dir.join(MANIFEST), before.to_json().expect("JSON")).expect("room");
    let found = check(None).expect("a manifest");
    assert_eq!((found.parts, &found.damaged), (3, &Vec::new()));

    let other = ChainId(Digest::ZERO);
    assert!(matches!(check(Some(other)), Err(ExportError::OtherLedger { expected, .. }) if expected == other));
}

#[test]
fn a_range_that_is_not_there_is_an_error_that_names_the_tip_and_a_command_may_be_given_again() {
    let ((_dir, source), out) = (node(), empty());
    let dir = out.path();
    let from = |from: u64| Wanted { from: Some(Height(from)), ..wanted(dir) };
    let above = export(&source, &from(HEIGHTS)).expect_err("it is not certified");
    assert!(matches!(above, ExportError::NotYet { wanted: Height(HEIGHTS), certified: CERTIFIED }), "{above:?}");
    let (causes, help) = told(above);
    assert!(causes[0].ends_with("the last one that is, is 23"), "{causes:?}");
    assert!(help.contains("log.flush_seconds"), "{help}");
    let above = export(&source, &up_to(dir, 1_000));
    assert!(matches!(above, Err(ExportError::NotYet { wanted: Height(1_000), .. })), "{above:?}");
    assert!(content(dir).is_empty(), "nothing was begun");

    let part = export(&source, &Wanted { to: Some(Height(9)), ..from(5) }).expect("heights 5 to 9");
    assert_eq!((part.held_from, part.held_to), (Some(Height(5)), Some(Height(9))));
    let amid = export(&source, &from(7));
    assert!(matches!(amid, Err(ExportError::NotNext { held: Height(9), wanted: Height(7) })), "{amid:?}");
    let rest = export(&source, &from(5)).expect("the same command goes on");
    assert_eq!((rest.from, rest.to, rest.held_from), (Some(Height(10)), Some(CERTIFIED), Some(Height(5))));
    let none = export(&source, &from(5)).expect("nothing is new");
    assert_eq!((none.heights, none.held_to), (0, Some(CERTIFIED)));
    let next = export(&source, &from(HEIGHTS));
    assert!(matches!(next, Err(ExportError::NotYet { .. })), "{next:?}");
}
