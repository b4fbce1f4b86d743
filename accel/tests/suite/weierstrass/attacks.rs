//! What an attacker would try: keys, signatures and digests made so that the sums of the verifier meet equal points,
//! opposite points and infinity, or that x or a scalar lies at an edge. Each is built from the scalars and the point
//! that it should come to, with the arithmetic of the curves' crates.

use super::check;
use accel::{Item, Message};
use p256::elliptic_curve::ff::{Field, PrimeField};
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::subtle::Choice;
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, CurveGroup, FieldBytes, Group, ProjectivePoint, Scalar};
use types::{AlgId, PublicKey, Signature};

trait Attacked:
    CurveArithmetic<
        AffinePoint: FromSec1Point<Self> + ToSec1Point<Self> + DecompressPoint<Self>,
        FieldBytesSize: ModulusSize,
    >
{
    const ALG: AlgId;
    /// n and p, big-endian.
    const PRIMES: [&'static str; 2];
}

impl Attacked for p256::NistP256 {
    const ALG: AlgId = AlgId::EcdsaP256;
    const PRIMES: [&'static str; 2] = [
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    ];
}

impl Attacked for k256::Secp256k1 {
    const ALG: AlgId = AlgId::EcdsaSecp256k1;
    const PRIMES: [&'static str; 2] = [
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
    ];
}

impl Attacked for sm2::Sm2 {
    const ALG: AlgId = AlgId::Sm2Sm3;
    const PRIMES: [&'static str; 2] = [
        "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123",
        "fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff",
    ];
}

fn number(digits: &str) -> [u8; 32] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

/// Plus a small number.
fn plus(number: [u8; 32], small: i64) -> [u8; 32] {
    let (mut sum, mut carry) = (number, small);
    for byte in sum.iter_mut().rev() {
        carry += i64::from(*byte);
        *byte = (carry & 0xff) as u8;
        carry >>= 8;
    }
    sum
}

fn bytes<C: Attacked>(scalar: &Scalar<C>) -> [u8; 32] {
    scalar.to_repr().as_slice().try_into().unwrap()
}

fn key<C: Attacked>(point: &ProjectivePoint<C>) -> PublicKey {
    let encoded = point.to_affine().to_sec1_point(true);
    PublicKey::from_parts(C::ALG, encoded.as_bytes()).unwrap()
}

/// The cases of one curve.
struct Cases<C> {
    names: Vec<String>,
    items: Vec<Item>,
    /// What has to come out, where the case was made for that.
    expected: Vec<Option<bool>>,
    curve: std::marker::PhantomData<C>,
}

impl<C: Attacked> Cases<C> {
    fn push(&mut self, name: String, key: PublicKey, [r, s, e]: [[u8; 32]; 3], expected: Option<bool>) {
        let signature = Signature::from_parts(C::ALG, &[r, s].concat()).unwrap();
        self.names.push(name);
        self.items.push(Item { key, message: Message::Prehashed(e), signature });
        self.expected.push(expected);
    }

    /// A signature whose sum is [base]G + [of_key]Q with the x of `sum`, or any r where that is at infinity. Low s for
    /// ECDSA.
    fn push_sum(&mut self, name: &str, q: &ProjectivePoint<C>, base: Scalar<C>, of_key: Scalar<C>) {
        if bool::from(q.is_identity() | of_key.is_zero()) {
            return;
        }
        let sum = ProjectivePoint::<C>::generator() * base + *q * of_key;
        let infinite = bool::from(sum.is_identity());
        let x = if infinite { Scalar::<C>::ZERO } else { Scalar::<C>::reduce(&sum.to_affine().x()) };
        let (r, s, e) = if C::ALG == AlgId::Sm2Sm3 {
            let r = of_key - base;
            (r, base, r - x)
        } else {
            let r = if infinite { Scalar::<C>::from(7_u64) } else { x };
            let s = r * of_key.invert().unwrap();
            let low = bytes::<C>(&s) <= bytes::<C>(&-s);
            // (r, −s) over the same e comes to the opposite sum.
            (r, if low { s } else { -s }, base * s)
        };
        let expected = if bool::from(r.is_zero() | s.is_zero()) { false } else { !infinite };
        self.push(name.into(), key::<C>(q), [bytes::<C>(&r), bytes::<C>(&s), bytes::<C>(&e)], Some(expected));
    }

    /// A point with this x, if there is one.
    fn lift(x: &[u8; 32]) -> Option<ProjectivePoint<C>> {
        let x: &FieldBytes<C> = x.as_slice().try_into().unwrap();
        Option::<AffinePoint<C>>::from(AffinePoint::<C>::decompress(x, Choice::from(1))).map(Into::into)
    }
}

fn interesting<C: Attacked>() -> Vec<Scalar<C>> {
    let two = Scalar::<C>::from(2_u64);
    let mut scalars: Vec<Scalar<C>> =
        [0_u64, 1, 2, 3, 8, 16, 1024, 1 << 63].into_iter().map(Scalar::<C>::from).collect();
    scalars.extend([two.pow_vartime([64]), two.pow_vartime([66]), two.pow_vartime([255]), two.invert().unwrap()]);
    scalars.push(two.pow_vartime([128]) - Scalar::<C>::ONE);
    let negated: Vec<Scalar<C>> = scalars[1..].iter().map(|scalar| -*scalar).collect();
    scalars.extend(negated);
    scalars
}

fn cases<C: Attacked>() -> Cases<C> {
    let mut cases = Cases::<C> { names: vec![], items: vec![], expected: vec![], curve: std::marker::PhantomData };
    let generator = ProjectivePoint::<C>::generator();
    let [n, p] = C::PRIMES.map(number);
    let scalars = interesting::<C>();
    // Keys that are small multiples of G and of −G, and multiples that tables hold: sums meet equal and opposite
    // points.
    for (k, secret) in scalars.iter().enumerate() {
        for (i, base) in scalars.iter().enumerate() {
            for (j, of_key) in scalars.iter().enumerate() {
                if (i + 3 * j + 5 * k) % 41 == 0 || base == of_key && *base != -*secret {
                    cases.push_sum(&format!("key {k}, scalars {i} and {j}"), &(generator * secret), *base, *of_key);
                }
            }
            // At infinity.
            let of_key = -*base * Option::<Scalar<C>>::from(secret.invert()).unwrap_or(Scalar::<C>::ONE);
            cases.push_sum(&format!("key {k}, scalar {i}, at infinity"), &(generator * secret), *base, of_key);
        }
    }
    // The sum has an x at an edge: just above n, where r = x − n; just below p; around 0.
    let mut above = 0;
    for small in 0..30 {
        for (start, kind) in [(n, "n"), (plus(p, -30), "p − 30"), ([0; 32], "0")] {
            let Some(point) = Cases::<C>::lift(&plus(start, small)) else { continue };
            above += u32::from(kind == "n");
            let (base, of_key) = (scalars[4], scalars[7]);
            let q = (point - generator * base) * of_key.invert().unwrap();
            cases.push_sum(&format!("x is {kind} + {small}"), &q, base, of_key);
            // The same with r = x itself where that is above n, and with the x that would be one n above or below.
            let item = cases.items.last().unwrap().clone();
            let (s, Message::Prehashed(e)) = (item.signature.as_bytes()[32..].try_into().unwrap(), item.message) else {
                unreachable!("made of a digest")
            };
            cases.push(format!("r is {kind} + {small}"), item.key.clone(), [plus(start, small), s, e], None);
            cases.push(
                "e is one more".into(),
                item.key,
                [item.signature.as_bytes()[..32].try_into().unwrap(), s, plus(e, 1)],
                None,
            );
        }
    }
    assert!(above > 5);
    // Numbers at the edges of their ranges, e among them.
    let q = key::<C>(&(generator * scalars[4]));
    let half = bytes::<C>(&-scalars[11]);
    let edges = [[0; 32], plus([0; 32], 1), plus(n, -1), n, plus(n, 1), half, plus(half, 1), p, [0xff; 32]];
    for r in edges {
        for s in edges {
            for e in [[0; 32], n, [0xff; 32]] {
                cases.push(format!("r {r:x?} s {s:x?} e {e:x?}"), q.clone(), [r, s, e], None);
            }
        }
    }
    // e is zero, and honest; r + s is n under SM2.
    cases.push_sum("e is zero", &(generator * scalars[4]), scalars[0], scalars[7]);
    cases.push("t is zero".into(), q, [plus([0; 32], 5), plus(n, -5), [9; 32]], None);
    // Encodings that are of no key.
    let honest = cases.items[40].clone();
    for (tag, x) in [(0, [0; 32]), (4, [1; 32]), (5, [1; 32]), (2, p), (3, plus(p, 5)), (2, [0xff; 32])] {
        let mut item = honest.clone();
        item.key = PublicKey::from_parts(C::ALG, &[&[tag][..], &x].concat()).unwrap();
        cases.names.push(format!("key {tag} {x:x?}"));
        cases.items.push(item);
        cases.expected.push(Some(false));
    }
    for tag in 0..=255 {
        let mut item = honest.clone();
        item.key = PublicKey::from_parts(C::ALG, &[&[tag], &honest.key.as_bytes()[1..]].concat()).unwrap();
        cases.names.push(format!("prefix {tag}"));
        cases.items.push(item);
        cases.expected.push(None);
    }
    cases
}

fn attack<C: Attacked>() {
    let cases = cases::<C>();
    let verdicts = check(C::ALG, &cases.names, &cases.items);
    for ((name, verdict), expected) in cases.names.iter().zip(&verdicts).zip(&cases.expected) {
        assert!(expected.is_none_or(|expected| expected == *verdict), "{}: {name}: {verdict}", C::ALG);
    }
    let valid = verdicts.iter().filter(|valid| **valid).count();
    assert!(valid > 300 && verdicts.len() - valid > 300, "{valid} of {} valid", verdicts.len());
}

#[test]
fn sm2_sums_that_collide_and_edges_of_every_range() {
    attack::<sm2::Sm2>();
}

#[test]
fn p256_sums_that_collide_and_edges_of_every_range() {
    attack::<p256::NistP256>();
}

#[test]
fn secp256k1_sums_that_collide_and_edges_of_every_range() {
    attack::<k256::Secp256k1>();
}
