// Doubling on y² = x³ + b: 2 multiplications, 5 squarings.
// In: x A 1 V 1.1, y A 2 V 4, z A 2 V 3. Out: x, y A 1 V 0.51, z A 2 V 2.4.
fn double(p: Point) -> Point {
  let xx = p_sq(p.x);
  let yy2 = fe_scale(p_sq(p.y), 2);
  let yyyy4 = p_sq(yy2);
  // 4xy² = (x + 2y²)² − x² − 4y⁴: A 3 squared, then A 1 + 1 + 1, reduced so that x below stays within bounds.
  let xyy4 = p_red(fe_sub(fe_sub(p_sq(fe_add(p.x, yy2)), xx), yyyy4));
  let alpha = fe_scale(xx, 3);
  let x = p_red(fe_sub(p_sq(alpha), fe_scale(xyy4, 2)));
  // A 3 times A 2.
  let y = p_red(fe_sub(p_mul(alpha, fe_sub(xyy4, x)), fe_scale(yyyy4, 2)));
  let z = fe_scale(p_mul(p.y, p.z), 2);
  return Point(x, y, z);
}
