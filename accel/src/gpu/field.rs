//! Writes WGSL: arithmetic modulo a 256-bit prime, in Montgomery form to the base 2^261.
//!
//! An element is nine signed limbs of 29 bits, `Fe = array<i32, 9>`. Signed limbs make a difference cost no more than a sum
//! and need no multiples of the prime beneath it; columns of products are summed in `i64`. Two bounds go with an element:
//!
//! * *Limbs*: A, such that each limb lies within ±A·(2^28 + 16). A product has A = 1; sums and differences add.
//! * *Value*: V, such that it lies within ±V·p. A product of x and y lies in (−ε, 1 + ε)·p with ε = V(x)·V(y)/32 + 2^−20.
//!
//! | function | takes | gives |
//! |---|---|---|
//! | `_mul(x, y)` | A(x)·A(y) ≤ 12 | A = 1 |
//! | `_sq(x)` | A ≤ 3 | A = 1 |
//! | `_red(x)` | A ≤ 5, V ≤ 16 | A = 1, V ≤ 0.51, the same residue |
//! | `_is_zero(x)` | A ≤ 5, V ≤ 16 | whether x ≡ 0 |
//! | `_words(x)` | A ≤ 5, V ≤ 16 | the residue in [0, p) as eight words |
//!
//! Nine products of limbs reach 12·9·2^56, the reduction adds at most 9·2^57, and 126·2^56 is below 2^63. V ≤ 16 keeps the
//! top limb, of weight 2^232, within A = 1. The primes of the curves have limbs that are zero, small or powers of two but the
//! top one 2^23 or 2^24; the orders of the groups fill all nine, and for them the last three functions take A = 1, V ≤ 2 alone.
//! Deliberately absent: inversion and square roots, which are programs over these.

#[cfg(test)]
mod tests;

use super::weierstrass::numbers::{Number, Prime, bit};
use std::fmt::Write as _;

/// Limbs of an element.
pub(crate) const LIMBS: usize = 9;
/// Bits of a limb.
const LIMB_BITS: usize = 29;
const LIMB: i64 = 1 << LIMB_BITS;
/// 2^(9·29): what a Montgomery product is divided by.
pub(crate) const MONTGOMERY_BITS: usize = LIMBS * LIMB_BITS;

/// The limbs of a number, each within ±2^28.
pub(crate) fn limbs(number: &Number) -> [i32; LIMBS] {
    let mut carry = 0;
    std::array::from_fn(|limb| {
        let bits = (0..LIMB_BITS).map(|at| limb * LIMB_BITS + at).filter(|at| *at < 256 && bit(number, *at));
        let digit = carry + bits.map(|at| 1i64 << (at - limb * LIMB_BITS)).sum::<i64>();
        carry = i64::from(digit >= LIMB / 2 && limb + 1 < LIMBS);
        i32::try_from(digit - carry * LIMB).expect("a limb is within 2^28")
    })
}

/// The limbs of number·2^261 mod p: the form in which kernels hold elements.
pub(crate) fn montgomery_limbs(field: &Prime, number: &Number) -> [i32; LIMBS] {
    limbs(&field.mul(number, &field.power_of_two(MONTGOMERY_BITS)))
}

/// A WGSL expression of the type `Fe`.
pub(crate) fn literal(limbs: &[i32; LIMBS]) -> String {
    let limbs: Vec<String> = limbs.iter().map(|limb| format!("i32({limb})")).collect();
    format!("Fe({})", limbs.join(", "))
}

/// What does not depend on the prime.
pub(crate) fn shared_functions() -> String {
    let each = |expression: &dyn Fn(usize) -> String| (0..LIMBS).map(expression).collect::<Vec<_>>().join(", ");
    let from_words = each(&|limb| {
        let (word, shift) = (limb * LIMB_BITS / 32, limb * LIMB_BITS % 32);
        match (shift, word) {
            (0, _) => format!("i32(w[{word}] & LIMB_MASK)"),
            (_, 7) => format!("i32(w[7] >> {shift}u)"),
            (..=3, _) => format!("i32((w[{word}] >> {shift}u) & LIMB_MASK)"),
            _ => format!("i32(((w[{word}] >> {shift}u) | (w[{}] << {}u)) & LIMB_MASK)", word + 1, 32 - shift),
        }
    });
    format!(
        "alias Fe = array<i32, 9>;\nalias Words = array<u32, 8>;\nconst LIMB_MASK = 0x1fffffffu;\n\
         fn fe_add(a: Fe, b: Fe) -> Fe {{ return Fe({}); }}\n\
         fn fe_sub(a: Fe, b: Fe) -> Fe {{ return Fe({}); }}\n\
         fn fe_scale(a: Fe, k: i32) -> Fe {{ return Fe({}); }}\n\
         fn fe_select(no: Fe, yes: Fe, which: bool) -> Fe {{ return Fe({}); }}\n\
         // Limbs in [0, 2^29): A = 2.\n\
         fn fe_from_words(w: Words) -> Fe {{ return Fe({from_words}); }}\n",
        each(&|i| format!("a[{i}] + b[{i}]")),
        each(&|i| format!("a[{i}] - b[{i}]")),
        each(&|i| format!("a[{i}] * k")),
        each(&|i| format!("select(no[{i}], yes[{i}], which)")),
    )
}

/// The functions of one prime, with names that start with `prefix`.
pub(crate) fn functions(prefix: &str, prime: &Prime) -> String {
    Writer { prefix, digits: limbs(prime.value()), negative_inverse: negative_inverse(prime.value()) }.write()
}

/// −p⁻¹ mod 2^29.
fn negative_inverse(prime: &Number) -> u32 {
    let low = prime[0] as u32;
    let inverse = (0..5).fold(low, |inverse, _| inverse.wrapping_mul(2u32.wrapping_sub(low.wrapping_mul(inverse))));
    inverse.wrapping_neg() & (LIMB as u32 - 1)
}

struct Writer<'a> {
    prefix: &'a str,
    /// The prime in limbs within ±2^28. The primes of the curves have few that are not zero, mostly powers of two.
    digits: [i32; LIMBS],
    negative_inverse: u32,
}

impl Writer<'_> {
    fn write(&self) -> String {
        let prefix = self.prefix;
        let mut out = String::new();
        let mut operands = String::new();
        for limb in 0..LIMBS {
            writeln!(operands, "  let x{limb} = i64(x[{limb}]); let y{limb} = i64(y[{limb}]);")
                .expect("a string grows");
        }
        let product = |column: usize| {
            let rows = column.saturating_sub(LIMBS - 1)..=column.min(LIMBS - 1);
            rows.map(|i| format!("x{i}*y{}", column - i)).collect::<Vec<_>>().join(" + ")
        };
        out += &format!("fn {prefix}_mul(x: Fe, y: Fe) -> Fe {{\n{operands}{}}}\n", self.reduction(&product));

        let mut operands = String::new();
        for limb in 0..LIMBS {
            writeln!(operands, "  let x{limb} = i64(x[{limb}]); let d{limb} = i64(x[{limb}] * 2);")
                .expect("a string grows");
        }
        let square = |column: usize| {
            let rows = column.saturating_sub(LIMBS - 1)..=column / 2;
            let term = |i| if 2 * i == column { format!("x{i}*x{i}") } else { format!("d{i}*x{}", column - i) };
            rows.map(term).collect::<Vec<_>>().join(" + ")
        };
        out += &format!("fn {prefix}_sq(x: Fe) -> Fe {{\n{operands}{}}}\n", self.reduction(&square));
        out + &self.weak_reduction() + &self.zero_test() + &self.words()
    }

    /// `factor` times digit `of` of the prime, as a summand; nothing where the digit is zero.
    fn times_digit(&self, factor: &str, of: usize, wide: bool) -> String {
        let digit = self.digits[of];
        let sign = if digit < 0 { '-' } else { '+' };
        let magnitude = digit.unsigned_abs();
        match magnitude {
            0 => String::new(),
            1 => format!(" {sign} {factor}"),
            _ if magnitude.is_power_of_two() => format!(" {sign} ({factor} << {}u)", magnitude.trailing_zeros()),
            _ => format!(" {sign} {factor}*{magnitude}{}", if wide { "li" } else { "" }),
        }
    }

    /// Columns 0 to 8 are made divisible by 2^29 from the lowest up, by adding multiples m of the prime; what is left is
    /// the product over 2^261. Half a limb is added to each column of the result before its low bits are taken and taken
    /// off after, so that limbs come out within ±2^28.
    fn reduction(&self, product: &dyn Fn(usize) -> String) -> String {
        let mut out = String::new();
        for column in 0..2 * LIMBS - 1 {
            let mut sum = product(column);
            if column > 0 {
                write!(sum, " + (t{} >> 29u)", column - 1).expect("a string grows");
            }
            for m in column.saturating_sub(LIMBS - 1)..column.min(LIMBS) {
                sum += &self.times_digit(&format!("m{m}"), column - m, true);
            }
            if column >= LIMBS {
                writeln!(out, "  let t{column} = {sum} + 268435456li;").expect("a string grows");
                continue;
            }
            // Where p ≡ −1, as for two of the curves, m is the low limb itself and taking it off leaves the carry as it is.
            let whole = if self.digits[0] == -1 { "t" } else { "c" };
            writeln!(out, "  let {whole}{column} = {sum};").expect("a string grows");
            if self.digits[0] == -1 {
                writeln!(out, "  let m{column} = i64(i32(t{column}) & 536870911);").expect("a string grows");
            } else {
                let factor = self.negative_inverse;
                writeln!(out, "  let m{column} = i64((i32(c{column}) * {factor}) & 536870911);")
                    .expect("a string grows");
                let cleared = self.times_digit(&format!("m{column}"), 0, true);
                writeln!(out, "  let t{column} = c{column}{cleared};").expect("a string grows");
            }
        }
        let limbs = (LIMBS..2 * LIMBS - 1).map(|column| format!("(i32(t{column}) & 536870911) - 268435456"));
        out + &format!("  return Fe({}, i32(t16 >> 29u));\n", limbs.collect::<Vec<_>>().join(", "))
    }

    /// Takes off the nearest multiple of the prime as the top limb shows it, p being within 2^−31 of a power of two, then
    /// carries all limbs at once: what moves is at most 12, hence the 16 in the bound of a limb.
    fn weak_reduction(&self) -> String {
        let top = self.digits[LIMBS - 1].trailing_zeros();
        let half = 1 << (top - 1);
        let mut out = format!("fn {}_red(x: Fe) -> Fe {{\n  let q = (x[8] + {half}) >> {top}u;\n", self.prefix);
        for limb in 0..LIMBS {
            // Subtracting q·digit: the sign of a summand is turned.
            let term = self.times_digit("q", limb, false).replace(" + ", " ~ ").replace(" - ", " + ").replace('~', "-");
            writeln!(out, "  let v{limb} = x[{limb}]{term};").expect("a string grows");
            if limb + 1 < LIMBS {
                writeln!(out, "  let c{limb} = (v{limb} + 268435456) >> 29u;").expect("a string grows");
            }
        }
        let limb = |limb| match limb {
            0 => "v0 - (c0 << 29u)".to_owned(),
            8 => "v8 + c7".to_owned(),
            _ => format!("v{limb} - (c{limb} << 29u) + c{}", limb - 1),
        };
        out + &format!("  return Fe({});\n}}\n", (0..LIMBS).map(limb).collect::<Vec<_>>().join(", "))
    }

    /// x ≡ 0 means x = jp, and the low limb names the only j that can be: x − jp must then be zero in every limb.
    fn zero_test(&self) -> String {
        let mut out = format!(
            "fn {}_is_zero(x: Fe) -> bool {{\n  let j = 0 - (((x[0] * {}) << 3u) >> 3u);\n  var rest = 0;\n",
            self.prefix, self.negative_inverse
        );
        for limb in 0..LIMBS {
            let term = self.times_digit("j", limb, false).replace(" + ", " ~ ").replace(" - ", " + ").replace('~', "-");
            let carry = if limb == 0 { String::new() } else { format!(" + (t{} >> 29u)", limb - 1) };
            let mask = if limb + 1 == LIMBS { "" } else { " & 536870911" };
            writeln!(out, "  let t{limb} = x[{limb}]{term}{carry}; rest = rest | (t{limb}{mask});")
                .expect("a string grows");
        }
        out + "  return rest == 0 && abs(j) <= 32;\n}\n"
    }

    fn words(&self) -> String {
        let mut out = format!("fn {0}_words(x: Fe) -> Words {{\n  let r = {0}_red(x);\n", self.prefix);
        let sign = (0..LIMBS).fold(String::new(), |carry, limb| match limb {
            0 => "(r[0] >> 29u)".to_owned(),
            8 => format!("r[8] + {carry}"),
            _ => format!("((r[{limb}] + {carry}) >> 29u)"),
        });
        writeln!(out, "  let s = ({sign}) >> 31u;").expect("a string grows");
        for (limb, digit) in self.digits.iter().enumerate() {
            let carry = if limb == 0 { String::new() } else { format!(" + (t{} >> 29u)", limb - 1) };
            writeln!(
                out,
                "  let t{limb} = r[{limb}] + (s & i32({digit})){carry}; let u{limb} = u32(t{limb}) & LIMB_MASK;"
            )
            .expect("a string grows");
        }
        let word = |word: usize| {
            let (limb, shift) = (word * 32 / LIMB_BITS, word * 32 % LIMB_BITS);
            let mut parts = vec![format!("(u{limb} >> {shift}u)")];
            for next in limb + 1..LIMBS {
                let up = (next - limb) * LIMB_BITS - shift;
                if up < 32 {
                    parts.push(format!("(u{next} << {up}u)"));
                }
            }
            parts.join(" | ")
        };
        out + &format!("  return Words({});\n}}\n", (0..8).map(word).collect::<Vec<_>>().join(", "))
    }
}
