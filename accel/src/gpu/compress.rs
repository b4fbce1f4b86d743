//! Writes WGSL: the compression functions of SM3 (GM/T 0004) and SHA-256 (FIPS 180-4), unrolled, so that the registers of a
//! round take each other's places without a move. Both are `compress(state: Words, block: array<u32, 16>) -> Words` over
//! big-endian words. Deliberately absent: padding, which is the host's.

use std::fmt::Write as _;

/// The initial state of SM3.
pub(crate) const SM3_INITIAL: [u32; 8] =
    [0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e];
/// The initial state of SHA-256: fractions of the square roots of the first eight primes.
pub(crate) const SHA256_INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

const TOOLS: &str = "\
fn rotl(x: u32, n: u32) -> u32 { return (x << n) | (x >> (32u - n)); }
fn byte_swap(x: u32) -> u32 { return (x << 24u) | ((x & 0xff00u) << 8u) | ((x >> 8u) & 0xff00u) | (x >> 24u); }
";

/// A WGSL expression of the type `Words`.
pub(crate) fn words(words: &[u32]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word}u")).collect();
    format!("Words({})", words.join(", "))
}

/// SM3.
pub(crate) fn sm3() -> String {
    let mut out = format!(
        "{TOOLS}fn mix_state(x: u32) -> u32 {{ return x ^ rotl(x, 9u) ^ rotl(x, 17u); }}\n\
         fn mix_block(x: u32) -> u32 {{ return x ^ rotl(x, 15u) ^ rotl(x, 23u); }}\n\
         fn compress(state: Words, block: array<u32, 16>) -> Words {{\n"
    );
    for word in 0..16 {
        writeln!(out, "  let w{word} = block[{word}];").expect("a string grows");
    }
    for word in 16..68 {
        let [w16, w13, w9, w6, w3] = [16, 13, 9, 6, 3].map(|back| word - back);
        writeln!(out, "  let w{word} = mix_block(w{w16} ^ w{w9} ^ rotl(w{w3}, 15u)) ^ rotl(w{w13}, 7u) ^ w{w6};")
            .expect("a string grows");
    }
    for (word, name) in "abcdefgh".chars().enumerate() {
        writeln!(out, "  var {name} = state[{word}];").expect("a string grows");
    }
    out += "  var s: u32; var t: u32;\n";
    // The names of a..d and e..h move on by one place a round.
    let (mut left, mut right) = (['a', 'b', 'c', 'd'], ['e', 'f', 'g', 'h']);
    for round in 0..64 {
        let ([a, b, c, d], [e, f, g, h]) = (left, right);
        let constant = (if round < 16 { 0x79cc4519u32 } else { 0x7a879d8a }).rotate_left(round % 32);
        let (left_choice, right_choice) = if round < 16 {
            (format!("({a} ^ {b} ^ {c})"), format!("({e} ^ {f} ^ {g})"))
        } else {
            (format!("(({a} & {b}) | (({a} | {b}) & {c}))"), format!("(({e} & {f}) | (~{e} & {g}))"))
        };
        writeln!(
            out,
            "  t = rotl({a}, 12u); s = rotl(t + {e} + {constant}u, 7u); t = t ^ s;\n  \
             {d} = {left_choice} + {d} + t + (w{round} ^ w{}); {h} = mix_state({right_choice} + {h} + s + w{round}); \
             {b} = rotl({b}, 9u); {f} = rotl({f}, 19u);",
            round + 4
        )
        .expect("a string grows");
        left.rotate_right(1);
        right.rotate_right(1);
    }
    let sums: Vec<String> =
        "abcdefgh".chars().enumerate().map(|(word, name)| format!("state[{word}] ^ {name}")).collect();
    out + &format!("  return Words({});\n}}\n", sums.join(", "))
}

/// SHA-256.
pub(crate) fn sha256() -> String {
    let mut out = format!("{TOOLS}fn compress(state: Words, block: array<u32, 16>) -> Words {{\n");
    for word in 0..16 {
        writeln!(out, "  var w{word} = block[{word}];").expect("a string grows");
    }
    for (word, name) in "abcdefgh".chars().enumerate() {
        writeln!(out, "  var {name} = state[{word}];").expect("a string grows");
    }
    let mut names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    for (round, constant) in sha256_constants().into_iter().enumerate() {
        let [a, b, c, d, e, f, g, h] = names;
        let w = round % 16;
        if round >= 16 {
            let [near, middle, far] = [1, 9, 14].map(|ahead| (round + ahead) % 16);
            writeln!(
                out,
                "  w{w} = w{w} + (rotl(w{near}, 25u) ^ rotl(w{near}, 14u) ^ (w{near} >> 3u)) + w{middle} + \
                 (rotl(w{far}, 15u) ^ rotl(w{far}, 13u) ^ (w{far} >> 10u));"
            )
            .expect("a string grows");
        }
        writeln!(
            out,
            "  {h} = {h} + (rotl({e}, 26u) ^ rotl({e}, 21u) ^ rotl({e}, 7u)) + ((({f} ^ {g}) & {e}) ^ {g}) + {constant}u + w{w}; \
             {d} = {d} + {h}; {h} = {h} + (rotl({a}, 30u) ^ rotl({a}, 19u) ^ rotl({a}, 10u)) + (({a} & {b}) | (({a} | {b}) & {c}));"
        )
        .expect("a string grows");
        names.rotate_right(1);
    }
    let sums: Vec<String> =
        "abcdefgh".chars().enumerate().map(|(word, name)| format!("state[{word}] + {name}")).collect();
    out + &format!("  return Words({});\n}}\n", sums.join(", "))
}

/// Fractions of the cube roots of the first 64 primes: 32 bits, found by bisection on whole numbers.
fn sha256_constants() -> [u32; 64] {
    let mut primes = (2u128..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0));
    std::array::from_fn(|_| {
        let cube = primes.next().expect("there is always a larger prime") << 96;
        let (mut low, mut high) = (0u128, 1 << 36);
        while low + 1 < high {
            let middle = (low + high) / 2;
            if middle * middle * middle <= cube { low = middle } else { high = middle }
        }
        low as u32
    })
}
