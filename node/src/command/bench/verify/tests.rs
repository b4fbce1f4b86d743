//! Arguments, checks of verdicts, and a run that is over at once.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::command::hw::known_answers::ALGORITHMS;
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: VerifyArgs,
}

fn parse(arguments: &[&str]) -> Result<VerifyArgs, clap::Error> {
    Cli::try_parse_from([&["bench"], arguments].concat()).map(|cli| cli.args)
}

#[test]
fn arguments_are_lists_with_bounds() {
    let args = parse(&["--alg", "sm2,ed25519", "--batch", "1,1048576", "--threads", "4,1,4"]).unwrap();
    assert_eq!(args.algorithms(), [AlgId::Sm2Sm3, AlgId::Ed25519]);
    assert_eq!((args.batch.as_slice(), args.threads()), (&[1, 1_048_576][..], vec![1, 4]));
    assert_eq!(parse(&[]).unwrap().algorithms(), ALGORITHMS);
    for wrong in [["--batch", "0"], ["--batch", "1048577"], ["--alg", "rsa"], ["--invalid", "101"], ["--seconds", "0"]]
    {
        assert!(parse(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_wrong_verdict_is_found_the_first_time_and_by_number_later() {
    let right = [true, false, true];
    let swapped = Verdicts::from_bools([false, true, true]);
    assert!(matches!(check(&swapped, &right, true), Err(Wrong::Verdicts(2))));
    assert!(check(&swapped, &right, false).is_ok());
    assert!(check(&Verdicts::from_bools([true; 3]), &right, false).is_err());
    assert!(check(&Verdicts::from_bools([true, false]), &right, true).is_err());
}

#[test]
fn a_small_run_on_the_cpu_has_a_row_for_each_combination() {
    let args = parse(&[
        "--engine",
        "cpu",
        "--alg",
        "ed25519,p256",
        "--batch",
        "1,64",
        "--threads",
        "1,2",
        "--seconds",
        "0.001",
        "--keys",
        "64",
        "--invalid",
        "50",
        "--busy",
    ]);
    let report = run(&args.unwrap()).unwrap();
    assert_eq!(report.results.len(), 2 * 2 * 2 * 2);
    assert!(report.adapter.is_none() && report.no_adapter.is_none());
    assert!(report.results.iter().all(|row| row.items_per_s > 0.0 && row.p99_us >= row.p50_us));
}

#[test]
fn split_is_of_the_launches_between() {
    let before = Timings { items: 10, pack_ns: 100, verify_ns: 50, ..Timings::default() };
    let after = Timings { items: 30, pack_ns: 300, verify_ns: 90, ..Timings::default() };
    let found = split(before, after).unwrap();
    assert_eq!((found.pack, found.verify, found.upload), (10.0, Some(2.0), None));
    assert_eq!(split(before, before), None);
}
