//! Where requests may go: a webhook's URL comes from a client, and the request comes from this machine, which may reach what the
//! client cannot. So only public addresses, over TLS, unless the operator says otherwise. The addresses that were checked are the
//! ones that are connected to, so that a name which changes its address in between gains nothing; redirects are not followed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
};

use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// Which targets are allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Targets {
    /// Plain HTTP and addresses that are not public as well.
    pub(super) allow_private: bool,
}

/// Why a URL is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("Webhook URL cannot be empty or just whitespace: {url:?}")]
    Empty { url: String },
    #[error("Invalid webhook URL {url:?}: {reason}")]
    Malformed { url: String, reason: String },
    #[error("Invalid webhook URL scheme: '{scheme}'. Allowed schemes are: {allowed}.")]
    Scheme { scheme: String, allowed: &'static str },
    #[error("Webhook URL must include a hostname: '{url}'")]
    NoHost { url: String },
    #[error("Cannot resolve Webhook URL hostname '{host}': {source}")]
    Unresolved {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("Webhook URL must not resolve to a non-public IP address. '{host}' resolves to {address}.")]
    NotPublic { host: String, address: IpAddr },
}

impl Targets {
    /// Refuses a URL to which no request may go. Looks its name up.
    pub(super) fn check(self, url: &str) -> Result<(), TargetError> {
        if url.trim().is_empty() {
            return Err(TargetError::Empty { url: url.to_owned() });
        }
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        let (schemes, allowed): (&[&str], _) = match self.allow_private {
            true => (&["https", "http"], "https, http"),
            false => (&["https"], "https"),
        };
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            return Err(TargetError::Scheme { scheme, allowed });
        }
        if rest.trim_start_matches('/').is_empty() || !rest.starts_with("//") {
            return Err(TargetError::NoHost { url: url.to_owned() });
        }
        let uri: Uri = url.parse().map_err(|error: ureq::http::uri::InvalidUri| TargetError::Malformed {
            url: url.to_owned(),
            reason: error.to_string(),
        })?;
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return Err(TargetError::NoHost { url: url.to_owned() });
        };
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        self.addresses(host, port).map(drop)
    }

    /// The addresses of a host, all of which must be allowed.
    fn addresses(self, host: &str, port: u16) -> Result<Vec<SocketAddr>, TargetError> {
        // An IPv6 address is in brackets, which the system's resolver does not know.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = (name, port).to_socket_addrs();
        let found = found.map_err(|source| TargetError::Unresolved { host: host.to_owned(), source })?;
        let found: Vec<SocketAddr> = found.collect();
        match found.iter().find(|address| !self.allow_private && !is_public(address.ip())) {
            Some(address) => Err(TargetError::NotPublic { host: host.to_owned(), address: address.ip() }),
            None => Ok(found),
        }
    }
}

/// Looks names up for requests, with the same rules.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    pub(super) targets: Targets,
    pub(super) inner: DefaultResolver,
}

impl Resolver for CheckedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        match found.iter().find(|address| !self.targets.allow_private && !is_public(address.ip())) {
            None => Ok(found),
            Some(address) => {
                let host = uri.host().unwrap_or_default().to_owned();
                let refused = TargetError::NotPublic { host, address: address.ip() };
                Err(ureq::Error::Other(Box::new(refused)))
            }
        }
    }
}

/// Whether an address is one of the public network's. One that carries another in it counts as that.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

/// The address that an IPv6 one of a transition mechanism carries: mapped, 6to4, NAT64.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(pair(high, low)),
        [0x2002, high, low, ..] => Some(pair(high, low)),
        _ => None,
    }
}

/// By the registry of special-purpose addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, second, ..] => second & 0xc0 == 64,
        [172, second, ..] => second & 0xf0 == 16,
        [192, 168, ..] | [169, 254, ..] => true,
        [192, 0, 0, last] => !matches!(last, 9 | 10),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [198, second, ..] => second & 0xfe == 18,
        // Multicast, reserved, broadcast.
        [first, ..] => first >= 224,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Documentation, protocol assignments (Teredo, benchmarks, …).
        [0x2001, 0xdb8, ..] => false,
        [0x2001, second, ..] => second > 0x1ff,
        [0x3fff, second, ..] => second > 0xfff,
        // What is not global unicast is loopback, local, multicast, or nobody's.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let public = [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.0.9",
            "2606:4700:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ];
        let special = [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "203.0.113.7",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::1",
            "::127.0.0.1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in special {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn urls_are_refused_for_a_reason() {
        let refusal = |url: &str| Targets { allow_private: false }.check(url).err().map(|error| error.to_string());
        let said = |url: &str, reason: &str| {
            let refusal = refusal(url).unwrap_or_default();
            assert!(refusal.contains(reason), "{url}: {refusal}");
        };
        said("  ", "cannot be empty");
        said("http://8.8.8.8/", "Invalid webhook URL scheme: 'http'. Allowed schemes are: https.");
        said("ftp://x", "'ftp'");
        said("example.com", "Invalid webhook URL scheme: ''");
        said("https://", "must include a hostname");
        said("https:/x", "must include a hostname");
        for host in ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "127.1", "0x7f.1", "2130706433", "user@127.0.0.1:80"] {
            said(&format!("https://{host}/hook"), "");
            assert!(refusal(&format!("https://{host}/hook")).is_some(), "{host}");
        }
        assert_eq!(refusal("https://8.8.8.8:8443/hook?x=1"), None);
        assert!(Targets { allow_private: true }.check("http://127.0.0.1:1/").is_ok());
    }
}
