//! Objects, grants, and what has happened to them.

use crate::rpc::answers::{Rows, executed, value};
use crate::rpc::error::AnswerError;
use crate::tables::{Place, Tables};
use client::rpc::{EventsInfo, GrantInfo, HISTORY_MAX, HistoryCursor, ObjectInfo, Subject};
use ledger::Value;
use types::{GrantId, Height, ObjectId, TransactionId};

/// An object, if there is one, and the height after which it is so.
pub(super) fn object(tables: &Tables, object: ObjectId, tip: Height) -> Result<Option<ObjectInfo>, AnswerError> {
    let (value, height) = value(tables, &object.into(), tip)?;
    let Some(Value::Object(value)) = value else { return Ok(None) };
    Ok(Some(ObjectInfo::new(object, &value, height)))
}

/// A grant, if there ever was one, and the height after which it is so.
pub(super) fn grant(tables: &Tables, grant: GrantId, tip: Height) -> Result<Option<GrantInfo>, AnswerError> {
    let (value, height) = value(tables, &grant.into(), tip)?;
    let Some(Value::Grant(value)) = value else { return Ok(None) };
    Ok(Some(GrantInfo::new(grant, &value, height)))
}

/// What a transaction emitted, if it was executed.
pub(super) fn events(tables: &Tables, id: &TransactionId) -> Result<Option<EventsInfo>, AnswerError> {
    tables.place(id)?.map(|place| at(tables, place)).transpose()
}

/// A page of the transactions whose events are about a subject.
pub(super) fn history(
    tables: &Tables,
    subject: &Subject,
    after: Option<HistoryCursor>,
) -> Result<Vec<EventsInfo>, AnswerError> {
    let from = match after {
        None => Place { height: Height(0), index: 0 },
        Some(HistoryCursor { height, index }) => match index.checked_add(1) {
            Some(index) => Place { height, index },
            None => Place { height: Height(height.0.saturating_add(1)), index: 0 },
        },
    };
    let places = tables.history(&subject.key(), from, HISTORY_MAX)?;
    places.into_iter().map(|place| at(tables, place)).collect()
}

fn at(tables: &Tables, place: Place) -> Result<EventsInfo, AnswerError> {
    let transaction = executed(&Rows::of(tables, place.height)?, place)?;
    Ok(EventsInfo { transaction, events: tables.events(place)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::answers::tests::Chain;
    use types::{Address, Amount, Digest, LedgerEvent, Object, ObjectRights};

    fn burned(object: ObjectId, units: u128) -> LedgerEvent {
        LedgerEvent::Burned { object, owner: Address::from_bytes([1; 32]), quantity: Amount(units) }
    }

    #[test]
    fn an_object_is_answered_with_its_height_and_nothing_where_there_is_none() {
        let chain = Chain::with_heights(&[1, 1]);
        let id = ObjectId::from_bytes([3; 32]);
        let owner = Address::from_bytes([1; 32]);
        let rights = ObjectRights { transferable: true, divisible: false };
        let value =
            Object { owner, issuer: owner, asset: Digest::ZERO, content: Digest::ZERO, quantity: Amount(4), rights };
        let mut batch = chain.tables.batch();
        batch.value(&id.into(), Some(&value.into()));
        chain.tables.commit(batch).expect("a batch");
        let found = object(&chain.tables, id, Height(0)).expect("an answer").expect("an object");
        assert_eq!((found.quantity, found.transferable, found.height), (Amount(4), true, Height(2)));
        assert_eq!(object(&chain.tables, ObjectId::from_bytes([4; 32]), Height(0)).expect("an answer"), None);
        assert_eq!(grant(&chain.tables, GrantId::from_bytes([3; 32]), Height(0)).expect("an answer"), None);
    }

    #[test]
    fn a_history_is_read_page_by_page_and_holds_its_own_subject_alone() {
        let chain = Chain::with_heights(&[3, 2]);
        let (one, other) = (ObjectId::from_bytes([3; 32]), ObjectId::from_bytes([5; 32]));
        let mut batch = chain.tables.batch();
        for (height, index, object) in [(1, 1, one), (1, 2, other), (2, 0, one), (2, 1, one)] {
            batch.events(Place { height: Height(height), index }, &[burned(object, height.into())]);
        }
        chain.tables.commit(batch).expect("a batch");
        let read = |object, after| history(&chain.tables, &Subject::Object(object), after).expect("a history");
        let places = |infos: &[EventsInfo]| -> Vec<_> {
            infos.iter().map(|info| (info.transaction.height.0, info.transaction.index)).collect()
        };
        let all = read(one, None);
        assert_eq!(places(&all), [(1, 1), (2, 0), (2, 1)]);
        assert_eq!(all[1].events, [burned(one, 2)]);
        assert_eq!(all[1].transaction.id, chain.ids(Height(2))[0]);
        assert_eq!(places(&read(other, None)), [(1, 2)]);
        let cursor = |height, index| Some(HistoryCursor { height: Height(height), index });
        assert_eq!(places(&read(one, cursor(1, 1))), [(2, 0), (2, 1)]);
        assert_eq!(places(&read(one, cursor(2, u32::MAX))), []);
        assert_eq!(read(ObjectId::from_bytes([6; 32]), None), []);
    }
}
