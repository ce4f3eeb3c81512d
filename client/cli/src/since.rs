//! Times of the past, as they are said on a command line: so long ago, or a date in UTC.

use crate::output::ago_ms;
use std::str::FromStr;

/// A time of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So many milliseconds ago.
    Ago(u64),
    /// At this wall time, in milliseconds since 1970.
    At(u64),
}

impl Since {
    /// Returns the wall time in milliseconds since 1970, by this machine's clock.
    pub(crate) fn wall_ms(self) -> u64 {
        match self {
            Self::Ago(ms) => ago_ms(0).saturating_sub(ms),
            Self::At(wall_ms) => wall_ms,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ago(text).or_else(|| at(text)).ok_or_else(|| {
            format!(
                "{text:?} is no time: write 90s, 15m, 2h or 3d for so long ago, or a time in UTC as in \
                 2026-11-23, \"2026-11-23 18:28\" or 2026-11-23T18:28:03Z"
            )
        })
    }
}

/// Reads a whole number and its unit.
fn ago(text: &str) -> Option<Since> {
    let unit = text.chars().last()?;
    let ms_per_unit = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let count = number(text.strip_suffix(unit)?)?;
    count.checked_mul(ms_per_unit).map(Since::Ago)
}

/// Reads a date, perhaps with a time of the day.
fn at(text: &str) -> Option<Since> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = match time {
        None => [0; 3],
        Some(time) => numbers(time, ':').or_else(|| {
            let [hour, minute] = numbers(time, ':')?;
            Some([hour, minute, 0])
        })?,
    };
    let length = match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let sound = (1_970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=length).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !sound {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Since::At(seconds * 1_000))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Returns how many days after 1970-01-01 a date is: years of March to February, so that the leap day
/// comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

fn numbers<const COUNT: usize>(text: &str, between: char) -> Option<[u64; COUNT]> {
    let numbers: Option<Vec<u64>> = text.split(between).map(number).collect();
    numbers?.try_into().ok()
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::Since;
    use crate::output::utc;

    #[test]
    fn spans_are_counted_back_from_now() {
        assert_eq!("90s".parse(), Ok(Since::Ago(90_000)));
        assert_eq!("15m".parse(), Ok(Since::Ago(900_000)));
        assert_eq!("2h".parse(), Ok(Since::Ago(7_200_000)));
        assert_eq!("3d".parse(), Ok(Since::Ago(259_200_000)));
    }

    #[test]
    fn dates_are_read_as_they_are_shown() {
        let shown = [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29 00:00"),
            (1_735_689_599_000, "2024-12-31T23:59:59Z"),
            (1_709_251_200_000, "2024-03-01"),
        ];
        for (wall_ms, text) in shown {
            assert_eq!(text.parse(), Ok(Since::At(wall_ms)), "{text}");
            assert_eq!(utc(wall_ms).parse(), Ok(Since::At(wall_ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "s",
            "-1h",
            "1.5h",
            "2h3",
            "2026",
            "2026-13-01",
            "2025-02-29",
            "1969-12-31",
            "2026-11-23 24:00",
            "2026-11-23 1",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
