//! The methods by name: reads parameters, asks, and writes the answer.

use crate::rpc::error::denied;
use crate::rpc::state::State;
use crate::rpc::{answers, contracts, follow, governance, proof, state_proof, status};
use client::rpc::{ChallengeInfo, HexBytes, HistoryCursor, Subject, Submitted, method};
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{Methods, RpcModule};
use std::sync::Arc;
use types::{Address, Digest, Epoch, GrantId, Height, ObjectId, StateKey, TransactionId};

/// Every method and subscription.
pub(super) fn all(state: &Arc<State>) -> Methods {
    let mut module = RpcModule::new(Arc::clone(state));
    register(&mut module).and_then(|()| follow::register(&mut module)).expect("every name is there once");
    module.into()
}

fn register(module: &mut RpcModule<Arc<State>>) -> Result<(), RegisterMethodError> {
    module.register_async_method(method::CHAIN, |_, state, _| async move {
        // A genesis may have many accounts to write down.
        state.read(|context| Ok(answers::chain(&context.plan))).await.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::GOVERNANCE, |_, state, _| async move {
        state.read(governance::of).await.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::STATUS, |_, state, _| async move {
        Ok::<_, ErrorObjectOwned>(status::of(&state).await)
    })?;
    module.register_async_method(method::SUBMIT, |params, state, _| async move {
        let HexBytes(raw) = params.one()?;
        submit(&state, raw).await
    })?;
    module.register_async_method(method::ACCOUNT, |params, state, _| async move {
        let (address, tip): (Address, _) = (params.one()?, state.height());
        let answer = state.read(move |context| answers::account(&context.tables, &address, tip)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::TRANSACTION, |params, state, _| async move {
        let id: TransactionId = params.one()?;
        let answer = state.read(move |context| answers::transaction(&context.tables, &id)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::HEADER, |params, state, _| async move {
        let height = optional_height(&params)?.unwrap_or_else(|| state.height());
        let answer = state.read(move |context| answers::header(&context.tables, height)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::PROOF, |params, state, _| async move {
        let (id, certified): (TransactionId, _) = (params.one()?, state.context.status.certified_height());
        let answer = state.read(move |context| proof::prove(&context.tables, &id, certified)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::STATE_PROOF, |params, state, _| async move {
        let key: StateKey = params.one()?;
        let answer = state.read(move |context| Ok(state_proof::prove(&context.snapshots, &key))).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::DOCUMENT, |params, state, _| async move {
        let document: Digest = params.one()?;
        let answer = state.read(move |context| answers::document(&context.tables, &document)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::OBJECT, |params, state, _| async move {
        let (object, tip): (ObjectId, _) = (params.one()?, state.height());
        let answer = state.read(move |context| contracts::object(&context.tables, object, tip)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::GRANT, |params, state, _| async move {
        let (grant, tip): (GrantId, _) = (params.one()?, state.height());
        let answer = state.read(move |context| contracts::grant(&context.tables, grant, tip)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::EVENTS, |params, state, _| async move {
        let id: TransactionId = params.one()?;
        let answer = state.read(move |context| contracts::events(&context.tables, &id)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::HISTORY, |params, state, _| async move {
        let mut params = params.sequence();
        let subject: Subject = params.next()?;
        let after: Option<HistoryCursor> = params.optional_next()?;
        let answer = state.read(move |context| contracts::history(&context.tables, &subject, after)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    module.register_async_method(method::ATTESTATION, |params, state, _| async move {
        let nonce: HexBytes = params.one()?;
        state.attestations.attest(&nonce).await
    })?;
    module.register_async_method(method::ENDORSEMENT, |_, state, _| async move {
        state.attestations.endorsement().await
    })?;
    module.register_async_method(method::ACTIVATE, |params, state, _| async move {
        let challenge: ChallengeInfo = params.one()?;
        state.attestations.activate(&challenge).await
    })?;
    module.register_async_method(method::EPOCHS, |params, state, _| async move {
        let from: Epoch = params.sequence().optional_next()?.unwrap_or_default();
        let answer = state.read(move |context| answers::epochs(&context.plan, &context.tables, from)).await;
        answer.map_err(ErrorObjectOwned::from)
    })?;
    Ok(())
}

fn optional_height(params: &Params<'_>) -> Result<Option<Height>, ErrorObjectOwned> {
    params.sequence().optional_next()
}

async fn submit(state: &State, raw: Vec<u8>) -> Result<Submitted, ErrorObjectOwned> {
    use crate::ingress::Denied;
    let context = &state.context;
    let taken = context.admission.submit(raw.into()).await;
    match taken {
        Ok(_) => {}
        Err(Denied::Rejected(reject)) => context.status.refused(reject, 1),
        Err(Denied::Busy { .. }) => context.status.busy(1),
    }
    taken.map(|id| Submitted { id }).map_err(denied)
}
