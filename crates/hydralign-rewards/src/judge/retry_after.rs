use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: u64 = 86_400;

/// The wait that a `Retry-After` header asks for: seconds, or a date as
/// `Wed, 21 Oct 2015 07:28:00 GMT`, which has no wait left once it is past.
///
/// Source: RFC 9110, §10.2.3 and §5.6.7. Departure: its two obsolete forms of dates are not read.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = UNIX_EPOCH.checked_add(Duration::from_secs(seconds_of(header)?))?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn seconds_of(date: &str) -> Option<u64> {
    let (_weekday, date) = date.split_once(", ")?;
    let mut parts = date.split(' ');
    let day: u64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let time = seconds_of_day(parts.next()?)?;
    (parts.next() == Some("GMT")).then(|| days(year, month, day) * DAY + time)
}

fn seconds_of_day(time: &str) -> Option<u64> {
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    // A leap second is written as 60.
    let valid = parts.next().is_none() && hours < 24 && minutes < 60 && seconds <= 60;
    valid.then_some(hours * 3600 + minutes * 60 + seconds)
}

/// Days since the first of January 1970 in the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let before_month = (153 * month + 2) / 5;
    365 * year + year / 4 - year / 100 + year / 400 + before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn seconds_are_seconds() {
        let wait = |header| retry_after(header, at(0)).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 0 "), Some(0));
        for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn dates_are_waited_for() {
        // Seconds of these dates from `date -u -d … +%s`.
        for (date, seconds) in [
            ("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_480),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ] {
            let expected = Duration::from_secs(seconds);
            assert_eq!(retry_after(date, at(0)), Some(expected), "{date}");
            assert_eq!(retry_after(date, at(seconds + 7)), Some(Duration::ZERO), "{date}");
        }
    }

    #[test]
    fn what_is_no_date_is_ignored() {
        for header in [
            "Wed, 21 Oct 2015 07:28:00 CET",
            "Wed, 21 Oct 2015 24:28:00 GMT",
            "Wed, 32 Oct 2015 07:28:00 GMT",
            "Wed, 21 Okt 2015 07:28:00 GMT",
            "Wed, 21 Oct 1815 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:28 GMT",
            "Wed, 21 Oct 2015",
            "Sunday, 06-Nov-94 08:49:37 GMT",
        ] {
            assert_eq!(retry_after(header, at(0)), None, "{header}");
        }
    }
}
