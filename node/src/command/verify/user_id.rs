//! SM2's user id where it is not the default one: e = SM3(Z ‖ M), of which the engines then take the 32 bytes.
//!
//! GM/T 0003.2 §5.5 (Z) and §7.1 B3–B4 (e). The default id is the engines' own matter.

use sm2::elliptic_curve::sec1::ToSec1Point;
use sm3::{Digest, Sm3};

/// The id of GM/T 0009 §10: "1234567812345678".
pub const DEFAULT: &[u8] = b"1234567812345678";
/// ENTL counts bits in 16 bits.
pub const BYTES_MAX: usize = 8191;

/// a, b, x_G and y_G of the curve (GM/T 0003.5 §A.1).
const CURVE: [[u8; 32]; 4] = [
    bytes("FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFC"),
    bytes("28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93"),
    bytes("32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7"),
    bytes("BC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0"),
];

const fn bytes(digits: &str) -> [u8; 32] {
    match const_hex(digits.as_bytes()) {
        Some(bytes) => bytes,
        None => panic!("64 hexadecimal digits"),
    }
}

const fn const_hex(digits: &[u8]) -> Option<[u8; 32]> {
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 64 {
        let digit = match digits[at] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        bytes[at / 2] = bytes[at / 2] << 4 | digit;
        at += 1;
    }
    Some(bytes)
}

/// e for this id, key and message; `None` for a key that is no point, or an id over [`BYTES_MAX`]. The key is x‖y or in
/// SEC 1 form.
pub fn digest(id: &[u8], key: &[u8], message: &[u8]) -> Option<[u8; 32]> {
    let bits = u16::try_from(id.len().checked_mul(8)?).ok()?;
    let mut sec1 = key.to_vec();
    if key.len() == 64 {
        sec1.insert(0, 4);
    }
    let point = sm2::PublicKey::from_sec1_bytes(&sec1).ok()?.to_sec1_point(false);
    let mut z = Sm3::new().chain_update(bits.to_be_bytes()).chain_update(id);
    for parameter in CURVE {
        z.update(parameter);
    }
    // The tag of the uncompressed form is not part of Z.
    z.update(point.as_bytes().get(1..)?);
    Some(Sm3::new().chain_update(z.finalize()).chain_update(message).finalize().into())
}
