//! Queries, answered from the rows of the state database. Blocking; see [`State::read`](super::state::State::read).

use crate::config::Plan;
use crate::rpc::error::AnswerError;
use crate::tables::{Place, Tables};
use client::rpc::{
    AccountInfo, ChainInfo, DOCUMENT_TRANSACTIONS_MAX, EPOCHS_MAX, EpochInfo, HeaderInfo, HexBytes, TransactionInfo,
    ValidatorAddresses, ValidatorInfo,
};
use ledger::Value;
use types::{
    Address, AuthorityIndex, Committee, Digest, Epoch, EpochStart, Height, LedgerHeader, Receipt, StateKey,
    TransactionId,
};

/// A longer genesis is not given out: its accounts can make it megabytes long.
const GENESIS_BYTES_MAX: usize = 256 << 10;

fn validators(committee: &Committee) -> Vec<ValidatorInfo> {
    let validator = |(index, authority): (usize, &types::Authority)| ValidatorInfo {
        index: AuthorityIndex(index as u16),
        name: authority.name.clone(),
        consensus_key: authority.consensus_key.clone(),
        transport_key: authority.transport_key.clone(),
        stake: authority.stake,
        addresses: ValidatorAddresses {
            peer: authority.peer_address,
            client: authority.client_address,
            rpc: authority.rpc_address,
        },
    };
    committee.authorities().iter().enumerate().map(validator).collect()
}

pub(super) fn chain(plan: &Plan) -> ChainInfo {
    ChainInfo {
        chain: plan.chain,
        name: plan.genesis.name.clone(),
        epoch: plan.committee.epoch(),
        parameters: plan.epoch.parameters.clone(),
        validators: validators(&plan.committee),
        genesis_toml: Some(plan.genesis.to_toml()).filter(|text| text.len() <= GENESIS_BYTES_MAX),
    }
}

/// Epochs that have begun, from one on.
pub(super) fn epochs(plan: &Plan, tables: &Tables, from: Epoch) -> Result<Vec<EpochInfo>, AnswerError> {
    let info = |start: &EpochStart, change| EpochInfo {
        epoch: start.epoch(),
        first_height: start.anchor.height.next(),
        parameters: start.parameters.clone(),
        validators: validators(&start.committee),
        change,
    };
    let mut found = Vec::new();
    let genesis = EpochStart::first(&plan.genesis).expect("the plan was made with it");
    if from <= genesis.epoch() {
        found.push(info(&genesis, None));
    }
    for epoch in from.0.max(genesis.epoch().0 + 1)..=plan.epoch.epoch().0 {
        if found.len() == EPOCHS_MAX {
            break;
        }
        let Some(change) = tables.epoch_change(Epoch(epoch))? else { break };
        found.push(info(&change.start, Some(HexBytes::encode(&change))));
    }
    Ok(found)
}

/// An account, and the height after which it is so. `tip` is a height whose rows are known to be written.
pub(super) fn account(tables: &Tables, address: &Address, tip: Height) -> Result<Option<AccountInfo>, AnswerError> {
    let (value, height) = value(tables, &(*address).into(), tip)?;
    let account = value.as_ref().and_then(Value::account);
    Ok(account.map(|account| AccountInfo { address: *address, balance: account.balance, height }))
}

/// What a key holds, and the height after which it does. `tip` is a height whose rows are known to be written.
pub(super) fn value(tables: &Tables, key: &StateKey, tip: Height) -> Result<(Option<Value>, Height), AnswerError> {
    let mut height = tip;
    loop {
        let value = tables.value(key)?;
        // The rows of a height appear at once: while the next header is not there, the value is of this height.
        if tables.header(height.next())?.is_none() {
            return Ok((value, height));
        }
        height = height.next();
    }
}

pub(super) fn header(tables: &Tables, height: Height) -> Result<Option<HeaderInfo>, AnswerError> {
    let Some(header) = tables.header(height)? else { return Ok(None) };
    let certificate = tables.certificate(height)?.map(|certificate| HexBytes::encode(&certificate));
    Ok(Some(HeaderInfo { height, digest: header.digest(), encoded: HexBytes::encode(&header), certificate, header }))
}

pub(super) fn transaction(tables: &Tables, id: &TransactionId) -> Result<Option<TransactionInfo>, AnswerError> {
    tables.place(id)?.map(|place| executed(&Rows::of(tables, place.height)?, place)).transpose()
}

pub(super) fn document(tables: &Tables, document: &Digest) -> Result<Vec<TransactionInfo>, AnswerError> {
    let (mut found, mut rows) = (Vec::new(), None::<Rows>);
    for place in tables.document(document, DOCUMENT_TRANSACTIONS_MAX)? {
        // Places are in order of height, so that the rows of each are read once.
        let current = match rows.take().filter(|rows| rows.header.height == place.height) {
            Some(rows) => rows,
            None => Rows::of(tables, place.height)?,
        };
        found.push(executed(&current, place)?);
        rows = Some(current);
    }
    Ok(found)
}

/// What is kept of a height that was executed.
pub(super) struct Rows {
    pub(super) header: LedgerHeader,
    pub(super) receipts: Vec<Receipt>,
}

impl Rows {
    /// Of a height that some other row says was executed.
    pub(super) fn of(tables: &Tables, height: Height) -> Result<Self, AnswerError> {
        let (header, receipts) = (tables.header(height)?, tables.receipts(height)?);
        let (Some(header), Some(receipts)) = (header, receipts) else {
            let oldest = tables.pruned_below()?;
            let gone = height < oldest;
            return Err(if gone { AnswerError::Pruned { height, oldest } } else { AnswerError::Incomplete(height) });
        };
        Ok(Self { header, receipts })
    }

    /// The receipt at a position.
    pub(super) fn receipt(&self, index: u32) -> Result<&Receipt, AnswerError> {
        self.receipts.get(index as usize).ok_or(AnswerError::Incomplete(self.header.height))
    }

    /// What became of the transaction at a position.
    pub(super) fn info(&self, index: u32, receipt: &Receipt) -> TransactionInfo {
        TransactionInfo {
            id: receipt.transaction,
            height: self.header.height,
            index,
            outcome: receipt.outcome.into(),
            time_ms: self.header.timestamp.0,
        }
    }
}

pub(super) fn executed(rows: &Rows, place: Place) -> Result<TransactionInfo, AnswerError> {
    Ok(rows.info(place.index, rows.receipt(place.index)?))
}

#[cfg(test)]
pub(super) mod tests;
