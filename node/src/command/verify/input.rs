//! The reader: cuts its input into chunks of whole lines and numbers them.
//!
//! Knows where lines end, and nothing of what they hold. A chunk is sent when it is full, and also when more input would
//! have to be waited for, so that whoever types or trickles lines sees each verdict at once. What is kept of a line is
//! bounded, whatever the input: the rest of a longer one is passed over.

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;

/// Longest line, without its end: a message of 1 MiB in hexadecimal digits, and as much again for what is around it.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// `\r\n`.
const LINE_END_BYTES_MAX: u64 = 2;
/// A chunk is closed at so many lines, or bytes: enough to fill a batch of the CPU engine several times.
pub const CHUNK_LINES_MAX: usize = 4096;
const CHUNK_BYTES_MAX: usize = 2 << 20;
/// What is asked of the kernel at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Windows editors begin a UTF-8 file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counts every line from 1, as editors do.
    pub number: u64,
    /// Where it is in [`Chunk::bytes`]; `None` for one that is over [`LINE_BYTES_MAX`].
    pub range: Option<Range<usize>>,
}

/// Consecutive lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Chunks count from 0.
    pub sequence: u64,
    /// How many lines that are not empty were before it.
    pub first_index: u64,
    /// The lines' bytes.
    pub bytes: Vec<u8>,
    /// The lines that are not empty, in order.
    pub lines: Vec<Line>,
}

/// How reading ended.
#[derive(Debug)]
pub struct Ended {
    /// Lines read, also empty ones.
    pub lines: u64,
    /// Why there are no more, unless the input is at its end.
    pub error: Option<std::io::Error>,
}

/// An open input.
#[derive(Debug)]
pub struct Source<R> {
    reader: BufReader<R>,
}

impl Source<File> {
    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = if path.as_os_str() == "-" {
            File::from(std::io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        if file.metadata()?.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        Ok(Self::new(file))
    }
}

impl<R: Read + AsFd> Source<R> {
    /// From anything that has a descriptor to wait on.
    pub fn new(input: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, input) }
    }

    /// Sends chunk after chunk, each against a token, until the input ends or nobody takes them any more.
    pub fn cut(mut self, tokens: &Receiver<()>, chunks: &Sender<Chunk>) -> Ended {
        let mut ended = Ended { lines: 0, error: None };
        let mut next = Chunk::default();
        loop {
            let mut chunk = next;
            let more = self.fill(&mut chunk, &mut ended);
            next = Chunk {
                sequence: chunk.sequence + 1,
                first_index: chunk.first_index + chunk.lines.len() as u64,
                ..Chunk::default()
            };
            if chunk.lines.is_empty() {
                next.sequence = chunk.sequence;
            } else if tokens.recv().is_err() || chunks.send(chunk).is_err() {
                return ended;
            }
            if !more {
                return ended;
            }
        }
    }

    /// Adds lines until the chunk is full, the input pauses or ends; whether there may be more.
    fn fill(&mut self, chunk: &mut Chunk, ended: &mut Ended) -> bool {
        while chunk.lines.len() < CHUNK_LINES_MAX && chunk.bytes.len() < CHUNK_BYTES_MAX {
            if !chunk.lines.is_empty() && self.reader.buffer().is_empty() && !self.ready() {
                return true;
            }
            match self.read_line(chunk, ended.lines + 1) {
                Ok(true) => ended.lines += 1,
                Ok(false) => return false,
                Err(error) => {
                    ended.error = Some(error);
                    return false;
                }
            }
        }
        true
    }

    /// Whether a read would answer at once. In doubt, it would.
    fn ready(&self) -> bool {
        let mut fds = [PollFd::new(self.reader.get_ref(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_or(true, |ready| ready > 0)
    }

    /// Adds one line; `false` at the end of the input. A line that an error cut off is not added.
    fn read_line(&mut self, chunk: &mut Chunk, number: u64) -> std::io::Result<bool> {
        let start = chunk.bytes.len();
        let limit = LINE_BYTES_MAX as u64 + LINE_END_BYTES_MAX;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut chunk.bytes)?;
        let mut line = match &chunk.bytes[start..] {
            [] => return Ok(false),
            [line @ .., b'\n'] => line.strip_suffix(b"\r").unwrap_or(line),
            line if read as u64 == limit => {
                self.reader.skip_until(b'\n')?;
                line
            }
            line => line,
        };
        if line.len() > LINE_BYTES_MAX {
            chunk.bytes.truncate(start);
            chunk.lines.push(Line { number, range: None });
            return Ok(true);
        }
        let mut from = start;
        if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            from += BYTE_ORDER_MARK.len();
            line = &line[BYTE_ORDER_MARK.len()..];
        }
        let length = line.trim_ascii_end().len();
        if line.trim_ascii().is_empty() {
            chunk.bytes.truncate(start);
        } else {
            chunk.bytes.truncate(from + length);
            chunk.lines.push(Line { number, range: Some(from..from + length) });
        }
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;
    use std::io::{Seek, Write};

    /// What was cut from a file with this content.
    fn chunks_of(content: &[u8]) -> (Vec<Chunk>, Ended) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let ((give, tokens), (send, chunks)) = (unbounded(), unbounded());
        for _ in 0..64 {
            give.send(()).unwrap();
        }
        let ended = Source::new(file).cut(&tokens, &send);
        drop(send);
        (chunks.iter().collect(), ended)
    }

    fn texts(chunks: &[Chunk]) -> Vec<(u64, Option<String>)> {
        let text = |chunk: &Chunk, line: &Line| {
            (line.number, line.range.clone().map(|range| String::from_utf8(chunk.bytes[range].to_vec()).unwrap()))
        };
        chunks.iter().flat_map(|chunk| chunk.lines.iter().map(move |line| text(chunk, line))).collect()
    }

    #[test]
    fn empty_lines_are_numbered_and_not_kept_and_line_ends_of_windows_are_taken() {
        let (chunks, ended) = chunks_of(b"\xef\xbb\xbfone\r\n\r\n  \n two \nthree");
        let expected = [(1, "one"), (4, " two"), (5, "three")];
        assert_eq!(texts(&chunks), expected.map(|(number, text)| (number, Some(text.to_owned()))));
        assert_eq!((ended.lines, ended.error.is_none(), chunks.len()), (5, true, 1));
    }

    #[test]
    fn an_empty_input_has_no_chunk() {
        for content in [&b""[..], b"\n", b"\r\n\n  "] {
            assert!(chunks_of(content).0.is_empty());
        }
    }

    #[test]
    fn a_line_at_the_limit_is_taken_and_one_byte_more_is_passed_over() {
        let mut content = vec![b'a'; LINE_BYTES_MAX];
        content.extend_from_slice(b"\r\n");
        content.resize(content.len() + LINE_BYTES_MAX + 1, b'b');
        content.extend_from_slice(b"\nlast\n");
        content.resize(content.len() + 3 * LINE_BYTES_MAX, b'c');
        let (chunks, ended) = chunks_of(&content);
        let lines = texts(&chunks);
        assert_eq!(lines[0].1.as_ref().map(String::len), Some(LINE_BYTES_MAX));
        assert_eq!(lines[1..], [(2, None), (3, Some("last".into())), (4, None)]);
        assert_eq!(ended.lines, 4);
        assert!(chunks.iter().all(|chunk| chunk.bytes.len() <= CHUNK_BYTES_MAX + LINE_BYTES_MAX));
    }

    #[test]
    fn chunks_are_bounded_and_count_on() {
        let lines = 3 * CHUNK_LINES_MAX + 7;
        let content: String = (0..lines).map(|line| format!("{line}\n\n")).collect();
        let (chunks, ended) = chunks_of(content.as_bytes());
        assert_eq!(ended.lines, 2 * lines as u64);
        let mut index = 0;
        for (sequence, chunk) in chunks.iter().enumerate() {
            assert_eq!((chunk.sequence, chunk.first_index), (sequence as u64, index));
            assert!(chunk.lines.len() <= CHUNK_LINES_MAX);
            index += chunk.lines.len() as u64;
        }
        assert_eq!(index, lines as u64);
        assert_eq!(texts(&chunks)[CHUNK_LINES_MAX + 1].1, Some((CHUNK_LINES_MAX + 1).to_string()));
    }

    #[test]
    fn what_is_there_is_sent_when_the_input_pauses() {
        let (output, mut input) = std::io::pipe().unwrap();
        let ((give, tokens), (send, chunks)) = (unbounded(), unbounded());
        for _ in 0..4 {
            give.send(()).unwrap();
        }
        let reader = std::thread::spawn(move || Source::new(output).cut(&tokens, &send));
        input.write_all(b"first\n").unwrap();
        assert_eq!(texts(&[chunks.recv().unwrap()]), [(1, Some("first".into()))]);
        input.write_all(b"second\n").unwrap();
        assert_eq!(texts(&[chunks.recv().unwrap()]), [(2, Some("second".into()))]);
        drop(input);
        assert_eq!(reader.join().unwrap().lines, 2);
    }
}
