//! Sums in lanes against portable ones, for scalars and keys at every edge.

use super::*;
use crate::weierstrass::curve::{P256, Secp256k1, Sm2};
use crate::weierstrass::montgomery::{Modulus, add, subtract};
use crate::weierstrass::portable::sum;
use crate::weierstrass::table::KeyTable;

/// Below n: small ones, powers of two and their neighbours, runs of one digit, n less small ones, some of no shape.
fn scalars<C: Shape>() -> Vec<Limbs> {
    let mut scalars: Vec<Limbs> = (0..20).map(|small| [small, 0, 0, 0]).collect();
    for bit in [10, 11, 63, 64, 66, 127, 128, 191, 192, 254, 255] {
        let mut power = [0; 4];
        power[bit / 64] = 1 << (bit % 64);
        scalars.extend([power, subtract(&power, &[1, 0, 0, 0]).0, add(&power, &[1, 0, 0, 0]).0]);
    }
    for nibble in 1..15 {
        scalars.push([0x1111_1111_1111_1111 * nibble; 4]);
    }
    let small: Vec<Limbs> = scalars.clone();
    scalars.extend(small.iter().map(|scalar| subtract(&C::Order::PRIME, scalar).0));
    scalars
        .extend((1..20_u64).map(|i| [i, i << 7, i << 40, i << 3].map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    scalars.retain(|scalar| crate::weierstrass::montgomery::less(scalar, &C::Order::PRIME));
    scalars
}

fn generator_times<C: Shape>(scalar: &Limbs) -> Affine<C> {
    let generator = Affine::<C>::generator();
    let sum = (0..256).rev().fold(Jacobian::<C>::INFINITY, |sum, bit| {
        let sum = sum.double();
        if scalar[bit / 64] >> (bit % 64) & 1 == 1 { sum.add_affine(&generator) } else { sum }
    });
    to_affine(&[sum])[0]
}

fn check<C: Shape>() {
    let Some(lanes) = Lanes::<C>::detect() else { return };
    let scalars = scalars::<C>();
    let minus_one = subtract(&C::Order::PRIME, &[1, 0, 0, 0]).0;
    let (mut asked, mut exceptional_count) = (0, 0);
    for secret in [[1, 0, 0, 0], minus_one, [2, 0, 0, 0], [0, 1, 0, 0], OFFSET, [77, 5, 3, 1 << 60]] {
        let key = Key::new::<C>(KeyTable::new(&generator_times::<C>(&secret)));
        let claims: Vec<Claim<'_>> = scalars
            .iter()
            .flat_map(|base| scalars.iter().step_by(7).map(move |of_key| (*base, *of_key)))
            .enumerate()
            .map(|(index, (base, of_key))| {
                let mut claim = Claim { index, key: &key, base, of_key, x: [0; 4], x_above: None };
                let sum = sum::<C>(&claim);
                if !sum.is_infinity() {
                    claim.x = to_affine(&[sum])[0].x.number();
                }
                claim
            })
            .collect();
        for eight in claims.chunks(8) {
            // SAFETY: a `Lanes` exists only where all target features of the function were detected.
            let answer = unsafe { hold::<C>(&lanes, eight) };
            for (lane, claim) in eight.iter().enumerate() {
                let infinite = sum::<C>(claim).is_infinity();
                let known = answer.unknown >> lane & 1 == 0;
                assert!(!(infinite && known), "{:x?} {:x?}: infinity was not seen", claim.base, claim.of_key);
                if known {
                    assert!(answer.hold >> lane & 1 == 1, "{secret:x?} {:x?} {:x?}", claim.base, claim.of_key);
                }
                asked += 1;
                exceptional_count += usize::from(!known);
            }
        }
        // Another x is refused.
        let mut wrong: Vec<Claim<'_>> = claims.into_iter().step_by(17).take(40).collect();
        wrong.iter_mut().for_each(|claim| claim.x[1] ^= 4);
        for eight in wrong.chunks(8) {
            // SAFETY: a `Lanes` exists only where all target features of the function were detected.
            let answer = unsafe { hold::<C>(&lanes, eight) };
            assert_eq!(answer.hold & !answer.unknown, 0);
        }
    }
    assert!(exceptional_count > 0 && exceptional_count < asked / 10, "{exceptional_count} of {asked} exceptional");
}

#[test]
fn sums_agree_with_portable_ones_for_scalars_at_every_edge() {
    check::<Sm2>();
    check::<P256>();
    check::<Secp256k1>();
}
