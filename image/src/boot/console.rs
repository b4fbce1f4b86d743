//! What a machine prints, line by line. A question has no end of line behind it: it counts when nothing more has come for a
//! while, and once.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How long a line without an end must stand before it counts.
const STANDS: Duration = Duration::from_millis(300);

/// Of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line with its end.
    Line(String),
    /// All of a line so far.
    Part(String),
}

/// Hands on what comes, until there is no more.
pub(super) fn follow(mut output: impl Read, sender: &Sender<Piece>) {
    let (mut line, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = output.read(&mut chunk) {
        line.extend(&chunk[..length]);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(&line[..end]).trim_end().to_owned();
            line.drain(..=end);
            if sender.send(Piece::Line(text)).is_err() {
                return;
            }
        }
        if !line.is_empty() && sender.send(Piece::Part(String::from_utf8_lossy(&line).into_owned())).is_err() {
            return;
        }
    }
}

/// A line, and whether it is one that was waited for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) line: String,
    pub(super) wanted: bool,
}

/// The outputs of a machine.
#[derive(Debug)]
pub(super) struct Console {
    pieces: Receiver<Piece>,
    part: String,
    /// What of the unfinished line has counted already.
    counted: usize,
}

impl Console {
    pub(super) fn new(pieces: Receiver<Piece>) -> Self {
        Self { pieces, part: String::new(), counted: 0 }
    }

    /// The next line; none when the time is over or there is no more.
    pub(super) fn next(&mut self, texts: &[&str], deadline: Instant) -> Option<Said> {
        let wanted = |line: &str| texts.iter().any(|text| line.contains(text));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let fresh = self.part.get(self.counted..).unwrap_or_default();
            let asked = wanted(fresh);
            match self.pieces.recv_timeout(if asked { left.min(STANDS) } else { left }) {
                Ok(Piece::Line(line)) => {
                    let line = line.get(self.counted..).unwrap_or_default().to_owned();
                    (self.part, self.counted) = (String::new(), 0);
                    return Some(Said { wanted: wanted(&line), line });
                }
                Ok(Piece::Part(part)) => self.part = part,
                Err(RecvTimeoutError::Timeout) if asked => {
                    let line = fresh.to_owned();
                    self.counted = self.part.len();
                    return Some(Said { line, wanted: true });
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_question_counts_once_and_a_line_that_goes_on_does_not() {
        let (sender, pieces) = channel();
        let mut console = Console::new(pieces);
        follow(&b"one\r\nPIN: "[..], &sender);
        let deadline = Instant::now() + Duration::from_secs(5);
        let said = |line: &str, wanted| Some(Said { line: line.to_owned(), wanted });
        assert_eq!(console.next(&["PIN"], deadline), said("one", false));
        assert_eq!(console.next(&["PIN"], deadline), said("PIN: ", true));
        sender.send(Piece::Line("PIN: done".to_owned())).unwrap();
        assert_eq!(console.next(&["PIN"], deadline), said("done", false));
        for piece in [Piece::Part("READY hei".to_owned()), Piece::Line("READY height=7".to_owned())] {
            sender.send(piece).unwrap();
        }
        assert_eq!(console.next(&["READY"], deadline), said("READY height=7", true));
        drop(sender);
        assert_eq!(console.next(&["READY"], deadline), None);
    }
}
