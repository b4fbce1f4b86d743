// s⁻¹ modulo n by division steps (Bernstein and Yang, "Fast constant-time gcd computation and modular inversion", 2019, in
// the half-delta form of libsecp256k1): 600 steps, of which 590 are enough for any 256-bit input, thirty at a time on the
// low words, then applied to f, g and, modulo n, to d, e. Numbers are nine signed limbs of 30 bits. Of 0 it is 0.
struct Transition { u: i32, v: i32, q: i32, r: i32 }
const M30 = 1073741823;

fn apply(t0: i64, t1: i64, x: i32, y: i32) -> i64 {
  return t0 * i64(x) + t1 * i64(y);
}

fn inverse(s: Words) -> Words {
  var f = N_LIMBS_30;
  var g: Fe;
  var words = s;
  for (var j = 0u; j < 9u; j++) {
    let bit = j * 30u;
    let word = bit >> 5u;
    var pair = u64(words[word]);
    if (word < 7u) { pair = pair | (u64(words[word + 1u]) << 32u); }
    g[j] = i32(u32(pair >> (bit & 31u)) & 0x3fffffffu);
  }
  var d: Fe;
  var e = Fe(1, 0, 0, 0, 0, 0, 0, 0, 0);
  var zeta = -1;
  for (var batch = 0u; batch < 20u; batch++) {
    var t = Transition(1, 0, 0, 1);
    var low_f = f[0]; var low_g = g[0];
    for (var step = 0u; step < 30u; step++) {
      var swap = zeta >> 31u;
      let odd = 0 - (low_g & 1);
      low_g += ((low_f ^ swap) - swap) & odd;
      t.q += ((t.u ^ swap) - swap) & odd;
      t.r += ((t.v ^ swap) - swap) & odd;
      swap = swap & odd;
      zeta = (zeta ^ swap) - 1;
      low_f += low_g & swap;
      t.u = (t.u + (t.q & swap)) << 1u;
      t.v = (t.v + (t.r & swap)) << 1u;
      low_g = low_g >> 1u;
    }
    let u = i64(t.u); let v = i64(t.v); let q = i64(t.q); let r = i64(t.r);

    let sign_d = d[8] >> 31u; let sign_e = e[8] >> 31u;
    var md = (t.u & sign_d) + (t.v & sign_e);
    var me = (t.q & sign_d) + (t.r & sign_e);
    var cd = apply(u, v, d[0], e[0]);
    var ce = apply(q, r, d[0], e[0]);
    md -= (N_INVERSE_30 * i32(cd) + md) & M30;
    me -= (N_INVERSE_30 * i32(ce) + me) & M30;
    cd = (cd + i64(N_LIMBS_30[0]) * i64(md)) >> 30u;
    ce = (ce + i64(N_LIMBS_30[0]) * i64(me)) >> 30u;
    var cf = apply(u, v, f[0], g[0]) >> 30u;
    var cg = apply(q, r, f[0], g[0]) >> 30u;
    var n = N_LIMBS_30;
    for (var j = 1u; j < 9u; j++) {
      cd += apply(u, v, d[j], e[j]) + i64(n[j]) * i64(md);
      ce += apply(q, r, d[j], e[j]) + i64(n[j]) * i64(me);
      cf += apply(u, v, f[j], g[j]);
      cg += apply(q, r, f[j], g[j]);
      d[j - 1u] = i32(cd) & M30; cd = cd >> 30u;
      e[j - 1u] = i32(ce) & M30; ce = ce >> 30u;
      f[j - 1u] = i32(cf) & M30; cf = cf >> 30u;
      g[j - 1u] = i32(cg) & M30; cg = cg >> 30u;
    }
    d[8] = i32(cd); e[8] = i32(ce); f[8] = i32(cf); g[8] = i32(cg);
  }

  // d is in (−2n, n), and f is ±1: d·f modulo n, in [0, n).
  let negate = f[8] >> 31u;
  var n = N_LIMBS_30;
  for (var round = 0u; round < 2u; round++) {
    let below = d[8] >> 31u;
    var carry = 0;
    for (var j = 0u; j < 9u; j++) {
      var limb = d[j] + (n[j] & below);
      if (round == 0u) { limb = (limb ^ negate) - negate; }
      limb += carry;
      carry = limb >> 30u;
      if (j < 8u) { limb = limb & M30; }
      d[j] = limb;
    }
  }
  var out: Words;
  for (var j = 0u; j < 8u; j++) {
    let bit = j * 32u;
    let limb = bit / 30u;
    let shift = bit % 30u;
    var value = (u64(u32(d[limb])) >> shift) | (u64(u32(d[limb + 1u])) << (30u - shift));
    if (limb + 2u < 9u) { value = value | (u64(u32(d[limb + 2u])) << (60u - shift)); }
    out[j] = u32(value);
  }
  return out;
}
