// SM2 (GM/T 0003.2 §7.1 B5–B7): t = r + s ≠ 0, the sum is s·G + t·P, and r = e + x modulo n.
struct Scalars { of_g: Words, of_key: Words, x: Words, usable: bool }

fn scalars_of(e: Words, r: Words, s: Words) -> Scalars {
  // Where r and s are below n, so is their sum below 2n; the carry out of 256 bits goes with the difference.
  let sum = words_add(r, s);
  let less = words_sub(sum.words, N);
  let t = words_select(less.words, sum.words, sum.carry == 0u && less.carry == 1u);
  let difference = words_sub(r, modulo_n(e));
  let x = words_select(difference.words, words_add(difference.words, N).words, difference.carry == 1u);
  return Scalars(s, t, x, !words_is_zero(t));
}
