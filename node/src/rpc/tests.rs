//! The port, spoken to as a stranger does, in front of methods and pages of its own.

use super::*;
use jsonrpsee::RpcModule;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct TestPort {
    address: SocketAddr,
    connections: Arc<Semaphore>,
    server: Server,
}

impl TestPort {
    async fn open(places: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut module = RpcModule::new(());
        let echo = |params: jsonrpsee::types::Params<'_>, _: &(), _: &_| params.one::<String>();
        module.register_method("echo", echo).expect("one method");
        let pages =
            |path: String| async move { (path == "/health").then(|| pages::empty(hyper::StatusCode::NO_CONTENT)) };
        let (stop, handle) = stop_channel();
        let builder = ServerBuilder::with_config(limits()).to_service_builder();
        let port = Port { builder, methods: module.into(), pages, stop };
        let connections = Arc::new(Semaphore::new(places));
        let accepting = tokio::spawn(port.accept(listener, Arc::clone(&connections)));
        Self { address, connections, server: Server { handle, accepting } }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Everything that comes back for these bytes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("HTTP and JSON")
    }

    async fn get(&self, path: &str) -> String {
        self.say(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
    }

    async fn post(&self, body: &str) -> String {
        let length = body.len();
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
        self.say(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await
    }
}

fn call(text: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[\"{text}\"]}}")
}

#[tokio::test]
async fn calls_and_pages_share_the_port() {
    let port = TestPort::open(8).await;
    let answer = port.post(&call("hello")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"result\":\"hello\""), "{answer}");
    assert!(port.get("/health").await.starts_with("HTTP/1.1 204"));
    assert!(port.get("/elsewhere").await.starts_with("HTTP/1.1 405"));
    port.server.stop().await;
}

#[tokio::test]
async fn what_is_too_much_or_no_json_is_refused_and_the_port_lives_on() {
    let port = TestPort::open(8).await;
    let too_long = port.post(&call(&"a".repeat(REQUEST_BYTES_MAX as usize))).await;
    assert!(too_long.is_empty() || too_long.contains("413") || too_long.contains("too big"), "{too_long}");
    let too_many = port.post(&format!("[{}]", vec![call("a"); BATCH_CALLS_MAX as usize + 1].join(","))).await;
    assert!(too_many.contains("error") && !too_many.contains("result"), "{too_many}");
    assert!(port.post("{").await.contains("-32700"));
    assert!(port.post("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"absent\"}").await.contains("-32601"));
    assert!(port.post("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[7]}").await.contains("-32602"));
    assert!(port.say(b"\x16\x03\x01\x02\x00 this is TLS").await.contains("400"));
    assert!(port.post(&call("hello")).await.contains("hello"));
    port.server.stop().await;
}

#[tokio::test]
async fn without_a_place_a_connection_is_closed_at_once_and_a_place_comes_back() {
    let port = TestPort::open(1).await;
    let mut first = port.connect().await;
    // One byte proves that the first connection was taken before the second knocks.
    first.write_all(b"G").await.expect("open");
    while port.connections.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(port.get("/health").await, "");
    drop(first);
    while port.connections.available_permits() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(port.get("/health").await.starts_with("HTTP/1.1 204"));
    port.server.stop().await;
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_frees_the_port() {
    let port = TestPort::open(8).await;
    let mut idle = port.connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.expect("an answer");
    let address = port.address;
    port.server.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed in good order");
    drop(idle);
    TcpListener::bind(address).await.expect("the port is free again");
}
