//! An input as a row of pieces, one a line: seeds can be read and written by people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lines of the input, taken from the front.
pub struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    #[must_use]
    pub const fn of(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next line, without its end; empty when there is no more.
    pub fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    /// The next line as text, if it is one.
    pub fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.line()).ok()
    }

    /// The next byte; 0 when there is no more.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number of the next eight bytes.
    pub fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| (number << 8) | u64::from(self.byte()))
    }

    /// An address: of one of the kinds that matter, or of the bytes that follow.
    pub fn address(&mut self) -> IpAddr {
        match self.byte() {
            b'4' => Ipv4Addr::from_octets(std::array::from_fn(|_| self.byte())).into(),
            b'6' => Ipv6Addr::from_octets(std::array::from_fn(|_| self.byte())).into(),
            b'm' => {
                let v4 = Ipv4Addr::from_octets(std::array::from_fn(|_| self.byte()));
                v4.to_ipv6_mapped().into()
            }
            b'p' => Ipv4Addr::new(10, 0, 0, self.byte()).into(),
            b'l' => Ipv6Addr::LOCALHOST.into(),
            other => Ipv4Addr::new(192, 0, 2, other).into(),
        }
    }

    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
