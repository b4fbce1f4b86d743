//! Subscriptions: a cursor that walks up the heights, reading each from the state database.
//!
//! The broadcast of executed heights only wakes it, so that it does not matter whether a notice was missed, and a
//! subscriber from the first height on is the same as one from now on. A message is made when the one before it has
//! found its place towards the client: whoever reads slowly falls behind in heights and costs no memory.

use crate::rpc::error::AnswerError;
use crate::rpc::state::State;
use client::rpc::{ReceiptFilter, method};
use jsonrpsee::core::SubscriptionError;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{PendingSubscriptionSink, RpcModule, SubscriptionMessage};
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use types::Height;

/// How a subscription ends: quietly where the client left, with an error notification for a fault.
type Ended = Result<(), SubscriptionError>;

/// The next height of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    next: Height,
}

impl Cursor {
    /// From a height on, or from the one after the tip.
    fn new(from: Option<Height>, tip: Height) -> Self {
        Self { next: from.unwrap_or(tip.next()) }
    }

    /// The next height, if it is executed. Each height once, none left out.
    fn advance(&mut self, tip: Height) -> Option<Height> {
        let height = self.next;
        // Nothing is above the tip, so that the height after it exists.
        (height <= tip).then(|| {
            self.next = height.next();
            height
        })
    }
}

/// Subscription to [`method::HEADERS`]. Ends itself where the client leaves or the node stops.
pub(super) async fn headers(params: Params<'static>, pending: PendingSubscriptionSink, state: Arc<State>) -> Ended {
    match params.sequence().optional_next() {
        Ok(from) => {
            let read = |state: Arc<State>, height| async move {
                state.read(move |context| super::answers::header(&context.tables, height)).await
            };
            follow(pending, state, from, read).await
        }
        Err(error) => reject(pending, error).await,
    }
}

/// Subscription to [`method::RECEIPTS`].
pub(super) async fn receipts(params: Params<'static>, pending: PendingSubscriptionSink, state: Arc<State>) -> Ended {
    match receipts_params(&params) {
        Ok((from, filter)) => {
            let read = move |state: Arc<State>, height| async move {
                state.read(move |context| super::receipts::at(context, height, &filter)).await
            };
            follow(pending, state, from, read).await
        }
        Err(error) => reject(pending, error).await,
    }
}

/// Adds both subscriptions.
pub(super) fn register(module: &mut RpcModule<Arc<State>>) -> Result<(), jsonrpsee::core::RegisterMethodError> {
    let names = (method::SUBSCRIBE_HEADERS, method::HEADERS, method::UNSUBSCRIBE_HEADERS);
    module.register_subscription(names.0, names.1, names.2, |params, pending, state, _| {
        headers(params, pending, Arc::clone(&state))
    })?;
    let names = (method::SUBSCRIBE_RECEIPTS, method::RECEIPTS, method::UNSUBSCRIBE_RECEIPTS);
    module.register_subscription(names.0, names.1, names.2, |params, pending, state, _| {
        receipts(params, pending, Arc::clone(&state))
    })?;
    Ok(())
}

fn receipts_params(params: &Params<'_>) -> Result<(Option<Height>, ReceiptFilter), ErrorObjectOwned> {
    let mut sequence = params.sequence();
    Ok((sequence.optional_next()?, sequence.optional_next()?.unwrap_or_default()))
}

async fn reject(pending: PendingSubscriptionSink, error: ErrorObjectOwned) -> Ended {
    pending.reject(error).await;
    Ok(())
}

async fn follow<T, F>(
    pending: PendingSubscriptionSink,
    state: Arc<State>,
    from: Option<Height>,
    read: impl Fn(Arc<State>, Height) -> F,
) -> Ended
where
    T: Serialize,
    F: Future<Output = Result<Option<T>, AnswerError>>,
{
    // Listening comes before the first look at the tip: no height falls between the two.
    let mut heights = state.context.heights.subscribe();
    let mut cursor = Cursor::new(from, state.height());
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    loop {
        while let Some(height) = cursor.advance(state.height()) {
            let item = read(Arc::clone(&state), height).await;
            let item = item.map_err(|error| ErrorObjectOwned::from(error).message().to_owned())?;
            let Some(item) = item else { continue };
            let message = SubscriptionMessage::new(sink.method_name(), sink.subscription_id(), &item)?;
            if sink.send(message).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = sink.closed() => return Ok(()),
            // A notice that was missed says the same as one that was not: look again.
            notice = heights.recv() => if notice == Err(RecvError::Closed) { return Ok(()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(cursor: &mut Cursor, tip: u64) -> Vec<u64> {
        std::iter::from_fn(|| cursor.advance(Height(tip))).map(|height| height.0).collect()
    }

    #[test]
    fn without_a_start_only_new_heights_come() {
        let mut cursor = Cursor::new(None, Height(5));
        assert_eq!(walk(&mut cursor, 5), [0u64; 0]);
        assert_eq!(walk(&mut cursor, 7), [6, 7]);
    }

    #[test]
    fn from_a_height_on_nothing_is_left_out_and_nothing_comes_twice_however_notices_come() {
        let mut cursor = Cursor::new(Some(Height(2)), Height(4));
        assert_eq!(walk(&mut cursor, 4), [2, 3, 4]);
        assert_eq!(walk(&mut cursor, 4), [0u64; 0]);
        // The tip moved far while the subscriber was slow.
        assert_eq!(walk(&mut cursor, 9), [5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_start_above_the_tip_waits_for_it_and_the_end_of_numbers_is_no_panic() {
        let mut cursor = Cursor::new(Some(Height(8)), Height(4));
        assert_eq!(walk(&mut cursor, 7), [0u64; 0]);
        assert_eq!(walk(&mut cursor, 8), [8]);
        let mut last = Cursor::new(Some(Height(u64::MAX)), Height(4));
        assert_eq!(walk(&mut last, 1_000), [0u64; 0]);
    }

    #[test]
    fn parameters_may_be_left_out_or_null_and_a_misspelt_filter_is_refused() {
        let parse = |text: &'static str| receipts_params(&Params::new(Some(text)));
        assert_eq!(parse("[]").expect("nothing"), (None, ReceiptFilter::default()));
        assert_eq!(parse("[null, {}]").expect("nulls"), (None, ReceiptFilter::default()));
        assert_eq!(parse("[7]").expect("a height"), (Some(Height(7)), ReceiptFilter::default()));
        for wrong in ["[-1]", "[\"7\"]", "[7, {\"adress\": \"x\"}]", "[7, {\"transaction\": \"sha256:00\"}]"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
