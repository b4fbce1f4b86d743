//! How the node is, by its own RPC: a question four times a second, and more often until it answers, in a thread of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

const QUESTION: &str = r#"{"jsonrpc":"2.0","id":1,"method":"stele_status","params":[]}"#;
const INTERVAL: Duration = Duration::from_millis(250);
/// Until the node is ready for the first time: a connection that is refused costs little.
const EAGER: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it takes part.
    pub ready: bool,
    /// Its round.
    pub round: u64,
    /// Its height.
    pub height: u64,
    /// The highest height with a certificate.
    pub certified_height: u64,
    /// Whether it gets on: its rounds advance, or it has nothing to do.
    pub gets_on: bool,
}

impl Health {
    fn parse(answer: &str) -> Option<Self> {
        let number = |key: &str| {
            let rest = answer.split_once(&format!("\"{key}\":"))?.1;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        };
        Some(Self {
            ready: answer.contains(r#""state":"ready""#),
            round: number("round")?,
            height: number("height")?,
            certified_height: number("certified_height")?,
            gets_on: ["stalled", "hung"].iter().all(|word| !answer.contains(&format!(r#""progress":"{word}""#))),
        })
    }
}

/// Asks for ever; silence stands for a node that does not answer.
pub fn watch(rpc: SocketAddr) -> Receiver<Health> {
    let (sender, receiver): (SyncSender<Health>, _) = sync_channel(4);
    std::thread::spawn(move || {
        let mut pause = EAGER;
        loop {
            if let Some(health) = ask(rpc) {
                if health.ready {
                    pause = INTERVAL;
                }
                if sender.send(health).is_err() {
                    return;
                }
            }
            std::thread::sleep(pause);
        }
    });
    receiver
}

fn ask(rpc: SocketAddr) -> Option<Health> {
    let mut stream = TcpStream::connect_timeout(&rpc, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let length = QUESTION.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {rpc}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{QUESTION}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).ok()?;
    Health::parse(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_an_error_is_not() {
        let text = r#"{"result":{"round":12,"height":7,"certified_height":6,"state":"ready","progress":"advancing"}}"#;
        let health = Health { ready: true, round: 12, height: 7, certified_height: 6, gets_on: true };
        assert_eq!(Health::parse(text), Some(health.clone()));
        for word in ["stalled", "hung"] {
            let stuck = Health::parse(&text.replace("advancing", word));
            assert_eq!(stuck, Some(Health { gets_on: false, ..health.clone() }), "{word}");
        }
        assert_eq!(Health::parse(r#"{"error":{"code":-32601}}"#), None);
    }
}
