//! The end of a log that was put together from elsewhere: a backup, or the parts that peers gave.

use crate::records::RESTORED;
use std::sync::mpsc::sync_channel;
use storage::log::{Log, LogFault};

/// Ends a log that was put together from elsewhere with [`RESTORED`], and waits until all of it is durable.
///
/// # Errors
/// Why the log takes no more.
pub fn end(log: &Log) -> Result<(), LogFault> {
    let (sender, durable) = sync_channel(1);
    let told = move |result| {
        // Whoever waits has not gone away.
        let _ = sender.send(result);
    };
    log.append(RESTORED, &[], Box::new(told))?;
    durable.recv().unwrap_or(Err(LogFault::Closed)).map(drop)
}
