// Numbers of 256 bits as eight words, least significant first.
struct Carried { words: Words, carry: u32 }

fn words_add(x: Words, y: Words) -> Carried {
  var a = x; var b = y; var sum: Words; var carry = 0lu;
  for (var j = 0u; j < 8u; j++) {
    carry += u64(a[j]) + u64(b[j]);
    sum[j] = u32(carry);
    carry = carry >> 32u;
  }
  return Carried(sum, u32(carry));
}

// The difference modulo 2^256; the carry is 1 where x < y.
fn words_sub(x: Words, y: Words) -> Carried {
  var a = x; var b = y; var difference: Words; var borrow = 0lu;
  for (var j = 0u; j < 8u; j++) {
    let d = u64(a[j]) - u64(b[j]) - borrow;
    difference[j] = u32(d);
    borrow = (d >> 32u) & 1lu;
  }
  return Carried(difference, u32(borrow));
}

fn words_less(x: Words, y: Words) -> bool {
  return words_sub(x, y).carry == 1u;
}

fn words_is_zero(x: Words) -> bool {
  return (x[0] | x[1] | x[2] | x[3] | x[4] | x[5] | x[6] | x[7]) == 0u;
}

fn words_select(no: Words, yes: Words, which: bool) -> Words {
  return Words(select(no[0], yes[0], which), select(no[1], yes[1], which), select(no[2], yes[2], which),
               select(no[3], yes[3], which), select(no[4], yes[4], which), select(no[5], yes[5], which),
               select(no[6], yes[6], which), select(no[7], yes[7], which));
}
