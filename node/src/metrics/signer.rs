//! The signer's figures, read over a connection of their own, so that nobody who asks for them stands before a round's
//! signature; and at most a few times a second, however many ask.

use hsm::client::SignerClient;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How old figures may be.
const FRESH: Duration = Duration::from_millis(200);
/// Longest wait for the signer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A reading.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The figures; the last known ones while the signer does not answer.
    pub stats: hsm::Stats,
    /// Whether it answered.
    pub answering: bool,
}

/// See the module.
pub struct SignerFigures {
    socket: PathBuf,
    /// Held while the signer is asked: who comes meanwhile gets the same answer.
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    reading: Reading,
    read: Option<Instant>,
    client: Option<SignerClient>,
}

impl SignerFigures {
    /// Of the signer behind this socket. Does not connect yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, last: Mutex::default() }
    }

    /// The figures as of now, or nearly.
    pub async fn read(&self) -> Reading {
        let mut last = self.last.lock().await;
        if last.read.is_none_or(|read| read.elapsed() > FRESH) {
            let (client, socket) = (last.client.take(), self.socket.clone());
            // The client blocks. If the runtime ends under it there is nobody left to tell.
            let asked = tokio::task::spawn_blocking(move || {
                let client = client.map_or_else(|| SignerClient::connect_with(&socket, TIMEOUT), Ok).ok()?;
                client.stats().ok().map(|stats| (client, stats))
            });
            let answer = asked.await.ok().flatten();
            last.reading.answering = answer.is_some();
            if let Some((client, stats)) = answer {
                (last.client, last.reading.stats) = (Some(client), stats);
            }
            last.read = Some(Instant::now());
        }
        last.reading.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signer_that_is_not_there_is_told_and_does_not_fail() {
        let figures = SignerFigures::new(PathBuf::from("/nonexistent/signer.sock"));
        let reading = figures.read().await;
        assert!(!reading.answering);
        assert_eq!(reading.stats, hsm::Stats::default());
    }
}
