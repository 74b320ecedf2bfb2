//! Which trace a request belongs to: the id in its `traceparent` header (W3C Trace Context, level 1).
//!
//! A caller that traces its requests finds ours by it. What is not exactly of that form is no trace, and
//! of what is, the ids of trace and parent and one flag are kept, 25 bytes: nothing else that a stranger
//! sends gets from here into a log.

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// What a caller says of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: TraceId,
    /// The step of it that asks.
    pub parent: [u8; 8],
    /// The caller keeps its own part.
    pub is_sampled: bool,
}

impl TraceParent {
    /// The trace of a request, if its header names one. Two headers name none.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let parent = all.next()?;
        if all.next().is_some() { None } else { Self::parse(parent.as_bytes()) }
    }

    /// Reads `00-{trace id}-{parent id}-{flags}`, in lower case. Later versions may add to the end.
    fn parse(parent: &[u8]) -> Option<Self> {
        let (known, more) = parent.split_at_checked(55)?;
        let is_version_0 = known.starts_with(b"00");
        let is_end = more.is_empty() || !is_version_0 && more[0] == b'-';
        let hyphens = [known[2], known[35], known[52]];
        if !is_end || known.starts_with(b"ff") || hyphens != [b'-'; 3] {
            return None;
        }
        let [_version] = bytes(&known[..2])?;
        let [flags] = bytes(&known[53..])?;
        let parent: [u8; 8] = bytes(&known[36..52])?;
        let id = bytes(&known[3..35])?;
        let is_good = id != [0; 16] && parent != [0; 8];
        is_good.then_some(Self { trace: TraceId(id), parent, is_sampled: flags & 1 != 0 })
    }
}

impl TraceId {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 hexadecimal digits in lower case.
    #[must_use]
    pub fn to_text(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|at| {
            let byte = self.0[at / 2];
            DIGITS[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
        })
    }
}

/// Hexadecimal digits in lower case, as bytes.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn id(parent: &str) -> Option<String> {
        let parent = TraceParent::parse(parent.as_bytes())?;
        Some(String::from_utf8(parent.trace.to_text().to_vec()).expect("digits are text"))
    }

    #[test]
    fn a_good_header_names_its_trace() {
        let check = |parent: &str| {
            assert_eq!(id(parent).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"), "{parent}");
        };
        check(GOOD);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later");
    }

    #[test]
    fn whatever_is_of_another_form_names_none() {
        let check = |parent: &str| assert_eq!(id(parent), None, "{parent}");
        check("");
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01");
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01");
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01");
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more");
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more");
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x");
        check(" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        for length in 0..GOOD.len() {
            check(&GOOD[..length]);
        }
        for at in 0..GOOD.len() {
            let mut changed = GOOD.as_bytes().to_vec();
            changed[at] = b'g';
            assert_eq!(TraceParent::parse(&changed), None, "{at}");
        }
    }

    #[test]
    fn two_headers_name_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::of(&headers), None);
        headers.append(TRACEPARENT, GOOD.parse().expect("it is text"));
        let parent = TraceParent::of(&headers).expect("it is good");
        assert_eq!((parent.parent[1], parent.is_sampled), (0xf0, true));
        headers.append(TRACEPARENT, GOOD.parse().expect("it is text"));
        assert_eq!(TraceParent::of(&headers), None);
    }
}
