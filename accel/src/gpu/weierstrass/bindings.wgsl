// The contract of signature kernels: see kernel.rs. Words are signed where limbs are what is stored.
struct Params { items: u32, new_keys: u32, pad0: u32, pad1: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> items: array<u32>;
@group(0) @binding(2) var<storage, read> blocks: array<u32>;
@group(0) @binding(3) var<storage, read> new_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> key_table: array<i32>;
@group(0) @binding(5) var<storage, read> constants: array<i32>;
@group(0) @binding(6) var<storage, read_write> scratch: array<u32>;
@group(0) @binding(7) var<storage, read_write> results: array<u32>;

// A slot of the key table: 0 whether the key is valid, 8..16 Z of SM2 as big-endian words, then multiples of the key.
const KEY_Z = 8u;
const KEY_POINTS = 16u;
// Scratch of an item: scalars recoded, what x must be, flags.
const SCALAR_G = 0u;
const SCALAR_KEY = 9u;
const X_WANTED = 18u;
const FLAGS = 26u;
const FLAG_IN_RANGE = 1u;
// Whether x may also be X_WANTED + n, which is then below p.
const FLAG_SECOND_X = 2u;
