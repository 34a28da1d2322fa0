//! What the headers of an answer tell about the budget. Foreign bytes: anything that makes no sense is ignored.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Longest wait that the service can ask for.
pub const LONGEST_FREEZE: Duration = Duration::from_secs(900);

/// Times of day are told in whole seconds, perhaps rounded down; who comes a moment early is refused.
const ROUNDED: Duration = Duration::from_secs(1);

/// What an answer told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// The limit in a minute.
    pub limit: Option<u32>,
    /// How many calls are left.
    pub remaining: Option<u32>,
    /// In how long the count starts anew.
    pub reset: Option<Duration>,
    /// How long to make no call.
    pub freeze: Option<Duration>,
}

/// The service's own time of day, if it tells.
#[must_use]
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get("date").and_then(|value| value.to_str().ok()).and_then(|text| http_date(text.trim()))
}

/// Reads the headers of an answer that came at `now`.
#[must_use]
pub fn read(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Told {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |name: &str| text(name).and_then(|text| text.parse::<u32>().ok());
    // Times are the service's: its own Date header tells how they compare to ours.
    let service_now = date(headers).unwrap_or(now);
    let reset = text("x-ratelimit-reset")
        .and_then(|text| text.parse::<i64>().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(|at| until(at, service_now) + ROUNDED);
    let asked =
        text("retry-after").and_then(|text| retry_after(text, service_now)).map(|wait| wait.min(LONGEST_FREEZE));
    let freeze = match status {
        StatusCode::TOO_MANY_REQUESTS => Some(asked.unwrap_or(Duration::from_secs(60))),
        StatusCode::SERVICE_UNAVAILABLE => asked,
        _ => None,
    };
    Told { limit: number("x-ratelimit-limit"), remaining: number("x-ratelimit-remaining"), reset, freeze }
}

/// `Retry-After`: seconds or an HTTP date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => http_date(text).map(|at| until(at, now)),
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, headers: &[(&str, &str)]) -> Told {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        read(StatusCode::from_u16(status).unwrap(), &map, Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn reads_what_makes_sense_and_ignores_the_rest() {
        let seconds = |n| Some(Duration::from_secs(n));
        let all =
            told(200, &[("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1030")]);
        assert_eq!(all, Told { limit: Some(20), remaining: Some(0), reset: seconds(31), freeze: None });
        assert_eq!(told(429, &[("retry-after", "7")]).freeze, seconds(7));
        assert_eq!(told(429, &[("retry-after", "Thu, 01 Jan 1970 00:16:50 GMT")]).freeze, seconds(10));
        assert_eq!(told(429, &[("retry-after", "soon")]).freeze, seconds(60));
        for absurd in ["99999999999", "18446744073709551615", "Thu, 31 Dec 2099 23:59:59 GMT"] {
            assert_eq!(told(429, &[("retry-after", absurd)]).freeze, seconds(900), "{absurd}");
        }
        for past in ["0", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            assert_eq!(told(429, &[("retry-after", past)]).freeze, seconds(0), "{past}");
        }
        for nonsense in ["", "-1", "1e3", "18446744073709551616"] {
            assert_eq!(told(429, &[("retry-after", nonsense)]).freeze, seconds(60), "{nonsense}");
        }
        assert_eq!(told(503, &[("retry-after", "30")]).freeze, seconds(30));
        assert_eq!(told(200, &[("retry-after", "30")]).freeze, None);
        assert_eq!(told(200, &[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "x")]), Told::default());
    }

    #[test]
    fn the_service_s_date_settles_whose_clock_counts() {
        let headers = [("date", "Thu, 01 Jan 1970 01:00:00 GMT"), ("x-ratelimit-reset", "3630")];
        assert_eq!(told(200, &headers).reset, Some(Duration::from_secs(31)));
    }
}
