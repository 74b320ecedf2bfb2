//! Reading the values of settings: each says what it expected where it cannot.

use std::net::SocketAddr;

use ipnet::IpNet;
use keyward_core::secret::holds_a_key;
use keyward_core::window::HIGHEST_LIMIT;
use url::Url;

/// Where traces are sent: an address, to which `/v1/traces` is added as OpenTelemetry does.
pub(super) fn collector(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let traces = format!("{}/v1/traces", text.trim_end_matches('/'));
    let url = Url::parse(&traces).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    url.map(Some).ok_or_else(|| {
        String::from("expected an address without a password, such as http://127.0.0.1:4318")
    })
}

/// An address and a port, or `off`.
pub(super) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| String::from("expected an address and a port, such as 127.0.0.1:9464, or off"))
}

/// `https://keys.example.com`: a scheme, a host and perhaps a port, no path.
pub(super) fn public_url(text: &str) -> Result<Option<String>, String> {
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        return Ok(None);
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if rest.is_some_and(is_host) {
        Ok(Some(text.to_owned()))
    } else {
        Err(String::from("expected an address without a path, such as https://keys.example.com"))
    }
}

/// True for what may stand as this server's host, and perhaps its port, in pages and mails: of characters that
/// mean nothing anywhere, and no key that somebody put there.
#[must_use]
pub fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))
        && !holds_a_key(text)
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| String::from("expected true or false"))
}

pub(super) fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("expected a number from {least} to {most}"))
}

pub(super) fn whole(text: &str, most: usize) -> Result<i64, String> {
    number(text, 0, most).and_then(|n| i64::try_from(n).map_err(|error| error.to_string()))
}

pub(super) fn limit(text: &str) -> Result<u32, String> {
    let most = usize::try_from(HIGHEST_LIMIT).unwrap_or(usize::MAX);
    number(text, 1, most).and_then(|n| u32::try_from(n).map_err(|error| error.to_string()))
}

/// As many names as Let's Encrypt puts into one certificate.
const MOST_DOMAINS: usize = 100;

/// Names of hosts, separated by commas: in small letters, each once.
pub(super) fn domains(text: &str) -> Result<Vec<String>, String> {
    let mut names = vec![];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let name = domain(part)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > MOST_DOMAINS {
        return Err(format!("expected at most {MOST_DOMAINS} names, for they share a certificate"));
    }
    Ok(names)
}

fn domain(text: &str) -> Result<String, String> {
    let expected = |why: &str| {
        Err(format!("'{text}' {why}: expected names of hosts, such as keys.example.com"))
    };
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.contains('*') {
        return expected(
            "stands for many names, which needs a challenge by DNS that is not spoken here",
        );
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return expected("is an address");
    }
    if name.contains(['/', ':']) {
        return expected("is more than a name");
    }
    if !name.is_ascii() {
        return expected("must be written as DNS has it, beginning with xn--");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Digits at the end make an address of it for many readers.
    let has_end = name.rsplit('.').next().is_some_and(|end| end.contains(|c| !char::is_numeric(c)));
    if name.len() > 253 || !has_end || !name.split('.').all(is_label) {
        return expected("is no name of a host");
    }
    Ok(name)
}

pub(super) fn acme_email(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    // What has a meaning of its own in a mailto address is left to those who need it elsewhere.
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"?,:;%&".contains(&b));
    match text.parse::<lettre::Address>() {
        Ok(_) if is_plain => Ok(Some(text.to_owned())),
        _ => Err(String::from("expected a mail address, such as ops@example.com")),
    }
}

/// Everything that is said to an ACME server is signed, but what it answers is not: so HTTPS alone.
pub(super) fn acme_directory(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| {
        url.scheme() == "https"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    url.map(String::from).ok_or_else(|| {
        String::from(
            "expected an address that begins with https:// and holds no password, such as \
             https://acme-v02.api.letsencrypt.org/directory",
        )
    })
}

/// Reads networks or single addresses, separated by commas.
pub fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(network).collect()
}

/// Reads `203.0.113.0/24`, or a single address as the network that holds it alone.
pub fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
        .map(|network| network.trunc())
        .ok_or_else(|| format!("'{text}' is no network: expected something like 203.0.113.0/24"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_a_certificate_are_in_small_letters_and_each_there_once() {
        let names =
            domains(" Keys.Example.com, api.example.com.,,keys.example.com").expect("names");
        assert_eq!(names, ["keys.example.com", "api.example.com"]);
        assert_eq!(domains(""), Ok(vec![]));
        let many: Vec<_> = (0..=MOST_DOMAINS).map(|n| format!("k{n}.example.com")).collect();
        assert!(domains(&many.join(",")).is_err());
        assert!(domains("*.example.com").expect_err("many").contains("challenge by DNS"));
    }

    #[test]
    fn a_single_address_is_a_network_of_one() {
        let list = networks("10.1.2.3/8, 2001:db8::1").expect("they are networks");
        let texts: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "2001:db8::1/128"]);
    }
}
