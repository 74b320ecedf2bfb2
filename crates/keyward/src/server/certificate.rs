//! From when on and until when a certificate is good: read off its bytes (X.509 in DER), and nothing else of it.
//!
//! Whether it is good at all is for clients to find out; the operator needs to know when it ends.

use keyward_core::time::UnixMillis;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate's life, its first and its last moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub begins_at: UnixMillis,
    pub ends_at: UnixMillis,
}

/// When it is good; `None` if it is no certificate.
#[must_use]
pub fn validity(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = part(der, SEQUENCE)?;
    let (mut signed, _) = part(certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        signed = any(signed)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        signed = any(signed)?.2;
    }
    let (validity, _) = part(signed, SEQUENCE)?;
    let (tag, begin, after_begin) = any(validity)?;
    let begins_at = time(tag, str::from_utf8(begin).ok()?)?;
    let (tag, end, _) = any(after_begin)?;
    Some(Validity { begins_at, ends_at: time(tag, str::from_utf8(end).ok()?)? })
}

/// The first value: its tag, its content and what follows it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // The length is in the bytes that follow; a certificate has no need of more than three.
        let n_bytes = usize::from(first & 0x7f);
        if n_bytes == 0 || n_bytes > 3 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(n_bytes)?;
        (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

fn part(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any(bytes)?;
    (tag == expected).then_some((content, rest))
}

/// `YYMMDDHHMMSSZ` for years before 2050, `YYYYMMDDHHMMSSZ` from then on.
fn time(tag: u8, text: &str) -> Option<UnixMillis> {
    let text = text.strip_suffix('Z').filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let date = jiff::civil::Date::new(year, two(0)?, two(2)?).ok()?;
    let time = jiff::civil::Time::new(two(4)?, two(6)?, two(8)?, 0).ok()?;
    // Why not a time stamp of the library's: its last one is a day before the end of the year 9999, by which
    // a certificate says that it has no end.
    let since = date.to_datetime(time).duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
    Some(UnixMillis(since.as_secs().checked_mul(1000)?))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(year - 1, 12, 1);
        params.not_after = date_time_ymd(year, 2, 28);
        let key = KeyPair::generate().expect("chance is there");
        params.self_signed(&key).expect("it is whole").der().to_vec()
    }

    #[test]
    fn the_life_of_a_certificate_is_read_in_both_spellings() {
        let at = |text: &str| {
            let at: jiff::Timestamp = text.parse().expect(text);
            UnixMillis(at.as_millisecond())
        };
        let check = |year, begin: &str, end: &str| {
            let expected = Validity { begins_at: at(begin), ends_at: at(end) };
            assert_eq!(validity(&made(year)), Some(expected), "{year}");
        };
        check(2027, "2026-12-01T00:00:00Z", "2027-02-28T00:00:00Z");
        check(2050, "2049-12-01T00:00:00Z", "2050-02-28T00:00:00Z");
        check(4096, "4095-12-01T00:00:00Z", "4096-02-28T00:00:00Z");
    }

    #[test]
    fn one_without_an_end_is_read_as_well() {
        assert_eq!(
            time(GENERALIZED_TIME, "99991231235959Z"),
            Some(UnixMillis(253_402_300_799_000))
        );
        assert_eq!(crate::when(UnixMillis(253_402_300_799_000)), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_cut_off_or_changed_is_no_certificate_and_no_harm() {
        let whole = made(2027);
        for length in 0..whole.len().min(150) {
            assert_eq!(validity(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                // Whatever comes of it: no panic.
                let end = validity(&changed).map(|validity| validity.ends_at);
                assert!(end.is_none_or(|end| end.0 > -62_135_596_800_000), "{at} {byte}");
            }
        }
    }
}
