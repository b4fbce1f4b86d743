// u₁·G + u₂·P by Straus' method, one thread a signature. Each scalar falls into four parts of 66 bits, each with a table of
// multiples, so that all four share 63 doublings: 88 windows of 3 bits of u₂ over multiples of the key, 24 of 11 bits of u₁
// over multiples of G. The schedule of windows is in the constants, two words a step: bits of the window 0..5, doublings
// before 5..10, whether of G 10, first bit 16..25; the place of multiple 1. Then the check of x without an inversion.
//
// Exact for all inputs. Doubling in Jacobian coordinates is, on a group of odd order. Adding an affine point Q to the sum S is
// not where S is infinite (the sum becomes Q), where S = Q (the sum becomes Q, and the doublings before the next addition
// are one more), where S = −Q (infinite from here on); a digit of zero adds nothing. Whether S is infinite is remembered
// and not read off Z.
struct Point { x: Fe, y: Fe, z: Fe }

// The window at `bit` of a recoded scalar, less half of what it can hold.
fn window(scalar: u32, bit: u32, bits: u32, i: u32) -> i32 {
  let at = (scalar + (bit >> 5u)) * params.items + i;
  // A window of the last word needs no word above it.
  let above = at + select(0u, params.items, (bit >> 5u) < 8u);
  let pair = u64(scratch[at]) | (u64(scratch[above]) << 32u);
  return i32(u32(pair >> (bit & 31u)) & ((1u << bits) - 1u)) - i32(1u << (bits - 1u));
}

@compute @workgroup_size(64)
fn verify(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item_index(id, groups);
  if (i >= params.items) { return; }
  let key = items[i * 20u + 16u] * KEY_WORDS;
  var sum = Point(ONE, ONE, ONE);
  var infinite = true;
  var more_doublings = 0u;
  // The step after the last one makes up for a doubling that is still owed, and adds nothing.
  for (var step = 0u; step <= STEPS; step++) {
    let last = step == STEPS;
    let at_step = SCHEDULE + 2u * select(step, 0u, last);
    let what = u32(constants[at_step]);
    let doublings = more_doublings + select((what >> 5u) & 31u, 0u, last);
    more_doublings = 0u;
    for (var d = 0u; d < doublings; d++) {
      sum = double(sum);
    }
    let of_g = (what & 1024u) != 0u;
    var digit = window(select(SCALAR_KEY, SCALAR_G, of_g), what >> 16u, what & 31u, i);
    let multiple = u32(constants[at_step + 1u]) + (max(u32(abs(digit)), 1u) - 1u) * 18u;
    var qx: Fe; var qy: Fe;
    if (of_g) {
      qx = load_constant(multiple); qy = load_constant(multiple + 9u);
    } else {
      qx = load_key(key + multiple); qy = load_key(key + multiple + 9u);
    }
    if (last) { digit = 0; }
    if (digit != 0) {
      // The sum: x A 1 V 1, y A 2 V 4, z A 2 V 3. Q: A 1 V 1.1.
      qy = fe_scale(qy, select(1, -1, digit < 0));
      let zz = p_sq(sum.z);
      let h = fe_sub(p_mul(qx, zz), sum.x);
      let r = fe_sub(p_mul(qy, p_mul(zz, sum.z)), sum.y);
      let same_x = p_is_zero(h);
      let same_y = p_is_zero(r);
      let hh = p_sq(h);
      let hhh = p_mul(h, hh);
      let v = p_mul(sum.x, hh);
      // A 1 + 1 + 2.
      let x = p_red(fe_sub(fe_sub(p_sq(r), hhh), fe_scale(v, 2)));
      // A 3 times A 2, and A 2 times A 1: y has A 2, V 3.
      let y = fe_sub(p_mul(r, fe_sub(v, x)), p_mul(sum.y, hhh));
      let z = p_mul(sum.z, h);
      let becomes_q = infinite || (same_x && same_y);
      more_doublings = select(1u, 0u, infinite || !becomes_q);
      infinite = !becomes_q && same_x;
      sum = Point(fe_select(x, qx, becomes_q), fe_select(y, qy, becomes_q), fe_select(z, ONE, becomes_q));
    }
  }

  // The sum's x is X/Z²: it is c, or c + n, where X = c·Z². Montgomery factors: X·2^261 over 2^261, c times Z²·2^261 over 2^261.
  let flags = scratch[FLAGS * params.items + i];
  var wanted: Words;
  for (var j = 0u; j < 8u; j++) { wanted[j] = scratch[(X_WANTED + j) * params.items + i]; }
  let zz = p_sq(sum.z);
  let x = p_mul(sum.x, PLAIN_ONE);
  var candidate = fe_from_words(wanted);
  var matches = false;
  for (var second = 0u; second < 2u; second++) {
    let equal = p_is_zero(fe_sub(x, p_mul(candidate, zz)));
    matches = matches || (equal && (second == 0u || (flags & FLAG_SECOND_X) != 0u));
    candidate = fe_add(candidate, N_LIMBS);
  }
  let valid = matches && !infinite && (flags & FLAG_IN_RANGE) != 0u && key_table[key] == 1;
  results[i] = select(0u, 1u, valid);
}
