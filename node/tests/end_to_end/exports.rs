//! The ledger of a data directory as tables: complete, equal in both formats and on every node, added to by the next run,
//! and refused where the disk has altered it.

use crate::check::{PATIENCE, tips_agree, until};
use crate::load::{Acknowledged, Load};
use crate::network::{Network, Node, Options};
use crate::process::{Ended, run_to_end, stele};
use parquet::file::reader::SerializedFileReader;
use parquet::record::{Field, Row};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use types::Outcome;

const TABLES: [&str; 5] = ["headers", "blocks", "transactions", "receipts", "events"];

/// A network that has run under load and is stopped, with what it acknowledged.
async fn stopped() -> (Network, Acknowledged) {
    let mut network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 200);
    load.acknowledges(300).await;
    let acknowledged = load.finish().await.acknowledged;
    // What is not certified is not exported.
    let tip = tips_agree(&network).await;
    for node in &network.nodes {
        let certified = async || node.rpc.status().await.ok().filter(|status| status.certified_height >= tip).map(drop);
        until("all of it is certified", PATIENCE, certified).await;
    }
    stop(&mut network);
    (network, acknowledged)
}

fn stop(network: &mut Network) {
    for node in &mut network.nodes {
        assert!(node.process.take().unwrap().terminate().success());
    }
}

fn export(node: &Node, out: &Path, more: &[&str]) -> Ended {
    let mut command = stele(&node.dir);
    command.args(["export", "--config", "node.toml", "--json", "--out"]).arg(out).args(more);
    run_to_end(command, &node.dir)
}

fn done(ended: &Ended) -> Value {
    assert!(ended.status.success(), "{}", ended.message);
    serde_json::from_str::<Value>(&ended.output).unwrap()["done"].clone()
}

/// The files of a table, in order.
fn files(out: &Path, table: &str) -> Vec<PathBuf> {
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let parts = manifest["parts"].as_array().unwrap();
    let of =
        |part: &Value| part["files"].as_array().unwrap().iter().find(|file| file["table"] == table).cloned().unwrap();
    parts.iter().map(|part| out.join(of(part)["file"].as_str().unwrap())).collect()
}

fn lines(out: &Path, table: &str) -> Vec<Value> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let texts: Vec<String> = files(out, table).into_iter().map(read).collect();
    texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rows of Parquet files as the lines of the other format.
fn parquet_rows(out: &Path, table: &str) -> Vec<Value> {
    let value = |field: &Field| match field {
        Field::Null => None,
        Field::ULong(number) => Some(json!(number)),
        Field::Decimal(_) => Some(json!(field.to_string().trim_end_matches('.'))),
        Field::TimestampMillis(ms) => Some(json!(ms)),
        Field::Str(text) => Some(json!(text)),
        Field::Bytes(bytes) => Some(json!(hex::encode(bytes.data()))),
        other => panic!("{other:?}"),
    };
    let object = |row: Row| {
        let columns = row.get_column_iter().filter_map(|(name, field)| Some((name.clone(), value(field)?)));
        Value::Object(columns.collect::<Map<_, _>>())
    };
    let rows = |path: PathBuf| {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        reader.into_iter().map(|row| object(row.unwrap())).collect::<Vec<_>>()
    };
    files(out, table).into_iter().flat_map(rows).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_is_exported_alike_from_every_node_and_a_later_run_adds_the_rest() {
    let (mut network, acknowledged) = stopped().await;
    let out = network.path().join("export");
    let first = done(&export(&network.nodes[0], &out, &["--part-heights", "7"]));
    assert!(first["parts"].as_u64().unwrap() > 1 && first["transactions"].as_u64().unwrap() >= 300, "{first}");
    let receipts = lines(&out, "receipts");
    for (id, receipt) in &acknowledged {
        let found = receipts.iter().find(|row| row["transaction"] == json!(id.to_string()));
        let found = found.unwrap_or_else(|| panic!("{id} was acknowledged and is not exported"));
        assert_eq!((&found["height"], &found["index"]), (&json!(receipt.height.0), &json!(receipt.index)));
        assert_eq!(found["outcome"] == "applied", receipt.outcome == Outcome::Applied);
    }
    // Every header names the one before, and counts what the other tables have.
    let headers = lines(&out, "headers");
    for pair in headers.windows(2) {
        assert_eq!(pair[0]["header"], pair[1]["previous"]);
    }
    let sum = |column: &str| headers.iter().map(|row| row[column].as_u64().unwrap() as usize).sum::<usize>();
    assert_eq!(sum("transactions"), receipts.len());
    assert_eq!(sum("transactions"), lines(&out, "transactions").len());
    assert_eq!(sum("blocks"), lines(&out, "blocks").len());

    // The other format, from another node.
    let parquet = network.path().join("parquet");
    let to = first["to"].to_string();
    let other = done(&export(&network.nodes[1], &parquet, &["--format", "parquet", "--to", &to]));
    assert_eq!((&other["from"], &other["to"]), (&first["from"], &first["to"]));
    for table in TABLES {
        assert_eq!(parquet_rows(&parquet, table), lines(&out, table), "{table}");
    }

    // Nothing is new, until there is: beside a running node the directory stays what it is and then grows.
    assert_eq!(done(&export(&network.nodes[0], &out, &[]))["heights"], 0);
    network.start_nodes().await;
    let load = Load::start(&network, &[0, 1, 2, 3], 100);
    load.acknowledges(50).await;
    done(&export(&network.nodes[0], &out, &[]));
    drop(load.finish().await);
    tips_agree(&network).await;
    stop(&mut network);
    let before = lines(&out, "receipts").len();
    done(&export(&network.nodes[0], &out, &[]));
    let after = lines(&out, "receipts");
    assert!(after.len() >= before && after.len() >= receipts.len() + 50 && after[..receipts.len()] == receipts[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_altered_ends_an_export_and_what_is_asked_for_wrongly_is_named() {
    let (network, _) = stopped().await;
    let node = &network.nodes[2];
    let out = network.path().join("export");
    let whole = done(&export(node, &out, &["--to", "5"]));
    assert_eq!((&whole["to"], &whole["heights"]), (&json!(5), &json!(5)));

    let segment = fs::read_dir(node.dir.join("data/log")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|it| it == "seg")).min().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let file = File::options().write(true).open(&segment).unwrap();
    for place in (8_192..last).step_by(1_024) {
        file.write_all_at(&[bytes[place] ^ 1], place as u64).unwrap();
    }
    let ended = export(node, &out, &[]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.message.contains("corrupt at segment"), "{}", ended.message);
    assert_eq!(lines(&out, "headers").len(), 5, "finished parts stay");
    file.write_all_at(&bytes, 0).unwrap();

    for (wrong, reason) in [
        (["--from", "3"], "goes on at 6 and not at 3"),
        (["--to", "4"], "there is nothing from height 6 to 4"),
        (["--to", "1000000"], "is not certified and flushed yet"),
        (["--format", "parquet"], "holds an export as jsonl, not as parquet"),
    ] {
        let ended = export(node, &out, &wrong);
        assert_eq!(ended.status.code(), Some(1));
        let message = ended.message.replace("\n  │ ", " ").replace('\n', " ");
        assert!(message.contains(reason), "{wrong:?}: {message}");
    }
    // Whether a part was altered is seen by reading it.
    let verify = |dir: &Path, more: &[&str]| {
        let mut command = stele(dir);
        command.args(["export", "--verify", "--out"]).arg(dir).args(more);
        run_to_end(command, &node.dir)
    };
    let part = files(&out, "blocks").remove(0);
    let ended = verify(&out, &[]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.message);
    assert!(ended.output.ends_with(": whole\n"), "{}", ended.output);
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, [&[bytes[0] ^ 1], &bytes[1..]].concat()).unwrap();
    let name = part.file_name().unwrap().to_str().unwrap();
    let ended = verify(&out, &[]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.message);
    assert!(ended.output.contains(&format!("damaged: {name}: was altered")), "{}", ended.output);
    let ended = verify(&out, &["--json"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.message);
    let found: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(found["verified"]["damaged"], json!([{ "file": name, "wrong": "sha256" }]));
    let ended = verify(&node.dir, &[]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.message);
    assert!(ended.message.contains("there is no manifest.json"), "{}", ended.message);
    // A part that somebody shortened is not taken for whole.
    File::options().write(true).open(&part).unwrap().set_len(10).unwrap();
    let ended = export(node, &out, &[]);
    assert!(ended.message.contains("not as long as the manifest says"), "{}", ended.message);
}
