//! From where somebody calls, and under which name they know this service. Pure: what a proxy says counts only if it is one of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, header};
use ipnet::IpNet;

use crate::config::settings::RecordAddresses;

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Of the client itself, also behind a proxy.
    pub address: IpAddr,
    /// The request came from one of our proxies, whose headers are believed.
    pub by_proxy: bool,
    /// The client's own connection is encrypted, as far as it is known.
    pub https: bool,
    /// What the client calls this service, if it is fit for a URL.
    pub host: Option<String>,
}

impl Client {
    /// From the connection and what was sent over it.
    pub fn of(peer: SocketAddr, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let peer = peer.ip().to_canonical();
        let is_ours = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
        let by_proxy = is_ours(&peer);
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut address = peer;
        if by_proxy {
            // Each proxy adds whom it was called by at the end: the last one that is not a proxy of ours is who called them. What stands
            // before may be anything.
            let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
            let mut chain: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
            while let Some(last) = chain.pop() {
                let Some(next) = to_address(last) else { break };
                address = next;
                if !is_ours(&next) {
                    break;
                }
            }
        }
        let host = text("x-forwarded-host").filter(|_| by_proxy).or_else(|| text(header::HOST.as_str()));
        let https =
            by_proxy && text("x-forwarded-proto").is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
        Self { address, by_proxy, https, host: host.filter(|host| is_host(host)).map(str::to_owned) }
    }

    /// `http://HOST`, if the client has said what it calls this service.
    pub fn base(&self) -> Option<String> {
        let scheme = if self.https { "https" } else { "http" };
        self.host.as_deref().map(|host| format!("{scheme}://{host}"))
    }

    /// Whether it calls this service by a name that only this machine has. A page of another site that has its name lead here
    /// (DNS rebinding) calls it by its own.
    pub fn means_this_machine(&self) -> bool {
        let Some(host) = self.host.as_deref() else { return false };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

fn to_address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    Some(address?.to_canonical())
}

/// A name or address, with or without a port, and nothing that means something else in a URL.
fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

/// What is kept of an address.
pub fn recorded(address: IpAddr, how: RecordAddresses) -> Option<IpAddr> {
    match how {
        RecordAddresses::Full => Some(address),
        RecordAddresses::Truncated => Some(truncated(address, 24, 48)),
        RecordAddresses::Nothing => None,
    }
}

/// Whom a limit counts as one: an IPv6 network is one customer's.
pub fn counted(address: IpAddr) -> IpAddr {
    truncated(address, 32, 64)
}

fn truncated(address: IpAddr, bits4: u32, bits6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            Ipv4Addr::from(u32::from(address) & u32::MAX.checked_shl(32 - bits4).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from(u128::from(address) & u128::MAX.checked_shl(128 - bits6).unwrap_or(0)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Client::of(format!("{peer}:1").parse().unwrap(), &map, &["10.0.0.0/8".parse().unwrap()])
    }

    #[test]
    fn what_anybody_can_send_is_believed_only_from_our_proxies() {
        let forged = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.org"),
            ("host", "here"),
        ];
        let stranger = client("8.8.8.8", &forged);
        assert_eq!(stranger.address.to_string(), "8.8.8.8");
        assert_eq!(stranger.base().as_deref(), Some("http://here"));
        let proxied = client("10.0.0.1", &forged);
        assert_eq!(proxied.address.to_string(), "9.9.9.9");
        assert_eq!(proxied.base().as_deref(), Some("https://evil.org"));
    }

    #[test]
    fn the_client_is_the_last_that_no_proxy_of_ours_is() {
        for (chain, expected) in [
            ("1.1.1.1, 2.2.2.2", "2.2.2.2"),
            ("1.1.1.1, 2.2.2.2, 10.1.1.1", "2.2.2.2"),
            ("1.1.1.1, nonsense, 10.1.1.1", "10.1.1.1"),
            ("nonsense", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("[2001:db8::1]:55", "2001:db8::1"),
        ] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", chain)]).address.to_string(), expected, "{chain}");
        }
        let twice = client("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]);
        assert_eq!(twice.address.to_string(), "2.2.2.2");
    }

    #[test]
    fn only_loopback_names_mean_this_machine() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost.evil.org", false),
            ("evil.org:8080", false),
            ("192.168.1.1", false),
        ] {
            assert_eq!(client("127.0.0.1", &[("host", host)]).means_this_machine(), expected, "{host}");
        }
        assert!(!client("127.0.0.1", &[]).means_this_machine());
        assert_eq!(client("127.0.0.1", &[("host", "a/b")]).base(), None);
    }

    #[test]
    fn addresses_are_cut_short_as_configured() {
        let v4: IpAddr = "198.51.100.77".parse().unwrap();
        let v6: IpAddr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        let kept = |address, how| recorded(address, how).map(|address| address.to_string());
        assert_eq!(kept(v4, RecordAddresses::Truncated).as_deref(), Some("198.51.100.0"));
        assert_eq!(kept(v6, RecordAddresses::Truncated).as_deref(), Some("2001:db8:1::"));
        assert_eq!(kept(v4, RecordAddresses::Full).as_deref(), Some("198.51.100.77"));
        assert_eq!(kept(v6, RecordAddresses::Nothing), None);
        assert_eq!(counted(v4), v4);
        assert_eq!(counted(v6).to_string(), "2001:db8:1:2::");
    }
}
