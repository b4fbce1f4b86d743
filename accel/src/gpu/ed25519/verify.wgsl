// Ed25519 with the verdicts of ZIP-215, one thread a signature: s < L, A and R decode (any encoding that does),
// [8](s·B − k·A − R) = O with k = SHA-512(R‖A‖M) mod L. Control flow is the same for every item.
//
// Points are extended (X : Y : Z : T) on −x² + y² = 1 + d·x²·y², whose addition law is complete: no special cases. Elements are
// those of the field generator, with its bounds: A of the limbs, V of the value.

// Scalars fall into four parts of 64 bits, each with a table of multiples of its own, so that all share 60 doublings.
const PARTS = 4u;
// A slot of the key table: whether the key decodes; then for each part j the point −A·2^(64j) times 0 to 8, each as Y+X, Y−X,
// 2d·T, 2Z.
const KEY_MULTIPLE_WORDS = 36u;
const KEY_PART_WORDS = 324u;
const KEY_SLOT_WORDS = 1297u;
// Constants: SHA-512's, low and high words; then for each part j the point B·2^(64j) times 0 to 128, each as y+x, y−x, 2d·x·y.
const B_MULTIPLES = 160u;
const B_MULTIPLE_WORDS = 27u;
const B_PART_WORDS = 3483u;
// Scratch, word w of item i at w·items + i: k and s recoded, −R as y+x, y−x, 2d·x·y, whether s and R are in order.
const K = 0u;
const S = 8u;
const R = 16u;
const IN_ORDER = 43u;

struct Extended { x: Fe, y: Fe, z: Fe, t: Fe }
struct Decoded { ok: bool, x: Fe, y: Fe }

// z^((p − 5) / 8) = z^(2^252 − 3): eight steps of squarings and one multiplication, in one loop so that the compiler sees
// two bodies and not twenty.
const CHAIN = array<u32,8>(5u, 10u, 20u, 10u, 50u, 100u, 50u, 2u);
fn power_22523(z: Fe) -> Fe {
  let z2 = p_sq(z);
  let z9 = p_mul(z, p_sq(p_sq(z2)));
  var t = p_mul(z9, p_sq(p_mul(z2, z9)));
  var t10 = t;
  var t50 = t;
  var chain = CHAIN;
  for (var step = 0u; step < 8u; step++) {
    var m = t;
    if (step == 3u) { m = t10; }
    if (step == 6u) { m = t50; }
    if (step == 7u) { m = z; }
    for (var j = 0u; j < chain[step]; j++) { t = p_sq(t); }
    t = p_mul(t, m);
    if (step == 0u) { t10 = t; }
    if (step == 3u) { t50 = t; }
  }
  return t;
}

// RFC 8032 §5.1.3, but y may be p or more and x = 0 may have either sign (ZIP-215).
fn decode(encoding: Words) -> Decoded {
  var w = encoding;
  let sign = w[7] >> 31u;
  w[7] &= 0x7fffffffu;
  let y = p_mul(fe_from_words(w), TO_MONTGOMERY);
  let yy = p_sq(y);
  let u = fe_sub(yy, ONE);
  let v = fe_add(p_mul(yy, D), ONE);
  let v3 = p_mul(p_sq(v), v);
  let v7 = p_mul(p_sq(v3), v);
  var x = p_mul(p_mul(u, v3), power_22523(p_mul(u, v7)));
  let check = p_mul(v, p_sq(x));
  let is_root = p_is_zero(fe_sub(check, u));
  let is_twisted = p_is_zero(fe_add(check, u));
  x = fe_select(x, p_mul(x, SQRT_MINUS_ONE), is_twisted);
  let plain = p_words(p_mul(x, PLAIN_ONE));
  x = fe_scale(x, select(1, -1, (plain[0] & 1u) != sign));
  return Decoded(is_root || is_twisted, x, y);
}

// T is computed where the next step is an addition, which alone reads it.
fn double(p: Extended, with_t: bool) -> Extended {
  // X, Y, Z: A 1, V 1.5. e: A 3, V 3.4; f: A 4, V 4.3.
  let xx = p_sq(p.x);
  let yy = p_sq(p.y);
  let h = fe_add(yy, xx);
  let g = fe_sub(yy, xx);
  let e = fe_sub(p_sq(fe_add(p.x, p.y)), h);
  let f = fe_sub(fe_scale(p_sq(p.z), 2), g);
  var t = p.t;
  if (with_t) { t = p_mul(e, h); }
  return Extended(p_mul(e, f), p_mul(h, g), p_mul(g, f), t);
}

@compute @workgroup_size(64)
fn prepare_keys(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let j = item_index(id, groups);
  if (j >= params.new_keys) { return; }
  var encoding: Words;
  for (var a = 0u; a < 8u; a++) { encoding[a] = new_keys[12u*j + a]; }
  let slot = new_keys[12u*j + 9u] * KEY_SLOT_WORDS;
  let key = decode(encoding);
  key_table[slot] = select(0, 1, key.ok);
  var base = Extended(fe_scale(key.x, -1), key.y, ONE, p_mul(fe_scale(key.x, -1), key.y));
  for (var part = 0u; part < PARTS; part++) {
    // The part's multiples: each is the one before plus the base, from O on.
    let base_sum = fe_add(base.y, base.x);
    let base_difference = fe_sub(base.y, base.x);
    let base_t2d = p_mul(base.t, D2);
    let base_z2 = fe_scale(base.z, 2);
    var p = Extended(ZERO, ONE, ONE, ZERO);
    for (var multiple = 0u; multiple < 9u; multiple++) {
      let at = slot + 1u + part * KEY_PART_WORDS + multiple * KEY_MULTIPLE_WORDS;
      let sum = fe_add(p.y, p.x);
      let difference = fe_sub(p.y, p.x);
      let t2d = p_mul(p.t, D2);
      let z2 = fe_scale(p.z, 2);
      for (var a = 0u; a < 9u; a++) {
        key_table[at + a] = sum[a];
        key_table[at + 9u + a] = difference[a];
        key_table[at + 18u + a] = t2d[a];
        key_table[at + 27u + a] = z2[a];
      }
      let b = p_mul(sum, base_sum);
      let a = p_mul(difference, base_difference);
      let c = p_mul(p.t, base_t2d);
      let d = p_mul(p.z, base_z2);
      let e = fe_sub(b, a);
      let h = fe_add(b, a);
      let g = fe_add(d, c);
      let f = fe_sub(d, c);
      p = Extended(p_mul(e, f), p_mul(h, g), p_mul(g, f), p_mul(e, h));
    }
    if (part + 1u == PARTS) { break; }
    for (var d = 0u; d < 64u; d++) { base = double(base, d == 63u); }
  }
}

fn rotr(x: u64, n: u32) -> u64 { return (x >> n) | (x << (64u - n)); }
fn swap(x: u32) -> u32 { return (x << 24u) | ((x & 0xff00u) << 8u) | ((x >> 8u) & 0xff00u) | (x >> 24u); }
fn swap64(x: u64) -> u64 { return (u64(swap(u32(x))) << 32u) | u64(swap(u32(x >> 32u))); }

// L, and 2^512 / L for Barrett's reduction; least significant word first.
const ORDER = array<u32,8>(0x5cf5d3edu,0x5812631au,0xa2f79cd6u,0x14def9deu,0x0u,0x0u,0x0u,0x10000000u);
const BARRETT = array<u32,9>(0xa2c131bu,0xed9ce5a3u,0x86329a7u,0x2106215du,0xffffffebu,0xffffffffu,0xffffffffu,0xffffffffu,0xfu);

@compute @workgroup_size(64)
fn hash(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item_index(id, groups);
  let n = params.items;
  if (i >= n) { return; }
  // k = SHA-512(R‖A‖M), FIPS 180-4 §6.4.
  var h = array<u64,8>(0x6a09e667f3bcc908lu,0xbb67ae8584caa73blu,0x3c6ef372fe94f82blu,0xa54ff53a5f1d36f1lu,0x510e527fade682d1lu,0x9b05688c2b3e6c1flu,0x1f83d9abfb41bd6blu,0x5be0cd19137e2179lu);
  let first = items[20u*i + 17u] * 16u;
  let count = items[20u*i + 18u];
  for (var block = 0u; block < count; block++) {
    var w: array<u64,16>;
    let base = first + block * 32u;
    for (var j = 0u; j < 16u; j++) {
      w[j] = (u64(swap(blocks[base + 2u*j])) << 32u) | u64(swap(blocks[base + 2u*j + 1u]));
    }
    var a = h[0]; var b = h[1]; var c = h[2]; var d = h[3]; var e = h[4]; var f = h[5]; var g = h[6]; var hh = h[7];
    for (var t = 0u; t < 80u; t++) {
      var wt = w[t & 15u];
      if (t >= 16u) {
        let w15 = w[(t + 1u) & 15u];
        let w2 = w[(t + 14u) & 15u];
        let s0 = rotr(w15, 1u) ^ rotr(w15, 8u) ^ (w15 >> 7u);
        let s1 = rotr(w2, 19u) ^ rotr(w2, 61u) ^ (w2 >> 6u);
        wt += s0 + w[(t + 9u) & 15u] + s1;
        w[t & 15u] = wt;
      }
      let k = u64(u32(constants[2u*t])) | (u64(u32(constants[2u*t + 1u])) << 32u);
      let t1 = hh + (rotr(e, 14u) ^ rotr(e, 18u) ^ rotr(e, 41u)) + ((e & f) ^ (~e & g)) + k + wt;
      let t2 = (rotr(a, 28u) ^ rotr(a, 34u) ^ rotr(a, 39u)) + ((a & b) ^ (a & c) ^ (b & c));
      hh = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
    }
    h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += hh;
  }
  // Modulo L: q = ⌊x·⌊2^512/L⌋ / 2^512⌋ is at most two too small.
  var x: array<u32,17>;
  for (var j = 0u; j < 8u; j++) { let v = swap64(h[j]); x[2u*j] = u32(v); x[2u*j + 1u] = u32(v >> 32u); }
  var mu = BARRETT;
  var order = ORDER;
  var product: array<u32,25>;
  for (var a = 0u; a < 16u; a++) {
    var carry = 0lu;
    for (var c = 0u; c < 9u; c++) {
      let t = u64(x[a])*u64(mu[c]) + u64(product[a + c]) + carry;
      product[a + c] = u32(t); carry = t >> 32u;
    }
    product[a + 9u] = u32(carry);
  }
  var ql: array<u32,9>;
  for (var a = 0u; a < 9u; a++) {
    var carry = 0lu;
    for (var c = 0u; c < 8u; c++) {
      if (a + c < 9u) {
        let t = u64(product[16u + a])*u64(order[c]) + u64(ql[a + c]) + carry;
        ql[a + c] = u32(t); carry = t >> 32u;
      }
    }
    if (a == 0u) { ql[8] += u32(carry); }
  }
  var r: array<u32,9>;
  var borrow = 0lu;
  for (var a = 0u; a < 9u; a++) { let t = u64(x[a]) - u64(ql[a]) - borrow; r[a] = u32(t); borrow = (t >> 32u) & 1lu; }
  for (var again = 0u; again < 2u; again++) {
    var less: array<u32,9>;
    borrow = 0lu;
    for (var a = 0u; a < 9u; a++) {
      var l = 0u;
      if (a < 8u) { l = order[a]; }
      let t = u64(r[a]) - u64(l) - borrow; less[a] = u32(t); borrow = (t >> 32u) & 1lu;
    }
    if (borrow == 0lu) { r = less; }
  }
  // Signed digits by one addition: a digit of four bits of k + 0x88…8 less 8, a byte of s + 0x80…80 less 128.
  var carry = 0lu;
  for (var a = 0u; a < 8u; a++) { let t = u64(r[a]) + 0x88888888lu + carry; scratch[(K + a)*n + i] = u32(t); carry = t >> 32u; }
  carry = 0lu;
  borrow = 0lu;
  for (var a = 0u; a < 8u; a++) {
    let s = items[20u*i + 8u + a];
    // s < L is where the subtraction borrows.
    borrow = ((u64(s) - u64(order[a]) - borrow) >> 32u) & 1lu;
    let t = u64(s) + 0x80808080lu + carry; scratch[(S + a)*n + i] = u32(t); carry = t >> 32u;
  }
  var encoding: Words;
  for (var a = 0u; a < 8u; a++) { encoding[a] = items[20u*i + a]; }
  let point = decode(encoding);
  let nx = fe_scale(point.x, -1);
  let sum = fe_add(point.y, nx);
  let difference = fe_sub(point.y, nx);
  let t2d = p_mul(p_mul(nx, point.y), D2);
  for (var a = 0u; a < 9u; a++) {
    scratch[(R + a)*n + i] = u32(sum[a]);
    scratch[(R + 9u + a)*n + i] = u32(difference[a]);
    scratch[(R + 18u + a)*n + i] = u32(t2d[a]);
  }
  scratch[IN_ORDER*n + i] = select(0u, 1u, borrow == 1lu && point.ok);
}

fn from_scratch(w: u32, i: u32) -> Fe {
  let n = params.items;
  return Fe(i32(scratch[w*n+i]),i32(scratch[(w+1u)*n+i]),i32(scratch[(w+2u)*n+i]),i32(scratch[(w+3u)*n+i]),i32(scratch[(w+4u)*n+i]),i32(scratch[(w+5u)*n+i]),i32(scratch[(w+6u)*n+i]),i32(scratch[(w+7u)*n+i]),i32(scratch[(w+8u)*n+i]));
}
fn from_table(o: u32) -> Fe { return Fe(key_table[o],key_table[o+1u],key_table[o+2u],key_table[o+3u],key_table[o+4u],key_table[o+5u],key_table[o+6u],key_table[o+7u],key_table[o+8u]); }
fn from_constants(o: u32) -> Fe { return Fe(constants[o],constants[o+1u],constants[o+2u],constants[o+3u],constants[o+4u],constants[o+5u],constants[o+6u],constants[o+7u],constants[o+8u]); }

// Digit of `bits` bits, counted from the lowest, of a recoded scalar.
fn digit(scalar: u32, index: u32, bits: u32, i: u32) -> i32 {
  let bit = index * bits;
  let word = scratch[(scalar + (bit >> 5u)) * params.items + i];
  return i32((word >> (bit & 31u)) & ((1u << bits) - 1u)) - i32(1u << (bits - 1u));
}

// Sixteen windows of four bits from the top: four doublings, a multiple of −A for each part of k, and on every second one a
// multiple of B for each part of s. Then −R, and three doublings. One doubling body and one addition body in all.
const WINDOWS = 16u;
@compute @workgroup_size(64)
fn verify(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item_index(id, groups);
  if (i >= params.items) { return; }
  let slot = items[20u*i + 16u] * KEY_SLOT_WORDS;
  var p = Extended(ZERO, ONE, ONE, ZERO);
  for (var step = 0u; step <= WINDOWS + 1u; step++) {
    let adds_r = step == WINDOWS;
    let clears_cofactor = step == WINDOWS + 1u;
    let window = WINDOWS - 1u - min(step, WINDOWS - 1u);
    let doublings = select(4u, select(0u, 3u, clears_cofactor), step == 0u || step >= WINDOWS);
    let additions = select(select(PARTS, 2u*PARTS, (window & 1u) == 0u), select(1u, 0u, clears_cofactor), step >= WINDOWS);
    for (var d = 0u; d < doublings; d++) { p = double(p, d == 3u); }
    for (var q = 0u; q < additions; q++) {
      let part = q & 3u;
      var sum: Fe; var difference: Fe; var t2d: Fe;
      var z2 = TWO;
      var negative = false;
      if (adds_r) {
        sum = from_scratch(R, i); difference = from_scratch(R + 9u, i); t2d = from_scratch(R + 18u, i);
      } else if (q >= PARTS) {
        let multiple = digit(S, 8u*part + (window >> 1u), 8u, i);
        negative = multiple < 0;
        let at = B_MULTIPLES + part*B_PART_WORDS + u32(abs(multiple))*B_MULTIPLE_WORDS;
        sum = from_constants(at); difference = from_constants(at + 9u); t2d = from_constants(at + 18u);
      } else {
        let multiple = digit(K, 16u*part + window, 4u, i);
        negative = multiple < 0;
        let at = slot + 1u + part*KEY_PART_WORDS + u32(abs(multiple))*KEY_MULTIPLE_WORDS;
        sum = from_table(at); difference = from_table(at + 9u); t2d = from_table(at + 18u); z2 = from_table(at + 27u);
      }
      // All factors A 2 or less.
      let b = p_mul(fe_add(p.y, p.x), fe_select(sum, difference, negative));
      let a = p_mul(fe_sub(p.y, p.x), fe_select(difference, sum, negative));
      let c = p_mul(p.t, fe_scale(t2d, select(1, -1, negative)));
      let d = p_mul(p.z, z2);
      let e = fe_sub(b, a);
      let h = fe_add(b, a);
      let g = fe_add(d, c);
      let f = fe_sub(d, c);
      p.x = p_mul(e, f);
      p.y = p_mul(h, g);
      p.z = p_mul(g, f);
      // The next step is an addition too.
      if (q + 1u < additions || step == WINDOWS - 1u) { p.t = p_mul(e, h); }
    }
  }
  let is_identity = p_is_zero(p.x) && p_is_zero(fe_sub(p.y, p.z));
  results[i] = select(0u, 1u, is_identity && scratch[IN_ORDER*params.items + i] == 1u && key_table[slot] == 1);
}
