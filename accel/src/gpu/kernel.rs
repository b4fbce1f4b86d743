//! What a signature kernel is to the host: WGSL text, its constants, and the sizes of what it keeps in device memory.
//!
//! All kernels share one contract, so that the host packs, dispatches and reads back in one way. Group 0:
//!
//! | binding | kind | content |
//! |---|---|---|
//! | 0 | uniform | items, new keys, two zeros |
//! | 1 | read | items, 20 words each: r 0..8, s 8..16, key slot 16, first block 17, blocks 18 (0: hashed elsewhere), 0 |
//! | 2 | read | blocks of the hash, as bytes |
//! | 3 | read | new keys, 12 words each: x 0..8, parity of y 8, slot 9, well formed 10, 0 |
//! | 4 | read, write | key table: [`KernelSource::key_words`] words a slot |
//! | 5 | read | [`KernelSource::constants`] |
//! | 6 | read, write | scratch: [`KernelSource::scratch_words`] words an item, word by word over all items |
//! | 7 | read, write | results: 1 valid, 0 not |
//!
//! Entry points, in the order in which they run: `prepare_keys` with a thread a new key, `hash` and `verify` with a thread
//! an item, all in workgroups of 64 that may be laid out in two dimensions. Deliberately absent: the device.

/// Threads of a workgroup, in every kernel.
pub(crate) const WORKGROUP: u32 = 64;

/// The contract's bindings in WGSL; part of every kernel's source.
pub(super) const BINDINGS: &str = include_str!("kernel/bindings.wgsl");

/// A kernel, ready to be compiled. Needs `SHADER_INT64`.
pub(crate) struct KernelSource {
    /// Its name in labels and reports.
    pub(crate) label: &'static str,
    /// WGSL.
    pub(crate) source: String,
    /// Content of binding 5.
    pub(crate) constants: Vec<u32>,
    /// Words of a slot of the key table.
    pub(crate) key_words: u32,
    /// Words of scratch an item.
    pub(crate) scratch_words: u32,
}
