//! One request and its answer, byte for byte, over a connection of its own: what a client library
//! would put right by itself must reach the server as it is.

use crate::cell::PATIENCE;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// A request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Option<Vec<u8>>,
}

/// An answer.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string().as_bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: cell\r\n", self.method, self.target);
        bytes.push_str("connection: close\r\n");
        let mut bytes = bytes.into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Makes the request, and reads the answer.
    #[track_caller]
    pub(crate) fn exchange(&self, address: SocketAddr) -> Reply {
        let bytes = exchange(address, &self.bytes());
        Reply::read(&bytes, self.method == "HEAD")
            .unwrap_or_else(|| panic!("{self:?}: {:?}", String::from_utf8_lossy(&bytes)))
    }

    /// Makes the request; nothing if what comes back is not an answer.
    pub(crate) fn try_exchange(&self, address: SocketAddr) -> Option<Reply> {
        Reply::read(&exchange(address, &self.bytes()), self.method == "HEAD")
    }
}

/// Sends `bytes`, and reads until the server closes the connection, which it must do in time.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // The server may have answered and closed before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(
            error.kind(),
            ErrorKind::ConnectionReset,
            "not closed in time: {error}"
        );
    }
    let _ = stream.shutdown(Shutdown::Both);
    answer
}

impl Reply {
    /// Reads an answer; nothing if it is none.
    pub(crate) fn read(bytes: &[u8], is_head: bool) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()?
            .strip_prefix("HTTP/1.1 ")?
            .get(..3)?
            .parse()
            .ok()?;
        let headers: BTreeMap<String, String> = lines
            .map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect::<Option<_>>()?;
        let body = bytes[end + 4..].to_vec();
        let length = headers.get("content-length").map(|it| it.parse().ok());
        if !is_head && length.is_some_and(|length| length != Some(body.len())) {
            return None;
        }
        Some(Self {
            status,
            headers,
            body,
        })
    }

    /// Returns the body, which must be JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns the body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        self.json()
    }

    /// Checks that this is a refusal of a status and a kind, in the one shape of errors, and returns
    /// its text.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, kind: &str) -> String {
        let error = self.expect(status)["error"].clone();
        assert_eq!(error["reason"]["kind"], kind, "{error}");
        error["message"].as_str().unwrap().to_owned()
    }
}
