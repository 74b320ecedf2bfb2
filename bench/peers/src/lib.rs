//! What the peers share: the arguments, and reading the file of keys.

use std::collections::HashMap;
use std::net::SocketAddr;

/// `--listen ADDR:PORT --body BYTES --keys FILE`, in any order; what a peer does not need it leaves.
pub struct Arguments(HashMap<String, String>);

impl Arguments {
    /// Reads the command line. Panics where it is not a list of pairs: nobody calls this by hand.
    pub fn read() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let pairs = words.chunks(2).map(|pair| match pair {
            [name, value] => (name.trim_start_matches("--").to_owned(), value.clone()),
            _ => panic!("'{}' has no value", pair[0]),
        });
        Self(pairs.collect())
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("--{name} is missing"))
    }

    pub fn listen(&self) -> SocketAddr {
        self.text("listen").parse().expect("--listen is an address and a port")
    }

    pub fn body(&self) -> usize {
        self.text("body").parse().expect("--body is a number of bytes")
    }
}

/// The keys of the benchmark in clear with the number of their account: `KEY,ACCOUNT` a line. They
/// are made for the run and open nothing.
pub fn keys(path: &str) -> Vec<(String, usize)> {
    let text = std::fs::read_to_string(path).expect("the file of keys can be read");
    let line = |line: &str| {
        let (key, account) = line.split_once(',').expect("KEY,ACCOUNT");
        (key.to_owned(), account.parse().expect("accounts are numbers"))
    };
    text.lines().map(line).collect()
}
