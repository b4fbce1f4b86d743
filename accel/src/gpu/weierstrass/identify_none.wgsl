// ECDSA hashes the message alone.
fn identify_key(slot: u32, x: Words, y: Words) {}
