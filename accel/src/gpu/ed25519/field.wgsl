// Arithmetic modulo p = 2^255 − 19 in radix 2^25.5: ten limbs of 26 and 25 bits in turn, products in 64 bits.
//
// Bounds. *Reduced*: limbs below 2^26 + 2^6 (even places) and 2^25 + 2^6 (odd); what fe_mul, fe_sq and fe_carry give.
// fe_add gives at most twice that, fe_sub2 at most three times. fe_mul and fe_sq take limbs below 2^27.6 and 2^26.6: a
// column is then below 10 · 19 · 2 · 2^(27.6 + 25.6) < 2^62, and 19 times a limb fits 32 bits.
alias Fe = array<u32,10>;
fn fe_mul(x: Fe, y: Fe) -> Fe {
  let x0 = x[0]; let y0 = y[0];
  let x1 = x[1]; let y1 = y[1];
  let x2 = x[2]; let y2 = y[2];
  let x3 = x[3]; let y3 = y[3];
  let x4 = x[4]; let y4 = y[4];
  let x5 = x[5]; let y5 = y[5];
  let x6 = x[6]; let y6 = y[6];
  let x7 = x[7]; let y7 = y[7];
  let x8 = x[8]; let y8 = y[8];
  let x9 = x[9]; let y9 = y[9];
  let n1 = y1*19u;
  let n2 = y2*19u;
  let n3 = y3*19u;
  let n4 = y4*19u;
  let n5 = y5*19u;
  let n6 = y6*19u;
  let n7 = y7*19u;
  let n8 = y8*19u;
  let n9 = y9*19u;
  let d1 = x1*2u;
  let d3 = x3*2u;
  let d5 = x5*2u;
  let d7 = x7*2u;
  let d9 = x9*2u;
  var z0: u64 = u64(x0)*u64(y0) + u64(d1)*u64(n9) + u64(x2)*u64(n8) + u64(d3)*u64(n7) + u64(x4)*u64(n6) + u64(d5)*u64(n5) + u64(x6)*u64(n4) + u64(d7)*u64(n3) + u64(x8)*u64(n2) + u64(d9)*u64(n1);
  var z1: u64 = u64(x0)*u64(y1) + u64(x1)*u64(y0) + u64(x2)*u64(n9) + u64(x3)*u64(n8) + u64(x4)*u64(n7) + u64(x5)*u64(n6) + u64(x6)*u64(n5) + u64(x7)*u64(n4) + u64(x8)*u64(n3) + u64(x9)*u64(n2);
  var z2: u64 = u64(x0)*u64(y2) + u64(d1)*u64(y1) + u64(x2)*u64(y0) + u64(d3)*u64(n9) + u64(x4)*u64(n8) + u64(d5)*u64(n7) + u64(x6)*u64(n6) + u64(d7)*u64(n5) + u64(x8)*u64(n4) + u64(d9)*u64(n3);
  var z3: u64 = u64(x0)*u64(y3) + u64(x1)*u64(y2) + u64(x2)*u64(y1) + u64(x3)*u64(y0) + u64(x4)*u64(n9) + u64(x5)*u64(n8) + u64(x6)*u64(n7) + u64(x7)*u64(n6) + u64(x8)*u64(n5) + u64(x9)*u64(n4);
  var z4: u64 = u64(x0)*u64(y4) + u64(d1)*u64(y3) + u64(x2)*u64(y2) + u64(d3)*u64(y1) + u64(x4)*u64(y0) + u64(d5)*u64(n9) + u64(x6)*u64(n8) + u64(d7)*u64(n7) + u64(x8)*u64(n6) + u64(d9)*u64(n5);
  var z5: u64 = u64(x0)*u64(y5) + u64(x1)*u64(y4) + u64(x2)*u64(y3) + u64(x3)*u64(y2) + u64(x4)*u64(y1) + u64(x5)*u64(y0) + u64(x6)*u64(n9) + u64(x7)*u64(n8) + u64(x8)*u64(n7) + u64(x9)*u64(n6);
  var z6: u64 = u64(x0)*u64(y6) + u64(d1)*u64(y5) + u64(x2)*u64(y4) + u64(d3)*u64(y3) + u64(x4)*u64(y2) + u64(d5)*u64(y1) + u64(x6)*u64(y0) + u64(d7)*u64(n9) + u64(x8)*u64(n8) + u64(d9)*u64(n7);
  var z7: u64 = u64(x0)*u64(y7) + u64(x1)*u64(y6) + u64(x2)*u64(y5) + u64(x3)*u64(y4) + u64(x4)*u64(y3) + u64(x5)*u64(y2) + u64(x6)*u64(y1) + u64(x7)*u64(y0) + u64(x8)*u64(n9) + u64(x9)*u64(n8);
  var z8: u64 = u64(x0)*u64(y8) + u64(d1)*u64(y7) + u64(x2)*u64(y6) + u64(d3)*u64(y5) + u64(x4)*u64(y4) + u64(d5)*u64(y3) + u64(x6)*u64(y2) + u64(d7)*u64(y1) + u64(x8)*u64(y0) + u64(d9)*u64(n9);
  var z9: u64 = u64(x0)*u64(y9) + u64(x1)*u64(y8) + u64(x2)*u64(y7) + u64(x3)*u64(y6) + u64(x4)*u64(y5) + u64(x5)*u64(y4) + u64(x6)*u64(y3) + u64(x7)*u64(y2) + u64(x8)*u64(y1) + u64(x9)*u64(y0);
  z1 += z0 >> 26u; z0 = z0 & 67108863lu;
  z5 += z4 >> 26u; z4 = z4 & 67108863lu;
  z2 += z1 >> 25u; z1 = z1 & 33554431lu;
  z6 += z5 >> 25u; z5 = z5 & 33554431lu;
  z3 += z2 >> 26u; z2 = z2 & 67108863lu;
  z7 += z6 >> 26u; z6 = z6 & 67108863lu;
  z4 += z3 >> 25u; z3 = z3 & 33554431lu;
  z8 += z7 >> 25u; z7 = z7 & 33554431lu;
  z5 += z4 >> 26u; z4 = z4 & 67108863lu;
  z9 += z8 >> 26u; z8 = z8 & 67108863lu;
  z0 += 19lu*(z9 >> 25u); z9 = z9 & 33554431lu;
  z1 += z0 >> 26u; z0 = z0 & 67108863lu;
  return Fe(u32(z0),u32(z1),u32(z2),u32(z3),u32(z4),u32(z5),u32(z6),u32(z7),u32(z8),u32(z9));
}
fn fe_sq(x: Fe) -> Fe {
  let x0 = x[0];
  let x1 = x[1];
  let x2 = x[2];
  let x3 = x[3];
  let x4 = x[4];
  let x5 = x[5];
  let x6 = x[6];
  let x7 = x[7];
  let x8 = x[8];
  let x9 = x[9];
  let d0 = x0*2u;
  let d1 = x1*2u;
  let d2 = x2*2u;
  let d3 = x3*2u;
  let d4 = x4*2u;
  let d5 = x5*2u;
  let d6 = x6*2u;
  let d7 = x7*2u;
  let d8 = x8*2u;
  let d9 = x9*2u;
  let n5 = x5*19u;
  let n6 = x6*19u;
  let n7 = x7*19u;
  let n8 = x8*19u;
  let n9 = x9*19u;
  var z0: u64 = u64(x0)*u64(x0) + u64(d1*2u)*u64(n9) + u64(d2)*u64(n8) + u64(d3*2u)*u64(n7) + u64(d4)*u64(n6) + u64(d5)*u64(n5);
  var z1: u64 = u64(d0)*u64(x1) + u64(d2)*u64(n9) + u64(d3)*u64(n8) + u64(d4)*u64(n7) + u64(d5)*u64(n6);
  var z2: u64 = u64(d0)*u64(x2) + u64(d1)*u64(x1) + u64(d3*2u)*u64(n9) + u64(d4)*u64(n8) + u64(d5*2u)*u64(n7) + u64(x6)*u64(n6);
  var z3: u64 = u64(d0)*u64(x3) + u64(d1)*u64(x2) + u64(d4)*u64(n9) + u64(d5)*u64(n8) + u64(d6)*u64(n7);
  var z4: u64 = u64(d0)*u64(x4) + u64(d1*2u)*u64(x3) + u64(x2)*u64(x2) + u64(d5*2u)*u64(n9) + u64(d6)*u64(n8) + u64(d7)*u64(n7);
  var z5: u64 = u64(d0)*u64(x5) + u64(d1)*u64(x4) + u64(d2)*u64(x3) + u64(d6)*u64(n9) + u64(d7)*u64(n8);
  var z6: u64 = u64(d0)*u64(x6) + u64(d1*2u)*u64(x5) + u64(d2)*u64(x4) + u64(d3)*u64(x3) + u64(d7*2u)*u64(n9) + u64(x8)*u64(n8);
  var z7: u64 = u64(d0)*u64(x7) + u64(d1)*u64(x6) + u64(d2)*u64(x5) + u64(d3)*u64(x4) + u64(d8)*u64(n9);
  var z8: u64 = u64(d0)*u64(x8) + u64(d1*2u)*u64(x7) + u64(d2)*u64(x6) + u64(d3*2u)*u64(x5) + u64(x4)*u64(x4) + u64(d9)*u64(n9);
  var z9: u64 = u64(d0)*u64(x9) + u64(d1)*u64(x8) + u64(d2)*u64(x7) + u64(d3)*u64(x6) + u64(d4)*u64(x5);
  z1 += z0 >> 26u; z0 = z0 & 67108863lu;
  z5 += z4 >> 26u; z4 = z4 & 67108863lu;
  z2 += z1 >> 25u; z1 = z1 & 33554431lu;
  z6 += z5 >> 25u; z5 = z5 & 33554431lu;
  z3 += z2 >> 26u; z2 = z2 & 67108863lu;
  z7 += z6 >> 26u; z6 = z6 & 67108863lu;
  z4 += z3 >> 25u; z3 = z3 & 33554431lu;
  z8 += z7 >> 25u; z7 = z7 & 33554431lu;
  z5 += z4 >> 26u; z4 = z4 & 67108863lu;
  z9 += z8 >> 26u; z8 = z8 & 67108863lu;
  z0 += 19lu*(z9 >> 25u); z9 = z9 & 33554431lu;
  z1 += z0 >> 26u; z0 = z0 & 67108863lu;
  return Fe(u32(z0),u32(z1),u32(z2),u32(z3),u32(z4),u32(z5),u32(z6),u32(z7),u32(z8),u32(z9));
}
fn fe_add(a: Fe, b: Fe) -> Fe { return Fe(a[0]+b[0],a[1]+b[1],a[2]+b[2],a[3]+b[3],a[4]+b[4],a[5]+b[5],a[6]+b[6],a[7]+b[7],a[8]+b[8],a[9]+b[9]); }
fn fe_sub2(a: Fe, b: Fe) -> Fe { return Fe(a[0]+134217690u-b[0],a[1]+67108862u-b[1],a[2]+134217726u-b[2],a[3]+67108862u-b[3],a[4]+134217726u-b[4],a[5]+67108862u-b[5],a[6]+134217726u-b[6],a[7]+67108862u-b[7],a[8]+134217726u-b[8],a[9]+67108862u-b[9]); }
fn fe_sub4(a: Fe, b: Fe) -> Fe { return fe_carry(Fe(a[0]+268435380u-b[0],a[1]+134217724u-b[1],a[2]+268435452u-b[2],a[3]+134217724u-b[3],a[4]+268435452u-b[4],a[5]+134217724u-b[5],a[6]+268435452u-b[6],a[7]+134217724u-b[7],a[8]+268435452u-b[8],a[9]+134217724u-b[9])); }
fn fe_carry(a: Fe) -> Fe { return Fe((a[0]&67108863u)+19u*(a[9]>>25u),(a[1]&33554431u)+(a[0]>>26u),(a[2]&67108863u)+(a[1]>>25u),(a[3]&33554431u)+(a[2]>>26u),(a[4]&67108863u)+(a[3]>>25u),(a[5]&33554431u)+(a[4]>>26u),(a[6]&67108863u)+(a[5]>>25u),(a[7]&33554431u)+(a[6]>>26u),(a[8]&67108863u)+(a[7]>>25u),(a[9]&33554431u)+(a[8]>>26u)); }
fn fe_freeze(x: Fe) -> Fe {
  var h = fe_carry(fe_carry(x));
  var q = (h[0]+19u)>>26u;
  q = (h[1]+q)>>25u;
  q = (h[2]+q)>>26u;
  q = (h[3]+q)>>25u;
  q = (h[4]+q)>>26u;
  q = (h[5]+q)>>25u;
  q = (h[6]+q)>>26u;
  q = (h[7]+q)>>25u;
  q = (h[8]+q)>>26u;
  q = (h[9]+q)>>25u;
  h[0] += 19u*q;
  h[1] += h[0]>>26u; h[0] &= 67108863u;
  h[2] += h[1]>>25u; h[1] &= 33554431u;
  h[3] += h[2]>>26u; h[2] &= 67108863u;
  h[4] += h[3]>>25u; h[3] &= 33554431u;
  h[5] += h[4]>>26u; h[4] &= 67108863u;
  h[6] += h[5]>>25u; h[5] &= 33554431u;
  h[7] += h[6]>>26u; h[6] &= 67108863u;
  h[8] += h[7]>>25u; h[7] &= 33554431u;
  h[9] += h[8]>>26u; h[8] &= 67108863u;
  h[9] &= 33554431u;
  return h;
}
fn fe_is_zero(x: Fe) -> bool { let h = fe_freeze(x); return (h[0]|h[1]|h[2]|h[3]|h[4]|h[5]|h[6]|h[7]|h[8]|h[9]) == 0u; }

fn fe_select(c: bool, a: Fe, b: Fe) -> Fe { return Fe(select(b[0],a[0],c),select(b[1],a[1],c),select(b[2],a[2],c),select(b[3],a[3],c),select(b[4],a[4],c),select(b[5],a[5],c),select(b[6],a[6],c),select(b[7],a[7],c),select(b[8],a[8],c),select(b[9],a[9],c)); }
fn fe_neg(a: Fe) -> Fe { return fe_carry(fe_sub2(Fe(0u,0u,0u,0u,0u,0u,0u,0u,0u,0u), a)); }

// z^((p − 5) / 8) = z^(2^252 − 3): eight steps of squarings and one multiplication, in one loop so that the compiler sees
// two bodies and not twenty.
const CHAIN = array<u32,8>(5u, 10u, 20u, 10u, 50u, 100u, 50u, 2u);
fn fe_pow22523(z: Fe) -> Fe {
  let z2 = fe_sq(z);
  let z9 = fe_mul(z, fe_sq(fe_sq(z2)));
  var t = fe_mul(z9, fe_sq(fe_mul(z2, z9)));
  var t10 = t;
  var t50 = t;
  var chain = CHAIN;
  for (var step = 0u; step < 8u; step++) {
    var m = t;
    if (step == 3u) { m = t10; }
    if (step == 6u) { m = t50; }
    if (step == 7u) { m = z; }
    for (var j = 0u; j < chain[step]; j++) { t = fe_sq(t); }
    t = fe_mul(t, m);
    if (step == 0u) { t10 = t; }
    if (step == 3u) { t50 = t; }
  }
  return t;
}
