//! LZ4 blocks: a compressor that fills an output of given length with as much input as fits, and a decompressor that never
//! reads or writes outside of what it is given.

const MATCH_MIN: usize = 4;
/// The format wants the last match to begin this long before the end, and literals behind it; eight literals satisfy both.
const TAIL: usize = 8;
const DISTANCE_MAX: usize = 65_535;
const HASH_BITS: u32 = 16;
/// Earlier places with the same four bytes that are tried.
const TRIES: usize = 24;
const NONE: u32 = u32::MAX;

/// Compresses the start of `input` into at most `limit` bytes; returns them and how much input they hold.
pub fn compress(input: &[u8], limit: usize) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(limit);
    let mut heads = vec![NONE; 1 << HASH_BITS];
    let mut chain = vec![NONE; input.len().min(1 << 21)];
    let (mut anchor, mut at) = (0, 0);
    while at + MATCH_MIN + TAIL <= input.len() && at < chain.len() {
        let found = longest(input, at, &heads, &chain);
        remember(input, at, &mut heads, &mut chain);
        let Some((distance, length)) = found else {
            at += 1;
            // What does not fit as literals alone never will.
            if at - anchor + out.len() > limit {
                break;
            }
            continue;
        };
        let needed = sequence_length(at - anchor, length);
        if out.len() + needed + 1 + TAIL > limit {
            break;
        }
        sequence(&mut out, &input[anchor..at], Some((distance, length)));
        (at + 1..(at + length).min(chain.len())).for_each(|n| remember(input, n, &mut heads, &mut chain));
        at += length;
        anchor = at;
    }
    // Literals to the end, as many as there is room for.
    let mut literals = (input.len() - anchor).min(limit.saturating_sub(out.len() + 1));
    while out.len() + 1 + extra(literals, 15) + literals > limit {
        literals -= 1;
    }
    sequence(&mut out, &input[anchor..anchor + literals], None);
    (out, anchor + literals)
}

fn key(input: &[u8], at: usize) -> usize {
    let four = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], input[at + 3]]);
    (four.wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
}

fn remember(input: &[u8], at: usize, heads: &mut [u32], chain: &mut [u32]) {
    if at + MATCH_MIN <= input.len() && at < chain.len() {
        let head = &mut heads[key(input, at)];
        chain[at] = *head;
        *head = at as u32;
    }
}

fn longest(input: &[u8], at: usize, heads: &[u32], chain: &[u32]) -> Option<(usize, usize)> {
    let most = input.len() - TAIL - at;
    let mut best = (0, MATCH_MIN - 1);
    let mut candidate = heads[key(input, at)];
    for _ in 0..TRIES {
        if candidate == NONE || at - candidate as usize > DISTANCE_MAX {
            break;
        }
        let from = candidate as usize;
        if input[from + best.1] == input[at + best.1] {
            let same = input[from..].iter().zip(&input[at..at + most]).take_while(|(a, b)| a == b).count();
            if same > best.1 {
                best = (at - from, same);
                if same == most {
                    break;
                }
            }
        }
        candidate = chain[from];
    }
    (best.1 >= MATCH_MIN && most >= MATCH_MIN).then_some(best)
}

/// Bytes that a length takes beyond its four bits.
fn extra(length: usize, full: usize) -> usize {
    if length < full { 0 } else { (length - full) / 255 + 1 }
}

fn sequence_length(literals: usize, length: usize) -> usize {
    1 + extra(literals, 15) + literals + 2 + extra(length - MATCH_MIN, 15)
}

fn sequence(out: &mut Vec<u8>, literals: &[u8], matched: Option<(usize, usize)>) {
    let long = matched.map_or(0, |(_, length)| length - MATCH_MIN);
    out.push((literals.len().min(15) << 4 | long.min(15)) as u8);
    put_extra(out, literals.len());
    out.extend(literals);
    if let Some((distance, _)) = matched {
        out.extend((distance as u16).to_le_bytes());
        put_extra(out, long);
    }
}

fn put_extra(out: &mut Vec<u8>, length: usize) {
    if let Some(mut rest) = length.checked_sub(15) {
        while rest >= 255 {
            out.push(255);
            rest -= 255;
        }
        out.push(rest as u8);
    }
}

/// Decompresses a block to exactly `length` bytes.
pub fn decompress(input: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out: Vec<u8> = Vec::with_capacity(length.min(1 << 22));
    let mut rest = input;
    loop {
        let (token, after) = rest.split_first()?;
        rest = after;
        let literals = number(usize::from(token >> 4), &mut rest, length)?;
        out.extend(rest.get(..literals)?);
        rest = &rest[literals..];
        if out.len() > length {
            return None;
        }
        if rest.is_empty() {
            return (out.len() == length).then_some(out);
        }
        let distance = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        rest = &rest[2..];
        let count = number(usize::from(token & 15), &mut rest, length)? + MATCH_MIN;
        if distance == 0 || distance > out.len() || out.len() + count > length {
            return None;
        }
        for _ in 0..count {
            out.push(out[out.len() - distance]);
        }
    }
}

fn number(first: usize, rest: &mut &[u8], limit: usize) -> Option<usize> {
    let mut value = first;
    if first == 15 {
        loop {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            value += usize::from(*byte);
            if value > limit {
                return None;
            }
            if *byte != 255 {
                break;
            }
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_part_comes_back_whole(pattern in prop::collection::vec(0_u8..4, 0..3000), limit in 16_usize..900) {
            let input = pattern.repeat(3);
            let (out, held) = compress(&input, limit);
            prop_assert!(out.len() <= limit);
            prop_assert_eq!(decompress(&out, held), Some(input[..held].to_vec()));
        }

        #[test]
        fn noise_never_panics(input: Vec<u8>, length in 0_usize..10_000) {
            prop_assert!(decompress(&input, length).is_none_or(|out| out.len() == length));
        }
    }
}
