//! A node's data as tables: what an operator is told where a directory holds something else, or takes nothing more.

use super::manifest::MANIFEST;
use super::rows::{TABLES, Value};
use super::sink::{Sink, SinkError};
use super::*;
use crate::fixtures::executed;
use crate::rebuild::tests::{directory, rebuild};
use miette::{Diagnostic, Report};
use std::fs::{self, File};
use std::path::Path;
use tempfile::TempDir;

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
    let newer = with("\"version\": 2,", "\"version\": 3, \"compression\": {\"zstd\": 3},");
    assert!(matches!(newer, ExportError::Newer { found: 3, known: 2, .. }), "{newer:?}");
    let (causes, help) = told(newer);
    assert!(causes[0].contains("manifest.json: has format 3, which a newer version of stele wrote"), "{causes:?}");
    assert!(help.contains("the version of stele that wrote it"), "{help}");
    let older = with("\"version\": 2,", "\"version\": 1,");
    assert!(matches!(older, ExportError::Older { found: 1, known: 2, .. }), "{older:?}");
    assert!(matches!(with("\"parts\"", "\"prats\""), ExportError::Manifest { .. }));
    assert!(matches!(with("\"blocks-", "\"../blocks-"), ExportError::Gap { .. }));
    assert!(matches!(with("\"table\": \"blocks\"", "\"table\": \"events\""), ExportError::Gap { .. }));
    fs::write(&path, &text).expect("a manifest");
    assert_eq!(export(&source, &jsonl).expect("nothing new").certified, CERTIFIED);
}
