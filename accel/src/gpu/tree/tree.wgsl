// Merkle trees of RFC 6962 §2.1, level by level. A digest is eight big-endian words.
struct Params { count: u32, below: u32, first: u32, pad: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> blocks: array<u32>;
// Of each leaf: the number of its first block, the number of its blocks; 0 where the block holds the digest itself.
@group(0) @binding(2) var<storage, read> spans: array<u32>;
@group(0) @binding(3) var<storage, read> below: array<u32>;
@group(0) @binding(4) var<storage, read_write> above: array<u32>;

fn put(node: u32, digest: Words) {
  let at = node * 8u;
  above[at] = digest[0]; above[at + 1u] = digest[1]; above[at + 2u] = digest[2]; above[at + 3u] = digest[3];
  above[at + 4u] = digest[4]; above[at + 5u] = digest[5]; above[at + 6u] = digest[6]; above[at + 7u] = digest[7];
}

@compute @workgroup_size(64)
fn hash_leaves(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * (groups.x * 64u);
  if (i >= params.count) { return; }
  let first = spans[2u * i];
  let count = spans[2u * i + 1u];
  var state = INITIAL;
  for (var b = 0u; b < max(count, 1u); b++) {
    var block: array<u32, 16>;
    for (var j = 0u; j < 16u; j++) { block[j] = byte_swap(blocks[(first + b) * 16u + j]); }
    if (count == 0u) {
      state = Words(block[0], block[1], block[2], block[3], block[4], block[5], block[6], block[7]);
    } else {
      state = compress(state, block);
    }
  }
  put(params.first + i, state);
}

// The byte 1, left, right: 65 bytes, so each word straddles two. An odd last node goes up as it is.
@compute @workgroup_size(64)
fn hash_nodes(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * (groups.x * 64u);
  if (i >= params.count) { return; }
  let at = i * 16u;
  if (2u * i + 1u == params.below) {
    put(i, Words(below[at], below[at + 1u], below[at + 2u], below[at + 3u],
                 below[at + 4u], below[at + 5u], below[at + 6u], below[at + 7u]));
    return;
  }
  var block: array<u32, 16>;
  var before = 1u;
  for (var j = 0u; j < 16u; j++) {
    let word = below[at + j];
    block[j] = (before << 24u) | (word >> 8u);
    before = word;
  }
  let state = compress(INITIAL, block);
  // The last byte, the bit after the end, 520 bits.
  put(i, compress(state, array<u32, 16>((before << 24u) | 0x800000u, 0u, 0u, 0u, 0u, 0u, 0u, 0u,
                                        0u, 0u, 0u, 0u, 0u, 0u, 0u, 520u)));
}
