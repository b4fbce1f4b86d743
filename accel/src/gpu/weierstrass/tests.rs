//! What an attacker would try, on the device, against the reference: sums that meet a multiple on their way, scalars and
//! coordinates at their ends, encodings that decode under a lax rule. All of it prehashed, so that each scalar can be chosen.

#![allow(clippy::unwrap_used)]

use super::numbers::{Number, Point, Prime, add, add_points, bit, sub};
use super::{Curve, P256, SECP256K1, SM2};
use crate::gpu::{GpuEngine, Options};
use crate::{Batch, Engine, Item, Message, Path};
use types::{AlgId, PublicKey, Signature};

/// A seeded source of numbers (splitmix64).
struct Source(u64);

impl Source {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below 2^255.
    fn number(&mut self) -> Number {
        [self.word(), self.word(), self.word(), self.word() >> 1]
    }
}

/// A curve's group, slowly; `None` is the infinite point.
struct Group {
    alg: AlgId,
    curve: &'static Curve,
    field: Prime,
    order: Prime,
}

struct Claim {
    name: String,
    key: [u8; 33],
    digest: Number,
    r: Number,
    s: Number,
}

fn bytes(number: &Number) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(number.iter().rev()) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

impl Group {
    fn all() -> [Self; 3] {
        [(AlgId::Sm2Sm3, &SM2), (AlgId::EcdsaP256, &P256), (AlgId::EcdsaSecp256k1, &SECP256K1)]
            .map(|(alg, curve)| Self { alg, curve, field: Prime::new(curve.p), order: Prime::new(curve.n) })
    }

    fn add(&self, p: Option<Point>, q: Option<Point>) -> Option<Point> {
        match (p, q) {
            (None, other) | (other, None) => other,
            (Some(p), Some(q)) if p[0] == q[0] && p[1] != q[1] => None,
            (Some(p), Some(q)) => Some(add_points(&self.field, &self.curve.a, &p, &q)),
        }
    }

    fn mul(&self, scalar: &Number, point: Option<Point>) -> Option<Point> {
        (0..256).rev().fold(None, |sum, at| {
            let double = self.add(sum, sum);
            if bit(scalar, at) { self.add(double, point) } else { double }
        })
    }

    fn negative(&self, point: Option<Point>) -> Option<Point> {
        point.map(|[x, y]| [x, self.field.sub(&[0; 4], &y)])
    }

    fn with_x(&self, x: &Number, odd: bool) -> Option<Point> {
        let f = &self.field;
        let square = f.add(&f.mul(&f.add(&f.mul(x, x), &self.curve.a), x), &self.curve.b);
        let more = add(f.value(), &[1, 0, 0, 0]).0;
        let quarter = std::array::from_fn(|word| more[word] >> 2 | more.get(word + 1).map_or(0, |above| above << 62));
        let y = f.pow(&square, &quarter);
        let y = if bit(&y, 0) == odd { y } else { f.sub(&[0; 4], &y) };
        (f.mul(&y, &y) == square).then_some([*x, y])
    }

    fn key(&self, point: &Point) -> [u8; 33] {
        let mut key = [2 + u8::from(bit(&point[1], 0)); 33];
        key[1..].copy_from_slice(&bytes(&point[0]));
        key
    }

    fn small(&self, value: i64) -> Number {
        let magnitude = [value.unsigned_abs(), 0, 0, 0];
        if value < 0 { self.order.sub(&[0; 4], &magnitude) } else { magnitude }
    }

    fn shifted(&self, number: &Number, bits: usize) -> Number {
        self.order.mul(number, &self.order.power_of_two(bits))
    }

    fn is_high(&self, s: &Number) -> bool {
        // 2s modulo n is odd just where it went beyond n.
        bit(&self.order.add(s, s), 0)
    }

    /// A claim whose sum is u₁·G + u₂·P, with that sum's x where it is finite.
    fn claim(&self, name: String, key: &Point, [u1, u2]: [&Number; 2], sum: Option<Point>) -> Claim {
        let n = &self.order;
        let x = sum.map_or([0; 4], |[x, _]| n.add(&x, &[0; 4]));
        let key = self.key(key);
        if self.alg == AlgId::Sm2Sm3 {
            let r = n.sub(u2, u1);
            return Claim { name, key, digest: n.sub(&r, &x), r, s: *u1 };
        }
        let s = n.mul(&x, &n.inverse(u2));
        // The opposite s makes the opposite sum, of the same x.
        let s = if self.is_high(&s) { n.sub(&[0; 4], &s) } else { s };
        let (digest, same_sign) = (n.mul(u1, &s), n.mul(u2, &s) == x);
        Claim { name, key, digest: if same_sign { digest } else { n.sub(&[0; 4], &digest) }, r: x, s }
    }

    /// A claim with a known secret key.
    fn with_secret(&self, name: String, secret: &Number, u1: &Number, u2: &Number) -> Option<Claim> {
        let key = self.mul(secret, Some(self.curve.g))?;
        let sum = self.order.add(u1, &self.order.mul(u2, secret));
        Some(self.claim(name, &key, [u1, u2], self.mul(&sum, Some(self.curve.g))))
    }

    /// A claim whose sum is this point, under the key that makes it so.
    fn with_sum(&self, name: String, sum: Point, source: &mut Source) -> Claim {
        let (u1, u2) = (source.number(), source.number());
        let rest = self.add(Some(sum), self.negative(self.mul(&u1, Some(self.curve.g))));
        let key = self.mul(&self.order.inverse(&u2), rest).expect("a random point is finite");
        self.claim(name, &key, [&u1, &u2], Some(sum))
    }
}

impl Claim {
    fn item(&self, alg: AlgId) -> Item {
        Item {
            key: PublicKey::from_parts(alg, &self.key).unwrap(),
            message: Message::Prehashed(bytes(&self.digest)),
            signature: Signature::from_parts(alg, &[bytes(&self.r), bytes(&self.s)].concat()).unwrap(),
        }
    }
}

/// The key is a small multiple of G, so that the sum meets a multiple of the key or of G in some window, with either sign.
fn meetings(group: &Group, source: &mut Source) -> Vec<Claim> {
    let n = &group.order;
    let mut claims = Vec::new();
    for j in [1, -1, 2, 3, -5, 16, 31, -32] {
        for bits in [0, 5, 10, 30, 60, 65, 130] {
            for sign in [1, -1] {
                let a = 1 + (source.word() % 15) as i64;
                let below = if bits == 0 { 1 } else { 1 << bits.min(60) };
                let [low1, low2] = [0; 2].map(|_| [source.word() % below, 0, 0, 0]);
                let high = [group.small(sign * j * a), group.small(a)].map(|number| group.shifted(&number, bits));
                claims.extend(group.with_secret(format!("{j} {bits} {sign}"), &group.small(j), &high[0], &high[1]));
                let low = [n.add(&high[0], &low1), n.add(&high[1], &low2)];
                claims.extend(group.with_secret(format!("{j} {bits} {sign} low"), &group.small(j), &low[0], &low[1]));
            }
        }
    }
    // A digit of G, doubled up, meets a digit of a key that is a power of two.
    for (power, window) in [(5, 5), (10, 0), (15, 15), (65, 0), (130, 0), (195, 0), (0, 10)] {
        for digit in [1, 7, 15, 16, -16] {
            for sign in [1, -1] {
                let secret = n.power_of_two(power);
                let u1 = group.shifted(&group.small(digit), 10 * (1 + window / 10));
                let u2 = group.shifted(&group.small(sign * digit), window);
                claims.extend(group.with_secret(format!("power {power} {digit} {sign}"), &secret, &u1, &u2));
            }
        }
    }
    claims
}

/// Infinite sums; scalars, x and keys at their ends; x in [n, p); s at half of n.
fn ends(group: &Group, source: &mut Source) -> Vec<Claim> {
    let n = &group.order;
    let mut claims = Vec::new();
    for number in 0..4 {
        let (secret, u2) = (source.number(), source.number());
        let u1 = n.sub(&[0; 4], &n.mul(&u2, &secret));
        claims.extend(group.with_secret(format!("infinite {number}"), &secret, &u1, &u2));
    }
    let end = [group.small(0), group.small(1), group.small(-1), group.small(-2), n.power_of_two(255)];
    for (number, u1) in end.iter().enumerate() {
        // u₂ = 0 is t = 0 of SM2, with an e that would make it hold.
        for (other, u2) in end.iter().enumerate() {
            for secret in [source.number(), group.small(3)] {
                claims.extend(group.with_secret(format!("ends {number} {other}"), &secret, u1, u2));
            }
        }
    }
    let mut x = *n.value();
    let mut beyond = 0;
    while beyond < 6 {
        x = add(&x, &[1, 0, 0, 0]).0;
        if let Some(sum) = group.with_x(&x, beyond % 2 == 0) {
            beyond += 1;
            claims.push(group.with_sum(format!("x beyond n {beyond}"), sum, source));
        }
    }
    let below = |value: &Number, by: u64| sub(value, &[by, 0, 0, 0]).0;
    let (p, order) = (group.field.value(), n.value());
    for x in [[0; 4], [1, 0, 0, 0], [2, 0, 0, 0], below(p, 1), below(p, 2), below(p, 3), *order, below(order, 1)] {
        for odd in [false, true] {
            let Some(point) = group.with_x(&x, odd) else {
                let mut claim =
                    group.with_secret("no such x".into(), &[3, 0, 0, 0], &[5, 0, 0, 0], &[7, 0, 0, 0]).unwrap();
                claim.key[1..].copy_from_slice(&bytes(&x));
                claims.push(claim);
                continue;
            };
            claims.push(group.with_sum("x of the sum".into(), point, source));
            let (u1, u2) = (source.number(), source.number());
            let sum = group.add(group.mul(&u1, Some(group.curve.g)), group.mul(&u2, Some(point)));
            claims.push(group.claim("x of the key".into(), &point, [&u1, &u2], sum));
            if let (beyond, false) = add(&x, p) {
                let mut claim = group.claim("x of the key, and p".into(), &point, [&u1, &u2], sum);
                claim.key[1..].copy_from_slice(&bytes(&beyond));
                claims.push(claim);
            }
        }
    }
    if group.alg != AlgId::Sm2Sm3 {
        let half = n.mul(&group.small(-1), &n.inverse(&[2, 0, 0, 0]));
        for s in [half, add(&half, &[1, 0, 0, 0]).0, below(&half, 1), [1, 0, 0, 0], [2, 0, 0, 0]] {
            let (k, u1) = (source.number(), source.number());
            let sum = group.mul(&k, Some(group.curve.g));
            let r = n.add(&sum.unwrap()[0], &[0; 4]);
            let rest = group.add(sum, group.negative(group.mul(&u1, Some(group.curve.g))));
            let key = group.mul(&n.mul(&s, &n.inverse(&r)), rest).unwrap();
            claims.push(Claim { name: "s at half of n".into(), key: group.key(&key), digest: n.mul(&u1, &s), r, s });
        }
    }
    claims
}

/// Each claim once more, with one thing wrong.
fn spoilt(group: &Group, claims: &[Claim]) -> Vec<Claim> {
    let n = &group.order;
    let limits = [*n.value(), group.small(-1), [u64::MAX; 4], *group.field.value(), [0; 4], [1, 0, 0, 0]];
    let prefixes = [0, 1, 4, 5, 6, 7, 0x82, 0xff];
    let mut spoilt = Vec::new();
    for (number, claim) in claims.iter().enumerate() {
        let copy = |what: &str| Claim { name: format!("{} {what}", claim.name), ..*claim };
        let mut other = copy("spoilt");
        match number % 8 {
            0 => other.key[0] = prefixes[number / 8 % prefixes.len()],
            1 => other.key[0] ^= 1,
            2 => other.r = limits[number / 8 % limits.len()],
            3 => other.s = limits[number / 8 % limits.len()],
            4 => other.r = add(&other.r, n.value()).0,
            5 => other.s = add(&other.s, n.value()).0,
            6 => other.s = n.sub(&[0; 4], &other.s),
            // t = 0 of SM2.
            _ => other.r = n.sub(&[0; 4], &other.s),
        }
        spoilt.push(other);
        let mut other = copy("of another digest");
        other.digest = [add(&claim.digest, &[1, 0, 0, 0]).0, [u64::MAX; 4], [0; 4]][number % 3];
        spoilt.push(other);
        // The same residue: still good, where 256 bits hold it.
        if let (digest, false) = add(&claim.digest, n.value()) {
            spoilt.push(Claim { digest, ..copy("of a digest beyond n") });
        }
    }
    spoilt
}

#[test]
fn whatever_an_attacker_chooses_has_the_reference_verdict() {
    let options = Options {
        allow_software: true,
        slot_items_max: 2048,
        key_slots: 2048,
        launch_ms_max: 120_000,
        algorithms: vec![AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::EcdsaSecp256k1],
        ..Options::default()
    };
    let mut engine =
        GpuEngine::open(&options).expect("a Vulkan adapter: `cargo xtask setup` installs mesa-vulkan-drivers");
    for group in Group::all() {
        let mut source = Source(7);
        let mut claims = meetings(&group, &mut source);
        claims.extend(ends(&group, &mut source));
        let whole = claims.len();
        claims.extend(spoilt(&group, &claims));
        let items: Vec<Item> = claims.iter().map(|claim| claim.item(group.alg)).collect();
        let verdicts = engine.verify(&Batch::new(items.clone(), Path::Singly)).unwrap();
        let mut valid = 0;
        for ((claim, item), verdict) in claims.iter().zip(&items).zip(verdicts.iter()) {
            assert_eq!(verdict, item.verify_alone(), "{} {}", group.alg, claim.name);
            valid += usize::from(verdict);
        }
        // A test of refusals alone would prove little.
        assert!(2 * valid > whole, "{}: {valid} of {whole}", group.alg);
    }
}
