// ECDSA (FIPS 186-5 §6.4.2): w = s⁻¹, the sum is ew·G + rw·P, and r = x modulo n.
struct Scalars { of_g: Words, of_key: Words, x: Words, usable: bool }

fn scalars_of(e: Words, r: Words, s: Words) -> Scalars {
  // From w to w·2^261, then times e and r: three products, one body.
  var of_g: Words; var of_key: Words;
  var w = N_MONTGOMERY;
  for (var product = 0u; product < 3u; product++) {
    let factor = words_select(words_select(r, e, product == 1u), inverse(s), product == 0u);
    let p = n_mul(fe_from_words(factor), w);
    if (product == 0u) { w = p; } else if (product == 1u) { of_g = n_words(p); } else { of_key = n_words(p); }
  }
  return Scalars(of_g, of_key, r, true);
}
