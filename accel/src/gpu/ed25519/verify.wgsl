// Ed25519 with the verdicts of ZIP-215, one thread a signature: s < L, A and R decode (any encoding that does),
// [8](s·B − k·A − R) = O with k = SHA-512(R‖A‖M) mod L. Control flow is the same for every item.
//
// Points are extended (X : Y : Z : T) on −x² + y² = 1 + d·x²·y², whose addition law is complete: no special cases.

struct Params { n: u32, n_keys: u32, pad0: u32, pad1: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> items: array<u32>;
@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> new_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> key_table: array<u32>;
@group(0) @binding(5) var<storage, read> constants: array<u32>;
@group(0) @binding(6) var<storage, read_write> scratch: array<u32>;
@group(0) @binding(7) var<storage, read_write> results: array<u32>;

// A slot of the key table: whether the key decodes; then −A times 0 to 8 as (Y+X, Y−X, 2Z, 2d·T), ten words each.
const KEY_SLOT_WORDS = 361u;
// Constants: SHA-512's (low word, high word); then B times 0 to 128 as (y+x, y−x, 2d·x·y).
const BASE = 160u;
// Scratch, word w of item i at w·n + i: k and s recoded, −R as (y+x, y−x, 2d·x·y), whether s and R are in order.
const K = 0u;
const S = 8u;
const R = 16u;
const IN_ORDER = 46u;

struct Extended { x: Fe, y: Fe, z: Fe, t: Fe }
struct Decoded { ok: bool, x: Fe, y: Fe }

const ONE = Fe(1u,0u,0u,0u,0u,0u,0u,0u,0u,0u);
const ZERO = Fe(0u,0u,0u,0u,0u,0u,0u,0u,0u,0u);
const D = Fe(56195235u,13857412u,51736253u,6949390u,114729u,24766616u,60832955u,30306712u,48412415u,21499315u);
const D2 = Fe(45281625u,27714825u,36363642u,13898781u,229458u,15978800u,54557047u,27058993u,29715967u,9444199u);
const SQRT_M1 = Fe(34513072u,25610706u,9377949u,3500415u,12389472u,33281959u,41962654u,31548777u,326685u,11406482u);

fn fe_from_words(w: array<u32,8>) -> Fe {
  return Fe(w[0] & 67108863u, ((w[0] >> 26u) | (w[1] << 6u)) & 33554431u, ((w[1] >> 19u) | (w[2] << 13u)) & 67108863u,
    ((w[2] >> 13u) | (w[3] << 19u)) & 33554431u, (w[3] >> 6u) & 67108863u, w[4] & 33554431u,
    ((w[4] >> 25u) | (w[5] << 7u)) & 67108863u, ((w[5] >> 19u) | (w[6] << 13u)) & 33554431u,
    ((w[6] >> 12u) | (w[7] << 20u)) & 67108863u, (w[7] >> 6u) & 33554431u);
}

// RFC 8032 §5.1.3, but y may be p or more and x = 0 may have either sign (ZIP-215).
fn decode(encoding: array<u32,8>) -> Decoded {
  var w = encoding;
  let sign = w[7] >> 31u;
  w[7] &= 0x7fffffffu;
  let y = fe_from_words(w);
  let yy = fe_sq(y);
  let u = fe_sub2(yy, ONE);
  let v = fe_add(fe_mul(yy, D), ONE);
  let v3 = fe_mul(fe_sq(v), v);
  let v7 = fe_mul(fe_sq(v3), v);
  var r = fe_mul(fe_mul(u, v3), fe_pow22523(fe_mul(u, v7)));
  let check = fe_mul(v, fe_sq(r));
  let target_square = fe_carry(u);
  let is_root = fe_is_zero(fe_sub2(check, target_square));
  let is_twisted = fe_is_zero(fe_add(check, target_square));
  r = fe_select(is_twisted, fe_mul(r, SQRT_M1), r);
  let frozen = fe_freeze(r);
  r = fe_select((frozen[0] & 1u) != sign, fe_neg(r), r);
  return Decoded(is_root || is_twisted, r, y);
}

fn item_index(id: vec3<u32>, groups: vec3<u32>) -> u32 { return id.x + id.y * (groups.x * 64u); }

@compute @workgroup_size(64)
fn prepare_keys(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let j = item_index(id, groups);
  if (j >= params.n_keys) { return; }
  var encoding: array<u32,8>;
  for (var a = 0u; a < 8u; a++) { encoding[a] = new_keys[12u*j + a]; }
  let slot = new_keys[12u*j + 9u] * KEY_SLOT_WORDS;
  let key = decode(encoding);
  key_table[slot] = select(0u, 1u, key.ok);
  let nx = fe_neg(key.x);
  // The sum with −A, over and over from O: one addition body for the whole table.
  let yp1 = fe_carry(fe_add(key.y, nx));
  let ym1 = fe_carry(fe_sub2(key.y, nx));
  let t1 = fe_mul(fe_mul(nx, key.y), D2);
  var p = Extended(ZERO, ONE, ONE, ZERO);
  for (var e = 0u; e < 9u; e++) {
    let base = slot + 1u + e*40u;
    let yp = fe_carry(fe_add(p.y, p.x));
    let ym = fe_carry(fe_sub2(p.y, p.x));
    let z2 = fe_carry(fe_add(p.z, p.z));
    let t2d = fe_mul(p.t, D2);
    for (var a = 0u; a < 10u; a++) {
      key_table[base + a] = yp[a];
      key_table[base + 10u + a] = ym[a];
      key_table[base + 20u + a] = z2[a];
      key_table[base + 30u + a] = t2d[a];
    }
    let a = fe_mul(yp, yp1);
    let b = fe_mul(ym, ym1);
    let c = fe_mul(p.t, t1);
    let x = fe_sub2(a, b);
    let y = fe_add(a, b);
    let z = fe_add(z2, c);
    let t = fe_sub2(z2, c);
    p = Extended(fe_mul(x, t), fe_mul(y, z), fe_mul(z, t), fe_mul(x, y));
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
  let n = params.n;
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
      let k = u64(constants[2u*t]) | (u64(constants[2u*t + 1u]) << 32u);
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
  // Signed digits by one addition: a digit of k + 0x88…8 less 8, a byte of s + 0x80…80 less 128.
  var carry = 0lu;
  for (var a = 0u; a < 8u; a++) { let t = u64(r[a]) + 0x88888888lu + carry; scratch[(K + a)*n + i] = u32(t); carry = t >> 32u; }
  carry = 0lu;
  borrow = 0lu;
  for (var a = 0u; a < 8u; a++) {
    let s = items[20u*i + 8u + a];
    borrow = ((u64(s) - u64(order[a]) - borrow) >> 32u) & 1lu;
    let t = u64(s) + 0x80808080lu + carry; scratch[(S + a)*n + i] = u32(t); carry = t >> 32u;
  }
  // s < L is where the subtraction borrows.
  var encoding: array<u32,8>;
  for (var a = 0u; a < 8u; a++) { encoding[a] = items[20u*i + a]; }
  let point = decode(encoding);
  let nx = fe_neg(point.x);
  let yp = fe_carry(fe_add(point.y, nx));
  let ym = fe_carry(fe_sub2(point.y, nx));
  let t2d = fe_mul(fe_mul(nx, point.y), D2);
  for (var a = 0u; a < 10u; a++) {
    scratch[(R + a)*n + i] = yp[a];
    scratch[(R + 10u + a)*n + i] = ym[a];
    scratch[(R + 20u + a)*n + i] = t2d[a];
  }
  scratch[IN_ORDER*n + i] = select(0u, 1u, borrow == 1lu && point.ok);
}

fn from_scratch(w: u32, i: u32) -> Fe {
  let n = params.n;
  return Fe(scratch[w*n+i],scratch[(w+1u)*n+i],scratch[(w+2u)*n+i],scratch[(w+3u)*n+i],scratch[(w+4u)*n+i],scratch[(w+5u)*n+i],scratch[(w+6u)*n+i],scratch[(w+7u)*n+i],scratch[(w+8u)*n+i],scratch[(w+9u)*n+i]);
}
fn from_table(o: u32) -> Fe { return Fe(key_table[o],key_table[o+1u],key_table[o+2u],key_table[o+3u],key_table[o+4u],key_table[o+5u],key_table[o+6u],key_table[o+7u],key_table[o+8u],key_table[o+9u]); }
fn from_constants(o: u32) -> Fe { return Fe(constants[o],constants[o+1u],constants[o+2u],constants[o+3u],constants[o+4u],constants[o+5u],constants[o+6u],constants[o+7u],constants[o+8u],constants[o+9u]); }

// Windows of four bits of k from the top: four doublings, a multiple of −A; on every second one a multiple of B too. Then −R,
// and three doublings. One doubling body and one addition body in all.
@compute @workgroup_size(64)
fn verify(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item_index(id, groups);
  let n = params.n;
  if (i >= n) { return; }
  let slot = items[20u*i + 16u] * KEY_SLOT_WORDS;
  var p = Extended(ZERO, ONE, ONE, ZERO);
  for (var step = 0u; step < 66u; step++) {
    let window = 63u - step;
    var doublings = 4u;
    var additions = 1u;
    if (step == 0u || step == 64u) { doublings = 0u; }
    if (step == 65u) { doublings = 3u; additions = 0u; }
    if (step < 64u && (window & 1u) == 0u) { additions = 2u; }
    for (var j = 0u; j < doublings; j++) {
      let xx = fe_sq(p.x);
      let yy = fe_sq(p.y);
      let zz = fe_sq(p.z);
      let s = fe_sq(fe_add(p.x, p.y));
      let h = fe_add(yy, xx);
      let g = fe_sub2(yy, xx);
      let e = fe_sub4(s, h);
      let f = fe_sub4(fe_add(zz, zz), g);
      p.x = fe_mul(e, f);
      p.y = fe_mul(h, g);
      p.z = fe_mul(g, f);
      // Only an addition reads T.
      if (j == 3u) { p.t = fe_mul(e, h); }
    }
    for (var q = 0u; q < additions; q++) {
      var yp: Fe; var ym: Fe; var t2d: Fe; var z2: Fe;
      var negative = false;
      if (step == 64u) {
        yp = from_scratch(R, i); ym = from_scratch(R + 10u, i); t2d = from_scratch(R + 20u, i);
        z2 = fe_carry(fe_add(p.z, p.z));
      } else if (q == 0u) {
        let digit = i32((scratch[(K + (window >> 3u))*n + i] >> ((window & 7u)*4u)) & 15u) - 8;
        negative = digit < 0;
        let entry = slot + 1u + u32(abs(digit))*40u;
        yp = from_table(entry); ym = from_table(entry + 10u); t2d = from_table(entry + 30u);
        z2 = fe_mul(p.z, from_table(entry + 20u));
      } else {
        let place = window >> 1u;
        let digit = i32((scratch[(S + (place >> 2u))*n + i] >> ((place & 3u)*8u)) & 255u) - 128;
        negative = digit < 0;
        let entry = BASE + u32(abs(digit))*30u;
        yp = from_constants(entry); ym = from_constants(entry + 10u); t2d = from_constants(entry + 20u);
        z2 = fe_carry(fe_add(p.z, p.z));
      }
      let a = fe_mul(fe_add(p.y, p.x), fe_select(negative, ym, yp));
      let b = fe_mul(fe_sub2(p.y, p.x), fe_select(negative, yp, ym));
      let c = fe_mul(p.t, fe_select(negative, fe_sub2(ZERO, t2d), t2d));
      let x = fe_sub2(a, b);
      let y = fe_add(a, b);
      let z = fe_add(z2, c);
      let t = fe_sub2(z2, c);
      p.x = fe_mul(x, t);
      p.y = fe_mul(y, z);
      p.z = fe_mul(z, t);
      if (q + 1u < additions || step >= 63u) { p.t = fe_mul(x, y); }
    }
  }
  let is_identity = fe_is_zero(p.x) && fe_is_zero(fe_sub2(p.y, p.z));
  results[i] = select(0u, 1u, is_identity && scratch[IN_ORDER*n + i] == 1u && key_table[slot] == 1u);
}
