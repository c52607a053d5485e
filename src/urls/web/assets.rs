//! Style, script and icon: parts of the program, each under an address that changes with its content, so that a browser keeps it for good.

/// One file that the page needs.
#[derive(Debug)]
pub struct Asset {
    stem: &'static str,
    extension: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// All of it.
    pub content: &'static str,
    digest: u64,
}

/// The style.
pub const CSS: Asset = Asset::new("portail", "css", "text/css; charset=utf-8", include_str!("assets/portail.css"));
/// The script.
pub const JS: Asset = Asset::new("portail", "js", "text/javascript; charset=utf-8", include_str!("assets/portail.js"));
/// The icon of the browser's tab.
pub const ICON: Asset = Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg"));

impl Asset {
    const fn new(stem: &'static str, extension: &'static str, kind: &'static str, content: &'static str) -> Self {
        Self { stem, extension, kind, content, digest: fnv1a(content.as_bytes()) }
    }

    /// The name that its address ends in.
    pub fn name(&self) -> String {
        format!("{}-{:016x}.{}", self.stem, self.digest, self.extension)
    }

    /// Its address.
    pub fn href(&self) -> String {
        format!("/assets/{}", self.name())
    }

    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        const ALL: [&Asset; 3] = [&CSS, &JS, &ICON];
        ALL.into_iter().find(|asset| asset.name() == name)
    }
}

/// Tells contents of different releases apart; nothing depends on its strength.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_found_by_its_own_address_only() {
        for asset in [&CSS, &JS, &ICON] {
            let name = asset.href().rsplit('/').next().unwrap().to_owned();
            assert_eq!(Asset::find(&name).unwrap().content, asset.content);
        }
        assert!(Asset::find("portail.css").is_none());
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for asset in [&CSS, &JS, &ICON] {
            let rest = asset.content.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains("http:") && !rest.contains("https:") && !rest.contains("@import"), "{}", asset.stem);
        }
    }
}
