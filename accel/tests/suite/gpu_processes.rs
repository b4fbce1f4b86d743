//! What only a process of its own can show: a kernel's cold compilation, a machine without a driver, two processes on one
//! adapter. The test program runs itself again, with [`ROLE`] telling the child what to do.

use crate::cases;
use crate::gpu::{item, options};
use accel::gpu::{ALGORITHMS, GpuEngine, OpenError, Options, adapters};
use accel::{Batch, Engine, Item, Path};
use std::process::{Child, Command, Output, Stdio};
use types::{AlgId, SecretKey};

const ROLE: &str = "STELE_TEST_GPU_ROLE";

/// CPU time for a kernel from nothing to its first verdict on Mesa's software driver, in milliseconds: a driver that needs
/// more here needs minutes on a card. Field operations are inlined, so it grows with their number in the source.
const BUDGET_MS: [(AlgId, u64); 4] =
    [(AlgId::Ed25519, 10_000), (AlgId::Sm2Sm3, 15_000), (AlgId::EcdsaP256, 15_000), (AlgId::EcdsaSecp256k1, 15_000)];

fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "gpu_processes::a_child_does_its_part", "--nocapture"]).env(ROLE, role);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(child: Child) -> String {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{text}{}", String::from_utf8_lossy(&stderr));
    text
}

fn number(text: &str, label: &str) -> u64 {
    let (_, rest) = text.split_once(label).unwrap_or_else(|| panic!("{label} in {text}"));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// CPU time of this process so far, in milliseconds (proc_pid_stat(5), fields 14 and 15, ticks of 10 ms).
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

fn signed(alg: AlgId) -> Item {
    let secret = SecretKey::from_seed(alg, [7; 32]).unwrap();
    let message = b"one message".to_vec();
    Item {
        key: secret.public_key(),
        signature: secret.sign_bytes(&message),
        message: accel::Message::Bytes(message.into()),
    }
}

/// The child's side; a pass without a role.
#[test]
fn a_child_does_its_part() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.as_str() {
        "no driver" => {
            assert!(adapters().is_empty());
            assert_eq!(GpuEngine::open(&options()).err(), Some(OpenError::NoAdapter));
        }
        "work" => {
            let mut engine = GpuEngine::open(&options()).unwrap();
            for round in 0..20 {
                let items: Vec<Item> = (0..200).map(|number| item(&cases::valid(number + round))).collect();
                assert!(engine.verify(&Batch::new(items, Path::Singly)).unwrap().all_valid());
            }
        }
        name => {
            let alg = ALGORITHMS.into_iter().find(|alg| alg.name() == name).unwrap();
            let before = cpu_ms();
            let options = Options { algorithms: vec![alg], cache_dir: None, slot_items_max: 64, ..options() };
            let mut engine = GpuEngine::open(&options).unwrap();
            let batch = Batch::new(vec![signed(alg)], Path::Singly);
            assert!(engine.verify(&batch).unwrap().all_valid());
            println!("cpu_ms: {}", cpu_ms() - before);
        }
    }
}

#[test]
fn every_kernel_compiles_within_its_budget() {
    for (alg, budget) in BUDGET_MS {
        let child = child(alg.name()).env("MESA_SHADER_CACHE_DISABLE", "true").spawn().unwrap();
        let spent = number(&ended(child), "cpu_ms:");
        assert!(spent <= budget, "{alg}: {spent} ms of CPU time, {budget} allowed");
        println!("{alg}: {spent} ms of CPU time");
    }
}

#[test]
fn a_machine_without_a_driver_is_told_as_such() {
    ended(child("no driver").env("VK_DRIVER_FILES", "/none").env("VK_ICD_FILENAMES", "/none").spawn().unwrap());
}

#[test]
fn two_processes_share_an_adapter() {
    let both = [child("work").spawn().unwrap(), child("work").spawn().unwrap()];
    both.into_iter().for_each(|child| drop(ended(child)));
}
