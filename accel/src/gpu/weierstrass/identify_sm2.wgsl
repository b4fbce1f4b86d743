// Z of SM2 (GM/T 0003.2 §5.5): SM3 of the length of the user id, the id, the curve and the key. The first two blocks are the
// same for all keys; the third starts with 18 bytes of the curve, so the key lies across words.
fn identify_key(slot: u32, x: Words, y: Words) {
  var key: array<u32, 17>;
  for (var j = 0u; j < 8u; j++) {
    key[j] = x[7u - j];
    key[8u + j] = y[7u - j];
  }
  key[16] = 0x80000000u;
  var blocks: array<u32, 32>;
  for (var j = 0u; j < 4u; j++) { blocks[j] = u32(constants[Z_PREFIX + j]); }
  var before = u32(constants[Z_PREFIX + 4u]);
  for (var j = 0u; j < 17u; j++) {
    blocks[4u + j] = (before << 16u) | (key[j] >> 16u);
    before = key[j];
  }
  blocks[31] = Z_BITS;
  var state = Z_STATE;
  for (var b = 0u; b < 2u; b++) {
    var block: array<u32, 16>;
    for (var j = 0u; j < 16u; j++) { block[j] = blocks[b * 16u + j]; }
    state = compress(state, block);
  }
  for (var j = 0u; j < 8u; j++) { key_table[slot + KEY_Z + j] = i32(state[j]); }
}
