// u₁·G + u₂·P by Straus' method, one thread a signature: 52 windows of 5 bits of u₂ over multiples of the key, 26 of 10 bits
// of u₁ over multiples of G, from the top; then the check of x without an inversion.
//
// Exact for all inputs. Doubling in Jacobian coordinates is, on a group of odd order. Adding an affine point Q to the sum S is
// not where S is infinite (the sum becomes Q), where S = Q (the sum becomes Q, and the doublings before the next addition
// are one more), where S = −Q (infinite from here on); a digit of zero adds nothing. Whether S is infinite is remembered
// and not read off Z.
struct Point { x: Fe, y: Fe, z: Fe }

const WINDOW_BITS = 5u;
const WINDOWS_A_GROUP = 2u;
const GROUP_BITS = 10u;
const GROUPS = 26u;
const ADDITIONS_A_GROUP = 3u;

fn window(scalar: u32, bit: u32, bits: u32, i: u32) -> i32 {
  let at = (scalar + (bit >> 5u)) * params.items + i;
  let pair = u64(scratch[at]) | (u64(scratch[at + params.items]) << 32u);
  return i32(u32(pair >> (bit & 31u)) & ((1u << bits) - 1u)) - i32(1u << (bits - 1u));
}

@compute @workgroup_size(64)
fn verify(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * (groups.x * 64u);
  if (i >= params.items) { return; }
  let key = items[i * 20u + 16u] * KEY_WORDS;
  var sum = Point(ONE, ONE, ONE);
  var infinite = true;
  var more_doublings = 0u;
  // The step after the last one makes up for a doubling that is still owed, and adds nothing.
  for (var step = 0u; step <= GROUPS * ADDITIONS_A_GROUP; step++) {
    let group = GROUPS - 1u - step / ADDITIONS_A_GROUP;
    let place = step % ADDITIONS_A_GROUP;
    let last = step == GROUPS * ADDITIONS_A_GROUP;
    let adds_key = place < WINDOWS_A_GROUP;
    let doublings = more_doublings + select(0u, WINDOW_BITS, adds_key && !last);
    more_doublings = 0u;
    for (var d = 0u; d < doublings; d++) {
      sum = double(sum);
    }
    var digit = 0;
    var qx: Fe; var qy: Fe;
    if (!last) {
      if (adds_key) {
        digit = window(SCALAR_KEY, group * GROUP_BITS + (WINDOWS_A_GROUP - 1u - place) * WINDOW_BITS, WINDOW_BITS, i);
        let at = key + KEY_POINTS + (max(u32(abs(digit)), 1u) - 1u) * 18u;
        qx = load_key(at); qy = load_key(at + 9u);
      } else {
        digit = window(SCALAR_G, group * GROUP_BITS, GROUP_BITS, i);
        let at = G_MULTIPLES + (max(u32(abs(digit)), 1u) - 1u) * 18u;
        qx = load_constant(at); qy = load_constant(at + 9u);
      }
    }
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
