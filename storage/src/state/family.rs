//! The column families and how each is tuned. Deliberately absent: what keys and values mean.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, DataBlockIndexType, MemtableFactory, Options,
    SliceTransform,
};

/// Bytes of a key that pick its bucket in the memtable of a hashed family. Keys are at least this long, and whoever
/// iterates asks for keys that share them.
const BUCKET_PREFIX: usize = 9;
/// Buckets of such a memtable, 8 bytes each.
const BUCKETS: usize = 1 << 18;

/// A space of keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Accounts by key: read and rewritten at random.
    Accounts,
    /// Receipts by height: appended.
    Receipts,
    /// Transaction id to height and index: random 32-byte keys, written much, read little.
    TransactionIndex,
    /// Ledger headers and certificates by height: appended.
    Headers,
    /// Commits by index: appended.
    Commits,
    /// Block digest to place in the log.
    BlockIndex,
    /// Transaction ids inside the replay window, by height: appended, deleted once.
    LiveIds,
    /// Few small values: the applied position, roots.
    Meta,
    /// What keys held at the last snapshot, for as long as it is being read: written, and removed as a whole.
    Before,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Accounts,
        Self::Receipts,
        Self::TransactionIndex,
        Self::Headers,
        Self::Commits,
        Self::BlockIndex,
        Self::LiveIds,
        Self::Meta,
        Self::Before,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Receipts => "receipts",
            Self::TransactionIndex => "transaction_index",
            Self::Headers => "headers",
            Self::Commits => "commits",
            Self::BlockIndex => "block_index",
            Self::LiveIds => "live_ids",
            Self::Meta => "meta",
            Self::Before => "before",
        }
    }

    fn access(self) -> Access {
        match self {
            Self::Accounts => Access::Rewritten,
            Self::TransactionIndex | Self::BlockIndex => Access::Hashed,
            Self::Receipts | Self::Headers | Self::Commits | Self::LiveIds | Self::Before => Access::Appended,
            Self::Meta => Access::Few,
        }
    }

    /// Whether keys are digests, in no order that means anything.
    pub(super) fn hashed(self) -> bool {
        matches!(self.access(), Access::Hashed | Access::Rewritten)
    }

    /// Least length of its keys, bytes.
    pub(super) fn key_bytes_min(self) -> usize {
        if self.hashed() { BUCKET_PREFIX } else { 0 }
    }

    /// Options of the family. One shared cache bounds blocks, indexes and filters of all.
    pub(super) fn options(self, cache: &Cache, write_buffer_bytes: usize) -> Options {
        let access = self.access();
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        table.set_format_version(6);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_optimize_filters_for_memory(true);
        let mut options = Options::default();
        // The bound on all memtables together decides when to flush; that of one family only must not come first.
        options.set_write_buffer_size(write_buffer_bytes);
        options.set_max_write_buffer_number(4);
        options.set_level_compaction_dynamic_level_bytes(true);
        if self.hashed() {
            // A skip list costs a cache miss a level for each random key, and was half of the cost of execution.
            options.set_memtable_factory(MemtableFactory::HashLinkList { bucket_count: BUCKETS });
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(BUCKET_PREFIX));
        }
        match access {
            Access::Rewritten => {
                table.set_block_size(4 << 10);
                table.set_bloom_filter(10.0, false);
                table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
                options.set_compression_type(DBCompressionType::Lz4);
                options.set_memtable_whole_key_filtering(true);
                options.set_memtable_prefix_bloom_ratio(0.02);
            }
            Access::Hashed => {
                table.set_block_size(4 << 10);
                table.set_bloom_filter(10.0, false);
                options.set_memtable_whole_key_filtering(true);
                options.set_memtable_prefix_bloom_ratio(0.02);
                // Keys are digests: nothing to compress, and every flush overlaps every file. Merging whole runs of
                // like size rewrites each entry a few times, levels would a dozen.
                options.set_compression_type(DBCompressionType::None);
                options.set_compaction_style(DBCompactionStyle::Universal);
                options.set_level_zero_file_num_compaction_trigger(8);
                options.set_level_zero_slowdown_writes_trigger(32);
                options.set_level_zero_stop_writes_trigger(48);
            }
            Access::Appended => {
                table.set_block_size(16 << 10);
                table.set_bloom_filter(10.0, false);
                options.set_compression_type(DBCompressionType::Lz4);
                // Files follow each other without overlap, so compaction moves them without reading.
                options.set_level_zero_file_num_compaction_trigger(4);
            }
            Access::Few => {
                options.set_compression_type(DBCompressionType::None);
                options.set_level_zero_file_num_compaction_trigger(4);
            }
        }
        options.set_block_based_table_factory(&table);
        options
    }
}

enum Access {
    Rewritten,
    Hashed,
    Appended,
    Few,
}
