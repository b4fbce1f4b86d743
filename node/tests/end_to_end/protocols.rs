//! Bytes that speak no protocol, on every port; and the two protocols spoken by hand.

use crate::check::{headers_agree, nothing_is_missing};
use crate::load::Load;
use crate::network::{Network, Options};
use bytes::Bytes;
use client::rpc::method;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use transport::ClientLink;
use types::Hasher;

const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that mean nothing, the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let block = |index: usize| {
        *Hasher::new("stele/test/noise").with_encoded(&seed).with_encoded(&(index as u64)).finish().as_bytes()
    };
    (0..length.div_ceil(32)).flat_map(block).take(length).collect()
}

/// One HTTP request without a library, and the body of its answer.
pub fn http(server: SocketAddr, verb: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let answer = exchange(server, request.as_bytes());
    let answer = String::from_utf8_lossy(&answer);
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn exchange(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    // The server may hang up in the middle of what it cannot read.
    drop(stream.write_all(request));
    while let Ok(read @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..read]);
    }
    answer
}

/// Submits bytes that a client's types would not let through.
pub fn submit_raw(server: SocketAddr, raw: &[u8]) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method::SUBMIT, "params": [hex::encode(raw)]});
    let answer = http(server, "POST", "/", &request.to_string());
    // A chunked body has its length in front.
    let (start, end) = (answer.find('{').unwrap_or(0), answer.rfind('}').map_or(answer.len(), |at| at + 1));
    serde_json::from_str(&answer[start..end]).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_every_port_ends_the_session_that_sent_it_and_no_other() {
    let network = Network::start(Options::default()).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 50);
    load.acknowledges(20).await;
    let authority = network.nodes[0].authority.clone();
    let key = authority.transport_key.clone();
    for (seed, frame) in
        [noise(1, 100), noise(2, 60_000), vec![1], vec![], vec![1, 255, 255, 255, 255]].into_iter().enumerate()
    {
        let link = ClientLink::connect(authority.client_address, Some(key.clone())).await.unwrap();
        let hello = tokio::time::timeout(PATIENCE, link.recv()).await.unwrap();
        assert!(hello.is_some(), "frame {seed}: no greeting");
        link.send(Bytes::from(frame)).await.unwrap();
        let after = tokio::time::timeout(PATIENCE, link.recv()).await;
        assert_eq!(after, Ok(None), "frame {seed}: the session goes on");
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for seed in 0..2_000 {
        let datagram = noise(seed, 1 + (seed as usize * 7) % 1_400);
        socket.send_to(&datagram, authority.peer_address).unwrap();
        socket.send_to(&datagram, authority.client_address).unwrap();
    }
    for seed in 0..20 {
        exchange(authority.rpc_address, &noise(seed, 3_000));
    }
    load.acknowledges_at(0, 50).await;
    let outcomes = load.finish().await;
    assert_eq!(outcomes.unknown, 0, "another session was lost");
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    for node in &network.nodes {
        assert_eq!(node.status().await.peers_up, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_the_rpc_cannot_read_have_json_rpc_errors() {
    let network = Network::start(Options::default()).await;
    let server = network.nodes[0].authority.rpc_address;
    for (request, code) in [
        ("{", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stele_nothing","params":[]}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stele_account","params":["stele1nonsense"]}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stele_account","params":[]}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stele_header","params":["seven"]}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"stele_submit","params":["zz"]}"#, -32602),
    ] {
        let answer = http(server, "POST", "/", request);
        assert!(answer.contains(&format!("\"code\":{code}")), "{request}: {answer}");
    }
    let metrics = network.nodes[0].metrics();
    assert!(metrics.contains("# EOF") && metrics.contains("stele_"), "{metrics}");
}
