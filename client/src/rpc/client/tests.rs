//! A client against a scripted RPC server over loopback: errors keep their meaning, and a subscription survives its
//! connection without a gap or a repetition.

use super::*;
use jsonrpsee::RpcModule;
use jsonrpsee::core::to_json_raw_value;
use jsonrpsee::server::{Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use std::sync::{Arc, Mutex};
use types::TransactionId;

async fn serve(module: RpcModule<()>) -> (ServerHandle, RpcClient) {
    let server = Server::builder().build("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", server.local_addr().expect("is bound"));
    (server.start(module), RpcClient::new(&url).expect("an address"))
}

fn receipts(height: u64) -> ReceiptsInfo {
    ReceiptsInfo { height: Height(height), receipts: Vec::new() }
}

#[tokio::test]
async fn a_subscription_goes_on_where_its_connection_broke_off() {
    let asked: Arc<Mutex<Vec<Option<u64>>>> = Arc::default();
    let seen = asked.clone();
    let mut module = RpcModule::new(());
    module
        .register_subscription(
            method::SUBSCRIBE_RECEIPTS,
            method::RECEIPTS,
            method::UNSUBSCRIBE_RECEIPTS,
            move |params, pending, _, _| {
                let seen = seen.clone();
                async move {
                    let (from, filter): (Option<u64>, ReceiptFilter) = params.parse()?;
                    assert_eq!(filter, ReceiptFilter::default());
                    seen.lock().expect("not poisoned").push(from);
                    let sink = pending.accept().await?;
                    // Two heights that are not neighbours, then a fault.
                    let from = from.unwrap_or(40);
                    for height in [from, from + 2] {
                        sink.send(to_json_raw_value(&receipts(height))?).await?;
                    }
                    Err("the node restarts".into())
                }
            },
        )
        .expect("a name that is free");
    let (_server, rpc) = serve(module).await;
    let mut follow = rpc.follow_receipts(None, ReceiptFilter::default()).await.expect("the server listens");
    let mut heights = Vec::new();
    for _ in 0..5 {
        heights.push(follow.next().await.expect("the server listens").height.0);
    }
    assert_eq!(heights, [40, 42, 43, 45, 46]);
    assert_eq!(asked.lock().expect("not poisoned")[..3], [None, Some(43), Some(46)]);
}

#[tokio::test]
async fn errors_keep_their_meaning() {
    let mut module = RpcModule::new(());
    let refuse = |_: jsonrpsee::types::Params<'_>, (): &(), _: &jsonrpsee::Extensions| {
        let data = crate::rpc::RejectData { reject: Reject::Expired };
        Err::<(), _>(ErrorObjectOwned::owned(crate::rpc::reject_code(Reject::Expired), "expired", Some(data)))
    };
    let busy = |_: jsonrpsee::types::Params<'_>, (): &(), _: &jsonrpsee::Extensions| {
        Err::<(), _>(ErrorObjectOwned::owned(BUSY_CODE, "busy", Some(BusyData { retry_after_ms: 70 })))
    };
    module.register_method(method::CHAIN, refuse).expect("a name that is free");
    module.register_method(method::STATUS, busy).expect("a name that is free");
    module.register_method(method::ACCOUNT, |_, (), _| "not an account").expect("a name that is free");
    module.register_method(method::TRANSACTION, |_, (), _| Option::<u8>::None).expect("a name that is free");
    let (server, rpc) = serve(module).await;
    let id = TransactionId(Digest::ZERO);
    assert!(matches!(rpc.chain().await, Err(RpcError::Refused(Reject::Expired))));
    assert!(matches!(rpc.status().await, Err(RpcError::Busy { retry_after_ms: 70 })));
    assert!(matches!(rpc.transaction(&id).await, Ok(None)));
    let account = rpc.account(&Address::from_bytes([0; 32])).await;
    assert!(matches!(account, Err(RpcError::Unreadable { method: method::ACCOUNT, .. })));
    assert!(matches!(rpc.proof(&id).await, Err(RpcError::Answer { code: -32_601, .. })));
    server.stop().expect("runs");
    server.stopped().await;
    assert!(matches!(rpc.chain().await, Err(RpcError::Unreachable { .. })));
}

#[test]
fn addresses_are_taken_with_or_without_a_scheme_and_tls_is_refused() {
    for url in ["http://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/", "ws://127.0.0.1:1"] {
        assert_eq!(RpcClient::new(url).expect("an address").url(), "http://127.0.0.1:1");
    }
    for url in ["", "http://", "https://127.0.0.1:1", "ftp://127.0.0.1:1"] {
        assert!(matches!(RpcClient::new(url), Err(RpcError::Url { .. })), "{url}");
    }
}
