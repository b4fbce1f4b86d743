//! Both kinds of place do the same, and what an operator gets wrong is said without saying a secret.

use super::stand_in::StandIn;
use super::*;
use std::os::unix::fs::PermissionsExt;

const SECRET: &str = "wJalrXUtnFEMI-never-shown";

/// Every object is there as a whole, or not.
fn keeps(depot: &Depot) {
    assert!(matches!(depot.get("manifest.json", 100), Err(DepotError::Missing { .. })));
    depot.put("manifest.json", b"one".to_vec()).expect("a place");
    depot.put("ranges/1-2.ledger", vec![7; 5_000]).expect("a place");
    depot.put("manifest.json", b"two".to_vec()).expect("a place");
    assert_eq!(depot.get("manifest.json", 3).expect("an object"), b"two");
    assert_eq!(depot.get("ranges/1-2.ledger", 5_000).expect("an object"), vec![7; 5_000]);
    assert!(matches!(depot.get("ranges/1-2.ledger", 4_999), Err(DepotError::Length { bytes: 5_000, .. })));
    depot.remove("ranges/1-2.ledger").expect("a place");
    depot.remove("ranges/1-2.ledger").expect("it may be gone");
    assert!(matches!(depot.get("ranges/1-2.ledger", 5_000), Err(DepotError::Missing { .. })));
    for name in ["../manifest.json", "/etc/passwd", "ranges//x", "ranges/.new", "", "a b", "ranges/../../x"] {
        assert!(matches!(depot.get(name, 10), Err(DepotError::Name(_))), "{name}");
        assert!(matches!(depot.put(name, Vec::new()), Err(DepotError::Name(_))), "{name}");
    }
}

#[test]
fn a_directory_keeps_what_is_put_and_one_writes_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("backup");
    let location = path.to_str().expect("it is text");
    let depot = Depot::open_to_write(location, None).expect("a directory");
    keeps(&depot);
    assert!(matches!(Depot::open_to_write(location, None), Err(DepotError::InUse(_))));
    drop(depot);
    assert!(Depot::open_to_write(location, None).is_ok());
}

#[test]
fn a_bucket_keeps_what_is_put_under_its_prefix_and_outlasts_a_store_that_is_busy() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = StandIn::start();
    let file = store.file(dir.path(), SECRET);
    let depot = Depot::open_to_write("s3://vault/node-1/", Some(&file)).expect("a bucket");
    keeps(&depot);
    store.seen.lock().expect("a store").scripted.push_back(503);
    depot.put("genesis.toml", b"text".to_vec()).expect("it is tried again");
    let seen = store.seen.lock().expect("a store");
    assert_eq!(seen.objects.keys().collect::<Vec<_>>(), ["/vault/node-1/genesis.toml", "/vault/node-1/manifest.json"]);
    assert!(seen.authorizations.iter().all(|sent| sent.starts_with("AWS4-HMAC-SHA256 Credential=an-id/")));
    assert!(seen.authorizations.iter().all(|sent| !sent.contains(SECRET)));
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = StandIn::start();
    let depot = Depot::open_to_write("s3://vault/x", Some(&store.file(dir.path(), SECRET))).expect("a bucket");
    store.seen.lock().expect("a store").scripted.push_back(404);
    let refused = depot.put("genesis.toml", Vec::new());
    assert!(matches!(refused, Err(DepotError::Bucket { bucket }) if bucket == "vault"));
}

#[test]
fn no_error_says_a_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = StandIn::start();
    let file = store.file(dir.path(), SECRET);
    let depot = Depot::open("s3://vault", Some(&file)).expect("a bucket");
    store.seen.lock().expect("a store").scripted.extend([403; 8]);
    let refused = depot.put("genesis.toml", Vec::new()).expect_err("it is refused");
    let mut said = vec![format!("{refused:?} {refused} {depot:?}")];
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace("allow_http", "allowed_http")).expect("a file");
    said.push(Depot::open("s3://vault", Some(&file)).expect_err("an unknown key").to_string());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a file");
    let open = Depot::open("s3://vault", Some(&file)).expect_err("others can read it");
    assert!(open.to_string().contains("chmod 600"), "{open}");
    said.push(open.to_string());
    assert!(said.iter().all(|text| !text.contains(SECRET)), "{said:?}");
}

#[test]
fn places_that_are_none_are_named() {
    assert!(matches!(Depot::open("ftp://host/x", None), Err(DepotError::Location { .. })));
    let nowhere = Path::new("/nowhere/s3.toml");
    assert!(matches!(Depot::open("s3://vault", Some(nowhere)), Err(DepotError::Credentials { .. })));
    let dir = tempfile::tempdir().expect("a directory");
    let file = StandIn::start().file(dir.path(), SECRET);
    assert!(matches!(Depot::open("s3:///prefix", Some(&file)), Err(DepotError::Location { .. })));
}
