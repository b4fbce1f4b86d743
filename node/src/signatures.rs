//! Transactions and their signatures: a transaction may have several, and is valid where all of them are.
//!
//! Deliberately absent: verification, which is `accel`'s.

use accel::Item;
use types::Transaction;

/// What is to be verified of transactions, in order.
pub fn items<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Vec<Item> {
    let mut items = Vec::new();
    for transaction in transactions {
        let message = transaction.message();
        items.extend(transaction.claims().map(|(key, signature)| Item {
            key: key.clone(),
            message: message.into(),
            signature: signature.clone(),
        }));
    }
    items
}

/// One verdict for each transaction, from those on [`items`] of the same transactions.
pub fn verdicts<'a>(
    transactions: impl IntoIterator<Item = &'a Transaction>,
    items: impl IntoIterator<Item = bool>,
) -> Vec<bool> {
    let mut items = items.into_iter();
    // A verdict that is missing is none in favour.
    let all = |count| (0..count).fold(true, |all, _| items.next().unwrap_or(false) & all);
    transactions.into_iter().map(|transaction| transaction.claim_count()).map(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Amount, Call, ChainId, Digest, SecretKey, Step, TransactionBody};

    /// A call that the first and `others` more sign.
    fn transaction(others: u8) -> Transaction {
        let keys: Vec<SecretKey> = (0..=others).map(|seed| SecretKey::ed25519_from_seed([seed; 32])).collect();
        let address = |key: &SecretKey| key.public_key().address();
        let steps = vec![Step::Pay {
            from: address(&keys[0]),
            to: address(&SecretKey::ed25519_from_seed([9; 32])),
            amount: Amount(1),
        }];
        let cosigners = keys[1..].iter().map(SecretKey::public_key).collect();
        let call = Call::new(&address(&keys[0]), cosigners, steps, Default::default());
        let chain = ChainId(Digest::sha256(b"chain"));
        let keys: Vec<&SecretKey> = keys.iter().collect();
        Transaction::sign_together(&chain, &keys, 1, 1, TransactionBody::Call(Box::new(call))).expect("canonical")
    }

    #[test]
    fn every_signature_is_verified_and_each_counts_for_its_own_transaction() {
        let transactions = [transaction(0), transaction(2), transaction(0), transaction(7)];
        let items = items(&transactions);
        assert_eq!(items.len(), 1 + 3 + 1 + 8);
        let valid =
            |item: &Item| transactions.iter().any(|it| it.claims().any(|claim| claim == (&item.key, &item.signature)));
        assert!(items.iter().all(valid));
        assert_eq!(verdicts(&transactions, vec![true; 13]), [true; 4]);
        for (wrong, whose) in [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (12, 3)] {
            let each = (0..13).map(|item| item != wrong);
            let expected: Vec<bool> = (0..4).map(|it| it != whose).collect();
            assert_eq!(verdicts(&transactions, each), expected, "signature {wrong}");
        }
        assert_eq!(verdicts(&transactions, vec![true; 12]), [true, true, true, false]);
    }
}
