//! A connection to the server as a client has it, and chance that can be had again.

use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take before the server counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer that arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A text in `data`.
    pub(crate) fn data(&self, name: &str) -> String {
        let body: Value = serde_json::from_str(&self.body).expect("an answer is JSON");
        body["data"][name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }

    /// The request that the change was made for, also if this is the answer to a later one.
    pub(crate) fn request_id(&self) -> String {
        let original = self.header("x-original-request-id").or(self.header("x-request-id"));
        original.expect("every answer has one").to_owned()
    }

    pub(crate) fn is_repeated(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }
}

/// One connection, kept open from request to request.
pub(crate) struct Line(BufReader<TcpStream>);

impl Line {
    pub(crate) fn to(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads the answer. An error means that nobody knows what became of it.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        key: &str,
        idempotency: Option<&str>,
        body: &str,
    ) -> Result<Answer> {
        let idempotency = idempotency.map(|key| format!("idempotency-key: {key}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n{}content-type: \
             application/json\r\ncontent-length: {}\r\n\r\n{body}",
            idempotency.unwrap_or_default(),
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    pub(crate) fn get(&mut self, path: &str, key: &str) -> Result<Answer> {
        self.send("GET", path, key, None, "")
    }

    fn answer(&mut self) -> Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, first))?;
        let mut headers = vec![];
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                headers.push((name.to_lowercase(), value.to_owned()));
            }
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
        Ok(Answer { status, headers, body })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            // Half a line is no answer.
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Chance from a seed: splitmix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Chance for somebody else, which does not depend on who asks when.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// One of them, if there is any.
    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(among.len() as u64)).expect("it is small");
        among.get(index)
    }
}
