//! The canonical encoding: fixed-width little-endian integers, `u32` length prefixes, one-byte tags, no padding.
//!
//! Every value has exactly one encoding, and a decoder accepts nothing else: unknown tags, lengths over the stated
//! limit and trailing bytes are typed errors. What a decoder allocates is in proportion to the input that is there, never to
//! what a length prefix promises.

use thiserror::Error;

/// Why bytes are not a value of the asked type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended early.
    #[error("{needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes that the next field takes.
        needed: usize,
        /// Bytes that were there.
        left: usize,
    },
    /// Bytes are left after a complete value.
    #[error("{count} bytes left after the value")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A length prefix is over the limit of its field.
    #[error("{field}: length {length} over the limit of {limit}")]
    TooLong {
        /// Name of the field.
        field: &'static str,
        /// Length that was claimed.
        length: usize,
        /// Most that is allowed.
        limit: usize,
    },
    /// A tag, version or enum value that this version does not know.
    #[error("{field}: unknown value {value}")]
    UnknownTag {
        /// Name of the field.
        field: &'static str,
        /// Value that was found.
        value: u64,
    },
    /// An algorithm id that is not in the registry, or not one of the kind the field needs.
    #[error("unknown or unsuitable algorithm id {0:#04x}")]
    UnknownAlgorithm(u8),
    /// The value is readable, but not in its one canonical form.
    #[error("{field}: not canonical")]
    NotCanonical {
        /// Name of the field.
        field: &'static str,
    },
}

/// A value that has one canonical encoding.
pub trait Encode {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The encoding in a vector of its own.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// A value that can be read back from its canonical encoding.
pub trait Decode: Sized {
    /// Fewest bytes that a value takes. A list whose items cannot fit the input is refused before memory is reserved.
    const ENCODED_LEN_MIN: usize = 1;

    /// Reads one value and leaves the reader behind it.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads one value that takes all of `bytes`.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// A cursor over bytes from a peer, a client or a disk.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// The next byte, left unread.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next `count` bytes, borrowed.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(DecodeError::Truncated { needed: count, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A `u32` length prefix of at most `limit`.
    pub fn length(&mut self, field: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let length = u32::decode(self)? as usize;
        if length > limit { Err(DecodeError::TooLong { field, length, limit }) } else { Ok(length) }
    }

    /// Length-prefixed bytes, at most `limit` of them, borrowed.
    pub fn bytes(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.length(field, limit)?;
        self.take(length)
    }

    /// A length-prefixed list of at most `limit` items.
    pub fn list<T: Decode>(&mut self, field: &'static str, limit: usize) -> Result<Vec<T>, DecodeError> {
        let length = self.length(field, limit)?;
        let needed = length.saturating_mul(T::ENCODED_LEN_MIN);
        if needed > self.rest.len() {
            return Err(DecodeError::Truncated { needed, left: self.rest.len() });
        }
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Fails unless everything was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { count: self.rest.len() }) }
    }
}

/// Appends length-prefixed bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a length-prefixed list.
pub fn put_list<T: Encode>(out: &mut Vec<u8>, items: &[T]) {
    put_length(out, items.len());
    for item in items {
        item.encode(out);
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("every list of the protocol has a limit far below 2^32");
    out.extend_from_slice(&length.to_le_bytes());
}

macro_rules! integer {
    ($($int:ty),*) => {$(
        impl Encode for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }

        impl Decode for $int {
            const ENCODED_LEN_MIN: usize = size_of::<$int>();

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.array().map(<$int>::from_le_bytes)
            }
        }
    )*};
}
integer!(u8, u16, u32, u64, u128);

/// An enum whose encoding is the tag of a variant and then its fields in order.
macro_rules! tagged {
    ($(#[$outer:meta])* $name:ident, $field:literal, {
        $($(#[$doc:meta])* $tag:literal $variant:ident { $($(#[$member_doc:meta])* $member:ident: $type:ty,)* },)*
    }) => {
        $(#[$outer])*
        pub enum $name {
            $($(#[$doc])* $variant { $($(#[$member_doc])* $member: $type,)* },)*
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($member),* } => {
                        out.push($tag);
                        $($crate::codec::Encode::encode($member, out);)*
                    })*
                }
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                match <u8 as $crate::codec::Decode>::decode(reader)? {
                    $($tag => Ok(Self::$variant { $($member: $crate::codec::Decode::decode(reader)?),* }),)*
                    tag => Err($crate::codec::DecodeError::UnknownTag { field: $field, value: tag.into() }),
                }
            }
        }
    };
}
pub(crate) use tagged;

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(None),
            1 => T::decode(reader).map(Some),
            tag => Err(DecodeError::UnknownTag { field: "option", value: tag.into() }),
        }
    }
}
