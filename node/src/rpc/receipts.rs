//! The receipts of one height that pass a subscriber's filter.
//!
//! A receipt holds an id and an outcome. Who sent the transaction and what it does stands in the blocks, which are read
//! from the log only where the filter asks for it, one block at a time.

use crate::node::Context;
use crate::rpc::answers::Rows;
use crate::rpc::error::AnswerError;
use client::rpc::{ReceiptFilter, ReceiptsInfo, TransactionInfo};
use types::{Address, Height, Payload, Receipt, Transaction, TransactionBody};

/// Receipts of an executed height; `None` where no receipt passes.
pub(super) fn at(
    context: &Context,
    height: Height,
    filter: &ReceiptFilter,
) -> Result<Option<ReceiptsInfo>, AnswerError> {
    let rows = Rows::of(&context.tables, height)?;
    let mut passing = by_id(&rows, filter);
    if !passing.is_empty() && (filter.address.is_some() || filter.document.is_some()) {
        let mut wanted = passing.iter().map(|info| info.index).peekable();
        let mut kept = Vec::new();
        each_transaction(context, height, |index, transaction| {
            if wanted.next_if_eq(&index).is_some() && transaction.is_some_and(|it| concerns(&it, filter)) {
                kept.push(index);
            }
        })?;
        passing.retain(|info| kept.binary_search(&info.index).is_ok());
    }
    Ok((!passing.is_empty()).then_some(ReceiptsInfo { height, receipts: passing }))
}

/// What the receipts alone can decide.
fn by_id(rows: &Rows, filter: &ReceiptFilter) -> Vec<TransactionInfo> {
    let wanted = |receipt: &Receipt| filter.transaction.is_none_or(|id| receipt.transaction == id);
    let numbered = rows.receipts.iter().zip(0..).filter(|(receipt, _)| wanted(receipt));
    numbered.map(|(receipt, index)| rows.info(index, receipt)).collect()
}

/// Whether a transaction has to do with the account and the document of a filter.
fn concerns(transaction: &Transaction, filter: &ReceiptFilter) -> bool {
    let certified = match transaction.body() {
        TransactionBody::Certify { document, .. } => Some(*document),
        TransactionBody::Transfer { .. } | TransactionBody::Govern { .. } | TransactionBody::Call(_) => None,
    };
    let named = |address: Address| match transaction.body() {
        TransactionBody::Transfer { to, .. } => *to == address,
        // What a call may touch, it declares.
        TransactionBody::Call(call) => call.access.iter().any(|access| access.key == address.into()),
        TransactionBody::Certify { .. } | TransactionBody::Govern { .. } => false,
    };
    filter.address.is_none_or(|address| transaction.is_signed_by(&address) || named(address))
        && filter.document.is_none_or(|document| Some(document) == certified)
}

/// Reads the transactions of a height in order, as the ledger executed them; `None` stands for bytes that are none.
fn each_transaction(
    context: &Context,
    height: Height,
    mut each: impl FnMut(u32, Option<Transaction>),
) -> Result<(), AnswerError> {
    let plan = &context.plan;
    let Some(record) = context.tables.commit_record(height)? else { return Ok(()) };
    let mut index = 0;
    for block in &record.blocks {
        let (_, payload) = context.archive.block(block)?.ok_or(AnswerError::Incomplete(height))?;
        let payload = Payload::parse(payload, usize::MAX)?;
        for raw in payload.transactions() {
            each(index, Transaction::parse(&plan.chain, raw).ok());
            index += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::answers::tests::Chain;
    use types::{Address, Amount, ChainId, Digest, SecretKey};

    #[test]
    fn of_a_height_that_was_given_up_the_error_says_where_to_begin_and_the_next_height_is_whole() {
        let chain = Chain::with_heights(&[3, 2]);
        let (gone, kept) = (chain.ids(Height(1)), chain.ids(Height(2)));
        assert!(gone.iter().any(|id| chain.tables.place(id).expect("a row").is_some()));
        let mut batch = chain.tables.batch();
        chain.tables.unlink(&mut batch, Height(1), &crate::tables::PrunedRows::default()).expect("rows");
        batch.prune_below(Height(0), Height(2));
        chain.tables.commit(batch).expect("a batch");
        let error = Rows::of(&chain.tables, Height(1)).map(drop).expect_err("it is gone");
        assert!(matches!(error, AnswerError::Pruned { height: Height(1), oldest: Height(2) }), "{error:?}");
        assert!(gone.iter().all(|id| chain.tables.place(id).expect("a row").is_none()));
        assert_eq!(Rows::of(&chain.tables, Height(2)).expect("it is kept").receipts.len(), 2);
        assert!(kept.iter().any(|id| chain.tables.place(id).expect("a row").is_some()));
        assert!(matches!(Rows::of(&chain.tables, Height(9)).map(drop), Err(AnswerError::Incomplete(_))));
    }

    #[test]
    fn a_filter_by_id_keeps_positions() {
        let chain = Chain::with_heights(&[3]);
        let rows = Rows::of(&chain.tables, Height(1)).expect("executed");
        let all = by_id(&rows, &ReceiptFilter::default());
        assert_eq!(all.iter().map(|info| info.index).collect::<Vec<_>>(), [0, 1, 2]);
        let wanted = ReceiptFilter { transaction: Some(chain.ids(Height(1))[2]), ..ReceiptFilter::default() };
        assert_eq!(by_id(&rows, &wanted), all[2..]);
    }

    #[test]
    fn a_transfer_concerns_both_of_its_sides_and_a_certificate_its_document() {
        let (chain, key) = (ChainId(Digest::sha256(b"chain")), SecretKey::ed25519_from_seed([1; 32]));
        let (to, stranger, document) =
            (Address::from_bytes([2; 32]), Address::from_bytes([3; 32]), Digest::sha256(b"d"));
        let sign = |body| Transaction::sign(&chain, &key, 60_000, 1, body).expect("a short memo");
        let transfer = sign(TransactionBody::Transfer { to, amount: Amount(1), memo: bytes::Bytes::new() });
        let certify = sign(TransactionBody::Certify { document, memo: bytes::Bytes::new() });
        let of = |address, document| ReceiptFilter { address, transaction: None, document };
        let sender = transfer.sender();
        for (filter, transfers, certifies) in [
            (of(None, None), true, true),
            (of(Some(sender), None), true, true),
            (of(Some(to), None), true, false),
            (of(Some(stranger), None), false, false),
            (of(None, Some(document)), false, true),
            (of(None, Some(Digest::ZERO)), false, false),
            (of(Some(sender), Some(document)), false, true),
            (of(Some(to), Some(document)), false, false),
        ] {
            assert_eq!(
                (concerns(&transfer, &filter), concerns(&certify, &filter)),
                (transfers, certifies),
                "{filter:?}"
            );
        }
    }
}
