//! A stand-in for an S3-compatible store, as far as a depot asks one: objects are put, got and removed. What it was sent is
//! kept, and answers can be scripted.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What it holds and was asked.
#[derive(Default)]
pub struct Seen {
    /// Objects by path.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Method and path of each request.
    pub requests: Vec<String>,
    /// Authorization of each request.
    pub authorizations: Vec<String>,
    /// Statuses to answer with instead of doing what is asked.
    pub scripted: VecDeque<u16>,
}

/// See the module. It ends with the test's process.
#[derive(Clone)]
pub struct StandIn {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has seen.
    pub seen: Arc<Mutex<Seen>>,
}

impl StandIn {
    /// Starts it.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let store = Self { address: listener.local_addr().expect("it is bound"), seen: Arc::default() };
        let served = store.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&served.seen);
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        store
    }

    /// A file with this endpoint and credentials, of mode 0600.
    pub fn file(&self, dir: &std::path::Path, secret: &str) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("s3.toml");
        let text = format!(
            "endpoint = \"http://{}\"\nallow_http = true\naccess_key_id = \"an-id\"\nsecret_access_key = \"{secret}\"\n",
            self.address
        );
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a file");
        path
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Seen>) {
    let mut out = stream.try_clone().expect("a socket");
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (method, path) = (method.to_owned(), path.split('?').next().unwrap_or_default().to_owned());
        let (mut length, mut authorization) = (0, String::new());
        loop {
            let mut header = String::new();
            input.read_line(&mut header).expect("a header");
            let Some((name, value)) = header.trim().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().expect("a number"),
                "authorization" => value.trim().clone_into(&mut authorization),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body).expect("a body");
        let mut seen = seen.lock().expect("no test panics while it holds this");
        seen.requests.push(format!("{method} {path}"));
        seen.authorizations.push(authorization);
        let (status, answer) = match (seen.scripted.pop_front(), method.as_str()) {
            (Some(status), _) => (status, Vec::new()),
            (None, "PUT") => {
                seen.objects.insert(path, body);
                (200, Vec::new())
            }
            (None, "GET") => seen.objects.get(&path).map_or((404, Vec::new()), |object| (200, object.clone())),
            (None, "DELETE") => {
                seen.objects.remove(&path);
                (204, Vec::new())
            }
            (None, _) => (405, Vec::new()),
        };
        drop(seen);
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\netag: \"1\"\r\nlast-modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n",
            answer.len()
        );
        out.write_all(head.as_bytes()).and_then(|()| out.write_all(&answer)).expect("the client reads");
    }
}
