// Doubling on y² = x³ − 3x + b: 3 multiplications, 5 squarings (dbl-2001-b).
// In: x A 1 V 1.1, y A 2 V 4, z A 1 V 1.6. Out: x, y, z A 1 V 0.51.
fn double(p: Point) -> Point {
  let zz = p_sq(p.z);
  let yy = p_sq(p.y);
  let yy2 = fe_scale(yy, 2);
  // A 1 times A 4.
  let xyy4 = p_mul(p.x, fe_scale(yy2, 2));
  // A 2 times A 2; alpha has A 3, V 4.
  let alpha = fe_scale(p_mul(fe_sub(p.x, zz), fe_add(p.x, zz)), 3);
  let x = p_red(fe_sub(p_sq(alpha), fe_scale(xyy4, 2)));
  // A 3 times A 2.
  let y = p_red(fe_sub(p_mul(alpha, fe_sub(xyy4, x)), fe_scale(p_sq(yy2), 2)));
  // A 3 squared, then A 1 + 1 + 1.
  let z = p_red(fe_sub(fe_sub(p_sq(fe_add(p.y, p.z)), zz), yy));
  return Point(x, y, z);
}
