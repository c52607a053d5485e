//! The times that `restore --at` takes.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

const EXPECTED: &str =
    "expected a time such as 2026-11-24T10:00:00+01:00, `2026-11-24 10:00` (UTC) or 2h (two hours ago)";

/// From RFC 3339, from date and time of day in UTC, or from how long ago it was.
///
/// # Errors
/// If it is none of these, or in the future.
pub fn parse(text: &str) -> Result<SystemTime, String> {
    parse_at(text.trim(), SystemTime::now())
}

fn parse_at(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let time = match humantime::parse_duration(text) {
        Ok(ago) => now.checked_sub(ago),
        Err(_) => absolute(text),
    };
    let time = time.ok_or_else(|| EXPECTED.to_owned())?;
    // Another machine's clock may be a bit ahead.
    if time > now + Duration::from_secs(60) { Err("it is in the future".to_owned()) } else { Ok(time) }
}

fn absolute(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, zone) = match rest.strip_prefix(['T', 't', ' ']) {
        None if rest.is_empty() => ("00:00:00", "Z"),
        None => return None,
        Some(rest) => rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len())),
    };
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let zone = if zone.is_empty() || zone == "z" { "Z" } else { zone };
    let time = DateTime::from_str(&format!("{date}T{time}{zone}"), Format::DateTimeWithOffset).ok()?;
    SystemTime::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_the_usual_ways() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let seconds = |text| {
            let time = parse_at(text, now).unwrap_or_else(|error| panic!("{text}: {error}"));
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
        };
        let ten = 1_795_514_400_000;
        for text in [
            "2026-11-24T10:00:00Z",
            "2026-11-24t10:00:00z",
            "2026-11-24T11:00:00+01:00",
            "2026-11-24T05:30:00-04:30",
            "2026-11-24 10:00",
            "2026-11-24 10:00:00",
            "2026-11-24 11:00+01:00",
        ] {
            assert_eq!(seconds(text), ten, "{text}");
        }
        assert_eq!(seconds("2026-11-24T10:00:00.25Z"), ten + 250);
        assert_eq!(seconds("2026-11-24"), ten - 36_000_000);
        assert_eq!(seconds("2h"), 1_799_992_800_000);
        assert_eq!(seconds("1day 12h"), 1_799_870_400_000);
    }

    #[test]
    fn what_is_no_time_or_has_not_come_yet_is_refused() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for text in
            ["", "x", "10:00", "2026-13-01 10:00", "2026-11-24 25:00", "2026-11-24x10:00", "-2h", "é026-11-24 10:00"]
        {
            assert!(parse_at(text, now).unwrap_err().contains("such as"), "{text}");
        }
        assert!(parse_at("2100-01-01", now).unwrap_err().contains("future"));
    }
}
