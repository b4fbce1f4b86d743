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

// Which item a thread of a workgroup of 64 takes: dispatches are two-dimensional, since one dimension ends at 65,535 groups.
fn item_index(id: vec3<u32>, groups: vec3<u32>) -> u32 { return id.x + id.y * (groups.x * 64u); }
