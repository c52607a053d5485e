//! The languages of the page, and which of them a browser asks for.

/// A language that the page is complete in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// What is spoken with those who ask for neither.
    English,
    /// Français.
    French,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::French];

    /// As BCP 47 names it.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// The first that `Accept-Language` prefers; English where it prefers neither.
    pub fn accepted(header: &str) -> Self {
        let mut best: Option<(Self, u16)> = None;
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let primary = name.split('-').next().unwrap_or_default();
            let Some(language) = Self::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.tag()))
            else {
                continue;
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
            if weight > 0 && best.is_none_or(|(_, other)| weight > other) {
                best = Some((language, weight));
            }
        }
        best.map_or(Self::English, |(language, _)| language)
    }

    /// Whether a count of `n` takes the singular.
    pub const fn is_one(self, n: u64) -> bool {
        match self {
            Self::English => n == 1,
            Self::French => n < 2,
        }
    }
}

/// A weight such as `0.8`, of which RFC 9110 allows three digits. What is none counts as the least there is.
fn thousandths(weight: &str) -> u16 {
    match weight.trim().parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        Ok(_) | Err(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Language::{self, English, French};

    #[test]
    fn the_language_that_is_preferred_is_spoken() {
        for (header, expected) in [
            ("", English),
            ("fr", French),
            ("fr-CA,fr;q=0.9,en;q=0.8", French),
            ("en-GB,en;q=0.9,fr;q=0.8", English),
            ("de-DE, de;q=0.9, fr;q=0.4, en;q=0.3", French),
            ("en;q=0.2, FR-be ; q=0.7", French),
            ("fr;q=0, de", English),
            ("*", English),
            ("fr;q=nonsense, en;q=0.5", English),
            ("frisian", English),
        ] {
            assert_eq!(Language::accepted(header), expected, "{header:?}");
        }
    }
}
