//! Numbers, sizes and times as people of each language write them. Pure: the time of the page is an argument.

use std::time::Duration;

use super::language::Language;

/// Between a number and its unit, and between thousands in French: a space that no line ends at.
const NO_BREAK: char = '\u{a0}';
const NARROW_NO_BREAK: char = '\u{202f}';

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `12,345` or `12 345`.
pub fn number(language: Language, n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * NARROW_NO_BREAK.len_utf8());
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(match language {
                Language::English => ',',
                Language::French => NARROW_NO_BREAK,
            });
        }
        text.push(digit);
    }
    text
}

/// `1.2 MB` or `1,2 Mo`: decimal units, as file managers show them.
pub fn size(language: Language, bytes: u64) -> String {
    const PREFIXES: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    let unit = match language {
        Language::English => 'B',
        Language::French => 'o',
    };
    if bytes < 1000 {
        return format!("{bytes}{NO_BREAK}{unit}");
    }
    // In tenths, so that rounding is that of integers.
    let mut tenths = bytes / 100 + u64::from(bytes % 100 >= 50);
    let mut prefix = 0;
    while tenths >= 9_995 && prefix + 1 < PREFIXES.len() {
        tenths = tenths / 1000 + u64::from(tenths % 1000 >= 500);
        prefix += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let prefix = PREFIXES[prefix];
    if tenths >= 1000 {
        let whole = whole + u64::from(tenth >= 5);
        return format!("{whole}{NO_BREAK}{prefix}{unit}");
    }
    let point = match language {
        Language::English => '.',
        Language::French => ',',
    };
    format!("{whole}{point}{tenth}{NO_BREAK}{prefix}{unit}")
}

/// A moment of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Civil {
    /// Of seconds since 1970. The year is made to begin in March, so that the day that is sometimes missing comes last.
    fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let small = |n: i64| u8::try_from(n).unwrap_or_default();
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: small(month),
            day: small(day_of_year - (153 * from_march + 2) / 5 + 1),
            hour: small(rest / HOUR),
            minute: small(rest % HOUR / MINUTE),
            second: small(rest % MINUTE),
        }
    }
}

/// `24 Nov 2026, 10:04` or `24 nov. 2026, 10:04`, in UTC. The script shows the same in the reader's own time.
pub fn date(language: Language, unix: i64) -> String {
    const ENGLISH: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec"];
    const FRENCH: [&str; 12] =
        ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."];
    let Civil { year, month, day, hour, minute, .. } = Civil::from_unix(unix);
    let months = match language {
        Language::English => ENGLISH,
        Language::French => FRENCH,
    };
    let month = months[usize::from(month.saturating_sub(1)).min(11)];
    format!("{day} {month} {year}, {hour:02}:{minute:02}")
}

/// For machines: `2026-11-24T10:04:59Z`.
pub fn iso(unix: i64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::from_unix(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `3 min ago` or `il y a 3 min`; the date for what is longer ago than a month, and for what is to come.
pub fn ago(language: Language, unix: i64, now: i64) -> String {
    let passed = now.saturating_sub(unix);
    // Clocks of two machines may differ by this much without anybody having to know.
    if !(-2 * MINUTE..30 * DAY).contains(&passed) {
        return date(language, unix);
    }
    if passed < MINUTE {
        return match language {
            Language::English => "just now".to_owned(),
            Language::French => "à l’instant".to_owned(),
        };
    }
    let short = brief(language, passed);
    match language {
        Language::English => format!("{short} ago"),
        Language::French => format!("il y a {short}"),
    }
}

/// `in 3 h` or `dans 3 h`: how long something lasts that ends at `unix`.
pub fn until(language: Language, unix: i64, now: i64) -> String {
    let left = unix.saturating_sub(now).max(1);
    let short = brief(language, left.max(MINUTE));
    match language {
        Language::English => format!("in {short}"),
        Language::French => format!("dans {short}"),
    }
}

/// In the largest unit that it has one of, rounded down.
fn brief(language: Language, seconds: i64) -> String {
    let day = match language {
        Language::English => "d",
        Language::French => "j",
    };
    let (count, unit) = match seconds {
        s if s < HOUR => (s / MINUTE, "min"),
        s if s < DAY => (s / HOUR, "h"),
        s => (s / DAY, day),
    };
    format!("{count}{NO_BREAK}{unit}")
}

/// `1 hour`, `7 days`, `90 minutes`: in the largest unit that it is a whole number of.
pub fn duration(language: Language, duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units: [(u64, [&str; 2], [&str; 2]); 4] = [
        (86_400, ["day", "days"], ["jour", "jours"]),
        (3_600, ["hour", "hours"], ["heure", "heures"]),
        (60, ["minute", "minutes"], ["minute", "minutes"]),
        (1, ["second", "seconds"], ["seconde", "secondes"]),
    ];
    let whole = units.into_iter().find(|(length, ..)| seconds > 0 && seconds.is_multiple_of(*length));
    let (length, english, french) = whole.unwrap_or((1, ["second", "seconds"], ["seconde", "secondes"]));
    let count = seconds / length;
    let [one, other] = match language {
        Language::English => english,
        Language::French => french,
    };
    format!("{}{NO_BREAK}{}", number(language, count), if language.is_one(count) { one } else { other })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Language::{English, French};
    use super::*;

    #[test]
    fn sizes_are_decimal_and_never_show_a_thousand() {
        for (bytes, english, french) in [
            (0, "0\u{a0}B", "0\u{a0}o"),
            (999, "999\u{a0}B", "999\u{a0}o"),
            (1_000, "1.0\u{a0}kB", "1,0\u{a0}ko"),
            (1_249, "1.2\u{a0}kB", "1,2\u{a0}ko"),
            (1_250, "1.3\u{a0}kB", "1,3\u{a0}ko"),
            (99_949, "99.9\u{a0}kB", "99,9\u{a0}ko"),
            (99_950, "100\u{a0}kB", "100\u{a0}ko"),
            (999_449, "999\u{a0}kB", "999\u{a0}ko"),
            (999_500, "1.0\u{a0}MB", "1,0\u{a0}Mo"),
            (20_971_520, "21.0\u{a0}MB", "21,0\u{a0}Mo"),
            (5_497_558_138_880, "5.5\u{a0}TB", "5,5\u{a0}To"),
            (u64::MAX, "18.4\u{a0}EB", "18,4\u{a0}Eo"),
        ] {
            assert_eq!((size(English, bytes).as_str(), size(French, bytes).as_str()), (english, french), "{bytes}");
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(number(English, 999), "999");
        assert_eq!(number(English, 1_234_567), "1,234,567");
        assert_eq!(number(French, 100_000), "100\u{202f}000");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_600_800, "2026-11-25T10:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso(unix), expected);
        }
        assert_eq!(date(English, 951_782_400), "29 Feb 2000, 00:00");
        assert_eq!(date(French, 951_782_400), "29 févr. 2000, 00:00");
    }

    proptest! {
        #[test]
        fn each_second_comes_after_the_one_before(unix in -60_000_000_000i64..250_000_000_000) {
            prop_assert!(iso(unix) < iso(unix + 1), "{} {}", iso(unix), iso(unix + 1));
        }
    }

    #[test]
    fn what_was_a_while_ago_is_told_by_its_distance() {
        let now = 1_795_600_800;
        for (passed, english, french) in [
            (0, "just now", "à l’instant"),
            (-60, "just now", "à l’instant"),
            (59, "just now", "à l’instant"),
            (60, "1\u{a0}min ago", "il y a 1\u{a0}min"),
            (3_599, "59\u{a0}min ago", "il y a 59\u{a0}min"),
            (7_200, "2\u{a0}h ago", "il y a 2\u{a0}h"),
            (86_400 * 29, "29\u{a0}d ago", "il y a 29\u{a0}j"),
            (86_400 * 30, "26 Oct 2026, 10:00", "26 oct. 2026, 10:00"),
            (-86_400, "26 Nov 2026, 10:00", "26 nov. 2026, 10:00"),
        ] {
            assert_eq!(
                (ago(English, now - passed, now), ago(French, now - passed, now)),
                (english.into(), french.into())
            );
        }
        assert_eq!(until(English, now + 10, now), "in 1\u{a0}min");
        assert_eq!(until(French, now + 7 * DAY, now), "dans 7\u{a0}j");
    }

    #[test]
    fn durations_are_named_in_their_largest_whole_unit() {
        for (seconds, english, french) in [
            (1, "1\u{a0}second", "1\u{a0}seconde"),
            (3_600, "1\u{a0}hour", "1\u{a0}heure"),
            (5_400, "90\u{a0}minutes", "90\u{a0}minutes"),
            (604_800, "7\u{a0}days", "7\u{a0}jours"),
        ] {
            let given = Duration::from_secs(seconds);
            assert_eq!((duration(English, given), duration(French, given)), (english.into(), french.into()));
        }
    }
}
