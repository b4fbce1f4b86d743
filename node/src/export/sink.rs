//! A table's rows as a file: JSON lines, or Parquet. Counts and hashes what it writes.

use super::rows::{Column, Kind, Row, Table, Value};
use bytes::Bytes;
use clap::ValueEnum;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use thiserror::Error;
use types::Amount;

/// Digits of a decimal column: the most that query engines take.
const DECIMAL_DIGITS: i32 = 38;
/// The largest that fits there. No ledger has come near it; larger ones are null, and stand in the transaction's bytes.
const DECIMAL_MAX: Amount = Amount(10u128.pow(DECIMAL_DIGITS as u32) - 1);

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet, compressed with Snappy.
    Parquet,
}

impl Format {
    /// The ending of files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// Why rows could not be written.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The encoding.
    #[error(transparent)]
    Parquet(ParquetError),
}

impl From<ParquetError> for SinkError {
    fn from(error: ParquetError) -> Self {
        // What the file refused comes through the encoder wrapped.
        match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(io) => Self::Io(*io),
                Err(inner) => Self::Parquet(ParquetError::External(inner)),
            },
            error => Self::Parquet(error),
        }
    }
}

/// Rows of a Parquet row group.
const GROUP_ROWS: usize = 1 << 16;
/// Bytes of text in a row group at which it is written before it has so many rows.
const GROUP_BYTES: usize = 64 << 20;

/// A file that is being written.
pub enum Sink {
    /// JSON lines.
    Jsonl(BufWriter<Hashed>, Table),
    /// Parquet.
    Parquet(Box<ParquetSink>),
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Sink {
    /// Into an empty file.
    pub fn create(format: Format, table: Table, file: File) -> Result<Self, SinkError> {
        let hashed = Hashed { file, hasher: Sha256::new(), bytes: 0 };
        Ok(match format {
            Format::Jsonl => Self::Jsonl(BufWriter::with_capacity(1 << 18, hashed), table),
            Format::Parquet => Self::Parquet(Box::new(ParquetSink::create(table, hashed)?)),
        })
    }

    /// One row.
    pub fn put(&mut self, row: Row) -> Result<(), SinkError> {
        match self {
            Self::Jsonl(out, table) => Ok(put_line(out, table, &row)?),
            Self::Parquet(sink) => sink.put(row),
        }
    }

    /// Ends the file and makes it durable.
    pub fn finish(self) -> Result<Written, SinkError> {
        let hashed = match self {
            Self::Jsonl(out, _) => out.into_inner().map_err(io::IntoInnerError::into_error)?,
            Self::Parquet(sink) => sink.finish()?,
        };
        hashed.file.sync_all()?;
        Ok(Written { bytes: hashed.bytes, sha256: hex::encode(hashed.hasher.finalize()) })
    }
}

/// Columns without a value are left out of a line.
fn put_line(out: &mut impl Write, table: &Table, row: &Row) -> io::Result<()> {
    let mut separator = '{';
    for (column, value) in table.columns.iter().zip(row) {
        match value {
            Value::Absent => continue,
            Value::Number(number) => write!(out, "{separator}\"{}\":{number}", column.name)?,
            Value::Amount(amount) => write!(out, "{separator}\"{}\":\"{amount}\"", column.name)?,
            Value::Text(text) => {
                write!(out, "{separator}\"{}\":", column.name)?;
                serde_json::to_writer(&mut *out, text)?;
            }
            Value::Bytes(bytes) => write!(out, "{separator}\"{}\":\"{}\"", column.name, hex::encode(bytes))?,
        }
        separator = ',';
    }
    out.write_all(b"}\n")
}

/// Counts and hashes what passes to a file.
pub struct Hashed {
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Rows of the row group that is being gathered, by column.
pub struct ParquetSink {
    table: Table,
    columns: Vec<Gathered>,
    rows: usize,
    bytes: usize,
    writer: SerializedFileWriter<Hashed>,
}

enum Gathered {
    Numbers(Vec<i64>, Vec<i16>),
    Amounts(Vec<FixedLenByteArray>, Vec<i16>),
    Bytes(Vec<ByteArray>, Vec<i16>),
}

impl ParquetSink {
    fn create(table: Table, out: Hashed) -> Result<Self, SinkError> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(out, schema(&table)?, Arc::new(properties))?;
        let columns = table.columns.iter().map(Gathered::of).collect();
        Ok(Self { table, columns, rows: 0, bytes: 0, writer })
    }

    fn put(&mut self, row: Row) -> Result<(), SinkError> {
        for (column, value) in self.columns.iter_mut().zip(row) {
            self.bytes += column.push(value);
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS || self.bytes >= GROUP_BYTES { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<(), SinkError> {
        let mut group = self.writer.next_row_group()?;
        for (column, gathered) in self.table.columns.iter().zip(&self.columns) {
            let Some(mut writer) = group.next_column()? else { break };
            match gathered {
                Gathered::Numbers(values, present) => {
                    let levels = column.optional.then_some(present.as_slice());
                    writer.typed::<Int64Type>().write_batch(values, levels, None)?;
                }
                Gathered::Amounts(values, present) => {
                    let levels = column.optional.then_some(present.as_slice());
                    writer.typed::<FixedLenByteArrayType>().write_batch(values, levels, None)?;
                }
                Gathered::Bytes(values, present) => {
                    let levels = column.optional.then_some(present.as_slice());
                    writer.typed::<ByteArrayType>().write_batch(values, levels, None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        self.columns = self.table.columns.iter().map(Gathered::of).collect();
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Hashed, SinkError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        Ok(self.writer.into_inner()?)
    }
}

impl Gathered {
    fn of(column: &Column) -> Self {
        match column.kind {
            Kind::Number | Kind::Time => Self::Numbers(Vec::new(), Vec::new()),
            Kind::Amount => Self::Amounts(Vec::new(), Vec::new()),
            Kind::Text | Kind::Bytes => Self::Bytes(Vec::new(), Vec::new()),
        }
    }

    /// Takes a value in; the bytes that it holds.
    fn push(&mut self, value: Value) -> usize {
        match (self, value) {
            (Self::Numbers(values, present), Value::Number(number)) => {
                // Parquet's unsigned numbers are signed ones of the same bits.
                values.push(number.cast_signed());
                present.push(1);
                8
            }
            (Self::Amounts(values, present), Value::Amount(amount)) if amount <= DECIMAL_MAX => {
                values.push(ByteArray::from(amount.0.to_be_bytes().to_vec()).into());
                present.push(1);
                16
            }
            (Self::Bytes(values, present), Value::Text(text)) => put_bytes(values, present, text.into_bytes().into()),
            (Self::Bytes(values, present), Value::Bytes(bytes)) => put_bytes(values, present, bytes),
            (Self::Numbers(_, present) | Self::Amounts(_, present) | Self::Bytes(_, present), _) => {
                present.push(0);
                0
            }
        }
    }
}

fn put_bytes(values: &mut Vec<ByteArray>, present: &mut Vec<i16>, bytes: Bytes) -> usize {
    let length = bytes.len();
    values.push(ByteArray::from(bytes));
    present.push(1);
    length
}

fn schema(table: &Table) -> Result<Arc<Type>, ParquetError> {
    let column = |column: &Column| {
        let (physical, logical) = match column.kind {
            Kind::Number => (Physical::INT64, Some(LogicalType::integer(64, false))),
            Kind::Amount => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(0, DECIMAL_DIGITS))),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Bytes => (Physical::BYTE_ARRAY, None),
        };
        let repetition = if column.optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let mut built = Type::primitive_type_builder(column.name, physical).with_repetition(repetition);
        if column.kind == Kind::Amount {
            built = built.with_length(size_of::<u128>() as i32).with_precision(DECIMAL_DIGITS).with_scale(0);
        }
        Ok(Arc::new(built.with_logical_type(logical).build()?))
    };
    let fields = table.columns.iter().map(column).collect::<Result<_, ParquetError>>()?;
    Ok(Arc::new(Type::group_type_builder(table.name).with_fields(fields).build()?))
}
