//! The measurement itself on a small scale, and its forms.

use super::*;

fn measured(record_bytes: &[u32], writers: &[u32]) -> Durability {
    let directory = tempfile::tempdir().expect("a directory");
    let args = LogArgs {
        dir: directory.path().to_owned(),
        record_bytes: record_bytes.to_vec(),
        writers: writers.to_vec(),
        seconds: 1,
        rounds: 10,
        scan_mib: 1,
        groups_in_flight: 1,
        pages: PageArgs::default(),
    };
    let result = measure(&args).expect("a disk that works");
    let left = fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(left, 0, "nothing is left behind");
    result
}

#[test]
fn every_engine_makes_records_durable_and_every_form_has_every_row() {
    let result = measured(&[300], &[3]);
    let engines: Vec<Kind> = result.results.iter().map(|row| row.engine).collect();
    assert_eq!(engines, Kind::ALL);
    for row in result.results.iter().chain(&result.callbacks) {
        assert!(row.records_per_s > 0.0 && row.p50_us > 0 && row.p99_us >= row.p50_us, "{row:?}");
        assert!((row.bytes_per_s / row.records_per_s - 300.0).abs() < 1e-6);
        assert_eq!(row.of_rocksdb.is_none(), row.engine == Kind::RocksDb);
    }
    let commit = &result.group_commits[0];
    assert!(commit.groups > 0 && commit.group_bytes >= 4096 && commit.bare_p50_us > 0, "{commit:?}");

    assert_eq!(text::table(&result).lines().filter(|line| line.contains(" 300 ")).count(), 6);
    let rows = text::markdown(&result).lines().filter(|line| line.contains("| 300 |")).count();
    assert_eq!(rows, 6);
    let scan = &result.scans[0];
    assert!((4.0..100.0).contains(&scan.overhead_percent), "{scan:?}");
    assert!(scan.records > 0 && scan.bytes >= 300 * scan.records && scan.scan_gb_per_s > 0.0, "{scan:?}");
    let svg = drawing::svg(&result);
    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    let json = serde_json::to_value(&result).expect("numbers, strings and lists");
    assert_eq!(json["results"][1]["engine"], "rocksdb");
    for field in ["record_bytes", "writers", "records_per_s", "bytes_per_s", "p50_us", "p99_us"] {
        assert!(json["results"][0][field].is_number(), "{field}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let error = Scratch::make(Path::new("/nowhere/at/all")).err().expect("there is no such directory");
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}
