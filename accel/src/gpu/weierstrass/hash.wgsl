// The hash of the message, ranges of r and s, and the two scalars, recoded for `verify`. One thread an item.
fn put(at: u32, i: u32, value: u32) {
  scratch[at * params.items + i] = value;
}

// Adds half a window to each window: a window less half is then a signed digit.
fn put_recoded(at: u32, i: u32, scalar: Words, halves: array<u32, 9>) {
  var digits = scalar; var offsets = halves; var carry = 0lu;
  for (var j = 0u; j < 8u; j++) {
    carry += u64(digits[j]) + u64(offsets[j]);
    put(at + j, i, u32(carry));
    carry = carry >> 32u;
  }
  put(at + 8u, i, offsets[8] + u32(carry));
}

// x less n where it is not below n: for x below 2n, as any number of 256 bits is.
fn modulo_n(x: Words) -> Words {
  let less = words_sub(x, N);
  return words_select(less.words, x, less.carry == 1u);
}

@compute @workgroup_size(64)
fn hash(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item_index(id, groups);
  if (i >= params.items) { return; }
  let item = i * 20u;
  var r: Words; var s: Words;
  for (var j = 0u; j < 8u; j++) { r[j] = items[item + j]; s[j] = items[item + 8u + j]; }
  let key = items[item + 16u] * KEY_WORDS;
  let first = items[item + 17u];
  let count = items[item + 18u];
  var state = HASH_INITIAL;
  for (var b = 0u; b < max(count, 1u); b++) {
    var block: array<u32, 16>;
    for (var j = 0u; j < 16u; j++) { block[j] = byte_swap(blocks[(first + b) * 16u + j]); }
    if (count == 0u) {
      for (var j = 0u; j < 8u; j++) { state[j] = block[j]; }
    } else {
      if (MESSAGE_AFTER_Z && b == 0u) {
        for (var j = 0u; j < 8u; j++) { block[j] = u32(key_table[key + KEY_Z + j]); }
      }
      state = compress(state, block);
    }
  }
  let e = Words(state[7], state[6], state[5], state[4], state[3], state[2], state[1], state[0]);
  let in_range = !words_is_zero(r) && words_less(r, N) && !words_is_zero(s) && words_less(s, S_LIMIT);
  let scalars = scalars_of(e, r, s);
  put_recoded(SCALAR_G, i, scalars.of_g, HALVES_G);
  put_recoded(SCALAR_KEY, i, scalars.of_key, HALVES_KEY);
  var wanted = scalars.x;
  for (var j = 0u; j < 8u; j++) { put(X_WANTED + j, i, wanted[j]); }
  let second = words_less(wanted, P_LESS_N);
  put(FLAGS, i, select(0u, FLAG_IN_RANGE, in_range && scalars.usable) | select(0u, FLAG_SECOND_X, second));
}
